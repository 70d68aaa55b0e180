"""The light of a defect: Huang-Rhys factors, spectral densities and the shapes of emission and absorption lines.

Two electronic states with the same harmonic phonons, whose minima lie apart (linear coupling, Franck-Condon): the partial factor
S_k is the mean number of phonons of mode k that a transition at T = 0 leaves behind.
A. Alkauskas et al., New J. Phys. 16, 073026 (2014); L. Razinkovas et al., Phys. Rev. B 104, 045303 (2021); at finite temperature
M. Lax, J. Chem. Phys. 20, 1752 (1952).
Frequencies are in THz; detunings are photon frequencies less that of the zero-phonon line, in THz.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import scipy.fft
from ase import units
from scipy.linalg import eigh_tridiagonal
from scipy.sparse import csr_array
from scipy.stats import poisson

from defectphonons import parallel, spectra
from defectphonons.chebyshev import Cell
from defectphonons.embedding import Embedded
from defectphonons.tmatrix import Isolated

ANGULAR = 2e12 * np.pi / units.s  # angular frequency of 1 THz in ASE's units, sqrt(eV/u)/A
HBAR = units._hbar * units.J * units.s  # in ASE's units, A sqrt(eV u)
KELVIN = units.kB / (units._hplanck * units.J) / 1e12  # k_B T / h of 1 K in THz
COUPLES = 1e-6  # of all; what is less is rounding


@dataclass(frozen=True)
class HuangRhys:
    """Partial Huang-Rhys factors of modes, or of the states that stand for them in a large cell."""

    frequencies: np.ndarray  # (n,) THz
    factors: np.ndarray  # (n,)
    acoustic: np.ndarray  # THz, of the modes left out
    net_force: np.ndarray  # (3,) eV/A, sum of the forces as they were given; it is projected out

    @property
    def total(self) -> float:
        """Return the total Huang-Rhys factor S."""
        return float(self.factors.sum())

    @property
    def delta_q(self) -> float:
        """Return the mass-weighted distance of the two minima, Delta Q, in amu^1/2 A: S_k = w_k q_k^2 / (2 hbar)."""
        coupled = self.factors > 0
        squares = 2 * HBAR * self.factors[coupled] / (ANGULAR * self.frequencies[coupled])
        return float(np.sqrt(squares.sum()))


def huang_rhys(
    masses: np.ndarray,
    force_constants: np.ndarray,
    displacements: np.ndarray | None = None,
    forces: np.ndarray | None = None,
    threshold: float | None = None,
) -> HuangRhys:
    """Compute the partial factors of the modes at Gamma of a cell, from `displacements` or from `forces`.

    S_k = w_k q_k^2 / (2 hbar), with q_k = sum_i sqrt(m_i) dR_i . e_ki, where `displacements` dR (N, 3) in A lead from one
    minimum to the other, or q_k = sum_i dF_i . e_ki / (sqrt(m_i) w_k^2), where `forces` dF (N, 3) in eV/A are those in one state at
    the minimum of the other (Alkauskas et al.). The two are equal if both states have the same force constants; if not, forces at
    one minimum alone may be wrong by a third (docs/emission.md).
    `masses` (N,) in u; `force_constants` (N, N, 3, 3) in eV/A^2, as phonopy has them for a cell that is not repeated.
    The three modes that are most like translations are left out, or with `threshold` all below it (THz).
    """
    size = len(masses)
    if (displacements is None) == (forces is None):
        given = "neither is" if forces is None else "both are"
        raise ValueError(
            f"{given} given: either displacements or forces say how far the minima lie apart; give one of them"
        )
    push = displacements if forces is None else forces
    if force_constants.shape != (size, size, 3, 3) or push.shape != (size, 3):
        raise ValueError(
            f"{size} masses, but force constants of shape {force_constants.shape} and displacements or forces of shape "
            f"{push.shape}: for N atoms they are (N, N, 3, 3) and (N, 3); phonopy's compact constants of a repeated cell "
            "do not fit, so compute those of the cell with n = 1"
        )
    roots = np.sqrt(masses)
    weighted = force_constants / np.multiply.outer(roots, roots)[:, :, None, None]
    matrix = weighted.swapaxes(1, 2).reshape(3 * size, 3 * size) / ANGULAR**2
    squares, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    frequencies = np.sign(squares) * np.sqrt(abs(squares))
    if threshold is None:
        translations = np.kron(roots[:, None], np.eye(3)) / np.sqrt(masses.sum())
        left_out = np.argsort(((vectors.T @ translations) ** 2).sum(axis=1))[-3:]
    else:
        left_out = np.flatnonzero(abs(frequencies) < threshold)
    acoustic = np.sort(frequencies[left_out])
    frequencies, vectors = np.delete(frequencies, left_out), np.delete(vectors, left_out, axis=1)
    if forces is None:
        q, net_force = (roots[:, None] * displacements).ravel() @ vectors, np.zeros(3)
    else:
        start, net_force = projected(masses, forces)
        q = start.ravel() @ vectors / (ANGULAR * frequencies) ** 2
    factors = ANGULAR * abs(frequencies) * q**2 / (2 * HBAR)
    return HuangRhys(frequencies, stable(frequencies, factors), acoustic, net_force)


def projected(masses: np.ndarray, forces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return M^(-1/2) dF (N, 3) without its part along translations, and the net force (3,) that this takes out."""
    net_force = forces.sum(axis=0)
    return (forces - masses[:, None] / masses.sum() * net_force) / np.sqrt(masses)[:, None], net_force


def stable(frequencies: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Return the factors, zero for imaginary modes; ValueError if one of these couples."""
    imaginary = frequencies < spectra.IMAGINARY
    if factors[imaginary].sum() > COUPLES * factors.sum():
        worst = frequencies[imaginary][factors[imaginary].argmax()]
        raise ValueError(
            f"an imaginary mode of {worst:.4f} THz couples to the transition: about a saddle point there is no Huang-Rhys factor; "
            "relax the geometry further, along this mode, or take a larger cell or a substrate if it is a flexural mode"
        )
    return np.where(imaginary, 0.0, factors)


def spectral_density(found: HuangRhys, grid: np.ndarray, broadening: float) -> np.ndarray:
    """Return S(w) = sum_k S_k delta(w - w_k) at `grid` (n,) >= 0 in THz, per THz, with Gaussians for the deltas.

    Their standard deviation is `broadening` (THz). The mirror image at -w_k is subtracted: S(0) = 0, which finite temperatures
    need, and the first moment stays sum_k S_k w_k exactly.
    """
    positive(broadening, "broadening")
    coupled = found.factors > 0
    at, factors = found.frequencies[coupled], found.factors[coupled]
    if grid.min() < 0 or grid.max() < at.max(initial=0):
        raise ValueError(
            f"the grid from {grid.min():g} to {grid.max():g} THz must begin at 0 or above and reach beyond the highest coupled mode, "
            f"{at.max(initial=0):.3f} THz, else part of S is lost: take np.linspace(0, {at.max(initial=0) + 6 * broadening:.2f}, 2001)"
        )

    def peaks(frequency: float, centres: np.ndarray) -> np.ndarray:
        return np.exp(-(((frequency - centres) / broadening) ** 2) / 2)

    values = [factors @ (peaks(frequency, at) - peaks(frequency, -at)) for frequency in grid]
    return np.array(values) / (np.sqrt(2 * np.pi) * broadening)


@dataclass(frozen=True)
class LineShape:
    """The distribution of the energy that a transition leaves in the lattice; its integral is 1.

    The rate of emitted photons is this times the cube of the photon's frequency, that of absorption times its first power.
    """

    energies: np.ndarray  # (n,) THz, equal steps
    intensities: np.ndarray  # (n,) per THz
    debye_waller: float  # the part in the zero-phonon line

    @property
    def absorption(self) -> tuple[np.ndarray, np.ndarray]:
        """Return detunings (n,) in THz and intensities (n,): the photon pays for the phonons."""
        return self.energies, self.intensities

    @property
    def emission(self) -> tuple[np.ndarray, np.ndarray]:
        """Return detunings (n,) in THz and intensities (n,): the photon lacks what the phonons have."""
        return -self.energies[::-1], self.intensities[::-1]


def line_shape(
    frequencies: np.ndarray, density: np.ndarray, temperature: float, broadening: float
) -> LineShape:
    """Compute the line shape for a spectral density S(w) at `frequencies` (n,) in THz: equal steps from 0.

    The Fourier transform of G(t) = exp(S(t) - S(0)), where S(t) = int S(w) [(n + 1) exp(-iwt) + n exp(iwt)] dw with the occupation
    n(w) at `temperature` (K). Every line, the zero-phonon line too, is a Gaussian of standard deviation `broadening` (THz).
    The Debye-Waller factor is exp(-S(t = 0)).

    The grids follow from what they must hold. Numbers of created and of annihilated phonons are Poisson distributed: the range of
    energies, hence the step in time, is that of the largest numbers, beyond which lies a probability of 1e-14. The step in
    energy is a fifth of the broadening or less, so that the Gaussian has decayed to 1e-50 where time ends. Between its points S(w)
    is taken as linear.
    """
    positive(broadening, "broadening of the zero-phonon line")
    if temperature < 0:
        raise ValueError(f"temperature = {temperature:g} K is negative: give it in kelvin, 0 or above")
    steps = frequencies.size - 1
    fits = frequencies.shape == density.shape and frequencies.ndim == 1
    if not fits or not np.allclose(frequencies, np.linspace(0, frequencies[-1], steps + 1), rtol=1e-6):
        raise ValueError(
            f"frequencies of shape {frequencies.shape} and a density of shape {density.shape}: both must be (n,), and the "
            "frequencies equal steps from 0, as from np.linspace(0, highest, n)"
        )
    finer = int(np.ceil(5 * frequencies[1] / broadening - 1e-6))
    step = frequencies[1] / finer
    at = step * np.arange(1, finer * steps + 1)
    weights = step * np.interp(at, frequencies, density)
    occupations = np.zeros(len(at))
    if temperature > 0:
        ratios = at / (KELVIN * temperature)
        occupations = np.exp(-ratios) / -np.expm1(-ratios)
    created, annihilated = weights * (occupations + 1), weights * occupations
    highest = at[weights > 0].max(initial=step)
    most = [highest * poisson.isf(1e-14, part.sum()) + 9 * broadening for part in (annihilated, created)]
    down, up = (int(np.ceil(each / step)) for each in most)
    size = scipy.fft.next_fast_len(max(down + up + 1, 2 * len(at) + 1))
    lines = np.zeros(size)
    lines[1 : len(at) + 1] = created
    lines[-len(at) :] = annihilated[::-1]
    times = scipy.fft.fftfreq(size, step)  # 1/THz
    function = np.exp(scipy.fft.fft(lines) - lines.sum() - (2 * np.pi * broadening * times) ** 2 / 2)
    intensities = np.roll(scipy.fft.ifft(function).real / step, down)
    return LineShape(
        step * np.arange(-down, up + 1), intensities[: down + up + 1], float(np.exp(-lines.sum()))
    )


def positive(broadening: float, name: str) -> None:
    """Refuse (ValueError) a width without which lines have no height."""
    if not broadening > 0:
        raise ValueError(f"{name} = {broadening:g} THz must be above 0: lines without a width have no height")


def start_vector(embedded: Embedded, forces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return f = M^(-1/2) dF (n_sites, 3) on the sites of an embedding and the net force (3,) that is projected out of it.

    `forces` (n_sites, 3) in eV/A; ValueError where they do not fit, or push a site that is empty.
    """
    if forces.shape != (len(embedded.sites), 3):
        raise ValueError(
            f"forces of shape {forces.shape} for {len(embedded.sites)} sites: give one row for each of embedded.sites, "
            "zero where there is none; embedded.find says which site an atom is"
        )
    empty = list(embedded.vacant)
    if forces[empty].any():
        raise ValueError(
            f"a force of {np.linalg.norm(forces[empty]):g} eV/A on an empty site ({empty}): it must be zero"
        )
    occupied = np.delete(np.arange(len(forces)), empty)
    start = np.zeros(forces.shape)
    start[occupied], net_force = projected(embedded.masses[occupied], forces[occupied])
    return start, net_force


def of_large_cell(embedded: Embedded, n: int, forces: np.ndarray, count: int) -> HuangRhys:
    """Compute the partial factors of an n x n cell with the defect, without an eigenvector.

    S(w) = rho(w) / (2 hbar w^3) with the density of states rho of the start vector f = M^(-1/2) dF, `forces` (n_sites, 3) in eV/A.
    `count` steps of the recursion method (R. Haydock, V. Heine, M. J. Kelly, J. Phys. C 5, 2845 (1972)) give the
    states that stand for the modes: a Gauss quadrature of rho, without the broadening of kernel polynomials, which 1 / w^3 would
    magnify at low frequencies. The steps are enough when twice as many change nothing.
    """
    cell = Cell(embedded, (n, n))
    start, net_force = start_vector(embedded, forces)
    (now,) = cell.spread(start.reshape(1, -1))
    norm_squared = now @ now
    if norm_squared == 0:
        return HuangRhys(np.empty(0), np.empty(0), np.empty(0), net_force)
    before, coupling = np.zeros(cell.size), 0.0
    now /= np.sqrt(norm_squared)
    diagonal, off_diagonal = [], []
    with cell.progress("recursion", count) as bar:
        for _ in range(count):
            following = cell @ now - coupling * before
            diagonal.append(now @ following)
            following -= diagonal[-1] * now
            coupling = np.linalg.norm(following)
            off_diagonal.append(coupling)
            bar.update()
            if coupling < 1e-9 * diagonal[0]:  # all modes that f is part of are found
                break
            before, now = now, following / coupling
    squares, vectors = eigh_tridiagonal(diagonal, off_diagonal[:-1])
    # Translations and the empty site have no part in f but by rounding, which 1 / w^3 would magnify.
    nonzero = abs(squares) > 1e-12 * squares[-1]
    squares, shares = squares[nonzero], vectors[0, nonzero] ** 2
    frequencies = np.sign(squares) * np.sqrt(abs(squares))
    factors = norm_squared * shares / (2 * HBAR * (ANGULAR * abs(frequencies)) ** 3)
    return HuangRhys(frequencies, stable(frequencies, factors), np.empty(0), net_force)


def of_infinite_sheet(
    isolated: Isolated, forces: np.ndarray, frequencies: np.ndarray, broadening: float
) -> np.ndarray:
    """Return S(w) per THz at `frequencies` (n,) in THz of the isolated defect, by its Green's function.

    -Im [(g(z) - g(0)) / z] / (pi hbar), with g(z) = <f|1 / (z - D)|f> and z = (w + i `broadening`)^2: of each mode the Lorentzian of
    this half width at w_k less that at -w_k. Dividing by w^3 instead would magnify the tails of all modes at low frequencies.
    `forces` (n_sites, 3) in eV/A. Where the broadening (THz) is less than the distance of the modes of a cell of the size of the
    mesh, those are seen.
    """
    positive(broadening, "broadening")
    start, _ = start_vector(isolated.embedded, forces)

    def response(frequency: float, half_width: float) -> complex:
        total = 0j
        perfect = isolated.perfect(frequency, half_width)
        for irrep, own, change in zip(isolated.irreps, perfect, isolated.changes, strict=True):
            vectors = np.array([row.T @ start.ravel() for row in irrep.rows]).T
            total += (vectors * np.linalg.solve(np.eye(len(own)) - own @ change, own @ vectors)).sum()
        return total

    static = response(0.0, 1e-4)  # nearer to zero than any mode, save translations, which f is no part of
    with ThreadPoolExecutor(parallel.cores()) as pool:
        responses = np.array(list(pool.map(lambda frequency: response(frequency, broadening), frequencies)))
    z = (frequencies + 1j * broadening) ** 2
    return -((responses - static) / z).imag / (np.pi * HBAR * ANGULAR**3)


def with_substrate(embedded: Embedded, gap: float) -> Embedded:
    """Return the same defect with each atom held at its height by a spring m `gap`^2, as on a substrate.

    Uniform in units of frequency: it lifts w^2 of flexural modes by the square of the gap of the ZA branch, in THz.
    """
    perfect = embedded.perfect
    blocks = perfect.blocks.copy()
    along_z = np.arange(2, blocks.shape[1], 3)
    (own,) = np.flatnonzero(~perfect.shifts.any(axis=1))
    blocks[own, along_z, along_z] += gap**2
    change = embedded.change
    if embedded.vacant:
        empty = 3 * np.array(embedded.vacant) + 2
        springs = csr_array((np.full(len(empty), gap**2), (empty, empty)), shape=change.shape)
        change = (change - springs).tobsr((3, 3))
    return replace(embedded, perfect=replace(perfect, blocks=blocks), change=change)


def degenerate_level(
    factor: float, energy: float, shift: float = 0.0, quanta: int = 1000
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the lines (n,) of a transition into one component of a doubly degenerate level at T = 0, and their shares (n,).

    E x e: one pair of modes with the quantum `energy` mixes the two components, with the linear Jahn-Teller coupling that `factor`,
    the Jahn-Teller energy over `energy`, stands for. `shift` is how far the component lies from the middle of the level, which
    spin-orbit coupling splits: half the splitting, negative for the lower one. Energies count from the middle of the level without
    phonons. Up to `quanta` of them; the coupling conserves the vibronic angular momentum, so that the matrix is tridiagonal
    (H. C. Longuet-Higgins et al., Proc. R. Soc. A 244, 1 (1958)).
    """
    phonons = np.arange(quanta)
    components = shift * (-1.0) ** phonons  # each phonon changes the component
    coupling = energy * np.sqrt(2 * factor * (phonons[:-1] // 2 + 1))
    energies, vectors = eigh_tridiagonal(energy * phonons + components, coupling)
    return energies, vectors[0] ** 2
