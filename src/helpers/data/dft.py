"""Label configurations by density functional theory with GPAW, by one frozen set of settings.

Finished frames are kept beside OUT.xyz in OUT.parts/, so a killed run goes on; so does one whose OUT.xyz
holds some of the frames.
"""

import dataclasses
import hashlib
import io
import json
import multiprocessing
import re
import sys
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from tqdm import tqdm

from defectphonons import caching
from helpers.data import dataset

INSTALL = (
    "GPAW is not installed. It needs the Debian packages libxc-dev, libopenblas-dev, libfftw3-dev and "
    "libopenmpi-dev, then: .venv/bin/python -m pip install -e '.[dft]'"
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """Of the DFT calculations; data/README.md says how they were chosen. Written into every frame."""

    xc: str = "PBE"
    cutoff_eV: float = 400.0
    k_length_A: float = 6 * 3.32  # Gamma-centred k points along a lattice vector times its length
    smearing_eV: float = 0.05  # Fermi-Dirac
    energy_eV_per_electron: float = 1e-5  # this and the next two: convergence
    density: float = 1e-4
    eigenstates: float = 1e-7

    def k_points(self, atoms: Atoms) -> tuple[int, int, int]:
        """At one density for all cells: 6x6 for the primitive cell, 3x3 for 2x2, 2x2 for 3x3, 1 for 6x6."""
        first, second = (max(1, round(self.k_length_A / length)) for length in atoms.cell.lengths()[:2])
        return first, second, 1


def calculator(atoms: Atoms, settings: Settings, log: Path, **changed: Any) -> Any:
    """A GPAW calculator for the cell of `atoms`: plane waves, spin-paired, no symmetry but time reversal.

    `changed` are keywords of GPAW that replace those that follow from `settings`.
    """
    from gpaw import GPAW

    keywords = {
        "mode": {"name": "pw", "ecut": settings.cutoff_eV},
        "xc": settings.xc,
        "kpts": {"size": settings.k_points(atoms), "gamma": True},
        "occupations": {"name": "fermi-dirac", "width": settings.smearing_eV},
        "convergence": {
            "energy": settings.energy_eV_per_electron,
            "density": settings.density,
            "eigenstates": settings.eigenstates,
        },
        "spinpol": False,
        "symmetry": {"point_group": False},
        "txt": str(log),
    }
    return GPAW(**keywords | changed)


def name(atoms: Atoms, settings: Settings) -> str:
    """Short hash of what is computed: atoms, places, cell and settings."""
    geometry = [atoms.numbers.tolist(), atoms.positions.round(8).tolist(), atoms.cell.array.round(8).tolist()]
    text = json.dumps([geometry, dataclasses.asdict(settings)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_part(part: Path, atoms: Atoms) -> None:
    """Write a finished frame as extended XYZ, with the SHA-256 of all the rest at the end of its comment line."""
    text = io.StringIO()
    ase.io.write(text, atoms, format="extxyz")
    number, comment, rest = text.getvalue().split("\n", 2)
    checksum = hashlib.sha256(text.getvalue().encode()).hexdigest()
    with caching.whole_file(part) as temporary:
        temporary.write_text(f"{number}\n{comment} sha256={checksum}\n{rest}")


def read_part(part: Path) -> Atoms | None:
    """Return the frame that `write_part` wrote; None if there is none, or if the file is damaged, which is said.

    One without a checksum, as they were written before there were any, counts if it can be read.
    """
    if not part.exists():
        return None
    try:
        text = part.read_text()
        checksum = re.search(" sha256=([0-9a-f]{64})$", text, re.MULTILINE)
        if checksum:
            text = text.replace(checksum[0], "")
        if not checksum or hashlib.sha256(text.encode()).hexdigest() == checksum[1]:
            ((_, atoms),) = dataset.parse(text, part)
            return atoms
    except ValueError:
        pass
    print(f"{part} is damaged, and computed again", file=sys.stderr)
    return None


def label_cell(task: tuple[list[tuple[int, Atoms]], Settings, Path]) -> list[str]:
    """Label frames (number, atoms) of one cell one after the other, each starting from the last density.

    Each is written to its part as it is done. Returns a line for each that failed.
    """
    frames, settings, parts = task
    calculation, failures = None, []
    for number, atoms in frames:
        part = parts / f"{name(atoms, settings)}.xyz"
        if part.exists():
            continue
        started = time.perf_counter()
        try:
            if calculation is None:
                calculation = calculator(atoms, settings, parts / f"{name(atoms, settings)}.txt")
            labelled = atoms.copy()
            labelled.calc = calculation
            results = {
                "forces": labelled.get_forces(),
                "energy": labelled.get_potential_energy(),
                "stress": labelled.get_stress(),
                "free_energy": labelled.get_potential_energy(force_consistent=True),
            }
        except Exception as error:  # not converged, or whatever else the code meets: the others go on
            failures.append(f"frame {number}: {type(error).__name__}: {str(error).splitlines()[0]}")
            calculation = None
            continue
        labelled.calc = SinglePointCalculator(labelled, **results)
        labelled.info |= {
            "dft": json.dumps(dataclasses.asdict(settings)),
            "k_points": list(settings.k_points(atoms)),
            "seconds": round(time.perf_counter() - started, 1),
        }
        write_part(part, labelled)
    return failures


def label(
    source: Path, target: Path, settings: Settings, processes: int = 1, parts: Path | None = None
) -> list[str]:
    """Label the frames of `source` into `target`; a line for each that failed.

    Finished frames are kept in the folder `parts` (default: TARGET.parts), and found there. Frames that failed are
    left out; the next call tries them again.
    """
    frames = ase.io.read(source, ":", format="extxyz")
    parts = parts or target.with_suffix(".parts")
    parts.mkdir(parents=True, exist_ok=True)
    expected = [parts / f"{name(atoms, settings)}.xyz" for atoms in frames]
    for part in expected:
        if read_part(part) is None:
            part.unlink(missing_ok=True)
    if target.exists():
        for atoms in dataset.read(target):
            part = parts / f"{name(atoms, settings)}.xyz"
            if atoms.info.get("dft") == json.dumps(dataclasses.asdict(settings)) and not part.exists():
                write_part(part, atoms)
    cells: dict[str, list[tuple[int, Atoms]]] = defaultdict(list)
    for number, atoms in enumerate(frames, start=1):
        cells[dataset.cell_name(atoms)].append((number, atoms))
    # Shares of one cell, no larger than needed to keep all processes busy.
    largest = int(np.ceil(len(frames) / processes))
    tasks = [
        (members[i : i + largest], settings, parts)
        for members in cells.values()
        for i in range(0, len(members), largest)
    ]
    failures: list[str] = []
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(processes, context) as pool, tqdm(total=len(frames), unit="frame") as bar:
        running = {pool.submit(label_cell, task): task for task in tasks}
        while not all(each.done() for each in running):
            bar.update(sum(part.exists() for part in expected) - bar.n)
            time.sleep(0.5)
        for each, (members, _, _) in running.items():
            try:
                failures += each.result()
            except BrokenProcessPool:  # killed, most likely for want of memory
                failures += [
                    f"frame {number}: its process was killed"
                    for number, _ in members
                    if not expected[number - 1].exists()
                ]
        bar.update(sum(part.exists() for part in expected) - bar.n)
    labelled = []
    for atoms, part in zip(frames, expected, strict=True):
        if found := read_part(part):
            found.info |= atoms.info  # of the frame, not of another with the same geometry
            labelled.append(found)
    if labelled:
        dataset.write(target, labelled)
    return failures
