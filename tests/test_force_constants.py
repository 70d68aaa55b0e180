"""Exact force constants against the whole model's own Hessian, differences, larger cells and symmetry."""

import copy
import os

import numpy as np
import pytest
import torch
from phonopy.structure.symmetry import Symmetry
from tqdm import tqdm

from defectphonons import force_constants, parallel, potentials, spectra, structures
from defectphonons.hessian.layers import Layers
from defectphonons.hessian.terms import Hessian
from helpers.models import potential


@pytest.fixture(scope="module")
def mace():
    return potential.load("wse2-small", elements=("W", "Se"))


@pytest.fixture(scope="module")
def sheet():
    return structures.monolayer("WSe2", 3.32, 3.36)


@pytest.fixture(scope="module")
def rattled(sheet):
    """V_Se in 3x3, where every neighbourhood wraps round, without any symmetry."""
    atoms = structures.Defect.of(structures.supercell(sheet, 3), "V_Se").atoms
    atoms.rattle(0.05, seed=1)
    atoms.wrap()  # as phonopy does, whose phases are those of the places in its list
    return atoms


@pytest.fixture(scope="module")
def hessian(mace, rattled, tmp_path_factory):
    return force_constants.unfolded(rattled, mace, folder=tmp_path_factory.mktemp("rattled"))


def rows(mace, atoms, of):
    """(len(of), N, 3, 3) rows of the Hessian of the whole periodic cell, twice back through the model."""
    calculator = mace.calculator
    batch = calculator._clone_batch(calculator._atoms_to_batch(atoms)).to_dict()
    positions = batch["positions"].requires_grad_(True)
    energy = calculator.models[0](batch, compute_force=False)["interaction_energy"]
    (gradient,) = torch.autograd.grad(energy, positions, create_graph=True)
    found = [torch.autograd.grad(each, positions, retain_graph=True)[0] for i in of for each in gradient[i]]
    return torch.stack(found).reshape(len(of), 3, len(atoms), 3).transpose(1, 2).numpy()


def error(found, expected):
    return abs(found - expected).max() / abs(expected).max()


def test_a_cell_without_symmetry_has_the_hessian_of_the_whole_model(mace, rattled, hessian):
    phonon = force_constants.undisplaced(rattled, 1)
    found = force_constants.folded(hessian, phonon)
    assert error(found, rows(mace, rattled, range(len(rattled)))) < 1e-10


def test_terms_of_a_larger_cell_add_up_to_rows_of_the_whole_model(mace, sheet, tmp_path):
    """In 6x6, with the atoms that are not computed made from those that are."""
    atoms = structures.Defect.of(structures.supercell(sheet, 6), "V_Se").atoms
    phonon = force_constants.analytic(atoms, 1, mace, folder=tmp_path)
    assert len(list(tmp_path.rglob("*.npz"))) == 28
    sample = [0, 106]
    assert error(phonon.force_constants[sample], rows(mace, atoms, sample)) < 1e-10
    assert max(force_constants.residuals(phonon).values()) < 1e-10


def test_equivalent_atoms_have_the_terms_that_are_computed_for_them(mace, sheet):
    atoms = structures.Defect.of(structures.supercell(sheet, 2), "V_Se").atoms
    layers, symmetry = Layers(mace.calculator.models[0], atoms), Symmetry(force_constants.to_phonopy(atoms))
    terms = layers.terms(symmetry.get_independent_atoms())
    assert len(terms) == 5
    found = Hessian.of(force_constants.with_equivalent(terms, atoms, symmetry))
    expected = Hessian.of(layers.terms(range(len(atoms))))
    for name in ("first", "second", "shifts"):
        assert (vars(found)[name] == vars(expected)[name]).all()
    assert error(found.blocks, expected.blocks) < 1e-10


def test_extrapolated_differences_of_forces_agree(mace, rattled, hessian):
    """Central differences with steps h and h / 2, whose error of second order cancels."""
    expected = np.zeros((3, len(rattled), 3))
    for axis in range(3):
        for step, weight in ((0.01, -1 / 3), (0.005, 4 / 3)):
            for sign in (1, -1):
                moved = rattled.copy()
                moved.positions[5, axis] += sign * step
                expected[axis] -= sign * weight * potentials.evaluate(mace, moved)["forces"] / (2 * step)
    found = force_constants.folded(hessian, force_constants.undisplaced(rattled, 1))[5]
    assert error(found, expected.transpose(1, 0, 2)) < 1e-5


def test_the_dynamical_matrix_at_q_is_that_of_a_repeated_cell(mace, rattled, hessian, tmp_path):
    """Every mode of the 2x2 repeat of a cell is one of the cell at one of four commensurate q."""
    repeated = rattled.repeat((2, 2, 1))
    larger = force_constants.unfolded(repeated, mace, folder=tmp_path)
    expected = np.linalg.eigvalsh(larger.dynamical_matrix(repeated, np.zeros(3)).toarray())
    q_points = [(0, 0, 0), (0.5, 0, 0), (0, 0.5, 0), (0.5, 0.5, 0)]
    found = [np.linalg.eigvalsh(hessian.dynamical_matrix(rattled, np.array(q)).toarray()) for q in q_points]
    assert error(np.sort(np.concatenate(found)), expected) < 1e-10


def test_the_dynamical_matrix_is_phonopys(mace, rattled, hessian):
    """At Gamma of the cell, and between its zone's points where phonopy has the supercell to know them."""
    phonon = force_constants.undisplaced(rattled, 2)
    phonon.force_constants = force_constants.folded(hessian, phonon)
    for q_point in ((0, 0, 0), (0.5, 0, 0), (0.5, 0.5, 0)):
        phonon.run_qpoints([q_point], with_dynamical_matrices=True)
        expected = phonon.qpoints.dynamical_matrices[0]
        found = hessian.dynamical_matrix(rattled, np.array(q_point)).toarray()
        assert error(found, expected) < 1e-10


@pytest.mark.parametrize("n", [2, 5])
def test_constants_of_the_primitive_cell_fold_into_any_supercell(n, mace, sheet, tmp_path):
    phonon = force_constants.analytic(sheet, n, mace, folder=tmp_path)
    supercell = force_constants.to_ase(phonon.supercell)
    expected = rows(mace, supercell, phonon.primitive.p2s_map)
    assert error(phonon.force_constants, expected) < 1e-10
    assert max(force_constants.residuals(phonon).values()) < 1e-10


def test_an_atom_outside_the_cell_is_the_same_atom(mace, sheet, tmp_path):
    outside = sheet.copy()
    outside.positions[1] += sheet.cell[0] - 2 * sheet.cell[1]
    q_points = [(1 / 3, 1 / 3, 0), (1 / 3, 0, 0)]
    inside, moved = (
        spectra.spectrum(
            force_constants.analytic(atoms, 3, mace, folder=tmp_path), q_points, np.full(2, 0.5)
        ).frequencies
        for atoms in (sheet, outside)
    )
    assert error(moved, inside) < 1e-8


def test_differences_and_derivatives_have_the_same_frequencies(mace, sheet, tmp_path):
    """Whatever their order of atoms: the two are exchanged for each other."""
    both = [
        force_constants.by_differences(sheet, 3, mace, displacement=0.01, folder=tmp_path),
        force_constants.analytic(sheet, 3, mace, folder=tmp_path),
    ]
    for phonon in both:
        force_constants.symmetrise(phonon)
    assert both[1].force_constants == pytest.approx(both[0].force_constants, abs=5e-3)
    q_points = [(0, 0, 0), (1 / 3, 1 / 3, 0)]
    found = [spectra.spectrum(phonon, q_points, np.full(2, 0.5)).frequencies for phonon in both]
    assert found[1] == pytest.approx(found[0], abs=0.01)


def test_an_interrupted_hessian_goes_on_where_it_stopped(mace, sheet, tmp_path, monkeypatch):
    atoms = structures.Defect.of(structures.supercell(sheet, 2), "V_Se").atoms
    straight = force_constants.unfolded(atoms, mace, folder=tmp_path / "straight")
    monkeypatch.setattr(force_constants, "AT_ONCE", 2)
    monkeypatch.setattr(parallel, "cores", lambda: 1)
    computed, terms = [], Layers.terms

    def interrupted(self, some):
        computed.append(list(some))
        if len(computed) == 2:
            raise KeyboardInterrupt
        return terms(self, some)

    monkeypatch.setattr(Layers, "terms", interrupted)
    with pytest.raises(KeyboardInterrupt):
        force_constants.unfolded(atoms, mace, folder=tmp_path)
    resumed = force_constants.unfolded(atoms, mace, folder=tmp_path)
    assert [len(some) for some in computed] == [2, 2, 2, 1]  # of 5, two begun twice
    assert computed[1] == computed[2]
    assert error(resumed.blocks, straight.blocks) < 1e-12  # in passes of another size
    path = next((tmp_path / "hessian").rglob("*.npz"))
    path.write_bytes(path.read_bytes()[:-1])  # damaged, and so computed again
    assert error(force_constants.unfolded(atoms, mace, folder=tmp_path).blocks, straight.blocks) < 1e-12
    assert len(computed) == 5 and len(computed[4]) == 1
    monkeypatch.setattr(Layers, "__init__", None)  # nothing left to compute
    force_constants.unfolded(atoms, mace, folder=tmp_path)


def test_one_process_a_core_computes_the_same(mace, sheet, tmp_path, monkeypatch):
    """And one that fails is told of."""
    atoms = structures.Defect.of(structures.supercell(sheet, 2), "V_Se").atoms
    monkeypatch.setattr(force_constants, "AT_ONCE", 1)
    found = {}
    for cores in (1, 2):
        monkeypatch.setattr(parallel, "cores", lambda cores=cores: cores)
        found[cores] = force_constants.unfolded(atoms, mace, folder=tmp_path / str(cores))
    assert error(found[2].blocks, found[1].blocks) < 1e-12
    monkeypatch.setattr(Layers, "terms", lambda self, some: os._exit(3))
    with pytest.raises(RuntimeError, match="exit code 3.*run again"):
        force_constants.unfolded(atoms, mace, folder=tmp_path / "failing")


@pytest.mark.parametrize("cores", [1, 2])
def test_the_bar_follows_what_is_written_by_every_core(cores, tmp_path, monkeypatch):
    monkeypatch.setattr(parallel, "cores", lambda: cores)
    files = [tmp_path / str(i) for i in range(5)]

    def write(share):
        for path in share:
            path.touch()
            yield 1

    with tqdm(total=5) as bar:
        parallel.on_every_core(write, files, 1, files, bar)
        assert bar.n == 5 and all(path.exists() for path in files)


def test_passes_are_halved_when_memory_runs_out(mace, sheet, tmp_path, monkeypatch):
    atoms = structures.Defect.of(structures.supercell(sheet, 2), "V_Se").atoms
    monkeypatch.setattr(parallel, "cores", lambda: 1)
    computed, terms = [], Layers.terms

    def small(self, some):
        if len(some) > 1:
            raise torch.OutOfMemoryError("stand-in")
        computed.append(some[0])
        return terms(self, some)

    monkeypatch.setattr(Layers, "terms", small)
    force_constants.unfolded(atoms, mace, folder=tmp_path)
    assert len(computed) == 5
    monkeypatch.setattr(Layers, "terms", lambda self, some: small(self, [0, 0]))
    with pytest.raises(torch.OutOfMemoryError):
        force_constants.unfolded(atoms, mace, folder=tmp_path / "none")


def test_single_precision_is_as_good_as_it_says(mace, rattled, hessian, tmp_path):
    rough = force_constants.unfolded(rattled, mace, dtype="float32", folder=tmp_path)
    assert rough.blocks.dtype == np.float64  # what is added up and diagonalised
    difference = error(rough.blocks, hessian.blocks)
    said = force_constants.rounding_error(mace, rattled, "float32")
    assert 1e-8 < said < 1e-5
    assert difference < 10 * said


def test_a_model_of_single_precision_keeps_rotations_as_one_of_double(mace, rattled, tmp_path):
    default, rounded = torch.get_default_dtype(), copy.deepcopy(mace.calculator.models[0]).float()
    torch.save(rounded, tmp_path / "rounded.model")
    rebuilt = potential.load(str(tmp_path / "rounded.model"), trust_model=True)
    turned = rattled.copy()
    turned.rotate(40, (1, 2, 3), rotate_cell=True)
    here, there = (potentials.evaluate(rebuilt, atoms) for atoms in (rattled, turned))
    assert here["energy"] == pytest.approx(there["energy"], abs=1e-10)
    assert here["energy"] == pytest.approx(potentials.evaluate(mace, rattled)["energy"], abs=1e-4)
    assert np.allclose(here["forces"], potentials.evaluate(mace, rattled)["forces"], atol=1e-4)
    rounded.register_buffer("unknown", torch.ones(1))
    assert potentials.in_double_precision(rounded) is rounded  # what it holds would be lost
    assert torch.get_default_dtype() == default


def test_phonopys_frequencies_are_exact_at_every_q_without_a_supercell_given(
    mace, rattled, hessian, tmp_path, sheet
):
    """At a q that no supercell folds to Gamma, where a cell of its own would have been interpolated."""
    q_point = np.array([0.137, 0.271, 0])
    expected = np.linalg.eigvalsh(hessian.dynamical_matrix(rattled, q_point).toarray())
    found = {}
    for n in (None, 1):
        phonon = force_constants.analytic(rattled, n, mace, folder=tmp_path)
        phonon.run_qpoints([q_point], with_dynamical_matrices=True)
        found[n] = np.linalg.eigvalsh(phonon.qpoints.dynamical_matrices[0])
        if n is None:
            assert len(phonon.supercell) == 9 * len(rattled)
    assert error(found[None], expected) < 1e-10
    assert error(found[1], expected) > 1e-4
    primitive = force_constants.analytic(sheet, None, mace, folder=tmp_path)
    assert len(primitive.supercell) == 3 * 81  # 13.7 A to either side


def test_constants_without_displaced_forces_are_saved(mace, sheet, tmp_path):
    import phonopy

    phonon = force_constants.analytic(sheet, 3, mace, folder=tmp_path)
    loaded = phonopy.load(force_constants.save(phonon, tmp_path), log_level=0)
    assert loaded.force_constants == pytest.approx(phonon.force_constants, abs=1e-6)


def test_a_model_that_is_not_known_is_refused(mace, sheet, tmp_path):
    """One with an energy that the layers leave out, and one with layers of another kind."""
    network = mace.calculator.models[0]
    repulsive = copy.deepcopy(mace)
    forward = network.forward

    def more(*args, **kwargs):
        found = forward(*args, **kwargs)
        return found | {"energy": found["energy"] + 0.1}

    repulsive.calculator.models[0].forward = more
    with pytest.raises(ValueError, match="finite_differences"):
        force_constants.analytic(sheet, 2, repulsive, folder=tmp_path)
    other = copy.deepcopy(mace)
    other.calculator.models[0].interactions[1].__class__ = type("OtherBlock", (torch.nn.Module,), {})
    with pytest.raises(ValueError, match="OtherBlock.*finite_differences"):
        force_constants.analytic(sheet, 2, other, folder=tmp_path)
