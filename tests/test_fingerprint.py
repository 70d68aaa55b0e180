"""Keys follow what is computed: words leave them as they are, and a change reaches what depends on it and nothing else."""

import json
import shutil
from pathlib import Path

import publish
import pytest

from defectphonons import fingerprint as definitions
from helpers import fingerprint, parameters, paths, records


@pytest.fixture
def sources(tmp_path, monkeypatch) -> Path:
    """A folder with copies of the packages and the notebooks, of which the fingerprints are."""
    for folder in (*(definitions.SOURCES / name for name in ("defectphonons", "helpers")), paths.NOTEBOOKS):
        shutil.copytree(folder, tmp_path / folder.name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    monkeypatch.setattr(definitions, "SOURCES", tmp_path)
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path / "notebooks")
    forget()
    yield tmp_path
    forget()


def forget() -> None:
    """Read the packages and the notebooks anew."""
    for function in (
        definitions.module_of,
        definitions.definition,
        fingerprint.of_result,
        fingerprint.of_notebook,
    ):
        function.cache_clear()


@pytest.fixture(scope="module")
def before() -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """The state of the packages and notebooks as they are."""
    return state()


def state() -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """Key of each step, what its notebook prints and draws, and each picture of it."""
    forget()
    steps = parameters.default_runs()
    keys = {step: fingerprint.of_result(records.cells(step)) for step in steps}
    shown = {step: fingerprint.of_notebook(records.cells(step)) for step in steps}
    pictures = {
        name: fingerprint.of_picture(records.cells(run.step), picture)
        for run, picture, name in publish.pictures()
    }
    return keys, shown, pictures


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name in before if before[name] != after[name]}


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text, f"{path.name} has no {old!r}"
    path.write_text(text.replace(old, new, 1))


def edit_cell(sources: Path, step: str, old: str, new: str) -> None:
    """The same in the source of a cell."""
    path = sources / "notebooks" / f"{step}.ipynb"
    notebook = json.loads(path.read_text())
    (cell,) = [cell for cell in notebook["cells"] if old in "".join(cell["source"])]
    cell["source"] = "".join(cell["source"]).replace(old, new, 1)
    path.write_text(json.dumps(notebook))


def test_words_change_nothing(before, sources):
    for module, old, new in (
        ("defectphonons/localisation", "ENHANCEMENT = 5.0  #", "ENHANCEMENT = 5.0  # Another comment. #"),
        ("defectphonons/spectra", '"""Compute the spectrum on the inequivalent points', '"""Another docstring'),
        ("defectphonons/spectra", "def mesh_for(n: int, mesh: int) -> int:", "def mesh_for(n, mesh):"),  # annotations
        ("defectphonons/spectra", "    weights = phonon.mesh.weights / ", "    weights = (\n        phonon.mesh.weights\n    ) / "),
        ("defectphonons/localisation", 'f"no atom of the {len(defect.atoms)}-atom', 'f"Not one atom of the {len(defect.atoms)}-atom'),
        ("defectphonons/structures", "    lattice_sites: np.ndarray", "    lattice_sites: Any"),
        ("helpers/data/importing", "def to_file(", "def another() -> None:\n    pass\n\n\ndef to_file("),  # no notebook calls it
    ):  # fmt: skip
        edit(sources / f"{module}.py", old, new)
    for was, now in zip(before, state(), strict=True):
        assert changed(was, now) == set()


@pytest.mark.parametrize(
    ("module", "old", "new", "steps"),
    [
        ("defectphonons/localisation", "ENHANCEMENT = 5.0", "ENHANCEMENT = 4.0", {"05_defect", "07_comparison", "08_dilute_limit", "11_strain", "12_emission"}),
        ("defectphonons/localisation", "abs(both[0] - both[1]), grid) / 2", "abs(both[0] + both[1]), grid) / 2",
         {"03_evaluation", "05_defect", "06_radial_dos", "07_comparison", "08_dilute_limit", "11_strain"}),
        ("defectphonons/chebyshev", "count: int = 24", "count: int = 25", {"08_dilute_limit"}),
        ("helpers/data/consistency", "def duplicates(", "def duplicates(*, ", {"01_data"}),
        ("defectphonons/potentials", "from dftd3.ase import DFTD3", "from dftd3.other import DFTD3", {"03_evaluation"}),
    ],
    ids=["constant", "operator", "default", "called helper", "import"],
)  # fmt: skip
def test_a_change_reaches_the_keys_that_depend_on_it(before, sources, module, old, new, steps):
    keys, shown, _ = before
    edit(sources / f"{module}.py", old, new)
    keys_now, shown_now, _ = state()
    assert changed(keys, keys_now) == steps
    assert changed(shown, shown_now) >= steps


def test_a_picture_depends_on_what_draws_it_and_on_the_style(before, sources):
    figures = sources / "helpers" / "figures"
    keys, shown, pictures = before
    edit(figures / "pristine.py", "def thermal(", "def thermal(*,\n    ")
    keys_now, shown_now, pictures_now = state()
    assert keys_now == keys
    assert changed(shown, shown_now) == {"04_pristine"}
    assert changed(pictures, pictures_now) == {"thermal"} & pictures.keys()
    edit(figures / "evaluation.py", "def parity(", "def parity(*,\n    ")
    assert changed(pictures, state()[2]) == {"parity"}
    edit(figures / "style.py", '"figure.dpi": 110', '"figure.dpi": 111')
    keys_now, shown_now, pictures_now = state()
    assert keys_now == keys
    assert changed(shown, shown_now) == shown.keys() and changed(pictures, pictures_now) == pictures.keys()


def test_of_a_notebook_the_words_do_not_count_and_what_it_shows_not_for_its_result(before, sources):
    path = sources / "notebooks" / "06_radial_dos.ipynb"
    notebook = json.loads(path.read_text())
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = "Other words."
    path.write_text(json.dumps(notebook))
    assert state() == before
    edit_cell(
        sources,
        "06_radial_dos",
        "{share:.1%} against the pristine sheet",
        "{share:.2%} against the pristine sheet",
    )
    keys, shown, pictures = state()
    assert (keys, pictures) == (before[0], before[2])
    assert changed(before[1], shown) == {"06_radial_dos"}
    edit_cell(
        sources,
        "06_radial_dos",
        "by_atom(reference, grid, run.smearing)",
        "by_atom(reference, grid, 2 * run.smearing)",
    )
    assert changed(before[0], state()[0]) == {"06_radial_dos"}


def test_the_caches_depend_on_what_fills_them_alone(sources):
    def caches() -> list[str]:
        forget()
        names = (
            "defectphonons.relaxation.relax", "defectphonons.hessian.layers.Layers",
            "helpers.models.active.differentiated", "defectphonons.potentials.evaluate",
        )  # fmt: skip
        return [definitions.of(name) for name in names]

    before = caches()
    edit(
        sources / "defectphonons/relaxation.py",
        "    before, after = ",
        "    # A remark.\n    before, after = ",
    )
    edit(sources / "helpers/models/active.py", "RIDGE = 1e-6", "RIDGE = 1e-5")
    edit(sources / "defectphonons/hessian/layers.py", '"""', '"""Other words. ')
    assert caches() == before
    edit(sources / "defectphonons/relaxation.py", "FORCE_TOLERANCE = 1e-5", "FORCE_TOLERANCE = 1e-4")
    now = caches()
    assert now[0] != before[0] and now[1:] == before[1:]


@pytest.mark.parametrize(
    ("body", "depends"),
    [
        ("def f(x):\n    return two.g(x)", True),
        ("def f(x):\n    return [two for two in x] + [two.g(x)]", True),  # of the comprehension alone
        ("def f(two):\n    return two.g(1)", False),
    ],
    ids=["module", "variable of a comprehension", "argument"],
)
def test_what_hides_a_module_does_so_in_its_own_place_alone(sources, body, depends):
    (sources / "defectphonons/one.py").write_text(f"from defectphonons import two\n\n\n{body}\n")
    (sources / "defectphonons/two.py").write_text("def g(x):\n    return x + 1\n")
    before = definitions.of("defectphonons.one.f")
    edit(sources / "defectphonons/two.py", "x + 1", "x + 2")
    forget()
    assert (definitions.of("defectphonons.one.f") != before) == depends


def test_what_is_not_defined_is_no_part_of_a_cache():
    with pytest.raises(KeyError, match="defectphonons.relaxation defines no relaxx"):
        definitions.of("defectphonons.relaxation.relaxx")


def test_a_picture_that_no_cell_saves_is_named(sources):
    with pytest.raises(ValueError, match="no cell saves a picture 'nothing'"):
        fingerprint.of_picture(records.cells("05_defect"), "nothing")
