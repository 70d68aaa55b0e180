"""Read an ML_AB file, the training data of VASP's force fields."""

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from helpers.data.vasp import SEPARATOR, Frames, labelled, lines_of, vasp_stress

# Of an ML_AB file: two sections of its header, and those of every configuration.
CONFIGURATIONS, FILE_TYPES = "The number of configurations", "The atom types in the data file"
TYPES, ATOMS, COUNTS = "The number of atom types", "The number of atoms", "Atom types and atom numbers"
CELL, POSITIONS = "Primitive lattice vectors (ang.)", "Atomic positions (ang.)"
ENERGY, FORCES, STRESS = "Total energy (eV)", "Forces (eV ang.^-1)", "Stress (kbar)"
CONFIGURATION = "Configuration num."


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
        """Return the rows as numbers (n_rows, n_columns); ValueError naming the line where they are not."""
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
        """Return the one whole number that the section holds."""
        value = self.numbers(1, 1)[0, 0]
        if not value.is_integer() or value < 1:
            raise self.wrong(f"{self.title!r} must be a positive whole number, not {value:g}")
        return int(value)

    def stress(self) -> np.ndarray:
        """Return the stress (6,) in eV/A^3, xx yy zz yz xz xy, positive in tension; VASP's kbar in compression."""
        titles = [" ".join(row.split()) for _, row in self.rows[::2]]
        if titles != ["XX YY ZZ", "XY YZ ZX"]:
            raise self.wrong(f"the stress must be three numbers XX YY ZZ and three XY YZ ZX, not {titles}")
        given = dataclasses.replace(self, rows=self.rows[1::2])
        return vasp_stress(given.numbers(2, 3).ravel())


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


def elements(counts: Section, n_types: int, n_atoms: int, file_types: set[str]) -> list[str]:
    """Return the symbols of a configuration's atoms; ValueError if they contradict its counts or the file's types."""
    symbols: list[str] = []
    for line, row in counts.rows:
        match = re.fullmatch(r"\s*([A-Z][a-z]?)\s+(\d+)\s*", row)
        if match is None or match[1] not in chemical_symbols:
            raise counts.wrong(f"must be an element and its number of atoms, not {row.strip()[:40]!r}", line)
        if match[1] not in file_types:
            raise counts.wrong(
                f"{match[1]} is not among the types of the file, {', '.join(sorted(file_types))}", line
            )
        symbols += [match[1]] * int(match[2])
    if (len(counts.rows), len(symbols)) != (n_types, n_atoms):
        raise counts.wrong(
            f"{len(symbols)} atoms of {len(counts.rows)} types in a configuration of {n_atoms} of {n_types}"
        )
    return symbols


def configuration(first: Section, members: list[Section], file_types: set[str]) -> Atoms:
    """Return the frame of one configuration of an ML_AB file, which begins with the section `first`."""
    by_title = {section.title: section for section in members}
    if len(by_title) < len(members):
        raise first.wrong(
            "a section of this configuration is there twice: is the next one's first line missing?"
        )
    for title in (TYPES, ATOMS, COUNTS, CELL, POSITIONS, ENERGY, FORCES):
        if title not in by_title:
            raise first.wrong(f"no {title!r} in this configuration: cut short, or other units")
    n_atoms = by_title[ATOMS].count()
    symbols = elements(by_title[COUNTS], by_title[TYPES].count(), n_atoms, file_types)
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
    file_types = {word for _, row in header[FILE_TYPES].rows for word in row.split()}
    for number, (first, *members) in enumerate(whole, start=1):
        if first.title.split()[-1].lstrip("0") != str(number):
            raise first.wrong(f"{first.title!r} where number {number} belongs")
        yield (
            f"{path}, line {first.line}, configuration {number}",
            configuration(first, members, file_types),
            [],
        )
