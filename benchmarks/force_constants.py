"""Time exact force constants of an unrelaxed Se vacancy against what others offer for the same accuracy.

    python benchmarks/force_constants.py --cells 12 --json
    python benchmarks/force_constants.py --all

Nothing is kept from before: ours from the geometry to symmetrised constants, in one process a core; a
peer from displacements along +u and -u to the same. The first asks phonopy with ASE's MACECalculator
alone. `--all` takes 6, 9, 12 and 24 and the other peers too, and writes force_constants.json and .png
beside this file. These want environments of their own, here for the first:

    .venv/bin/python -m uv venv results/peers/torch_sim
    .venv/bin/python -m uv pip install --python results/peers/torch_sim/bin/python -r benchmarks/peers/torch_sim.txt

A peer's displaced cells are timed one by one, the median of a sample is scaled to all, and of one thread
and one a core the quicker counts: on a shared machine threads wait for each other.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import ase.io
import matplotlib.pyplot as plt
import numpy as np
import psutil
import torch
from tqdm import tqdm

from defectphonons import caching, force_constants, parallel, structures
from helpers import paths, records
from helpers.models import potential

HERE = Path(__file__).parent
SAMPLED_ROWS = 3
SAMPLES = {6: 21, 9: 11, 12: 11, 24: 3}  # displaced cells that are timed
PEERS = {  # name -> its label
    "phonopy_ase": "phonopy + ASE",
    "torch_sim": "torch-sim",
    "janus": "janus-core",
    "get_hessian": "MACE get_hessian",
}


def vacancy(n):
    sheet = structures.monolayer("WSe2", 3.32, 3.36)
    return structures.Defect.of(structures.supercell(sheet, n), "V_Se").atoms


def load():
    return potential.load("wse2-small", elements=("W", "Se"))


def ours(atoms, mace):
    """Seconds, those of them for the terms, and the constants (N, N, 3, 3) before they are symmetrised."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        list(force_constants.terms(atoms, mace, folder=Path(folder)))
        terms = time.perf_counter() - start
        phonon = force_constants.analytic(atoms, 1, mace, folder=Path(folder))
        raw = phonon.force_constants.copy()
        force_constants.symmetrise(phonon)
        return time.perf_counter() - start, terms, raw


@contextlib.contextmanager
def peak_memory():
    """A list with the largest memory, in bytes, of this process and those it starts; shared pages counted once."""
    peak, over = [0], threading.Event()

    def watch():
        while not over.wait(0.2):
            held = 0
            for process in (psutil.Process(), *psutil.Process().children()):
                with contextlib.suppress(psutil.Error):  # it has just ended
                    held += process.memory_full_info().pss
            peak[0] = max(peak[0], held)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield peak
    finally:
        over.set()
        watching.join()


def ours_alone(n, repeats):
    """Cold and warm seconds and memory of a process that does nothing else."""
    start = time.perf_counter()
    mace, atoms = load(), vacancy(n)
    loaded = time.perf_counter() - start
    with peak_memory() as peak:
        runs = [ours(atoms, mace)[:2] for _ in range(repeats + 1)]
    atoms = len(force_constants.displaced(atoms, 1, 0.01).symmetry.get_independent_atoms())
    processes = min(parallel.cores(), -(-atoms // force_constants.AT_ONCE))
    return {
        "load": loaded,
        "cold": runs[0][0],
        "warm": statistics.median(each for each, _ in runs[1:]),
        "inequivalent_atoms": atoms,
        "per_atom": statistics.median(each for _, each in runs[1:]) / atoms,
        "processes": processes,
        "peak_MB": peak[0] / 2**20,
    }


def displaced_sample(atoms, sample):
    """Seconds to find all displaced cells, their number, and `sample` of them."""
    start = time.perf_counter()
    phonon = force_constants.displaced(atoms, 1, 0.01)
    cells = phonon.supercells_with_displacements
    prepared = time.perf_counter() - start
    chosen = np.linspace(0, len(cells) - 1, min(sample, len(cells))).astype(int)
    return phonon, prepared, [force_constants.to_ase(cells[i]) for i in chosen]


def finished(phonon):
    """Seconds from all forces to symmetrised constants."""
    n_atoms, n_cells = len(phonon.supercell), len(phonon.supercells_with_displacements)
    start = time.perf_counter()
    phonon.forces = np.zeros((n_cells, n_atoms, 3))
    phonon.produce_force_constants(show_drift=False)
    force_constants.symmetrise(phonon)
    return time.perf_counter() - start


def phonopy_ase(cells, mace, threads):
    """Median seconds a displaced cell, after one to warm up, and the forces."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    taken, forces = [], []
    for displaced in tqdm(cells, desc=f"displacements, {threads} threads", unit="cell"):
        displaced.calc = mace.calculator
        start = time.perf_counter()
        forces.append(displaced.get_forces())
        taken.append(time.perf_counter() - start)
    torch.set_num_threads(before)
    return statistics.median(taken[1:]), forces[1:]


def other_peer(name, python, cells, threads, batches):
    """Median seconds a displaced cell by the size of a batch, and the forces, from the peer's own process."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "cells.xyz", Path(folder) / "forces.npy"
        ase.io.write(source, cells, columns=["symbols", "positions"])
        command = [python, HERE / "peers" / "forces.py", name, paths.model_file("wse2-small"), source, target]
        done = subprocess.run(
            [*map(str, command), str(threads), batches],
            capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": str(threads)},
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"{name} in {python} failed:\n{done.stderr[-2000:]}")
        return json.loads(done.stdout.splitlines()[-1]), np.load(target)


def largest_error(atoms, mace, found):
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


def against_phonopy(n, sample):
    """Ours and phonopy with ASE in this process; medians of three."""
    mace, atoms = load(), vacancy(n)
    runs = [ours(atoms, mace) for _ in range(3)]
    phonon, prepared, cells = displaced_sample(atoms, sample)
    rest = prepared + finished(phonon)
    number = len(phonon.supercells_with_displacements)
    choices = {}
    for threads in sorted({1, parallel.cores()}):
        choices[threads] = phonopy_ase(cells, mace, threads)[0] * number + rest
        print(f"phonopy with ASE, {number} displaced cells, {threads} threads: {choices[threads]:.0f} s")
    seconds = statistics.median(each for each, _, _ in runs)
    peer = min(choices.values())
    return {
        "n": n,
        "seconds": seconds,
        "peers": {"phonopy_ase": peer},
        "ratio": peer / seconds,
        "max_relative_error": largest_error(atoms, mace, runs[0][2]),
    }


def everything(n, environments):
    """A row of the table: ours in a process of its own, every peer, and how far their forces are apart."""
    command = [sys.executable, __file__, "--cells", str(n), "--ours"]
    alone = subprocess.run(command, capture_output=True, text=True, check=True)
    row = {"n": n, "ours": json.loads(alone.stdout.splitlines()[-1]), "peers": {}}
    mace, atoms = load(), vacancy(n)
    phonon, prepared, cells = displaced_sample(atoms, SAMPLES[n])
    rest = prepared + finished(phonon)
    row |= {"atoms": len(atoms), "displaced_cells": len(phonon.supercells_with_displacements)}
    row["sample"] = len(cells) - 1
    choices = {name: {} for name in ("phonopy_ase", "torch_sim", "janus")}
    for threads in sorted({1, parallel.cores()}):
        seconds, expected = phonopy_ase(cells, mace, threads)
        choices["phonopy_ase"][f"{threads} threads"] = seconds
        for name in ("torch_sim", "janus"):
            python = environments / name / "bin" / "python"
            batches = "1,4" if n <= 12 else "1"  # four of 24 x 24 do not fit
            taken, forces = other_peer(name, python, cells, threads, batches)
            choices[name] |= {f"{threads} threads, {how}": each for how, each in taken.items()}
            apart = abs(forces - np.array(expected)[: len(forces)]).max()
            assert apart < 1e-6, f"forces of {name} are {apart} eV/A from those of phonopy with ASE"
    for name, taken in choices.items():
        quickest = min(taken, key=taken.get)
        seconds = taken[quickest] * row["displaced_cells"] + rest
        row["peers"][name] = {"seconds": seconds, "how": quickest, "seconds_per_cell": taken}
    if n == 6:  # what it needs grows with the square of the atoms: not to be had beyond
        start = time.perf_counter()
        mace.calculator.get_hessian(atoms)
        row["peers"]["get_hessian"] = {"seconds": time.perf_counter() - start, "how": "complete"}
    return row


def table(rows):
    """Markdown: seconds, and how many times as long as ours."""
    lines = [
        "| V_Se in | atoms | ours, cold / warm | per inequivalent atom | "
        + " | ".join(PEERS.values())
        + " |",
        "|" + "---|" * (4 + len(PEERS)),
    ]
    for row in rows:
        mine = row["ours"]
        peers = [
            f"{row['peers'][name]['seconds']:.0f} s, {row['peers'][name]['seconds'] / mine['warm']:.0f} ×"
            if name in row["peers"]
            else "–"
            for name in PEERS
        ]
        lines.append(
            f"| {row['n']}×{row['n']} | {row['atoms']} | {mine['cold']:.1f} / {mine['warm']:.1f} s, "
            f"{mine['peak_MB'] / 1024:.1f} GiB | {1000 * mine['per_atom']:.0f} ms | "
            + " | ".join(peers)
            + " |"
        )
    return "\n".join(lines)


def draw(rows, path):
    figure, axes = plt.subplots(figsize=(5, 3.6), constrained_layout=True)
    atoms = [row["atoms"] for row in rows]
    axes.plot(atoms, [row["ours"]["warm"] for row in rows], "o-", color="#0072B2", label="exact, ours")
    styles = {"phonopy_ase": "s--", "torch_sim": "^:", "janus": "v-.", "get_hessian": "x"}
    colours = {"phonopy_ase": "#D55E00", "torch_sim": "#009E73", "janus": "#CC79A7", "get_hessian": "black"}
    for name, label in PEERS.items():
        known = [(row["atoms"], row["peers"][name]["seconds"]) for row in rows if name in row["peers"]]
        axes.plot(*zip(*known, strict=True), styles[name], color=colours[name], label=label)
    axes.set(
        xscale="log", yscale="log", xlabel="atoms of the cell", ylabel="time for all force constants (s)"
    )
    axes.set_xticks(atoms, [f"{row['atoms']}\n{row['n']}×{row['n']}" for row in rows])
    axes.minorticks_off()
    axes.legend(frameon=False)
    with caching.whole_file(path) as temporary:
        figure.savefig(temporary, dpi=200, format="png")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cells", type=int, default=12, help="n of the n x n cell")
    parser.add_argument("--displacements", type=int, default=31, help="displaced cells that are timed")
    parser.add_argument("--json", action="store_true", help="one line of JSON at the end")
    parser.add_argument("--ours", action="store_true", help="ours alone, cold and warm")
    parser.add_argument("--all", action="store_true", help="6, 9, 12, 24 and every peer; table and figure")
    parser.add_argument("--peers", type=Path, default=paths.RESULTS / "peers", help="their environments")
    given = parser.parse_args()
    if given.ours:
        print(json.dumps(ours_alone(given.cells, repeats=3 if given.cells <= 12 else 1)))
    elif given.all:
        rows = []
        for n in SAMPLES:
            rows.append(everything(n, given.peers.resolve()))
            kept = {"versions": records.versions(), "cores": parallel.cores(), "model": "wse2-small"}
            records.write_json(HERE / "force_constants.json", kept | {"rows": rows})
            print(json.dumps(rows[-1]), flush=True)
        draw(rows, HERE / "force_constants.png")
        print(table(rows))
    else:
        result = against_phonopy(given.cells, given.displacements)
        print(
            f"exact force constants: {result['seconds']:.1f} s, relative error {result['max_relative_error']:.1e}"
        )
        print(f"phonopy with ASE takes {result['ratio']:.1f} times as long")
        if given.json:
            print(json.dumps(result))


if __name__ == "__main__":
    main()
