"""The graph of steps, and papermill as a user calls it."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import publish
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
    assert rules == {*STEPS, "cells", "report", "all"}


def test_unknown_parameter_is_refused_and_leaves_no_results(tmp_path):
    out = tmp_path / "out.ipynb"
    refused = papermill("05_defect.ipynb", str(out), "-p", "supercel", "12",
                        results=tmp_path / "results", cwd=paths.NOTEBOOKS)  # fmt: skip
    assert refused.returncode != 0
    assert "unknown parameter 'supercel'; did you mean 'supercell'?" in refused.stderr
    assert not (tmp_path / "results").exists()


def test_a_wrong_parameter_is_told_in_one_line(tmp_path):
    """In the notebook and at the end of what papermill says, before which stand papermill's own calls alone."""
    out = tmp_path / "out.ipynb"
    refused = papermill("05_defect.ipynb", str(out), "-p", "supercell", "banana",
                        results=tmp_path / "results", cwd=paths.NOTEBOOKS)  # fmt: skip
    line = "ValueError: supercell = 'banana': must be a whole number, like 6"
    assert refused.returncode != 0
    assert refused.stderr.strip().splitlines()[-1] == line
    assert "helpers" not in refused.stderr
    cells = [cell for cell in json.loads(out.read_text())["cells"] if cell["cell_type"] == "code"]
    (told,) = [output for cell in cells for output in cell["outputs"] if output["output_type"] == "error"]
    assert told["traceback"] == [line]


def test_papermill_from_the_root(tmp_path):
    out = tmp_path / "out.ipynb"
    done = papermill("notebooks/01_data.ipynb", str(out), results=tmp_path / "results", cwd=paths.ROOT)
    assert done.returncode == 0, done.stderr
    assert out.is_file()
    assert list((tmp_path / "results").glob("01_data/*/result.json"))


def test_papermill_from_the_notebooks_without_output_path_writes_to_stdout(tmp_path):
    done = papermill("01_data.ipynb", results=tmp_path / "results", cwd=paths.NOTEBOOKS)
    assert done.returncode == 0, done.stderr
    executed = json.loads(done.stdout)
    assert all(cell["execution_count"] for cell in executed["cells"] if cell["cell_type"] == "code")
    assert list((tmp_path / "results").glob("01_data/*/result.json"))


def test_a_result_of_another_key_does_not_count(tmp_path):
    folder = tmp_path / "01_data" / "wse2"
    folder.mkdir(parents=True)
    (folder / "notebook.ipynb").touch()
    (folder / "result.json").write_text('{"key": "another", "results": {}}')
    for command in (["-n"], ["-n", "--quiet", "rules"], ["--list-rules", "--quiet", "rules"], ["--summary"]):
        looked = run("snakemake", *command, "--nolock", results=tmp_path)
        assert looked.returncode == 0, looked.stderr
        assert (folder / "notebook.ipynb").exists(), "who only looks must leave things as they are"
        assert command != ["-n"] or re.search("^01_data +1$", looked.stdout, re.MULTILINE)


def test_what_lies_there_damaged_is_executed_anew(tmp_path):
    folder = tmp_path / "01_data" / "wse2"
    notebook, result = folder / "notebook.ipynb", folder / "result.json"

    def executed() -> bool:
        done = run("snakemake", "01_data", "--quiet", "rules", "--nolock", results=tmp_path)
        assert done.returncode == 0, done.stderr
        assert json.loads(result.read_text())["results"] and json.loads(notebook.read_text())["cells"]
        return "01_data ..." in done.stdout

    assert executed()
    assert not executed()
    result.write_bytes(b"\xff\xfe")
    assert executed()
    result.unlink()
    (result / "in it").mkdir(parents=True)
    notebook.write_text('{"cells": [')
    assert executed()
    assert not executed()
    assert sorted(path.name for path in (tmp_path / "logs").iterdir()) == ["01_data.txt"]


def test_a_run_takes_the_kernel_of_its_own_python_and_says_at_last_what_is_wrong(tmp_path):
    kernel = tmp_path / "jupyter" / "kernels" / "python3"
    kernel.mkdir(parents=True)
    (kernel / "kernel.json").write_text('{"argv": ["/bin/false"], "display_name": "x", "language": "python"}')
    data = tmp_path / "few.xyz"
    data.write_text("2\n\nW 0 0 0\n")

    def executed(*given: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "helpers.execution", "01_data", tmp_path / "out" / "notebook.ipynb", *given],
            env=os.environ | {"WSE2_RESULTS": str(tmp_path), "JUPYTER_PATH": str(tmp_path / "jupyter")},
            capture_output=True, text=True,
        )  # fmt: skip

    refused = executed("{data: none.xyz}")
    assert refused.stderr.startswith("FileNotFoundError: data = 'none.xyz': no such file")
    assert refused.returncode and not (tmp_path / "out").exists(), "nothing is started"
    failed = executed(f"{{data: {data}}}")
    assert failed.returncode and "Exception encountered at" in failed.stderr
    assert re.match(r"\w+: .*few.xyz", failed.stderr.splitlines()[-1])
    assert "Warning" not in failed.stderr and "warning" not in failed.stderr


def test_numbers_have_errors_where_a_committee_computed_them(monkeypatch):
    rows = [
        ("x", "04_pristine", "cells/-1", "{:.2f} ± {spread[x][0]:.2f} Å"),
        ("y", "05_defect", "y", "{:.1%}"),
        ("claims that hold", "08_dilute_limit", "verdicts", "{0[holds]}"),
    ]
    with_error = ("z", "05_defect", "z", "{:.1%} ± {spread[0 to 4 Å]:.1%}")
    monkeypatch.setattr(publish, "NUMBERS", [*rows, with_error])
    results = {
        "04_pristine": {"results": {"cells": [1, 2.5], "spread": {"x": [0.0312]}}},
        "05_defect": {"results": {"y": 0.5, "z": 0.25, "spread": None}},
    } | {
        # Each judges what the others do not.
        step: {"results": {"ledger": [{"section": "1", "statement": statement, "verdict": verdict}]}}
        for step, statement, verdict in (
            ("07_comparison", "a", "not judged"),
            ("08_dilute_limit", "a", "holds"),
            ("11_strain", "b", "holds"),
        )
    }
    committee = {"05_defect": {"results": {"spread": {"0 to 4 Å": 0.013}}}}
    assert publish.numbers(results, committee) == {
        "x": ["2.50 ± 0.03 Å", "04_pristine"], "y": ["50.0%", "05_defect"], "z": ["25.0% ± 1.3%", "05_defect"],
        "claims that hold": ["2", "08_dilute_limit"],
    }  # fmt: skip
    assert publish.numbers(results)["z"] == ["25.0%", "05_defect"]


def test_what_no_longer_follows_is_named(tmp_path):
    for folder in ("src", "workflow", "notebooks", "figures", "data", "docs"):
        shutil.copytree(
            paths.ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("*.parts", "__pycache__")
        )
    shutil.copy(paths.ROOT / "README.md", tmp_path)

    def stale() -> list[str]:
        done = subprocess.run(
            [sys.executable, tmp_path / "workflow" / "check_stale.py"],
            env=os.environ | {"PYTHONPATH": str(tmp_path / "src")}, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == (done.stdout != "nothing is stale\n"), done.stderr
        return done.stdout.splitlines()

    def append(name: str, text: str) -> None:
        path = tmp_path / name
        path.write_bytes(path.read_bytes() + text.encode())

    assert stale() == ["nothing is stale"]
    words = tmp_path / "notebooks" / "01_data.ipynb"
    notebook = json.loads(words.read_text())
    notebook["cells"][0]["source"] = "Other words."
    words.write_text(json.dumps(notebook))
    assert stale() == ["nothing is stale"]
    append("figures/parity.png", "x")
    next(cell for cell in notebook["cells"] if cell.get("outputs"))["outputs"] = []
    words.write_text(json.dumps(notebook))
    (tmp_path / "figures" / "stray.png").touch()
    table = (tmp_path / "docs" / "numbers.md").read_text()
    (tmp_path / "docs" / "numbers.md").write_text(
        table.replace("(exact: 0) | 0.000 |", "(exact: 0) | 0.001 |")
    )
    readme = (tmp_path / "README.md").read_text()
    (tmp_path / "README.md").write_text(readme.replace("| The three W move", "| Three W move"))
    assert [line.split(":")[0] for line in stale()[:-1]] == [
        "notebooks/01_data.ipynb", "figures/parity", "figures/stray.png",
        "README.md, Three W move towards the vacancy's axis by", "README.md, The three W move towards the vacancy's axis by",
        "README.md, Three W move towards the vacancy's axis by", "docs/numbers.md, States, defective minus pristine",
    ]  # fmt: skip
    before = stale()
    append("src/defectphonons/tmatrix.py", "# a remark\n")
    assert stale() == before

    def replace(name: str, old: str, new: str) -> None:
        text = (tmp_path / name).read_text()
        assert old in text
        (tmp_path / name).write_text(text.replace(old, new))

    replace("src/defectphonons/tmatrix.py", "> 1e-12", "> 1e-13")
    assert "notebooks/08_dilute_limit.ipynb: parameters, inputs or what is computed have changed" in stale()
    assert "figures/dilute_modes: parameters, inputs or what is computed have changed" in stale()
    assert not [line for line in stale() if "07_comparison" in line]
    replace("src/helpers/figures/comparison.py", "def comparison(", "def comparison(*, ")
    assert "notebooks/07_comparison.ipynb: what is printed or drawn has changed" in stale()
    assert "figures/comparison_6x6: what is printed or drawn has changed" in stale()
    assert not [line for line in stale() if line.startswith("figures/modes_by_size")]


def test_a_notebook_of_other_cells_is_not_published(tmp_path):
    other = json.loads((paths.NOTEBOOKS / "01_data.ipynb").read_text())
    other["cells"] = [cell for cell in other["cells"] if cell["cell_type"] == "markdown"]
    (tmp_path / "executed.ipynb").write_text(json.dumps(other))
    with pytest.raises(ValueError, match="has other cells than notebooks/01_data.ipynb: run `make` again"):
        publish.with_outputs("01_data", tmp_path / "executed.ipynb")
    (tmp_path / "executed.ipynb").write_text('{"cells": [')
    with pytest.raises(ValueError, match="executed.ipynb is no notebook .NotJSONError.: run `make` again"):
        publish.with_outputs("01_data", tmp_path / "executed.ipynb")
