"""Follow a mode at Gamma from a cell with a defect to a larger one, or to the same one under strain."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from defectphonons import localisation, spectra
from defectphonons.localisation import DefectiveSheet, Mode
from defectphonons.spectra import GammaModes, Groups
from defectphonons.structures import Defect


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
        """Measure what a mode has become from the shares (k,) of a pattern at `frequencies` (k,), and the `motion` (N,) of its part in the window."""
        lower, middle, upper = (quantile(frequencies, shares, part) for part in (0.25, 0.5, 0.75))
        share = float(motion.sum())
        motion = motion / share
        return cls(
            middle,
            upper - lower,
            share,
            float(shares[abs(frequencies - middle) < localisation.WINDOW / 5].sum()),
            float(len(motion) * localisation.participation_ratio(motion)),
            {name: float(motion[atoms].sum()) for name, atoms in groups.items()},
        )


@dataclass(frozen=True)
class Carried:
    """Patterns of modes at Gamma of a cell with a defect, in the same cell under strain.

    Each pattern is one set of `modes`, with the irrep that it has there and the root of the mean of its squared
    frequency there. A set that the strain splits gives a pattern for each irrep.
    """

    modes: GammaModes  # the atoms in the order of the strained cell
    origins: list[int]  # of which of the sets that were asked for each pattern is a part
    overlaps: list[float]  # with the one set of modes of the strained cell that has most of the pattern


@dataclass(frozen=True)
class Patterns:
    """Modes at Gamma of a cell with a defect, each degenerate set as a pattern round the defect.

    Out to half the cell's lattice constant in the plane, and brought to unit norm.
    """

    vectors: list[np.ndarray]  # [set] (n_inner, 3, degeneracy)
    from_site: np.ndarray  # (n_inner, 3) A

    @classmethod
    def of(cls, gamma: GammaModes, sets: list[int], defect: Defect) -> "Patterns":
        """Cut the degenerate `sets` of modes, counted as in `gamma`, out round the defect."""
        reach = defect.atoms.cell.lengths()[0] / 2
        inner = np.flatnonzero(np.linalg.norm(defect.from_site[:, :2], axis=1) < reach - 0.1)
        vectors = [gamma.eigenvectors[inner][:, :, gamma.sets[number]] for number in sets]
        return cls([vector / np.linalg.norm(vector) for vector in vectors], defect.from_site[inner])

    def amplitudes(
        self, sheet: DefectiveSheet, q_points: np.ndarray
    ) -> Iterator[tuple[np.ndarray, list[np.ndarray], np.ndarray]]:
        """Yield at each q of a cell its frequencies, [set] (degeneracy, n_modes) <e|pattern>, eigenvectors.

        The squares of a set's amplitudes add up to 1. Eigenvectors (N, 3, n_modes).
        """
        apart = np.linalg.norm(self.from_site[:, None] - sheet.defect.from_site[None], axis=2)
        same = apart.argmin(axis=1)
        # The two are cut from sheets of the same lattice constant: the ideal places coincide.
        assert apart.min(axis=1).max() < 0.01, "the two cells do not have the same ideal places"
        reciprocal = 2 * np.pi * np.linalg.inv(sheet.phonon.primitive.cell).T
        for q_point in q_points:
            sheet.phonon.run_qpoints([q_point], with_eigenvectors=True)
            vectors = sheet.phonon.qpoints.eigenvectors[0]
            vectors = vectors.reshape(-1, 3, vectors.shape[1])
            # From phonopy's phases, which belong to atoms of one cell, to the atoms round the site.
            phases = np.exp(1j * sheet.defect.from_site[same] @ (q_point @ reciprocal))
            around = (vectors[same] * phases[:, None, None]).conj()
            amplitudes = [np.einsum("iam,iag->gm", around, vector) for vector in self.vectors]
            yield sheet.phonon.qpoints.frequencies[0], amplitudes, vectors


def carried(gamma: GammaModes, sets: list[int], defect: Defect, other: GammaModes, there: Defect) -> Carried:
    """Follow degenerate `sets` of modes, counted as in `gamma`, to the same cell under strain.

    `other` are the modes of the strained cell, `there` is its defect. To first order in the strain the mean of the
    squared frequency over a pattern is the squared frequency of the mode, whichever modes lie close by.
    """
    same = same_sites(defect, there)
    squares = other.frequencies * abs(other.frequencies)
    eigenvectors = other.eigenvectors.reshape(len(squares), -1)
    patterns, frequencies, irreps, origins, overlaps = [], [], [], [], []
    for origin, number in enumerate(sets):
        pattern = gamma.eigenvectors[same][:, :, gamma.sets[number]]
        amplitudes = eigenvectors.conj().T @ pattern.reshape(len(squares), -1)
        for irrep in dict.fromkeys(other.irreps):
            of_irrep = [
                members for members, label in zip(other.sets, other.irreps, strict=True) if label == irrep
            ]
            own = amplitudes[sum(of_irrep, [])]
            parts, directions = np.linalg.eigh(own.conj().T @ own)  # 1 for what has this irrep, else 0
            pure = directions[:, parts > 0.5]
            if not pure.shape[1]:
                continue
            shares = (abs(amplitudes @ pure) ** 2).sum(axis=1) / pure.shape[1]
            mean = shares @ squares
            patterns.append(pattern @ pure)
            frequencies.append(float(np.copysign(abs(mean) ** 0.5, mean)))
            irreps.append(irrep)
            origins.append(origin)
            overlaps.append(float(max(shares[members].sum() for members in of_irrep)))
    sizes = [pattern.shape[2] for pattern in patterns]
    members = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
    return Carried(
        GammaModes(
            np.repeat(frequencies, sizes),
            np.concatenate(patterns, axis=2),
            [list(each) for each in members],
            irreps,
        ),
        origins,
        overlaps,
    )


def same_sites(defect: Defect, other: Defect) -> np.ndarray:
    """Return (N,) for each atom of `other`, the same cell under another strain, the atom of `defect` on its site."""
    one, two = (each.from_site @ np.linalg.inv(each.atoms.cell.array) for each in (defect, other))
    apart = two[:, None] - one[None]
    lengths = np.linalg.norm((apart - apart.round()) @ other.atoms.cell.array, axis=2)
    assert lengths.min(axis=1).max() < 0.5, "the two cells do not have the same sites"
    return lengths.argmin(axis=1)


def candidates(gamma: GammaModes, defect: Defect) -> tuple[list[Mode], Patterns]:
    """Return the candidate localised modes of a cell with a defect (`localisation.localised`), and their patterns."""
    modes = localisation.defect_modes(gamma, defect)
    chosen = localisation.localised(modes)
    return chosen, Patterns.of(gamma, [i for i, mode in enumerate(modes) if mode in chosen], defect)


def continued(patterns: Patterns, sheet: DefectiveSheet, mesh: int, groups: Groups) -> list[Continued]:
    """Find `patterns` in `sheet`, on a mesh x mesh grid; `groups` are of atoms of `sheet`."""
    # Of q and -q one, whose eigenvectors are conjugate; of a star all, for the participation of one is not that of all.
    points, multiplicities = zip(*spectra.half_of_mesh(mesh), strict=True)
    q_points = np.column_stack([points, np.zeros(len(points))])
    # The eigenvectors of all q are cached where they are less than a gigabyte, else computed again: which of them count is
    # known only when all frequencies are.
    size = 16 * (3 * len(sheet.relaxed)) ** 2 * len(q_points)
    cached = list(patterns.amplitudes(sheet, q_points)) if size < 1e9 else None
    states = [
        (levels, amplitudes) for levels, amplitudes, _ in cached or patterns.amplitudes(sheet, q_points)
    ]
    frequencies = np.concatenate([levels for levels, _ in states])
    shares = [
        np.concatenate(
            [
                multiplicity * (abs(amplitudes[number]) ** 2).sum(axis=0)
                for multiplicity, (_, amplitudes) in zip(multiplicities, states, strict=True)
            ]
        )
        for number in range(len(patterns.vectors))
    ]
    middles = [quantile(frequencies, of_pattern, 0.5) for of_pattern in shares]
    motions = np.zeros((len(patterns.vectors), len(sheet.relaxed)))
    for multiplicity, (levels, amplitudes, vectors) in zip(
        multiplicities, cached or patterns.amplitudes(sheet, q_points), strict=True
    ):
        for number, middle in enumerate(middles):
            near = abs(levels - middle) < localisation.WINDOW
            projected = vectors[:, :, near] @ amplitudes[number][:, near].T
            motions[number] += multiplicity * (abs(projected) ** 2).sum(axis=(1, 2))
    return [Continued.of(frequencies, *pair, groups) for pair in zip(shares, motions, strict=True)]


def flatness(
    patterns: Patterns, frequencies: list[float], sheet: DefectiveSheet, q_points: np.ndarray
) -> list[float]:
    """Return the least part of each pattern that stays within WINDOW of its frequency at Gamma (THz), at any of `q_points`."""
    least = np.ones(len(frequencies))
    for levels, amplitudes, _ in patterns.amplitudes(sheet, q_points):
        for number, frequency in enumerate(frequencies):
            near = abs(levels - frequency) < localisation.WINDOW
            least[number] = min(least[number], (abs(amplitudes[number][:, near]) ** 2).sum())
    return least.tolist()


def quantile(values: np.ndarray, weights: np.ndarray, share: float) -> float:
    """Return the value that `share` of the weight does not exceed."""
    order = values.argsort()
    reached = weights[order].cumsum()
    return float(values[order][np.searchsorted(reached, share * reached[-1])])


def character(first: Continued, last: Continued) -> str:
    """Judge what a mode of a small cell (`first`) is by a larger one (`last`).

    'resonance' if less than 0.8 of its pattern lies within WINDOW of one frequency, in either cell;
    'narrow resonance' if in the larger one less than 0.8 lies within a fifth of that; 'localised', which
    means sharper than this, if it keeps its frequency and takes in no more than 1.2 times the atoms;
    else 'undecided'.
    """
    if min(first.share, last.share) < 0.8:
        return "resonance"
    if last.core < 0.8:
        return "narrow resonance"
    stays = abs(last.frequency_THz - first.frequency_THz) < localisation.WINDOW
    return "localised" if stays and last.atoms < 1.2 * first.atoms else "undecided"
