"""Bands, densities of states, irreps and thermal functions, on phonopy's own objects.

Frequencies in THz; an imaginary one is given as a negative number and never changed.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from ase.data import atomic_masses, atomic_numbers
from phonopy import Phonopy
from phonopy.physical_units import get_physical_units
from phonopy.structure.atomic_data import get_atomic_data
from scipy.optimize import linear_sum_assignment
from tqdm import tqdm

PER_CM = 33.35640951981521  # cm-1 in 1 THz
MEV = 4.135667696923859  # meV in 1 THz
IMAGINARY = -1e-4  # THz; above it a negative frequency is the rounding of an acoustic mode at Gamma
HIGH_SYMMETRY = {"Γ": (0.0, 0.0, 0.0), "M": (0.5, 0.0, 0.0), "K": (1 / 3, 1 / 3, 0.0)}
Groups = dict[str, np.ndarray]  # name -> indices of atoms


@dataclass(frozen=True)
class Spectrum:
    """Frequencies at q points and, for each group of atoms, the share of every mode's motion."""

    q_points: np.ndarray  # (n_q, 3) in reciprocal lattice vectors
    q_weights: np.ndarray  # (n_q,) summing to 1
    frequencies: np.ndarray  # (n_q, n_modes) THz
    shares: dict[str, np.ndarray] = field(default_factory=dict)  # (n_q, n_modes), sum |e_i|^2


@dataclass(frozen=True)
class Bands(Spectrum):
    """A spectrum along a path through the Brillouin zone."""

    distances: np.ndarray = field(default_factory=lambda: np.empty(0))  # (n_q,) 1/A, with 2 pi
    ticks: tuple[tuple[float, str], ...] = ()


@dataclass(frozen=True)
class GammaModes:
    """Modes at Gamma with the symmetry they transform by."""

    frequencies: np.ndarray  # (n_modes,) THz
    eigenvectors: np.ndarray  # (n_atoms, 3, n_modes), mass-weighted, unit norm
    sets: list[list[int]]  # modes that are degenerate by symmetry
    irreps: list[str]  # one for each set


def spectrum(
    phonon: Phonopy, q_points: np.ndarray, q_weights: np.ndarray, groups: Groups | None = None
) -> Spectrum:
    """Compute frequencies at `q_points` (n_q, 3) and each group's share; eigenvectors are dropped."""
    frequencies, shares = [], {name: [] for name in groups or {}}
    # A bar only where one waits: below a few hundred modes all q points take seconds.
    quick = 3 * len(phonon.primitive) < 200
    for q_point in tqdm(q_points, desc="q points", unit="q", disable=quick):
        phonon.run_qpoints([q_point], with_eigenvectors=bool(groups))
        frequencies.append(phonon.qpoints.frequencies[0])
        if groups:
            vectors = phonon.qpoints.eigenvectors[0]
            motion = (abs(vectors) ** 2).reshape(-1, 3, vectors.shape[1]).sum(axis=1)
            for name, atoms in groups.items():
                shares[name].append(motion[atoms].sum(axis=0))
    return Spectrum(
        np.asarray(q_points), np.asarray(q_weights), np.array(frequencies),
        {name: np.array(share) for name, share in shares.items()},
    )  # fmt: skip


def path(phonon: Phonopy, points: int = 60) -> tuple[np.ndarray, np.ndarray, tuple[tuple[float, str], ...]]:
    """Return the path Gamma-M-K-Gamma of a hexagonal cell: q (n_q, 3), distances (n_q,) in 1/A, ticks.

    `points` intervals in all, spread by length.
    """
    corners = ["Γ", "M", "K", "Γ"]
    reciprocal = 2 * np.pi * np.linalg.inv(phonon.primitive.cell).T
    ends = np.array([HIGH_SYMMETRY[corner] for corner in corners])
    lengths = np.linalg.norm(np.diff(ends @ reciprocal, axis=0), axis=1)
    q_points, distances = [ends[0]], [0.0]
    for start, end, length in zip(ends, ends[1:], lengths, strict=False):
        steps = max(1, round(points * length / lengths.sum()))
        for step in range(1, steps + 1):
            q_points.append(start + (end - start) * step / steps)
            distances.append(distances[-1] + length / steps)
    ticks = np.concatenate([[0.0], lengths.cumsum()])
    return np.array(q_points), np.array(distances), tuple(zip(ticks.tolist(), corners, strict=True))


def bands(phonon: Phonopy, groups: Groups | None = None, points: int = 60) -> Bands:
    """Compute the bands along Gamma-M-K-Gamma of the phonopy object's primitive cell."""
    q_points, distances, ticks = path(phonon, points)
    sampled = spectrum(phonon, q_points, np.full(len(q_points), 1 / len(q_points)), groups)
    return Bands(**vars(sampled), distances=distances, ticks=ticks)


def on_mesh(phonon: Phonopy, mesh: int, groups: Groups | None = None) -> Spectrum:
    """Compute the spectrum on the inequivalent points of a Gamma-centred mesh x mesh x 1 grid.

    The shares are right only for groups that the point group maps onto themselves.
    """
    phonon.init_mesh([mesh, mesh, 1], is_gamma_center=True)
    weights = phonon.mesh.weights / phonon.mesh.weights.sum()
    return spectrum(phonon, phonon.mesh.qpoints, weights, groups)


def by_atom(phonon: Phonopy, mesh: int) -> Spectrum:
    """Sample a Gamma-centred mesh x mesh x 1 grid as `on_mesh`, with each atom as a group, called by its number.

    Right where the point group that keeps a wave vector of the grid maps every atom onto itself, or only along z.
    """
    return on_mesh(phonon, mesh, {str(i): np.array([i]) for i in range(len(phonon.primitive))})


def densities_by_atom(sampled: Spectrum, grid: np.ndarray, smearing: float) -> np.ndarray:
    """Return the projected density of states (n_atoms, n_grid) in states per THz of each atom of a spectrum `by_atom`."""
    return np.array([density_of_states(sampled, grid, smearing, atom) for atom in sampled.shares])


def mass_variance(symbol: str) -> float:
    """Return the variance of the masses of an element's natural isotopes over the square of their mean.

    0 for an element without natural isotopes. S. Tamura, Phys. Rev. B 27, 858 (1983), calls it g_2.
    """
    masses, abundances = isotopes(symbol)
    mean = np.average(masses, weights=abundances)
    return float(np.average((masses / mean - 1) ** 2, weights=abundances))


def isotopes(symbol: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the masses in u of an element's natural isotopes and their abundances, which add up to 1.

    As phonopy has them, of CIAAW. An element without natural isotopes has its one atomic mass.
    """
    natural = get_atomic_data().isotope_data.get(symbol)
    if not natural:
        return atomic_masses[[atomic_numbers[symbol]]], np.ones(1)
    _, masses, abundances = np.array(natural).T
    return masses, abundances / abundances.sum()


def isotope_masses(symbols: Iterable[str], seed: int) -> np.ndarray:
    """Draw the mass in u of each of n atoms from the natural isotopes of its element: (n,), the same for the same `seed`."""
    symbols = np.array(list(symbols))
    generator = np.random.default_rng(seed)
    drawn = np.empty(len(symbols))
    for symbol in np.unique(symbols):
        masses, abundances = isotopes(symbol)
        drawn[symbols == symbol] = generator.choice(masses, (symbols == symbol).sum(), p=abundances)
    return drawn


def half_of_mesh(mesh: int) -> Iterator[tuple[np.ndarray, float]]:
    """Yield points of a mesh x mesh grid, in reciprocal vectors of what it samples, with weights; of q and -q one."""
    for i, j in np.ndindex(mesh, mesh):
        if (i, j) <= (-i % mesh, -j % mesh):
            yield np.array([i, j]) / mesh, (2 - ((i, j) == (-i % mesh, -j % mesh))) / mesh**2


def folded(phonon: Phonopy, n: int, q_points: np.ndarray) -> np.ndarray:
    """Return frequencies (n_q, n^2 n_modes) in THz of a primitive cell at the `q_points` (n_q, 3) of its n x n cell."""
    shifts = np.array([(i, j, 0) for i in range(n) for j in range(n)])
    unfolded = (q_points[:, None] + shifts) / [n, n, 1]
    phonon.run_qpoints(unfolded.reshape(-1, 3))
    return np.sort(phonon.qpoints.frequencies.reshape(len(q_points), -1), axis=1)


def mesh_for(n: int, mesh: int) -> int:
    """Return the grid for an n x n cell that samples as densely as `mesh` does for the primitive cell."""
    return max(1, round(mesh / n))


def density_of_states(
    sampled: Spectrum, grid: np.ndarray, smearing: float, group: str | None = None
) -> np.ndarray:
    """Return the states per THz per cell (n_grid,) of the phonopy object; of a group, its projected part.

    Gaussians of standard deviation `smearing` in THz; `grid` (n_grid,) in THz. Integrates to
    three times the number of atoms.
    """
    weights = np.broadcast_to(sampled.q_weights[:, None], sampled.frequencies.shape)
    if group is not None:
        weights = weights * sampled.shares[group]
    # Bin far finer than the smearing, then one convolution: as exact, and quick for 1e6 modes.
    step = smearing / 50
    edges = np.arange(grid.min() - 6 * smearing, grid.max() + 6 * smearing + step, step)
    counts, edges = np.histogram(sampled.frequencies, bins=edges, weights=weights)
    centres = (edges[:-1] + edges[1:]) / 2
    offsets = np.arange(-6 * smearing, 6 * smearing + step / 2, step)
    kernel = np.exp(-0.5 * (offsets / smearing) ** 2)
    return np.interp(grid, centres, np.convolve(counts, kernel / (kernel.sum() * step), mode="same"))


def frequency_grid(*spectra: Spectrum, smearing: float, points: int = 2001) -> np.ndarray:
    """Return frequencies (points,) in THz, from below the lowest to above the highest mode by six smearings."""
    lowest = min(sampled.frequencies.min() for sampled in spectra)
    highest = max(sampled.frequencies.max() for sampled in spectra)
    return np.linspace(lowest - 6 * smearing, highest + 6 * smearing, points)


def imaginary(*spectra: Spectrum) -> list[tuple[float, np.ndarray]]:
    """Return (frequency in THz as a negative number, q) of every imaginary mode, the largest first."""
    return sorted(
        (
            (float(frequency), q_point)
            for sampled in spectra
            for q_point, frequencies in zip(sampled.q_points, sampled.frequencies, strict=True)
            for frequency in frequencies[frequencies < IMAGINARY]
        ),
        key=lambda mode: mode[0],
    )


def gap(sampled: Spectrum, below: int) -> tuple[float, float]:
    """Return the top of the lowest `below` branches and the bottom of the next, in THz; a gap if it is higher."""
    return float(sampled.frequencies[:, :below].max()), float(sampled.frequencies[:, below:].min())


def dominance(
    sampled: Spectrum, group: str, middle: float, lines: tuple[float, float] = (0.6, 0.4)
) -> dict[str, dict[str, float]]:
    """Return how much of the motion `group` has "below" and "above" the frequency `middle` (THz).

    `heavy_share`: its mean share; `dominated`: the part of the modes of which it has more than the first of `lines` below,
    less than the second above.
    """
    below = sampled.frequencies < middle
    shares, weights = sampled.shares[group], np.broadcast_to(sampled.q_weights[:, None], below.shape)
    sides = {"below": (below, shares > lines[0]), "above": (~below, shares < lines[1])}
    return {
        "heavy_share": {
            side: float(np.average(shares[mask], weights=weights[mask])) for side, (mask, _) in sides.items()
        },
        "dominated": {
            side: float(np.average(counted[mask], weights=weights[mask]))
            for side, (mask, counted) in sides.items()
        },
    }


def gamma_modes(phonon: Phonopy) -> GammaModes:
    """Return all modes at Gamma, in sets that are degenerate by symmetry, with the labels of their irreps."""
    irreps = phonon.run_irreps([0, 0, 0], symmetry_adapted=True)
    n_modes = len(irreps.frequencies)
    return GammaModes(
        frequencies=irreps.frequencies,
        eigenvectors=irreps.eigenvectors.reshape(-1, 3, n_modes),
        sets=[list(members) for members in irreps.band_indices],
        irreps=list(irreps._ir_labels),
    )


def pair(phonon: Phonopy, other: Phonopy, q_point: np.ndarray) -> np.ndarray:
    """Return (n_modes, 3): frequency of each mode of `phonon` at `q_point`, of its partner in `other` (THz), overlap.

    Partners are chosen so that the overlaps |<e_i|e_j>|^2 of the eigenvectors have the largest sum,
    never by the order of frequencies; modes of different irreps do not overlap.
    """
    vectors, frequencies = [], []
    for calculation in (phonon, other):
        calculation.run_qpoints([q_point], with_eigenvectors=True)
        vectors.append(calculation.qpoints.eigenvectors[0])
        frequencies.append(calculation.qpoints.frequencies[0])
    overlaps = abs(vectors[0].conj().T @ vectors[1]) ** 2
    modes, partners = linear_sum_assignment(-overlaps)
    return np.stack([frequencies[0], frequencies[1][partners], overlaps[modes, partners]], axis=1)


@dataclass(frozen=True)
class PairedSet:
    """A set of modes at Gamma that are degenerate by symmetry, and its partner in another calculation."""

    irrep: str
    degeneracy: int
    frequency_THz: float
    partner_THz: float
    overlap: float  # 1 if the two sets span the same space
    motion: np.ndarray  # (n_atoms,) |e|^2 of the set, averaged over it
    partner_motion: np.ndarray


def pair_sets(gamma: GammaModes, other: GammaModes) -> list[PairedSet]:
    """Pair each degenerate set of `gamma` with the set of `other`, of the same cell and irrep, that suits it.

    Partners are chosen so that the overlaps of the spaces have the largest sum, in each irrep.
    """
    paired = []
    for irrep in dict.fromkeys(gamma.irreps):
        own_sets, other_sets = (
            [
                members
                for members, label in zip(calculation.sets, calculation.irreps, strict=True)
                if label == irrep
            ]
            for calculation in (gamma, other)
        )
        vectors, others = (
            [calculation.eigenvectors[:, :, members].reshape(-1, len(members)) for members in sets]
            for calculation, sets in ((gamma, own_sets), (other, other_sets))
        )
        overlaps = np.array(
            [[(abs(one.conj().T @ two) ** 2).sum() / one.shape[1] for two in others] for one in vectors]
        )
        for i, j in zip(*linear_sum_assignment(-overlaps), strict=True):
            (frequency, motion), (partner, partner_motion) = (
                (
                    float(calculation.frequencies[members].mean()),
                    (abs(calculation.eigenvectors[:, :, members]) ** 2).sum(axis=1).mean(axis=1),
                )
                for calculation, members in ((gamma, own_sets[i]), (other, other_sets[j]))
            )
            overlap = float(overlaps[i, j])
            paired.append(
                PairedSet(irrep, len(own_sets[i]), frequency, partner, overlap, motion, partner_motion)
            )
    return sorted(paired, key=lambda paired_set: paired_set.frequency_THz)


def thermal(phonon: Phonopy, mesh: int, temperatures: np.ndarray) -> dict[str, np.ndarray]:
    """Return free energy (eV) and heat capacity (k_B) per primitive cell at `temperatures` (K).

    Harmonic. Modes below 1e-4 THz are left out: the acoustic ones at Gamma, and imaginary ones,
    for which there is no free energy.
    """
    phonon.run_mesh([mesh, mesh, 1], is_gamma_center=True)
    phonon.run_thermal_properties(temperatures=temperatures, cutoff_frequency=-IMAGINARY)
    units = get_physical_units()
    properties = phonon.thermal_properties
    return {
        "temperature": properties.temperatures,
        "free_energy_eV": properties.free_energy / units.EvTokJmol,
        "heat_capacity_kB": properties.heat_capacity / (units.EvTokJmol * 1000 * units.KB),
    }


@dataclass(frozen=True)
class Flexural:
    """The lowest branch near Gamma: w^2 = linear q^2 + quadratic q^4, and w ~ q^exponent."""

    q: np.ndarray  # (n_q,) 1/A
    frequencies: np.ndarray  # (n_q,) THz
    linear: float  # THz^2 A^2: 0 for a free sheet, stress / (mass density (2 pi)^2) for a strained one
    quadratic: float  # THz^2 A^4
    exponent: float  # nan where the branch is imaginary

    def as_dict(self) -> dict[str, float | None]:
        exponent = None if np.isnan(self.exponent) else self.exponent
        return {"linear_THz2_A2": self.linear, "quadratic_THz2_A4": self.quadratic, "exponent": exponent}


def flexural(phonon: Phonopy, q_largest: float = 0.1, points: int = 20) -> Flexural:
    """Return the ZA branch for 0 < q <= `q_largest` (1/A) along Gamma-M, with its fits."""
    reciprocal = 2 * np.pi * np.linalg.inv(phonon.primitive.cell).T
    direction = np.array(HIGH_SYMMETRY["M"])
    q = np.linspace(0.1, 1.0, points) * q_largest
    q_points = np.outer(q / np.linalg.norm(direction @ reciprocal), direction)
    signed = spectrum(phonon, q_points, np.full(points, 1 / points)).frequencies[:, 0]
    # Fitted as w^2 / q^2, so that the smallest q decide about the linear term.
    design = np.stack([np.ones(points), q**2, q**4], axis=1)
    linear, quadratic, _ = np.linalg.lstsq(design, signed * abs(signed) / q**2, rcond=None)[0]
    exponent = np.polyfit(np.log(q), np.log(signed), 1)[0] if signed.min() > 0 else np.nan
    return Flexural(q, signed, float(linear), float(quadratic), float(exponent))
