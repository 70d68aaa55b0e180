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
    defect = Defect.of(structures.supercell(primitive, run.supercell), run.defect)
    return primitive, defect, relaxation.relax(defect.start, **kept)


def elements(run: Any) -> tuple[str, ...]:
    """Return the elements of the sheet of a run and of its defect, those of the formula first."""
    parts = structures.defect_parts(run.formula, run.defect)
    return tuple(dict.fromkeys([*structures.elements(run.formula), *(on for on, *_ in parts if on != "V")]))


def is_extrapolation(run: Any, vacancies: list[str]) -> bool:
    """Return whether a model that was trained on `vacancies` of these elements has seen nothing like the defect of a run.

    That it knows an element from the sheet says nothing of how it sits on a site of the other.
    """
    sheet = structures.elements(run.formula)
    parts = structures.defect_parts(run.formula, run.defect)
    return any(site not in vacancies or on in sheet for on, site, *_ in parts)


def defective_sheet(run: Any, potential: Potential) -> DefectiveSheet:
    """The same with the phonons of both; what they are made from is kept in `run.shared_folder`, and found there."""
    return DefectiveSheet.of(
        *relaxed_defect(run, potential), potential,
        method=run.method, displacement=run.displacement, dtype=run.dtype, folder=run.shared_folder,
    )  # fmt: skip
