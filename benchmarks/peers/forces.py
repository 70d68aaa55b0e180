"""Time a peer's forces on displaced cells, in the peer's own environment; called by force_constants.py.

    python forces.py torch_sim|janus MODEL CELLS.xyz FORCES.npy THREADS BATCHES

The first cell warms up; the rest are timed, and their forces written. The last line printed is JSON.
"""

import json
import statistics
import sys
import time

import ase.io
import numpy as np
import torch


def torch_sim(model, cells, sizes):
    """Seconds a cell by the size of the batch, and the forces."""
    import torch_sim as ts
    from torch_sim.models.mace import MaceModel

    loaded = torch.load(model, map_location="cpu", weights_only=False)
    network = MaceModel(loaded, device=torch.device("cpu"), dtype=torch.float64, compute_stress=False)
    seconds, forces = {}, []
    for size in sizes:  # its own choice of the size needs a GPU
        ts.static(cells[:1], network)
        taken, forces = [], []
        for start in range(1, len(cells) - size + 1, size):
            begun = time.perf_counter()
            found = ts.static(cells[start : start + size], network)
            taken.append((time.perf_counter() - begun) / size)
            forces += [each["forces"].detach().numpy() for each in found]
        seconds[f"{size} a batch"] = statistics.median(taken)
    return seconds, forces


def janus(model, cells, sizes):
    """The same with the force evaluation that `janus phonons` makes of each displaced cell, one by one."""
    from janus_core.calculations.phonons import Phonons
    from phonopy.structure.atoms import PhonopyAtoms

    calculation = Phonons(
        struct=cells[0].copy(), arch="mace", model=model, device="cpu", write_results=False,
        calc_kwargs={"default_dtype": "float64"}, track_carbon=False,
    )  # fmt: skip
    taken, forces = [], []
    for atoms in cells:
        cell = PhonopyAtoms(
            symbols=atoms.get_chemical_symbols(), cell=atoms.cell.array, positions=atoms.positions
        )
        begun = time.perf_counter()
        forces.append(calculation._calc_forces(cell))
        taken.append(time.perf_counter() - begun)
    return {"one by one": statistics.median(taken[1:])}, forces[1:]


def main():
    name, model, cells, target, threads, sizes = sys.argv[1:]
    torch.set_num_threads(int(threads))
    sizes = [int(each) for each in sizes.split(",")]
    seconds, forces = {"torch_sim": torch_sim, "janus": janus}[name](model, ase.io.read(cells, ":"), sizes)
    np.save(target, np.array(forces))
    print(json.dumps(seconds))


if __name__ == "__main__":
    main()
