"""Minutes that a change costs: set-up, `make`, `make check` and `make test` in a fresh clone, and each notebook's slowest cells.

    .venv/bin/python benchmarks/loop.py [TARGET ...]

On a machine with nothing else to do. Without targets all four are timed; `make` comes with the cells.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import pandas as pd

from helpers import paths

TARGETS = [".venv/ready", "all", "check", "test"]
LEAST = 2.0  # s, of the cells that are named


def cells(results: Path) -> pd.DataFrame:
    """Return the cells of the executed notebooks that took longest: notebook, seconds, and how the cell begins."""
    rows = []
    for path in sorted(results.glob("*/*/notebook.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            seconds = cell.metadata.get("papermill", {}).get("duration") or 0.0
            if cell.cell_type == "code" and seconds > LEAST:
                rows.append((path.parent.parent.name, round(seconds, 1), cell.source.split("\n")[0][:80]))
    return pd.DataFrame(rows, columns=["notebook", "seconds", "cell"])


def main(targets: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["git", "clone", "--quiet", paths.ROOT, folder], check=True)
        for target in targets or TARGETS:
            begin = time.perf_counter()
            failed = subprocess.run(["make", target], cwd=folder, stdout=sys.stderr).returncode
            minutes = (time.perf_counter() - begin) / 60
            print(f"make {target}: {minutes:.1f} min" + (", FAILED" if failed else ""), flush=True)
            if target == "all":
                print(cells(Path(folder) / "results").to_string(index=False), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
