"""The relaxed cell with a defect, and its phonons, that a run asks for; computed once for all notebooks."""

from typing import Any

from ase import Atoms

from defectphonons import relaxation, structures
from defectphonons.localisation import DefectiveSheet
from defectphonons.potentials import Potential
from defectphonons.structures import Defect


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
    return DefectiveSheet.of(
        *relaxed_defect(run, potential), potential,
        method=run.method, displacement=run.displacement, dtype=run.dtype, folder=run.shared_folder,
    )  # fmt: skip
