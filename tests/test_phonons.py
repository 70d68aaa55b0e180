"""Phonons against sources other than the code: DFT, analytic limits, symmetry, another cell."""

import copy
import dataclasses
import json
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import spglib
from ase import Atoms, units
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read
from dftd3.interface import DispersionModel, RationalDampingParam
from phonopy import Phonopy
from phonopy.harmonic.force_constants import compact_fc_to_full_fc
from phonopy.physical_units import get_physical_units
from scipy.spatial.transform import Rotation

from defectphonons import (
    following,
    force_constants,
    invariance,
    localisation,
    potentials,
    relaxation,
    spectra,
    structures,
)
from helpers import paths
from helpers.data import accuracy, dataset
from helpers.figures import style
from helpers.models import potential

LITERATURE = json.loads((paths.DATA / "literature.json").read_text())["WSe2"]


@pytest.fixture(scope="module")
def mace():
    return potential.load("wse2-small", elements=("W", "Se"))


@pytest.fixture(scope="module")
def primitive(mace):
    start = structures.monolayer("WSe2", 3.32, 3.36)
    return relaxation.relax(start, mace, hold_symmetry=True, relax_cell=True)


@pytest.fixture(scope="module")
def sheet(mace, primitive, tmp_path_factory):
    """Phonopy object of the primitive cell with the force constants of a 3x3 supercell."""
    folder = tmp_path_factory.mktemp("pristine")
    phonon = force_constants.by_differences(primitive, 3, mace, displacement=0.01, folder=folder)
    force_constants.symmetrise(phonon)
    return phonon


@pytest.fixture
def pristine(sheet):
    return copy.deepcopy(sheet)


class Springs(Calculator):
    """Neighbours along x joined by springs of `stiffness` eV/A^2; nothing along y and z."""

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, stiffness: float):
        super().__init__()
        self.stiffness = stiffness

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        forces = np.zeros((len(atoms), 3))
        for y in np.unique(atoms.positions[:, 1].round(1)):  # one chain for each row
            row = np.flatnonzero(abs(atoms.positions[:, 1] - y) < 0.2)
            row = row[np.argsort(atoms.positions[row, 0])]
            gaps = np.diff(atoms.positions[row, 0], append=atoms.positions[row[0], 0] + atoms.cell[0, 0])
            pull = self.stiffness * (gaps - atoms.cell[0, 0] / len(row))
            forces[row, 0] += pull - np.roll(pull, 1)
        self.results = {"energy": 0.0, "forces": forces, "stress": np.zeros(6)}


def test_diatomic_chain_follows_the_analytic_dispersion(tmp_path):
    """w^2 = K (1/m + 1/M) (1 -+ sqrt(1 - 4 m M sin^2(q a / 2) / (m + M)^2)), Ibach and Lueth, ch. 4."""
    stiffness, length = 5.0, 4.0
    chain = Atoms("WSe", positions=[(0.5, 3, 3), (2.5, 3, 3)], cell=[length, 6, 6], pbc=True)
    springs = SimpleNamespace(calculator=Springs(stiffness), checksum="springs")
    phonon = force_constants.by_differences(chain, 4, springs, displacement=0.01, folder=tmp_path)
    q = np.array([0.0, 0.25, 0.5])  # commensurate with four cells
    found = spectra.spectrum(phonon, np.outer(q, [1, 0, 0]), np.full(3, 1 / 3)).frequencies[:, -2:]
    heavy, light = chain.get_masses()
    root = np.sqrt(1 - 4 * heavy * light * np.sin(np.pi * q) ** 2 / (heavy + light) ** 2)
    squared = stiffness * (1 / heavy + 1 / light) * np.stack([1 - root, 1 + root], axis=1)
    expected = np.sqrt(squared) * get_physical_units().DefaultToTHz
    assert found == pytest.approx(expected, abs=1e-5)


def test_gamma_modes_agree_with_dft_in_the_same_cell(mace, tmp_path):
    geometry = LITERATURE["gamma_geometry"]
    cell = structures.monolayer("WSe2", geometry["lattice_constant"], geometry["thickness"])
    phonon = force_constants.by_differences(
        cell, 1, mace, displacement=geometry["displacement"], folder=tmp_path
    )
    modes = spectra.gamma_modes(phonon)
    found = {
        irrep: modes.frequencies[members].mean()
        for members, irrep in zip(modes.sets, modes.irreps, strict=True)
    }
    optical = {irrep: f * spectra.PER_CM for irrep, f in found.items() if f > 1}
    dft = {irrep: known["dft"] for irrep, known in LITERATURE["gamma_per_cm"].items()}
    # The optical A2'' and E' come after the acoustic ones of the same name.
    assert optical == pytest.approx(dft, abs=3.0)


@pytest.mark.parametrize(("n", "expected"), [(6, 124), (12, 466)])
def test_symmetry_leaves_the_known_number_of_displacements(n, expected):
    primitive = structures.monolayer("WSe2", 3.32, 3.36)
    vacancy = structures.Defect.of(structures.supercell(primitive, n), "V_Se")
    phonon = force_constants.displaced(vacancy.atoms, 1, 0.01)
    assert structures.space_group(vacancy.atoms) == "P3m1 (156)"
    assert len(phonon.displacements) == expected


def test_bands_of_a_supercell_are_the_folded_bands_of_the_primitive_cell(mace, primitive, pristine, tmp_path):
    big = force_constants.by_differences(
        structures.supercell(primitive, 3), 1, mace, displacement=0.01, folder=tmp_path
    )
    force_constants.symmetrise(big)
    steps = np.arange(3) / 3
    folded = [(x, y, 0) for x in steps for y in steps]
    expected = np.sort(spectra.spectrum(pristine, folded, np.full(9, 1 / 9)).frequencies.ravel())
    found = spectra.spectrum(big, [(0, 0, 0)], [1.0]).frequencies[0]
    assert found == pytest.approx(expected, abs=1e-3)


def test_densities_of_states_integrate_to_the_number_of_modes(pristine):
    sampled = spectra.on_mesh(pristine, 6, {"W": [0], "Se": [1, 2]})
    grid = spectra.frequency_grid(sampled, smearing=0.05)
    parts = {name: spectra.density_of_states(sampled, grid, 0.05, name) for name in ("W", "Se")}
    total = spectra.density_of_states(sampled, grid, 0.05)
    integrals = [np.trapezoid(dos, grid) for dos in (total, parts["W"], parts["Se"])]
    assert integrals == pytest.approx([9, 3, 6], abs=1e-3)
    assert parts["W"] + parts["Se"] == pytest.approx(total, abs=1e-9)


def test_a_density_of_states_is_a_sum_of_gaussians():
    found = spectra.Spectrum(np.zeros((2, 3)), np.array([0.25, 0.75]), np.array([[1.0, 2.0], [3.0, 5.0]]))
    grid = np.linspace(0, 6, 601)
    heights = [0.25, 0.25, 0.75, 0.75]
    expected = sum(
        h * np.exp(-0.5 * ((grid - f) / 0.2) ** 2) / (0.2 * np.sqrt(2 * np.pi))
        for h, f in zip(heights, (1, 2, 3, 5), strict=True)
    )
    assert spectra.density_of_states(found, grid, 0.2) == pytest.approx(expected, abs=0.01)


def test_shares_of_all_atoms_add_up_to_one(pristine):
    found = spectra.bands(pristine, {"all": [0, 1, 2], "W": [0], "Se": [1, 2]}, points=12)
    assert found.shares["all"] == pytest.approx(1.0)
    assert found.shares["W"] + found.shares["Se"] == pytest.approx(1.0)
    assert [label for _, label in found.ticks] == ["Γ", "M", "K", "Γ"]
    assert found.frequencies.shape[1] == 9


def test_forces_turn_with_the_cell(mace, primitive):
    rng = np.random.default_rng(0)
    atoms = structures.Defect.of(structures.supercell(primitive, 3), "V_Se").atoms
    atoms.rattle(0.05, rng=rng)
    before = potentials.evaluate(mace, atoms)
    turn = Rotation.from_rotvec([0.3, -0.7, 1.1]).as_matrix() @ np.diag([1, 1, -1])  # and reflect
    order = rng.permutation(len(atoms))
    other = atoms[order]
    other.set_cell(atoms.cell.array @ turn.T)
    other.positions = atoms.positions[order] @ turn.T
    after = potentials.evaluate(mace, other)
    assert after["energy"] == pytest.approx(before["energy"], abs=1e-9)
    assert after["forces"] == pytest.approx(before["forces"][order] @ turn.T, abs=1e-9)
    assert abs(before["forces"]).max() > 0.1


def test_the_sheet_bends_quadratically_and_the_correction_leaves_the_optical_modes(mace, primitive, tmp_path):
    phonon = force_constants.by_differences(primitive, 6, mace, displacement=0.01, folder=tmp_path)
    force_constants.symmetrise(phonon)
    before = spectra.gamma_modes(phonon).frequencies
    assert invariance.rotational_residual(phonon) > 1e-3
    invariance.make_rotationally_invariant(phonon, np.zeros(6))
    assert invariance.rotational_residual(phonon) < 1e-9
    # In 9x9 the model's reach does not wrap round the cell: nothing there needs a correction.
    large = force_constants.by_differences(primitive, 9, mace, displacement=0.01, folder=tmp_path)
    stiffness = spectra.flexural(large).quadratic
    assert spectra.flexural(phonon).exponent == pytest.approx(2, abs=0.02)
    assert spectra.flexural(phonon).quadratic == pytest.approx(stiffness, rel=0.01)
    assert abs(phonon.force_constants.sum(axis=1)).max() < 1e-9
    modes = spectra.gamma_modes(phonon)
    assert modes.frequencies == pytest.approx(before, abs=0.02)
    assert sorted(modes.irreps) == sorted(["E'", "A2''", "E''", "E'", "A1'", "A2''"])


@pytest.mark.parametrize(("n", "corrected", "tolerance"), [(9, False, 0.05), (6, True, 0.01)])
def test_a_stretched_sheet_carries_waves_like_a_membrane(n, corrected, tolerance, mace, primitive, tmp_path):
    """w^2 = (tension / mass per area) q^2 for the ZA branch near Gamma; tension from the stress."""
    stretched = relaxation.relax(structures.strained(primitive, 0.01), mace, hold_symmetry=True)
    phonon = force_constants.by_differences(stretched, n, mace, displacement=0.01, folder=tmp_path)
    force_constants.symmetrise(phonon)
    stress = potentials.evaluate(mace, stretched)["stress"]
    if corrected:
        invariance.make_rotationally_invariant(phonon, stress)
    # eV/A / (u/A^2) to (m/s)^2, then to THz^2 A^2
    speed_squared = stress[0] * stretched.cell.volume / stretched.get_masses().sum()
    expected = speed_squared * get_physical_units().DefaultToTHz ** 2
    found = spectra.flexural(phonon, q_largest=0.05).linear
    assert found == pytest.approx(expected, rel=tolerance)


def test_heat_capacity_tends_to_dulong_and_petit(pristine):
    invariance.make_rotationally_invariant(pristine, np.zeros(6))
    found = spectra.thermal(pristine, 12, np.array([0.0, 3000.0]))
    # The acoustic modes at Gamma are three of 9 x 144.
    assert found["heat_capacity_kB"] == pytest.approx([0, 9 - 3 / 144], abs=0.01)


def test_participation_ratio_of_one_atom_and_of_all():
    one, even = np.eye(5)[0], np.full(5, 0.2)
    assert localisation.participation_ratio(np.stack([one, even], axis=1)) == pytest.approx([0.2, 1.0])


def test_degenerate_modes_share_their_weight():
    """A pair that puts one mode on the vacancy's atom and one elsewhere counts half each."""
    vectors = np.zeros((4, 3, 2))
    vectors[0, 0, 0] = vectors[3, 0, 1] = 1.0
    gamma = spectra.GammaModes(np.array([5.0, 5.0]), vectors, [[0, 1]], ["E"])
    none = np.array([], dtype=int)
    defect = SimpleNamespace(local=np.array([0]), own=none, neighbours=np.array([0]), across=none)
    (mode,) = localisation.defect_modes(gamma, defect)
    assert (mode.weight, mode.participation, mode.enhancement) == pytest.approx((0.5, 0.5, 2.0))


def test_a_cell_that_does_not_converge_is_refused(mace, monkeypatch):
    """In the primitive cell the forces vanish by symmetry, whatever the stress."""
    monkeypatch.setattr(relaxation, "STEPS", 0)
    start = structures.monolayer("WSe2", 3.40, 3.36)
    with pytest.raises(RuntimeError, match="stopped after 0 steps"):
        relaxation.relax(start, mace, hold_symmetry=True, relax_cell=True)


def test_a_cell_that_the_model_does_not_know_is_refused(mace):
    start = structures.monolayer("WSe2", 3.9, 3.36)
    with pytest.raises(RuntimeError, match="relaxes from 3.90 to 3.32 A: the model does not know"):
        relaxation.relax(start, mace, hold_symmetry=True, relax_cell=True)


def test_vacancy_relaxes_inwards_and_comes_back_to_its_symmetry(mace, primitive):
    """Neutral V_Se keeps C3v, and the W move inwards by about 0.1 A (DFT of the 3x3 cell)."""
    vacancy = structures.Defect.of(structures.supercell(primitive, 3), "V_Se")
    relaxed = relaxation.relax(vacancy.atoms, mace, hold_symmetry=True)
    assert structures.space_group(relaxed) == "P3m1 (156)"
    assert structures.neighbour_displacements(vacancy, relaxed)["inward_A"] == pytest.approx(0.1, abs=0.05)
    broken = relaxed.copy()
    broken.rattle(0.05, seed=1)
    free = relaxation.relax(broken, mace, hold_symmetry=False)
    assert relaxation.compare(free, relaxed, mace)["rms_A"] < 0.01


def test_atoms_that_are_put_where_they_are_do_not_move():
    """By not even rounding: else energy and forces of one geometry would be computed separately."""
    cell = structures.supercell(structures.monolayer("WSe2", 3.32, 3.36), 12)
    atoms = structures.Defect.of(cell, "V_Se").atoms
    atoms.set_constraint(relaxation.HeldSymmetry(atoms, symprec=1e-4))
    ideal = atoms.positions.copy()
    there = ideal + np.random.default_rng(0).normal(0, 0.01, ideal.shape)
    atoms.set_positions(there)
    once = atoms.positions.copy()
    assert 1e-4 < abs(once - ideal).max() < 0.05 and structures.space_group(atoms) == "P3m1 (156)"
    atoms.set_positions(there)
    assert (atoms.positions == once).all()


def test_interrupted_displacements_go_on_where_they_stopped(tmp_path):
    chain = Atoms("WSe", positions=[(0.5, 3, 3), (2.5, 3, 3)], cell=[4, 6, 6], pbc=True)
    calls = []

    class Counting(Springs):
        def calculate(self, *args, **kwargs):
            calls.append(1)
            if len(calls) == 3:
                raise KeyboardInterrupt
            super().calculate(*args, **kwargs)

    counting = SimpleNamespace(calculator=Counting(5.0), checksum="springs")
    arguments = {"displacement": 0.01, "folder": tmp_path}
    with pytest.raises(KeyboardInterrupt):
        force_constants.by_differences(chain, 2, counting, **arguments)
    resumed = force_constants.by_differences(chain, 2, counting, **arguments)
    assert len(calls) == 1 + len(resumed.displacements)
    path = next(tmp_path.rglob("*.npz"))
    path.write_bytes(path.read_bytes()[:-1])  # damaged, and so computed again
    resumed = force_constants.by_differences(chain, 2, counting, **arguments)
    assert len(calls) == 2 + len(resumed.displacements)
    straight = SimpleNamespace(calculator=Springs(5.0), checksum="other")
    whole = force_constants.by_differences(chain, 2, straight, **arguments)
    assert resumed.force_constants == pytest.approx(whole.force_constants)


def test_saved_force_constants_load_in_phonopy(pristine, tmp_path):
    import phonopy

    loaded = phonopy.load(force_constants.save(pristine, tmp_path), log_level=0, symmetrize_fc=False)
    for phonon in (pristine, loaded):
        phonon.produce_force_constants(fc_calculator="traditional", show_drift=False)
    assert loaded.force_constants == pytest.approx(pristine.force_constants, abs=1e-6)


def test_a_corrected_sheet_is_saved_as_corrected(pristine, tmp_path):
    """`phonopy-load` must not give back the force constants that break rotational invariance."""
    import phonopy

    invariance.make_rotationally_invariant(pristine, np.zeros(6))
    plain = phonopy.load(force_constants.save(pristine, tmp_path), log_level=0)
    assert invariance.rotational_residual(plain) > 1e-3
    corrected = phonopy.load(force_constants.save(pristine, tmp_path, corrected=True), log_level=0)
    assert invariance.rotational_residual(corrected) < 1e-9


def test_paired_modes_are_partners_whatever_their_order(pristine):
    """Heavier Se change the order of the modes at M, not which of them are alike."""
    other = copy.deepcopy(pristine)
    other.masses = other.masses * np.array([1.0, 1.2, 1.2])
    for q_point in ([0.5, 0, 0], [1 / 3, 1 / 3, 0]):
        same = spectra.pair(pristine, pristine, q_point)
        assert same[:, 0] == pytest.approx(same[:, 1])
        assert same[:, 2] == pytest.approx(1)
        pairs = spectra.pair(pristine, other, q_point)
        assert (pairs[:, 2] > 0.7).all()
        assert (pairs[:, 1] < pairs[:, 0] + 1e-9).all()


def test_degenerate_sets_are_paired_by_the_spaces_they_span(pristine):
    gamma = spectra.gamma_modes(pristine)
    turned = gamma.eigenvectors.copy()
    rotation = Rotation.from_euler("z", 0.7).as_matrix()[:2, :2]
    for members in gamma.sets:
        if len(members) == 2:
            turned[:, :, members] = turned[:, :, members] @ rotation
    order = np.arange(len(gamma.sets))[::-1]
    other = spectra.GammaModes(
        gamma.frequencies + 0.01, turned, [gamma.sets[i] for i in order], [gamma.irreps[i] for i in order]
    )
    paired = spectra.pair_sets(gamma, other)
    assert sum(each.degeneracy for each in paired) == 9
    for each in paired:
        assert each.partner_THz - each.frequency_THz == pytest.approx(0.01, abs=1e-6)
        assert each.overlap == pytest.approx(1.0, abs=1e-6)
        assert each.motion.sum() == pytest.approx(1.0)


def test_constants_of_some_atoms_keep_the_sum_rule_and_the_rest(pristine):
    ideal = structures.Defect.of(force_constants.to_ase(pristine.supercell), "V_Se")
    full = compact_fc_to_full_fc(pristine.primitive, pristine.force_constants)
    left = force_constants.of_some(pristine, ideal.lattice_sites, ideal.atoms).force_constants
    assert abs(left.sum(axis=1)).max() < 1e-9
    assert left[0, 1:] == pytest.approx(full[ideal.lattice_sites[0], ideal.lattice_sites[1:]])
    own = (
        full[ideal.lattice_sites[0], ideal.lattice_sites[0]]
        + np.delete(full[ideal.lattice_sites[0]], ideal.lattice_sites, axis=0)[0]
    )
    assert left[0, 0] == pytest.approx(own, abs=1e-9)


def test_the_vacancy_of_the_reference_is_in_no_training_set():
    """No frame of that cell comes within 0.005 A (root mean square) of it, whatever its orientation."""
    relaxed = read(paths.REFERENCE / "vacancy_3x3.xyz")
    cell = relaxed.cell.array
    lattice = structures.monolayer("WSe2", 3.3143, 3.362).repeat((3, 3, 1))
    sheet = spglib.get_symmetry((cell, lattice.get_scaled_positions(), lattice.numbers), 1e-3)
    frames = [
        atoms
        for atoms in dataset.read(paths.DATA / "wse2.xyz")
        if len(atoms) == len(relaxed) and dataset.kind(atoms) == "vacancy_3x3"
    ]
    assert len(frames) == 42 and len(sheet["rotations"]) == 12 * 9  # D3h, nine sites for the vacancy
    places = relaxed.get_scaled_positions()
    images = [
        places @ rotation.T + translation
        for rotation, translation in zip(sheet["rotations"], sheet["translations"], strict=True)
    ]
    assert min(matched(relaxed, image) for image in images) < 1e-6
    for atoms in frames:
        assert min(matched(atoms, image) for image in images) > 0.005


def matched(atoms, scaled) -> float:
    """Root mean square distance in A of `atoms` from the nearest of the places `scaled`, after a shift."""
    apart = atoms.get_scaled_positions()[:, None] - scaled[None]
    apart = (apart - np.round(apart)) @ atoms.cell.array
    nearest = np.linalg.norm(apart, axis=2).argmin(axis=1)
    moved = apart[np.arange(len(atoms)), nearest]
    return float(np.sqrt(((moved - moved.mean(axis=0)) ** 2).sum(axis=1).mean()))


def test_elastic_constants_are_those_of_our_dft(mace, primitive):
    reference = json.loads((paths.REFERENCE / "monolayer.json").read_text())
    C11, C12 = relaxation.elastic_constants(primitive, mace)
    assert pytest.approx(reference["C11_N_per_m"], rel=0.05) == C11
    assert pytest.approx(reference["C12_N_per_m"], rel=0.05) == C12
    assert primitive.cell.lengths()[0] == pytest.approx(reference["lattice_constant_A"], rel=0.002)


def test_force_errors_by_label():
    frames, predicted = [], []
    for shift in (0.01, 0.03):
        atoms = Atoms("WSe", positions=[(0, 0, 0), (2, 0, 0)], cell=[5, 5, 5], pbc=True)
        for shifted, into in ((0, frames), (shift, predicted)):
            copied = atoms.copy()
            forces = np.array([[shifted, 0, 0], [0, 0, 0]])
            copied.calc = SinglePointCalculator(copied, energy=0.0, forces=forces)
            into.append(copied)
    found = accuracy.force_rmse(frames, predicted, [atoms.symbols for atoms in frames])
    assert found == pytest.approx({"Se": 0, "W": 1000 * np.sqrt((0.01**2 + 0.03**2) / 6)})


def test_shells_have_the_places_of_the_crystal():
    """Round an empty Se site: 3 W, 6 Se in the layer, 1 across the plane, 6 across and one to the side."""
    cell = structures.supercell(structures.monolayer("WSe2", 3.32, 3.36), 6)
    vacancy = structures.Defect.of(cell, "V_Se")
    shells = localisation.shells(vacancy, [2.6, 3.34, 3.5, 4.5])
    assert [len(atoms) for atoms in shells.values()] == [3, 6, 1, 3]
    assert list(shells)[:2] == ["0 to 2.6 Å", "2.6 to 3.34 Å"]
    assert set(shells["0 to 2.6 Å"]) == set(vacancy.neighbours)
    assert set(shells["3.34 to 3.5 Å"]) == set(vacancy.across)
    rings = localisation.rings(vacancy)
    assert [round(distance, 2) for distance, _ in rings[:3]] == [2.55, 3.32, 3.36]
    assert [len(atoms) for _, atoms in rings[:3]] == [3, 6, 1]
    assert sorted(np.concatenate([atoms for _, atoms in rings])) == list(range(107))
    with pytest.raises(ValueError, match="no atom of the 107-atom cell lies 0 to 2 A"):
        localisation.shells(vacancy, [2.0, 4.0])


def test_states_elsewhere_and_their_decay():
    grid = np.linspace(0, 10, 1001)
    one, other = (np.exp(-((grid - centre) ** 2) / 0.02) for centre in (3, 6))
    assert localisation.redistributed(one, 5 * one, grid) == pytest.approx(0, abs=1e-9)
    assert localisation.redistributed(one, other, grid) == pytest.approx(1, abs=1e-6)
    assert localisation.redistributed(one + other, one, grid) == pytest.approx(0.5, abs=1e-6)
    distances = np.linspace(2, 20, 18)
    law = localisation.decay(distances, 0.3 * np.exp(-distances / 2.5) + 0.01)
    assert (law.amplitude, law.length, law.floor) == pytest.approx((0.3, 2.5, 0.01), rel=1e-5)
    assert law.length_error < 1e-3
    noise = np.random.default_rng(1).uniform(0.01, 0.1, 18)
    assert localisation.decay(distances, noise) is None
    assert localisation.decay(distances[:2], noise[:2]) is None


def test_a_relaxation_is_kept_and_found(mace, tmp_path, monkeypatch):
    start = structures.monolayer("WSe2", 3.32, 3.30)
    first = relaxation.relax(start, mace, hold_symmetry=True, folder=tmp_path)
    monkeypatch.setattr(relaxation, "PreconLBFGS", None)
    again = relaxation.relax(start, mace, hold_symmetry=True, folder=tmp_path)
    assert again.positions == pytest.approx(first.positions, abs=1e-12)
    with pytest.raises(TypeError):  # another start is computed
        relaxation.relax(structures.strained(start, 0.01), mace, hold_symmetry=True, folder=tmp_path)
    monkeypatch.undo()
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    path.write_bytes(content.replace(first.positions.tobytes(), (first.positions + 6).tobytes()))
    assert path.read_bytes() != content
    again = relaxation.relax(start, mace, hold_symmetry=True, folder=tmp_path)
    assert again.positions == pytest.approx(first.positions, abs=1e-6)


def test_the_vacancy_relaxes_as_in_dft(mace):
    reference = json.loads((paths.REFERENCE / "monolayer.json").read_text())
    sheet = structures.monolayer("WSe2", reference["lattice_constant_A"], reference["thickness_A"])
    vacancy = structures.Defect.of(structures.supercell(sheet, 3), "V_Se")
    dft = read(paths.REFERENCE / reference["vacancy"]["file"])
    assert abs(dft.get_forces()).max() < 1e-3
    ours = relaxation.relax(vacancy.atoms, mace, hold_symmetry=True)
    assert relaxation.compare(ours, dft, mace)["rms_A"] < 0.01


def chain_with_an_impurity(n: int, mass_ratio: float) -> localisation.DefectiveSheet:
    """n masses on springs along x, one of them `mass_ratio` times as heavy, as a cell with a defect."""
    stiffness, spacing = 5.0, 2.0
    atoms = Atoms(
        "Se" * n, positions=[(spacing * i, 3, 3) for i in range(n)], cell=[spacing * n, 6, 6], pbc=True
    )
    masses = atoms.get_masses()
    masses[n // 2] *= mass_ratio
    atoms.set_masses(masses)
    phonon = Phonopy(force_constants.to_phonopy(atoms), np.eye(3, dtype=int), primitive_matrix="P")
    matrices = np.zeros((n, n, 3, 3))
    for i in range(n):
        matrices[i, i, 0, 0] = 2 * stiffness
        matrices[i, (i + 1) % n, 0, 0] = matrices[(i + 1) % n, i, 0, 0] = -stiffness
    phonon.force_constants = matrices
    defect = structures.Defect("impurity", atoms, atoms, [n // 2], np.arange(n))
    return localisation.DefectiveSheet(atoms[:1], defect, atoms, phonon, phonon, {})


def pattern(sheet: localisation.DefectiveSheet, index: int) -> following.Patterns:
    """Of the mode at Gamma with that place among the eigenvalues."""
    matrix = sheet.phonon.run_qpoints([[0, 0, 0]], with_dynamical_matrices=True).dynamical_matrices[0]
    frequencies, vectors = np.linalg.eigh(matrix.real)
    modes = spectra.GammaModes(frequencies, vectors.reshape(-1, 3, len(frequencies)), [[index]], ["A1"])
    return following.Patterns.of(modes, [0], sheet.defect)


def followed(small: localisation.DefectiveSheet, large: localisation.DefectiveSheet, mesh: int, index: int):
    return following.continued(pattern(small, index), large, mesh, {"local": large.defect.local})[0]


def test_a_light_impurity_binds_a_mode_and_a_heavy_one_only_a_resonance():
    light = [chain_with_an_impurity(n, 0.5) for n in (9, 45)]
    first, last = followed(light[0], light[0], 5, -1), followed(light[0], light[1], 1, -1)
    # Above the band by 1 / sqrt(1 - e^2) with e = 1 - M'/M; A. A. Maradudin et al., Theory of Lattice
    # Dynamics in the Harmonic Approximation (1963), chapter V.
    top = 2 * np.sqrt(5.0 / light[0].relaxed.get_masses()[0]) * get_physical_units().DefaultToTHz
    assert last.frequency_THz == pytest.approx(top / np.sqrt(1 - 0.5**2), rel=1e-6)
    assert last.width_THz < 1e-6 and first.width_THz < 0.05
    assert following.character(first, last) == "localised"
    # Its amplitudes fall by r = (1 - e) / (1 + e) = -1/3 from neighbour to neighbour; all but the light one
    # of mass M: weights 0.5 and r^2k.
    weights = np.array([0.5] + [9.0**-k for k in range(1, 20) for _ in range(2)])
    assert last.weights["local"] == pytest.approx(weights[0] / weights.sum(), rel=1e-4)
    assert last.atoms == pytest.approx(weights.sum() ** 2 / (weights**2).sum(), rel=1e-4)
    heavy = [chain_with_an_impurity(n, 2.0) for n in (9, 45)]
    mode = 3 * 9 - 3  # within the band
    first, last = followed(heavy[0], heavy[0], 5, mode), followed(heavy[0], heavy[1], 1, mode)
    assert following.character(first, last) == "resonance"
    # A sharp mode that takes in more atoms is neither; one that is not quite sharp is a narrow resonance.
    sharp = dataclasses.replace(first, share=0.9, core=0.9)
    farther = dataclasses.replace(sharp, atoms=2 * first.atoms)
    assert following.character(sharp, farther) == "undecided"
    assert following.character(sharp, dataclasses.replace(sharp, core=0.7)) == "narrow resonance"


def test_a_mode_that_mixes_with_a_state_close_by_is_still_itself():
    """A second, equal impurity far away splits the bound mode into two that are spread over both."""
    small, large = chain_with_an_impurity(9, 0.5), chain_with_an_impurity(45, 0.5)
    alone = followed(small, large, 1, -1)
    masses = large.relaxed.get_masses()
    masses[0] *= 0.5
    large.relaxed.set_masses(masses)
    phonon = Phonopy(force_constants.to_phonopy(large.relaxed), np.eye(3, dtype=int), primitive_matrix="P")
    phonon.force_constants = large.phonon.force_constants
    mixed = followed(small, dataclasses.replace(large, phonon=phonon), 1, -1)
    assert mixed.atoms == pytest.approx(alone.atoms, rel=1e-3)
    assert mixed.share == pytest.approx(alone.share, rel=1e-3)


def test_a_cell_at_many_wave_vectors_is_the_larger_cell_at_one():
    # Five impurities in 45 masses at Gamma are one in nine on a mesh of five.
    small = chain_with_an_impurity(9, 2.0)
    repeated = chain_with_an_impurity(45, 1.0)
    masses = repeated.relaxed.get_masses()
    masses[22 % 9 :: 9] *= 2.0
    repeated.relaxed.set_masses(masses)
    phonon = Phonopy(force_constants.to_phonopy(repeated.relaxed), np.eye(3, dtype=int), primitive_matrix="P")
    phonon.force_constants = repeated.phonon.force_constants
    repeated = dataclasses.replace(repeated, phonon=phonon)
    for mode in (-1, -3, -6):
        first, last = followed(small, small, 5, mode), followed(small, repeated, 1, mode)
        assert last.frequency_THz == pytest.approx(first.frequency_THz, abs=1e-4)
        assert last.width_THz == pytest.approx(first.width_THz, abs=1e-4)


def test_folded_frequencies_are_those_of_the_larger_cell():
    one, three = chain_with_an_impurity(1, 1.0), chain_with_an_impurity(3, 1.0)
    one.phonon.force_constants = np.zeros((1, 1, 3, 3))
    primitive = Phonopy(force_constants.to_phonopy(one.relaxed), np.diag([3, 3, 1]), primitive_matrix="P")
    matrices = np.zeros((1, 9, 3, 3))
    apart = np.rint(primitive.supercell.positions[:, :2] / [2.0, 6.0]).astype(int)
    for (i, j), block in zip(apart, matrices[0], strict=True):
        block[0, 0] = {0: 10.0, 1: -5.0, 2: -5.0}[i] * (j == 0)
    primitive.force_constants = matrices
    q_points = np.array([[0.1, 0.0, 0.0], [0.3, 0.2, 0.0]])
    found = spectra.folded(primitive, 3, q_points)
    expected = spectra.spectrum(three.phonon, q_points, np.ones(2) / 2).frequencies
    assert np.repeat(np.sort(expected, axis=1)[:, -3:], 3, axis=1) == pytest.approx(found[:, -9:], abs=1e-6)


def test_equivalent_atoms_take_part_alike(mace, primitive, tmp_path):
    """In what a mesh of q gives of a mode of the vacancy: no q stands for those that it is equivalent to."""
    vacancy = structures.Defect.of(structures.supercell(primitive, 3), "V_Se")
    phonon = force_constants.analytic(vacancy.atoms, 1, mace, folder=tmp_path)
    force_constants.symmetrise(phonon)
    sheet = localisation.DefectiveSheet(primitive, vacancy, vacancy.atoms, phonon, phonon, {})
    patterns = following.Patterns.of(spectra.gamma_modes(phonon), [20], vacancy)
    single = {str(i): np.array([i]) for i in range(len(vacancy.atoms))}
    found = following.continued(patterns, sheet, 3, single)[0]
    motion = np.array(list(found.weights.values()))
    assert motion.sum() == pytest.approx(1.0)
    assert motion == pytest.approx(motion[phonon.symmetry.get_map_atoms()], abs=1e-6)
    assert found.atoms == pytest.approx(1 / (motion**2).sum())


def test_a_bound_mode_is_flat_and_a_mode_of_the_band_is_not():
    sheet = chain_with_an_impurity(9, 0.5)
    q_points = np.array([[0.0, 0.0, 0.0], [0.25, 0.0, 0.0], [0.5, 0.0, 0.0]])
    frequencies = sheet.phonon.run_qpoints(q_points).frequencies[0]
    bound, band = (
        following.flatness(pattern(sheet, index), [frequencies[index]], sheet, q_points)[0]
        for index in (-1, -4)
    )
    assert bound > 0.99 and band < 0.5


def test_contrast_counts_states_near_a_frequency():
    grid = np.linspace(0, 10, 2001)
    density = np.exp(-0.5 * ((grid - 5) / 0.1) ** 2) / (0.1 * np.sqrt(2 * np.pi))
    even = np.full_like(grid, 1.0)
    # 0.6827 of a Gaussian lies within one standard deviation; 0.2 of the even density.
    assert localisation.contrast(density, even, grid, 5.0) == pytest.approx(0.6827 / 0.2, rel=1e-3)


def test_dispersion_is_grimmes_and_fades_with_the_cut(mace, primitive):
    without = potentials.evaluate(mace, primitive)
    cuts = [0.0, 5.0, 10.0, 20.0]
    added = [potentials.evaluate(potentials.with_dispersion(mace, cut), primitive) for cut in cuts]
    energies = [each["energy"] - without["energy"] for each in added]
    native = DispersionModel(primitive.numbers, primitive.positions / units.Bohr, primitive.cell.array / units.Bohr,
                             primitive.pbc)  # fmt: skip
    expected = native.get_dispersion(RationalDampingParam(method="pbe"), grad=False)["energy"] * units.Hartree
    assert energies[0] == pytest.approx(expected, rel=1e-6)
    assert all(lower < upper < 0 for lower, upper in zip(energies, energies[1:], strict=False))
    assert len({potentials.with_dispersion(mace, cut).checksum for cut in cuts} | {mace.checksum}) == 5


def test_pictures_keep_their_style_whatever_else_sets_one():
    plt.rcParams["font.size"] = 8  # as MACE does when it is imported
    figure, _ = style.new()
    assert plt.rcParams["font.size"] == style.STYLE["font.size"] == 9
    plt.close(figure)


def test_natural_isotopes_have_the_mass_variance_of_the_literature():
    """Of Si and Ge: S. Tamura, Phys. Rev. B 27, 858 (1983); with today's abundances to three digits."""
    assert spectra.mass_variance("Si") == pytest.approx(2.01e-4, rel=0.01)
    assert spectra.mass_variance("Ge") == pytest.approx(5.88e-4, rel=0.01)
    assert spectra.mass_variance("Tc") == 0
