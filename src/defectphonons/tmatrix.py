"""The isolated defect in an infinite sheet: Green's function, resonances, scattering, spectral functions.

By the T-matrix, T = V / (1 - G V), of the change V of the dynamical matrix and the Green's function G of the perfect
sheet. E. N. Economou, Green's Functions in Quantum Physics, chapter 6. G(z) = 1 / (z - D) with z = (w + i broadening)^2
in THz^2, w in THz.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.interpolate import AAA
from scipy.linalg import lu_factor, lu_solve
from scipy.optimize import brentq
from scipy.signal import find_peaks
from scipy.sparse import csr_array, eye_array
from scipy.sparse.csgraph import connected_components
from tqdm import tqdm

from defectphonons import parallel, spectra
from defectphonons.embedding import Embedded, green, on_coordinates


@dataclass(frozen=True)
class Irrep:
    """An irreducible representation of the point group about the defect, on the coordinates of its sites."""

    name: str
    rows: list[csr_array]  # [row] (3 n_sites, n) orthonormal; those of all rows transform into each other


def irreps(embedded: Embedded) -> list[Irrep]:
    """Return the irreps of the defect's point group C3v, D3h, C2v or Cs; of another group one, named A, of all coordinates."""
    operations = [operation for operation, _ in embedded.operations]
    matrices = [on_coordinates(*operation) for operation in embedded.operations]
    one = eye_array(3 * len(embedded.sites), format="csr")
    in_plane = [i for i, operation in enumerate(operations) if np.allclose(operation, np.diag([1, 1, -1]))]
    parities = {"": one}
    if in_plane:
        parities = {"'": (one + matrices[in_plane[0]]) / 2, "''": (one - matrices[in_plane[0]]) / 2}
    vertical = [i for i, operation in enumerate(operations) if operation[2, 2] > 0]
    operations, matrices = [operations[i] for i in vertical], [matrices[i] for i in vertical]
    signs = [np.linalg.det(operation) for operation in operations]
    mirrors = sum(sign < 0 for sign in signs)
    order = len(operations)
    even, odd = (
        sum(w * matrix for w, matrix in zip(ws, matrices, strict=True)) / order for ws in ([1] * order, signs)
    )
    # Of what is even and odd in the vertical mirrors.
    names = {
        # Of D3h, 1 and 2 say what a rotation by pi about an axis in the plane does: it is the product of both mirrors.
        (6, 3): {"": ("A1", "A2"), "'": ("A1'", "A2'"), "''": ("A2''", "A1''")},
        # Cs, whose only mirror is vertical; C2v, whose axis lies in the plane.
        (2, 1): {"": ("A'", "A''"), "'": ("A1", "B2"), "''": ("B1", "A2")},
    }.get((order, mirrors))
    representations = []
    for parity, projector in parities.items():
        if names is None:
            representations.append(Irrep("A" + parity, [range_of(projector) if parity else one]))
            continue
        for name, whole in zip(names[parity], (even, odd), strict=True):
            representations.append(Irrep(name, [range_of(whole @ projector)]))
        if order == 6:
            # E: the row that transforms like x, and from it the one that transforms like y.
            onto_x, x_to_y = (
                sum(op[row, 0] * matrix for op, matrix in zip(operations, matrices, strict=True)) / 3
                for row in (0, 1)
            )
            along_x = range_of(onto_x @ projector)
            representations.append(Irrep("E" + parity, [along_x, x_to_y @ along_x]))
    return [irrep for irrep in representations if irrep.rows[0].shape[1]]


def range_of(projector: csr_array) -> csr_array:
    """Return (n, rank) orthonormal vectors that span the range of a sparse projector, each on one of its blocks."""
    _, label = connected_components(abs(projector) > 1e-12, directed=False)
    order = np.argsort(label, kind="stable")
    vectors = []
    for members in np.split(order, np.flatnonzero(np.diff(label[order])) + 1):
        values, eigenvectors = np.linalg.eigh(projector[members][:, members].toarray())
        for vector in eigenvectors[:, values > 0.5].T:
            vectors.append(np.zeros(projector.shape[0]))
            vectors[-1][members] = vector
    return csr_array(np.array(vectors).reshape(len(vectors), projector.shape[0]).T)


@dataclass(frozen=True)
class Response:
    """What one defect does to the vibrations of an infinite sheet, at each of some frequencies."""

    frequencies: np.ndarray  # (n,) THz
    broadening: float  # THz: half width of a sharp state
    change: dict[str, np.ndarray]  # irrep -> (n,) states below a frequency, with the defect less without
    local: dict[str, np.ndarray]  # name -> (n,) states per THz along what was asked for
    scattering: np.ndarray  # (n, n_q, 3S, 3S) T between plane waves, for one defect in one cell, THz^2


@dataclass(frozen=True)
class Resonance:
    """A pole of the defect's Green function below the real axis, in one irrep."""

    irrep: str
    frequency_THz: float
    width_THz: float  # full, at half maximum: -2 times the imaginary part of the pole
    error_THz: float  # of the width: how far two windows of frequencies differ
    isotopes_THz: float  # standard deviation of the frequency by natural isotopes, in first order
    atoms: float  # that take part: participation ratio x N
    weights: dict[str, float]  # of groups of sites


@dataclass(frozen=True)
class Bound:
    """A state of the defect at a frequency at which the perfect sheet has none."""

    irrep: str
    frequency_THz: float
    from_band_THz: float  # distance to the nearest edge of a band
    atoms: float  # that take part: participation ratio x N
    weights: dict[str, float]  # of groups of sites


class Isolated:
    """One defect in an infinite sheet, whose Green's function is summed over a mesh x mesh grid of wave vectors."""

    def __init__(self, embedded: Embedded, mesh: int):
        self.embedded = embedded
        # A chain has no second direction.
        grid = (mesh, mesh if np.any(embedded.perfect.shifts[:, 1]) else 1)
        self.values, self.vectors = np.linalg.eigh(embedded.perfect.fourier(grid))
        self.irreps = irreps(embedded)
        change = embedded.change.toarray()
        # The ghosts at a frequency far below all others: they take their states with them.
        ghosts = (3 * np.array(embedded.vacant, dtype=int)[:, None] + np.arange(3)).ravel()
        change[ghosts, ghosts] -= np.linalg.norm(self.values[0, 0])
        self.changes = [irrep.rows[0].T @ change @ irrep.rows[0] for irrep in self.irreps]
        self.ghosts = [
            len(irrep.rows) * round((irrep.rows[0].toarray()[ghosts] ** 2).sum()) for irrep in self.irreps
        ]

    def perfect(self, frequency: float, broadening: float) -> list[np.ndarray]:
        """Return [irrep] (n, n) Green's function of the perfect sheet on the vectors of the irrep's first row, 1/THz^2."""
        z = (frequency + 1j * broadening) ** 2
        function = green(self.values, self.vectors, z, self.embedded.sites)
        return [irrep.rows[0].T @ function @ irrep.rows[0] for irrep in self.irreps]

    def perfect_densities(self, frequencies: np.ndarray, broadening: float) -> np.ndarray:
        """Return the states per THz (n, S) of each site in a cell of the perfect sheet, at `frequencies` (n,) in THz."""
        size = self.values.shape[-1] // 3
        shares = (abs(self.vectors.reshape(-1, size, 3, 3 * size)) ** 2).sum(axis=2).swapaxes(
            1, 2
        ) / self.values[..., 0].size
        densities = [
            ((1 / ((w + 1j * broadening) ** 2 - self.values)).imag.ravel() @ shares.reshape(-1, size))
            for w in frequencies
        ]
        return -2 / np.pi * frequencies[:, None] * np.array(densities)

    def response(
        self,
        frequencies: np.ndarray,
        broadening: float,
        along: dict[str, np.ndarray],
        q_points: np.ndarray | None = None,
    ) -> Response:
        """Return the response at `frequencies` (n,) in THz.

        With the densities of states along vectors (k, 3 n_sites), added up for each name.
        `q_points` (n_q, 2) in reciprocal lattice vectors: where the T-matrix between plane waves is wanted.
        """
        sites = self.embedded.sites
        vectors = np.concatenate([np.zeros((0, 3 * len(sites))), *along.values()])
        names = np.repeat(list(along), [len(group) for group in along.values()])
        plane = plane_waves(self.embedded, np.zeros((0, 2)) if q_points is None else q_points)
        waves = [[row.T @ plane.reshape(3 * len(sites), -1) for row in irrep.rows] for irrep in self.irreps]

        def at(frequency: float) -> tuple[list[complex], np.ndarray, np.ndarray]:
            determinants, local = [], np.zeros(len(vectors))
            scattering = np.zeros((plane.shape[1], plane.shape[2], plane.shape[2]), dtype=complex)
            perfect = self.perfect(frequency, broadening)
            for irrep, own, change, incoming in zip(self.irreps, perfect, self.changes, waves, strict=True):
                factors = lu_factor(np.eye(len(own)) - own @ change, check_finite=False)
                determinants.append(len(irrep.rows) * log_determinant(*factors))
                # T = V / (1 - G V)
                matrix = lu_solve(factors, change.T, trans=1, check_finite=False).T
                for row, wave in zip(irrep.rows, incoming, strict=True):
                    local += density_along(vectors @ row, own, factors, frequency)
                    if plane.shape[1]:
                        scattering += between_waves(wave.reshape(len(own), *plane.shape[1:]), matrix)
            return determinants, local, scattering

        bar = {"total": len(frequencies), "desc": "frequencies", "unit": "", "disable": len(frequencies) < 10}
        with ThreadPoolExecutor(parallel.cores()) as pool:
            determinants, densities, scattering = map(
                np.array, zip(*tqdm(pool.map(at, frequencies), **bar), strict=True)
            )
        local = {name: densities[:, names == name].sum(axis=1) for name in along}
        return Response(frequencies, broadening, self.states_gained(determinants), local, scattering)

    def states_gained(self, determinants: np.ndarray) -> dict[str, np.ndarray]:
        """Return by irrep the states (n,) that the defect adds below n frequencies, from ln det(1 - G V) (n, n_irreps)."""
        change = {}
        for irrep, ghosts, logarithms in zip(self.irreps, self.ghosts, determinants.T, strict=True):
            period = 2 * np.pi * len(irrep.rows)
            phase = np.unwrap(logarithms.imag, period=period)
            # None at the top, where the phase has come back to zero, but the ghosts below all.
            phase -= period * np.rint(phase[-1] / period)
            change[irrep.name] = -phase / np.pi - ghosts
        return change

    def resonances(
        self, response: Response, groups: dict[str, np.ndarray], least: float
    ) -> tuple[list[Resonance], int]:
        """Find the poles behind the peaks of the states that each irrep gains; also returns how many peaks have none.

        A peak stands out by `least` states per THz. Its pattern is the strongest eigenvector of what the defect adds to
        -Im G there, on the sites. The Green function of the pattern, known at w + i broadening, is continued to the
        pole by a rational function (Y. Nakatsukasa, O. Sete, L. N. Trefethen, SIAM J. Sci. Comput. 40, A1494 (2018)). It
        counts where windows of 5 and 10 steps to either side agree on the width to a fifth and the pole holds at least
        half of the pattern: band edges, and resonances that overlap, have no such pole. Isotopes move a frequency w by
        -w / 2 times the sum of |e_i|^2 (m_i - m) / m.
        """
        steps = response.frequencies
        step = steps[1] - steps[0]
        gained = {irrep.name: np.gradient(response.change[irrep.name], step) for irrep in self.irreps}
        peaks = {name: steps[find_peaks(slope, prominence=least)[0]] for name, slope in gained.items()}

        def window(centre: float, reach: int) -> np.ndarray:
            frequencies = np.round(centre + step * np.arange(-reach, reach + 1), 9)
            return frequencies[frequencies > 0]

        centres = np.concatenate(list(peaks.values()))
        wanted = np.unique(np.concatenate([np.empty(0), *(window(centre, 10) for centre in centres)]))
        with ThreadPoolExecutor(parallel.cores()) as pool:
            every = pool.map(lambda frequency: self.perfect(frequency, response.broadening), wanted)
            perfect = dict(zip(wanted.tolist(), every, strict=True))

        def pole(pattern: np.ndarray, number: int, centre: float, reach: int) -> tuple[complex, float]:
            frequencies = window(centre, reach)
            values = [
                pattern @ np.linalg.solve(np.eye(len(own)) - own @ self.changes[number], own @ pattern)
                for own in (perfect[frequency][number] for frequency in frequencies.tolist())
            ]
            fitted = AAA(frequencies + 1j * response.broadening, np.array(values), rtol=1e-8)
            poles = fitted.poles()
            # |<pattern|state>|^2 / (z^2 - pole^2) has the residue |<pattern|state>|^2 / (2 pole).
            shares = 2 * abs(poles * fitted.residues())
            shares[(abs(poles.real - centre) > reach * step) | (poles.imag > step / 10)] = 0
            return poles[shares.argmax()], float(shares.max())

        variances = np.array([spectra.mass_variance(symbol) for symbol in self.embedded.symbols])
        resonances, without = [], 0
        for number, (irrep, change) in enumerate(zip(self.irreps, self.changes, strict=True)):
            for centre in np.round(peaks[irrep.name], 9).tolist():
                own = perfect[centre][number]
                added = np.linalg.solve(np.eye(len(own)) - own @ change, own) - own
                pattern = np.linalg.eigh(-added.imag)[1][:, -1]
                (one, share), (other, _) = (pole(pattern, number, centre, reach) for reach in (5, 10))
                width, error = -2 * one.imag, 2 * abs(one - other)
                if share < 0.5 or error > max(abs(width) / 5, step / 1000):
                    without += 1
                    continue
                motion = sum((row @ pattern).reshape(-1, 3) ** 2 for row in irrep.rows).sum(axis=1)
                motion /= len(irrep.rows)
                resonances.append(
                    Resonance(
                        irrep.name,
                        float(one.real),
                        float(max(width, 0)),
                        float(error),
                        float(one.real / 2 * np.sqrt((variances * motion**2).sum())),
                        float(1 / (motion**2).sum()),
                        {name: float(motion[sites].sum()) for name, sites in groups.items()},
                    )
                )
        return sorted(resonances, key=lambda resonance: resonance.frequency_THz), without

    @cached_property
    def gaps(self) -> list[tuple[float, float]]:
        """Return the intervals of frequency in THz without states of the perfect sheet.

        The last goes from the top of all bands to where the defect can have no state either.
        """
        bands = np.sqrt(np.clip(self.values.reshape(-1, self.values.shape[-1]), 0, None))
        lower, upper = bands.min(axis=0), np.maximum.accumulate(bands.max(axis=0))
        inner = [
            (float(end), float(start))
            for end, start in zip(upper[:-1], lower[1:], strict=True)
            if start > end
        ]
        # No eigenvalue of D + V is above the sum of the largest of each.
        above = max(np.linalg.eigvalsh(change)[-1] for change in self.changes)
        return [*inner, (float(upper[-1]), float(np.sqrt(upper[-1] ** 2 + max(above, 1.0))))]

    def bound_states(self, groups: dict[str, np.ndarray] | None = None) -> list[Bound]:
        """Find where 1 - G V is singular in the gaps of the perfect sheet, by irrep, with the weights of `groups` of sites.

        Sought between frequencies whose distance from the edge of a band grows from 1e-4 THz by factors of the root of 10:
        states that lie closer to an edge than that, or two between two of them, are not found. A state is u = G V u, and its
        norm over all sites of the sheet -(V u) dG/dz (V u), for dG/dz = -G^2.
        """

        def determinant(frequency: float, number: int | slice = slice(None)) -> Any:
            pairs = zip(self.perfect(frequency, 0.0), self.changes, strict=True)
            return np.array([np.linalg.det(np.eye(len(own)) - own.real @ change) for own, change in pairs])[
                number
            ]

        bound = []
        edges = [end for gap in self.gaps for end in gap][:-1]
        for lower, upper in self.gaps:
            last = upper == self.gaps[-1][1]
            half = (upper - lower) / (1 if last else 2)
            steps = np.geomspace(1e-4, half, max(2, 1 + round(2 * np.log10(half / 1e-4))))
            ends = [] if last else upper - steps[-2::-1]
            places = np.concatenate([lower + steps, ends])
            values = np.array([determinant(place) for place in places])
            for number, irrep in enumerate(self.irreps):
                for i in np.flatnonzero(values[:-1, number] * values[1:, number] < 0):
                    where = brentq(determinant, places[i], places[i + 1], args=(number,), xtol=1e-6)
                    edge = min(abs(where - end) for end in edges)
                    motion = self.bound_motion(where, number, edge)
                    weights = {name: float(motion[sites].sum()) for name, sites in (groups or {}).items()}
                    atoms = float(1 / (motion**2).sum())
                    bound.append(Bound(irrep.name, float(where), float(edge), atoms, weights))
        return bound

    def bound_motion(self, frequency: float, number: int, from_band: float) -> np.ndarray:
        """Return |e|^2 (n_sites,) of the bound state at `frequency` (THz) in an irrep, averaged over its rows; 1 over all the sheet."""
        change, irrep = self.changes[number], self.irreps[number]
        _, _, vectors = np.linalg.svd(
            np.eye(len(change)) - self.perfect(frequency, 0.0)[number].real @ change
        )
        state = vectors[-1]
        ends = frequency + from_band / 1000 * np.array([-1.0, 1.0])
        lower, upper = (self.perfect(end, 0.0)[number].real for end in ends)
        source = change @ state
        norm = -source @ (upper - lower) @ source / np.diff(ends**2)[0]
        moved = [(row @ state).reshape(-1, 3) ** 2 for row in irrep.rows]
        return np.sum(moved, axis=(0, 2)) / len(moved) / norm

    def acoustic_widths(self, frequencies: np.ndarray) -> np.ndarray:
        """Return full widths (n, 3) in THz of ZA, TA and LA along Gamma-M at `frequencies` (n,) in THz, per defect and cell.

        NaN where a branch does not reach the frequency. At a broadening of a fifth of it, but 0.05 THz at most.
        """
        q_points = np.outer(np.linspace(0.002, 1, 500), [0.5, 0.0])
        levels = np.linalg.eigvalsh(at_points(self.embedded, q_points))[:, :3].clip(0) ** 0.5
        widths_at = np.full((len(frequencies), 3), np.nan)
        for at_frequency, frequency in zip(widths_at, frequencies, strict=True):
            branches = np.flatnonzero(levels.max(axis=0) > frequency)
            if not len(branches):
                continue
            q = np.zeros((len(branches), 2))
            for row, branch in zip(q, branches, strict=True):
                rising = slice(0, 1 + int(np.argmax(levels[:, branch] > frequency)))
                row[0] = np.interp(frequency, levels[rising, branch], q_points[rising, 0])
            broadening = min(0.05, frequency / 5)
            three = frequency + broadening / 2 * np.array([-1, 0, 1])
            _, widths = linewidths(self.embedded, self.response(three, broadening, {}, q), q)
            at_frequency[branches] = widths[np.arange(len(branches)), branches]
        return widths_at


def log_determinant(factors: np.ndarray, pivots: np.ndarray) -> complex:
    """Return the logarithm of the determinant of a matrix from its LU factors and pivots."""
    swaps = (pivots != np.arange(len(factors))).sum()
    return np.log(np.diag(factors).astype(complex)).sum() + 1j * np.pi * (swaps % 2)


def density_along(vectors: np.ndarray, perfect: np.ndarray, factors: Any, frequency: float) -> np.ndarray:
    """Return the states per THz (k,) at a frequency in THz along `vectors` (k, n), -2 w / pi Im <v|1 / (1 - G V) G|v>.

    From the perfect sheet's Green's function (n, n) and the LU factors of 1 - G V.
    """
    with_defect = lu_solve(factors, perfect @ vectors.T, check_finite=False)
    return -2 * frequency / np.pi * (vectors.T * with_defect.imag).sum(axis=0)


def between_waves(waves: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return a T-matrix (n, n) between the plane waves (n, n_q, 3S) of each q: (n_q, 3S, 3S)."""
    scattered = (matrix @ waves.reshape(len(matrix), -1)).reshape(waves.shape)
    return np.einsum("iqa,iqb->qab", waves.conj(), scattered)


def plane_waves(embedded: Embedded, q_points: np.ndarray) -> np.ndarray:
    """Return waves (3 n_sites, n_q, 3S) at `q_points` (n_q, 2) on the sites of an embedding, of amplitude 1 in each cell."""
    sites, width = embedded.sites, embedded.perfect.blocks.shape[1]
    waves = np.zeros((len(sites), 3, len(q_points), width), dtype=complex)
    for axis in range(3):
        waves[np.arange(len(sites)), axis, :, 3 * sites[:, 2] + axis] = np.exp(
            2j * np.pi * sites[:, :2] @ q_points.T
        )
    return waves.reshape(3 * len(sites), len(q_points), width)


def spectral(
    embedded: Embedded, response: Response, q_points: np.ndarray, concentration: float
) -> np.ndarray:
    """Return (n, n_q) states per THz and cell at each q of `response`, for defects at random places.

    The average T-matrix approximation, -2 w / pi Im Tr 1 / (z - D(q) - c T(q, z)), with `concentration` c the
    defects per primitive cell: first order in c. Integrates to 3S - 3c for an empty site.
    R. J. Elliott, J. A. Krumhansl, P. L. Leath, Rev. Mod. Phys. 46, 465 (1974), section III.
    """
    z = (response.frequencies + 1j * response.broadening) ** 2
    matrices = at_points(embedded, q_points)
    inverse = np.linalg.inv(
        z[:, None, None, None] * np.eye(matrices.shape[1]) - matrices - concentration * response.scattering
    )
    return -2 / np.pi * response.frequencies[:, None] * np.trace(inverse, axis1=2, axis2=3).imag


def linewidths(embedded: Embedded, response: Response, q_points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return frequencies and their widths (n_q, 3S) in THz at each q of `response`, per defect and cell.

    Full width at half maximum in first order, -Im <e|T(w)|e> / w; times concentration and 2 pi the scattering rate.
    T is continued from w + i broadening to w by its slope. NaN where a frequency is not among those of `response`.
    """
    values, vectors = np.linalg.eigh(at_points(embedded, q_points))
    frequencies = np.sqrt(np.clip(values, 0, None))
    slope = np.gradient(response.scattering, response.frequencies, axis=0)
    continued = response.scattering - 1j * response.broadening * slope
    widths = np.zeros(frequencies.shape)
    for q, branch in np.ndindex(*widths.shape):
        vector = vectors[q, :, branch]
        strength = (vector.conj() @ continued[:, q] @ vector).imag
        at = frequencies[q, branch]
        widths[q, branch] = -np.interp(at, response.frequencies, strength, np.nan, np.nan) / max(at, 1e-9)
    return frequencies, widths


def at_points(embedded: Embedded, q_points: np.ndarray) -> np.ndarray:
    """Return (n_q, 3S, 3S) D in THz^2 of the perfect sheet, with the phases of cells."""
    return np.array([embedded.perfect.fourier((1, 1), q)[0, 0] for q in q_points])
