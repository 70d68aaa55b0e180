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
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.singlepoint import SinglePointCalculator
from ase.optimize import BFGS
from tqdm import tqdm

from defectphonons import caching
from defectphonons.relaxation import HeldSymmetry
from helpers.data import dataset

INSTALL = (
    "GPAW is not installed. It needs the Debian packages libxc-dev, libopenblas-dev, libfftw3-dev and "
    "libopenmpi-dev, then: .venv/bin/python -m pip install -e '.[dft]'"
)


SOFTEST = 1.0  # eV/A^2, curvature below which a quasi-Newton step would be too long


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
    charge: int = 0  # of the cell, in units of e; a uniform background of charge makes it neutral
    spin: bool = False  # spin-polarised, from a moment of 1 Bohr magneton on each atom
    occupations: str = ""  # "BELOW | ABOVE", see `next_to_gap`; in place of the smearing

    def __post_init__(self) -> None:
        """Refuse (ValueError) occupations that no cell can have."""
        if not self.occupations:
            return
        try:
            below, above = self.next_to_gap
            held = sum(below + above) if all(0 <= number <= 2 for number in below + above) else np.nan
        except ValueError:
            below, held = [], np.nan
        if not np.isclose(held, 2 * len(below) - self.charge):
            raise ValueError(
                f"occupations = {self.occupations!r} with charge {self.charge}: must be two lists of electrons, 0 to 2, of the "
                'states below | above the gap, like "1.5 1.5 | 0.5 0.5", that hold 2 for each state below, less the charge'
            )
        if self.spin:
            raise ValueError(f"occupations = {self.occupations!r} with spin: leave one of them out")

    @property
    def next_to_gap(self) -> tuple[list[float], list[float]]:
        """Return the electrons, 0 to 2, that `occupations` puts into the states below and above the gap of the neutral cell.

        By energy: "1.5 1.5 | 0.5 0.5" takes one electron from the two highest occupied states and shares it among the two lowest
        empty ones; a side may be empty.
        """
        below, above = ([float(part) for part in side.split()] for side in self.occupations.split("|"))
        return below, above

    def recorded(self) -> str:
        """Return what a frame carries, as JSON: all but what is as in the frames that were labelled before it existed."""
        later = ("charge", "spin", "occupations")
        plain = {field.name: field.default for field in dataclasses.fields(self) if field.name in later}
        return json.dumps({key: value for key, value in vars(self).items() if plain.get(key, ...) != value})

    def k_points(self, atoms: Atoms) -> tuple[int, int, int]:
        """At one density for all cells: 6x6 for the primitive cell, 3x3 for 2x2, 2x2 for 3x3, 1 for 6x6."""
        first, second = (max(1, round(self.k_length_A / length)) for length in atoms.cell.lengths()[:2])
        return first, second, 1


def fixed_occupations(settings: Settings, electrons: int) -> list[float]:
    """Return the occupations (n_bands,), 1 for a full state, that `settings.occupations` fixes at each k point.

    `electrons` are those of the neutral cell. ValueError if their number is odd.
    """
    if electrons % 2:
        raise ValueError(
            f"occupations = {settings.occupations!r}: fixed for spin-paired cells only, which this one, of {electrons} electrons "
            "when neutral, is not"
        )
    below, above = settings.next_to_gap
    full = electrons // 2 - len(below)
    return [1.0] * full + [number / 2 for number in below + above] + [0.0] * max(8, electrons // 20)


def calculator(atoms: Atoms, settings: Settings, log: Path, **changed: Any) -> Any:
    """Return a GPAW calculator for the cell of `atoms`: plane waves, no symmetry but time reversal.

    `changed` are keywords of GPAW that replace those that follow from `settings`.
    """
    from gpaw import GPAW
    from gpaw.setup_data import SetupData

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
        "spinpol": settings.spin,
        "symmetry": {"point_group": False},
        "txt": str(log),
    }
    if settings.charge:
        keywords["charge"] = settings.charge
    if settings.spin:
        keywords["magmoms"] = [1.0] * len(atoms)
    if settings.occupations:
        counts = atoms.symbols.formula.count()
        electrons = sum(number * SetupData(symbol, settings.xc).Nv for symbol, number in counts.items())
        numbers = fixed_occupations(settings, electrons)
        keywords |= {"occupations": {"name": "fixed", "numbers": [numbers]}, "nbands": len(numbers)}
    return GPAW(**keywords | changed)


def name(atoms: Atoms, settings: Settings) -> str:
    """Short hash of what is computed: atoms, places, cell and settings."""
    geometry = [atoms.numbers.tolist(), atoms.positions.round(8).tolist(), atoms.cell.array.round(8).tolist()]
    text = json.dumps([geometry, json.loads(settings.recorded())])
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
    """Return the frame that `write_part` wrote; None if there is none, or if the file is damaged, which is then removed.

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
    part.unlink()
    return None


class Labeller(Calculator):
    """DFT that keeps each geometry it has computed in a part, and finds it there the next time."""

    implemented_properties = ("energy", "free_energy", "forces", "stress")

    def __init__(self, settings: Settings, parts: Path):
        """Keep the parts, and GPAW's log beside them, in the folder `parts`."""
        super().__init__()
        self.settings, self.parts, self.engine = settings, parts, None

    def part(self, atoms: Atoms) -> Path:
        """Return where the labelled frame lies, or will lie."""
        return self.parts / f"{name(atoms, self.settings)}.xyz"

    def frame(self, atoms: Atoms) -> Atoms:
        """Return the labelled frame; it starts from the density of the one before, which must have the same atoms."""
        part = self.part(atoms)
        if (known := read_part(part)) is not None:
            return known
        started = time.perf_counter()
        if self.engine is None:
            self.engine = calculator(atoms, self.settings, part.with_suffix(".txt"))
        labelled = atoms.copy()
        labelled.set_constraint()
        labelled.calc = self.engine
        try:
            results = {
                "forces": labelled.get_forces(),
                "energy": labelled.get_potential_energy(),
                "stress": labelled.get_stress(),
                "free_energy": labelled.get_potential_energy(force_consistent=True),
            }
            if self.settings.spin:
                labelled.info["magnetic_moment"] = float(labelled.get_magnetic_moment())
        except Exception:
            self.engine = None
            raise
        labelled.calc = SinglePointCalculator(labelled, **results)
        labelled.info |= {
            "dft": self.settings.recorded(),
            "k_points": list(self.settings.k_points(atoms)),
            "seconds": round(time.perf_counter() - started, 1),
        }
        write_part(part, labelled)
        return labelled

    def calculate(self, atoms: Atoms, properties: Any = (), system_changes: Any = all_changes) -> None:
        """Fill `results`, as ASE asks."""
        super().calculate(atoms, properties, system_changes)
        bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        self.results = dict(self.frame(bare).calc.results)


def relax(
    atoms: Atoms, labeller: Labeller, hessian: np.ndarray, most: float = 0.004, steps: int = 12
) -> Atoms:
    """Relax a cell by DFT, its symmetry held, and return the labelled frame of the last geometry.

    Quasi-Newton steps (BFGS) that begin with `hessian` (N, N, 3, 3) in eV/A^2, a model's force constants: three to five steps until
    no force exceeds `most` (eV/A), where steps without it take twenty. RuntimeError if so many `steps` are not enough.
    """
    relaxed = atoms.copy()
    relaxed.calc = labeller
    relaxed.set_constraint(HeldSymmetry(relaxed, symprec=1e-3))
    optimizer = BFGS(relaxed, logfile=None, maxstep=0.1)
    matrix = hessian.swapaxes(1, 2).reshape(3 * len(atoms), -1)
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    optimizer.H0 = (vectors * np.maximum(abs(values), SOFTEST)) @ vectors.T
    if not optimizer.run(fmax=most, steps=steps):
        raise RuntimeError(
            f"forces above {most} eV/A after {steps} steps of DFT; call again to go on from their results"
        )
    last = labeller.frame(Atoms(relaxed.numbers, relaxed.positions, cell=relaxed.cell, pbc=relaxed.pbc))
    last.info |= atoms.info | {"steps": optimizer.nsteps}
    return last


def label_cell(task: tuple[list[tuple[int, Atoms]], Settings, Path]) -> list[str]:
    """Label frames (number, atoms) of one cell one after the other, each starting from the last density.

    Each is written to its part as it is done. Returns a line for each that failed.
    """
    frames, settings, parts = task
    labeller, failures = Labeller(settings, parts), []
    for number, atoms in frames:
        try:
            labeller.frame(atoms)
        except Exception as error:  # not converged, or whatever else the code meets: the others go on
            failures.append(f"frame {number}: {type(error).__name__}: {str(error).splitlines()[0]}")
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
        read_part(part)  # a damaged one does not count as done
    if target.exists():
        for atoms in dataset.read(target):
            part = parts / f"{name(atoms, settings)}.xyz"
            if atoms.info.get("dft") == settings.recorded() and not part.exists():
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
