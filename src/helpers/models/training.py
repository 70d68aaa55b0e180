"""mace_run_train as data: profiles of flags, run, resume, read its log."""

import contextlib
import difflib
import fcntl
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from tqdm import tqdm

from defectphonons import caching, potentials
from helpers import parameters, records
from helpers.data import accuracy, dataset

# Imported where it is needed, for it takes seconds: a wrong parameter of 02 is told before.
if TYPE_CHECKING:
    import torch

# Section 3.4 of the thesis, verbatim but for train_file, valid_fraction, E0s and device, which `flags` adds.
THESIS = {
    "name": "MACE_model", "config_type_weights": '{"Default":1.0}', "model": "MACE",
    "hidden_irreps": "128x0e + 128x1o", "r_max": 5.0, "batch_size": 20, "max_num_epochs": 1000,
    "stage_two": True, "start_stage_two": 800, "ema": True, "ema_decay": 0.99, "amsgrad": True,
    "restart_latest": True, "plot_frequency": 5, "eval_interval": 5,
    "compute_forces": "True", "compute_stress": "True",
    "energy_key": "energy", "forces_key": "forces", "stress_key": "stress",
    "energy_weight": 1.0, "forces_weight": 1.0, "stress_weight": 1.0,
    "wandb": True, "wandb_project": "name_of_project",
    "wandb_entity": "max_mustermann_tu_wien", "wandb_name": "training_run_01",
}  # fmt: skip
SMALL = {
    "name": "wse2-small", "model": "MACE", "hidden_irreps": "32x0e + 32x1o", "r_max": 5.0,
    "batch_size": 4, "max_num_epochs": 380,
    "loss": "stress", "energy_weight": 100, "forces_weight": 100, "stress_weight": 10000,
    "stage_two": True, "start_stage_two": 280, "stage_two_lr": 0.0005, "stage_two_energy_weight": 100,
    "stage_two_forces_weight": 100, "stage_two_stress_weight": 10000,
    "scheduler_patience": 9, "lr": 0.01, "ema": True, "ema_decay": 0.99, "amsgrad": True,
    "eval_interval": 1, "save_all_checkpoints": True, "restart_latest": True,
    "compute_forces": "True", "compute_stress": "True", "default_dtype": "float32",
    "energy_key": "energy", "forces_key": "forces", "stress_key": "stress", "plot": "False",
    "wandb": True, "wandb_project": "wse2-phonons", "wandb_name": "wse2-small",
}  # fmt: skip
# The thesis's architecture with what `small` trains on.
THESIS_TUNED = SMALL | {
    "name": "wse2-thesis", "wandb_name": "wse2-thesis", "hidden_irreps": "128x0e + 128x1o",
    "max_num_epochs": 170, "start_stage_two": 125, "scheduler_patience": 7,
}  # fmt: skip
SMOKE = SMALL | {
    "name": "wse2-smoke", "wandb_name": "wse2-smoke", "hidden_irreps": "8x0e", "max_ell": 2,
    "max_num_epochs": 20, "start_stage_two": 15,
}  # fmt: skip
PROFILES: dict[str, dict[str, Any]] = {
    "thesis": THESIS,
    "thesis-tuned": THESIS_TUNED,
    "small": SMALL,
    "smoke": SMOKE,
}
# From a model that is trained already: its architecture, its cutoff, and small steps, that do not undo what it knows.
FINE_TUNING = {
    "foundation_model": "foundation.model", "multiheads_finetuning": "False", "E0s": "foundation",
    "lr": 0.001, "stage_two_lr": 0.0002,
}  # fmt: skip
ARCHITECTURE = ("model", "hidden_irreps", "max_ell", "r_max")
OURS = (
    "name", "train_file", "valid_file", "work_dir", "device", "seed", "foundation_model", "stage_two", "swa",
    "restart_latest", "save_all_checkpoints", "log_dir", "model_dir", "checkpoints_dir",
    "log_level", "error_table", "config", "dry_run", "help", "distributed",  # with other values our reading of its log fails
)  # fmt: skip
# Where it runs and what is drawn of it: a run may go on under other values of these.
BOOKKEEPING = ("device", "plot", "plot_frequency", "wandb", "wandb_project", "wandb_entity", "wandb_name")
E0S_RULE = "least squares of the training energies over the numbers of atoms of each element"
MARKER = "training.json"  # what the checkpoints beside it belong to
# Without -P and a program of our own, the run's folder would be searched for modules, and a
# training would outlive a notebook that is killed (1 is PR_SET_PDEATHSIG, 9 is SIGKILL).
PROGRAM = """
import ctypes, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9)
from mace.cli.run_train import main
main()
"""
EPOCH = re.compile(
    r"Epoch (\d+): head: .*?loss=\s*([\d.]+), RMSE_E_per_atom=\s*([\d.]+) meV, RMSE_F=\s*([\d.]+) meV / A"
    r"(?:, RMSE_stress=\s*([\d.]+) meV / A\^3)?"
)


def flags(training: parameters.Training, energies: dict[int, float]) -> dict[str, Any]:
    """Flags of mace_run_train by name; True for one without value. `energies`: E0 in eV by number."""
    E0s = {number: round(energies[number], 5) for number in sorted(energies, reverse=True)}  # eV
    ours = {
        "train_file": "train.xyz",
        "valid_file": "validation.xyz",
        "E0s": str(E0s),
        "device": training.device,
        "seed": training.seed,
        "work_dir": ".",  # with the run's folder as working directory, no path enters MACE's log
    }
    profile = PROFILES[training.profile]
    if training.foundation_model:
        ours |= FINE_TUNING
        profile = {name: value for name, value in profile.items() if name not in ARCHITECTURE}
    return profile | ours | training.flags


def check_flags(training: parameters.Training) -> None:
    """ValueError for `training.flags` that mace_run_train does not know, that are ours to set, or that skip a stage."""
    with quiet():
        from mace.tools import build_default_arg_parser

        parser = build_default_arg_parser()
    takes = {  # whether it takes a value
        option.removeprefix("--"): action.nargs != 0
        for action in parser._actions
        for option in action.option_strings
    }
    for name, value in training.flags.items():
        if name in OURS:
            raise ValueError(f"flags: '{name}' is set by the run itself; leave it out")
        if name not in takes:
            close = difflib.get_close_matches(name, takes, n=1)
            meant = f"; did you mean '{close[0]}'?" if close else ""
            raise ValueError(f"flags: mace_run_train has no flag '{name}'{meant}")
        if isinstance(value, bool) == takes[name]:
            how = f"text, '{value}'" if takes[name] else "True or False: it is a switch"
            raise ValueError(f"flags: '{name}' = {value!r}: give it as {how}")
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            given = parser.parse_args(arguments(flags(training, {})))
    except SystemExit:
        raise ValueError(
            f"flags: mace_run_train says {said.getvalue().split('error: ')[-1].strip()}"
        ) from None
    first, last, every = given.start_swa, given.max_num_epochs, given.eval_interval
    if not 0 < first < last:
        raise ValueError(
            f"flags: start_stage_two = {first} must lie between 0 and max_num_epochs = {last}, "
            "or one of the two stages does not take place: give both"
        )
    # Out of patience, MACE leaves the first epoch of stage two out.
    begins = first + (every > 0 and given.patience * every < first)
    if every < 1 or -(-begins // every) * every >= last:
        raise ValueError(
            f"flags: with eval_interval = {every} no epoch of stage two ({begins} to {last - 1}) is evaluated, and without that "
            "there is no model at the end: take a smaller one, like 1"
        )


def arguments(flags: dict[str, Any]) -> list[str]:
    """Flags as mace_run_train takes them."""
    given = {name: value for name, value in flags.items() if value is not False}
    return [f"--{name}" if value is True else f"--{name}={value}" for name, value in given.items()]


def describe(training: parameters.Training, parts: dict[str, list[Atoms]]) -> dict[str, Any]:
    """What determines a training: flags but for bookkeeping, E0s with their rank, data and split."""
    energies, rank = accuracy.reference_energies(parts["train"])
    given = flags(training, energies)  # with rounded E0s: processors differ in the last digits
    E0s: dict[str, Any] = {"rule": "as told by flags"}
    start = {}
    if training.foundation_model:
        start["foundation_model"] = training.inputs["foundation_model"]
    if training.foundation_model and "E0s" not in training.flags:
        E0s["rule"] = "those of the foundation model, moved by the least squares of its errors"
        E0s["rule"] += but_for_isolated(parts["train"], "its error of an isolated atom")
    elif "E0s" not in training.flags:
        each = {str(number): round(energy, 5) for number, energy in sorted(energies.items())}
        E0s = {"eV": each, "rule": E0S_RULE, "rank": rank}
        E0s["rule"] += but_for_isolated(parts["train"], "the energy of an isolated atom")
    return start | {
        "settings": {name: value for name, value in given.items() if name not in BOOKKEEPING},
        "E0s": E0s,
        "data": {"file": Path(training.data).name, "sha256": training.inputs["data"]},
        "split": {name: sorted({dataset.group(atoms) for atoms in part}) for name, part in parts.items()},
    }


def but_for_isolated(frames: list[Atoms], instead: str) -> str:
    """Return the end of a rule for E0s: which elements have an isolated atom among the frames, and what is taken of it."""
    lone = sorted({str(atoms.symbols[0]) for atoms in frames if dataset.isolated(atoms)})
    return f"; of {', '.join(lone)}, {instead}" if lone else ""


def mark(training: parameters.Training, parts: dict[str, list[Atoms]]) -> None:
    """Say that what lies in the run's folder is the training of `training` on `parts`."""
    records.write_json(training.folder / MARKER, describe(training, parts))


def marked(folder: Path) -> dict[str, Any] | None:
    """Return what MARKER says of the training in `folder`; None if there is none, or if it cannot be read."""
    return records.read_json(folder / MARKER) or None


def log_file(folder: Path, settings: dict[str, Any]) -> Path:
    """MACE's text log of a run."""
    return folder / "logs" / f"{settings['name']}_run-{settings['seed']}.log"


def model_file(folder: Path, settings: dict[str, Any]) -> Path:
    """The model after the last stage. (NAME.model is that of stage one, *_compiled.model TorchScript.)"""
    return folder / f"{settings['name']}{'_stagetwo' if 'stage_two' in settings else ''}.model"


def finished(folder: Path, settings: dict[str, Any]) -> bool:
    """Whether mace_run_train reached its end, where it writes the model and then 'Done', and the model is whole."""
    log = log_file(folder, settings)
    done = log.is_file() and log.read_text().rstrip().endswith("INFO: Done")
    return done and caching.is_whole(model_file(folder, settings))


def checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """(epoch, file) of the checkpoints of a run, oldest first."""
    found = (folder / "checkpoints").glob("*_epoch-*.pt")
    return sorted((int(re.search(r"_epoch-(\d+)", path.name)[1]), path) for path in found)


def drop_damaged(folder: Path) -> None:
    """Delete checkpoints that were cut short: MACE swallows the error and starts again at epoch 0."""
    for _, path in checkpoints(folder):
        if not caching.is_whole(path):
            path.unlink()


def prune(folder: Path) -> None:
    """Delete all but the newest three checkpoints of each stage. At its end MACE reads one of each."""
    for second in (False, True):
        stage = [path for _, path in checkpoints(folder) if path.stem.endswith("_swa") is second]
        for path in stage[:-3]:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def only_one(folder: Path) -> Iterator[int]:
    """Hold the run's lock (its file descriptor); RuntimeError if a training in `folder` holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f".{folder.name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(f"a training is already running in {folder}: wait for it or stop it") from None
        yield file.fileno()


def aside(folder: Path, description: dict[str, Any] | None) -> Path:
    """Where a run's folder goes when it makes room for one of other flags or data."""
    digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()
    return folder.with_name(f"{folder.name}.{digest[:8]}")


def force_consistent(atoms: Atoms) -> Atoms:
    """The frame with the energy that its forces are the gradient of as `energy`, the key MACE is given."""
    if "free_energy" not in atoms.calc.results:
        return atoms
    copy = atoms.copy()
    copy.calc = SinglePointCalculator(copy, **atoms.calc.results | {"energy": dataset.energy(atoms)})
    return copy


def prepare(training: parameters.Training, parts: dict[str, list[Atoms]]) -> None:
    """Bring the run's folder to where mace_run_train can start, or go on as it was."""
    folder, profile = training.folder, PROFILES[training.profile] | training.flags
    if len(parts["train"]) < profile["batch_size"]:
        raise ValueError(
            f"{len(parts['train'])} training frames are fewer than a batch of profile '{training.profile}' "
            f"({profile['batch_size']}), and MACE drops an incomplete one: add frames or take another profile"
        )
    if "loss" in profile and not any("stress" in atoms.calc.results for atoms in parts["validation"]):
        raise ValueError(
            f"no stress in the validation frames of {training.data}, but profile '{training.profile}' "
            "trains on stress: add it, or take profile = 'thesis', which ignores it"
        )
    marker = folder / MARKER
    if not marker.exists() and (checkpoints(folder) or any(folder.glob("*.model"))):
        raise RuntimeError(
            f"{folder} holds a training without {MARKER}, so nobody knows from which flags and data. "
            "Move it away; or, if it is what this profile trains, say so with helpers.models.training.mark"
        )
    described = describe(training, parts)
    if marker.exists() and (other := marked(folder)) != described:
        if aside(folder, other).exists():  # either may be hours of work
            raise RuntimeError(
                f"{folder} has to make room, but {aside(folder, other)} is there: move one away"
            )
        folder.rename(aside(folder, other))
        if other is None:
            print(
                f"{marker} is damaged: the training is begun again, what was there is now in {aside(folder, other)}",
                file=sys.stderr,
            )
    if not marker.exists() and aside(folder, described).exists():
        shutil.rmtree(folder, ignore_errors=True)
        aside(folder, described).rename(folder)
    for name, part in parts.items():
        dataset.write(folder / f"{name}.xyz", [force_consistent(atoms) for atoms in part])
    if training.foundation_model:
        import torch

        with caching.whole_file(folder / FINE_TUNING["foundation_model"]) as temporary:
            torch.save(foundation(training, parts), temporary)
    mark(training, parts)
    drop_damaged(folder)


def foundation(training: parameters.Training, parts: dict[str, list[Atoms]]) -> "torch.nn.Module":
    """The model to start from, its E0s moved by `corrections` to the training energies.

    (mace-torch 0.3.16 has E0s=estimated for that, and then trains from the E0s it started with.)
    An element of the data that it does not know begins as the next in its group of the periodic table.
    Raises ValueError for a file that may not be loaded, or an element of whose group it knows none.
    """
    from helpers.models import potential  # here, for it imports MACE, which takes seconds

    known = potential.load(training.foundation_model, trust_model=training.trust_model)
    elements = {symbol for part in parts.values() for atoms in part for symbol in atoms.symbols}
    stand_ins = potentials.stand_ins(known.elements, tuple(elements))
    network = potentials.with_elements(known.calculator.models[0], stand_ins)
    numbers = network.atomic_numbers.tolist()
    for number, correction in corrections(parts["train"], network, stand_ins).items():
        network.atomic_energies_fn.atomic_energies[..., numbers.index(number)] += correction
    return network


def corrections(
    frames: list[Atoms], network: "torch.nn.Module", stand_ins: dict[int, int]
) -> dict[int, float]:
    """By how much in eV to move the E0 of each element of `frames`: the least squares of the errors of the model.

    For a new element, which begins as another of another size, these would be far off. It is moved as
    the other, and by what total energies change when it takes the other's place, in a least squares fit of them to the
    numbers of atoms. Where isolated atoms tell E0s, or all frames have a new element, errors are all there is.
    """
    from mace.calculators import MACECalculator

    calculator = MACECalculator(models=[network], device="cpu", default_dtype="float64")
    plain = [atoms for atoms in frames if not {*stand_ins} & {*atoms.numbers.tolist()}]
    there = {number for atoms in plain for number in atoms.numbers.tolist()}
    if any(dataset.isolated(atoms) for atoms in frames) or not {*stand_ins.values()} <= there:
        plain, stand_ins = frames, {}
    moved, _ = accuracy.reference_energies(plain, accuracy.predict(plain, calculator))
    own, _ = accuracy.reference_energies(plain)
    every, _ = accuracy.reference_energies(frames, known=own)
    return moved | {new: moved[old] + every[new] - own[old] for new, old in stand_ins.items()}


def run(training: parameters.Training, parts: dict[str, list[Atoms]]) -> Path:
    """Train on `parts` (`splitting.split` of `training.fold`) as the profile says, or go on where it was stopped; the finished model's file.

    A finished run of the same flags and data is returned at once; one of others is set aside
    as TAG.HASH, and comes back when it is asked for. A bar over the epochs shows the validation force RMSE.
    Raises ValueError for frames or a device that cannot be trained on, RuntimeError if
    mace_run_train fails or another training runs in the folder.
    """
    folder = training.folder
    check_flags(training)
    described = describe(training, parts)
    settings = described["settings"]
    if marked(folder) == described and finished(folder, settings):
        return model_file(folder, settings)
    import torch

    if training.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device = 'cuda': PyTorch finds no GPU here; set device = 'cpu'")
    given = flags(training, accuracy.reference_energies(parts["train"])[0])
    if training.wandb_mode == "disabled":
        given.pop("wandb", None)
    elif training.wandb_mode == "online":  # the listing's placeholders name nobody's account
        given.pop("wandb_entity", None)
        chosen = {name: os.environ.get(name.upper()) for name in ("wandb_project", "wandb_entity")}
        given |= {name: value for name, value in chosen.items() if value}
    with only_one(folder) as lock:
        prepare(training, parts)
        if not finished(folder, settings):
            execute(training, given, lock)
    return model_file(folder, settings)


def environment(training: parameters.Training) -> dict[str, str]:
    """For mace_run_train: W&B in the given mode (MACE passes none), writing into the run's folder only."""
    places = {f"WANDB_{place}_DIR": str(training.folder / "wandb") for place in ("CACHE", "DATA", "ARTIFACT")}
    mode = {"WANDB_MODE": training.wandb_mode, "WANDB_SILENT": "true", "WANDB_DIR": str(training.folder)}
    return os.environ | mode | places


def execute(training: parameters.Training, given: dict[str, Any], lock: int) -> None:
    """mace_run_train in the run's folder with flags `given`, to its end or ours."""
    folder, log = training.folder, log_file(training.folder, given)
    expected = max((epoch for epoch, _ in checkpoints(folder)), default=0)
    offset = len(log.read_text()) if log.exists() else 0
    output = folder / "output.txt"
    with output.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", PROGRAM, *arguments(given)],
            cwd=folder, env=environment(training), stdout=file, stderr=subprocess.STDOUT, pass_fds=[lock],
        )  # fmt: skip
    try:
        with tqdm(total=given["max_num_epochs"], desc=f"training {training.tag}", leave=False) as bar:
            while process.poll() is None:
                time.sleep(0.5)
                prune(folder)
                first = EPOCH.search(log.read_text()[offset:]) if log.exists() else None
                if first is None:
                    continue
                if int(first[1]) < expected:
                    raise RuntimeError(
                        f"MACE began again at epoch {first[1]} although there is a checkpoint of epoch "
                        f"{expected}; read {output}, and remove {folder} to start afresh"
                    )
                curve = read_log(log)
                force = curve["force_meV_per_A"][-1]
                bar.set_postfix_str(f"force RMSE {force:.1f} meV/A", refresh=False)
                bar.update(curve["epoch"][-1] + 1 - bar.n)
    finally:
        process.kill()
        process.wait()
    if process.returncode != 0 or not finished(folder, given):
        last = "\n".join(output.read_text().splitlines()[-15:])
        raise RuntimeError(f"mace_run_train failed (exit code {process.returncode}); its last lines:\n{last}")


def read_log(path: Path) -> dict[str, np.ndarray]:
    """Validation curve from MACE's text log, one entry an epoch that was evaluated, in order.

    epoch; loss; energy_meV_per_atom, force_meV_per_A, stress_meV_per_A3 (RMSE; NaN if not
    reported); stage (1 or 2). Of an epoch that a resumed run repeated the last value counts.
    """
    rows: dict[int, tuple[float, ...]] = {}
    stage = 1
    for line in path.read_text().splitlines():
        if "VERIFYING SETTINGS" in line:
            stage = 1
        elif "Changing loss based on Stage Two" in line:
            stage = 2
        elif match := EPOCH.search(line):
            rows[int(match[1])] = (*(float(value or "nan") for value in match.groups()[1:]), stage)
    names = ("loss", "energy_meV_per_atom", "force_meV_per_A", "stress_meV_per_A3", "stage")
    columns = np.array([rows[epoch] for epoch in sorted(rows)]).reshape(-1, len(names)).T
    return {"epoch": np.array(sorted(rows), int)} | dict(zip(names, columns, strict=True))


def wall_hours(path: Path) -> float:
    """Hours that the log covers, summed over its starts."""
    total = 0.0
    for part in re.split(r"^(?=.*VERIFYING SETTINGS)", path.read_text(), flags=re.MULTILINE)[1:]:
        stamps = re.findall(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)", part, re.MULTILINE)
        first, last = (datetime.fromisoformat(stamp) for stamp in (stamps[0], stamps[-1]))
        total += (last - first).total_seconds() / 3600
    return total


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings and notes that importing MACE and loading a model print."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
