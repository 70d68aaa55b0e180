"""Cells of several sizes with one defect, beside the pristine sheet and beside each other."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from ase import Atoms
from phonopy import Phonopy
from scipy.signal import find_peaks

from defectphonons import force_constants, localisation, spectra, structures
from defectphonons.following import Continued
from defectphonons.localisation import Decay, DefectiveSheet, Mode
from defectphonons.potentials import Potential
from defectphonons.spectra import Groups, Spectrum
from defectphonons.structures import Defect


@dataclass(frozen=True)
class Densities:
    """Densities of states of a cell with a defect and of the pristine sheet, in states per THz on one grid."""

    total: np.ndarray  # (n_grid,) of the cell
    local: np.ndarray  # (n_grid,) of the atoms at the defect
    local_pristine: np.ndarray  # (n_grid,) of the pristine sheet on their sites
    by_site: np.ndarray  # (n_primitive, n_grid) of each site of the pristine sheet

    @classmethod
    def of(
        cls, sheet: DefectiveSheet, sampled: Spectrum, pristine: Spectrum, grid: np.ndarray, smearing: float
    ) -> "Densities":
        """Smear the spectrum of a cell, with a group `local`, and that of the pristine sheet by `spectra.by_atom`."""
        by_site = spectra.densities_by_atom(pristine, grid, smearing)
        return cls(
            spectra.density_of_states(sampled, grid, smearing),
            spectra.density_of_states(sampled, grid, smearing, "local"),
            by_site[sheet.sites(sheet.defect.local)].sum(axis=0),
            by_site,
        )


def groups(defect: Defect) -> Groups:
    """Return the groups of atoms in which the motion of a mode is counted."""
    return {
        "local": defect.local,
        "neighbours": defect.neighbours,
        "within 7 Å": np.flatnonzero(defect.distances < 7),
    }


def with_rings(defect: Defect) -> Groups:
    """Return the atoms at the defect, called `local`, and each set of atoms at one distance, called by its number."""
    rings = {str(i): atoms for i, (_, atoms) in enumerate(localisation.rings(defect))}
    return {"local": defect.local} | rings


def against_pristine(
    sheet: DefectiveSheet, densities: Densities, grid: np.ndarray, middle: float
) -> dict[str, Any]:
    """Compare the densities of states of a cell with the pristine ones; what lies above `middle` (THz) is optical."""
    local, pristine = densities.local, densities.local_pristine
    total = localisation.redistributed(densities.total, densities.by_site.sum(axis=0), grid)
    peaks = [float(peak) for peak in grid[find_peaks(local, prominence=1)[0]] if peak > middle]
    optical = {peak: localisation.contrast(local, pristine, grid, peak) for peak in peaks}
    grown = find_peaks(local - pristine, prominence=1.5)[0]
    return {
        "supercell": round((len(sheet.defect.pristine) / len(sheet.primitive)) ** 0.5),
        "atoms": len(sheet.relaxed),
        "space_group": structures.space_group(sheet.relaxed),
        "redistributed": {"total": total, "local": localisation.redistributed(local, pristine, grid)},
        "states_elsewhere": 3 * len(sheet.relaxed) * total,
        "optical_peaks_THz": optical,
        "induced_peaks": sum(contrast > 2 for contrast in optical.values()),
        "strongest_peak_THz": max(optical, key=optical.get, default=None),
        "optical_difference_peaks": int((grid[grown] > middle).sum()),
    }


def folded_sheet(run: Any, primitive: Atoms, n: int, potential: Potential) -> Phonopy:
    """Return the phonons of the pristine sheet by force constants that are folded into an n x n supercell.

    `run` is one of 07.
    """
    phonon = force_constants.of(
        primitive, n, potential,
        method=run.method, displacement=run.displacement, dtype=run.dtype, folder=run.cell(n).shared_folder,
    )  # fmt: skip
    force_constants.symmetrise(phonon)
    return phonon


def flat_modes(modes: list[Mode], contrasts: list[float], largest: list[Continued]) -> dict[str, Any]:
    """Return the least contrast and weights of flat modes, from what they have become in the largest cell."""
    weights = [continued.weights for continued in largest]
    return {
        "count": len(modes),
        "frequencies_THz": [mode.frequency_THz for mode in modes],
        "least_contrast": least(contrasts),
        "least_weight": least(of["local"] for of in weights),
        "least_within_7_A": least(of["within 7 Å"] for of in weights),
        "least_on_neighbours": least(of["neighbours"] for of in weights),
        "least_part_on_neighbours": least(of["neighbours"] / of["local"] for of in weights),
    }


def least(values: Iterable[float]) -> float | None:
    """Return the least of some values, None of none."""
    return min(values, default=None)


def share(count: int, total: int) -> float | None:
    """Return which part of a number another is; None of nothing."""
    return count / total if total else None


def followed_modes(
    names: list[str], characters: list[str], tracks: list[tuple[Continued, ...]]
) -> list[dict[str, Any]]:
    """Return what each mode has become in each cell, as result.json holds it."""
    return [
        {"name": name, "character": character, "cells": [asdict(continued) for continued in track]}
        for name, character, track in zip(names, characters, tracks, strict=True)
    ]


def decay_length(laws: dict[str, Decay | None], image_distance: float) -> dict[str, float | None]:
    """Return the largest decay length in A; over the distance of two images only if every species has one."""
    lengths = [law.length for law in laws.values() if law]
    return {
        "length_A": max(lengths, default=None),
        "over_image_distance": max(lengths) / image_distance if len(lengths) == len(laws) else None,
    }
