"""The graph of steps, and papermill as a user calls it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import paths

STEPS = sorted(path.stem for path in paths.NOTEBOOKS.glob("*.ipynb"))


def run(*command: str, results: Path, cwd: Path = paths.ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=cwd, env=os.environ | {"WSE2_RESULTS": str(results)},
        stdin=subprocess.DEVNULL, capture_output=True, text=True,
    )  # fmt: skip


def papermill(*arguments: str, **where: Path) -> subprocess.CompletedProcess[str]:
    return run("papermill", "-k", "python3", "--no-progress-bar", *arguments, **where)


def test_graph_has_every_notebook(tmp_path):
    listed = run("snakemake", "--dry-run", "--nolock", results=tmp_path)
    assert listed.returncode == 0, listed.stderr
    rules = {line.split()[1].rstrip(":") for line in listed.stdout.splitlines() if line.startswith("rule ")}
    assert rules == {*STEPS, "report", "all"}


def test_unknown_parameter_is_refused_and_leaves_no_results(tmp_path):
    out = tmp_path / "out.ipynb"
    refused = papermill("05_defect.ipynb", str(out), "-p", "supercel", "12",
                        results=tmp_path / "results", cwd=paths.NOTEBOOKS)  # fmt: skip
    assert refused.returncode != 0
    assert "unknown parameter 'supercel'; did you mean 'supercell'?" in refused.stderr
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("cwd", [paths.ROOT, paths.NOTEBOOKS], ids=["root", "notebooks"])
def test_papermill_from_anywhere(cwd, tmp_path):
    notebook = os.path.relpath(paths.NOTEBOOKS / "01_data.ipynb", cwd)
    done = papermill(notebook, str(tmp_path / "out.ipynb"), results=tmp_path / "results", cwd=cwd)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.ipynb").is_file()
    assert list((tmp_path / "results").glob("01_data/*/result.json"))


def test_papermill_without_output_path_writes_to_stdout(tmp_path):
    done = papermill("01_data.ipynb", results=tmp_path / "results", cwd=paths.NOTEBOOKS)
    assert done.returncode == 0, done.stderr
    executed = json.loads(done.stdout)
    assert all(cell["execution_count"] for cell in executed["cells"] if cell["cell_type"] == "code")


def test_a_result_of_another_key_does_not_count(tmp_path):
    folder = tmp_path / "01_data" / "wse2_gpaw"
    folder.mkdir(parents=True)
    (folder / "notebook.ipynb").touch()
    (folder / "result.json").write_text('{"key": "another", "results": {}}')
    assert run("snakemake", "-np", "--nolock", results=tmp_path).returncode == 0
    assert (folder / "notebook.ipynb").exists(), "who only looks must leave things as they are"
    assert run("snakemake", "--list-rules", "--quiet", "rules", results=tmp_path).returncode == 0
    assert not (folder / "notebook.ipynb").exists()
