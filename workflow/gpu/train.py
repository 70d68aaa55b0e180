"""Train, or go on; then evaluate and time. See README.md beside this file."""

import argparse
import json
import shutil
import time
from pathlib import Path

import numpy as np
import torch

from defectphonons import potentials, structures
from helpers import parameters, paths, records
from helpers.data import dataset, splitting
from helpers.models import potential, shipping, training

SIZES = (3, 6, 12)  # n of the n x n cells that forces are timed in


def seconds(model: Path, device: str) -> dict[str, float]:
    """Median time of energy and forces of a WSe2 sheet of n x n cells in float64, by its number of atoms."""
    found = potential.load(str(model), device=device, trust_model=True)
    times = {}
    for n in SIZES:
        cell = structures.supercell(structures.monolayer("WSe2", 3.32, 3.36), n)
        taken = []
        for number in range(6):
            cell.rattle(1e-3, seed=number)
            started = time.perf_counter()
            potentials.evaluate(found, cell)
            if device == "cuda":
                torch.cuda.synchronize()
            taken.append(time.perf_counter() - started)
        times[str(len(cell))] = float(np.median(taken[1:]))
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="thesis", choices=sorted(training.PROFILES))
    parser.add_argument("--data", default="wse2.xyz", help="in data/, or a path")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--flags", type=json.loads, default={}, help="as JSON, over those of the profile")
    parser.add_argument("--name", default="model", help="of the model (default: model)")
    given = vars(parser.parse_args())
    name = given.pop("name")
    run = parameters.Training(**given, wandb_mode="disabled")
    training.run(run, splitting.split(dataset.read(paths.data_file(run.data)), run.fold))
    paths.MODELS.mkdir(exist_ok=True)
    model = shipping.ship(run.folder, name, replace=True, no_committee=True)
    target = paths.RESULTS / "model"
    target.mkdir(parents=True, exist_ok=True)
    for suffix in (".model", ".json", ".log"):
        shutil.copy(model.with_suffix(suffix), target)
    described = json.loads(model.with_suffix(".json").read_text())
    epoch = 3600 * described["wall_hours"] / described["epochs"]
    device = torch.cuda.get_device_name() if run.device == "cuda" else "CPU"
    times = {"device": device, "epoch": epoch, "forces_by_atoms": seconds(model, run.device)}
    records.write_json(paths.RESULTS / "seconds.json", times)
    print(json.dumps({"validation": described["errors"]["validation"]["total"], **times}, indent=1))


if __name__ == "__main__":
    main()
