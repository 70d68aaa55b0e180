"""Ship a model to data/models/, with what made it and how good it is: the one way a model enters there."""

import io
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from ase import Atoms
from ase.formula import Formula

from defectphonons import potentials
from helpers import paths, records
from helpers.data import accuracy, dataset, splitting
from helpers.models import committee, evaluation, potential, training

LICENCE = "CC-BY-4.0"
MACHINE = re.compile(r"(?:^|[\s'\"=(])(?:/[\w.-]+){2}|://", re.MULTILINE)  # a path or a URL


def targets(
    found: potentials.Potential, train: list[Atoms], test: list[Atoms], predicted: list[Atoms]
) -> dict[str, float] | str | None:
    """Return `evaluation.against_targets`; why not, if the model is too poor for it.

    None if it is not of the material of data/reference.
    """
    if not set(Formula(evaluation.FORMULA).count()) <= set(found.elements):
        return None
    try:
        return evaluation.against_targets(found, train, test, predicted)
    except RuntimeError as error:  # the sheet does not relax
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


def finished_run(folder: Path) -> tuple[dict[str, Any], Path]:
    """Return what determines the training in `folder`, and its model file.

    Raises FileNotFoundError or RuntimeError for anything but a finished run of ours.
    """
    described = training.marked(folder)
    if described is None:
        raise FileNotFoundError(
            f"{folder} has no {training.MARKER}, or a damaged one: give the folder of a run of 02_training, or run it again"
        )
    if not training.finished(folder, described["settings"]):
        raise RuntimeError(f"the training in {folder} has not finished: run 02_training again, it goes on")
    return described, training.model_file(folder, described["settings"])


def ship(
    folder: Path, name: str, *, replace: bool = False, start: Sequence[Path] = (), no_committee: bool = False
) -> Path:
    """Copy the model of a finished run of ours to data/models/ as NAME.model, .log and .json, with its committee.

    Of a model that was fine-tuned `start` are the runs that it went on from, the last first: they enter the record. Raises
    FileNotFoundError or RuntimeError for anything but a finished run, FileExistsError for a name in use unless
    `replace`, ValueError for one that is no plain name and for a `start` that made another model.
    """
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise ValueError(f"NAME = {name!r}: must be letters, digits, '-', '_' and '.', like wse2-small")
    described, path = finished_run(folder)
    stages = [described]
    for each in start:
        begun, before = finished_run(each)
        if records.sha256(before) != stages[-1].get("foundation_model"):
            raise ValueError(
                f"the training did not go on from the model of {each}: give the run that made it"
            )
        stages.append(begun)
    if start:
        described = described | {"start": stages[1:]}
    if (paths.MODELS / f"{name}.model").exists() and not replace:
        raise FileExistsError(f"data/models/{name}.model exists: choose another name, or give --replace")
    paths.MODELS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=paths.MODELS) as temporary:
        staging = Path(temporary)
        model, log = staging / f"{name}.model", staging / f"{name}.log"
        with training.quiet():
            trained = potentials.in_double_precision(potentials.read(path.read_bytes(), path, "cpu"))
            content = io.BytesIO()
            torch.save(without_paths(trained), content)
        model.write_bytes(content.getvalue())
        shutil.copyfile(training.log_file(folder, described["settings"]), log)
        found = potential.load(str(model), trust_model=True)
        train, *held = (dataset.read(folder / f"{part}.xyz") for part in splitting.SIDES)
        parts = dict(zip(("validation", "test"), held, strict=True))
        predicted = {part: accuracy.predict(frames, found.calculator) for part, frames in parts.items()}
        description = {
            "name": name,
            "sha256": records.sha256(model),
            "licence": LICENCE,
            "elements": found.elements,
            "r_max": found.r_max,
            "num_interactions": found.num_interactions,
            **described,
            "epochs": int(training.read_log(log)["epoch"][-1]) + 1,
            "wall_hours": round(training.wall_hours(log), 2),
            "versions": records.versions(),
            "errors": {part: accuracy.errors(frames, predicted[part]) for part, frames in parts.items()},
            "targets": targets(found, train, parts["test"], predicted["test"]),
            "committee": None,
        }
        if not no_committee:
            factor = committee.write(staging / f"{name}.committee.npz", found, train, parts["validation"])
            description["committee"] = {"members": committee.MEMBERS, "factor": factor}
        records.write_json(staging / f"{name}.json", description)
        for file in (log, staging / f"{name}.json"):
            if place := MACHINE.search(file.read_text()):
                raise RuntimeError(f"{file.name} names a place on this machine or a URL: {place[0].strip()}")
        for suffix in ("model", "log", "committee.npz", "json"):
            if (made := staging / f"{name}.{suffix}").exists():
                os.replace(made, paths.MODELS / made.name)
            else:
                (paths.MODELS / made.name).unlink(missing_ok=True)
    return paths.MODELS / f"{name}.model"
