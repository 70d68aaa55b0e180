"""Which choices lower the validation error: short trainings of the profile `small`, one change each.

    python benchmarks/training_choices.py [NAME ...]

80 epochs in float32, batches of 5, a learning rate that falls when the loss stands still, on the first 134 frames
of data/wse2.xyz (all that there were when the first rows were measured) without their `config_weight`, 0.2 to 1 h of
one core each; a killed one goes on.
Each row enters data/training_choices.json, which 02 shows, when it is done.
"""

import argparse
import json

from tqdm import tqdm

from helpers import parameters, paths, records
from helpers.data import accuracy, dataset, splitting
from helpers.models import potential, training

FILE = paths.DATA / "training_choices.json"
DATA, FRAMES = "wse2.xyz", 134
BASE = {
    "batch_size": 5, "default_dtype": "float32", "max_num_epochs": 80, "start_stage_two": 56, "stage_two_lr": 0.0005,
    "stage_two_energy_weight": 1000, "stage_two_stress_weight": 100000, "scheduler_patience": 20,
}  # fmt: skip
CHOICES: dict[str, dict[str, bool | int | float | str]] = {
    "base": {},
    "float64": {"default_dtype": "float64"},
    "batch of 2": {"batch_size": 2},
    "universal loss": {"loss": "universal"},
    "L = 0, 64 channels": {"hidden_irreps": "64x0e"},
    "L = 2": {"hidden_irreps": "32x0e + 32x1o + 32x2e"},
    "r_max 4.5": {"r_max": 4.5},
    "r_max 6": {"r_max": 6.0},
    "64 channels": {"hidden_irreps": "64x0e + 64x1o"},
    "16 channels": {"hidden_irreps": "16x0e + 16x1o"},
    "forces 1000": {"forces_weight": 1000, "stage_two_forces_weight": 1000},
    "stage two, weights of one": {"stage_two_energy_weight": 100, "stage_two_stress_weight": 10000},
    "patience of 5 epochs": {"scheduler_patience": 5},
    "learning rate 0.005": {"lr": 0.005},
    "learning rate 0.02": {"lr": 0.02},
    "E0s of isolated atoms": {"E0s": "{74: -3.158, 34: -0.734}"},
    "other seed": {"seed": 2},
}


def measure(name: str) -> dict[str, object]:
    """Flags that differ, hours of one core, and errors on the validation frames by kind of cell."""
    flags = BASE | CHOICES[name]
    seed = int(flags.pop("seed", 1))
    run = parameters.Training(profile="small", data=DATA, flags=flags, seed=seed, wandb_mode="disabled")
    frames = dataset.read(paths.data_file(DATA))[:FRAMES]
    for atoms in frames:
        del atoms.info["config_weight"]
    parts = splitting.split(frames)
    model = training.run(run, parts)
    found = potential.load(str(model), trust_model=True)
    log = training.log_file(run.folder, training.flags(run, {}))
    return {
        "flags": CHOICES[name],
        "hours": round(training.wall_hours(log), 2),
        "errors": accuracy.errors(
            parts["validation"], accuracy.predict(parts["validation"], found.calculator)
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(CHOICES)}")
    names = parser.parse_args().names or list(CHOICES)
    for name in tqdm(names, unit="training"):
        row = measure(name)
        rows = json.loads(FILE.read_text())["rows"] if FILE.exists() else {}
        rows[name] = row  # read only now: another process may have added some
        records.write_json(
            FILE, {"data": DATA, "frames": FRAMES, "base": BASE, "rows": rows, "versions": records.versions()}
        )


if __name__ == "__main__":
    main()
