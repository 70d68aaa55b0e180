"""Time local densities of states of an embedded Se vacancy by kernel polynomials, from 12 x 12 to 200 x 200 cells.

    python benchmarks/dilute_limit.py --json
    python benchmarks/dilute_limit.py

The first takes 100 x 100 alone: 4,096 moments for the inequivalent atoms beside the vacancy (one W and the Se across,
x, y and z of each), from the force constants of the relaxed 12 x 12 cell, which are made before if they are not in
results/, to the densities of states. Its last line has seconds and the largest memory of the process that does it.
The second measures the time of a moment for each size, against the same with the matrix in SciPy's sparse format,
and dense diagonalisation (numpy) where it fits; it writes dilute_limit.json and .png beside this file.
"""

import argparse
import json
import multiprocessing
import resource
import statistics
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from tqdm import tqdm

from defectphonons import chebyshev, embedding, force_constants, parallel
from helpers import defects, parameters, records
from helpers.models import potential

HERE = Path(__file__).parent
SIZES = (12, 17, 24, 35, 50, 70, 100, 141, 200)
DENSE = (6, 12, 18)
SPARSE_LIMIT = 150  # the matrix of 200 x 200 has 10 GB
MOMENTS, RADIUS = 4096, 10.0
RUN = parameters.DefectiveCell(supercell=12)


def embedded(mace, cell):
    """The embedding, and the sites of the atoms at the vacancy."""
    found, _ = embedding.embed(*cell, mace, radius=RADIUS, folder=RUN.shared_folder)
    return found, found.find(cell[1].from_site[cell[1].local])


def prepared():
    """The model and the relaxed cell, with its force constants in results/."""
    mace = potential.load(RUN.model, elements=("W", "Se"))
    cell = defects.relaxed_defect(RUN, mace)
    for atoms in (cell[0], cell[2]):
        list(force_constants.terms(force_constants.listed(atoms), mace, folder=RUN.shared_folder))
    return mace, cell


def end_to_end(n):
    """Seconds from the force constants to the densities of states, and the memory of this process."""
    mace, cell = prepared()
    start = time.perf_counter()
    found, local = embedded(mace, cell)
    sampled = chebyshev.local_dos(found, n, 1, {"local": local}, MOMENTS)
    seconds = time.perf_counter() - start
    assert abs(sampled.shares["local"].sum() - 12) < 1e-6, "states are lost"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": round(seconds, 1), "peak_MB": round(peak), "moments": MOMENTS}


def per_moment(apply, vector, budget=2.0):
    """Median seconds of a moment: half of a product, by the doubling rule."""
    apply(vector)
    times = []
    while sum(times) < budget and len(times) < 200:
        start = time.perf_counter()
        apply(vector)
        times.append(time.perf_counter() - start)
    return statistics.median(times) / 2


def row(found, n):
    cell = chebyshev.Cell(found, (n, n))
    vector = np.random.default_rng(n).standard_normal(cell.size)
    timed = {"atoms": 3 * n * n - 1, "operator": per_moment(lambda x: cell @ x, vector)}
    if n <= SPARSE_LIMIT:
        matrix = cell.explicit()
        timed["sparse"] = per_moment(lambda x: matrix @ x, vector)
        timed["sparse_MB"] = (matrix.data.nbytes + matrix.indices.nbytes) / 2**20
        expected = matrix @ vector
        timed["relative_error"] = float(abs(cell @ vector - expected).max() / abs(expected).max())
    return timed


def dense(found, n):
    """Seconds of all modes of an n x n cell at Gamma."""
    matrix = chebyshev.Cell(found, (n, n)).explicit().toarray()
    start = time.perf_counter()
    np.linalg.eigh(matrix)
    return time.perf_counter() - start


def exponent(rows, name, least):
    """Of time against atoms, by least squares on logarithms, for cells of `least` or more atoms."""
    pairs = [(each["atoms"], each[name]) for each in rows if name in each and each["atoms"] >= least]
    return float(np.polyfit(*np.log(pairs).T, 1)[0])


def draw(result):
    figure, axes = plt.subplots(figsize=(5.2, 3.4), layout="constrained")
    looks = {
        "operator": ("#0072B2", "o-", "this compendium: FFT and change"),
        "sparse": ("#D55E00", "s--", "sparse matrix"),
        "dense": ("#009E73", "^:", "dense diagonalisation"),
    }
    for name, (colour, style, label) in looks.items():
        seconds = {
            each["atoms"]: each[name] * (1 if name == "dense" else 6 * MOMENTS)
            for each in result["dense" if name == "dense" else "sizes"]
            if name in each
        }
        axes.loglog(
            seconds.keys(), seconds.values(), style, color=colour, markerfacecolor="none", label=label
        )
    axes.set(xlabel="atoms", ylabel="one thread, six starts of\n4,096 moments (s)")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(HERE / "dilute_limit.png", dpi=200)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", action="store_true", help="100 x 100 alone, the result in the last line")
    given = parser.parse_args()
    made = prepared()
    # In a process of its own: the memory of what made the force constants is not counted.
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        whole = pool.apply(end_to_end, (100,))
    if given.json:
        print(json.dumps(whole))
        return
    found, _ = embedded(*made)
    rows = [row(found, n) for n in tqdm(SIZES, unit="size")]
    result = {
        "end_to_end_100x100": whole,
        "threads": parallel.cores(),
        "sizes": rows,
        "exponent": {name: exponent(rows, name, 5000) for name in ("operator", "sparse")},
        "dense": [{"atoms": 3 * n * n - 1, "dense": dense(found, n)} for n in DENSE],
        "versions": records.versions(),
        "revision": records.revision(),
    }
    records.write_json(HERE / "dilute_limit.json", result)
    draw(result)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
