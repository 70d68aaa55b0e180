"""Checks of single frames: whether they have labels, finite ones and in eV, A, eV/A and eV/A^3."""

import re
from collections.abc import Collection
from typing import Any

import numpy as np
from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress

WHERE_TO_WRITE = {
    "energy": "in the comment line, as energy=... in eV",
    "forces": "three columns after the positions, in eV/A, with forces:R:3 in Properties",
}
ISOLATED = "isolated_atom"
VACUUM = 6.0  # A; cutoffs of models are hardly longer, so that images across it do not touch
# What labels by other names are called, the option that takes them, and their sizes for n atoms.
LIKE_LABELS = (
    ("energ", "energy", lambda n: (1,)),
    ("force", "forces", lambda n: (3 * n,)),
    ("stress", "stress", lambda n: (6, 9)),
    ("virial", "stress", lambda n: (6, 9)),
)
FOREIGN_UNIT = re.compile(
    r"(?<![a-zA-Z])(kJ|meV|Ha|Ry|a\.?u\.?|nm|pm|[GM]?Pa|k?bar|real|atomic)(?![a-zA-Z])|(/|per).?atom"
    r"|(?i:hartree(?!.?fock)|rydberg|bohr|kcal)"
)
OTHER_QUANTITY = re.compile(r"(?i)dipole|charge|time|mass|veloc|freq|mag|temp")


def voigt(tensor: Any) -> np.ndarray:
    """Return a symmetric tensor of six (xx yy zz yz xz xy) or nine numbers as six."""
    flat = np.ravel(tensor)
    return full_3x3_to_voigt_6_stress(flat.reshape(3, 3)) if flat.size == 9 else flat


def foreign_unit(info: dict[str, Any]) -> str | None:
    """Return what in a comment line says that labels are not in our units: a key about units, or a word."""
    for key, value in info.items():
        about_units = "unit" in key.lower() and not OTHER_QUANTITY.search(key)
        if about_units and FOREIGN_UNIT.search(str(value)):
            return f"{key}={value}"
        if value is True and len(key) > 3 and FOREIGN_UNIT.search(key):
            return key
    return None


def vacuum(atoms: Atoms, axis: int) -> float:
    """Return the height of a cell along a cell vector, in A, without the part between the outermost atoms."""
    fractions = atoms.cell.scaled_positions(atoms.positions)[:, axis]
    return float((1 - np.ptp(fractions)) / np.linalg.norm(atoms.cell.reciprocal()[axis]))


def problem(atoms: Atoms) -> str | None:
    """Return what forbids the use of a frame, and what to do about it; None if nothing does."""
    labels = atoms.calc.results if atoms.calc else {}
    for name, place in WHERE_TO_WRITE.items():
        if name not in labels:
            similar = [
                key for key in (*atoms.info, *atoms.arrays, *labels) if name.rstrip("s") in key.lower()
            ]
            hint = f" (found: {', '.join(similar)})" if similar else ""
            return f"no {name}{hint}. Write them {place}, or drop the frame"
    if not atoms.numbers.all():
        return "X is no element. Write the symbol of each atom"
    if unit := foreign_unit(atoms.info):
        return f"{unit} in the comment line. Convert to eV, A, eV/A and eV/A^3, and delete it there"
    quantities = {
        "cell": (atoms.cell.array, (3, 3)),
        "positions": (atoms.positions, (len(atoms), 3)),
        "energy": (labels["energy"], ()),
        "forces": (labels["forces"], (len(atoms), 3)),
    }
    for name, shape in (("stress", (6,)), ("free_energy", ())):
        if name in labels:
            quantities[name] = (labels[name], shape)
    for name, (given, shape) in quantities.items():
        value = np.asarray(given)
        if value.shape != shape or value.dtype.kind not in "iuf":
            return f"{name} must be numbers of shape {shape}, not {given!r}. Correct the frame"
        if not np.isfinite(value).all():
            return f"NaN or infinity in {name}. Compute the frame again or drop it"
    if atoms.cell.volume < 1e-6:
        return (
            'no cell, or one of zero volume. Write Lattice="ax ay az bx by bz cx cy cz" in A; for a molecule, '
            f"a box with {VACUUM:g} A of vacuum or more"
        )
    for axis in np.flatnonzero(~atoms.pbc):
        if (gap := vacuum(atoms, axis)) < VACUUM:
            return (
                f"not periodic along cell vector {axis + 1}, which leaves {gap:.1f} A of vacuum: training needs a "
                f"periodic cell, and images less than {VACUUM:g} A apart would touch. Set pbc to T there if DFT "
                "was periodic, else lengthen the vector"
            )
    return None


def settle(atoms: Atoms) -> list[str]:
    """Change what a training would misunderstand in a frame, and return a remark on each change.

    A virial becomes a stress. A stress of nothing but zeros or NaN goes. A direction that is not
    periodic becomes so if the cell has vacuum there, for MACE takes its cell vector for a far longer
    one and divides the stress by that volume. An isolated atom without a cell gets one. The name
    IsolatedAtom goes, for of frames called so MACE reads no energy and then takes E0 = 0, whatever it is told.
    """
    remarks = []
    labels = atoms.calc.results if atoms.calc else {}
    if len(atoms) == 1 and not atoms.cell.any() and not atoms.pbc.any():
        atoms.center(vacuum=VACUUM)
        atoms.pbc = True
        remarks.append(f"an isolated atom without a cell: given one of {2 * VACUUM:g} A")
    if atoms.info.get("config_type") == "IsolatedAtom":
        atoms.info["config_type"] = ISOLATED
        remarks.append(f"its config_type is now {ISOLATED}, since MACE would take IsolatedAtom for E0 = 0")
    has_volume = np.isfinite(atoms.cell.array).all() and atoms.cell.volume > 1e-6
    for key in ("virial", "virials"):
        if np.size(atoms.info.get(key)) in (6, 9) and labels and "stress" not in labels and has_volume:
            labels["stress"] = -voigt(atoms.info.pop(key)) / atoms.cell.volume
            remarks.append(f"the stress is taken as -{key}/volume")
    stress = np.asarray(labels.get("stress", "none"))
    if stress.dtype.kind in "iuf" and (not stress.any() or np.isnan(stress).all()):
        del labels["stress"]
        remarks.append("a stress of nothing but zeros or NaN, as if none was computed: left out")
    axes = np.flatnonzero(~atoms.pbc)
    if len(axes) and has_volume and min(vacuum(atoms, axis) for axis in axes) >= VACUUM:
        atoms.pbc = True
        remarks.append("taken as periodic in all directions, its cell having vacuum where it was not")
    if remarks and atoms.calc:
        atoms.calc.atoms = atoms.copy()  # or ASE would take the labels for those of another frame
    return remarks


def unused(given: dict[str, Any], n_atoms: int, chosen: Collection[str] = ()) -> list[str]:
    """Return a remark on each quantity of a frame that could be another set of labels, but for those `chosen`."""
    remarks = []
    for key, value in given.items():
        names = [label for label in LIKE_LABELS if label[0] in key.lower() and "weight" not in key.lower()]
        for _, option, sizes in names[:1]:
            if (
                option not in chosen
                and np.asarray(value).dtype.kind in "iuf"
                and np.size(value) in sizes(n_atoms)
            ):
                remarks.append(f"{key} is there and not used; the importer takes it by --{option}-key {key}")
    return remarks


def net_force(atoms: Atoms) -> list[str]:
    """Return a remark if the forces of a frame do not sum to zero, within what errors of 0.1 eV/A each add up to."""
    if np.linalg.norm(atoms.calc.results["forces"].sum(axis=0)) < 0.1 * np.sqrt(len(atoms)):
        return []
    return [
        "the forces do not sum to zero: an external field, not converged, or not all the forces; "
        "if no field acts, compute the frame again or drop it"
    ]


def told(remarks: dict[str, list[str]]) -> list[str]:
    """Return a line on each remark, with the places that it was made on."""
    lines = []
    for remark, (first, *others) in remarks.items():
        named = [place.split(", ")[-1] for place in others[:9]] + ["..."] * (len(others) > 9)
        more = f" ({1 + len(others)} frames: also {', '.join(named)})" if others else ""
        lines.append(f"{first}: {remark}{more}")
    return lines
