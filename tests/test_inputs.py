"""Bad input gets one clear error; results are whole and valid for one key."""

import json
import shutil

import numpy as np
import pytest

from defectphonons import caching, potentials, structures
from helpers import parameters, paths, records
from helpers.models import potential


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"supercell": 0}, "supercell = 0: .*greater than or equal to 3"),
        ({"supercell": -3}, "supercell = -3: .*greater than or equal to 3"),
        ({"supercell": 2.5}, "supercell = 2.5: must be a whole number"),
        ({"supercell": "six"}, "supercell = 'six': must be a whole number"),
        ({"strain": 0.5}, "strain = 0.5: must be from -0.05 to 0.05"),
        ({"strain": "[0.02, 0.2]"}, "strain = '.0.02, 0.2.': must be from -0.05 to 0.05"),
        ({"strain": [0.01, 0.0, 0.0]}, "strain = .*must be a number \\(biaxial\\) or two"),
        ({"strain": "zigzag"}, "strain = 'zigzag': must be a number"),
        ({"strain": float("nan")}, "strain = nan: must be from"),
        ({"defect": "V_Te"}, "defect = 'V_Te': 'V_Te' is no defect of WSe2; known: .*did you mean 'V_Se'"),
        ({"formula": "W2Se"}, "formula = 'W2Se': must be one metal and two chalcogens"),
        ({"trust_model": "true"}, "trust_model = 'true': must be True or False"),
        ({"device": "tpu"}, "device = 'tpu': .*'cpu' or 'cuda'"),
        ({"dtype": "float16"}, "dtype = 'float16': .*'float64' or 'float32'"),
        (
            {"dtype": "float32", "method": "finite_differences"},
            "dtype = 'float32': is for method = 'analytic'",
        ),
        ({"In": ["", "x = 1", "# Parameters\nsupercel = 12\n"]}, "'supercel'; did you mean 'supercell'"),
        ({"In": ["# Parameters\nprofile = 'small'\n"]}, "unknown parameter 'profile'; known: model"),
        ({"supercell": 2.5, "strain": 1.0}, "strain = 1.0: must be from.*; supercell = 2.5: must be a whole"),
    ],
)
def test_a_wrong_parameter_is_named(given, message):
    with pytest.raises(ValueError, match=message):
        parameters.Defect.of(given)


def test_shells_that_do_not_increase_are_refused():
    with pytest.raises(ValueError, match=r"outer_radii = \[4.0, 3.0\]: must be positive and increase"):
        parameters.RadialDos.of({"outer_radii": [4.0, 3.0]})
    assert parameters.RadialDos(outer_radii=[3.0, 5.0]).tag.endswith("_outer_radii=3.0-5.0")


@pytest.mark.parametrize(
    ("run", "given", "message"),
    [
        ("Defect", {"smearing": 0.0005}, "smearing = 0.0005: must be 0.005 THz or more: the grid"),
        ("Defect", {"seed": 10**30}, "seed = 1000.*: must be less than 4294967296"),
        ("Dilute", {"broadening": 1e-6}, "broadening = 1e-06: must be 0.005 THz or more"),
        ("Dilute", {"radii": [9]}, r"radii = \[9\]: must have at least 2 item"),
        ("RadialDos", {"outer_radii": [4.0, float("inf")]}, r"outer_radii\[1\] = inf: must be a finite number"),
        ("Training", {"flags": {"lr": {1}}}, r"flags\['lr'\] = .1.: must be text, a finite number, or True or False$"),
        ("Training", {"flags": {"lr": b"x"}}, r"flags\['lr'\] = b'x': must be text"),
        ("Training", {"flags": "{'lr': 1e999}"}, r"flags\['lr'\] = inf: must be text, a finite number"),
        ("Training", {"flags": {3: 4}}, "flags.* must be text"),
    ],
)  # fmt: skip
def test_what_cannot_be_served_is_refused(run, given, message):
    with pytest.raises(ValueError, match=message):
        getattr(parameters, run).of(given)


def test_a_file_that_is_not_there_is_called_by_its_parameter():
    for run, name, value in (
        ("Training", "foundation_model", "~nouser/x.model"),
        ("Defect", "model", f"{300 * 'x'}.model"),
        ("ActiveLearning", "proposals", "none.xyz"),
        ("Data", "data", 300 * "x"),
    ):
        more = {"labels": "gpaw"} if name == "proposals" else {}
        with pytest.raises(FileNotFoundError, match=f"^{name} = '{value}': no "):
            getattr(parameters, run).of({name: value} | more)


def test_every_tag_is_a_name_that_a_file_may_have(tmp_path):
    radii = [4.0 + number / 7 for number in range(40)]
    data = tmp_path / f"{80 * 'é'}.xyz"
    shutil.copy(paths.DATA / "wse2.xyz", data)
    runs = [parameters.RadialDos(outer_radii=radii), parameters.RadialDos(outer_radii=radii[1:])]
    runs += [parameters.Dilute(sizes=list(range(12, 200))), parameters.Data(data=str(data))]
    assert len({run.tag for run in runs}) == len(runs)
    assert all(len(run.tag.encode()) <= 120 for run in runs)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"supercells": "six"}, "supercells = 'six': must be a list, like"),
        ({"supercells": 6}, "supercells = 6: must be a list, like"),
        ({"supercells": [6]}, "must be two cells or more"),
        ({"supercells": [12, 6]}, "must be positive and increase"),
        ({"supercells": [3, 6]}, r"supercells\[0\] = 3: .*greater than or equal to 4"),
        ({"supercells": [6, 8]}, "must divide mesh = 36, or the cells are sampled at different wave vectors"),
    ],
)
def test_cells_that_do_not_compare_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        parameters.Comparison.of(given)


def test_papermill_may_pass_a_list_as_text():
    assert parameters.Comparison.of({"supercells": "[6, 9, 12]"}).supercells == [6, 9, 12]
    assert parameters.RadialDos.of({"outer_radii": "[4.0, 7]"}).outer_radii == [4.0, 7.0]


def test_a_comparison_asks_for_the_runs_of_its_own_parameters():
    known = {run.step: run for run in parameters.Comparison(strain=0.02, supercells=[6, 9]).needed}
    assert list(known) == ["03_evaluation", "04_pristine", "05_defect", "06_radial_dos"]
    assert all(known[step].strain == 0.02 for step in ("04_pristine", "05_defect", "06_radial_dos"))
    assert known["05_defect"].supercell == known["06_radial_dos"].supercell == 6
    # The defaults are those that `make` runs, so nothing is computed twice.
    defaults = parameters.default_runs()
    assert all(run.key == defaults[run.step].key for run in parameters.Comparison().needed)
    # There is no reference for other materials.
    assert "03_evaluation" not in {
        run.step for run in parameters.Comparison(formula="MoS2", defect="V_S").needed
    }
    assert parameters.Comparison().cell(6).shared_folder == parameters.Defect().folder


def test_cells_share_what_does_not_depend_on_the_sampling():
    one, other = parameters.Defect(mesh=72, rattle=0.1), parameters.RadialDos(smearing=0.1)
    assert one.shared_folder == other.shared_folder == parameters.Defect().folder
    assert parameters.RadialDos(strain=0.01).shared_folder != one.shared_folder


def test_parameters_pass_again_after_the_notebook_has_run():
    namespace = {"supercell": 9, "In": ["", "# Parameters\nsupercell = 9\n"], "total": 3, "mace": object()}
    assert parameters.Defect.of(namespace).tag == "9x9_V_Se_strain0.00_wse2-small"


def test_tags_tell_runs_apart():
    runs = [
        parameters.Defect(),
        parameters.Defect(strain=0.02),
        parameters.Defect(strain=0.004),
        parameters.Defect(displacement=0.02),
        parameters.Defect(formula="MoS2"),
        parameters.Defect(model="other"),
    ]
    assert len({run.tag for run in runs}) == len(runs)
    assert runs[1].tag == "6x6_V_Se_strain0.02_wse2-small"
    uniaxial = parameters.Defect.of({"strain": "[0.02, -0.0]", "defect": "V_Se+V_Se(1)"})
    assert uniaxial.strain == [0.02, 0.0] and uniaxial.tag == "6x6_V_Se+V_Se1_strain0.02_0.00_wse2-small"
    assert parameters.Defect.of({"strain": [0.02, 0.02]}).tag == runs[1].tag
    assert [run.compressed for run in (uniaxial, parameters.Defect(strain=[0.01, -0.01]))] == [False, True]


def test_an_unknown_defect_or_formula_is_named():
    cell = structures.supercell(structures.monolayer("WSe2", 3.32, 3.36), 3)
    with pytest.raises(
        ValueError, match="'V_S' is no defect of WSe2; known: V_W, V_Se, .*did you mean 'V_Se'"
    ):
        structures.Defect.of(cell, "V_S")
    for formula in ("WSe", "hello", "W2Se", "SeW2", "WMo2", "SSe2", ""):
        with pytest.raises(ValueError, match=f"formula = '{formula}': must be one metal and two"):
            structures.monolayer(formula, 3.32, 3.36)


def test_the_atom_across_a_thin_sheet_is_not_a_neighbour_of_the_vacancy():
    sheet = structures.supercell(structures.monolayer("MoS2", 3.7, 2.4), 4)
    vacancy = structures.Defect.of(sheet, "V_S")
    assert list(vacancy.atoms.symbols[vacancy.neighbours]) == ["Mo"] * 3
    assert list(vacancy.atoms.symbols[vacancy.across]) == ["S"]


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A copy of data/models to damage."""
    folder = tmp_path / "models"
    shutil.copytree(paths.MODELS, folder)
    monkeypatch.setattr(paths, "MODELS", folder)
    return folder / "wse2-small.model"


def test_a_missing_model_is_named_with_those_there_are(shipped):
    with pytest.raises(FileNotFoundError, match="model = 'wse3-small'.*wse2-small"):
        potential.load("wse3-small")
    with pytest.raises(FileNotFoundError, match="model = 'here/my.model'"):
        potential.load("here/my.model")


def test_an_empty_model_is_refused(shipped):
    shipped.write_bytes(b"")
    with pytest.raises(ValueError, match="is damaged or was exchanged"):
        potential.load("wse2-small")
    with pytest.raises(ValueError, match="is empty"):
        potentials.load(shipped)


def test_a_model_with_another_checksum_is_refused(shipped):
    with shipped.open("ab") as file:
        file.write(b"x")
    with pytest.raises(ValueError, match="damaged or was exchanged"):
        potential.load("wse2-small", trust_model=True)


def test_a_file_outside_is_loaded_only_if_trusted_and_only_if_whole(shipped, tmp_path):
    outside = tmp_path / "mine.model"
    outside.write_bytes(shipped.read_bytes()[:-1000])
    with pytest.raises(ValueError, match="set trust_model = True if you know where it comes from"):
        potential.load(str(outside))
    flipped = bytearray(shipped.read_bytes())
    flipped[len(flipped) // 2] ^= 1
    for content in (shipped.read_bytes()[:-1000], flipped):
        outside.write_bytes(content)
        with pytest.raises(ValueError, match="mine.model is truncated or damaged: copy it again"):
            potential.load(str(outside), trust_model=True)
    outside.write_bytes(shipped.read_bytes())
    assert potential.load(str(outside)).origin == "in data/models"  # the checksum is that of a shipped model


def test_a_file_that_holds_something_else_is_refused(tmp_path):
    import torch

    torch.save({"weights": [1, 2, 3]}, tmp_path / "dict.model")
    with pytest.raises(ValueError, match="holds a dict, not a MACE model"):
        potential.load(str(tmp_path / "dict.model"), trust_model=True)


def test_a_model_without_blocks_or_of_no_numbers_is_refused(shipped, tmp_path):
    import torch

    network = potential.load("wse2-small").calculator.models[0]
    network.atomic_energies_fn.atomic_energies[0] = float("nan")
    torch.save(network, tmp_path / "failed.model")
    with pytest.raises(
        ValueError, match="failed.model: atomic_energies_fn.atomic_energies has values that are no numbers"
    ):
        potential.load(str(tmp_path / "failed.model"), trust_model=True)
    empty = torch.nn.Module()
    empty.atomic_numbers, empty.r_max = torch.tensor([34, 74]), torch.tensor(5.0)
    torch.save(empty, tmp_path / "empty.model")
    with pytest.raises(ValueError, match="holds a Module, not a MACE model"):
        potential.load(str(tmp_path / "empty.model"), trust_model=True)


def test_a_model_of_another_mace_names_the_version_it_needs(tmp_path):
    path = tmp_path / "later.model"
    path.write_bytes(b"cmace.modules.later\nScaleShiftMACE\n.")  # a pickle of a class that is not here
    path.with_suffix(".json").write_text(json.dumps({"versions": {"mace-torch": "9.9.9"}}))
    with pytest.raises(ValueError, match=r"written with mace-torch 9\.9\.9, and here is .*: install 9\.9\.9"):
        potential.load(str(path), trust_model=True)
    path.with_suffix(".json").unlink()
    with pytest.raises(ValueError, match="truncated or not a model"):
        potential.load(str(path), trust_model=True)


def test_a_model_for_other_elements_is_refused():
    with pytest.raises(ValueError, match="knows Se, W but not Mo, S"):
        potential.load("wse2-small", elements=("Mo", "S"))


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ValueError, match="device = 'cuda': PyTorch finds no GPU"):
        potential.load("wse2-small", device="cuda")


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "result.json"
    records.write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        records.write_json(path, {"a": float("nan")})
    with pytest.raises(KeyboardInterrupt), caching.whole_file(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert json.loads(path.read_text()) == {"a": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["result.json"]


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "without a checksum"])
def test_what_is_cached_does_not_count_when_it_is_damaged(damage, tmp_path, capsys):
    path = tmp_path / "cells" / "0000.npz"
    assert caching.cached(path) is None
    places = np.arange(300.0)
    caching.cache(path, places=places)
    assert caching.cached(path)["places"].tolist() == np.load(path)["places"].tolist() == places.tolist()
    assert not capsys.readouterr().err
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[1000] ^= 1
    ends = {"cut": -100, "empty": 0, "flipped": None, "without a checksum": -32}
    path.write_bytes(content[: ends[damage]])
    assert caching.cached(path) is None
    assert (
        capsys.readouterr().err
        == f"{path} does not have the checksum at its end: it is damaged, and computed again\n"
    )


def test_a_run_that_reads_what_its_key_does_not_know_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "RESULTS", tmp_path)
    run = parameters.Pristine.of({})
    (paths.DATA / "literature.json").read_text()
    records.write(run, {})
    run = parameters.Pristine.of({})
    (paths.REFERENCE / "elements.json").read_text()
    line = "04_pristine has read reference/elements.json in data/, which its key does not know: name it in `files` of Pristine in"
    with pytest.raises(RuntimeError, match=line):
        records.write(run, {"answer": 42})
    assert records.load(run) == {}


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    path, synced = tmp_path / "result.json", []
    monkeypatch.setattr("os.fsync", lambda _: synced.append(path.exists()))
    records.write_json(path, {"a": 1})
    assert synced == [False] and path.exists()


def test_a_result_is_valid_for_its_key_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "RESULTS", tmp_path)
    run = parameters.Defect.of({})
    assert records.load(run) is None
    records.write(run, {"answer": 42})
    assert records.load(run) == {"answer": 42}
    assert records.load(parameters.Defect(device="cuda")) == {"answer": 42}
    record = json.loads((run.folder / "result.json").read_text())
    assert record["inputs"]["model"] == records.sha256(paths.MODELS / "wse2-small.model")
    keys = {
        run.key,
        parameters.Defect(smearing=0.1).key,
        parameters.Defect(model=str(paths.DATA / "wse2.xyz")).key,
        records.key("06_radial_dos", run.model_dump(), run.inputs),
    }
    assert len(keys) == 4
    path = run.folder / "result.json"
    for content in (
        b'{"key": "',
        b"\xff\xfe",
        b"[]",
        b"3",
        b'{"key": "%s"}' % run.key.encode(),
    ):
        path.write_bytes(content)
        assert records.load(run) is None
    path.unlink()
    (path / "in it").mkdir(parents=True)
    assert records.load(run) is None
    records.write(run, {"answer": 43})
    assert records.load(run) == {"answer": 43} and not records.is_executed(run)
    (run.folder / "notebook.ipynb").write_text('{"cells": []}')
    assert records.is_executed(run)
    (run.folder / "notebook.ipynb").write_text('{"cells": [')
    assert not records.is_executed(run)


def test_there_is_a_run_of_every_notebook():
    assert list(parameters.default_runs()) == sorted(
        path.stem for path in paths.NOTEBOOKS.glob("[0-9]*.ipynb")
    )


def test_the_key_covers_every_file_that_a_step_reads():
    literature = records.sha256(paths.DATA / "literature.json")
    assert parameters.Pristine().inputs["literature.json"] == literature
    assert parameters.Evaluation().inputs["literature.json"] == literature
    assert "pristine_3x3.yaml.xz" in parameters.Pristine().inputs
    assert "proposals" in parameters.ActiveLearning(labels="gpaw").inputs
    with pytest.raises(ValueError, match="is for labels = 'gpaw'"):
        parameters.ActiveLearning(proposals="wse2.xyz")
    compared = parameters.Comparison().inputs
    assert compared["claims"] == records.sha256(paths.DATA / "claims.json")
    assert compared["05_defect"] == parameters.Defect().key
    assert {"data", "wse2-small.log", "wse2-small.json"} <= parameters.Training().inputs.keys()


def test_other_files_of_one_name_have_results_of_their_own(tmp_path):
    shutil.copy(paths.DATA / "wse2.xyz", tmp_path)
    shutil.copy(paths.MODELS / "wse2-small.model", tmp_path)
    ours, theirs = parameters.Data(), parameters.Data(data=str(tmp_path / "wse2.xyz"))
    assert (ours.tag, theirs.tag) == ("wse2", f"wse2-{ours.inputs['data'][:8]}")
    theirs = parameters.Defect(model=str(tmp_path / "wse2-small.model"))
    assert theirs.tag == f"6x6_V_Se_strain0.00_wse2-small-{theirs.inputs['model'][:8]}"
    assert parameters.Defect(strain=-0.0).tag == parameters.Defect().tag


@pytest.mark.parametrize("text", ['{"sha256": ', "[]", "{}", "3", "\udcff"])
def test_a_damaged_record_is_told_to_who_loads_that_model(text, shipped):
    sound = records.registry()
    assert set(sound) == set(paths.SHIPPED)
    shutil.copy(shipped, shipped.with_name("other.model"))
    shipped.with_name("other.json").write_text(text, errors="surrogateescape")
    shipped.with_name("notes.json").write_text(text, errors="surrogateescape")  # a stranger's, of no model
    assert records.registry() == sound
    with pytest.raises(ValueError, match="other.json does not describe a model.*restore it from git"):
        potential.load("other")


def test_a_users_own_model_and_notes_do_not_touch_the_runs_of_others(shipped):
    before = {step: run.key for step, run in parameters.default_runs().items()}
    own = shipped.with_name("mine.model")
    own.write_bytes(b"another")
    record = shipped.with_suffix(".json").read_text()
    own.with_suffix(".json").write_text(record.replace(records.sha256(shipped), "0" * 64))
    shutil.copy(shipped.with_suffix(".log"), own.with_suffix(".log"))
    assert before == {step: run.key for step, run in parameters.default_runs().items()}
    with pytest.raises(ValueError, match="mine.model .* damaged or was exchanged"):
        potential.load("mine")
    own.with_suffix(".json").unlink()
    with pytest.raises(ValueError, match="has no record in data/models.*trust_model = True"):
        potential.load("mine")
    with pytest.raises(ValueError, match="truncated or not a model"):
        potential.load("mine", trust_model=True)
    shipped.with_suffix(".json").write_text(record + "\n")
    assert parameters.Defect().key != before["05_defect"]


def test_vacancy_takes_one_atom_and_finds_its_neighbours():
    cell = structures.supercell(structures.monolayer("WSe2", 3.32, 3.36), 6)
    vacancy = structures.Defect.of(cell, "V_Se")
    assert len(vacancy.atoms) == 107
    assert vacancy.atoms.symbols[vacancy.local].get_chemical_formula() == "SeW3"
    distance = np.linalg.norm(vacancy.atoms.positions[vacancy.neighbours] - vacancy.site, axis=1)
    assert distance == pytest.approx(np.hypot(3.32 / np.sqrt(3), 1.68))
    moved = vacancy.atoms.copy()
    shell = moved.positions[vacancy.neighbours] - vacancy.site
    moved.positions[:, 2] += 0.3
    moved.positions[vacancy.neighbours] -= shell * [0.1, 0.1, 0.0]
    described = structures.neighbour_displacements(vacancy, moved)
    expected = {"inward_A": 0.332 / np.sqrt(3), "up_A": 0, "before_A": 3.32, "after_A": 0.9 * 3.32}
    assert described.pop("own_heights_A") == [] and described == pytest.approx(expected, abs=1e-9)
    assert vacancy.pristine.positions[vacancy.lattice_sites] == pytest.approx(vacancy.atoms.positions)


def test_distances_are_taken_from_the_empty_site():
    primitive = structures.monolayer("WSe2", 3.32, 3.36)
    cell = structures.supercell(primitive, 3)
    assert np.isinf(structures.distances_from_vacancy(cell, primitive)).all()
    vacancy = structures.Defect.of(cell, "V_Se")
    stretched = structures.strained(vacancy.atoms, 0.03)
    stretched.rattle(0.05, seed=1)
    distances = structures.distances_from_vacancy(stretched, primitive)
    assert sorted(np.argsort(distances)[:3]) == sorted(vacancy.neighbours)
    assert distances[vacancy.across] == pytest.approx(3.36, abs=0.2)
    # Wherever the sheet lies in its cell, and whichever way it is turned.
    for turned in (1, -1):
        moved = stretched.copy()
        moved.positions = turned * moved.positions + [2.3, -1.7, 4.0]
        assert structures.distances_from_vacancy(moved, primitive) == pytest.approx(distances)
    light = structures.strained(structures.Defect.of(cell, "O_Se").start, [0.04, -0.01])
    light.positions += [0.0, 1.9, 0.0]
    assert np.isinf(structures.distances_from_vacancy(light, primitive)).all()
