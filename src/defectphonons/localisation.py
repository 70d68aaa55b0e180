"""Phonons beside a defect: the cell with its pristine twin, weights, participation ratios, radial shells."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from phonopy import Phonopy
from scipy.integrate import cumulative_trapezoid
from scipy.optimize import curve_fit

from defectphonons import force_constants, relaxation, spectra, structures
from defectphonons.spectra import GammaModes, Groups, Spectrum
from defectphonons.structures import Defect
from helpers.models.potential import Potential, evaluate

WINDOW = 0.05  # THz, to either side: what counts as one frequency
ENHANCEMENT = 5.0  # weight x N / (atoms at the defect) from which a mode counts as localised


@dataclass(frozen=True)
class DefectiveSheet:
    """A relaxed cell with one defect beside the pristine sheet it was cut from, and the phonons of both."""

    primitive: Atoms  # relaxed, then strained
    vacancy: Defect
    relaxed: Atoms
    phonon: Phonopy  # of the defective cell, which is its own primitive cell
    pristine: Phonopy  # of `primitive`, invariant under rotations
    residuals: dict[str, dict[str, float]]  # of `phonon`, "before" and "after" it was symmetrised

    def sites(self, atoms: np.ndarray) -> np.ndarray:
        """For atoms of the defective cell, the atom of `primitive` that stands on the same site."""
        return self.vacancy.kept[atoms] % len(self.primitive)


def relaxed_defect(run: Any, potential: Potential) -> tuple[Atoms, Defect, Atoms]:
    """Primitive cell (relaxed, then strained), defect, and its relaxed cell, for a run of 05 or of what follows.

    What was relaxed is kept in `run.shared_folder`, and found there.
    """
    start = structures.monolayer(run.formula, run.lattice_constant, run.thickness)
    kept = {"potential": potential, "hold_symmetry": True, "folder": run.shared_folder / "relaxed"}
    primitive = relaxation.relax(start, relax_cell=True, **kept)
    primitive = relaxation.relax(structures.strained(primitive, run.strain), **kept)
    vacancy = structures.vacancy(structures.supercell(primitive, run.supercell), run.defect)
    return primitive, vacancy, relaxation.relax(vacancy.atoms, **kept)


def defective_sheet(run: Any, potential: Potential) -> DefectiveSheet:
    """The same with the phonons of both; what they are made from is kept in `run.shared_folder`, and found there."""
    primitive, vacancy, relaxed = relaxed_defect(run, potential)
    how = {"displacement": run.displacement, "dtype": run.dtype, "folder": run.shared_folder}
    exact = run.method == "analytic"
    # Exact ones have supercells of their own, in which no constants of different images add up.
    phonon = force_constants.of(relaxed, None if exact else 1, potential, method=run.method, **how)
    residuals = {"before": force_constants.residuals(phonon)}
    force_constants.symmetrise(phonon)
    residuals["after"] = force_constants.residuals(phonon)
    pristine = force_constants.of(
        primitive, None if exact else run.supercell, potential, method=run.method, **how
    )
    force_constants.symmetrise(pristine)
    if not exact:
        spectra.make_rotationally_invariant(pristine, evaluate(potential, primitive)["stress"])
    return DefectiveSheet(primitive, vacancy, relaxed, phonon, pristine, residuals)


@dataclass(frozen=True)
class Mode:
    """A mode, or the average over a set that is degenerate by symmetry."""

    frequency_THz: float
    irrep: str
    weight: float  # sum of |e_i|^2 over the atoms at the defect
    participation: float  # participation ratio
    neighbours: float  # the part of `weight` on the nearest shell
    across: float  # the part of `weight` on the atom across the plane
    out_of_plane: float  # the part of `weight` along z
    enhancement: float  # weight x N / (atoms at the defect): 1 for a mode spread evenly


def participation_ratio(motion: np.ndarray) -> np.ndarray:
    """1 / (N sum_i |e_i|^4) of `motion` = |e_i|^2, shape (N, ...): 1/N on one atom, 1 when even."""
    return 1 / (len(motion) * (motion**2).sum(axis=0))


def defect_modes(gamma: GammaModes, defect: Defect) -> list[Mode]:
    """Every mode at Gamma of a cell with a defect, one entry for each degenerate set.

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
                neighbours=float(average[defect.neighbours].sum()),
                across=float(average[defect.across].sum()),
                out_of_plane=float(directed[defect.local, 2][:, members].mean(axis=1).sum()),
                enhancement=float(weight * len(average) / len(defect.local)),
            )
        )
    return modes


def localised(modes: list[Mode]) -> list[Mode]:
    """The modes with at least five times the weight at the defect that an evenly spread mode has.

    In one cell these are candidates: whether the participation ratio times N stays the same as
    the cell grows tells a localised mode from a resonance.
    """
    return [mode for mode in modes if mode.enhancement >= ENHANCEMENT]


def contrast(density: np.ndarray, other: np.ndarray, grid: np.ndarray, frequency: float) -> float:
    """States of `density` (n_grid,) over those of `other`, within two WINDOWs of `frequency` (THz).

    Of `other` at least a hundredth of a state is counted.
    """
    edges = [frequency - 2 * WINDOW, frequency + 2 * WINDOW]
    states = [
        np.diff(np.interp(edges, grid, cumulative_trapezoid(each, grid, initial=0)))[0]
        for each in (density, other)
    ]
    return float(states[0] / max(states[1], 0.01))


@dataclass(frozen=True)
class Continued:
    """What a mode of one cell has become in another.

    There its pattern is spread over states; `atoms` and `weights` are those of the part of it that lies
    within WINDOW of the median frequency. A state of the sheet that happens to lie close by mixes with a
    localised mode, but the sum of the two, weighted by the amplitudes of the pattern, does not know it.
    """

    frequency_THz: float  # median
    width_THz: float  # between the quartiles
    share: float  # of the pattern, within WINDOW of the median
    core: float  # of the pattern, within a fifth of it
    atoms: float  # that take part: participation ratio x N
    weights: dict[str, float]  # of groups of atoms

    @classmethod
    def of(
        cls, frequencies: np.ndarray, shares: np.ndarray, motion: np.ndarray, groups: Groups
    ) -> "Continued":
        """From the shares (k,) of a pattern at `frequencies` (k,), and the `motion` (N,) of its part in the window."""
        lower, middle, upper = (quantile(frequencies, shares, part) for part in (0.25, 0.5, 0.75))
        share = float(motion.sum())
        motion = motion / share
        return cls(
            middle,
            upper - lower,
            share,
            float(shares[abs(frequencies - middle) < WINDOW / 5].sum()),
            float(len(motion) * participation_ratio(motion)),
            {name: float(motion[atoms].sum()) for name, atoms in groups.items()},
        )


@dataclass(frozen=True)
class Patterns:
    """Modes at Gamma of a cell with a defect, each degenerate set as a pattern round the empty site.

    Out to half the cell's lattice constant in the plane, and brought to unit norm.
    """

    vectors: list[np.ndarray]  # [set] (n_inner, 3, degeneracy)
    from_site: np.ndarray  # (n_inner, 3) A

    @classmethod
    def of(cls, gamma: GammaModes, sets: list[int], defect: Defect) -> "Patterns":
        reach = defect.atoms.cell.lengths()[0] / 2
        inner = np.flatnonzero(np.linalg.norm(defect.from_site[:, :2], axis=1) < reach - 0.1)
        vectors = [gamma.eigenvectors[inner][:, :, gamma.sets[each]] for each in sets]
        return cls([each / np.linalg.norm(each) for each in vectors], defect.from_site[inner])

    def amplitudes(
        self, sheet: DefectiveSheet, q_points: np.ndarray
    ) -> Iterator[tuple[np.ndarray, list[np.ndarray], np.ndarray]]:
        """At each q of a cell: its frequencies, [set] (degeneracy, n_modes) <e|pattern>, eigenvectors.

        The squares of a set's amplitudes add up to 1. Eigenvectors (N, 3, n_modes).
        """
        there = sheet.vacancy
        apart = np.linalg.norm(self.from_site[:, None] - there.from_site[None], axis=2)
        same = apart.argmin(axis=1)
        # The two are cut from sheets of the same lattice constant: the ideal places coincide.
        assert apart.min(axis=1).max() < 0.01, "the two cells do not have the same ideal places"
        reciprocal = 2 * np.pi * np.linalg.inv(sheet.phonon.primitive.cell).T
        for q_point in q_points:
            sheet.phonon.run_qpoints([q_point], with_eigenvectors=True)
            vectors = sheet.phonon.qpoints.eigenvectors[0]
            vectors = vectors.reshape(-1, 3, vectors.shape[1])
            # From phonopy's phases, which belong to atoms of one cell, to the atoms round the site.
            phases = np.exp(1j * there.from_site[same] @ (q_point @ reciprocal))
            around = (vectors[same] * phases[:, None, None]).conj()
            found = [np.einsum("iam,iag->gm", around, each) for each in self.vectors]
            yield sheet.phonon.qpoints.frequencies[0], found, vectors


def continued(patterns: Patterns, sheet: DefectiveSheet, mesh: int, groups: Groups) -> list[Continued]:
    """Where `patterns` are found in `sheet`, on a mesh x mesh grid; `groups` are of atoms of `sheet`."""
    # Of q and -q one, whose eigenvectors are conjugate; of a star all, for the participation of one is not that of all.
    points, multiplicities = zip(*spectra.half_of_mesh(mesh), strict=True)
    q_points = np.column_stack([points, np.zeros(len(points))])
    # The eigenvectors of all q are kept where they are less than a gigabyte, else computed again: which of them count is
    # known only when all frequencies are.
    size = 16 * (3 * len(sheet.relaxed)) ** 2 * len(q_points)
    kept = list(patterns.amplitudes(sheet, q_points)) if size < 1e9 else None
    states = [(levels, amplitudes) for levels, amplitudes, _ in kept or patterns.amplitudes(sheet, q_points)]
    frequencies = np.concatenate([each for each, _ in states])
    shares = [
        np.concatenate(
            [
                multiplicity * (abs(amplitudes[number]) ** 2).sum(axis=0)
                for multiplicity, (_, amplitudes) in zip(multiplicities, states, strict=True)
            ]
        )
        for number in range(len(patterns.vectors))
    ]
    middles = [quantile(frequencies, each, 0.5) for each in shares]
    motions = np.zeros((len(patterns.vectors), len(sheet.relaxed)))
    for multiplicity, (levels, amplitudes, vectors) in zip(
        multiplicities, kept or patterns.amplitudes(sheet, q_points), strict=True
    ):
        for number, middle in enumerate(middles):
            near = abs(levels - middle) < WINDOW
            projected = vectors[:, :, near] @ amplitudes[number][:, near].T
            motions[number] += multiplicity * (abs(projected) ** 2).sum(axis=(1, 2))
    return [Continued.of(frequencies, *each, groups) for each in zip(shares, motions, strict=True)]


def flatness(
    patterns: Patterns, frequencies: list[float], sheet: DefectiveSheet, q_points: np.ndarray
) -> list[float]:
    """The least part of each pattern that stays within WINDOW of its frequency at Gamma (THz), at any of `q_points`."""
    least = np.ones(len(frequencies))
    for levels, amplitudes, _ in patterns.amplitudes(sheet, q_points):
        for number, frequency in enumerate(frequencies):
            near = abs(levels - frequency) < WINDOW
            least[number] = min(least[number], (abs(amplitudes[number][:, near]) ** 2).sum())
    return least.tolist()


def quantile(values: np.ndarray, weights: np.ndarray, share: float) -> float:
    """The value that `share` of the weight does not exceed."""
    order = values.argsort()
    reached = weights[order].cumsum()
    return float(values[order][np.searchsorted(reached, share * reached[-1])])


def character(first: Continued, last: Continued) -> str:
    """What a mode of a small cell (`first`) is by a larger one (`last`).

    'resonance' if less than 0.8 of its pattern lies within WINDOW of one frequency, in either cell;
    'narrow resonance' if in the larger one less than 0.8 lies within a fifth of that; 'localised', which
    means sharper than this, if it keeps its frequency and takes in no more than 1.2 times the atoms;
    else 'undecided'.
    """
    if min(first.share, last.share) < 0.8:
        return "resonance"
    if last.core < 0.8:
        return "narrow resonance"
    stays = abs(last.frequency_THz - first.frequency_THz) < WINDOW
    return "localised" if stays and last.atoms < 1.2 * first.atoms else "undecided"


def shells(defect: Defect, outer_radii: list[float]) -> dict[str, np.ndarray]:
    """Atoms of the defective cell by the distance of their ideal places from the empty site.

    In three dimensions, nearest image; a shell has the atoms beyond the radius before and up to its
    own (A), and is named by the two. Raises ValueError for a shell without atoms.
    """
    distances = defect.distances
    found = {}
    for inner, outer in zip([0.0, *outer_radii], outer_radii, strict=False):
        members = np.flatnonzero((distances > inner) & (distances <= outer))
        if not len(members):
            raise ValueError(
                f"no atom of the {len(defect.atoms)}-atom cell lies {inner:g} to {outer:g} A from the empty "
                f"site; the nearest lies at {distances.min():.2f}, the farthest at {distances.max():.2f} A: "
                "change outer_radii"
            )
        found[f"{inner:g} to {outer:g} Å"] = members
    return found


def rings(defect: Defect) -> list[tuple[float, np.ndarray]]:
    """(distance in A, atoms) of each set of one species whose ideal places lie equally far away."""
    distances, found = defect.distances, []
    for symbol in dict.fromkeys(defect.atoms.symbols):
        members = np.flatnonzero(defect.atoms.symbols == symbol)
        members = members[np.argsort(distances[members])]
        gaps = np.flatnonzero(np.diff(distances[members]) > 1e-3) + 1
        found += [(float(distances[ring].mean()), np.sort(ring)) for ring in np.split(members, gaps)]
    return sorted(found, key=lambda ring: ring[0])


def redistributed(density: np.ndarray, other: np.ndarray, grid: np.ndarray) -> float:
    """Share of the states that lie elsewhere: half the integral of |g / n - g' / n'|, from 0 to 1.

    Densities (n_grid,) on `grid` (THz), each divided by its own number of states first.
    """
    both = [each / np.trapezoid(each, grid) for each in (density, other)]
    return float(np.trapezoid(abs(both[0] - both[1]), grid) / 2)


def redistributed_by_ring(
    sheet: DefectiveSheet, sampled: Spectrum, by_site: np.ndarray, grid: np.ndarray, smearing: float
) -> dict[str, np.ndarray]:
    """For each species (2, n_rings): distance from the empty site in A, and `redistributed` share of states there.

    `sampled` has the shares of each ring, named by its number; `by_site` (n_primitive, n_grid) the
    pristine DOS of each site, per atom.
    """
    found: dict[str, list[tuple[float, float]]] = {}
    for i, (distance, atoms) in enumerate(rings(sheet.vacancy)):
        density = spectra.density_of_states(sampled, grid, smearing, str(i)) / len(atoms)
        share = redistributed(density, by_site[sheet.sites(atoms)].mean(axis=0), grid)
        found.setdefault(sheet.relaxed.symbols[atoms[0]], []).append((distance, share))
    return {species: np.array(pairs).T for species, pairs in found.items()}


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
    """Fit of positive `values` that fall with distance to a floor, as images of a defect leave one.

    None where they do not determine a length: no fit is found, or its error exceeds half of it.
    """

    def logarithm(distance, *logarithms):
        amplitude, length, floor = np.exp(logarithms)
        return np.log(amplitude * np.exp(-distance / length) + floor)

    guess = np.log([values.max(), np.ptp(distances) / 4, values.min()])
    try:
        found, covariance = curve_fit(logarithm, distances, np.log(values), p0=guess)
    except (RuntimeError, TypeError):  # no minimum; fewer points than parameters
        return None
    amplitude, length, floor = np.exp(found).tolist()
    relative_error = float(np.sqrt(covariance[1, 1]))
    return Decay(amplitude, length, floor, length * relative_error) if relative_error < 0.5 else None
