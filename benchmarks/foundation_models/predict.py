"""Forces, energies and a relaxed sheet by a foundation model; runs in the environment of requirements.txt.

ENV/bin/python predict.py MODEL FRAMES.xyz SHEET.xyz OUT.json
"""

import json
import sys
import time
from pathlib import Path

import ase.io
import numpy as np
import torch
from ase.calculators.calculator import Calculator
from ase.constraints import FixSymmetry
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS


def calculator(model: str) -> Calculator:
    """The model of that name, with the weights inside its package, on the CPU."""
    if model == "CHGNet":
        from chgnet.model.dynamics import CHGNetCalculator

        return CHGNetCalculator(use_device="cpu")
    from sevenn.calculator import SevenNetCalculator

    return SevenNetCalculator({"SevenNet-0": "7net-0", "SevenNet-l3i5": "7net-l3i5"}[model], device="cpu")


def main(model: str, frames: str, sheet: str, target: str) -> None:
    torch.set_num_threads(1)
    found = calculator(model)
    results = []
    for atoms in ase.io.read(frames, ":"):
        found.calculate(atoms, ["energy", "forces", "stress"])
        energy, forces, stress = (np.asarray(found.results[name]) for name in ("energy", "forces", "stress"))
        results.append({"energy": float(energy), "forces": forces.tolist(), "stress": stress.tolist()})
    cell = ase.io.read(sheet)
    cell.calc = found
    cell.set_constraint(FixSymmetry(cell, symprec=1e-4))
    if not BFGS(FrechetCellFilter(cell, mask=[1, 1, 0, 0, 0, 1]), logfile=None).run(fmax=1e-3, steps=300):
        raise RuntimeError(f"{model}: the sheet did not relax")
    large, seconds = ase.io.read(sheet).repeat((3, 3, 1)), []
    for _ in range(6):
        large.rattle(1e-4, seed=len(seconds))
        started = time.perf_counter()
        found.calculate(large, ["energy", "forces"])
        seconds.append(time.perf_counter() - started)
    content = {
        "lattice_constant_A": float(cell.cell.lengths()[0]),
        "thickness_A": float(np.ptp(cell.positions[:, 2])),
        "seconds_3x3": float(np.median(seconds[1:])),
        "frames": results,
    }
    Path(target).write_text(json.dumps(content))


if __name__ == "__main__":
    main(*sys.argv[1:])
