"""What each setting of the DFT does to the numbers that are made from it.

    python workflow/error_budget.py [--processes 2]

One setting at a time is changed. Of the sheet: lattice constant without in-plane stress, thickness, modes at Gamma
there, and the stress at a = 3.32 A. Of the relaxed vacancy in 3 x 3: forces, and how they change when one of
the three W moves by 0.02 A towards the axis, which is what phonons are made of. Besides, the energies of isolated atoms.
Finished calculations are kept in data/error_budget/*.json, so a killed run goes on; the figure beside them is drawn at the end.
"""

import argparse
import importlib.util
import json
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from ase.units import _amu, _e
from tqdm import tqdm

from defectphonons import spectra, structures
from helpers import paths, records
from helpers.data import dft
from helpers.figures import style

FOLDER = paths.DATA / "error_budget"
STEP = 0.02  # A, of the displaced atoms
SETTINGS = dft.Settings(density=1e-6)
OURS = ("height", "setups_of", "box")  # no keywords of GPAW

OWN, SPIN_ORBIT = "settings of the data", "LDA, spin-orbit"

# name -> keywords of GPAW that differ, and the height of the cell in A where it does
SHEET: dict[str, dict[str, Any]] = {
    OWN: {},
    "cutoff 700 eV": {"mode": {"name": "pw", "ecut": 700}},
    "k points 12x12": {"kpts": {"size": (12, 12, 1), "gamma": True}},
    "cell height 20 A": {"height": 20.0},
    "smearing 0.01 eV": {"occupations": {"name": "fermi-dirac", "width": 0.01}},
    "PBEsol": {"xc": "PBEsol", "setups_of": "PBE"},  # none are made for it
    "LDA": {"xc": "LDA"},
    # Spinors, self-consistent, all k points; GPAW has no other functional for them.
    SPIN_ORBIT: {"xc": "LDA", "soc": True, "magmoms": [[0.0, 0.0, 0.0]] * 3, "symmetry": "off"},
}
VACANCY: dict[str, dict[str, Any]] = {
    OWN: {},
    "cutoff 500 eV": {"mode": {"name": "pw", "ecut": 500}},
    "k points 4x4": {"kpts": {"size": (4, 4, 1), "gamma": True}},
    "cell height 20 A": {"height": 20.0},
    "dipole layer": {"poissonsolver": {"dipolelayer": "xy"}},
    "smearing 0.01 eV": {"occupations": {"name": "fermi-dirac", "width": 0.01}},
    "spin": {"spinpol": True, "magmoms": 0.5},
}
# W: from the 4 of the measured ground state, 5d4 6s2, and from the 6 of 5d5 6s1.
ATOMS: dict[str, dict[str, Any]] = {
    "W": {"magmoms": [6.0]},
    "W from 4": {"magmoms": [4.0]},
    "W in 13 A": {"magmoms": [6.0], "box": 13.0},
    "Se": {"magmoms": [2.0]},
    "O": {"magmoms": [2.0]},
    "S": {"magmoms": [2.0]},
}
KINDS = {"sheet": SHEET, "vacancy": VACANCY, "atom": ATOMS}
EVERY = [(kind, name) for kind, calculations in KINDS.items() for name in calculations]


def calculator(atoms: Atoms, changes: dict[str, Any], log: Path) -> Any:
    """As the data are computed but for `changes`; the point group is used, which the data do not."""
    functional = changes.get("setups_of")
    changes = {name: value for name, value in changes.items() if name not in OURS}
    if functional:
        from gpaw.setup_data import SetupData

        changes["setups"] = {symbol: SetupData(symbol, functional) for symbol in set(atoms.symbols)}
        for setup in changes["setups"].values():
            setup.setupname = changes["xc"]  # GPAW refuses those of another functional
    if isinstance(changes.get("magmoms"), float):
        changes["magmoms"] = [changes["magmoms"]] * len(atoms)
    return dft.calculator(atoms, SETTINGS, log, **{"symmetry": {}} | changes)


def with_height(atoms: Atoms, changes: dict[str, Any]) -> Atoms:
    """A copy in a cell of the height asked for, in its middle."""
    copy = atoms.copy()
    if "height" in changes:
        copy.cell[2, 2] = changes["height"]
        copy.positions[:, 2] += (changes["height"] - atoms.cell[2, 2]) / 2
    return copy


def modes(sheet: Atoms, changes: dict[str, Any], log: Path) -> dict[str, float]:
    """Frequencies at Gamma in cm-1 by central differences along each pattern; W first, then the two Se."""
    masses = sheet.get_masses()
    heavy = -2 * masses[1] / masses[0]
    x, z = np.eye(3)[[0, 2]]
    patterns = {
        "E''": np.array([0 * x, x, -x]),
        "E'": np.array([heavy * x, x, x]),
        "A1'": np.array([0 * z, z, -z]),
        "A2''": np.array([heavy * z, z, z]),
    }
    found = {}
    for irrep, pattern in patterns.items():
        forces = []
        for step in (-STEP, STEP):
            moved = sheet.copy()
            moved.positions += step * pattern
            # A calculator of its own, for the symmetry that is left.
            moved.calc = calculator(moved, changes, log)
            forces.append(moved.get_forces())
        stiffness = ((forces[0] - forces[1]) * pattern).sum() / (2 * STEP)  # eV/A^2
        square = stiffness / (masses[:, None] * pattern**2).sum() * _e * 1e20 / _amu
        found[irrep] = float(np.sign(square) * np.sqrt(abs(square)) / (2e12 * np.pi) * spectra.PER_CM)
    return found


def of_sheet(changes: dict[str, Any], log: Path) -> dict[str, Any]:
    """Stress and modes in the cell of the data, relaxed cell, and modes there; with spinors only modes in the cell of the data."""
    sheet = with_height(structures.monolayer("WSe2", 3.32, 3.36), changes)
    found = {"modes_in_the_cell_of_the_data_per_cm": modes(sheet, changes, log)}
    if "soc" in changes:
        return found
    sheet.calc = calculator(sheet, changes, log)
    found["stress_eV_per_A3"] = float(sheet.get_stress()[:2].mean())
    relaxation = BFGS(FrechetCellFilter(sheet, mask=[1, 1, 0, 0, 0, 1]), logfile=None, alpha=30.0)
    if not relaxation.run(fmax=3e-3, steps=30):
        raise RuntimeError("the sheet does not relax")
    found["lattice_constant_A"] = float(sheet.cell.lengths()[0])
    found["thickness_A"] = float(np.ptp(sheet.positions[:, 2]))
    return found | {"modes_per_cm": modes(sheet, changes, log)}


def of_vacancy(changes: dict[str, Any], log: Path) -> dict[str, Any]:
    """Forces (N, 3) in eV/A on the relaxed vacancy in 3 x 3, and with one W nearer to the axis."""
    relaxed = ase.io.read(paths.REFERENCE / "vacancy_3x3.xyz")
    vacancy = structures.Defect.of(
        structures.supercell(structures.monolayer("WSe2", relaxed.cell.lengths()[0] / 3, 3.36), 3), "V_Se"
    )
    moving = vacancy.neighbours[0]
    towards = -vacancy.from_site[moving] * [1, 1, 0]
    found: dict[str, Any] = {}
    # Each with a calculator of its own, which finds the symmetry that is left.
    for name, step in (("relaxed", 0.0), ("displaced", STEP)):
        atoms = with_height(relaxed, changes)
        atoms.positions[moving] += step * towards / np.linalg.norm(towards)
        if "poissonsolver" in changes:
            atoms.pbc = (True, True, False)
        atoms.calc = calculator(atoms, changes, log.with_suffix(f".{name}.txt"))
        found[name] = atoms.get_forces().tolist()
        if "spinpol" in changes:
            found[f"magnetic_moment_{name}"] = float(atoms.get_magnetic_moment())
    return found


def of_atom(symbol: str, changes: dict[str, Any], log: Path) -> dict[str, float]:
    """Energies in eV and moment of an atom in a box without symmetry, 10 A and more.

    `energy_eV` is GPAW's mean of the energies with and without the entropy, which for an open shell, whose entropy is
    that of equal occupations at any smearing, is not the one without smearing: that is 2 energy - free energy.
    """
    box = changes.get("box", 10.0)
    atom = Atoms(symbol, cell=(box, box + 0.5, box + 1), pbc=True)
    atom.center()
    atom.calc = calculator(atom, {"spinpol": True, "kpts": {"size": (1, 1, 1)}} | changes, log)
    return {
        "energy_eV": float(atom.get_potential_energy()),
        "free_energy_eV": float(atom.get_potential_energy(force_consistent=True)),
        "magnetic_moment": float(atom.get_magnetic_moment()),
    }


def compute(kind: str, name: str) -> None:
    """One calculation into its file, with the changed keywords, settings and time."""
    started = time.perf_counter()
    path, changes = part(kind, name), KINDS[kind][name]
    log = path.with_suffix(".txt")
    if kind == "atom":
        found = of_atom(name.split()[0], changes, log)
    else:
        found = {"sheet": of_sheet, "vacancy": of_vacancy}[kind](changes, log)
    settings = {"settings": vars(SETTINGS), "changed": changes}
    seconds = {"seconds": round(time.perf_counter() - started, 1)}
    records.write_json(path, settings | found | seconds)


def part(kind: str, name: str) -> Path:
    return FOLDER / f"{kind}_{name.replace(' ', '_').replace(',', '')}.json"


def draw() -> None:
    """How far each setting moves modes and lattice constant of the sheet, and forces and force changes of the vacancy.

    Of what is there. Spin-orbit coupling is compared with LDA without it. Below the left end of an axis counts as there.
    """
    found = {each: json.loads(part(*each).read_text()) for each in EVERY if part(*each).exists()}
    figure, (left, middle, right) = style.new(7.4, 3.4, ncols=3, width_ratios=(1.2, 0.8, 1))
    names = [name for name in SHEET if name != OWN and ("sheet", name) in found]
    against = [found["sheet", "LDA" if name == SPIN_ORBIT else OWN] for name in names]
    places, key = np.arange(len(names)), "modes_in_the_cell_of_the_data_per_cm"
    for number, irrep in enumerate(found["sheet", OWN][key]):
        shifts = [
            abs(found["sheet", name][key][irrep] - other[key][irrep])
            for name, other in zip(names, against, strict=True)
        ]
        left.semilogx(
            np.maximum(shifts, 0.01), places + 0.12 * (number - 1.5), style.MARKERS[number],
            color=style.COLOURS[number], markersize=5, markerfacecolor="none", label=irrep,
        )  # fmt: skip
    left.set(xlabel="shift of modes at Γ,\na = 3.32 Å (cm$^{-1}$)", xlim=(0.007, 30))
    key = "lattice_constant_A"
    constants = [
        abs(found["sheet", name].get(key, np.nan) - other[key])
        for name, other in zip(names, against, strict=True)
    ]
    middle.semilogx(np.maximum(constants, 1e-5), places, "ko", markersize=5, markerfacecolor="none")
    middle.set(xlabel="change of the lattice\nconstant (Å)", xlim=(6e-6, 0.2))
    left.set_yticks(places, [f"{name} (LDA is 0)" if name == SPIN_ORBIT else name for name in names])
    middle.set_yticks(places, [])
    names = [name for name in VACANCY if name != OWN and ("vacancy", name) in found]
    differences = []
    for name in names:
        relaxed, displaced = (
            np.array(found["vacancy", name][each]) - found["vacancy", OWN][each]
            for each in ("relaxed", "displaced")
        )
        differences.append([1000 * np.sqrt((each**2).mean()) for each in (relaxed, displaced - relaxed)])
    for number, label in enumerate(("forces", "changes of forces")):
        right.semilogx(
            np.maximum([each[number] for each in differences], 1e-3), np.arange(len(names)) + 0.12 * (2 * number - 1),
            style.MARKERS[number], color=style.COLOURS[number], markersize=5, markerfacecolor="none", label=label,
        )  # fmt: skip
    right.set(xlabel="r.m.s. difference, V$_\\mathrm{Se}$\nin 3 × 3 (meV/Å)", xlim=(6e-4, 20))
    right.set_yticks(np.arange(len(names)), names)
    for axes, columns in ((left, 4), (middle, 0), (right, 2)):
        axes.set_ylim(axes.get_yticks()[-1] + 0.5, -0.5)
        axes.grid(axis="y", color="0.9")
        axes.set_axisbelow(True)
        if columns:
            axes.legend(
                loc="lower center",
                bbox_to_anchor=(0.5, 1),
                ncols=columns,
                columnspacing=0.8,
                handletextpad=0.1,
            )
    figure.savefig(FOLDER / "error_budget.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--processes", type=int, default=1, help="one a core (default: 1)")
    given = parser.parse_args()
    missing = [each for each in EVERY if not part(*each).exists()]
    if missing and importlib.util.find_spec("gpaw") is None:
        parser.error(dft.INSTALL)
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(given.processes, context) as pool:
        running = {pool.submit(compute, *each): each for each in missing}
        for done in tqdm(as_completed(running), total=len(running), unit="calculation"):
            if done.exception():
                print(f"{running[done]}: {done.exception()!r}")
    draw()


if __name__ == "__main__":
    main()
