"""Any defect, any strain: names, sites, symmetry; isolated in the sheet, against phonopy, a textbook chain, group theory."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import atomic_masses
from scipy.sparse import bsr_array, diags_array

from defectphonons import embedding, force_constants, localisation, spectra, structures, tmatrix
from defectphonons.chebyshev import Cell
from defectphonons.embedding import Embedded, Perfect
from defectphonons.structures import Defect
from helpers import defects, parameters
from helpers.data import dataset
from helpers.models import evaluation, potential, uncertainty

N, RADIUS = 7, 11.5  # of the relaxed cell that is embedded; A


@pytest.fixture(scope="module")
def sheet():
    return structures.supercell(structures.monolayer("WSe2", 3.32, 3.36), 6)


@pytest.mark.parametrize(
    "name, formula, own, neighbours, across, group",
    [
        ("V_Se", "W36Se71", 0, 3, 1, "P3m1"),
        ("V_W", "W35Se72", 0, 6, 0, "P-6m2"),
        ("V_Se2", "W36Se70", 0, 3, 0, "P-6m2"),
        ("O_Se", "W36OSe71", 1, 3, 1, "P3m1"),
        ("S_Se2", "W36S2Se70", 2, 3, 0, "P-6m2"),
        ("Se_W", "W35Se73", 1, 6, 0, "P-6m2"),
        ("W_Se", "W37Se71", 1, 3, 1, "P3m1"),
        # Along a zigzag row two of the W are neighbours of both.
        ("V_Se+V_Se(1)", "W36Se70", 0, 5, 2, "Cm"),
        ("V_Se+V_Se(2)", "W36Se70", 0, 6, 2, "Cm"),
        ("O_Se+V_Se(1)", "W36OSe70", 1, 5, 2, "P1"),
        ("V_W+V_Se(1)", "W35Se71", 0, 7, 1, "Cm"),
    ],
)
def test_a_name_says_which_sites_change(sheet, name, formula, own, neighbours, across, group):
    defect = Defect.of(sheet, name)
    assert defect.atoms.symbols.formula.count() == Atoms(formula).symbols.formula.count()
    assert [len(each) for each in (defect.own, defect.neighbours, defect.across)] == [own, neighbours, across]
    assert structures.space_group(defect.atoms).startswith(group)
    assert sheet.positions[defect.lattice_sites] == pytest.approx(defect.atoms.positions)
    assert len(defect.empty) == len(sheet) - len(defect.atoms)
    assert defect.distances[defect.local].max() < 5.5
    # The same atoms under strain, whatever shell comes first by its length.
    stretched = Defect.of(structures.strained(sheet, [0.04, -0.03]), name)
    assert [len(each) for each in (stretched.own, stretched.neighbours, stretched.across)] == [
        own,
        neighbours,
        across,
    ]


def test_the_members_of_a_pair_are_neighbours_along_the_sheet(sheet):
    for name, distance in (
        ("V_Se+V_Se(1)", 3.32),
        ("V_Se+V_Se(2)", 3.32 * 3**0.5),
        ("V_W+V_Se(1)", 3.32 / 3**0.5),
    ):
        one, other = Defect.of(sheet, name).changed
        apart = sheet.get_distance(one, other, mic=True, vector=True)
        assert np.linalg.norm(apart[:2]) == pytest.approx(distance, abs=1e-3)
    cell = structures.supercell(structures.monolayer("WSe2", 3.32, 3.36), 3)
    with pytest.raises(
        ValueError, match=r"'V_Se\+V_Se\(2\)': a cell of 10.0 A has only 1 shells.*larger supercell"
    ):
        Defect.of(cell, "V_Se+V_Se(2)")


@pytest.mark.parametrize(
    "name", ["V_Te", "V_W2", "Xx_Se", "X_Se", "Se_Se", "V_Se+V_Se", "V_Se(1)", "V_Se+V_Se(0)", "", "vacancy"]
)
def test_what_is_no_defect_is_refused_with_what_is_known(sheet, name):
    with pytest.raises(
        ValueError, match="is no defect of WSe2; known: V_W, V_Se, V_Se2, W_Se, Se_W, .*O_Se.*pairs"
    ):
        Defect.of(sheet, name)


def test_a_substituted_atom_starts_at_the_bond_of_its_radius(sheet):
    """DFT has O 1.05 A above the plane of W, where Se is 1.68 A above it."""
    bonds = {}
    for name in ("O_Se", "S_Se", "W_Se"):
        defect = Defect.of(sheet, name)
        (atom,) = defect.own
        bonds[name] = defect.start.get_distances(atom, defect.neighbours, mic=True)
        assert np.ptp(bonds[name]) < 1e-9
    # Covalent radii: Se 1.20, O 0.66, S 1.05, W 1.62 A.
    before = sheet.get_distances(defect.changed[0], range(108), mic=True)[sheet.symbols == "W"].min()
    assert bonds["S_Se"][0] == pytest.approx(before - 0.15) and bonds["W_Se"][0] == pytest.approx(
        before + 0.42
    )
    assert bonds["O_Se"][0] == pytest.approx(2.09, abs=0.15)  # by DFT
    assert Defect.of(sheet, "V_Se2").start == Defect.of(sheet, "V_Se2").atoms


def test_strain_is_along_zigzag_and_armchair():
    primitive = structures.monolayer("WSe2", 3.32, 3.36)
    assert primitive.cell.array[0] == pytest.approx([3.32, 0, 0])  # the zigzag direction
    strained = structures.strained(primitive, [0.02, -0.01])
    assert strained.cell.array == pytest.approx(primitive.cell.array * [1.02, 0.99, 1.0])
    both, one = (structures.strained(primitive, strain) for strain in ([0.02, 0.02], 0.02))
    assert both.cell.array == pytest.approx(one.cell.array) and both.positions == pytest.approx(one.positions)
    # A mirror is left of C3v, and the plane of the sheet.
    assert structures.space_group(strained).startswith("Amm2")


def chain(element: str, sites: list[int]) -> Perfect:
    """A monoatomic chain along x with force constants to both neighbours alone, 5 THz at most."""
    atoms = Atoms(element, cell=[1, 10, 10], pbc=True)
    blocks = np.zeros((3, 3, 3))
    blocks[:, 0, 0] = 25 / 4 * np.array(sites)
    return Perfect(atoms, np.array([[-1, 0], [0, 0], [1, 0]]), blocks)


def test_an_atom_of_another_mass_has_the_bound_state_of_the_textbook():
    """w^2 = w_max^2 / (1 - epsilon^2): A. A. Maradudin et al., Theory of Lattice Dynamics, section VIII."""
    sites = np.array([[0, 0, 0], [-1, 0, 0], [1, 0, 0]])
    host = Embedded(chain("S", [-1, 2, -1]), sites, bsr_array(np.zeros((9, 9)), blocksize=(3, 3)))
    light = embedding.with_elements(host, {0: "O"})
    (state,) = tmatrix.Isolated(light, 2000).bound_states()
    epsilon = 1 - atomic_masses[8] / atomic_masses[16]
    assert state.frequency_THz == pytest.approx(5 / np.sqrt(1 - epsilon**2), abs=1e-4)
    assert [*light.symbols] == ["O", "S", "S"]


@pytest.fixture(scope="module")
def divacancy(tmp_path_factory):
    """Model, primitive cell, both Se of a column missing, relaxed cell; where its force constants are cached."""
    mace = potential.load("wse2-small", elements=("W", "Se"))
    run = parameters.DefectiveCell(supercell=N, defect="V_Se2")
    return mace, defects.relaxed_defect(run, mace), tmp_path_factory.mktemp("terms")


@pytest.fixture(scope="module")
def embedded(divacancy):
    mace, relaxed, folder = divacancy
    found, residuals = embedding.embed(*relaxed, mace, radius=RADIUS, folder=folder)
    assert max(residuals["sum_rule"], residuals["permutation"]) < 1e-11
    return found


def test_two_empty_sites_leave_the_rows_of_the_whole_relaxed_cell(divacancy, embedded):
    """All that the atoms at the defect couple to lies within the region: phonopy's matrix of the true cell has the same rows."""
    mace, (_, defect, atoms), folder = divacancy
    phonon = force_constants.analytic(atoms, 1, mace, folder=folder)
    phonon.run_qpoints([[0, 0, 0]], with_dynamical_matrices=True)
    true = phonon.qpoints.dynamical_matrices[0].real.reshape(len(atoms), 3, len(atoms), 3) * embedding.TO_THZ2
    assert embedded.vacant == (0, 1)
    cell = Cell(embedded, (N, N))
    ours = cell.explicit().toarray().reshape(3 * N * N, 3, 3 * N * N, 3)
    sites = embedded.find(defect.from_site[defect.local])
    near = np.flatnonzero(defect.distances < 6)
    order = cell.numbers(embedded.sites[embedded.find(defect.from_site[near])])
    for atom, site in zip(defect.local, sites, strict=True):
        row = cell.numbers(embedded.sites[[site]])[0]
        assert abs(ours[row][:, order] - true[atom][:, near]).max() < 1e-9 * abs(true).max()
    for site in embedded.vacant:
        assert abs(ours[cell.numbers(embedded.sites[[site]])[0]]).max() < 1e-10


def test_both_vacancies_take_six_states_and_the_mirror_plane_gives_parities(divacancy, embedded):
    mace, (_, defect, atoms), folder = divacancy
    assert len(embedded.operations) == 12
    isolated = tmatrix.Isolated(embedded, 48)
    names = ["A1'", "A2'", "E'", "A2''", "A1''", "E''"]
    assert [irrep.name for irrep in isolated.irreps] == names
    rank = {irrep.name: sum(row.shape[1] for row in irrep.rows) for irrep in isolated.irreps}
    assert sum(rank.values()) == 3 * len(embedded.sites)
    # The two missing atoms: along z together A2'', against each other A1'; in the plane E' and E''.
    assert dict(zip(names, isolated.ghosts, strict=True)) == {
        "A1'": 1,
        "A2'": 0,
        "E'": 2,
        "A2''": 1,
        "A1''": 0,
        "E''": 2,
    }
    response = isolated.response(np.arange(0.5, 20.5, 0.5), 0.1, {})
    assert sum(response.change.values())[-1] == pytest.approx(-6, abs=0.05)
    # phonopy's labels of the modes of a cell, and the irreps of the sites, put the same mode into the gap.
    phonon = force_constants.analytic(atoms, 1, mace, folder=folder)
    force_constants.symmetrise(phonon)
    modes = localisation.defect_modes(spectra.gamma_modes(phonon), defect)
    strongest = max(modes, key=lambda mode: mode.weight)
    bound = min(isolated.bound_states(), key=lambda state: abs(state.frequency_THz - strongest.frequency_THz))
    assert bound.irrep == strongest.irrep == "A1'"
    assert bound.frequency_THz == pytest.approx(strongest.frequency_THz, abs=0.02)


def test_other_masses_change_the_operator_as_they_change_the_matrix(embedded):
    """Of atoms near the defect: D becomes S D S, S the root of the old mass over the new."""
    sites = embedded.within(5.0)[[0, 7, 8]]
    elements = dict(zip(sites.tolist(), ("O", "Mo", "S"), strict=True))
    cell, heavier = (Cell(each, (24, 24)) for each in (embedded, embedding.with_elements(embedded, elements)))
    roots = np.ones(cell.size)
    for site, element in elements.items():
        number = cell.numbers(embedded.sites[[site]])[0]
        new = atomic_masses[Atoms(element).numbers[0]]
        roots[3 * number : 3 * number + 3] = np.sqrt(embedded.masses[site] / new)
    vector = np.random.default_rng(1).standard_normal(cell.size)
    expected = roots * (cell @ (roots * vector))
    assert abs(heavier @ vector - expected).max() < 1e-11 * abs(expected).max()


def test_isotopes_of_a_substituted_atom_are_its_own(embedded):
    """Of 16O there is 99.76 %: O scatters by 1e-3 of its mass, Se by 2 %."""
    site = int(embedded.within(4.0)[0])
    with_oxygen = embedding.with_elements(embedded, {site: "O"})
    number = 3 * Cell(with_oxygen, (24, 24)).numbers(with_oxygen.sites[[site]])[0]
    factors = [Cell(with_oxygen, (24, 24), isotopes=seed).by_mass[number] for seed in range(8)]
    assert factors == pytest.approx(np.ones(8), abs=3e-3)
    assert replace(with_oxygen, elements={}).symbols[site] in ("W", "Se")


def test_what_breaks_the_threefold_axis_leaves_the_irreps_of_C2v(embedded):
    """Springs along x on the nearest W: E' becomes A1 + B2, and E'' B1 + A2, as phonopy names them in a strained sheet."""
    springs = np.zeros(3 * len(embedded.sites))
    springs[3 * embedded.within(2.0)] = 1.0
    change = (embedded.change + diags_array(springs)).tobsr((3, 3))
    rank = {}
    for one in (embedded, replace(embedded, change=change)):
        rank |= {irrep.name: irrep.rows[0].shape[1] for irrep in tmatrix.irreps(one)}
    assert rank["A1"] == rank["A1'"] + rank["E'"] and rank["B2"] == rank["A2'"] + rank["E'"]
    assert rank["B1"] == rank["A2''"] + rank["E''"] and rank["A2"] == rank["A1''"] + rank["E''"]


def test_what_a_model_has_seen_of_a_defect():
    """Trained on vacancies of Se, and on O in their place: nothing of how W sits there, or of a site of W."""
    runs = {
        name: parameters.DefectiveCell(defect=name)
        for name in ("V_Se", "O_Se", "V_Se2", "W_Se", "V_W", "O_Se+V_W(1)")
    }
    new = [name for name, run in runs.items() if defects.is_extrapolation(run, ["Se"])]
    assert new == ["W_Se", "V_W", "O_Se+V_W(1)"]
    assert defects.elements(runs["O_Se"]) == ("W", "Se", "O") and defects.elements(runs["V_W"]) == ("W", "Se")


def test_a_frequency_along_a_displacement_is_that_of_the_spring():
    """Two masses on a spring k: w^2 = k / mu; both move against each other."""
    atoms = Atoms("SeO", positions=[[0, 0, 0], [0, 0, 2.0]])
    stiffness, (heavy, light) = 5.0, atoms.get_masses()
    moved = np.array([[0, 0, -0.01 / heavy], [0, 0, 0.01 / light]])
    frames = []
    for sign in (1, -1):
        frames.append(atoms.copy())
        frames[-1].positions += sign * moved
        pull = stiffness * sign * (moved[1, 2] - moved[0, 2])
        frames[-1].calc = SinglePointCalculator(frames[-1], forces=[[0, 0, pull], [0, 0, -pull]])
    expected = np.sqrt(stiffness * (1 / heavy + 1 / light) * embedding.TO_THZ2)
    assert evaluation.along_displacement(*frames) == pytest.approx(expected)


def test_dft_displaces_cells_both_ways_along_modes_and_its_energies_agree_with_its_forces():
    frames = evaluation.displaced_along_modes("WSe2", ["V_Se2", "O_Se", "V_Se"])
    assert [(name, mode[:2]) for name, mode in frames] == [
        ("V_Se2", "A1"),
        ("O_Se", "E "),
        ("O_Se", "A1"),
        ("O_Se", "A1"),
    ]
    assert not evaluation.displaced_along_modes("MoS2", ["V_Se2"])
    relaxed = evaluation.relaxed_by_dft("WSe2", ["V_Se2", "O_Se"])
    for (name, _), pair in frames.items():
        middle, moved = (
            (pair[0].positions + pair[1].positions) / 2,
            (pair[0].positions - pair[1].positions) / 2,
        )
        assert middle == pytest.approx(relaxed[name].positions, abs=1e-6)
        rise = sum(dataset.energy(atoms) for atoms in pair) - 2 * dataset.energy(relaxed[name])
        squared = rise / (pair[0].get_masses()[:, None] * moved**2).sum() * embedding.TO_THZ2
        assert evaluation.along_displacement(*pair) == pytest.approx(np.sqrt(squared), rel=0.005)


def test_the_committee_has_a_deviation_of_the_motion_along_each_displacement():
    frames = evaluation.displaced_along_modes("WSe2", ["V_Se2"])
    run = SimpleNamespace(model="wse2-defects")
    model = potential.load(run.model)
    ((pair, spread),) = zip(
        frames.values(), uncertainty.along_modes(run, model, frames).values(), strict=True
    )
    error = evaluation.along_displacement(*pair, model) - evaluation.along_displacement(*pair)
    assert 0.2 * abs(error) < spread < 5 * abs(error)  # as large as the error, which DFT tells


def test_formation_energies_follow_from_the_energies_of_sheet_and_elements():
    relaxed = evaluation.relaxed_by_dft("WSe2", ["V_Se", "V_Se2", "O_Se"])
    energies = {name: evaluation.formation_energies(atoms) for name, atoms in relaxed.items()}
    # By hand, from the energies in data/: sheet -20.21136, V_Se in 3 x 3 -175.71951, Se -3.4787, W -11.5630 eV.
    assert energies["V_Se"] == pytest.approx({"Se-rich": 2.704, "Se-poor": 1.859}, abs=0.002)
    formation = -20.21136 + 11.5630 + 2 * 3.4787  # of the sheet
    for name, missing in (("V_Se", 1), ("V_Se2", 2), ("O_Se", 1)):
        assert energies[name]["Se-poor"] - energies[name]["Se-rich"] == pytest.approx(
            missing * formation / 2, abs=1e-3
        )
    # Y. J. Zheng and S. Y. Quek, arXiv 1901.05238: V_Se2 at least 1 eV above V_Se, O on the site of Se far below.
    assert energies["V_Se2"]["Se-poor"] > energies["V_Se"]["Se-poor"] + 1
    assert energies["O_Se"]["Se-rich"] < 0
    unknown = relaxed["V_Se"].copy()
    unknown.symbols[1] = "S"
    unknown.calc = SinglePointCalculator(unknown, energy=-175.0)
    assert np.isnan(evaluation.formation_energies(unknown)["Se-rich"])
