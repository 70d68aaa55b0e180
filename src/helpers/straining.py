"""What strain does to a defect: its cell under each strain, its modes followed from one to the other, slopes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from ase import Atoms

from defectphonons import following, spectra, structures
from defectphonons.following import Carried, Continued, Patterns
from defectphonons.localisation import DefectiveSheet
from defectphonons.potentials import Potential
from defectphonons.spectra import GammaModes, Spectrum
from helpers import cells, defects

BIAXIAL, ZIGZAG, ARMCHAIR = "biaxial", "along zigzag", "along armchair"


def sheets(
    run: Any, unstrained: DefectiveSheet, potential: Potential
) -> dict[str, dict[float, DefectiveSheet]]:
    """Return the cell of a run of 11 under each strain, by direction and size; each direction has the unstrained one too."""
    strains: dict[str, dict[float, Any]] = {
        BIAXIAL: {size: size for size in run.biaxial},
        ZIGZAG: {size: [size, 0.0] for size in run.uniaxial},
        ARMCHAIR: {-size: [0.0, -size] for size in run.uniaxial},  # see along_both
    }
    found = {}
    for direction, of_size in strains.items():
        computed = {
            size: defects.defective_sheet(run.cell(strain), potential) for size, strain in of_size.items()
        }
        found[direction] = dict(sorted((computed | {0.0: unstrained}).items()))
    return found


def carried(
    sheets: dict[str, dict[float, DefectiveSheet]], gamma: GammaModes, sets: list[int]
) -> dict[str, dict[float, Carried]]:
    """Follow degenerate `sets` of the modes `gamma` of the unstrained cell to every other one."""
    start = sheets[BIAXIAL][0.0].defect
    return {
        direction: {
            size: following.carried(
                gamma, sets, start, spectra.gamma_modes(sheet.phonon) if size else gamma, sheet.defect
            )
            for size, sheet in of_size.items()
        }
        for direction, of_size in sheets.items()
    }


def continued(carried: Carried, sheet: DefectiveSheet, mesh: int) -> list[Continued]:
    """Find the patterns of modes that were carried to a strained cell on a mesh x mesh grid of it."""
    patterns = Patterns.of(carried.modes, list(range(len(carried.modes.sets))), sheet.defect)
    return following.continued(patterns, sheet, mesh, cells.groups(sheet.defect))


def frequencies(carried: Carried) -> np.ndarray:
    """Return the frequency (n,) in THz of each set that was followed, the mean over its parts where strain splits it."""
    sizes = [len(members) for members in carried.modes.sets]
    levels = [carried.modes.frequencies[members[0]] for members in carried.modes.sets]
    return np.bincount(carried.origins, np.multiply(levels, sizes)) / np.bincount(carried.origins, sizes)


def overlaps(carried: Carried) -> np.ndarray:
    """Return for each set that was followed how much of it, or of its part that has least, one set of modes has."""
    least = np.ones(max(carried.origins) + 1)
    np.minimum.at(least, carried.origins, carried.overlaps)
    return least


def parts(of_size: Mapping[float, Carried], origin: int) -> dict[str, np.ndarray]:
    """Return the frequency (n_strains,) in THz of each irrep that strain splits a set into; nothing if it stays whole.

    `origin` is the number of the set. Without strain the parts have the frequency of the whole.
    """
    levels = [
        {
            irrep: float(carried.modes.frequencies[members[0]])
            for members, irrep, of in zip(
                carried.modes.sets, carried.modes.irreps, carried.origins, strict=True
            )
            if of == origin
        }
        for carried in of_size.values()
    ]
    irreps = sorted({irrep for level in levels if len(level) > 1 for irrep in level})
    return {irrep: np.array([level.get(irrep, max(level.values())) for level in levels]) for irrep in irreps}


def per_percent(values: Mapping[float, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return how `values` (n,), by strain, change with one per cent of it, and the error of that.

    By the central difference at the smallest strain with both signs. Its error is how far from it the slope at zero of
    the polynomial through all values lies.
    """
    size = min(strain for strain in values if strain > 0 and -strain in values)
    slopes = (values[size] - values[-size]) / (200 * size)
    strains, levels = 100 * np.array(list(values)), np.array(list(values.values()))
    through_all = np.polynomial.polynomial.polyfit(strains, levels, len(strains) - 1)[1]
    return slopes, abs(through_all - slopes)


def along_both(zigzag: Mapping[float, np.ndarray], armchair: Mapping[float, np.ndarray]) -> np.ndarray:
    """Return the sum of what values, by strain along each axis, change with one per cent along zigzag and along armchair.

    From the smallest strains of opposite signs: what is of second order cancels if the axes share it, as they do about a
    threefold axis, and always where strains of both signs are there.
    """
    size = min(abs(strain) for strain in zigzag if strain)
    signed = [strain for strain in (size, -size) if strain in zigzag]
    return np.mean([(zigzag[strain] - armchair[-strain]) / (100 * strain) for strain in signed], axis=0)


def lowest(found: Spectrum, sheet: DefectiveSheet) -> tuple[float, np.ndarray]:
    """Return the lowest frequency in THz of the perfect sheet on a mesh without Gamma, and its q in 1/A along x and y."""
    away = np.flatnonzero(abs(found.q_points).max(axis=1) > 0)
    point = away[found.frequencies[away].min(axis=1).argmin()]
    q = 2 * np.pi * np.linalg.inv(sheet.primitive.cell.array) @ found.q_points[point]
    return float(found.frequencies[point].min()), q[:2]


def same_composition(frame: Atoms, primitive: Atoms, name: str, n: int = 3) -> bool:
    """Return whether a frame has the atoms of an n x n cell with the defect `name`."""
    defect = structures.Defect.of(structures.supercell(primitive, n), name)
    return frame.symbols.formula.count() == defect.atoms.symbols.formula.count()
