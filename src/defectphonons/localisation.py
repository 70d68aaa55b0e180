"""Phonons beside a defect: the cell with its pristine twin, weights, participation ratios, radial shells."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from phonopy import Phonopy
from scipy.integrate import cumulative_trapezoid
from scipy.optimize import curve_fit

from defectphonons import force_constants, invariance, spectra
from defectphonons.potentials import Potential, evaluate
from defectphonons.spectra import GammaModes, Groups, Spectrum
from defectphonons.structures import Defect

WINDOW = 0.05  # THz, to either side: what counts as one frequency
ENHANCEMENT = 5.0  # weight x N / (atoms at the defect) from which a mode counts as localised


@dataclass(frozen=True)
class DefectiveSheet:
    """A relaxed cell with one defect beside the pristine sheet it was cut from, and the phonons of both."""

    primitive: Atoms  # relaxed, then strained
    defect: Defect
    relaxed: Atoms
    phonon: Phonopy  # of the defective cell, which is its own primitive cell
    pristine: Phonopy  # of `primitive`, invariant under rotations
    residuals: dict[str, dict[str, float]]  # of `phonon`, "before" and "after" it was symmetrised

    @classmethod
    def of(
        cls,
        primitive: Atoms,
        defect: Defect,
        relaxed: Atoms,
        potential: Potential,
        *,
        method: str,
        displacement: float,
        dtype: str = "float64",
        folder: Path,
    ) -> "DefectiveSheet":
        """Compute the phonons of both, by what `force_constants.of` takes; what they are made from is cached in `folder`."""
        how = {"method": method, "displacement": displacement, "dtype": dtype, "folder": folder}
        exact = method == "analytic"
        n = round((len(defect.pristine) / len(primitive)) ** 0.5)
        # Exact ones have supercells of their own, in which no constants of different images add up.
        phonon = force_constants.of(relaxed, None if exact else 1, potential, **how)
        residuals = {"before": force_constants.residuals(phonon)}
        force_constants.symmetrise(phonon)
        residuals["after"] = force_constants.residuals(phonon)
        pristine = force_constants.of(primitive, None if exact else n, potential, **how)
        force_constants.symmetrise(pristine)
        if not exact:
            invariance.make_rotationally_invariant(pristine, evaluate(potential, primitive)["stress"])
        return cls(primitive, defect, relaxed, phonon, pristine, residuals)

    def sites(self, atoms: np.ndarray) -> np.ndarray:
        """Return for atoms of the defective cell the atom of `primitive` that stands on the same site."""
        return self.defect.lattice_sites[atoms] % len(self.primitive)


@dataclass(frozen=True)
class Mode:
    """A mode, or the average over a set that is degenerate by symmetry."""

    frequency_THz: float
    irrep: str
    weight: float  # sum of |e_i|^2 over the atoms at the defect
    participation: float  # participation ratio
    own: float  # the part of `weight` on atoms that stand on sites of other elements
    neighbours: float  # the part of `weight` on the nearest shell
    across: float  # the part of `weight` on the atom on the other side of the sheet
    out_of_plane: float  # the part of `weight` along z
    enhancement: float  # weight x N / (atoms at the defect): 1 for a mode spread evenly


def participation_ratio(motion: np.ndarray) -> np.ndarray:
    """Return 1 / (N sum_i |e_i|^4) of `motion` = |e_i|^2, shape (N, ...): 1/N on one atom, 1 when even."""
    return 1 / (len(motion) * (motion**2).sum(axis=0))


def defect_modes(gamma: GammaModes, defect: Defect) -> list[Mode]:
    """Return every mode at Gamma of a cell with a defect, one entry for each degenerate set.

    |e_i|^2 is averaged over the set first: within it the eigenvectors are arbitrary.
    """
    directed = abs(gamma.eigenvectors) ** 2
    motion = directed.sum(axis=1)
    modes = []
    for members, irrep in zip(gamma.sets, gamma.irreps, strict=True):
        average = motion[:, members].mean(axis=1)
        weight = average[defect.local].sum()
        modes.append(
            Mode(
                frequency_THz=float(gamma.frequencies[members].mean()),
                irrep=irrep,
                weight=float(weight),
                participation=float(participation_ratio(average)),
                own=float(average[defect.own].sum()),
                neighbours=float(average[defect.neighbours].sum()),
                across=float(average[defect.across].sum()),
                out_of_plane=float(directed[defect.local, 2][:, members].mean(axis=1).sum()),
                enhancement=float(weight * len(average) / len(defect.local)),
            )
        )
    return modes


def localised(modes: list[Mode]) -> list[Mode]:
    """Return the candidate localised modes: with at least five times the weight at the defect of an evenly spread mode.

    Whether the participation ratio times N stays the same as the cell grows tells a localised mode from a resonance.
    """
    return [mode for mode in modes if mode.enhancement >= ENHANCEMENT]


def contrast(density: np.ndarray, other: np.ndarray, grid: np.ndarray, frequency: float) -> float:
    """Return the states of `density` (n_grid,) over those of `other`, within two WINDOWs of `frequency` (THz).

    Of `other` at least a hundredth of a state is counted.
    """
    edges = [frequency - 2 * WINDOW, frequency + 2 * WINDOW]
    states = [
        np.diff(np.interp(edges, grid, cumulative_trapezoid(curve, grid, initial=0)))[0]
        for curve in (density, other)
    ]
    return float(states[0] / max(states[1], 0.01))


def shells(defect: Defect, outer_radii: list[float]) -> dict[str, np.ndarray]:
    """Return the atoms of the defective cell by the distance of their ideal places from the middle of the defect.

    In three dimensions, nearest image; a shell has the atoms beyond the radius before and up to its
    own (A), the first those in the middle too, and is named by the two. Raises ValueError for a shell without atoms.
    """
    distances = defect.distances
    groups = {}
    for inner, outer in zip([0.0, *outer_radii], outer_radii, strict=False):
        members = np.flatnonzero((distances > (inner or -1.0)) & (distances <= outer))
        if not len(members):
            raise ValueError(
                f"no atom of the {len(defect.atoms)}-atom cell lies {inner:g} to {outer:g} A from the middle "
                f"of the defect; the nearest lies at {distances.min():.2f}, the farthest at {distances.max():.2f} A: "
                "change outer_radii"
            )
        groups[f"{inner:g} to {outer:g} Å"] = members
    return groups


def rings(defect: Defect) -> list[tuple[float, np.ndarray]]:
    """Return (distance in A, atoms) of each set of one species whose ideal places lie equally far from the defect."""
    distances, circles = defect.distances, []
    for symbol in dict.fromkeys(defect.atoms.symbols):
        members = np.flatnonzero(defect.atoms.symbols == symbol)
        members = members[np.argsort(distances[members])]
        gaps = np.flatnonzero(np.diff(distances[members]) > 1e-3) + 1
        circles += [(float(distances[ring].mean()), np.sort(ring)) for ring in np.split(members, gaps)]
    return sorted(circles, key=lambda ring: ring[0])


def redistributed(density: np.ndarray, other: np.ndarray, grid: np.ndarray) -> float:
    """Return the redistributed spectral weight: half the integral of |g / n - g' / n'|, from 0 to 1.

    Densities (n_grid,) on `grid` (THz), each divided by its own number of states first.
    """
    both = [curve / np.trapezoid(curve, grid) for curve in (density, other)]
    return float(np.trapezoid(abs(both[0] - both[1]), grid) / 2)


def densities_per_atom(
    sheet: DefectiveSheet,
    sampled: Spectrum,
    by_site: np.ndarray,
    groups: Groups,
    grid: np.ndarray,
    smearing: float,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the density of states per atom (n_grid,) of each group: with the defect, and pristine on the same sites.

    `sampled` has the shares of the `groups`; `by_site` (n_primitive, n_grid) is the pristine DOS of each site, per atom.
    """
    return {
        name: (
            spectra.density_of_states(sampled, grid, smearing, name) / len(atoms),
            by_site[sheet.sites(atoms)].mean(axis=0),
        )
        for name, atoms in groups.items()
    }


def redistributed_by_ring(
    sheet: DefectiveSheet, sampled: Spectrum, by_site: np.ndarray, grid: np.ndarray, smearing: float
) -> dict[str, np.ndarray]:
    """Return for each species (2, n_rings): distance from the middle of the defect in A, and what is `redistributed` on the ring.

    Its own atoms are left out. `sampled` has the shares of each ring, named by its number; `by_site` as for `densities_per_atom`.
    """
    circles = {
        str(i): ring
        for i, ring in enumerate(rings(sheet.defect))
        if not np.isin(ring[1], sheet.defect.own).any()
    }
    groups = {number: atoms for number, (_, atoms) in circles.items()}
    pairs = densities_per_atom(sheet, sampled, by_site, groups, grid, smearing).values()
    by_species: dict[str, list[tuple[float, float]]] = {}
    for (distance, atoms), pair in zip(circles.values(), pairs, strict=True):
        species = sheet.relaxed.symbols[atoms[0]]
        by_species.setdefault(species, []).append((distance, redistributed(*pair, grid)))
    return {species: np.array(points).T for species, points in by_species.items()}


@dataclass(frozen=True)
class Decay:
    """values = amplitude exp(-distance / length) + floor, fitted to their logarithms by least squares."""

    amplitude: float
    length: float
    floor: float
    length_error: float  # one standard error

    def __call__(self, distances: np.ndarray) -> np.ndarray:
        return self.amplitude * np.exp(-distances / self.length) + self.floor


def decay(distances: np.ndarray, values: np.ndarray) -> Decay | None:
    """Fit positive `values` that fall with distance to a floor, as images of a defect leave one.

    None where they do not determine a length: the fit fails, or its error exceeds half of it.
    """

    def logarithm(distance, *logarithms):
        amplitude, length, floor = np.exp(logarithms)
        return np.log(amplitude * np.exp(-distance / length) + floor)

    guess = np.log([values.max(), np.ptp(distances) / 4, values.min()])
    try:
        parameters, covariance = curve_fit(logarithm, distances, np.log(values), p0=guess)
    except (RuntimeError, TypeError):  # no minimum; fewer points than parameters
        return None
    amplitude, length, floor = np.exp(parameters).tolist()
    relative_error = float(np.sqrt(covariance[1, 1]))
    return Decay(amplitude, length, floor, length * relative_error) if relative_error < 0.5 else None
