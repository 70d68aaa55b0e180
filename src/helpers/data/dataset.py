"""Labelled configurations: read, write, group, describe. Energies in eV, forces in eV/A, stress in eV/A^3.

A frame is an ase.Atoms with energy, forces and, if it has one, stress in its calculator. Two keys of
its comment line order a file, and a file without them works too: `config_type` is its kind, and
frames of one kind and `seed` form a group, made from one cell or along one trajectory.
"""

import contextlib
import hashlib
import io
import lzma
import re
import sys
import zlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import ase.io
import numpy as np
from ase import Atoms
from ase.formula import Formula
from ase.io.formats import open_with_compression

from defectphonons import caching
from helpers.data import checks

STRESS_TEXT = re.compile(r"""(?<!\S)(stress|virial)=["'{[]+([^"'}\]]*)["'}\]]+""")


@contextlib.contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading, decompressed. Raises ValueError for a damaged archive, OSError for no file."""
    try:
        with open_with_compression(path, "rb") as file:
            yield file
    except (EOFError, OSError, lzma.LZMAError, zlib.error) as error:
        if getattr(error, "filename", None):
            raise
        raise ValueError(
            f"{path}: the compressed file is cut short or damaged ({error}). Copy it again"
        ) from None


def text_of(path: Path) -> str:
    """Return the text of a file, decompressed. Raises ValueError naming the line where it is not UTF-8."""
    with opened(path) as file:
        content = file.read()
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path}, line {line}: the byte {content[error.start]:#x} is not UTF-8: a damaged file, or another "
            "encoding. Copy it again, or convert it (iconv -f latin1 -t utf8)"
        ) from None


def nine_numbers(match: re.Match) -> str:
    """Return a stress as the nine numbers that ASE wants, of a `STRESS_TEXT` of six."""
    words = match[2].replace(",", " ").split()
    if len(words) != 6:
        return match[0]
    xx, yy, zz, yz, xz, xy = words
    return f'{match[1]}="{xx} {xy} {xz} {xy} {yy} {yz} {xz} {yz} {zz}"'


def parse(text: str, path: Path) -> Iterator[tuple[str, Atoms]]:
    """Yield place and frame, one after the other, of extended XYZ; `path` is for the places.

    Constraints are taken off, for ASE and MACE would take forces on fixed atoms for zero.
    Raises ValueError for an empty file, anything that is not extended XYZ, a truncated last
    frame, and a frame without atoms. Labels are not checked.
    """
    lines = text.rstrip().split("\n")
    start = number = 0
    if not text.strip():
        raise ValueError(f"{path}: the file is empty. Give an extended XYZ file with energies and forces")
    # Frames are told apart one at a time, and not by ASE, whose reader stops silently at an empty line,
    # accepts a last number that was cut short, and does not say which frame is wrong.
    while start < len(lines):
        number += 1
        where = f"{path}, frame {number}"
        count = lines[start].strip()
        if not count.isdecimal():
            raise ValueError(
                f"{where}: line {start + 1} must be a number of atoms, not {count[:40]!r}. Give extended XYZ: "
                "a number of atoms, a comment line, and one line an atom, without empty lines"
            )
        if int(count) == 0:
            raise ValueError(f"{where}: zero atoms. Drop the frame")
        end = start + int(count) + 2
        if end > len(lines) or (end == len(lines) and not text.endswith("\n")):
            raise ValueError(
                f"{where}: truncated; the file ends before the frame's {count} atoms and the end of the last "
                "line. Copy the file again, or drop the frame (if it is whole, end its last line)"
            )
        try:
            comment = STRESS_TEXT.sub(nine_numbers, lines[start + 1])
            block = io.StringIO("\n".join([count, comment, *lines[start + 2 : end]]) + "\n")
            atoms = ase.io.read(block, format="extxyz")
            atoms.set_constraint()
        except Exception as error:  # ASE raises whatever its parsing meets, from KeyError to OSError
            raise ValueError(
                f"{where}: not extended XYZ ({type(error).__name__}: {error}). Correct lines {start + 1} to {end}"
            ) from error
        yield where, atoms
        start = end


def read(path: Path) -> list[Atoms]:
    """Read the frames of an extended XYZ file, each with energy and forces; stress may be missing.

    What `settle` changes and labels that are not used are told on stderr. Raises ValueError naming
    the file, the frame (counted from 1) and the remedy for what `parse` and `problem` refuse.
    """
    frames: list[Atoms] = []
    remarks = defaultdict(list)
    for where, atoms in parse(text_of(Path(path)), path):
        changes = checks.settle(atoms)
        if complaint := checks.problem(atoms):
            raise ValueError(f"{where}: {complaint}")
        overlooked = checks.unused(atoms.info | atoms.arrays, len(atoms))
        for remark in changes + overlooked + checks.net_force(atoms):
            remarks[remark].append(where)
        frames.append(atoms)
    for line in checks.told(remarks):
        print(line, file=sys.stderr)
    return frames


def write(path: Path, frames: list[Atoms]) -> None:
    """Write extended XYZ with energy, forces and stress under these names, whole or not at all."""
    with caching.whole_file(path) as temporary:
        ase.io.write(temporary, frames, format="extxyz")


def energy(atoms: Atoms) -> float:
    """Return the total energy in eV: the one that the forces are the gradient of, `free_energy`, where a frame has it."""
    labels = atoms.calc.results
    return float(labels.get("free_energy", labels["energy"]))


def cell_name(atoms: Atoms) -> str:
    """Return a short hash of composition and cell (to 0.001 A): equal for frames of one trajectory at fixed cell."""
    # + 0.0 makes -0.0 and 0.0 the same bytes.
    content = np.sort(atoms.numbers).tobytes() + (atoms.cell.array.round(3) + 0.0).tobytes()
    return hashlib.sha256(content).hexdigest()[:8]


def isolated(atoms: Atoms) -> bool:
    """Return whether a frame is an isolated atom: called so, or far from its images."""
    if len(atoms) > 1:
        return False
    named = atoms.info.get("config_type") == checks.ISOLATED
    return named or atoms.cell.minkowski_reduce()[0].lengths().min() >= checks.VACUUM


def kind(atoms: Atoms) -> str:
    """Return the `config_type` of a frame; without one, `ISOLATED` or its chemical formula."""
    formula = checks.ISOLATED if isolated(atoms) else atoms.get_chemical_formula("metal")
    return str(atoms.info.get("config_type", formula))


def group(atoms: Atoms) -> str:
    """Return 'kind/seed', the group of a frame: frames of one group must stay on one side of a split.

    Without a `seed`, all frames of one composition and one cell form a group, since they may
    come from one trajectory.
    """
    return f"{kind(atoms)}/{atoms.info.get('seed', cell_name(atoms))}"


def of_elements(frames: list[Atoms], elements: tuple[str, ...]) -> list[Atoms]:
    """Return the frames that have no other elements."""
    return [atoms for atoms in frames if set(atoms.symbols) <= set(elements)]


def vacant_species(frames: list[Atoms], formula: str) -> set[str]:
    """Return the elements of which some frame has fewer atoms than `formula` asks for, given its other elements."""
    share = Formula(formula).count()
    vacant = set()
    for atoms in frames:
        filled = {symbol: np.sum(atoms.symbols == symbol) / count for symbol, count in share.items()}
        vacant |= {symbol for symbol, cells in filled.items() if cells < max(filled.values())}
    return vacant


def extent(values: list[np.ndarray]) -> list[float] | None:
    """Return [smallest, largest] of all numbers in `values`; None without any."""
    numbers = np.concatenate([np.ravel(value) for value in values]) if values else np.array([])
    return [float(numbers.min()), float(numbers.max())] if numbers.size else None


def describe(frames: list[Atoms]) -> list[dict[str, Any]]:
    """Return a row for each kind: counts, largest force on an atom, else [smallest, largest], None if unknown.

    Strain and rattle come from the keys of that name; stress covers xx and yy.
    """
    kinds: dict[str, list[Atoms]] = defaultdict(list)
    for atoms in frames:
        kinds[kind(atoms)].append(atoms)
    rows = []
    for name, members in sorted(kinds.items()):
        info = [atoms.info for atoms in members]
        labels = [atoms.calc.results for atoms in members]
        rows.append(
            {
                "kind": name,
                "frames": len(members),
                "groups": len({group(atoms) for atoms in members}),
                "atoms": sum(len(atoms) for atoms in members),
                "strain_percent": extent(
                    [100 * np.asarray(comment["strain"]) for comment in info if "strain" in comment]
                ),
                "rattle_A": extent([comment["rattle"] for comment in info if "rattle" in comment]),
                "eV_per_atom": extent([energy(atoms) / len(atoms) for atoms in members]),
                "max_force_eV_per_A": max(
                    float(np.linalg.norm(results["forces"], axis=1).max()) for results in labels
                ),
                "stress_eV_per_A3": extent(
                    [results["stress"][:2] for results in labels if "stress" in results]
                ),
            }
        )
    return rows


def as_text(value: Any) -> str:
    """Return a value of `describe` as text: numbers and ranges to three digits, '-' for what is unknown."""
    if isinstance(value, list):
        return f"{value[0]:.3g} to {value[1]:.3g}"
    if isinstance(value, float):
        return f"{value:.3g}"
    return "-" if value is None else str(value)
