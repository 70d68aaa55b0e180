"""Read the ionic steps of an OUTCAR."""

import dataclasses
import itertools
import re
from pathlib import Path

import numpy as np
from ase import Atoms

from helpers.data.vasp import (
    KILLED,
    NO_TENSOR,
    NOT_CONVERGED,
    PREDICTED,
    SEPARATOR,
    Frames,
    element,
    labelled,
    lines_of,
    reading,
    vasp_stress,
)

# Of an OUTCAR: what is read or begins something, and the ionic and the electronic step in it.
OUTCAR_MARKS = re.compile(
    r"- Iteration|EDIFF is reached|FREE ENERGIE OF THE ION|free  energy   TOTEN|energy  without entropy"
    r"|FORCE on cell|in kB |direct lattice vectors|TOTAL-FORCE|LOOP\+|General timing and accounting"
)
FIRST_STEP = re.compile(r"- Iteration|FORCE on cell|FREE ENERGIE OF THE ION")
LATTICE = "direct lattice vectors"
ITERATION = re.compile(r"- Iteration\s+(\S+?)\(\s*(\d+)\)")


@dataclasses.dataclass
class Step:
    """What an OUTCAR says on one ionic step, as text."""

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
        settings = {name: re.search(rf"\b{name}\s*=\s*(\d+)", text) for name in ("NIONS", "NELM", "ISIF")}
        counts = re.search(r"ions per type = *([\d ]+)", text)
        if not (settings["NIONS"] and settings["NELM"] and counts):
            raise ValueError(
                f"{path}, line {len(lines)}: the file ends after 0 ionic steps, in its header: a killed run, or a "
                "copy cut short"
            )
        counts = [int(word) for word in counts[1].split()]
        titles = [line.split(":", 1)[1] for line in lines if line.lstrip().startswith("POTCAR:")]
        types = [element(title) for title in titles[: (len(titles) + 1) // 2]]  # each comes twice
        if len(types) != len(counts) or None in types or sum(counts) != int(settings["NIONS"][1]):
            raise ValueError(
                f"{path}, line {len(lines)}: the header contradicts itself: POTCARs of {types}, {counts} ions per "
                f"type, NIONS = {settings['NIONS'][1]}. Copy the file again"
            )
        at = next((i for i, line in enumerate(lines) if LATTICE in line), len(lines))
        isif = int(settings["ISIF"][1]) if settings["ISIF"] else 2
        symbols = np.repeat(types, counts).tolist()
        return cls(symbols, int(settings["NELM"][1]), isif, lines[at + 1 : at + 4])


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
