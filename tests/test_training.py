import hashlib
import io
import json
import multiprocessing
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import atomic_numbers

from defectphonons import caching, potentials
from helpers import parameters, paths, records
from helpers.data import accuracy, dataset, splitting
from helpers.models import committee, potential, shipping, training

# Section 3.4 of the thesis as printed.
LISTING = """--name="MACE_model" --train_file="output.xyz" --valid_fraction=0.10
--config_type_weights='{"Default":1.0}' --E0s="{74:-4.495, 34:-8.989}" --model="MACE"
--hidden_irreps='128x0e + 128x1o' --r_max=5.0 --batch_size=20 --max_num_epochs=1000 --stage_two
--start_stage_two=800 --ema --ema_decay=0.99 --amsgrad --restart_latest --device=cuda --plot_frequency=5
--eval_interval=5 --compute_forces=True --compute_stress=True --energy_key=energy --forces_key=forces
--stress_key=stress --energy_weight=1.0 --forces_weight=1.0 --stress_weight=1.0 --wandb
--wandb_project="name_of_project" --wandb_entity="max_mustermann_tu_wien" --wandb_name="training_run_01" """
TINY = {"hidden_irreps": "4x0e", "max_num_epochs": 60, "start_stage_two": 57, "correlation": 1}
E0S = {34: -6.488191, 74: -7.087969}


@pytest.fixture(scope="module")
def frames():
    return dataset.read(paths.data_file("wse2.xyz"))


@pytest.fixture(scope="module")
def few(frames):
    """Fifteen frames of one primitive cell, in five groups."""
    cells = [atoms for atoms in frames if dataset.kind(atoms) == "pristine_1x1"]
    names = sorted({dataset.group(atoms) for atoms in cells})[:5]
    return [atoms for atoms in cells if dataset.group(atoms) in names]


@pytest.fixture(scope="module")
def place(tmp_path_factory, few):
    """Results, models and a home of their own, and a smoke profile that takes seconds."""
    root = tmp_path_factory.mktemp("place")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "RESULTS", root / "results")
        patch.setattr(paths, "MODELS", root / "models")
        patch.setitem(training.PROFILES, "smoke", training.SMOKE | TINY)
        patch.setenv("HOME", str(root / "home"))
        dataset.write(root / "few.xyz", few)
        yield root


def tiny(place: Path, **changes) -> parameters.Training:
    return parameters.Training(data=str(place / "few.xyz"), **changes)


def errors(model: Path, frames: list) -> dict:
    found = potential.load(str(model), trust_model=True)
    return accuracy.errors(frames, accuracy.predict(frames, found.calculator))


def log_of(run: parameters.Training) -> Path:
    return training.log_file(run.folder, training.flags(run, E0S))


# Once MACE has written the checkpoint of epoch 5 it says so and waits, so that it cannot end before it is killed.
HELD = """
import pathlib, threading
from mace.tools import CheckpointHandler
save = CheckpointHandler.save
def save_and_wait(self, state, epochs, **more):
    save(self, state, epochs, **more)
    if epochs == 5:
        pathlib.Path("held").touch()
        threading.Event().wait()
CheckpointHandler.save = save_and_wait
"""


def held_run(run: parameters.Training, parts: dict) -> None:
    """In a process of its own, which nothing else sees the other program of."""
    training.PROGRAM = training.PROGRAM.replace("main()", HELD + "main()")
    training.run(run, parts)


@pytest.fixture(scope="module")
def killed(place, few):
    """A run whose process was killed in stage one, and whose newest checkpoint was then cut short."""
    run = tiny(place)
    process = multiprocessing.get_context("fork").Process(target=held_run, args=(run, splitting.split(few)))
    process.start()
    while not (run.folder / "held").exists():
        assert process.is_alive(), (run.folder / "output.txt").read_text()
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    for _ in range(600):  # the lock is free once mace_run_train, which inherited it, is gone too
        try:
            with training.only_one(run.folder):
                break
        except RuntimeError:
            time.sleep(0.1)
    else:
        pytest.fail("mace_run_train outlived the process that started it")
    newest = training.checkpoints(run.folder)[-1][1]
    newest.write_bytes(newest.read_bytes()[:-1000])
    return run


@pytest.fixture(scope="module")
def resumed(killed, few):
    """The killed run, brought to its end; (run, epoch it had to go on from, its log before, model)."""
    before = log_of(killed).read_text()
    epoch = training.checkpoints(killed.folder)[-2][0]
    return killed, epoch, before, training.run(killed, splitting.split(few))


def parsed(text: str) -> dict:
    pairs = [word.removeprefix("--").split("=", 1) for word in shlex.split(text)]
    return {pair[0]: pair[1] if len(pair) == 2 else True for pair in pairs}


def test_the_thesis_profile_has_the_thesis_flags():
    listed = parsed(LISTING)
    ours = training.flags(parameters.Training(profile="thesis", device="cuda"), E0S)
    assert listed.keys() - ours.keys() == {"valid_fraction"}
    assert ours.keys() - listed.keys() == {"valid_file", "seed", "work_dir"}
    different = {name for name in listed.keys() & ours.keys() if str(ours[name]) != str(listed[name])}
    assert different == {"train_file", "E0s"}


def checksum_of(first: list) -> str:
    """The checksum of wse2.xyz when it had no more than its `first` frames."""
    lines = paths.data_file("wse2.xyz").read_text().splitlines(keepends=True)
    return hashlib.sha256("".join(lines[: sum(len(atoms) + 2 for atoms in first)]).encode()).hexdigest()


@pytest.mark.parametrize(("name", "profile"), [("wse2-small", "small"), ("wse2-thesis", "thesis-tuned")])
def test_the_profiles_trained_the_shipped_models(frames, name, profile):
    shipped = json.loads((paths.MODELS / f"{name}.json").read_text())
    ours = training.describe(parameters.Training(profile=profile), splitting.split(frames))
    stages = [
        *reversed(shipped.get("start", [])),
        shipped,
    ]  # of a fine-tuned model the first was trained from nothing
    own = ("E0s", "name")  # the E0s are those of the frames that there were
    first, expected = (
        {key: value for key, value in each["settings"].items() if key not in own}
        for each in (stages[0], ours)
    )
    assert first == expected
    # Each stage had those of today's frames that there were.
    for number, each in enumerate(stages):
        there = frames[: 180 if number else 166]
        assert each["data"]["sha256"] == checksum_of(there)
        assert each["split"] == {
            side: sorted({dataset.group(atoms) for atoms in part})
            for side, part in splitting.split(there).items()
        }
    for each in stages[1:]:
        assert each["settings"]["foundation_model"] and each["settings"]["lr"] == training.FINE_TUNING["lr"]
    # Nothing that judges the model trained one before it.
    judges = {*shipped["split"]["test"], *shipped["split"]["validation"]}
    assert all(judges.isdisjoint(each["split"]["train"]) for each in stages)


def test_what_the_thesis_flags_do_in_mace():
    with training.quiet():
        from mace.tools import build_default_arg_parser

    parser = build_default_arg_parser()
    given = training.flags(parameters.Training(profile="thesis"), E0S)
    args = parser.parse_args(training.arguments(given))
    assert (args.loss, args.patience, args.scheduler_patience) == ("weighted", 2048, 50)
    assert (args.swa_energy_weight, args.swa_forces_weight, args.swa_lr) == (1000, 100, 0.001)
    assert parser.get_default("forces_weight") == 100
    idle = ("amsgrad", "compute_forces", "config_type_weights")
    without = {name: value for name, value in given.items() if name not in idle}
    assert parser.parse_args(training.arguments(without)) == args


def test_the_log_keeps_the_last_of_repeated_epochs(tmp_path):
    line = (
        "2026-01-01 00:00:0{}.000 INFO: Epoch {}: head: Default, loss=0.5, "
        "RMSE_E_per_atom=  {} meV, RMSE_F=  {} meV / A"
    )
    start = "2026-01-01 00:00:00.000 INFO: ===========VERIFYING SETTINGS==========="
    second = "INFO: Changing loss based on Stage Two Weights"
    stress = ", RMSE_stress=    0.25 meV / A^3"
    lines = [start, line.format(1, 0, 1.0, 10.0), second, line.format(2, 1, 2.0, 20.0)]
    lines += [start, line.format(3, 0, 3.0, 30.0) + stress, line.format(9, 2, 4.0, 40.0)]
    path = tmp_path / "mace.log"
    path.write_text("\n".join(lines) + "\n")
    curve = training.read_log(path)
    assert curve["epoch"].tolist() == [0, 1, 2]
    assert curve["energy_meV_per_atom"].tolist() == [3.0, 2.0, 4.0]
    assert curve["force_meV_per_A"].tolist() == [30.0, 20.0, 40.0]
    assert curve["stage"].tolist() == [1, 2, 1]
    assert curve["stress_meV_per_A3"][0] == 0.25
    assert np.isnan(curve["stress_meV_per_A3"][1:]).all()
    assert training.wall_hours(path) == pytest.approx(11 / 3600)
    path.write_text(start)
    assert len(training.read_log(path)["force_meV_per_A"]) == 0


def test_an_unfinished_run_is_not_shipped(killed):
    with pytest.raises(RuntimeError, match="not finished"):
        shipping.ship(killed.folder, "tiny")
    assert not paths.MODELS.exists()


@pytest.mark.parametrize("name", ["", ".", "a/b"])
def test_a_name_that_is_a_place_is_refused(name, killed):
    with pytest.raises(ValueError, match="NAME"):
        shipping.ship(killed.folder, name)
    assert killed.folder.is_dir()


def test_a_killed_run_goes_on_from_its_last_whole_checkpoint(resumed):
    run, epoch, before, _ = resumed
    since = log_of(run).read_text()[len(before) :]
    assert epoch == 4
    assert int(training.EPOCH.search(since)[1]) == epoch
    curve = training.read_log(log_of(run))
    assert curve["epoch"].tolist() == list(range(60))
    assert curve["stage"].tolist() == [1] * 57 + [2] * 3
    assert curve["force_meV_per_A"][-1] < curve["force_meV_per_A"][0]
    assert len(training.checkpoints(run.folder)) <= 8


def test_a_finished_run_starts_nothing(resumed, few, monkeypatch):
    run, _, _, model = resumed
    monkeypatch.setattr(subprocess, "Popen", None)
    assert training.run(run, splitting.split(few)) == model
    online = tiny(model.parents[3], wandb_mode="online")
    assert training.run(online, splitting.split(few)) == model


def test_a_damaged_model_is_written_again_from_its_checkpoints(resumed, few):
    run, _, _, model = resumed
    whole, curve = model.read_bytes(), training.read_log(log_of(run))["epoch"].tolist()
    model.write_bytes(whole[:-1000])
    assert training.run(run, splitting.split(few)) == model
    assert caching.is_whole(model)
    assert training.read_log(log_of(run))["epoch"].tolist() == curve


def test_offline_stays_in_the_run_folder(resumed, place):
    run = resumed[0]
    assert list((run.folder / "wandb").glob("offline-run-*"))
    assert not [path for path in (place / "home").rglob("*") if "wandb" in path.name]
    environment = training.environment(tiny(place, wandb_mode="online"))
    assert (environment["WANDB_MODE"], environment["WANDB_SILENT"]) == ("online", "true")


def test_errors_agree_with_mace(resumed):
    run, _, _, model = resumed
    table = errors(model, dataset.read(run.folder / "validation.xyz"))
    last = {name: values[-1] for name, values in training.read_log(log_of(run)).items()}
    for name in ("energy_meV_per_atom", "force_meV_per_A", "stress_meV_per_A3"):
        assert table["total"][f"rmse_{name}"] == pytest.approx(last[name], abs=0.015)  # in single precision
    assert table["total"] == table["pristine_1x1"]


def test_shipping(resumed, monkeypatch):
    run, _, _, model = resumed
    shipped = shipping.ship(run.folder, "tiny")
    described = json.loads(shipped.with_suffix(".json").read_text())
    files = {f"tiny.{suffix}" for suffix in ("model", "log", "json", "committee.npz")}
    assert {path.name for path in paths.MODELS.iterdir()} == files
    assert described["committee"]["members"] == len(committee.members(potential.load("tiny"), "tiny"))
    assert described["sha256"] == records.sha256(shipped)
    assert (described["elements"], described["epochs"]) == (["Se", "W"], 60)
    assert described["data"] == {"file": "few.xyz", "sha256": run.inputs["data"]}
    test = dataset.read(run.folder / "test.xyz")
    assert described["errors"]["test"] == errors(model, test)  # cleaned, not changed
    with training.quiet():
        state = torch.load(shipped, weights_only=False).state_dict()
    assert {value.dtype for value in state.values() if value.is_floating_point()} == {torch.float64}
    assert described["split"]["test"] == sorted({dataset.group(atoms) for atoms in test})
    assert not places(shipped)
    with pytest.raises(FileExistsError, match="--replace"):
        shipping.ship(run.folder, "tiny")
    with pytest.raises(ValueError, match="did not go on from the model of"):
        shipping.ship(run.folder, "other", start=[run.folder])
    monkeypatch.setattr(shipping, "targets", lambda *_: {"broken": float("nan")})
    with pytest.raises(ValueError):
        shipping.ship(run.folder, "tiny", replace=True)
    assert json.loads(shipped.with_suffix(".json").read_text()) == described
    assert {path.name for path in paths.MODELS.iterdir()} == files


def places(model: Path) -> list[str]:
    """Paths of machines and URLs in what was shipped with `model`, also inside its TorchScript."""
    with training.quiet():
        modules = torch.load(model, map_location="cpu", weights_only=False).modules()
        states = [module.__getstate__() for module in modules if hasattr(module, "__codegen__")]
    texts = [model.with_suffix(suffix).read_bytes() for suffix in (".log", ".json")]
    for script in (script for state in states for script in state["__codegen__"].values()):
        with zipfile.ZipFile(io.BytesIO(script)) as archive:
            texts += [archive.read(name) for name in archive.namelist()]
    told = (b"site-packages", str(paths.ROOT).encode(), sys.prefix.encode(), b"://", b"/home/", b"/tmp/")
    return [name.decode() for name in told if any(name in text for text in texts)]


def test_the_energy_trained_on_is_the_one_the_forces_derive_from(place, few):
    parts = splitting.split(few)
    before = [atoms.calc.results["energy"] for atoms in parts["train"]]
    smeared = {side: [atoms.copy() for atoms in part] for side, part in parts.items()}
    for side, part in smeared.items():
        for copy, atoms in zip(part, parts[side], strict=True):
            free = {"free_energy": atoms.calc.results["energy"] - 0.01 * len(atoms)}
            copy.calc = SinglePointCalculator(copy, **atoms.calc.results | free)
    run = tiny(place, seed=9)
    training.prepare(run, smeared)
    written = ase.io.read(run.folder / "train.xyz", ":")  # as mace_run_train reads it
    assert [atoms.get_potential_energy() for atoms in written] == pytest.approx([e - 0.03 for e in before])
    E0s, rank = accuracy.reference_energies(smeared["train"])
    assert rank == 1 and E0s[34] * 2 + E0s[74] == pytest.approx(np.mean(before) - 0.03)
    training.prepare(tiny(place, seed=10), parts)
    dataset.write(place / "plain.xyz", parts["train"])
    assert (tiny(place, seed=10).folder / "train.xyz").read_bytes() == (place / "plain.xyz").read_bytes()


def test_other_data_sets_the_run_aside_and_its_own_brings_it_back(place, frames):
    run = parameters.Training(seed=7)
    parts = splitting.split(frames)
    fewer = {**parts, "train": parts["train"][1:]}
    training.prepare(run, parts)
    (run.folder / "checkpoints").mkdir()
    (run.folder / "checkpoints" / "wse2-smoke_run-7_epoch-3.pt").write_bytes(b"cut short")
    training.prepare(run, parts)
    assert run.folder.is_dir() and not training.checkpoints(run.folder)
    (run.folder / "wse2-smoke.model").touch()
    training.prepare(run, fewer)
    assert not (run.folder / "wse2-smoke.model").exists()
    (run.folder / "other.model").touch()
    training.prepare(run, parts)
    assert (run.folder / "wse2-smoke.model").exists()
    training.prepare(run, fewer)
    assert (run.folder / "other.model").exists()
    shutil.rmtree(run.folder)  # by hand, or a kill between two renames
    training.prepare(run, parts)
    assert (run.folder / "wse2-smoke.model").exists()
    training.prepare(run, fewer)
    (run.folder / "other.model").touch()
    (run.folder / training.MARKER).unlink()
    with pytest.raises(RuntimeError, match="nobody knows"):
        training.prepare(run, parts)
    training.mark(run, fewer)
    training.prepare(run, fewer)
    assert (run.folder / "other.model").exists()


@pytest.mark.parametrize("damage", [b"", b'{"settings": ', b"\xff\xfe"])
def test_a_training_that_is_not_described_any_more_is_set_aside(damage, place, few, capsys, request):
    run, parts = tiny(place, seed=20 + len(damage)), splitting.split(few)
    training.prepare(run, parts)
    (run.folder / "old.model").touch()
    (run.folder / training.MARKER).write_bytes(damage)
    with pytest.raises(FileNotFoundError, match="or a damaged one"):
        shipping.finished_run(run.folder)
    training.prepare(run, parts)
    old = training.aside(run.folder, None)
    assert f"what was there is now in {old}" in capsys.readouterr().err
    assert (old / "old.model").exists() and not (run.folder / "old.model").exists()
    (run.folder / training.MARKER).write_bytes(damage)
    with pytest.raises(RuntimeError, match=f"{old.name} is there: move one away"):
        training.prepare(run, parts)


def test_what_cannot_be_trained_is_refused(place, few, monkeypatch):
    run = tiny(place, seed=8)
    parts = splitting.split(few)
    with pytest.raises(ValueError, match="2 training frames are fewer than a batch of profile 'smoke'"):
        training.prepare(run, {**parts, "train": parts["train"][:2]})
    mute = [atoms.copy() for atoms in parts["validation"]]
    for copy, atoms in zip(mute, parts["validation"], strict=True):
        copy.calc = type("Calculator", (), {"results": {"energy": dataset.energy(atoms)}})()
    with pytest.raises(ValueError, match="no stress"):
        training.prepare(run, {**parts, "validation": mute})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="finds no GPU"):
        training.run(tiny(place, device="cuda", seed=8), splitting.split(few))
    monkeypatch.setattr(training, "PROGRAM", "raise SystemExit('out of ink')")
    with pytest.raises(RuntimeError, match="exit code 1.*\n.*out of ink"):
        training.run(run, splitting.split(few))
    with training.only_one(run.folder), pytest.raises(RuntimeError, match="already running"):
        training.run(run, splitting.split(few))


def test_the_model_of_all_defects_went_on_from_the_default_one(frames):
    described, start = (
        json.loads((paths.ROOT / "data" / "models" / f"{name}.json").read_text())
        for name in ("wse2-defects", "wse2-small")
    )
    assert described["foundation_model"] == start["sha256"]
    assert described["elements"] == ["O", "S", "Se", "W"]
    assert described["split"] == {
        side: sorted({dataset.group(atoms) for atoms in part})
        for side, part in splitting.split(frames[:217]).items()
    }
    judges = {*described["split"]["test"], *described["split"]["validation"]}
    assert judges.isdisjoint(start["split"]["train"])


@pytest.mark.parametrize(("name", "count"), [("wse2-small", 180), ("wse2-defects", 217)])
def test_the_shipped_model_is_what_its_record_says(frames, name, count):
    model = paths.ROOT / "data" / "models" / f"{name}.model"
    described = json.loads(model.with_suffix(".json").read_text())
    assert described["sha256"] == records.sha256(model)
    assert described["data"]["sha256"] == checksum_of(frames[:count])
    recomputed = errors(model, splitting.split(frames[:count])["test"])
    assert recomputed.keys() == described["errors"]["test"].keys()
    for kind, row in recomputed.items():
        assert row == pytest.approx(described["errors"]["test"][kind], rel=1e-4)
    assert not places(model)


def test_the_rule_of_the_e0s_names_the_elements_with_isolated_atoms(few):
    lone = Atoms("Se", cell=[12] * 3, pbc=True)
    lone.calc = SinglePointCalculator(lone, energy=-0.2, free_energy=-0.2, forces=np.zeros((1, 3)))
    parts = splitting.split(few)
    run = parameters.Training()
    assert training.describe(run, parts)["E0s"]["rule"] == training.E0S_RULE
    parts["train"] = [*parts["train"], lone]
    E0s = training.describe(run, parts)["E0s"]
    assert E0s["rule"] == f"{training.E0S_RULE}; of Se, the energy of an isolated atom"
    assert E0s["eV"]["34"] == -0.2
    shipped = paths.ROOT / "data" / "models" / "wse2-small.model"
    run = parameters.Training(foundation_model=str(shipped), trust_model=True)
    rule = training.describe(run, parts)["E0s"]["rule"]
    assert rule.endswith("least squares of its errors; of Se, its error of an isolated atom")


def test_flags_over_the_profile(place, few):
    run = tiny(place, flags={"loss": "universal", "hidden_irreps": "2x0e + 2x1o", "E0s": "average"})
    assert run.tag.endswith("_E0s=average_hidden_irreps=2x0e+2x1o_loss=universal")
    many = {
        f"{part}_{what}_weight": 7 for part in ("stage_two", "swa") for what in ("energy", "forces", "stress")
    }
    tags = {tiny(place, flags=many | {"valid_batch_size": size}).tag for size in (1, 2)}
    assert len(tags) == 2 and all(len(tag) < 160 for tag in tags)
    without_ema = training.arguments(training.flags(tiny(place, flags={"ema": False}), E0S))
    assert "--amsgrad" in without_ema and not [
        each for each in without_ema if each in ("--ema", "--ema=False")
    ]
    described = training.describe(run, splitting.split(few))
    assert described["settings"]["loss"] == "universal"
    assert described["E0s"] == {"rule": "as told by flags"}
    for wrong, message in (
        ({"los": "universal"}, "no flag 'los'; did you mean 'loss'"),
        ({"seed": 3}, "'seed' is set by the run itself"),
        ({"ema": "no"}, "'ema' = 'no': give it as True or False: it is a switch"),
        ({"compute_stress": True}, "give it as text, 'True'"),
        ({"max_num_epochs": 20}, "start_stage_two = 57 must lie between 0 and max_num_epochs = 20"),
        ({"max_num_epochs": "20"}, "start_stage_two = 57 must lie between 0 and max_num_epochs = 20"),
        ({"eval_interval": 30}, r"eval_interval = 30 no epoch of stage two \(57 to 59\) is evaluated"),
        ({"eval_interval": 0}, "eval_interval = 0 no epoch"),
        ({"start_stage_two": 59, "patience": 3}, r"eval_interval = 1 no epoch of stage two \(60 to 59\)"),
        ({"lr": "fast"}, "mace_run_train says argument --lr: invalid float value: 'fast'"),
        ({"loss": "best"}, "mace_run_train says argument --loss: invalid choice: 'best'"),
        ({"error_table": "TotalMAE"}, "'error_table' is set by the run itself"),
    ):
        with pytest.raises(ValueError, match=message):
            training.run(tiny(place, flags=wrong), splitting.split(few))


def test_fine_tuning_starts_from_what_the_model_knows(resumed, place, few, monkeypatch):
    """The tiny model, its energies 3 eV an atom off as another code's would be, tuned for two epochs on other frames."""
    run, _, _, model = resumed
    with training.quiet():
        network = torch.load(model, weights_only=False)
    network.atomic_energies_fn.atomic_energies += 3.0
    shifted = place / "shifted.model"
    torch.save(network, shifted)
    monkeypatch.setitem(
        training.PROFILES, "smoke", training.SMOKE | {"max_num_epochs": 2, "start_stage_two": 1}
    )
    tuned = tiny(place, foundation_model=str(shifted), trust_model=True, fold=1)
    assert "_from=shifted" in tuned.tag
    with pytest.raises(ValueError, match="trust_model = True"):
        training.run(tuned.model_copy(update={"trust_model": False}), splitting.split(few))
    found = training.run(tuned, splitting.split(few, tuned.fold))
    validation = dataset.read(tuned.folder / "validation.xyz")
    before, after = (errors(each, validation)["total"] for each in (model, found))
    assert after["rmse_energy_meV_per_atom"] < 100  # and not the 3 eV
    assert after["rmse_force_meV_per_A"] < 1.5 * before["rmse_force_meV_per_A"]
    described = json.loads((tuned.folder / training.MARKER).read_text())
    assert described["foundation_model"] == records.sha256(shifted)
    assert described["settings"]["lr"] == 0.001 and "hidden_irreps" not in described["settings"]
    with pytest.raises(ValueError, match="knows Se, W but not Re, and no element of the same group"):
        training.prepare(tuned, splitting.split(with_other(few, "W", "Re")))


def with_other(frames: list, old: str, new: str) -> list:
    """The frames with one atom of another element, and the labels that they have."""
    others = [atoms.copy() for atoms in frames]
    for atoms, labelled in zip(others, frames, strict=True):
        atoms.symbols[list(atoms.symbols).index(old)] = new
        atoms.calc = SinglePointCalculator(atoms, **labelled.calc.results)
    return others


def test_a_new_element_begins_as_the_next_in_its_group(place, frames):
    """Before any training an O and an S are a Se, but for their E0s; those of W and Se are moved by their own frames."""
    from mace.calculators import MACECalculator

    model = str(paths.ROOT / "data" / "models" / "wse2-small.model")
    run = tiny(place, foundation_model=model, trust_model=True)
    new = [atoms for atoms in frames if {"O", "S"} & {*atoms.symbols}][::3]
    plain = frames[50:64]  # with vacancies and without
    before, network = (training.foundation(run, {"train": each}) for each in (plain, plain + new))
    assert before.atomic_numbers.tolist() == [34, 74]
    assert network.atomic_numbers.tolist() == [8, 16, 34, 74]
    E0s = dict(zip((8, 16, 34, 74), network.atomic_energies_fn.atomic_energies[0].tolist(), strict=True))
    assert [E0s[34], E0s[74]] == pytest.approx(
        before.atomic_energies_fn.atomic_energies[0].tolist(), abs=1e-10
    )
    # What total energies change when Se is replaced: the mean over frames, each with one such atom.
    totals, rank = accuracy.reference_energies(plain)
    assert rank == 2
    for number in (8, 16):
        gained = [
            dataset.energy(atoms) - sum(totals.get(each, totals[34]) for each in atoms.numbers.tolist())
            for atoms in new
            if number in atoms.numbers
        ]
        assert E0s[number] - E0s[34] == pytest.approx(np.mean(gained), abs=1e-9)
    replaced = [atoms.copy() for atoms in new]
    for atoms in replaced:
        atoms.numbers[np.isin(atoms.numbers, [8, 16])] = 34
    pairs = (
        accuracy.predict(each, MACECalculator(models=[net], device="cpu", default_dtype="float64"))
        for each, net in ((new, network), (replaced, before))
    )
    for ours, old in zip(*pairs, strict=True):
        shift = sum(E0s[number] for number in ours.numbers) - sum(E0s[number] for number in old.numbers)
        assert dataset.energy(ours) - dataset.energy(old) == pytest.approx(shift, abs=1e-10)
        np.testing.assert_allclose(ours.get_forces(), old.get_forces(), atol=1e-10, rtol=0)


def test_groups_of_the_periodic_table():
    groups = ("H Li Na K Rb Cs", "Be Mg Ca", "Sc Y Lu", "Cr Mo W", "O S Se Te Po", "He Ne Ar")
    columns = [{potentials.column(atomic_numbers[symbol]) for symbol in group.split()} for group in groups]
    assert all(len(column) == 1 for column in columns) and len(set.union(*columns)) == len(groups)
