"""One vacancy in cells of any size and alone: against phonopy, dense diagonalisation, a textbook chain, each other."""

import numpy as np
import pytest
from ase import Atoms
from scipy.sparse import bsr_array

from defectphonons import (
    chebyshev,
    embedding,
    following,
    force_constants,
    potentials,
    relaxation,
    spectra,
    tmatrix,
)
from defectphonons.chebyshev import Cell
from defectphonons.embedding import Embedded, Perfect
from helpers import defects, dilute, parameters
from helpers.models import potential

CELL = parameters.DefectiveCell(supercell=9)  # which is embedded; relaxed for 08 too
RADIUS = 12.0  # A


@pytest.fixture(scope="module")
def mace():
    return potential.load("wse2-small", elements=("W", "Se"))


@pytest.fixture(scope="module")
def relaxed(mace):
    """Primitive cell, defect, relaxed cell."""
    return defects.relaxed_defect(CELL, mace)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("terms")


@pytest.fixture(scope="module")
def found(mace, relaxed, folder):
    """The embedding and the residuals at its seam."""
    return embedding.embed(*relaxed, mace, radius=RADIUS, folder=folder)


@pytest.fixture(scope="module")
def embedded(found):
    return found[0]


@pytest.fixture(scope="module")
def local(relaxed, embedded):
    vacancy = relaxed[1]
    return embedded.find(vacancy.from_site[vacancy.local])


def test_the_seam_keeps_sum_rule_and_permutation_symmetry(found):
    embedded, residuals = found
    assert residuals["sum_rule"] < 1e-12 and residuals["permutation"] < 1e-12
    assert 0.01 < residuals["seam"] < 0.5  # eV/A^2; the largest constants are above 10
    assert len(embedded.operations) == 6
    matrix = Cell(embedded, (24, 24)).explicit()
    ghost = 3 * embedded.sites[0, 2]  # the cell of the empty site comes first
    assert abs(matrix[ghost : ghost + 3]).max() < 1e-10
    assert abs(matrix[:3]).max() > 1  # its W


def test_the_rows_of_the_atoms_at_the_vacancy_are_those_of_the_whole_relaxed_cell(
    mace, relaxed, embedded, local, folder
):
    """All that these atoms couple to lies within the region: phonopy's matrix of the true cell has the same rows."""
    _, vacancy, atoms = relaxed
    phonon = force_constants.analytic(atoms, 1, mace, folder=folder)
    phonon.run_qpoints([[0, 0, 0]], with_dynamical_matrices=True)
    factor = embedding.TO_THZ2
    true = phonon.qpoints.dynamical_matrices[0].real.reshape(len(atoms), 3, len(atoms), 3) * factor
    n = CELL.supercell
    cell = Cell(embedded, (n, n))
    ours = cell.explicit().toarray().reshape(3 * n * n, 3, 3 * n * n, 3)
    # Where each atom of the relaxed cell stands in ours, by its ideal place.
    primitive = embedded.perfect.primitive
    places = vacancy.from_site + primitive.positions[embedded.sites[0, 2]]
    kinds = vacancy.lattice_sites % 3
    shifts = np.rint((places - primitive.positions[kinds]) @ np.linalg.inv(primitive.cell.array)).astype(int)
    order = cell.numbers(np.column_stack([shifts[:, :2], kinds]))
    for atom in vacancy.local:
        assert abs(ours[order[atom]][:, order] - true[atom]).max() < 1e-9 * abs(true).max()


@pytest.mark.parametrize("twist", [None, np.array([0.013, 0.021])], ids=["real", "twisted"])
@pytest.mark.parametrize("n", [6, 24])
def test_the_operator_is_the_explicit_matrix(embedded, n, twist):
    cell = Cell(embedded, (n, n), twist)
    matrix = cell.explicit()
    assert abs(matrix - matrix.conj().T).max() < 1e-12 * abs(matrix).max()
    vector = np.random.default_rng(1).standard_normal(cell.size)
    expected = matrix @ vector
    assert abs(cell @ vector - expected).max() < 1e-12 * abs(expected).max()


@pytest.mark.parametrize("n", [6, 12])
def test_kernel_polynomials_agree_with_dense_diagonalisation(embedded, local, n):
    grid = np.linspace(0.0, 9.6, 961)
    sampled = chebyshev.local_dos(embedded, n, 1, {"local": local}, 4096)
    cell = Cell(embedded, (n, n))
    values, vectors = np.linalg.eigh(cell.explicit().toarray())
    atoms = cell.numbers(embedded.sites[local])
    shares = (vectors.reshape(-1, 3, cell.size)[atoms] ** 2).sum(axis=(0, 1))
    frequencies = np.sign(values) * np.sqrt(abs(values))
    exact = spectra.Spectrum(np.zeros((1, 3)), np.ones(1), frequencies[None], {"local": shares[None]})
    # The smearing is far above the resolution, which would differ else.
    assert chebyshev.resolution(4096, cell.range, np.array([3.0, 7.0])).max() < 0.004
    ours, expected = (spectra.density_of_states(each, grid, 0.05, "local") for each in (sampled, exact))
    integrated = (np.cumsum(ours) - np.cumsum(expected)) * (grid[1] - grid[0])
    assert abs(integrated[50:]).max() < 1e-3 * 12
    assert sampled.shares["local"].sum() == pytest.approx(12, abs=1e-9)


def test_a_single_state_becomes_a_peak_of_the_stated_resolution():
    span, count, frequency = (-1.0, 81.0), 1024, 7.0
    x = (frequency**2 - 40) / 41
    at, weights = chebyshev.states(np.cos(np.arange(count) * np.arccos(x)), span)
    mean = (weights * at).sum()
    assert weights.sum() == pytest.approx(1, abs=1e-12) and mean == pytest.approx(frequency, abs=1e-3)
    spread = np.sqrt((weights * (at - mean) ** 2).sum())
    assert spread == pytest.approx(chebyshev.resolution(count, span, np.array([frequency]))[0], rel=0.02)


def test_a_window_lets_pass_what_lies_in_it(embedded):
    cell = Cell(embedded, (6, 6))
    values, vectors = np.linalg.eigh(cell.explicit().toarray())
    inside = (values > 6.5**2) & (values < 7.5**2)
    start = cell.spread(np.eye(3 * len(embedded.sites))[9:10])
    expected = vectors[:, inside] @ (vectors[:, inside].T @ start[0])
    assert abs(cell.filtered(start, [(6.5, 7.5)], 4096)[0] - expected).max() < 0.02


def test_the_green_function_agrees_with_kernel_polynomials_at_100x100(embedded, local):
    frequencies, broadening = np.array([1.0, 2.5, 3.3, 3.65, 5.6, 6.22, 6.6, 6.91, 7.2, 7.63, 8.8]), 0.05
    sampled = chebyshev.local_dos(embedded, 100, 1, {"local": local}, 3072)
    polynomials = chebyshev.broadened(sampled, "local", frequencies, broadening)
    isolated = tmatrix.Isolated(embedded, 120)
    green = isolated.response(frequencies, broadening, {"local": embedded.along(local)}).local["local"]
    assert abs(green - polynomials).max() < 3e-3 * green.max()


def test_the_vacancy_takes_three_states_away(embedded, local):
    frequencies = np.arange(0.05, 9.8, 0.1)
    isolated = tmatrix.Isolated(embedded, 48)
    q_points = np.array([[0.11, 0.03], [1 / 3, 1 / 3]])
    response = isolated.response(frequencies, 0.1, {"local": embedded.along(local)}, q_points)
    total = sum(response.change.values())
    assert total[-1] == pytest.approx(-3, abs=0.1) and total[0] == pytest.approx(0, abs=0.1)
    gap = total[(frequencies > 4.3) & (frequencies < 4.7)]
    assert abs(gap - np.rint(gap)).max() < 0.1  # none within the gap: a whole number below it
    assert np.trapezoid(response.local["local"], frequencies) == pytest.approx(12, rel=0.03)
    # What is scattered is lost from the wave: Im T is negative, in every direction of the amplitudes.
    absorbed = response.scattering - response.scattering.conj().swapaxes(-1, -2)
    assert np.linalg.eigvalsh(absorbed / 2j).max() < 1e-6 * abs(absorbed).max()
    states = tmatrix.spectral(embedded, response, q_points, 0.01)
    assert np.trapezoid(states, frequencies, axis=0) == pytest.approx(9 - 0.03, rel=0.03)
    _, widths = tmatrix.linewidths(embedded, response, q_points)
    assert (widths > 0).all()


def test_the_spectral_function_of_few_vacancies_is_that_of_a_large_cell(embedded):
    """Exactly, to first order in the concentration, where T and the resolvent of a 24 x 24 array share nothing."""
    frequencies, n, q = np.arange(5.2, 8.6, 0.1), 24, np.array([0.25, 0.0])
    isolated = tmatrix.Isolated(embedded, 96)
    response = isolated.response(frequencies, 0.1, {"first": np.eye(9, 3 * len(embedded.sites))[:1]}, q[None])
    cell = Cell(embedded, (n, n), q)
    waves = np.zeros((9, cell.size), dtype=complex)
    for coordinate in range(9):
        waves[coordinate, coordinate::9] = 1 / n  # the wave at the twist, without its phases
    at, weights = chebyshev.states(cell.moments(waves, 4096), cell.range)
    array = spectra.Spectrum(np.zeros((1, 3)), np.ones(1), at[None], {"all": weights.sum(axis=0)[None]})
    expected = chebyshev.broadened(array, "all", frequencies, 0.1)
    ours = tmatrix.spectral(embedded, response, q[None], 1 / n**2)[:, 0]
    none = tmatrix.spectral(embedded, response, q[None], 0.0)[:, 0]
    assert abs(ours - expected).max() < 0.15 * abs(none - expected).max()


def test_a_defect_of_no_strength_changes_nothing(embedded, local):
    nothing = Embedded(embedded.perfect, embedded.sites, 0 * embedded.change)
    frequencies = np.array([3.0, 6.0, 9.0])
    q = np.array([[0.1, 0.2]])
    response = tmatrix.Isolated(nothing, 24).response(frequencies, 0.1, {"local": nothing.along(local)}, q)
    assert abs(sum(response.change.values())).max() < 1e-9 and abs(response.scattering).max() < 1e-12
    # The perfect sheet's own density on the same four sites.
    values, vectors = np.linalg.eigh(embedded.perfect.fourier((24, 24)).reshape(-1, 9, 9))
    shares = (
        (abs(vectors.reshape(-1, 3, 3, 9)) ** 2)
        .sum(axis=2)
        .swapaxes(0, 1)[embedded.sites[local, 2]]
        .sum(axis=0)
    )
    weights = np.full(len(values), 1 / len(values))
    sampled = spectra.Spectrum(np.zeros((len(values), 3)), weights, np.sqrt(abs(values)), {"local": shares})
    expected = chebyshev.broadened(sampled, "local", frequencies, 0.1)
    assert response.local["local"] == pytest.approx(expected, rel=1e-6)


@pytest.fixture(scope="module")
def light_atom():
    """Monoatomic chain, 5 THz at most, with an atom of mass (1 - 0.4) m. Only x moves."""
    epsilon, spring = 0.4, 25.0 / 4  # k/m in THz^2
    chain = Atoms("X", cell=[1, 10, 10], pbc=True)
    shifts = np.array([[-1, 0], [0, 0], [1, 0]])
    blocks = np.zeros((3, 3, 3))
    blocks[:, 0, 0] = [-spring, 2 * spring, -spring]
    change = np.zeros((3, 3, 3, 3))  # site, axis, site, axis
    change[0, 0, 0, 0] = 2 * spring * (1 / (1 - epsilon) - 1)
    for neighbour in (1, 2):
        change[0, 0, neighbour, 0] = change[neighbour, 0, 0, 0] = -spring * ((1 - epsilon) ** -0.5 - 1)
    sites = np.array([[0, 0, 0], [-1, 0, 0], [1, 0, 0]])
    matrix = bsr_array(change.reshape(9, 9), blocksize=(3, 3))
    return Embedded(Perfect(chain, shifts, blocks), sites, matrix), 5 / np.sqrt(1 - epsilon**2)


def test_a_light_atom_in_a_chain_has_the_bound_state_of_the_textbook(light_atom):
    """w^2 = w_max^2 / (1 - epsilon^2): A. A. Maradudin et al., Theory of Lattice Dynamics, section VIII."""
    embedded, expected = light_atom
    cell = Cell(embedded, (201, 1))
    frequency, share, atoms = chebyshev.strongest(np.eye(9)[0], cell, 5.4, count=3)
    assert frequency == pytest.approx(expected, abs=1e-10)
    # From atom to atom u falls by (1 - epsilon) / (1 + epsilon), and the light one has less of the motion by its mass.
    ratio = (3 / 7) ** 2 / (1 - 0.4)
    assert share == pytest.approx(1 / (1 + 2 * ratio / (1 - (3 / 7) ** 2)), abs=1e-9)
    assert atoms == pytest.approx(1 / (share**2 * (1 + 2 * ratio**2 / (1 - (3 / 7) ** 4))), rel=1e-9)
    isolated = tmatrix.Isolated(embedded, 2000)
    (state,) = isolated.bound_states({"light": np.array([0])})
    assert state.weights["light"] == pytest.approx(share, abs=1e-5)
    assert state.frequency_THz == pytest.approx(expected, abs=1e-4)
    assert state.from_band_THz == pytest.approx(expected - 5, abs=1e-4)
    frequencies = np.arange(0.1, 6.5, 0.01)
    response = isolated.response(frequencies, 0.02, {"light": np.eye(9)[:1]})
    found, _ = isolated.resonances(response, {"light": np.array([0])}, least=5.0)
    (bound,) = [each for each in found if each.frequency_THz > 5]
    assert bound.frequency_THz == pytest.approx(expected, abs=1e-4)
    assert bound.width_THz < 1e-6
    # On the three sites alone.
    assert bound.weights["light"] == pytest.approx(1 / (1 + 2 * ratio), abs=1e-3)
    # It left the band, which lost one state.
    between = (frequencies > 5.2) & (frequencies < 5.25)
    assert sum(response.change.values())[between] == pytest.approx(-1, abs=0.1)


@pytest.mark.parametrize("coupling", [0.1, 0.2])
def test_an_atom_that_a_chain_hardly_holds_has_the_resonance_of_its_exact_pole(light_atom, coupling):
    """Of the chain D = 2 s, -s with couplings of one atom times kappa: z = 2 s - 2 i kappa^2 s / sqrt(1 - 2 kappa^2).

    The pole of 1 / (z - 2 s - 2 (kappa s)^2 g), g the Green's function at the end of half a chain, g = 1 / (z - 2 s - s^2 g).
    """
    chain = light_atom[0].perfect
    spring = -chain.blocks[0, 0, 0]
    change = np.zeros((3, 3, 3, 3))
    for neighbour in (1, 2):
        change[0, 0, neighbour, 0] = change[neighbour, 0, 0, 0] = (1 - coupling) * spring
    matrix = bsr_array(change.reshape(9, 9), blocksize=(3, 3))
    isolated = tmatrix.Isolated(Embedded(chain, light_atom[0].sites, matrix), 2000)
    response = isolated.response(np.arange(2.5, 4.5, 0.03), 0.05, {})
    ((found,), without) = isolated.resonances(response, {"it": np.array([0])}, least=1.0)
    expected = np.sqrt(2 * spring - 2j * coupling**2 * spring / np.sqrt(1 - 2 * coupling**2))
    assert found.frequency_THz == pytest.approx(expected.real, abs=1e-4) and without == 0
    assert found.width_THz == pytest.approx(-2 * expected.imag, rel=1e-3)
    assert found.error_THz < 1e-3 * found.width_THz


def test_a_weak_change_scatters_acoustic_phonons_as_the_golden_rule_says(embedded):
    """Full width |<e|V|e>|^2 x pi x local DOS / (2 w^2), for a change V of one coordinate of one Se."""
    change, strength = np.zeros((len(embedded.sites), 3, len(embedded.sites), 3)), 1e-3
    change[0, 2, 0, 2] = strength
    size = 3 * len(embedded.sites)
    weak = Embedded(
        embedded.perfect,
        embedded.sites,
        bsr_array(change.reshape(size, size), blocksize=(3, 3)),
    )
    at = np.array([0.3, 0.5, 20.0])  # THz; further up ZA is no longer a motion along z alone
    widths = tmatrix.Isolated(weak, 192).acoustic_widths(at)
    assert np.isnan(widths[2]).all()
    vectors = np.eye(size)[None, 2]
    cell = Cell(weak, (100, 100))
    frequencies, weights = chebyshev.states(cell.moments(cell.spread(vectors), 3072), cell.range)
    local = spectra.Spectrum(np.zeros((1, 3)), np.ones(1), frequencies[None], {"z": weights})
    density = spectra.density_of_states(local, at[:2], 0.1, "z")
    masses = embedded.perfect.primitive.get_masses()
    # ZA moves all atoms along z alike.
    share = masses[embedded.sites[0, 2]] / masses.sum()
    golden = share * strength**2 * np.pi * density / (2 * at[:2] ** 2)
    assert widths[:2, 0] == pytest.approx(golden, rel=0.12)


def test_a_mode_of_a_small_cell_is_found_in_a_large_one(mace, embedded, local):
    """A2 at 6.89 THz stays, A1 at 8.01 THz spreads; by kernel polynomials and by Lanczos."""
    sheet = defects.defective_sheet(parameters.DefectiveCell(supercell=6), mace)
    gamma = spectra.gamma_modes(sheet.phonon)
    modes, patterns = following.candidates(gamma, sheet.defect)
    vectors = chebyshev.on_sites(patterns, embedded)
    assert [len(each) for each in vectors] == [1 + (mode.irrep == "E") for mode in modes]
    assert [np.linalg.norm(each) for each in vectors] == pytest.approx(np.ones(len(modes)))
    named = {
        f"{mode.irrep} {mode.frequency_THz:.1f}": vector for mode, vector in zip(modes, vectors, strict=True)
    }
    cell = Cell(embedded, (24, 24))
    sharp, broad = chebyshev.continued([named["A2 6.9"], named["A1 8.0"]], cell, {"local": local}, 2048)
    assert sharp.frequency_THz == pytest.approx(6.89, abs=0.01) and sharp.core > 0.8
    assert broad.share < 0.3 and broad.atoms > 3 * sharp.atoms
    frequency, share, atoms = chebyshev.strongest(named["A2 6.9"][0], cell, sharp.frequency_THz)
    assert share > 0.85 and frequency == pytest.approx(sharp.frequency_THz, abs=0.005)
    assert atoms == pytest.approx(sharp.atoms, rel=0.1)
    assert chebyshev.strongest(named["A1 8.0"][0], cell, broad.frequency_THz)[1] < 0.3


def test_a_region_that_cannot_be_is_refused(mace, relaxed, embedded, folder):
    for radius in (5.0, 25.0):
        with pytest.raises(
            ValueError, match=rf"radius = {radius:g} A: must be above .* with a larger supercell"
        ):
            embedding.embed(*relaxed, mace, radius=radius, folder=folder)
    with pytest.raises(ValueError, match="embed a larger region"):
        embedded.find(np.array([[60.0, 0.0, 0.0]]))
    with pytest.raises(ValueError, match="does not fit in a 6 x 6 cell"):
        Cell(embedded, (6, 6)).nearest(6.9, np.ones(324), 4)
    with pytest.raises(ValueError, match="radii"):
        parameters.Dilute.of({"radii": [10.0]})


def test_without_its_images_a_vacancy_leaves_the_stress_of_elastic_theory(mace, relaxed):
    """The dipole is that of other cells (9.7 to 9.8 eV in 9 x 9 and 12 x 12, by MACE's calculator alone).

    Strained by P / (2 C11 A), the cell has (C11 - C12) / (2 C11) of its stress left.
    """
    primitive, vacancy, atoms = relaxed
    ideal, released, dipole = embedding.without_image_strain(
        primitive, vacancy, atoms, mace, CELL.shared_folder / "relaxed"
    )
    assert dipole == pytest.approx(-9.75, rel=0.02)
    C11, C12 = relaxation.elastic_constants(primitive, mace)
    fixed, left = (potentials.evaluate(mace, each)["stress"][:2].mean() for each in (atoms, released))
    assert left / fixed == pytest.approx((C11 - C12) / (2 * C11), rel=0.05)
    assert (ideal.lattice_sites == vacancy.lattice_sites).all() and len(released) == len(atoms)
    strain = released.cell.lengths()[0] / atoms.cell.lengths()[0] - 1
    assert ideal.atoms.cell.lengths()[0] == pytest.approx(released.cell.lengths()[0])
    assert -0.002 < strain < -0.0005


def test_isotopes_are_drawn_by_their_abundance():
    symbols = ["Se"] * 20000 + ["F"] * 10
    masses = spectra.isotope_masses(symbols, 0)
    assert np.array_equal(masses, spectra.isotope_masses(symbols, 0))
    assert masses[:20000].mean() == pytest.approx(78.97, abs=0.05) and len(np.unique(masses[:20000])) == 6
    assert (masses[20000:] == masses[-1]).all() and masses[-1] == pytest.approx(18.998, abs=0.001)
    ratio = masses[:20000] / masses[:20000].mean()
    assert ratio.var() == pytest.approx(spectra.mass_variance("Se"), rel=0.05)


@pytest.mark.parametrize("twist", [None, np.array([0.013, 0.021])], ids=["real", "twisted"])
def test_the_operator_with_isotopes_is_the_explicit_matrix_and_changes_no_force_constant(embedded, twist):
    cell, plain = Cell(embedded, (6, 6), twist, isotopes=3), Cell(embedded, (6, 6), twist)
    primitive = embedded.perfect.primitive
    masses = spectra.isotope_masses([*primitive.symbols] * 36, 3)
    # Force constants do not know of masses.
    roots = np.sqrt([masses, np.tile(primitive.get_masses(), 36)]).repeat(3, axis=1)
    constants, expected = (
        root[:, None] * each.explicit().toarray() * root
        for root, each in zip(roots, (cell, plain), strict=True)
    )
    assert abs(constants - expected).max() < 1e-12 * abs(expected).max()
    vector = np.random.default_rng(1).standard_normal(cell.size)
    expected = cell.explicit() @ vector
    assert abs(cell @ vector - expected).max() < 1e-12 * abs(expected).max()
    moments = cell.moments(vector[None], 4)[0]
    lowest, highest = cell.range
    scaled = (2 * cell.explicit().toarray() - (highest + lowest) * np.eye(cell.size)) / (highest - lowest)
    assert moments[3] == pytest.approx(
        (vector @ (4 * scaled @ scaled @ scaled - 3 * scaled) @ vector).real, rel=1e-9
    )
    with pytest.raises(ValueError, match="mean masses"):
        cell.nearest(5.0, vector, 2)


def test_a_known_difference_of_force_constants_is_added_near_the_defect(embedded, relaxed):
    """Of a spring between two W of the vacancy, and of one that only other images of them could belong to."""
    _, vacancy, _ = relaxed
    n, (one, other, _) = len(vacancy.atoms), vacancy.neighbours
    difference = np.zeros((n, n, 3, 3))
    along = vacancy.from_site[other] - vacancy.from_site[one]
    spring = 2.0 * np.outer(along, along) / (along @ along)
    difference[one, other] = difference[other, one] = -spring
    far = vacancy.distances.argmax()
    difference[far, one] = difference[one, far] = np.eye(3)
    found, near = embedding.corrected(embedded, vacancy, difference)
    assert far not in near and set(vacancy.local) <= set(near)
    added = (found.change - embedded.change).toarray()
    assert abs(added - added.T).max() < 1e-12
    assert abs(added @ np.tile(np.eye(3), (len(embedded.sites), 1))).max() < 1e-9  # equal masses: W alone
    sites = embedded.find(vacancy.from_site[[one, other]])
    motion = np.zeros((len(embedded.sites), 3))
    motion[sites] = np.array([-along, along]) / np.linalg.norm(along) / np.sqrt(2)
    mass = embedded.perfect.primitive.get_masses()[embedded.sites[sites[0], 2]]
    stretched = motion.ravel() @ added @ motion.ravel()
    assert stretched == pytest.approx(2 * 2.0 / mass * embedding.TO_THZ2, rel=1e-9)
    assert len(found.operations) == 2 < len(embedded.operations)


def test_a_width_that_grows_with_the_cube_of_the_frequency_has_the_exponent_3():
    frequencies = np.array([0.5, 1.0, 1.5, 2.0])
    widths = 1e-4 * frequencies[:, None] ** 3 * np.ones(3)
    of_branch = dilute.scattering(frequencies, np.array([0.9 * widths, 1.1 * widths]))
    for branch in of_branch.values():
        assert branch["exponent"] == pytest.approx(3) and branch["relative_spread"] == pytest.approx(0.2)
        assert branch["lifetime_ps"] == pytest.approx(1 / (2 * np.pi * 1e-4 * 1.5**3))


def test_the_narrowest_resonances_find_their_counterparts():
    def resonance(irrep: str, frequency: float, width: float, weight: float) -> tmatrix.Resonance:
        return tmatrix.Resonance(irrep, frequency, width, 0.0, 0.0, 10.0, {"local": weight})

    resonances = [
        resonance("E", 6.9, 0.01, 0.2), resonance("E", 6.3, 0.06, 0.2), resonance("E", 7.8, 0.001, 0.02),
        resonance("A2", 3.3, 0.001, 0.2),
    ]  # fmt: skip
    chosen = dilute.narrowest(resonances, above=5.0)
    assert {irrep: one["frequency_THz"] for irrep, one in chosen.items()} == {"E": 6.9}
    moved = [resonance("E", 6.8, 0.02, 0.2), resonance("E", 6.4, 0.02, 0.2), resonance("E", 6.91, 0.02, 0.05)]
    assert dilute.counterparts(chosen, moved) == {"E": moved[0]}
    assert dilute.counterparts(chosen, []) == {}
