"""Ship a model to data/models/, with what made it and how good it is.

    python -m helpers.shipping RUN_FOLDER NAME [--replace]

is the one way a model enters data/models/.
"""

import argparse
import io
import json
import os
import re
import shutil
import tempfile
import zipfile
from pathlib import Path

import torch
from ase import Atoms
from ase.formula import Formula

from helpers import dataset, evaluation, paths, potential, records, training

LICENCE = "CC-BY-4.0"
MACHINE = re.compile(r"(?:^|[\s'\"=(])(?:/[\w.-]+){2}|://", re.MULTILINE)  # a path or a URL


def targets(
    found: potential.Potential, test: list[Atoms], predicted: list[Atoms]
) -> dict[str, float] | str | None:
    """`evaluation.against_targets`; why not, if the model is too poor for it.

    None if it is not of the material of data/reference.
    """
    if not set(Formula(evaluation.FORMULA).count()) <= set(found.elements):
        return None
    try:
        return evaluation.against_targets(found, test, predicted)
    except RuntimeError as error:  # the sheet does not relax, or its modes are not those of D3h
        return str(error).splitlines()[0]


def without_paths(network: torch.nn.Module) -> torch.nn.Module:
    """The model without TorchScript's debug records, which hold paths of the machine that trained it."""
    for module in network.modules():
        for name in getattr(module, "__codegen__", []):
            script = io.BytesIO()
            torch.jit.save(getattr(module, name), script)
            clean = io.BytesIO()
            with zipfile.ZipFile(script) as old, zipfile.ZipFile(clean, "w") as new:
                for entry in old.namelist():
                    if not entry.endswith(".debug_pkl"):
                        new.writestr(entry, old.read(entry))
            clean.seek(0)
            setattr(module, name, torch.jit.load(clean))
    return network


def ship(folder: Path, name: str, replace: bool = False) -> Path:
    """Copy the model of a finished run of ours to data/models/ as NAME.model, .log and .json.

    Raises FileNotFoundError or RuntimeError for anything but a finished run, FileExistsError for
    a name in use unless `replace`, ValueError for one that is no plain name.
    """
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise ValueError(f"NAME = {name!r}: must be letters, digits, '-', '_' and '.', like wse2-small")
    marker = folder / training.MARKER
    if not marker.is_file():
        raise FileNotFoundError(f"{folder} has no {training.MARKER}: give the folder of a run of 02_training")
    described = json.loads(marker.read_text())
    given = described["settings"]
    if not training.finished(folder, given):
        raise RuntimeError(f"the training in {folder} has not finished: run 02_training again, it goes on")
    if (paths.MODELS / f"{name}.model").exists() and not replace:
        raise FileExistsError(f"data/models/{name}.model exists: choose another name, or give --replace")
    paths.MODELS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=paths.MODELS) as temporary:
        staging = Path(temporary)
        model, log = staging / f"{name}.model", staging / f"{name}.log"
        with training.quiet():
            trained = torch.load(training.model_file(folder, given), map_location="cpu", weights_only=False)
            content = io.BytesIO()
            torch.save(without_paths(trained), content)
        model.write_bytes(content.getvalue())
        shutil.copyfile(training.log_file(folder, given), log)
        found = potential.load(str(model), trust_model=True)
        parts = {part: dataset.read(folder / f"{part}.xyz") for part in ("validation", "test")}
        predicted = {part: dataset.predict(frames, found.calculator) for part, frames in parts.items()}
        description = {
            "name": name,
            "sha256": records.sha256(model),
            "licence": LICENCE,
            "elements": found.elements,
            "r_max": found.r_max,
            "num_interactions": found.num_interactions,
            "dtype": str(next(trained.parameters()).dtype).removeprefix("torch."),
            **described,
            "epochs": int(training.read_log(log)["epoch"][-1]) + 1,
            "wall_hours": round(training.wall_hours(log), 2),
            "versions": records.versions(),
            "errors": {part: dataset.errors(frames, predicted[part]) for part, frames in parts.items()},
            "targets": targets(found, parts["test"], predicted["test"]),
        }
        records.write_json(staging / f"{name}.json", description)
        for file in (log, staging / f"{name}.json"):
            if place := MACHINE.search(file.read_text()):
                raise RuntimeError(f"{file.name} names a place on this machine or a URL: {place[0].strip()}")
        for suffix in ("model", "log", "json"):
            os.replace(staging / f"{name}.{suffix}", paths.MODELS / f"{name}.{suffix}")
    return paths.MODELS / f"{name}.model"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m helpers.shipping", description="Copy a model to data/models/."
    )
    parser.add_argument("folder", type=Path, metavar="RUN_FOLDER", help="results/02_training/TAG")
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--replace", action="store_true")
    try:
        print(f"wrote {ship(**vars(parser.parse_args()))}")
    except (OSError, RuntimeError, ValueError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
