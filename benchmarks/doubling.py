"""What twice the labels gain: trainings of the profile `small` on a quarter, a half and all of the training groups.

    python benchmarks/doubling.py [--parts 4 2 1] [--seeds 1 2 3]

One in `parts` groups of each kind trains, drawn anew for each seed; validation and test stay. Smaller parts train for
more epochs, so that all make as many steps, in an hour of one core each; a killed one goes on. Each enters
data/doubling.json when it is done.
"""

import argparse
import json
from itertools import groupby, product
from typing import Any

import numpy as np
from ase import Atoms
from tqdm import tqdm

from helpers import dataset, parameters, paths, potential, records, training

FILE = paths.DATA / "doubling.json"
DATA = parameters.Training.model_fields["data"].default


def thinned(frames: list[Atoms], every: int, rng: np.random.Generator) -> list[Atoms]:
    """The frames of one in `every` groups of each kind, one at least, drawn at random."""
    kept: set[str] = set()
    for _, alike in groupby(sorted(frames, key=dataset.kind), key=dataset.kind):
        names = sorted({dataset.group(atoms) for atoms in alike})
        kept.update(rng.choice(names, max(1, round(len(names) / every)), replace=False))
    return [atoms for atoms in frames if dataset.group(atoms) in kept]


def measure(every: int, seed: int) -> dict[str, Any]:
    """Frames and atoms that trained, and errors on the test frames by kind of cell."""
    parts, flags = dataset.split(dataset.read(paths.data_file(DATA))), {}
    if every > 1:
        fewer = thinned(parts["train"], every, np.random.default_rng(seed))
        flags = {
            name: round(training.SMALL[name] * len(parts["train"]) / len(fewer))
            for name in ("max_num_epochs", "start_stage_two", "scheduler_patience")
        }
        parts["train"] = fewer
    run = parameters.Training(profile="small", seed=seed, flags=flags, wandb_mode="disabled")
    found = potential.load(str(training.run(run, parts)), trust_model=True)
    return {
        "parts": every,
        "seed": seed,
        "frames": len(parts["train"]),
        "atoms": sum(map(len, parts["train"])),
        "errors": dataset.errors(parts["test"], dataset.predict(parts["test"], found.calculator)),
        "data": records.sha256(paths.data_file(DATA)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--parts", nargs="+", type=int, default=[4, 2, 1])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    given = parser.parse_args()
    for seed, every in tqdm(list(product(given.seeds, given.parts)), unit="training"):
        row = measure(every, seed)
        # Read only now: another process may have added some. Those of other data are out of date.
        rows = json.loads(FILE.read_text())["rows"] if FILE.exists() else []
        others = [
            other
            for other in rows
            if other["data"] == row["data"] and (other["parts"], other["seed"]) != (every, seed)
        ]
        rows = sorted([*others, row], key=lambda each: (-each["parts"], each["seed"]))
        records.write_json(FILE, {"rows": rows, "versions": records.versions()})


if __name__ == "__main__":
    main()
