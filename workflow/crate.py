"""crate.py TARGET.zip: the default run as an RO-Crate: what was run, on what, with what, and what came out.

One CreateAction a notebook, from its files of data and models to its executed copy, result.json and figures.
"""

import json
import sys
from pathlib import Path
from typing import Any

import publish
from rocrate.model import ContextEntity
from rocrate.rocrate import ROCrate

from defectphonons import caching
from helpers import parameters, paths, records


def add_file(crate: ROCrate, path: Path, destination: str, **properties: Any) -> Any:
    """The file in the crate, with its checksum; added once."""
    known = crate.dereference(destination)
    return known or crate.add_file(
        path, destination, properties={"sha256": records.sha256(path), **properties}
    )


def build(runs: dict[str, parameters.Run], target: Path) -> None:
    """Write the crate of finished `runs` as a zip file; ValueError if one has no valid result."""
    crate = ROCrate()
    crate.name = "Default run of the WSe2 phonons compendium"
    crate.description = (
        "Machine-learned force fields for defective WSe2: notebooks as executed, and their results"
    )
    crate.license = "MIT (code), CC-BY-4.0 (data, models, figures)"
    crate.add_workflow(paths.ROOT / "Snakefile", "Snakefile", main=True, lang="snakemake")
    code = ["README.md", "LICENSE", "CITATION.cff", "Makefile", "pyproject.toml", "requirements.lock"]
    code += ["data/README.md", "data/models/README.md"]
    code += [str(path.relative_to(paths.ROOT)) for path in sorted((paths.ROOT / "docs").rglob("*.*"))]
    for pattern in ("src/**/*.py", "workflow/*.py", "workflow/*.sh", "params/*.yaml"):
        code += [str(path.relative_to(paths.ROOT)) for path in sorted(paths.ROOT.glob(pattern))]
    for name in code:
        add_file(crate, paths.ROOT / name, name)
    inputs = {records.sha256(path): path for path in sorted(paths.DATA.rglob("*")) if path.is_file()}
    for step, run in runs.items():
        publish.result(run)
        record = json.loads((run.folder / "result.json").read_text())
        source = paths.NOTEBOOKS / f"{step}.ipynb"
        instrument = add_file(
            crate, source, f"notebooks/{source.name}", encodingFormat="application/x-ipynb+json"
        )
        read = [
            add_file(crate, inputs[checksum], str(inputs[checksum].relative_to(paths.ROOT)))
            for checksum in record["inputs"].values()
            if checksum in inputs  # the others are keys of earlier runs
        ]
        given = [
            crate.add(
                ContextEntity(
                    crate, f"#{step}/{name}", {"@type": "PropertyValue", "name": name, "value": value}
                )
            )
            for name, value in record["parameters"].items()
        ]
        made = [
            add_file(crate, path, f"results/{step}/{run.tag}/{path.name}")
            for path in sorted(run.folder.iterdir())
            if path.is_file()
        ]
        crate.add_action(
            instrument, f"#{step}", object=read + given, result=made,
            properties={
                "name": step,
                "description": f"key {record['key']}, revision {record['revision']}, " + ", ".join(f"{package} {version}" for package, version in record["versions"].items()),
            },
        )  # fmt: skip
    with caching.whole_file(target) as temporary:
        crate.write_zip(temporary)


if __name__ == "__main__":
    build(parameters.default_runs(), Path(sys.argv[1]))
