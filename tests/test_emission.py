"""Huang-Rhys factors and line shapes: against Poisson's series, diagonalisation, NV- in diamond, and each other."""

import os
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from scipy.signal import fftconvolve
from scipy.sparse import bsr_array
from scipy.stats import norm, poisson

from defectphonons import chebyshev, emission, tmatrix
from defectphonons.chebyshev import Cell
from defectphonons.embedding import Embedded, Perfect
from defectphonons.emission import HuangRhys
from helpers import paths

DIAMOND = Path(
    os.environ.get("WSE2_NV_DIAMOND", paths.ROOT.parent / "shared" / "emission" / "nv_diamond_pbe.npz")
)
BROADENING = 0.05  # THz


def single_modes(frequencies: list[float], factors: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Return a grid of 0.005 THz and a spectral density that is sharp on it."""
    grid = np.linspace(0, 8, 1601)
    density = np.zeros(len(grid))
    density[np.rint(np.array(frequencies) * 200).astype(int)] = np.array(factors) * 200
    return grid, density


def smooth() -> tuple[np.ndarray, np.ndarray]:
    """Return a grid and a spectral density with an acoustic part and a local mode."""
    grid = np.linspace(0, 12, 2401)
    modes = HuangRhys(np.array([0.3, 2.0, 6.9]), np.array([0.4, 0.8, 1.1]), np.empty(0), np.zeros(3))
    return grid, emission.spectral_density(modes, grid, 0.15)


def test_one_displaced_oscillator_gives_the_poisson_series():
    shape = emission.line_shape(*single_modes([7.0], [1.7]), 0.0, BROADENING)
    numbers = np.arange(40)
    expected = poisson.pmf(numbers, 1.7) @ norm.pdf(shape.energies, 7.0 * numbers[:, None], BROADENING)
    assert abs(shape.intensities - expected).max() < 1e-10 * expected.max()
    assert shape.debye_waller == pytest.approx(np.exp(-1.7), rel=1e-12)


@pytest.mark.parametrize("temperature", [0.0, 300.0])
def test_two_modes_give_the_convolution_of_one_and_the_other(temperature):
    narrow = BROADENING / 2**0.5
    both = emission.line_shape(*single_modes([3.0, 7.3], [0.9, 0.6]), temperature, BROADENING)
    one, other = (
        emission.line_shape(*single_modes([at], [factor]), temperature, narrow)
        for at, factor in ((3.0, 0.9), (7.3, 0.6))
    )
    convolved = fftconvolve(one.intensities, other.intensities) * 0.005
    energies = one.energies[0] + other.energies[0] + 0.005 * np.arange(len(convolved))
    expected = np.interp(both.energies, energies, convolved, 0, 0)
    assert abs(both.intensities - expected).max() < 1e-9 * expected.max()


@pytest.mark.parametrize("temperature", [0.0, 4.0, 300.0])
def test_moments_of_the_line_shape_are_those_of_the_spectral_density(temperature):
    """Integral 1, mean int w S(w) dw at any temperature, variance int w^2 S(w) (2n + 1) dw beyond that of a line."""
    grid, density = smooth()
    shape = emission.line_shape(grid, density, temperature, BROADENING)
    step = grid[1]
    mean = (grid * density).sum() * step
    doubled = 1.0 if temperature == 0 else 1 / np.tanh(grid[1:] / (2 * emission.KELVIN * temperature))
    variance = (grid[1:] ** 2 * density[1:] * doubled).sum() * step + BROADENING**2
    found = np.trapezoid(shape.intensities, shape.energies)
    assert found == pytest.approx(1, abs=1e-10)
    assert np.trapezoid(shape.energies * shape.intensities, shape.energies) == pytest.approx(mean, rel=1e-9)
    spread = np.trapezoid((shape.energies - mean) ** 2 * shape.intensities, shape.energies)
    assert spread == pytest.approx(variance, rel=1e-8)
    # The broadening of S(w) keeps the mean, too.
    assert mean == pytest.approx(0.3 * 0.4 + 2.0 * 0.8 + 6.9 * 1.1, rel=1e-6)
    assert shape.intensities.min() > -1e-12


def test_finer_grids_change_nothing():
    """A narrower line on a grid of its own, widened afterwards, is the wider line."""
    grid, density = (each[::4] for each in smooth())
    wide, narrow = (emission.line_shape(grid, density, 77.0, width) for width in (0.05, 0.03))
    assert np.diff(wide.energies)[0] == pytest.approx(0.01)
    assert np.diff(narrow.energies)[0] == pytest.approx(0.005)
    kernel = norm.pdf(0.005 * np.arange(-80, 81), 0, 0.04) * 0.005
    widened = np.interp(wide.energies, narrow.energies, np.convolve(narrow.intensities, kernel, "same"))
    assert abs(widened - wide.intensities).max() < 1e-4 * wide.intensities.max()


def test_emission_and_absorption_are_in_detailed_balance_at_300_k():
    """E(-x) = exp(-h x / kT) A(-x) for sharp lines; Gaussians shift x by their variance over kT / h and add a constant."""
    shape = emission.line_shape(*smooth(), 300.0, BROADENING)
    (detunings, absorbed), (emitted_at, emitted) = shape.absorption, shape.emission
    assert np.trapezoid(emitted * emitted_at, emitted_at) == pytest.approx(
        -np.trapezoid(absorbed * detunings, detunings)
    )
    beta = 1 / (emission.KELVIN * 300.0)  # 1/THz
    x = np.linspace(-5, 20, 501)
    left = np.interp(x, emitted_at, emitted)  # photons with x more than the zero-phonon line
    right = np.exp(-beta * x + (beta * BROADENING) ** 2 / 2)
    right *= np.interp(x - beta * BROADENING**2, detunings, absorbed)
    assert abs(left - right).max() < 2e-3 * left.max()
    # Sharp lines, exactly: of one mode the areas of n phonons less and n more.
    one = emission.line_shape(*single_modes([7.0], [1.7]), 300.0, BROADENING)
    for n in (1, 2, 3):
        gained, lost = (one.intensities[abs(one.energies - at) < 1].sum() for at in (-7.0 * n, 7.0 * n))
        assert gained / lost == pytest.approx(np.exp(-7.0 * n * beta), rel=1e-9)


@pytest.fixture(scope="module")
def cell():
    """Masses and force constants of eight atoms, stable and invariant under translations."""
    generator = np.random.default_rng(4)
    rows = generator.standard_normal((40, 8, 3))
    rows -= rows.mean(axis=1, keepdims=True)
    constants = np.einsum("kia,kjb->ijab", rows, rows) / 4
    return generator.uniform(10, 180, 8), constants, generator.standard_normal((8, 3)) / 20


def test_displacements_and_harmonic_forces_give_the_same(cell):
    masses, constants, moved = cell
    forces = np.einsum("ijab,jb->ia", constants, moved)
    by_displacements = emission.huang_rhys(masses, constants, displacements=moved)
    by_forces = emission.huang_rhys(masses, constants, forces=forces)
    assert by_forces.factors == pytest.approx(by_displacements.factors, rel=1e-8)
    assert by_forces.delta_q == pytest.approx(by_displacements.delta_q, rel=1e-10)
    assert len(by_forces.factors) == 21 and abs(by_forces.acoustic).max() < 1e-3
    # Delta Q without the motion of the centre of mass; and half the relaxation energy of each mode is S_k h nu_k.
    moved = moved - masses @ moved / masses.sum()
    assert by_forces.delta_q == pytest.approx(np.sqrt((masses[:, None] * moved**2).sum()), rel=1e-10)
    energy = (by_forces.factors * by_forces.frequencies).sum() * 4.135667696e-3
    assert energy == pytest.approx((moved * forces).sum() / 2, rel=1e-7)


def test_a_net_force_is_projected_out_and_told(cell):
    masses, constants, moved = cell
    forces = np.einsum("ijab,jb->ia", constants, moved)
    push = np.array([0.03, 0.0, -0.01])
    found = emission.huang_rhys(masses, constants, forces=forces + masses[:, None] / masses.sum() * push)
    assert found.net_force == pytest.approx(push)
    assert found.total == pytest.approx(emission.huang_rhys(masses, constants, forces=forces).total)


def test_modes_below_a_threshold_are_left_out(cell):
    masses, constants, moved = cell
    every = emission.huang_rhys(masses, constants, displacements=moved)
    edge = every.frequencies[:2].mean()
    found = emission.huang_rhys(masses, constants, displacements=moved, threshold=edge)
    assert len(found.acoustic) == 4 and found.frequencies == pytest.approx(every.frequencies[1:])


@pytest.mark.skipif(
    not DIAMOND.is_file(), reason="needs the file of NV- in diamond, named by WSE2_NV_DIAMOND"
)
def test_nv_in_diamond_has_the_published_factors():
    """215 atoms, PBE, from the public data of defectpl (Shibu778/defectpl, MIT licence)."""
    data = np.load(DIAMOND)
    size = len(data["masses_u"])
    matrix = np.zeros((3 * size, 3 * size))
    matrix[np.triu_indices(3 * size)] = data["force_constants_upper_eV_A2"]
    matrix += np.triu(matrix, 1).T
    constants = matrix.reshape(size, 3, size, 3).swapaxes(1, 2)
    inputs = {
        "displacement_A": ("displacements", 2.927, 0.643),
        "excited_forces_in_ground_geometry_eV_A": ("forces", 3.872, 0.723),
        "ground_forces_in_excited_geometry_eV_A": ("forces", 2.72, 0.602),
    }
    for name, (kind, total, delta_q) in inputs.items():
        found = emission.huang_rhys(data["masses_u"], constants, **{kind: data[name]})
        assert found.total == pytest.approx(total, abs=1.5e-3)
        assert found.delta_q == pytest.approx(delta_q, abs=6e-4)


NEIGHBOURS = [(1, 0), (0, 1), (-1, 1), (-1, 0), (0, -1), (1, -1)]


def springs(cell: tuple[int, int]) -> list[dict[tuple[int, int], np.ndarray]]:
    """Return lengths and bends of a triangular sheet whose squares are its energy: site -> (3,) coefficients."""
    found = []
    for u, v in NEIGHBOURS[:3]:
        ahead, behind = (cell[0] + u, cell[1] + v), (cell[0] - u, cell[1] - v)
        bond = np.array([u + v / 2, v * 0.75**0.5, 0.0])
        found.append({cell: 4 * bond, ahead: -4 * bond})
        found.append({cell: np.array([0, 0, -2.0]), ahead: np.eye(3)[2], behind: np.eye(3)[2]})
    return found


@pytest.fixture(scope="module")
def embedded():
    """A vacancy in a triangular sheet with springs and bending, 9.8 THz at most: all terms with its atom are gone."""
    primitive = Atoms("Mo", cell=[[3.3, 0, 0], [1.65, 3.3 * 0.75**0.5, 0], [0, 0, 20]], pbc=True)
    blocks: dict[tuple[int, int], np.ndarray] = {}
    for term in springs((0, 0)):
        for (a, b), one in term.items():
            for (c, d), other in term.items():
                blocks[c - a, d - b] = blocks.get((c - a, d - b), 0) + np.outer(one, other)
    near = [(u, v) for u in range(-2, 3) for v in range(-2, 3)]
    gone = [term for cell in near for term in springs(cell) if (0, 0) in term]
    sites = list(dict.fromkeys([(0, 0), *(site for term in gone for site in term)]))
    change = np.zeros((len(sites), 3, len(sites), 3))
    for term in gone:
        for a, one in term.items():
            for b, other in term.items():
                change[sites.index(a), :, sites.index(b)] -= np.outer(one, other)
    perfect = Perfect(primitive, np.array(list(blocks)), np.array(list(blocks.values())))
    matrix = bsr_array(change.reshape(3 * len(sites), -1), blocksize=(3, 3))
    return Embedded(perfect, np.array([(*site, 0) for site in sites]), matrix, vacant=(0,))


@pytest.fixture(scope="module")
def forces(embedded):
    """Breathing of the six neighbours, and a bend of the sheet about the vacancy, in eV/A; their sum is zero."""
    found = np.zeros((len(embedded.sites), 3))
    numbers = {(u, v): i for i, (u, v, _) in enumerate(embedded.sites.tolist())}
    for u, v in NEIGHBOURS:
        found[numbers[u, v]] = 0.3 * (u + v / 2), 0.3 * v * 0.75**0.5, 0.1
        found[numbers[2 * u, 2 * v], 2] = -0.1
    return found


def diagonalised(embedded: Embedded, n: int, forces: np.ndarray) -> HuangRhys:
    """Compute the partial factors of an n x n cell from all its eigenvectors, without the empty site."""
    cell = Cell(embedded, (n, n))
    numbers, size = cell.numbers(embedded.sites), n * n
    everywhere = np.zeros((size, 3))
    everywhere[numbers] = forces
    occupied = np.delete(np.arange(size), numbers[0])
    matrix = cell.explicit().toarray().reshape(size, 3, size, 3).swapaxes(1, 2)
    mass = embedded.perfect.primitive.get_masses()[0]
    constants = matrix[np.ix_(occupied, occupied)] * mass * emission.ANGULAR**2
    return emission.huang_rhys(np.full(size - 1, mass), constants, forces=everywhere[occupied])


@pytest.mark.parametrize("gap", [0.0, 0.5])
def test_a_large_cell_without_eigenvectors_is_the_diagonalised_one(embedded, forces, gap):
    held = emission.with_substrate(embedded, gap)
    expected = diagonalised(held, 12, forces)
    found = emission.of_large_cell(held, 12, forces, 300)
    assert found.total == pytest.approx(expected.total, rel=1e-9)
    assert found.delta_q == pytest.approx(expected.delta_q, rel=1e-9)
    grid = np.linspace(0, 10.5, 2101)
    ours, theirs = (emission.spectral_density(each, grid, 0.05) for each in (found, expected))
    assert np.trapezoid(abs(ours - theirs), grid) < 1e-3 * expected.total
    # The substrate lifts the flexural modes, and a uniform motion along z among them to the gap.
    assert expected.acoustic[-1] == pytest.approx(gap, abs=1e-4)
    assert expected.frequencies.min() ** 2 == pytest.approx(0.37127**2 + gap**2, rel=1e-3)


def test_kernel_polynomials_agree_where_they_resolve_the_modes(embedded, forces):
    """In a 12 x 12 cell on a strong substrate, whose lowest mode lies at 1 THz."""
    held = emission.with_substrate(embedded, 1.0)
    found = emission.of_large_cell(held, 12, forces, 300)
    cell = Cell(held, (12, 12))
    start, _ = emission.start_vector(held, forces)
    moments = cell.moments(cell.spread(start.reshape(1, -1)), 4096)
    frequencies, weights = chebyshev.states(moments, cell.range)
    seen = frequencies > 0.5
    factors = weights[0, seen] / (2 * emission.HBAR * (emission.ANGULAR * frequencies[seen]) ** 3)
    polynomials = HuangRhys(frequencies[seen], factors, np.empty(0), np.zeros(3))
    grid = np.linspace(0, 10.5, 1051)
    ours, theirs = (emission.spectral_density(each, grid, 0.05) for each in (found, polynomials))
    assert np.trapezoid(abs(ours - theirs), grid) < 1e-2 * found.total


def test_free_sheets_couple_more_the_larger_they_are_and_held_ones_converge(embedded, forces):
    """By the same for each doubling of the size: S(w) ~ 1/w of ZA. On a substrate what is left falls like 1/n, of LA and TA."""
    sizes = (12, 24, 48)
    free = [emission.of_large_cell(embedded, n, forces, 800).total for n in sizes]
    assert free[1] > 1.5 * free[0] and free[2] - free[1] == pytest.approx(free[1] - free[0], rel=0.1)
    assert emission.of_large_cell(embedded, 24, forces, 400).total == pytest.approx(free[1], rel=1e-8)
    substrate = emission.with_substrate(embedded, 1.0)
    held = [emission.of_large_cell(substrate, n, forces, 300).total for n in sizes]
    assert held[2] - held[1] == pytest.approx((held[1] - held[0]) / 2, rel=0.1)
    assert held[2] - held[1] < 0.03 * held[2]


def test_the_green_function_of_the_sheet_gives_the_same_spectral_density(embedded, forces):
    frequencies, width = np.linspace(0.05, 10.5, 60), 0.15
    found = emission.of_large_cell(embedded, 24, forces, 600)

    def peaks(apart: np.ndarray) -> np.ndarray:
        return width / np.pi / (apart**2 + width**2)

    at, centres = frequencies[:, None], found.frequencies
    expected = (peaks(at - centres) - peaks(at + centres)) @ found.factors
    isolated = tmatrix.Isolated(embedded, 24)
    density = emission.of_infinite_sheet(isolated, forces, frequencies, width)
    assert abs(density - expected).max() < 1e-5 * expected.max()


def test_forces_that_do_nothing_have_no_factor(embedded, forces):
    assert emission.of_large_cell(embedded, 12, 0 * forces, 10).total == 0


def test_bad_input_is_told(cell, embedded, forces):
    masses, constants, moved = cell
    grid, density = smooth()
    modes = emission.huang_rhys(masses, constants, displacements=moved)
    in_site = forces + np.eye(len(forces), 3)
    refused = {
        "neither is given": lambda: emission.huang_rhys(masses, constants),
        "both are given": lambda: emission.huang_rhys(masses, constants, moved, moved),
        "8 masses, but force constants of shape .24, 24.": lambda: emission.huang_rhys(
            masses, constants.swapaxes(1, 2).reshape(24, 24), moved
        ),
        "shape .7, 3.": lambda: emission.huang_rhys(masses, constants, moved[1:]),
        "broadening = 0 THz": lambda: emission.spectral_density(modes, grid, 0.0),
        "part of S is lost": lambda: emission.spectral_density(modes, grid[:50], 0.1),
        "temperature = -1 K is negative": lambda: emission.line_shape(grid, density, -1.0, 0.1),
        "zero-phonon line = -0.1 THz": lambda: emission.line_shape(grid, density, 4.0, -0.1),
        "shape .2400,. and a density": lambda: emission.line_shape(grid[1:], density, 4.0, 0.1),
        "equal steps from 0": lambda: emission.line_shape(grid[1:], density[1:], 4.0, 0.1),
        "one row for each of embedded.sites": lambda: emission.of_large_cell(embedded, 6, moved, 10),
        "empty site": lambda: emission.of_large_cell(embedded, 6, in_site, 10),
    }
    for message, call in refused.items():
        with pytest.raises(ValueError, match=message):
            call()


def test_an_imaginary_mode_that_couples_is_refused_and_one_that_does_not_is_left_alone(cell):
    masses, constants, moved = cell
    soft = constants.copy()
    soft[:2, :2, 0, 0] -= 500 * np.outer([1, -1], [1, -1])  # a negative spring between the first two atoms
    with pytest.raises(ValueError, match=r"imaginary mode of -\d+\.\d+ THz couples .* relax the geometry"):
        emission.huang_rhys(masses, soft, displacements=moved)
    roots = np.sqrt(masses).repeat(3)
    _, vectors = np.linalg.eigh(soft.swapaxes(1, 2).reshape(24, 24) / np.outer(roots, roots))
    highest = (vectors[:, -1] / roots).reshape(8, 3)
    found = emission.huang_rhys(masses, soft, displacements=highest)
    assert found.frequencies[0] < -1 and found.factors[0] == 0
    assert found.total == pytest.approx(found.factors[-1]) and found.delta_q == pytest.approx(1)


def test_an_imaginary_mode_of_a_large_cell_is_refused(embedded, forces):
    sagging = emission.with_substrate(embedded, 0.0)
    blocks = sagging.perfect.blocks.copy()
    blocks[~sagging.perfect.shifts.any(axis=1), 2, 2] -= 0.6**2
    sagging = Embedded(
        Perfect(sagging.perfect.primitive, sagging.perfect.shifts, blocks),
        sagging.sites,
        sagging.change,
        True,
    )
    with pytest.raises(ValueError, match="imaginary mode of -0.4"):
        emission.of_large_cell(sagging, 12, forces, 300)


def test_the_example_of_the_guide_runs():
    text = (paths.ROOT / "docs" / "emission.md").read_text()
    code = text.split("\n\n    import numpy as np\n", 1)[1].split("\n\n", 1)[0]
    names: dict = {"np": np}
    exec("\n".join(line.removeprefix("    ") for line in code.splitlines()), names)
    for name, value in (("total", names["found"].total), ("debye_waller", names["shape"].debye_waller)):
        assert f"{value:.3f}" in text, f"{name} is {value:.3f} and not what docs/emission.md says"


@pytest.mark.parametrize("shift", [0.0, -4.0, 3.0])
def test_lines_of_a_degenerate_level_have_the_moments_of_e_x_e(shift):
    energies, shares = emission.degenerate_level(5.0, 2.0, shift)
    mean = shares @ energies
    assert [shares.sum(), mean] == pytest.approx([1.0, shift])
    assert shares @ (energies - mean) ** 2 == pytest.approx(
        2 * 5.0 * 2.0**2
    )  # twice that of one displaced mode


def test_a_degenerate_level_in_the_limits_of_weak_and_strong_coupling():
    (weakest, *_), (share, *_) = emission.degenerate_level(0.001, 1.0)
    assert [weakest, share] == pytest.approx(
        [-0.002, 1 - 0.002], abs=1e-5
    )  # second order: two modes take 2 S
    (strongest, *_), _ = emission.degenerate_level(30.0, 1.0)
    assert strongest == pytest.approx(
        -30.5, abs=0.02
    )  # in the trough one of two modes is soft: half a quantum less
    _, (split, *_) = emission.degenerate_level(0.5, 1.0, shift=-100.0)
    assert split == pytest.approx(1.0, abs=1e-4)  # far from the other component nothing couples


def test_a_degenerate_level_agrees_with_the_whole_matrix_of_two_modes():
    """Both modes and both components, as E x e is written down: H = n + sqrt(S) (X sigma_x + Y sigma_y) + shift sigma_z."""
    lower = np.diag(np.sqrt(np.arange(1.0, 24)), 1)
    one, number, position = np.eye(24), lower.T @ lower, lower + lower.T
    sigma_x, sigma_y, sigma_z = np.array([[0, 1], [1, 0]]), np.array([[0, -1j], [1j, 0]]), np.diag([1, -1])
    modes = np.kron(np.kron(number, one) + np.kron(one, number), np.eye(2))
    coupling = np.kron(np.kron(position, one), sigma_x) + np.kron(np.kron(one, position), sigma_y)
    whole = modes + np.sqrt(0.6) * coupling - 0.3 * np.kron(np.eye(24**2), sigma_z)
    energies, vectors = np.linalg.eigh(whole)
    found, shares = emission.degenerate_level(0.6, 1.0, shift=-0.3)
    assert found[0] == pytest.approx(energies[0], abs=1e-6)
    assert shares[0] == pytest.approx(abs(vectors[0, 0]) ** 2, abs=1e-6)
