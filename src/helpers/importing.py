"""Import labelled configurations from VASP, or from extended XYZ with other keys, into one checked file.

    python -m helpers.dataset import IN [IN ...] OUT.xyz [--energy-key KEY ...] [--blocks N]

IN is VASP's ML_AB, vasprun.xml or OUTCAR, or extended XYZ, told apart by what is in it; it may be
compressed (.gz, .bz2, .xz). OUT.xyz is written only if every IN is whole and can be right.
"""

import argparse
import itertools
import lzma
import re
import sys
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import ase.io
import numpy as np
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import atomic_numbers, chemical_symbols, covalent_radii
from ase.io.formats import open_with_compression
from ase.neighborlist import primitive_neighbor_list
from tqdm import tqdm

from helpers import dataset, records

LABELS = ("energy", "free_energy", "forces", "stress")
KEYS = {"energy": "energy", "forces": "forces", "stress": "stress"}
# Of an ML_AB file: the sections of every configuration.
TYPES, ATOMS, COUNTS = "The number of atom types", "The number of atoms", "Atom types and atom numbers"
CELL, POSITIONS = "Primitive lattice vectors (ang.)", "Atomic positions (ang.)"
ENERGY, FORCES, STRESS = "Total energy (eV)", "Forces (eV ang.^-1)", "Stress (kbar)"
SEPARATOR = re.compile(r"\s*([*=-])\1{9,}\s*")
NOBLE = [atomic_numbers[symbol] for symbol in ("He", "Ne", "Ar", "Kr", "Xe", "Rn")]
# A place in a file, and the frame there; None where the electrons did not converge.
Frames = Iterator[tuple[str, Atoms | None]]
Rows = list[tuple[int, str]]  # line numbers, counted from 1, and lines


def labelled(symbols: list[str], cell: np.ndarray, positions: np.ndarray, **labels: object) -> Atoms:
    """A periodic frame; positions and cell in A, labels by their names in `LABELS`, in eV and A."""
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


def sections(text: str) -> list[tuple[str, int, Rows]]:
    """Title, its line and the rows below it of each section of an ML_AB file."""
    found: list[tuple[str, int, Rows]] = []
    opened = True
    for number, line in enumerate(text.splitlines(), start=1):
        if rule := SEPARATOR.fullmatch(line):
            opened = opened or rule[1] != "-"
        elif opened:
            found.append((" ".join(line.split()), number, []))
            opened = False
        elif line.strip():
            found[-1][2].append((number, line))
    return found


def numbers(rows: Rows, shape: tuple[int, int], what: str, path: Path, line: int) -> np.ndarray:
    """`shape` numbers of the rows; ValueError naming the line where they are not."""
    values = []
    for number, row in rows[: shape[0]]:
        try:
            values.append([float(word) for word in row.split()])
        except ValueError:
            raise ValueError(f"{path}, line {number}: no numbers of {what}: {row.strip()[:40]!r}") from None
        if len(values[-1]) != shape[1]:
            raise ValueError(f"{path}, line {number}: {len(values[-1])} numbers of {what}, not {shape[1]}")
    if len(rows) != shape[0]:
        place = rows[shape[0]][0] if len(rows) > shape[0] else rows[-1][0] if rows else line
        raise ValueError(
            f"{path}, line {place}: {len(rows)} rows of {what}, not {shape[0]}: cut short, or wrong counts"
        )
    return np.array(values)


def whole_number(rows: Rows, what: str, path: Path, line: int) -> int:
    """The one whole number of a section."""
    value = numbers(rows, (1, 1), what, path, line)[0, 0]
    if value != int(value):
        raise ValueError(f"{path}, line {rows[0][0]}: {what} must be a whole number, not {value}")
    return int(value)


def elements(rows: Rows, n_types: int, n_atoms: int, known: set[str], path: Path, line: int) -> list[str]:
    """Symbols of the atoms from rows of a symbol and a number of atoms."""
    symbols: list[str] = []
    for number, row in rows:
        match = re.fullmatch(r"\s*([A-Z][a-z]?)\s+(\d+)\s*", row)
        if match is None or match[1] not in chemical_symbols:
            raise ValueError(
                f"{path}, line {number}: must be an element and its number of atoms: {row.strip()!r}"
            )
        if match[1] not in known:
            raise ValueError(
                f"{path}, line {number}: {match[1]} is not among the file's types {sorted(known)}"
            )
        symbols += [match[1]] * int(match[2])
    if len(rows) != n_types or len(symbols) != n_atoms:
        raise ValueError(
            f"{path}, line {line}: {len(symbols)} atoms of {len(rows)} types, but the configuration is said to "
            f"have {n_atoms} of {n_types}"
        )
    return symbols


def kilobars(rows: Rows, path: Path, line: int) -> np.ndarray:
    """(6,) stress in eV/A^3, xx yy zz yz xz xy, tension positive, from VASP's in kbar, compression positive."""
    titles = [" ".join(row.split()) for _, row in rows[::2]]
    if titles != ["XX YY ZZ", "XY YZ ZX"]:
        raise ValueError(
            f"{path}, line {line}: the stress must be given as XX YY ZZ and XY YZ ZX, not {titles}"
        )
    xx, yy, zz, xy, yz, zx = numbers(rows[1::2], (2, 3), "stress", path, line).ravel()
    return -0.1 * units.GPa * np.array([xx, yy, zz, yz, zx, xy])


def configuration(parts: list[tuple[str, int, Rows]], known: set[str], path: Path, start: int) -> Atoms:
    """The frame of one configuration of an ML_AB file from its sections; `start` is its first line."""
    rows = {title: (content, path, line) for title, line, content in parts}
    wanted = (TYPES, ATOMS, COUNTS, CELL, POSITIONS, ENERGY, FORCES)
    if len(rows) < len(parts):
        raise ValueError(f"{path}, line {start}: a section of this configuration is there twice")
    for title in wanted:
        if title not in rows:
            raise ValueError(f"{path}, line {start}: no {title!r} in this configuration: cut short?")

    def value(title: str, *shape: int) -> np.ndarray:
        content, *place = rows[title]
        return numbers(content, shape, title, *place)

    def count(title: str) -> int:
        content, *place = rows[title]
        return whole_number(content, title, *place)

    n_atoms = count(ATOMS)
    content, *place = rows[COUNTS]
    symbols = elements(content, count(TYPES), n_atoms, known, *place)
    labels = {"energy": float(value(ENERGY, 1, 1)[0, 0]), "forces": value(FORCES, n_atoms, 3)}
    if STRESS in rows:
        labels["stress"] = kilobars(*rows[STRESS])
    return labelled(symbols, value(CELL, 3, 3), value(POSITIONS, n_atoms, 3), **labels)


def ml_ab(text: str, path: Path) -> Frames:
    """Configurations of an ML_AB file, VASP's training data; each has elements and a stress of its own or none."""
    found = sections(text)
    starts = [i for i, (title, _, _) in enumerate(found) if title.startswith("Configuration num.")]
    header = {title: (rows, path, line) for title, line, rows in found[: starts[0] if starts else None]}
    for title in ("The number of configurations", "The atom types in the data file"):
        if title not in header:
            raise ValueError(f"{path}, line 1: no {title!r} before the first configuration: cut short?")
    announced, *place = header["The number of configurations"]
    if whole_number(announced, "configurations", *place) != len(starts):
        raise ValueError(
            f"{path}, line {announced[0][0]}: {announced[0][1].strip()} configurations are announced, "
            f"{len(starts)} are there: the file is cut short, or wrongly put together"
        )
    if not text.endswith("\n"):
        raise ValueError(
            f"{path}, line {len(text.splitlines())}: cut short, this line has no end. Copy it again"
        )
    known = {word for _, row in header["The atom types in the data file"][0] for word in row.split()}
    for number, (start, end) in enumerate(itertools.pairwise([*starts, len(found)]), start=1):
        title, line, _ = found[start]
        if title.split()[-1] != str(number):
            raise ValueError(f"{path}, line {line}: {title!r} where number {number} belongs")
        atoms = configuration(found[start + 1 : end], known, path, line)
        yield f"{path}, configuration {number} (line {line})", atoms


def read_by_ase(text: str, path: Path, form: str, steps: int) -> Iterator[tuple[str, Atoms]]:
    """Place and frame of each ionic step, read by ASE, which gives E0 as `energy` and `free_energy` beside it.

    ASE takes fixed atoms, whose forces it would hide, from files beside an OUTCAR; here there are none.
    """
    with tempfile.TemporaryDirectory() as temporary, warnings.catch_warnings():
        warnings.simplefilter("error")  # ASE warns and goes on where a stress cannot be read
        name = Path(temporary) / "file"
        name.write_text(text)
        frames = ase.io.iread(name, ":", format=form)
        for step in range(1, steps + 1):
            place = f"{path}, ionic step {step}"
            try:
                atoms = next(frames)
                labels = {key: value for key, value in atoms.calc.results.items() if key in LABELS}
            except Exception as error:  # whatever its parsing meets
                reason = str(error).split("\n")[0]
                raise ValueError(f"{place}: cannot be read ({type(error).__name__}: {reason})") from None
            yield place, labelled(atoms.numbers, atoms.cell.array, atoms.positions, **labels)


def vasprun(text: str, path: Path) -> Frames:
    """Ionic steps of a vasprun.xml."""
    try:
        root = ElementTree.fromstring(text.encode())
    except ElementTree.ParseError as error:
        raise ValueError(
            f"{path}, line {error.position[0]}: not whole ({error}): the run was killed, or the copy cut short"
        ) from None
    steps = root.findall("calculation")
    n_atoms, species = (
        int(root.findtext("atominfo/atoms")),
        root.findall("atominfo/array[@name='atoms']/set/rc"),
    )
    if len(species) != n_atoms:
        raise ValueError(f"{path}, atominfo: {n_atoms} atoms are announced, {len(species)} are listed")
    nelm = int(root.findtext("parameters//i[@name='NELM']"))
    for step, (place, atoms) in zip(steps, read_by_ase(text, path, "vasp-xml", len(steps)), strict=True):
        # ASE leaves zeros where rows are missing.
        for what in ("structure/varray[@name='positions']", "varray[@name='forces']"):
            rows = step.findall(f"{what}/v")
            if len(rows) != n_atoms:
                raise ValueError(f"{place}: {len(rows)} rows of {what.split(chr(39))[1]} for {n_atoms} atoms")
        # Those of a linear response come after the structure.
        electronic = [child.tag for child in step].index("structure")
        yield place, atoms if electronic < nelm else None


def outcar(text: str, path: Path) -> Frames:
    """Ionic steps of an OUTCAR."""
    lines = text.splitlines()
    converged: list[bool] = []
    reached, block = False, None
    n_atoms = int(re.search(r"NIONS =\s*(\d+)", text)[1])
    for number, line in enumerate(lines, start=1):
        if "ML FREE ENERGIE" in line or "(ML)" in line:
            raise ValueError(
                f"{path}, line {number}: predicted by VASP's force field, not computed. Import the run's ML_ABN"
            )
        if "aborting loop because EDIFF is reached" in line:
            reached = True
        elif "TOTAL-FORCE (eV/Angst)" in line:
            block = -1
        elif block is not None and SEPARATOR.fullmatch(line):
            if block >= 0 and block != n_atoms:
                raise ValueError(
                    f"{path}, line {number}: {block} rows of positions and forces for {n_atoms} atoms"
                )
            block = 0 if block < 0 else None
        elif block is not None:
            block += 1
        elif "FREE ENERGIE OF THE ION-ELECTRON SYSTEM" in line:
            converged.append(reached)
            reached = False
    if "General timing and accounting" not in text:
        raise ValueError(
            f"{path}, line {len(lines)}: the file ends after {len(converged)} whole ionic steps without VASP's "
            "closing lines: the run was killed, or the copy cut short"
        )
    for good, (place, atoms) in zip(
        converged, read_by_ase(text, path, "vasp-out", len(converged)), strict=True
    ):
        yield place, atoms if good else None


def xyz(text: str, path: Path, keys: dict[str, str]) -> Frames:
    """Frames of extended XYZ whose labels go by the names `keys`, in eV and A."""
    for place, atoms in dataset.parse(text, path):
        given = atoms.arrays | atoms.info | (atoms.calc.results if atoms.calc else {})
        labels = {name: given[key] for name, key in keys.items() if key in given}
        if missing := [name for name in ("energy", "forces") if name not in labels]:
            name = missing[0]
            near = [key for key in given if name.rstrip("s") in key.lower()]
            hint = f"give --{name}-key, one of {', '.join(near)}" if near else f"found: {', '.join(given)}"
            raise ValueError(f"{place}: no {keys[name]}; {hint}")
        if "stress" in labels:
            stress = np.asarray(labels["stress"])
            if stress.size == 9:
                tensor = stress.reshape(3, 3)
                stress = ((tensor + tensor.T) / 2).ravel()[[0, 4, 8, 5, 2, 1]]
            labels["stress"] = stress
        if "free_energy" in given and keys["energy"] == "energy":
            labels["free_energy"] = given["free_energy"]
        frame = atoms.copy()
        for name in [*frame.arrays]:
            if name not in ("numbers", "positions"):
                del frame.arrays[name]
        for key in (*keys.values(), *LABELS):
            frame.info.pop(key, None)
        frame.set_constraint()
        frame.calc = SinglePointCalculator(frame, **labels)
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
        return xyz(text, path, KEYS | keys)
    else:
        raise ValueError(f"{path}, line 1: neither VASP's ML_AB, vasprun.xml or OUTCAR nor extended XYZ")
    if keys:
        raise ValueError(f"{path}: VASP's own files have no keys to choose; leave --{min(keys)}-key out")
    return reader(text, path)


def shortest(atoms: Atoms) -> float:
    """Smallest distance between atoms over the sum of their covalent radii; infinity beyond four times."""
    radii = covalent_radii[atoms.numbers]
    i, j, d = primitive_neighbor_list("ijd", atoms.pbc, atoms.cell, atoms.positions, 4 * radii)
    return float((d / (radii[i] + radii[j])).min(initial=np.inf))


def check_sizes(frames: list[Atoms], path: Path) -> None:
    """Refuse lengths and stresses that no matter has, as far as can be told, by the median over frames.

    Nearest neighbours are 0.8 to 1.3 times the sum of their covalent radii apart, but for noble gases
    and lone atoms; 1 eV/A^3 is 160 GPa.
    """
    bound = [atoms for atoms in frames if len(atoms) > 1 and not set(atoms.numbers) & set(NOBLE)]
    ratio = float(np.median([shortest(atoms) for atoms in bound])) if bound else 1.0
    if not 0.5 < ratio < 1.5:
        raise ValueError(
            f"{path}: nearest atoms are {ratio:.2g} times the sum of their covalent radii apart (median of frames), "
            "so positions are not in A (Bohr, nm, or fractions of the cell?). Convert them to A"
        )
    stresses = [
        np.abs(atoms.calc.results["stress"]).max() for atoms in frames if "stress" in atoms.calc.results
    ]
    if stresses and np.median(stresses) > 1:
        raise ValueError(
            f"{path}: the largest stress is {np.median(stresses):.3g} (median of frames), and 1 eV/A^3 is 160 GPa, "
            "so it is not in eV/A^3 (GPa, kbar, or a virial in eV?). Convert it to eV/A^3"
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
    for place, atoms in tqdm(source(path, keys), desc=path.name, unit="frame", leave=False):
        if atoms is None:
            left_out.append(place)
        elif complaint := dataset.problem(atoms):
            raise ValueError(f"{place}: {complaint}")
        else:
            frames.append(atoms)
    if not frames:
        raise ValueError(f"{path}: no frame with converged electrons ({len(left_out)} without)")
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
        print(error, file=sys.stderr)
        sys.exit(2)
    groups = {dataset.group(atoms) for atoms in frames}
    print(f"wrote {given.target}: {len(frames)} frames, {sum(map(len, frames))} atoms, {len(groups)} groups")
    left_out = [place for _, places in found for place in places]
    for place in left_out:
        print(f"{place}: left out, its electrons did not converge", file=sys.stderr)
    if left_out:
        sys.exit(3)
