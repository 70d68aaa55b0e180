"""Import labelled configurations from VASP, extended XYZ with other keys, or what ASE reads, into one checked file.

A source is VASP's ML_AB, vasprun.xml or OUTCAR, extended XYZ, or a file that ASE reads with energies and forces,
told apart by what is in it; it may be compressed (.gz, .bz2, .xz). The result is written only if every source
can be right.
"""

import contextlib
import dataclasses
import io
import itertools
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import ase.io
import numpy as np
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import atomic_numbers, chemical_symbols, covalent_radii
from scipy.spatial import cKDTree
from tqdm import tqdm

from helpers import records
from helpers.data import checks, consistency, dataset, splitting

LABELS = ("energy", "free_energy", "forces", "stress")
KEYS = {"energy": "energy", "forces": "forces", "stress": "stress"}
KBAR = 0.1 * units.GPa
# Of an ML_AB file: two sections of its header, and those of every configuration.
CONFIGURATIONS, FILE_TYPES = "The number of configurations", "The atom types in the data file"
TYPES, ATOMS, COUNTS = "The number of atom types", "The number of atoms", "Atom types and atom numbers"
CELL, POSITIONS = "Primitive lattice vectors (ang.)", "Atomic positions (ang.)"
ENERGY, FORCES, STRESS = "Total energy (eV)", "Forces (eV ang.^-1)", "Stress (kbar)"
CONFIGURATION = "Configuration num."
SEPARATOR = re.compile(r"\s*([*=-])\1{9,}\s*")
# Of an OUTCAR: what is read or begins something, and the ionic and the electronic step in it.
OUTCAR_MARKS = re.compile(
    r"- Iteration|EDIFF is reached|FREE ENERGIE OF THE ION|free  energy   TOTEN|energy  without entropy"
    r"|FORCE on cell|in kB |direct lattice vectors|TOTAL-FORCE|LOOP\+|General timing and accounting"
)
FIRST_STEP = re.compile(r"- Iteration|FORCE on cell|FREE ENERGIE OF THE ION")
LATTICE = "direct lattice vectors"
ITERATION = re.compile(r"- Iteration\s+(\S+?)\(\s*(\d+)\)")
KILLED = "without VASP's closing lines: a killed run, or a copy cut short. What is complete is imported"
NOT_CONVERGED = "left out, its electrons did not converge"
PREDICTED = "predicted by VASP's force field, not computed; the run's ML_ABN has what was computed"
NO_TENSOR = "the stress is left out: with ISIF = 1 VASP computes nothing but the pressure"
CUT_XML = (3, 5)  # what expat says where the text ends too soon
NOBLE = [atomic_numbers[symbol] for symbol in ("He", "Ne", "Ar", "Kr", "Xe", "Rn")]
# A place in a file, the frame there or None if it cannot be used, and remarks: why not, or on the frame.
Frames = Iterator[tuple[str, Atoms | None, list[str]]]


def labelled(symbols: Any, cell: np.ndarray, positions: np.ndarray, labels: dict[str, Any]) -> Atoms:
    """A periodic frame with these `LABELS` and nothing else; all in eV and A."""
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


@dataclasses.dataclass(frozen=True)
class Section:
    """A title of an ML_AB file with the rows below it: line numbers, counted from 1, and lines."""

    path: Path
    line: int
    title: str
    rows: list[tuple[int, str]] = dataclasses.field(default_factory=list)

    def wrong(self, what: str, line: int | None = None) -> ValueError:
        return ValueError(f"{self.path}, line {line or self.line}: {what}")

    def numbers(self, n_rows: int, n_columns: int) -> np.ndarray:
        """(n_rows, n_columns) numbers; ValueError naming the line where they are not."""
        values = []
        for line, row in self.rows[:n_rows]:
            try:
                values.append([float(word) for word in row.split()])
            except ValueError:
                raise self.wrong(f"not numbers of {self.title!r}: {row.strip()[:40]!r}", line) from None
            if len(values[-1]) != n_columns:
                raise self.wrong(f"{len(values[-1])} numbers of {self.title!r}, not {n_columns}", line)
        if len(self.rows) != n_rows:
            raise self.wrong(
                f"{len(self.rows)} rows of {self.title!r}, not {n_rows}: cut short, or wrong counts"
            )
        return np.array(values).reshape(n_rows, n_columns)

    def count(self) -> int:
        """The one whole number that the section holds."""
        value = self.numbers(1, 1)[0, 0]
        if not value.is_integer() or value < 1:
            raise self.wrong(f"{self.title!r} must be a positive whole number, not {value:g}")
        return int(value)

    def stress(self) -> np.ndarray:
        """(6,) stress in eV/A^3, xx yy zz yz xz xy, positive in tension; VASP's kbar in compression."""
        titles = [" ".join(row.split()) for _, row in self.rows[::2]]
        if titles != ["XX YY ZZ", "XY YZ ZX"]:
            raise self.wrong(f"the stress must be three numbers XX YY ZZ and three XY YZ ZX, not {titles}")
        given = dataclasses.replace(self, rows=self.rows[1::2])
        return vasp_stress(given.numbers(2, 3).ravel())


def vasp_stress(kilobars: np.ndarray) -> np.ndarray:
    """Return the stress in our unit and order, of VASP's in kbar, XX YY ZZ XY YZ ZX, positive in compression."""
    return -KBAR * kilobars[[0, 1, 2, 4, 5, 3]]


def sections(path: Path) -> Iterator[Section]:
    """Yield all sections of an ML_AB file; each title stands below a line of * or =."""
    section, opened = None, True
    for number, line in enumerate(lines_of(path), start=1):
        if rule := SEPARATOR.fullmatch(line):
            opened = opened or rule[1] != "-"
        elif opened:
            if section:
                yield section
            section, opened = Section(path, number, " ".join(line.split())), False
        elif line.strip():
            section.rows.append((number, line))
    yield section


def elements(counts: Section, n_types: int, n_atoms: int, known: set[str]) -> list[str]:
    """Symbols of a configuration's atoms; ValueError if they contradict its counts or the file's types."""
    symbols: list[str] = []
    for line, row in counts.rows:
        match = re.fullmatch(r"\s*([A-Z][a-z]?)\s+(\d+)\s*", row)
        if match is None or match[1] not in chemical_symbols:
            raise counts.wrong(f"must be an element and its number of atoms, not {row.strip()[:40]!r}", line)
        if match[1] not in known:
            raise counts.wrong(
                f"{match[1]} is not among the types of the file, {', '.join(sorted(known))}", line
            )
        symbols += [match[1]] * int(match[2])
    if (len(counts.rows), len(symbols)) != (n_types, n_atoms):
        raise counts.wrong(
            f"{len(symbols)} atoms of {len(counts.rows)} types in a configuration of {n_atoms} of {n_types}"
        )
    return symbols


def configuration(first: Section, members: list[Section], known: set[str]) -> Atoms:
    """The frame of one configuration of an ML_AB file, which begins with the section `first`."""
    by_title = {section.title: section for section in members}
    if len(by_title) < len(members):
        raise first.wrong(
            "a section of this configuration is there twice: is the next one's first line missing?"
        )
    for title in (TYPES, ATOMS, COUNTS, CELL, POSITIONS, ENERGY, FORCES):
        if title not in by_title:
            raise first.wrong(f"no {title!r} in this configuration: cut short, or other units")
    n_atoms = by_title[ATOMS].count()
    symbols = elements(by_title[COUNTS], by_title[TYPES].count(), n_atoms, known)
    labels = {
        "energy": float(by_title[ENERGY].numbers(1, 1)[0, 0]),
        "forces": by_title[FORCES].numbers(n_atoms, 3),
    }
    if STRESS in by_title:
        labels["stress"] = by_title[STRESS].stress()
    return labelled(symbols, by_title[CELL].numbers(3, 3), by_title[POSITIONS].numbers(n_atoms, 3), labels)


def parts(path: Path) -> Iterator[list[Section]]:
    """Yield the sections of the header of an ML_AB file, then those of each configuration."""
    part: list[Section] = []
    for section in sections(path):
        if section.title.startswith(CONFIGURATION):
            yield part
            part = []
        part.append(section)
    yield part


def ml_ab(path: Path) -> Frames:
    """Yield the configurations of an ML_AB file, VASP's training data: each with its own elements, some with stress."""
    n_lines = n_starts = 0
    for line in lines_of(path):
        n_lines += 1
        n_starts += CONFIGURATION in line
    whole = parts(path)
    header = {section.title: section for section in next(whole)}
    for title in (CONFIGURATIONS, FILE_TYPES):
        if title not in header:
            raise ValueError(f"{path}, line 1: no {title!r} before the first configuration: cut short")
    announced = header[CONFIGURATIONS].count()
    if announced != n_starts:
        raise header[CONFIGURATIONS].wrong(
            f"{announced} configurations are announced, {n_starts} are there: cut short, or badly merged"
        )
    if not line.endswith("\n") and not SEPARATOR.fullmatch(line):
        raise ValueError(f"{path}, line {n_lines}: cut short, the line has no end. Copy the file again")
    known = {word for _, row in header[FILE_TYPES].rows for word in row.split()}
    for number, (first, *members) in enumerate(whole, start=1):
        if first.title.split()[-1].lstrip("0") != str(number):
            raise first.wrong(f"{first.title!r} where number {number} belongs")
        yield f"{path}, line {first.line}, configuration {number}", configuration(first, members, known), []


def rows(parent: ElementTree.Element, name: str, n_rows: int, place: str) -> np.ndarray:
    """Return the (n_rows, 3) numbers of a varray of a vasprun.xml."""
    found = [row.text.split() for row in parent.findall(f"varray[@name='{name}']/v")]
    if len(found) != n_rows:
        raise ValueError(f"{place}: {len(found)} rows of {name} for {n_rows} atoms")
    return np.array(found, float)


def symbols_of(atominfo: ElementTree.Element, place: str) -> list[str]:
    """Return the symbols of the atoms of a vasprun.xml.

    VASP 5 cuts some short, "X" of Xe and "r" of Zr; there the title of the POTCAR says which it is.
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
                    for each in part.iter("i"):  # NELM is there again further on, for linear response
                        settings.setdefault(each.get("name"), each.text)
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
                    # Those of the first and the last step, which are there twice, have a name.
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
    # What is called e_fr_energy here is the enthalpy, and e_0_energy is wrong in some versions.
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


@dataclasses.dataclass
class Step:
    """What an OUTCAR says on one ionic step, as it stands there."""

    number: str = ""
    n_electronic: int = 0
    n_reached: int = 0  # electronic steps until EDIFF is said to be reached
    free_energy: str = ""
    energy: str = ""
    stress: str = ""
    cell: list[str] = dataclasses.field(default_factory=list)
    table: list[str] = dataclasses.field(default_factory=list)  # positions and forces


@dataclasses.dataclass
class Header:
    """What an OUTCAR says before its first ionic step."""

    symbols: list[str]
    nelm: int
    isif: int
    cell: list[str]

    @classmethod
    def of(cls, lines: list[str], path: Path) -> "Header":
        """Read the lines before the first step. Raises ValueError if they are not whole or contradict each other."""
        text = "".join(lines)
        found = {name: re.search(rf"\b{name}\s*=\s*(\d+)", text) for name in ("NIONS", "NELM", "ISIF")}
        counts = re.search(r"ions per type = *([\d ]+)", text)
        if not (found["NIONS"] and found["NELM"] and counts):
            raise ValueError(
                f"{path}, line {len(lines)}: the file ends after 0 ionic steps, in its header: a killed run, or a "
                "copy cut short"
            )
        counts = [int(word) for word in counts[1].split()]
        titles = [line.split(":", 1)[1] for line in lines if line.lstrip().startswith("POTCAR:")]
        types = [element(title) for title in titles[: (len(titles) + 1) // 2]]  # each is there twice
        if len(types) != len(counts) or None in types or sum(counts) != int(found["NIONS"][1]):
            raise ValueError(
                f"{path}, line {len(lines)}: the header contradicts itself: POTCARs of {types}, {counts} ions per "
                f"type, NIONS = {found['NIONS'][1]}. Copy the file again"
            )
        at = next((i for i, line in enumerate(lines) if LATTICE in line), len(lines))
        isif = int(found["ISIF"][1]) if found["ISIF"] else 2
        symbols = np.repeat(types, counts).tolist()
        return cls(symbols, int(found["NELM"][1]), isif, lines[at + 1 : at + 4])


def outcar(path: Path) -> Frames:
    """Yield the ionic steps of an OUTCAR.

    A step ends at LOOP+, with the first electronic step of the next, or at the closing lines. (VASP 5.2.2
    writes its energy before its forces.) The blocks of VASP's force field stand before the electronic
    steps of their ionic step, so within the one before, and are passed over.
    """
    before: list[str] = []
    header, step, by_field, whole = None, Step(), False, False
    n_steps = n_predicted = number = 0
    lines = enumerate(lines_of(path), start=1)
    for number, line in lines:
        if header is None:
            before.append(line)
            if not FIRST_STEP.search(line):
                continue
            header, whole = Header.of(before, path), False
        if not OUTCAR_MARKS.search(line):
            continue
        iteration = ITERATION.search(line)
        closing = "General timing and accounting" in line
        following = (
            iteration
            and step.n_electronic
            and (iteration[1] != step.number or int(iteration[2]) <= step.n_electronic)
        )
        if following or closing or "LOOP+" in line:
            if step.free_energy or step.table:
                n_steps += 1
                place = f"{path}, ionic step {n_steps}"
                with reading(place):
                    result = place, *computed(step, header)
                yield result
            step, by_field = Step(), False
        if closing:  # what follows would be another run
            header, whole, before = None, True, []
        elif iteration:
            step.number, step.n_electronic, by_field = iteration[1], int(iteration[2]), False
        elif "EDIFF is reached" in line:
            step.n_reached = step.n_electronic
        elif "FORCE on cell" in line or "FREE ENERGIE" in line:
            by_field = "ML F" in line
            n_predicted += "ML FREE" in line
        elif by_field or "(ML)" in line:
            continue
        elif "in kB " in line:
            step.stress = line
        elif LATTICE in line:
            step.cell = [row for _, row in itertools.islice(lines, 3)]
        elif "free  energy   TOTEN" in line:
            step.free_energy = line
        elif "energy  without entropy" in line:
            step.energy = line
        elif "TOTAL-FORCE" in line:
            next(lines, None)  # a rule
            step.table = []
            for number, row in lines:
                if SEPARATOR.fullmatch(row):
                    if len(step.table) != len(header.symbols):
                        raise ValueError(
                            f"{path}, line {number}: {len(step.table)} rows of forces for {len(header.symbols)} atoms"
                        )
                    break
                step.table.append(row)
    if header is None and not whole:
        Header.of(before, path)  # says what is missing
    if not whole:
        yield f"{path}, line {number}", None, [f"the file ends after {n_steps} ionic steps {KILLED}"]
    if n_predicted > n_steps:  # what was computed was predicted before
        yield f"{path}, line {number}", None, [f"left out, {n_predicted - n_steps} ionic steps {PREDICTED}"]


def numbers(text: str, first: int, last: int) -> np.ndarray:
    """Return words of a line, from `first` to before `last`, as numbers; they may touch, as in 1.5-100.25."""
    return np.array(re.sub(r"(?<=\d)-", " -", text).split()[first:last], float)


def computed(step: Step, header: Header) -> tuple[Atoms | None, list[str]]:
    """Return frame and remarks of an ionic step of an OUTCAR."""
    # VASP up to 5.4.4 says that EDIFF is reached after NELM steps too.
    if not 0 < step.n_reached < header.nelm:
        return None, [NOT_CONVERGED]
    cell = step.cell or (header.cell if header.isif < 3 else [])
    if not (step.free_energy and step.energy and step.table and cell):
        return None, ["left out, its energy, forces or cell is not in the file (NWRITE = 0 or 1?)"]
    vectors = np.array([numbers(row, 0, 3) for row in cell])
    table = np.array([numbers(row, 0, 6) for row in step.table])  # more columns: forces without vdW
    labels = {
        "energy": float(step.energy.split("=")[-1].split()[0]),
        "free_energy": float(step.free_energy.split("=")[1].split()[0]),
        "forces": table[:, 3:],
    }
    if step.stress and header.isif != 1:
        labels["stress"] = vasp_stress(numbers(step.stress, 2, 8))
    return labelled(header.symbols, vectors, table[:, :3], labels), [NO_TENSOR] * (header.isif == 1)


def relabelled(atoms: Atoms, labels: dict[str, Any], kept: dict[str, Any]) -> Atoms:
    """Return the frame with these labels and keys and nothing else."""
    frame = labelled(atoms.numbers, atoms.cell.array, atoms.positions, labels)
    frame.pbc = atoms.pbc
    frame.info = kept
    return frame


def xyz(path: Path, keys: dict[str, str]) -> Frames:
    """Yield the frames of extended XYZ, in eV and A, whose labels go by the names `keys` or else by ours.

    A stress by another name need not be in every frame, but in one of them.
    """
    names = KEYS | keys
    if unit := next((key for key in keys.values() if checks.FOREIGN_UNIT.search(key)), None):
        raise ValueError(
            f"{path}: {unit} names another unit. Convert to eV, A, eV/A and eV/A^3, and name it anew"
        )
    with_stress = "stress" not in keys
    given: dict[str, Any] = {}
    for place, atoms in dataset.parse(dataset.text_of(path), path):
        given = atoms.arrays | atoms.info | (atoms.calc.results if atoms.calc else {})
        for name in ("energy", "forces"):
            if names[name] not in given:
                near = [key for key in given if name.rstrip("s") in key.lower()]
                remedy = (
                    f"give --{name}-key, one of: {', '.join(near)}" if near else f"found: {', '.join(given)}"
                )
                raise ValueError(f"{place}: no {names[name]}; {remedy}")
        labels = {name: given[key] for name, key in names.items() if key in given}
        kept = {key: value for key, value in atoms.info.items() if key not in (*names.values(), *LABELS)}
        if "stress" in labels:
            with_stress = True
            if np.size(labels["stress"]) in (6, 9):
                labels["stress"] = checks.voigt(labels["stress"])
            if "virial" in names["stress"].lower():
                kept["virial"] = labels.pop("stress")
        if "free_energy" in given and "energy" not in keys:
            labels["free_energy"] = given["free_energy"]
        settled = {*names.values(), "free_energy", "virial", "virials"}
        others = {key: value for key, value in given.items() if key not in settled}
        remarks = checks.unused(others, len(atoms), keys)
        yield place, relabelled(atoms, labels, kept), remarks
    if not with_stress:
        raise ValueError(f"{path}: no frame has {names['stress']}; found in the last: {', '.join(given)}")


def by_ase(path: Path) -> Frames:
    """Yield the frames of another file that ASE reads, in its units, which are ours."""
    try:
        for number, atoms in enumerate(ase.io.iread(path, index=":"), start=1):
            found = atoms.calc.results if atoms.calc else {}
            labels = {name: found[name] for name in LABELS if found.get(name) is not None}
            kept = {key: value for key, value in atoms.info.items() if key in ("config_type", "seed")}
            yield f"{path}, frame {number}", relabelled(atoms, labels, kept), []
    except Exception as error:  # whatever its parsing meets
        reason = f"{type(error).__name__}: {error}".split("\n")[0]
        raise ValueError(
            f"{path}, line 1: neither VASP's ML_AB, vasprun.xml or OUTCAR nor extended XYZ, and ASE does not read it "
            f"({reason}). If it does by another name or format, convert it: "
            "ase.io.write('OUT.xyz', ase.io.read('IN', ':', format='FORMAT'))"
        ) from None


def source(path: Path, keys: dict[str, str]) -> Frames:
    """Frames of a file of any of the formats. Raises ValueError for a file of none of them."""
    with dataset.opened(path) as file:
        head = file.read(2000).decode(errors="replace")
    if not head.strip():
        raise ValueError(f"{path}: the file is empty")
    if re.match(r"\s*\d+\.\d+\s+Version", head):
        reader = ml_ab
    elif head.startswith("<?xml"):
        reader = vasprun
    elif re.search(r"^ *vasp\.\d", head, re.MULTILINE):
        reader = outcar
    elif head.split("\n")[0].strip().isdecimal():
        return xyz(path, keys)
    else:
        reader = by_ase
    if keys:
        raise ValueError(f"{path}: only extended XYZ has keys to choose; leave --{min(keys)}-key out")
    return reader(path)


def shortest(atoms: Atoms) -> float:
    """Return the smallest distance between atoms over the sum of their covalent radii."""
    cell = atoms.cell.minkowski_reduce()[0]
    fractions = cell.scaled_positions(atoms.positions) % 1
    shifts = np.array(list(itertools.product((-1, 0, 1), repeat=3)))
    images = (shifts[:, None] + fractions).reshape(-1, 3) @ cell.array
    # The nearest dozen: of images that lie on each other, as with positions in nm, there are millions in reach.
    lengths, neighbours = cKDTree(images).query(fractions @ cell.array, k=13)
    radii = covalent_radii[atoms.numbers]
    sums = radii[:, None] + radii[neighbours % len(atoms)]
    return float((lengths / sums)[:, 1:].min())  # without the atom itself


def check_sizes(frames: list[Atoms], path: Path) -> None:
    """Refuse lengths and stresses that no matter has, as far as can be told, by the median over frames.

    Nearest neighbours are 0.8 to 1.3 times the sum of their covalent radii apart, but for noble gases
    and lone atoms; 1 eV/A^3 is 160 GPa. Some fifty frames are enough.
    """
    bound = [atoms for atoms in frames if len(atoms) > 1 and not set(atoms.numbers) & set(NOBLE)]
    bound = bound[:: 1 + len(bound) // 50]
    ratio = float(np.median([shortest(atoms) for atoms in bound])) if bound else 1.0
    if not 0.5 < ratio < 1.5:
        raise ValueError(
            f"{path}: nearest atoms are {ratio:.2g} times the sum of their covalent radii apart (median of "
            "frames), so positions are not in A (Bohr, nm, or fractions of the cell?). Convert them to A"
        )
    stresses = [
        np.abs(atoms.calc.results["stress"]).max() for atoms in frames if "stress" in atoms.calc.results
    ]
    if stresses and np.median(stresses) > 1:
        raise ValueError(
            f"{path}: the largest stress is {np.median(stresses):.3g} (median of frames), and 1 eV/A^3 is "
            "160 GPa, so it is not in eV/A^3 (GPa, kbar, or a virial in eV?). Convert it to eV/A^3"
        )


def group(frames: list[Atoms], path: Path, blocks: int) -> None:
    """Give frames without `seed` the name of their file, and of a block of consecutive frames of their kind.

    One file is taken for one trajectory, so that `dataset.split` keeps it on one side. The name
    ends in a part of the file's SHA-256, for many files are called OUTCAR.
    """
    kinds = defaultdict(list)
    for atoms in frames:
        if "seed" not in atoms.info:
            kinds[dataset.kind(atoms)].append(atoms)
    name = f"{path.name}-{records.sha256(path)[:8]}"
    for members in kinds.values():
        for number, block in enumerate(np.array_split(np.arange(len(members)), blocks), start=1):
            for index in block:
                members[index].info["seed"] = name if blocks == 1 else f"{name}-{number}"


def read(path: Path, keys: dict[str, str], blocks: int = 1) -> tuple[list[Atoms], list[str], list[str]]:
    """Checked frames of a file in our keys and units; a line on each that was left out; and lines on the others.

    Raises ValueError, one line with the file and the place, for what cannot be right.
    """
    frames, left_out, remarks = [], [], defaultdict(list)
    for place, atoms, said in tqdm(
        source(path, keys), desc=path.name, unit="frame", leave=False, disable=None
    ):
        if atoms is None:
            left_out.append(f"{place}: {said[0]}")
            continue
        changes = checks.settle(atoms)
        if complaint := checks.problem(atoms):
            raise ValueError(f"{place}: {complaint}")
        for remark in said + changes + checks.net_force(atoms):
            remarks[remark].append(place)
        frames.append(atoms)
    if not frames:
        first = f", the first: {left_out[0]}" if left_out else ""
        raise ValueError(f"{path}: no frame is left to import ({len(left_out)} left out{first})")
    check_sizes(frames, path)
    try:
        consistency.check_units(frames)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    group(frames, path, blocks)
    return frames, left_out, checks.told(remarks)


def to_file(sources: list[Path], target: Path, keys: dict[str, str], blocks: int = 1) -> bool:
    """Write the checked frames of all `sources` to `target`, and say what they are; whether none was left out.

    Raises ValueError, one line, for what cannot be right, and then writes nothing.
    """
    if target.exists():
        raise ValueError(f"{target} exists: name another file for the result, or move it away")
    if blocks < 1:
        raise ValueError(f"--blocks {blocks}: must be 1 or more")
    found = [read(path, keys, blocks) for path in sources]
    frames = [atoms for members, _, _ in found for atoms in members]
    dataset.write(target, frames)
    groups = {dataset.group(atoms) for atoms in frames}
    print(f"wrote {target}: {len(frames)} frames, {sum(map(len, frames))} atoms, {len(groups)} groups")
    try:
        splitting.split(frames)
    except ValueError:
        print("too few groups to train on: give several IN, or cut long trajectories by --blocks")
    free = sum("free_energy" in atoms.calc.results for atoms in frames)
    if 0 < free < len(frames):
        print(f"only {free} have a free_energy, which is then used instead of energy: is that one scale?")
    left_out = [line for _, lines, _ in found for line in lines]
    for line in left_out + [line for _, _, lines in found for line in lines]:
        print(line, file=sys.stderr)
    return not left_out
