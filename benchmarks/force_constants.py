"""Time exact force constants of an unrelaxed Se vacancy against phonopy with ASE's MACECalculator.

    python benchmarks/force_constants.py --cells 12 --json

One run, one machine, nothing kept from before: ours from the geometry to symmetrised constants, the
peer from displacements to the same, its displaced cells one by one. These are timed with one thread
and with all that torch takes, and the quicker counts: on a shared machine threads wait for each other.
A sample is timed each time, after one cell to warm up, and scaled to all.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from helpers import force_constants, potential, structures

SAMPLED_ROWS = 3


def ours(atoms, mace) -> tuple[float, np.ndarray]:
    """Seconds, and the constants (N, N, 3, 3) before they are symmetrised."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        phonon = force_constants.analytic(atoms, 1, mace, folder=Path(folder))
        raw = phonon.force_constants.copy()
        force_constants.symmetrise(phonon)
        return time.perf_counter() - start, raw


def phonopy_ase(atoms, mace, sample: int, threads: int) -> tuple[float, int]:
    """Seconds for all displaced cells and what follows, scaled from `sample` of them; their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    start = time.perf_counter()
    phonon = force_constants.displaced(atoms, 1, 0.01)
    cells = phonon.supercells_with_displacements
    prepared = time.perf_counter() - start
    chosen = np.linspace(0, len(cells) - 1, min(sample, len(cells))).astype(int)
    forces = np.zeros((len(cells), len(atoms), 3))
    potential.evaluate(mace, atoms)
    start = time.perf_counter()
    for i in tqdm(chosen, desc="displacements", unit="cell"):
        displaced = force_constants.to_ase(cells[i])
        displaced.calc = mace.calculator
        forces[i] = displaced.get_forces()
    labelled = (time.perf_counter() - start) * len(cells) / len(chosen)
    torch.set_num_threads(before)
    start = time.perf_counter()
    phonon.forces = forces
    phonon.produce_force_constants(show_drift=False)
    force_constants.symmetrise(phonon)
    return prepared + labelled + time.perf_counter() - start, len(cells)


def largest_error(atoms, mace, found: np.ndarray) -> float:
    """Relative to the largest constant, on rows of the whole model differentiated twice."""
    calculator = mace.calculator
    batch = calculator._clone_batch(calculator._atoms_to_batch(atoms)).to_dict()
    positions = batch["positions"].requires_grad_(True)
    energy = calculator.models[0](batch, compute_force=False)["interaction_energy"]
    (gradient,) = torch.autograd.grad(energy, positions, create_graph=True)
    errors, largest = [], 0.0
    for i in np.linspace(0, len(atoms) - 1, SAMPLED_ROWS).astype(int):
        for axis in range(3):
            (row,) = torch.autograd.grad(gradient[i, axis], positions, retain_graph=True)
            errors.append(abs(found[i, :, axis] - row.numpy()).max())
            largest = max(largest, float(abs(row).max()))
    return float(max(errors)) / largest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cells", type=int, default=12, help="n of the n x n cell")
    parser.add_argument("--displacements", type=int, default=30, help="displaced cells that are timed")
    parser.add_argument("--json", action="store_true", help="one line of JSON at the end")
    given = parser.parse_args()
    n = given.cells
    mace = potential.load("wse2-small", elements=("W", "Se"))
    sheet = structures.monolayer("WSe2", 3.32, 3.36)
    atoms = structures.vacancy(structures.supercell(sheet, n), "V_Se").atoms
    seconds, found = ours(atoms, mace)
    peers = {}
    for threads in sorted({1, torch.get_num_threads()}):
        peers[threads], n_cells = phonopy_ase(atoms, mace, given.displacements, threads)
    threads = min(peers, key=peers.get)
    peer = peers[threads]
    error = largest_error(atoms, mace, found)
    print(f"V_Se in {n}x{n}, {len(atoms)} atoms")
    print(f"exact force constants: {seconds:.1f} s, relative error {error:.1e}")
    for each, needed in peers.items():
        print(f"phonopy with ASE, {n_cells} displaced cells, {each} threads: {needed:.0f} s")
    print(f"with {threads} threads {peer / seconds:.1f} times as long as ours")
    if given.json:
        result = {
            "n": n,
            "seconds": seconds,
            "peers": {"phonopy_ase": peer},
            "ratio": peer / seconds,
            "max_relative_error": error,
        }
        print(json.dumps(result))


if __name__ == "__main__":
    main()
