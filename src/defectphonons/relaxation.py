"""Relax atoms, at held symmetry or free, in float64."""

from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.constraints import FixSymmetry
from ase.filters import FrechetCellFilter
from ase.geometry import find_mic
from ase.optimize import BFGS
from ase.optimize.precon import PreconLBFGS

from defectphonons import caching, fingerprint
from defectphonons.potentials import Potential, evaluate

FORCE_TOLERANCE = 1e-5  # eV/A; phonons of the float64 models need far less than 1e-3
STEPS = 1000


class HeldSymmetry(FixSymmetry):
    """Hold the space group, and leave atoms where they are when they are put there again.

    FixSymmetry moves them by rounding, which in a large cell is more than the calculator takes for the same geometry: it
    would compute energy and forces of each step separately.
    """

    def adjust_positions(self, atoms: Atoms, new: np.ndarray) -> None:
        super().adjust_positions(atoms, new)
        if abs(new - atoms.positions).max() < 1e-12:
            new[:] = atoms.positions


def relax(
    atoms: Atoms,
    potential: Potential,
    *,
    hold_symmetry: bool,
    relax_cell: bool = False,
    folder: Path | None = None,
) -> Atoms:
    """Return a relaxed copy of `atoms`, with no force above 1e-5 eV/A.

    The result is cached in `folder`, for when the same is asked for again.

    `hold_symmetry` keeps the space group that `atoms` has. `relax_cell` also brings the in-plane
    stress to zero; the height of the cell stays. Raises RuntimeError when it does not converge, or
    to a cell more than a tenth larger or smaller than that of `atoms`.
    """
    asked = caching.geometry_key(
        [atoms],
        potential.checksum,
        hold_symmetry,
        relax_cell,
        fingerprint.of("defectphonons.relaxation.relax"),
    )
    path = folder and folder / f"{asked}.npz"
    relaxed = atoms.copy()
    if path and (cached := caching.cached(path)):
        relaxed.cell[:], relaxed.positions = cached["cell"], cached["positions"]
        relaxed.set_constraint()
        return relaxed
    relaxed.calc = potential.calculator
    if hold_symmetry:
        relaxed.set_constraint(HeldSymmetry(relaxed, symprec=1e-4))
    if relax_cell:
        target = FrechetCellFilter(relaxed, mask=[1, 1, 0, 0, 0, 1])
        optimizer = BFGS(target, logfile=None, maxstep=0.05)
    else:
        target = relaxed
        # Preconditioned from 100 atoms on: a third of the steps in 6x6, and fewer in larger cells.
        precon = "Exp" if len(atoms) >= 100 else None
        optimizer = PreconLBFGS(target, precon=precon, use_armijo=False, logfile=None, maxstep=0.05)
    if not optimizer.run(fmax=FORCE_TOLERANCE, steps=STEPS):
        largest = np.linalg.norm(target.get_forces(), axis=1).max()
        raise RuntimeError(
            f"relaxation of {relaxed.symbols} stopped after {STEPS} steps with a force of {largest:.1e} eV/A "
            f"(wanted {FORCE_TOLERANCE:.0e}): the model may not know such structures; look at the geometry"
        )
    relaxed.set_constraint()
    relaxed.calc = None
    before, after = atoms.cell.lengths()[0], relaxed.cell.lengths()[0]
    if abs(after / before - 1) > 0.1:
        raise RuntimeError(
            f"the cell of {relaxed.symbols} relaxes from {before:.2f} to {after:.2f} A: the model does not know "
            "this sheet, or lattice_constant is far from where it should start"
        )
    if path:
        caching.cache(path, cell=relaxed.cell.array, positions=relaxed.positions)
    return relaxed


def compare(atoms: Atoms, other: Atoms, potential: Potential) -> dict[str, float]:
    """Return the energy of `atoms` less that of `other` (eV), and how far apart they are after a shift (A)."""
    apart = find_mic(atoms.positions - other.positions, atoms.cell)[0]
    apart -= apart.mean(axis=0)
    return {
        "energy_eV": evaluate(potential, atoms)["energy"] - evaluate(potential, other)["energy"],
        "rms_A": float(np.sqrt((apart**2).sum(axis=1).mean())),
        "largest_A": float(np.linalg.norm(apart, axis=1).max()),
    }


def thickness(atoms: Atoms) -> float:
    """Return the distance in A between the highest and the lowest atom along z."""
    return float(np.ptp(atoms.positions[:, 2]))


def elastic_constants(
    primitive: Atoms,
    potential: Potential,
) -> tuple[float, float]:
    """Return C11 and C12 of a relaxed hexagonal sheet in N/m, atoms relaxed under strain, by central differences.

    Of the sheet's stress times the height of the cell, under uniaxial strain along x.
    """
    strain, stresses = 0.01, []
    for sign in (1, -1):
        stretched = primitive.copy()
        stretched.set_cell(primitive.cell.array * [1 + sign * strain, 1, 1], scale_atoms=True)
        relaxed = relax(stretched, potential, hold_symmetry=True)
        stresses.append(evaluate(potential, relaxed)["stress"] * relaxed.cell.lengths()[2])
    along, across = ((stresses[0] - stresses[1]) / (2 * strain))[:2] / (units.J / units.m**2)
    return float(along), float(across)
