"""The dynamical matrix of an embedded defect as an operator, and what expansions in Chebyshev polynomials give of it.

Densities of states, parts of a pattern within a window of frequencies, and single modes of cells of any size.
Frequencies are in THz, eigenvalues of dynamical matrices in THz^2.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

import numpy as np
import scipy.fft
from scipy.linalg import lu_factor, lu_solve
from scipy.sparse import bsr_array, csr_array, diags_array, kron
from scipy.sparse.linalg import LinearOperator, eigsh
from tqdm import tqdm

from defectphonons import embedding, following, localisation, parallel, spectra
from defectphonons.embedding import Embedded
from defectphonons.following import Continued, Patterns
from defectphonons.spectra import Spectrum


class Cell:
    """The dynamical matrix of an n1 x n2 cell with one defect, as an operator; real at Gamma of the cell.

    The perfect part acts in reciprocal space, by fast Fourier transforms, the change on its sites. Coordinates
    are ordered by cell, site in the cell and axis. `twist` (reciprocal vectors of the primitive cell)
    gives the matrix at that wave vector, of amplitudes without the phases of the cells. With `isotopes`, a seed, each
    atom has the mass of one of the natural isotopes of its element (spectra.isotope_masses), and not their mean.
    """

    def __init__(
        self,
        embedded: Embedded,
        grid: tuple[int, int],
        twist: np.ndarray | None = None,
        isotopes: int | None = None,
    ):
        self.embedded, self.grid, self.twist = embedded, grid, twist
        self.width = embedded.perfect.blocks.shape[1]  # coordinates in a primitive cell
        self.size = self.width * grid[0] * grid[1]
        self.by_mass = None  # (3N,) square root of mean mass over mass
        if isotopes is not None:
            primitive, count = embedded.perfect.primitive, grid[0] * grid[1]
            symbols, means = [*primitive.symbols] * count, np.tile(primitive.get_masses(), count)
            for number, site in enumerate(self.numbers(embedded.sites[list(embedded.elements)])):
                symbols[site] = [*embedded.elements.values()][number]
                means[site] = embedded.masses[[*embedded.elements][number]]
            self.by_mass = np.sqrt(means / spectra.isotope_masses(symbols, isotopes)).repeat(3)
        fourier = embedded.perfect.fourier(grid, twist)
        self.fourier = fourier if twist is not None else fourier[:, : grid[1] // 2 + 1].copy()
        # Sites that the grid maps onto each other are one; what couples them adds up.
        first, second = embedding.pairs(embedded.change)
        blocks = embedded.change.data
        if twist is not None:
            apart = embedded.sites[second, :2] - embedded.sites[first, :2]
            blocks = np.exp(2j * np.pi * apart @ twist)[:, None, None] * blocks
        kept, into = np.unique(self.numbers(embedded.sites), return_inverse=True)
        self.changed = (3 * kept[:, None] + np.arange(3)).ravel()
        self.change = embedding.block_matrix(into[first], into[second], blocks, len(kept))

    def numbers(self, sites: np.ndarray) -> np.ndarray:
        """Return where `sites` (n, 3) stand in the order of the coordinates, an axis left out: (n,)."""
        u, v = (sites[:, :2] % self.grid).T
        return (u * self.grid[1] + v) * (self.width // 3) + sites[:, 2]

    def __matmul__(self, amplitudes: np.ndarray) -> np.ndarray:
        """Return D times `amplitudes` (3N,), in THz^2: (3N,)."""
        if self.by_mass is None:
            return self.product(self.fourier, self.change, amplitudes)
        return self.by_mass * self.product(self.fourier, self.change, self.by_mass * amplitudes)

    def product(self, fourier: np.ndarray, change: bsr_array, amplitudes: np.ndarray) -> np.ndarray:
        """Return the same for another perfect part and change."""
        product = self.perfect_product(fourier, amplitudes)
        product[self.changed] += change @ amplitudes[self.changed]
        return product

    def perfect_product(self, fourier: np.ndarray, amplitudes: np.ndarray) -> np.ndarray:
        """Return the same without a change."""
        shaped = amplitudes.reshape(*self.grid, self.width, 1)
        if self.twist is None:
            waves = fourier @ scipy.fft.rfft2(shaped, axes=(0, 1))
            return scipy.fft.irfft2(waves, s=self.grid, axes=(0, 1)).ravel()
        waves = fourier @ scipy.fft.fft2(shaped, axes=(0, 1))
        return scipy.fft.ifft2(waves, axes=(0, 1)).ravel()

    @cached_property
    def scaled(self) -> tuple[np.ndarray, bsr_array]:
        """Return perfect part and change of D brought to [-1, 1] by `range`."""
        lowest, highest = self.range
        half = (highest - lowest) / 2
        return (self.fourier - (highest + lowest) / 2 * np.eye(self.width)) / half, self.change / half

    def scaled_product(self, amplitudes: np.ndarray) -> np.ndarray:
        """Return D brought to [-1, 1] by `range` times `amplitudes` (3N,): (3N,)."""
        if self.by_mass is None:
            return self.product(*self.scaled, amplitudes)
        lowest, highest = self.range
        return (2 * (self @ amplitudes) - (highest + lowest) * amplitudes) / (highest - lowest)

    def chebyshev(self, start: np.ndarray) -> Iterator[np.ndarray]:
        """Yield T_m times `start`, both (3N,), for m = 0, 1, ..., of the matrix as in `scaled_product`."""
        before, now = start, self.scaled_product(start)
        yield before
        while True:
            yield now
            following = self.scaled_product(now)
            following *= 2
            following -= before
            before, now = now, following

    @cached_property
    def range(self) -> tuple[float, float]:
        """Return the lowest and highest eigenvalue in THz^2, with a margin of a hundredth of what lies between."""
        start = (
            np.random.default_rng(0)
            .standard_normal(self.size)
            .astype(self.fourier.dtype if self.twist is not None else float)
        )

        def largest(product) -> float:
            # To a thousandth: eigenvalues near zero, which never converge, are sought from the other end.
            operator = LinearOperator((self.size, self.size), matvec=product, dtype=start.dtype)
            return float(eigsh(operator, k=1, which="LA", v0=start, tol=1e-3, return_eigenvectors=False)[0])

        highest = largest(self.__matmul__)
        lowest = highest - largest(lambda amplitudes: highest * amplitudes - self @ amplitudes)
        margin = (highest - lowest) / 100
        return lowest - margin, highest + margin

    def explicit(self) -> csr_array:
        """Return the same matrix with all its entries: of the perfect part pair by pair, and of the change."""
        n_cells, sites = self.grid[0] * self.grid[1], self.width // 3
        cells = np.array(list(np.ndindex(self.grid)))
        total = csr_array((self.size, self.size), dtype=complex)
        for shift, block in zip(self.embedded.perfect.shifts, self.embedded.perfect.blocks, strict=True):
            phase = 1.0 if self.twist is None else np.exp(2j * np.pi * shift @ self.twist)
            to = np.ravel_multi_index(tuple(((cells + shift) % self.grid).T), self.grid)
            hop = csr_array((np.full(n_cells, phase), (np.arange(n_cells), to)), shape=(n_cells, n_cells))
            total = total + kron(hop, block, format="csr")
        assert total.shape == (3 * sites * n_cells,) * 2
        spread = csr_array(
            (np.ones(len(self.changed)), (self.changed, np.arange(len(self.changed)))),
            shape=(self.size, len(self.changed)),
        )
        total = total + spread @ self.change @ spread.T
        if self.by_mass is not None:
            total = diags_array(self.by_mass) @ total @ diags_array(self.by_mass)
        return total if self.twist is not None else total.real.tocsr()

    def moments(self, starts: np.ndarray, count: int) -> np.ndarray:
        """Return <s|T_m(D)|s> (n, count) of each of `starts` (n, 3N), as from `chebyshev`.

        Two moments of one product by the doubling rule, a start on each thread.
        A. Weisse et al., Rev. Mod. Phys. 78, 275 (2006), section II.
        """

        def of(start: np.ndarray) -> np.ndarray:
            moments = np.empty(count + count % 2)
            before = None
            for m, now in zip(range(len(moments) // 2 + 1), self.chebyshev(start), strict=False):
                if m:
                    moments[2 * m - 1] = 2 * np.vdot(now, before).real
                if 2 * m < len(moments):
                    moments[2 * m] = 2 * np.vdot(now, now).real
                before = now
                bar.update()
            moments[0::2] -= moments[0] / 2
            moments[1::2] -= moments[1] / 2
            return moments[:count]

        with self.progress("moments", len(starts) * (count // 2)) as bar, self.threads() as pool:
            return np.array(list(pool.map(of, starts)))

    def spread(self, vectors: np.ndarray) -> np.ndarray:
        """Return `vectors` (n, 3 n_sites) on the sites of the embedding, and zero on all others: (n, 3N)."""
        sites = self.embedded.sites
        phases = 1.0 if self.twist is None else np.exp(-2j * np.pi * sites[:, :2] @ self.twist)[:, None]
        coordinates = 3 * self.numbers(sites)[:, None] + np.arange(3)
        amplitudes = np.zeros((len(vectors), self.size), dtype=float if self.twist is None else complex)
        for row, vector in zip(amplitudes, vectors, strict=True):
            np.add.at(row, coordinates, phases * vector.reshape(-1, 3))
        return amplitudes

    def filtered(self, starts: np.ndarray, windows: list[tuple[float, float]], count: int) -> np.ndarray:
        """Return the part (n, 3N) of each of `starts` (n, 3N) within its window (THz, two edges), to `count` moments."""
        lowest, highest = self.range
        orders = np.arange(1, count)

        def of(start: np.ndarray, window: tuple[float, float]) -> np.ndarray:
            upper, lower = np.arccos((2 * np.square(window) - highest - lowest) / (highest - lowest))
            sines = (np.sin(orders * upper) - np.sin(orders * lower)) / orders
            factors = jackson(count) / np.pi * np.concatenate([[upper - lower], 2 * sines])
            total = np.zeros_like(start)
            for factor, part in zip(factors, self.chebyshev(start), strict=False):
                total += factor * part
                bar.update()
            return total

        with self.progress("filter", len(starts) * count) as bar, self.threads() as pool:
            return np.array(list(pool.map(of, starts, windows)))

    def progress(self, name: str, total: int) -> tqdm:
        return tqdm(total=total, desc=name, unit="", mininterval=1, disable=self.size < 20000)

    def threads(self) -> ThreadPoolExecutor:
        _ = self.scaled  # once, and not by each
        return ThreadPoolExecutor(parallel.cores())

    def nearest(self, frequency: float, start: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return frequencies (count,) and eigenvectors (3N, count) of the modes nearest to `frequency` that `start` (3N,) is part of.

        Shift-inverted Lanczos (ARPACK): 1 / (D - w^2) is that of the perfect cell and a correction on the changed
        sites, exactly. Modes of another irrep than `start` are not found. ValueError away from Gamma of the cell,
        and if it is so small that it maps two changed sites onto each other; and with isotopes, which change every site.
        """
        if self.twist is not None or self.by_mass is not None:
            raise ValueError(
                "modes are sought at Gamma of the cell and with mean masses only: make the Cell without twist and isotopes"
            )
        if len(self.changed) < 3 * len(self.embedded.sites):
            raise ValueError(
                f"the change does not fit in a {self.grid[0]} x {self.grid[1]} cell: take a larger cell, or a smaller radius"
            )
        shift, sites = frequency**2, self.embedded.sites
        modes = np.linalg.eigh(self.embedded.perfect.fourier(self.grid))
        perfect = embedding.green(*modes, shift, sites).real
        change = self.embedded.change.toarray()
        factors = lu_factor(np.eye(len(change)) - change @ perfect)
        waves = np.linalg.inv(shift * np.eye(self.width) - self.fourier)
        coordinates = (3 * self.numbers(sites)[:, None] + np.arange(3)).ravel()

        def inverse(amplitudes: np.ndarray) -> np.ndarray:
            product = self.perfect_product(waves, amplitudes)
            source = np.zeros(self.size)
            source[coordinates] = lu_solve(factors, change @ product[coordinates])
            return -(product + self.perfect_product(waves, source))

        shape = (self.size, self.size)
        values, vectors = eigsh(
            LinearOperator(shape, matvec=self.__matmul__, dtype=float), k=count, sigma=shift, v0=start,
            OPinv=LinearOperator(shape, matvec=inverse, dtype=float),
        )  # fmt: skip
        return np.sign(values) * np.sqrt(abs(values)), vectors


def jackson(count: int) -> np.ndarray:
    """Return the factors (count,) of the Jackson kernel: Weisse et al., equation 71."""
    m, q = np.arange(count), np.pi / (count + 1)
    return ((count - m + 1) * np.cos(q * m) + np.sin(q * m) / np.tan(q)) / (count + 1)


def states(moments: np.ndarray, span: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Return frequencies (k,) in THz and weights (..., k) of a density of states with these Chebyshev `moments` (..., count).

    Twice as many as there are moments, which are those of D, whose range is `span` (THz^2), with the
    Jackson kernel: a state becomes a peak of standard deviation `resolution`. Weisse et al., equation 83: their sum
    is a quadrature rule, exact for all integrals that the moments know. Negative for negative eigenvalues.
    """
    count = moments.shape[-1]
    padded = np.zeros((*moments.shape[:-1], 2 * count))
    padded[..., :count] = moments * jackson(count)
    weights = scipy.fft.dct(padded, type=3) / (2 * count)
    angles = np.pi * (np.arange(2 * count) + 0.5) / (2 * count)
    values = (span[1] + span[0]) / 2 + (span[1] - span[0]) / 2 * np.cos(angles)
    return np.sign(values) * np.sqrt(abs(values)), weights


def resolution(count: int, span: tuple[float, float], frequencies: np.ndarray) -> np.ndarray:
    """Return the standard deviation (n,) in THz of a state at `frequencies` (n,) by `count` moments; Weisse et al., equation 74.

    pi / count times half the range times sqrt(1 - x^2) in w^2, divided by 2 w.
    """
    squares = frequencies**2
    width = np.sqrt(np.clip((squares - span[0]) * (span[1] - squares), 0, None))
    return np.pi / (2 * count) * width / frequencies


def cells_on_mesh(embedded: Embedded, n: int, mesh: int) -> Iterator[tuple[Cell, float]]:
    """Yield the n x n cell at half of a mesh x mesh grid of wave vectors, with weights; real at q = 0."""
    for q, weight in spectra.half_of_mesh(mesh):
        yield Cell(embedded, (n, n), q / n if q.any() else None), weight


def local_dos(embedded: Embedded, n: int, mesh: int, groups: dict[str, np.ndarray], count: int) -> Spectrum:
    """Return the shares of `groups` of sites (indices) in the modes of an n x n cell on a mesh, from `count` moments.

    As from spectra.on_mesh: its "modes" are those of `states`.
    """
    starts = {name: embedded.along(sites) for name, sites in groups.items()}
    frequencies, weights, shares = [], [], {name: [] for name in groups}
    for cell, weight in cells_on_mesh(embedded, n, mesh):
        for name, vectors in starts.items():
            at, densities = states(cell.moments(cell.spread(vectors), count), cell.range)
            shares[name].append(densities.sum(axis=0))
        frequencies.append(at)
        weights.append(weight)
    q_points = np.zeros((len(weights), 3))
    q_points[:, :2] = [q for q, _ in spectra.half_of_mesh(mesh)]
    shares = {name: np.array(by_q) for name, by_q in shares.items()}
    return Spectrum(q_points, np.array(weights), np.array(frequencies), shares)


def broadened(sampled: Spectrum, group: str, frequencies: np.ndarray, broadening: float) -> np.ndarray:
    """Return the states per THz (n,) of a group at `frequencies` (n,), as Green's functions at w + i `broadening` (THz) have them."""
    weights = (sampled.q_weights[:, None] * sampled.shares[group]).ravel()
    squares = (sampled.frequencies * abs(sampled.frequencies)).ravel()
    z = (frequencies + 1j * broadening) ** 2
    return -2 / np.pi * frequencies * np.array([(weights / (point - squares)).sum().imag for point in z])


def on_sites(patterns: Patterns, embedded: Embedded) -> list[np.ndarray]:
    """Return the patterns of a smaller cell on the sites of an embedding, real: [set] (degeneracy, 3 n_sites)."""
    sites = embedded.find(patterns.from_site)
    real_patterns = []
    for vectors in patterns.vectors:
        degeneracy = vectors.shape[2]
        pattern = np.zeros((2 * degeneracy, len(embedded.sites), 3))
        for half, part in enumerate((vectors.real, vectors.imag)):
            pattern[half * degeneracy : (half + 1) * degeneracy, sites] = np.moveaxis(part, 2, 0)
        # At Gamma both parts of a mode are modes: they span no more than the set does.
        _, lengths, directions = np.linalg.svd(pattern.reshape(len(pattern), -1), full_matrices=False)
        assert lengths[degeneracy:].max() < 1e-3, "a pattern is not real: is it one of Gamma?"
        real_patterns.append((lengths[:, None] * directions)[:degeneracy])
    return real_patterns


def continued(
    vectors: list[np.ndarray], cell: Cell, groups: dict[str, np.ndarray], count: int
) -> list[Continued]:
    """Find patterns `on_sites` at Gamma of a cell, as following.continued does; `groups` are of sites (indices)."""
    number = np.repeat(np.arange(len(vectors)), [len(pattern) for pattern in vectors])
    starts = cell.spread(np.concatenate(vectors))
    # With mean masses the rows of a degenerate set have equal densities of states: one is enough.
    rows = np.arange(len(number)) if cell.by_mass is not None else np.unique(number, return_index=True)[1]
    frequencies, weights = states(cell.moments(starts[rows], count), cell.range)
    shares = [weights[number[rows] == index].sum(axis=0) for index in range(len(vectors))]
    shares = [
        share / share.sum() * (pattern**2).sum() for share, pattern in zip(shares, vectors, strict=True)
    ]
    half = localisation.WINDOW
    middles = [following.quantile(frequencies, share, 0.5) for share in shares]
    windows = [(middles[index] - half, middles[index] + half) for index in number]
    motion = (cell.filtered(starts, windows, count // 2).reshape(len(starts), -1, 3) ** 2).sum(axis=2)
    motions = [motion[number == index].sum(axis=0) for index in range(len(vectors))]
    atoms = {name: cell.numbers(cell.embedded.sites[sites]) for name, sites in groups.items()}
    return [Continued.of(frequencies, *pair, atoms) for pair in zip(shares, motions, strict=True)]


def strongest(
    vector: np.ndarray, cell: Cell, frequency: float, count: int = 24
) -> tuple[float, float, float]:
    """Find the mode with the largest share of a pattern among the `count` modes of a cell nearest to `frequency` (THz).

    Return its frequency in THz, share of the pattern (3 n_sites,), which is brought to unit norm, and atoms that take part.
    """
    start = cell.spread(vector[None] / np.linalg.norm(vector))[0]
    frequencies, vectors = cell.nearest(frequency, start, count)
    amplitudes = start @ vectors
    # Rounding lets the partners of degenerate modes in.
    one = abs(frequencies - frequencies[abs(amplitudes).argmax()]) < 1e-6
    motion = ((vectors[:, one] @ amplitudes[one]).reshape(-1, 3) ** 2).sum(axis=1)
    share = float(motion.sum())
    return float(frequencies[one].mean()), share, float(share**2 / (motion**2).sum())
