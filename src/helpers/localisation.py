"""How far a mode is localised at a defect: weight, participation ratio, and a table of modes."""

from dataclasses import asdict, dataclass

import numpy as np

from helpers.phonons import GammaModes
from helpers.structures import Defect

ENHANCEMENT = 5.0  # weight x N / (atoms at the defect) from which a mode counts as localised


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

    def as_dict(self) -> dict[str, float | str]:
        return asdict(self)


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
