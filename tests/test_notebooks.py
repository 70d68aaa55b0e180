"""The committed notebooks are run, complete, and shaped alike. nbval compares what they print."""

import ast
import json
import re
import subprocess
import sys

import nbformat
import pytest

from helpers import parameters, paths

STEPS = sorted(path.stem for path in paths.NOTEBOOKS.glob("*.ipynb"))
MACHINE_PATH = re.compile(r"(?<![\w.])/(work|home|root|tmp|Users)/")


RUNS = parameters.default_runs()


@pytest.fixture(params=STEPS)
def step(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def cells(step: str) -> list[nbformat.NotebookNode]:
    """The code cells."""
    notebook = nbformat.read(paths.NOTEBOOKS / f"{step}.ipynb", as_version=4)
    nbformat.validate(notebook)
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_committed_as_run(cells):
    # nbval lets a notebook without outputs pass, so a stripped one must fail here.
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert outputs, "no outputs: commit the notebook as run (make publish)"
    assert not [output for output in outputs if output.output_type == "error"]


def test_outputs_name_no_machine(cells):
    for cell in cells:
        for output in cell.outputs:
            texts = [output.get("text", ""), *map(str, output.get("data", {}).values())]
            assert not any(MACHINE_PATH.search(text) for text in texts), cell.source


def test_metadata_is_clean(step):
    notebook = nbformat.read(paths.NOTEBOOKS / f"{step}.ipynb", as_version=4)
    assert not {"papermill", "widgets"} & set(notebook.metadata), "run make publish"
    assert not [cell for cell in notebook.cells if "papermill" in cell.metadata], "run make publish"


def test_no_definitions(cells):
    for cell in cells:
        for node in ast.walk(ast.parse(cell.source)):
            assert not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef), cell.source


def test_parameters_are_the_defaults_of_the_model(step, cells):
    tagged = [cell for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    assert tagged == cells[:1], "the first code cell, and no other, is tagged 'parameters'"
    statements = ast.parse(tagged[0].source).body
    assert all(isinstance(statement, ast.Assign) for statement in statements)
    given = {statement.targets[0].id: ast.literal_eval(statement.value) for statement in statements}
    defaults = {name: field.default for name, field in type(RUNS[step]).model_fields.items()}
    assert given == defaults
    assert {name: type(value) for name, value in given.items()} == {
        name: type(value) for name, value in defaults.items()
    }


def test_nothing_is_asserted_of_what_was_just_imposed(cells):
    """The sum rule and permutation symmetry hold to rounding once force constants were symmetrised, whatever they were."""
    assert not [
        cell.source for cell in cells if re.search(r"""assert .*["']after["']\]\["']sum_rule""", cell.source)
    ]


# Each notebook as its first two code cells, with something for every parameter that none may be.
WRONG = """
import json, sys
for first, second in json.load(sys.stdin):
    names = {}
    exec(first, names)
    try:
        exec(second, {name: object() for name in names if name != "__builtins__"})
    except ValueError as error:
        print(error)
assert "torch" not in sys.modules, "PyTorch is imported before parameters are refused"
"""


def test_wrong_parameters_are_refused_by_the_first_cell_after_them_and_without_pytorch():
    notebooks = [nbformat.read(paths.NOTEBOOKS / f"{step}.ipynb", as_version=4) for step in STEPS]
    code = [[cell.source for cell in each.cells if cell.cell_type == "code"][:2] for each in notebooks]
    told = subprocess.run(
        [sys.executable, "-c", WRONG], input=json.dumps(code), capture_output=True, text=True
    )
    assert told.returncode == 0, told.stderr
    assert len([line for line in told.stdout.splitlines() if "must be text" in line]) == len(STEPS)
