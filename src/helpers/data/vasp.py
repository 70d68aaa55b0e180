"""Read labelled configurations that VASP wrote: what its files have in common, and vasprun.xml."""

import contextlib
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import chemical_symbols

from helpers.data import dataset

LABELS = ("energy", "free_energy", "forces", "stress")
KBAR = 0.1 * units.GPa
SEPARATOR = re.compile(r"\s*([*=-])\1{9,}\s*")
KILLED = "without VASP's closing lines: a killed run, or a copy cut short. What is complete is imported"
NOT_CONVERGED = "left out, its electrons did not converge"
PREDICTED = "predicted by VASP's force field, not computed; the run's ML_ABN has what was computed"
NO_TENSOR = "the stress is left out: with ISIF = 1 VASP computes nothing but the pressure"
CUT_XML = (3, 5)  # what expat says where the text ends too soon
# A place in a file, its frame or None if it cannot be used, and remarks: why not, or on the frame.
Frames = Iterator[tuple[str, Atoms | None, list[str]]]


def labelled(symbols: Any, cell: np.ndarray, positions: np.ndarray, labels: dict[str, Any]) -> Atoms:
    """Return a periodic frame with these `LABELS` and nothing else; all in eV and A."""
    atoms = Atoms(symbols, cell=cell, positions=positions, pbc=True)
    atoms.calc = SinglePointCalculator(atoms, **labels)
    return atoms


def lines_of(path: Path) -> Iterator[str]:
    """Yield the lines of a file, decompressed; bytes beyond ASCII, which stand in names alone, as Latin 1."""
    with dataset.opened(path) as file:
        yield from io.TextIOWrapper(file, encoding="latin-1")


@contextlib.contextmanager
def reading(place: str) -> Iterator[None]:
    """Turn what the parsing of a text may raise into a ValueError that names the place."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        if str(error).startswith(place):
            raise
        raise ValueError(f"{place}: cannot be read ({type(error).__name__}: {error})") from None


def element(title: str) -> str | None:
    """Return the symbol in the title of a POTCAR, like "PAW_PBE Zr_sv 04Jan2005"; None if there is none."""
    stems = [re.match("[A-Za-z]*", word.split("_")[0])[0] for word in title.split()]
    return next((stem for stem in stems if stem in chemical_symbols[1:]), None)


def vasp_stress(kilobars: np.ndarray) -> np.ndarray:
    """Return the stress in our unit and order, of VASP's in kbar, XX YY ZZ XY YZ ZX, positive in compression."""
    return -KBAR * kilobars[[0, 1, 2, 4, 5, 3]]


def rows(parent: ElementTree.Element, name: str, n_rows: int, place: str) -> np.ndarray:
    """Return the (n_rows, 3) numbers of a varray of a vasprun.xml."""
    words = [row.text.split() for row in parent.findall(f"varray[@name='{name}']/v")]
    if len(words) != n_rows:
        raise ValueError(f"{place}: {len(words)} rows of {name} for {n_rows} atoms")
    return np.array(words, float)


def symbols_of(atominfo: ElementTree.Element, place: str) -> list[str]:
    """Return the symbols of the atoms of a vasprun.xml.

    VASP 5 cuts some short, "X" of Xe and "r" of Zr; of these the title of the POTCAR says which it is.
    """
    n_atoms = int(atominfo.findtext("atoms"))
    titles = [row[-1].text for row in atominfo.findall("array[@name='atomtypes']/set/rc")]
    symbols = []
    for name, number in atominfo.findall("array[@name='atoms']/set/rc"):
        symbol, named = name.text.strip(), element(titles[int(number.text) - 1])
        if named and (symbol not in chemical_symbols[1:] or symbol in named):
            symbol = named
        if symbol not in chemical_symbols[1:]:
            raise ValueError(
                f"{place}: {symbol!r} is no element, and its POTCAR names none. Write its symbol"
            )
        symbols.append(symbol)
    if len(symbols) != n_atoms:
        raise ValueError(f"{place}: {len(symbols)} atoms are listed where {n_atoms} are announced")
    return symbols


def vasprun(path: Path) -> Frames:
    """Yield the ionic steps of a vasprun.xml; one that took NELM electronic steps counts as not converged.

    Steps that VASP's force field predicted stand outside of a <calculation>, or in one without electronic steps: they
    are counted.
    """
    symbols: list[str] = []
    settings: dict[str, str] = {}
    number, n_predicted, within, end = 0, 0, False, None
    with dataset.opened(path) as file:
        try:
            for event, part in ElementTree.iterparse(file, ("start", "end")):
                if event == "start":
                    within = within or part.tag == "calculation"
                elif part.tag in ("incar", "parameters"):
                    for setting in part.iter("i"):  # NELM comes again further on, for linear response
                        settings.setdefault(setting.get("name"), setting.text)
                elif part.tag == "atominfo":
                    with reading(f"{path}, atominfo"):
                        symbols = symbols_of(part, f"{path}, atominfo")
                elif part.tag == "set" and symbols:
                    part.clear()  # eigenvalues and densities of states, most of the file
                elif part.tag == "calculation" and part.find("scstep") is None:
                    n_predicted, within = n_predicted + 1, False
                    part.clear()
                elif part.tag == "calculation":
                    number, within = number + 1, False
                    place = f"{path}, ionic step {number}"
                    with reading(place):
                        step = place, *ionic_step(part, symbols, settings, place)
                    yield step
                    part.clear()
                elif part.tag in ("structure", "varray") and not within:
                    # Those of the first and the last step, which come twice, have a name.
                    n_predicted += part.tag == "structure" and part.get("name") is None
                    part.clear()
        except LookupError as error:
            raise ValueError(f"{path}, line 1: {error}: damaged. Copy it again") from None
        except ElementTree.ParseError as error:
            place = f"{path}, line {error.position[0]}"
            if error.code not in CUT_XML:
                raise ValueError(f"{place}: not whole ({error}): damaged. Copy it again") from None
            end = place, None, [f"the file ends after {number} ionic steps {KILLED}"]
    if end:
        yield end
    if n_predicted:
        yield str(path), None, [f"left out, {n_predicted} ionic steps {PREDICTED}"]
    if not (number or n_predicted or end):
        raise ValueError(f"{path}: no ionic steps in it: not VASP's, or nothing was computed")


def ionic_step(
    step: ElementTree.Element, symbols: list[str], settings: dict[str, str], place: str
) -> tuple[Atoms | None, list[str]]:
    """Return frame and remarks of a <calculation> of a vasprun.xml."""
    # Electronic steps of a linear response come after the structure.
    if [child.tag for child in step].index("structure") >= int(settings["NELM"]):
        return None, [NOT_CONVERGED]
    structure = step.find("structure")
    cell = rows(structure.find("crystal"), "basis", 3, place)
    positions = rows(structure, "positions", len(symbols), place) @ cell
    # What is called e_fr_energy in the step is the enthalpy, and e_0_energy is wrong in some versions.
    enthalpy = float(step.findtext("energy/i[@name='e_fr_energy']"))
    free_energy = enthalpy - KBAR * float(settings.get("PSTRESS", 0)) * abs(np.linalg.det(cell))
    last = step.findall("scstep/energy")[-1]
    to_zero = [float(last.findtext(f"i[@name='{name}']")) for name in ("e_0_energy", "e_fr_energy")]
    labels = {
        "energy": free_energy + to_zero[0] - to_zero[1],
        "free_energy": free_energy,
        "forces": rows(step, "forces", len(symbols), place),
    }
    pressure_alone = int(settings.get("ISIF", 2)) == 1
    if step.find("varray[@name='stress']") is not None and not pressure_alone:
        stress = rows(step, "stress", 3, place)
        labels["stress"] = vasp_stress(stress.ravel()[[0, 4, 8, 1, 5, 2]])
    return labelled(symbols, cell, positions, labels), [NO_TENSOR] * pressure_alone
