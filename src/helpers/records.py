"""What a run leaves behind: whole files, checksums, and result.json with the key it is valid for."""

import contextlib
import hashlib
import importlib.metadata
import json
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from defectphonons import caching
from helpers import fingerprint, paths

SCHEMA = 1
READ: set[Path] = set()  # files in data/ that this process has opened since its run was made
PACKAGES = ("ase", "mace-torch", "numpy", "phonopy", "scipy", "spglib", "torch")


def note(event: str, arguments: tuple[Any, ...]) -> None:
    """Keep in READ which files in data/ are opened, as an audit hook of Python."""
    if event == "open" and str(arguments[0]).startswith(f"{paths.DATA}/"):
        READ.add(Path(arguments[0]))


sys.addaudithook(note)


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON, whole or not at all. NaN is refused (ValueError)."""
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    with caching.whole_file(path) as temporary:
        temporary.write_text(text)


def sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    was_read = path in READ
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if not was_read:  # nothing but its checksum
        READ.discard(path)
    return digest


def revision() -> str | None:
    """Return the git revision of the compendium, '-dirty' when tracked files differ; None without git."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            cwd=paths.ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return None
    return described.stdout.strip()


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that numbers depend on."""
    installed = {package: importlib.metadata.version(package) for package in PACKAGES}
    return {"python": platform.python_version(), **installed}


def cells(step: str) -> tuple[str, ...]:
    """Return the source of each code cell of a step's notebook but the one with the parameters."""
    notebook = json.loads((paths.NOTEBOOKS / f"{step}.ipynb").read_text())
    return tuple(
        "".join(cell["source"])
        for cell in notebook["cells"]
        if cell["cell_type"] == "code" and "parameters" not in cell["metadata"].get("tags", [])
    )


def key(step: str, parameters: dict[str, Any], inputs: dict[str, str]) -> str:
    """Return the hash of all that a result depends on: 16 hexadecimal digits.

    `parameters` of the run, `inputs` (checksums of the files it reads), and what the notebook of `step` and the helpers
    that it calls compute (helpers.fingerprint).
    """
    text = json.dumps([SCHEMA, parameters, inputs, fingerprint.of_result(cells(step))], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def of_model(path: Path) -> dict[str, Any] | None:
    """Return what NAME.json beside the file NAME.model says: `sha256`, `data`, `split`; None without one, ValueError if it is damaged."""
    beside = path.with_suffix(".json")
    try:
        record = json.loads(beside.read_text())
        return {name: record[name] for name in ("sha256", "data", "split")}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{beside} does not describe a model ({error!r}): restore it from git") from error


def registry() -> dict[str, dict[str, Any]]:
    """Return the record of each model in data/models that has a sound one, by name."""
    by_name = {}
    for path in sorted(paths.MODELS.glob("*.model")):
        with contextlib.suppress(ValueError):  # who loads that model is told
            by_name[path.stem] = of_model(path)
    return {name: record for name, record in by_name.items() if record}


def write(run: Any, results: dict[str, Any]) -> Path:
    """Write result.json of a run (an instance from `parameters`) and return its path.

    RuntimeError if the run has read a file in data/, but for the records of models, that its key does not know: a change of that
    file would leave the result valid.
    """
    unknown = {file for file in READ - {*run.files.values()} if file.parent != paths.MODELS}
    if unknown:
        names = ", ".join(sorted(str(file.relative_to(paths.DATA)) for file in unknown))
        raise RuntimeError(
            f"{run.step} has read {names} in data/, which its key does not know: name it in `files` of {type(run).__name__} in "
            "helpers.parameters"
        )
    path = run.folder / "result.json"
    if path.is_dir():  # which a file cannot replace
        shutil.rmtree(path)
    write_json(
        path,
        {
            "schema": SCHEMA,
            "step": run.step,
            "tag": run.tag,
            "key": run.key,
            "parameters": run.model_dump(),
            "inputs": run.inputs,
            "dtype": getattr(run, "dtype", "float64"),
            "versions": versions(),
            "revision": revision(),
            "results": results,
        },
    )
    return path


def load(run: Any) -> dict[str, Any] | None:
    """Return `results` of the run's result.json if it is valid for the run's key; else None."""
    record = read_json(run.folder / "result.json")
    valid = record.get("key") == run.key and isinstance(record.get("results"), dict)
    return record["results"] if valid else None


def read_json(path: Path) -> dict[str, Any]:
    """Return the dictionary in a JSON file; an empty one if there is no such file, whatever has its name."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def is_executed(run: Any) -> bool:
    """Return whether the run has a valid result, and its executed notebook can be read."""
    return load(run) is not None and "cells" in read_json(run.folder / "notebook.ipynb")
