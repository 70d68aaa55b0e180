import json
import os
import subprocess
import sys

from helpers import paths


def test_the_bundle_trains_evaluates_and_times_by_itself(tmp_path):
    script = paths.ROOT / "workflow" / "gpu_bundle.py"
    folder = tmp_path / "bundle"
    packed = subprocess.run(
        [sys.executable, script, folder, "--without-wheels"], check=True, capture_output=True, text=True
    )
    assert "MiB; README.md in it says how to train" in packed.stdout
    again = subprocess.run(
        [sys.executable, script, folder, "--without-wheels"], check=False, capture_output=True, text=True
    )
    assert again.returncode == 2 and "exists: move it away" in again.stderr
    flags = {"max_num_epochs": 2, "start_stage_two": 1, "hidden_irreps": "2x0e", "correlation": 1}
    command = [sys.executable, "train.py", "--profile", "smoke", "--device", "cpu"]
    environment = {name: value for name, value in os.environ.items() if name != "WSE2_RESULTS"}
    subprocess.run(
        [*command, "--data", "wse2.xyz", "--flags", json.dumps(flags)],
        cwd=folder, env=environment | {"PYTHONPATH": str(folder / "src")}, check=True, capture_output=True,
    )  # fmt: skip
    assert sorted(path.name for path in (folder / "results" / "model").iterdir()) == [
        "model.json", "model.log", "model.model",
    ]  # fmt: skip
    described = json.loads((folder / "results" / "model" / "model.json").read_text())
    assert described["epochs"] == 2 and described["settings"]["hidden_irreps"] == "2x0e"
    seconds = json.loads((folder / "results" / "seconds.json").read_text())
    assert seconds["device"] == "CPU" and list(seconds["forces_by_atoms"]) == ["27", "108", "432"]
