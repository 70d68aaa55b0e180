"""Import labelled configurations from VASP, or from extended XYZ with other keys, into one checked file.

    python -m helpers.dataset import IN [IN ...] OUT.xyz [--energy-key KEY ...] [--blocks N]

IN is VASP's ML_AB, vasprun.xml or OUTCAR, or extended XYZ, told apart by what is in it; it may be
compressed (.gz, .bz2, .xz). OUT.xyz is written only if every IN is whole and can be right.
"""

import argparse
import dataclasses
import itertools
import lzma
import re
import sys
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO
from xml.etree import ElementTree

import numpy as np
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import atomic_numbers, chemical_symbols, covalent_radii
from ase.io.formats import open_with_compression
from ase.io.vasp import read_vasp_xml
from ase.io.vasp_parsers.vasp_outcar_parsers import outcarchunks
from ase.neighborlist import primitive_neighbor_list
from ase.stress import full_3x3_to_voigt_6_stress
from tqdm import tqdm

from helpers import dataset, records

LABELS = ("energy", "free_energy", "forces", "stress")
KEYS = {"energy": "energy", "forces": "forces", "stress": "stress"}
# Of an ML_AB file: two sections of its header, and those of every configuration.
CONFIGURATIONS, FILE_TYPES = "The number of configurations", "The atom types in the data file"
TYPES, ATOMS, COUNTS = "The number of atom types", "The number of atoms", "Atom types and atom numbers"
CELL, POSITIONS = "Primitive lattice vectors (ang.)", "Atomic positions (ang.)"
ENERGY, FORCES, STRESS = "Total energy (eV)", "Forces (eV ang.^-1)", "Stress (kbar)"
NELM = "parameters//separator[@name='electronic convergence']/i[@name='NELM']"
EDIFF_REACHED, STEP_END = "aborting loop because EDIFF is reached", "FREE ENERGIE OF THE ION-ELECTRON SYSTEM"
SEPARATOR = re.compile(r"\s*([*=-])\1{9,}\s*")
NOBLE = [atomic_numbers[symbol] for symbol in ("He", "Ne", "Ar", "Kr", "Xe", "Rn")]
# A place in a file, and the frame there; None where the electrons did not converge.
Frames = Iterator[tuple[str, Atoms | None]]


def labelled(symbols: Any, cell: np.ndarray, positions: np.ndarray, labels: dict[str, Any]) -> Atoms:
    """A periodic frame with these `LABELS` and nothing else; all in eV and A."""
    atoms = Atoms(symbols, cell=cell, positions=positions, pbc=True)
    atoms.calc = SinglePointCalculator(atoms, **labels)
    return atoms


def text_of(path: Path) -> str:
    """What is in a file, decompressed. Raises ValueError for a damaged archive, OSError for no file."""
    try:
        with open_with_compression(path, "rb") as file:
            return file.read().decode(errors="replace")
    except (EOFError, lzma.LZMAError) as error:
        raise ValueError(
            f"{path}: the compressed file is cut short or damaged ({error}). Copy it again"
        ) from None


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
        xx, yy, zz, xy, yz, zx = given.numbers(2, 3).ravel()
        return -0.1 * units.GPa * np.array([xx, yy, zz, yz, zx, xy])


def sections(text: str, path: Path) -> list[Section]:
    """All sections of an ML_AB file; each title stands below a line of * or =."""
    found: list[Section] = []
    opened = True
    for number, line in enumerate(text.splitlines(), start=1):
        if rule := SEPARATOR.fullmatch(line):
            opened = opened or rule[1] != "-"
        elif opened:
            found.append(Section(path, number, " ".join(line.split())))
            opened = False
        elif line.strip():
            found[-1].rows.append((number, line))
    return found


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


def ml_ab(text: str, path: Path) -> Frames:
    """Configurations of an ML_AB file, VASP's training data: each with its own elements, some with stress."""
    found = sections(text, path)
    starts = [i for i, section in enumerate(found) if section.title.startswith("Configuration num.")]
    header = {section.title: section for section in found[: starts[0] if starts else None]}
    for title in (CONFIGURATIONS, FILE_TYPES):
        if title not in header:
            raise found[0].wrong(f"no {title!r} before the first configuration: cut short")
    announced = header[CONFIGURATIONS].count()
    if announced != len(starts):
        raise header[CONFIGURATIONS].wrong(
            f"{announced} configurations are announced, {len(starts)} are there: cut short, or badly merged"
        )
    if not text.endswith("\n"):
        raise ValueError(
            f"{path}, line {len(text.splitlines())}: cut short, the line has no end. Copy the file again"
        )
    known = {word for _, row in header[FILE_TYPES].rows for word in row.split()}
    for number, (start, end) in enumerate(itertools.pairwise([*starts, len(found)]), start=1):
        first = found[start]
        if first.title.split()[-1].lstrip("0") != str(number):
            raise first.wrong(f"{first.title!r} where number {number} belongs")
        atoms = configuration(first, found[start + 1 : end], known)
        yield f"{path}, line {first.line}, configuration {number}", atoms


def read_by_ase(
    text: str, path: Path, reader: Callable[[TextIO], Iterator[Atoms]], n_steps: int
) -> Iterator[tuple[str, Atoms]]:
    """Place and frame of each ionic step, by ASE: `energy` for sigma -> 0, and `free_energy`.

    ASE takes fixed atoms, whose forces it would hide, from files beside an OUTCAR; here there are none.
    """
    with tempfile.TemporaryDirectory() as folder:
        name = Path(folder) / "file"
        name.write_text(text)
        with name.open() as file:
            steps = reader(file)
            for number in range(1, n_steps + 1):
                place = f"{path}, ionic step {number}"
                try:
                    with warnings.catch_warnings():
                        warnings.simplefilter("error", UserWarning)  # what ASE says where it drops a stress
                        atoms = next(steps)
                except Exception as error:  # whatever its parsing meets
                    reason = f"{type(error).__name__}: {error}".split("\n")[0]
                    raise ValueError(f"{place}: cannot be read ({reason})") from None
                labels = {key: atoms.calc.results[key] for key in LABELS if key in atoms.calc.results}
                yield place, labelled(atoms.numbers, atoms.cell.array, atoms.positions, labels)


def vasprun(text: str, path: Path) -> Frames:
    """Ionic steps of a vasprun.xml; one that took NELM electronic steps counts as not converged."""
    try:
        root = ElementTree.fromstring(text.encode())
    except ElementTree.ParseError as error:
        raise ValueError(
            f"{path}, line {error.position[0]}: not whole ({error}): a killed run, or a copy cut short"
        ) from None
    announced, nelm = root.findtext("atominfo/atoms"), root.findtext(NELM)
    if announced is None or nelm is None:
        raise ValueError(f"{path}: no number of atoms, or no NELM: not VASP's")
    n_atoms, n_listed = int(announced), len(root.findall("atominfo/array[@name='atoms']/set/rc"))
    if n_listed != n_atoms:
        raise ValueError(f"{path}, atominfo: {n_listed} atoms are listed where {n_atoms} are announced")
    steps = root.findall("calculation")
    for number, step in enumerate(steps, start=1):
        for name, rows in (("positions", "structure/varray"), ("forces", "varray")):
            n_rows = len(step.findall(f"{rows}[@name='{name}']/v"))
            if n_rows != n_atoms:  # ASE would leave zeros
                raise ValueError(f"{path}, ionic step {number}: {n_rows} rows of {name} for {n_atoms} atoms")
        if step.find("scstep") is None:
            raise ValueError(f"{path}, ionic step {number}: no electronic steps: predicted, not computed")
    by_ase = read_by_ase(text, path, lambda file: read_vasp_xml(file, slice(None)), len(steps))
    for step, (place, atoms) in zip(steps, by_ase, strict=True):
        # Electronic steps of a linear response come after the structure.
        n_electronic = [child.tag for child in step].index("structure")
        yield place, atoms if n_electronic < int(nelm) else None


def outcar(text: str, path: Path) -> Frames:
    """Ionic steps of an OUTCAR."""
    lines = text.splitlines()
    announced = re.search(r"NIONS\s*=\s*(\d+)", text)
    converged: list[bool] = []
    reached, rows = False, None  # rows of the table of forces at hand; -1 above its first rule
    for number, line in enumerate(lines, start=1):
        if "ML FREE ENERGIE" in line:
            raise ValueError(
                f"{path}, line {number}: predicted by VASP's force field, not computed: import its ML_ABN"
            )
        if EDIFF_REACHED in line:
            reached = True
        elif "TOTAL-FORCE (eV/Angst)" in line:
            rows = -1
        elif rows is not None and SEPARATOR.fullmatch(line):
            if announced and rows not in (-1, int(announced[1])):
                raise ValueError(f"{path}, line {number}: {rows} rows of forces for {announced[1]} atoms")
            rows = 0 if rows == -1 else None
        elif rows is not None:
            rows += 1
        elif STEP_END in line:
            converged.append(reached)
            reached = False
    if announced is None or "General timing and accounting" not in text:
        raise ValueError(
            f"{path}, line {len(lines)}: the file ends after {len(converged)} ionic steps without VASP's "
            "closing lines: a killed run, or a copy cut short"
        )
    by_ase = read_by_ase(
        text, path, lambda file: (chunk.build() for chunk in outcarchunks(file)), len(converged)
    )
    for done, (place, atoms) in zip(converged, by_ase, strict=True):
        yield place, atoms if done else None


def xyz(text: str, path: Path, keys: dict[str, str]) -> Frames:
    """Frames of extended XYZ, in eV and A, whose labels go by the names `keys` or else by ours."""
    names = KEYS | keys
    for place, atoms in dataset.parse(text, path):
        given = atoms.arrays | atoms.info | (atoms.calc.results if atoms.calc else {})
        for name in ("energy", "forces", *keys):
            if names[name] not in given:
                near = [key for key in given if name.rstrip("s") in key.lower()]
                remedy = (
                    f"give --{name}-key, one of: {', '.join(near)}" if near else f"found: {', '.join(given)}"
                )
                raise ValueError(f"{place}: no {names[name]}; {remedy}")
        labels = {name: given[key] for name, key in names.items() if key in given}
        if np.size(labels.get("stress")) == 9:
            labels["stress"] = full_3x3_to_voigt_6_stress(np.reshape(labels["stress"], (3, 3)))
        if "free_energy" in given and "energy" not in keys:
            labels["free_energy"] = given["free_energy"]
        frame = labelled(atoms.numbers, atoms.cell.array, atoms.positions, labels)
        frame.pbc = atoms.pbc
        frame.info = {
            key: value for key, value in atoms.info.items() if key not in (*names.values(), *LABELS)
        }
        yield place, frame


def source(path: Path, keys: dict[str, str]) -> Frames:
    """Frames of a file of any of the formats. Raises ValueError for a file of none of them."""
    text = text_of(path)
    head = text[:2000]
    if not text.strip():
        raise ValueError(f"{path}: the file is empty")
    if re.match(r"\s*\d+\.\d+\s+Version", head):
        reader = ml_ab
    elif head.startswith("<?xml"):
        reader = vasprun
    elif re.search(r"^ *vasp\.\d", head, re.MULTILINE):
        reader = outcar
    elif head.split("\n")[0].strip().isdecimal():
        return xyz(text, path, keys)
    else:
        raise ValueError(f"{path}, line 1: neither VASP's ML_AB, vasprun.xml or OUTCAR nor extended XYZ")
    if keys:
        raise ValueError(f"{path}: VASP's own files have no keys to choose; leave --{min(keys)}-key out")
    return reader(text, path)


def shortest(atoms: Atoms) -> float:
    """Smallest distance between atoms over the sum of their covalent radii; infinity beyond three times."""
    radii = covalent_radii[atoms.numbers]
    for reach in (0.5, 3):  # the short one first: with positions in nm the other would find millions
        i, j, d = primitive_neighbor_list("ijd", atoms.pbc, atoms.cell, atoms.positions, reach * radii)
        if len(d):
            return float((d / (radii[i] + radii[j])).min())
    return np.inf


def check_sizes(frames: list[Atoms], path: Path) -> None:
    """Refuse lengths and stresses that no matter has, as far as can be told, by the median over frames.

    Nearest neighbours are 0.8 to 1.3 times the sum of their covalent radii apart, but for noble gases
    and lone atoms; 1 eV/A^3 is 160 GPa.
    """
    bound = [atoms for atoms in frames if len(atoms) > 1 and not set(atoms.numbers) & set(NOBLE)]
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


def read(path: Path, keys: dict[str, str], blocks: int = 1) -> tuple[list[Atoms], list[str]]:
    """Checked frames of a file in our keys and units, and the places of those that did not converge.

    Raises ValueError, one line with the file and the place, for what cannot be right.
    """
    frames, left_out = [], []
    for place, atoms in tqdm(source(path, keys), desc=path.name, unit="frame", leave=False, disable=None):
        if atoms is None:
            left_out.append(place)
        elif complaint := dataset.problem(atoms):
            raise ValueError(f"{place}: {complaint}")
        else:
            frames.append(atoms)
    if not frames:
        raise ValueError(f"{path}: no ionic step whose electrons converged ({len(left_out)} that did not)")
    check_sizes(frames, path)
    try:
        dataset.check_units(frames)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    group(frames, path, blocks)
    return frames, left_out


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m helpers.dataset")
    command = parser.add_subparsers(required=True).add_parser(
        "import", help="VASP's ML_AB, vasprun.xml, OUTCAR, or extended XYZ, to one checked extended XYZ"
    )
    command.add_argument("sources", type=Path, metavar="IN", nargs="+", help="may be compressed")
    command.add_argument("target", type=Path, metavar="OUT.xyz", help="must not exist")
    for name in KEYS:
        command.add_argument(f"--{name}-key", metavar="KEY", help=f"of extended XYZ (default: {name})")
    command.add_argument(
        "--blocks", type=int, default=1, metavar="N",
        help="cut each file into N blocks of consecutive frames that may go to different sides of a split",
    )  # fmt: skip
    given = parser.parse_args()
    keys = {name: key for name in KEYS if (key := getattr(given, f"{name}_key"))}
    try:
        if given.target.exists():
            raise ValueError(f"{given.target} exists: name another file for the result, or move it away")
        if given.blocks < 1:
            raise ValueError(f"--blocks {given.blocks}: must be 1 or more")
        found = [read(path, keys, given.blocks) for path in given.sources]
        frames = [atoms for members, _ in found for atoms in members]
        dataset.write(given.target, frames)
    except (OSError, ValueError) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        sys.exit(2)
    groups = {dataset.group(atoms) for atoms in frames}
    print(f"wrote {given.target}: {len(frames)} frames, {sum(map(len, frames))} atoms, {len(groups)} groups")
    try:
        dataset.split(frames)
    except ValueError:
        print("too few groups to train on: give several IN, or cut long trajectories by --blocks")
    free = sum("free_energy" in atoms.calc.results for atoms in frames)
    if 0 < free < len(frames):
        print(f"only {free} have a free_energy, which is then used instead of energy: is that one scale?")
    left_out = [place for _, places in found for place in places]
    for place in left_out:
        print(f"{place}: left out, its electrons did not converge", file=sys.stderr)
    if left_out:
        sys.exit(3)
