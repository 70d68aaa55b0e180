"""A sweep on Slurm, one node of it on this machine, against the same sweep without it."""

import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers import paths, sweeps

LIMIT = 1800  # s; an idle machine needs less than three minutes
MISSING = [tool for tool in ("munged", "slurmctld", "slurmd", "sbatch") if not shutil.which(tool)]


def free_ports() -> int:
    """The first of two ports, one after the other, that nobody has, below those that a system gives away by itself."""
    while True:
        port = random.randrange(20_000, 32_000, 2)
        with socket.socket() as one, socket.socket() as other:
            try:
                one.bind(("127.0.0.1", port))
                other.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
        return port


@pytest.fixture
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment in which Slurm's commands reach the node."""
    if MISSING:
        pytest.skip(f"{', '.join(MISSING)} not installed (on Debian the packages slurm-wlm and munge)")
    if os.getuid():
        pytest.skip("only root can start Slurm's daemons")
    folder = tmp_path_factory.mktemp("slurm")
    with subprocess.Popen(
        ["sh", Path(__file__).with_name("slurm.sh"), folder, str(free_ports())],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as node:  # fmt: skip
        if node.stdout.readline() != "ready\n":
            node.stdin.close()
            logs = "\n".join(path.read_text()[-300:] for path in folder.glob("*.log"))
            pytest.skip(f"Slurm does not start here: {node.stderr.read()}\n{logs}")
        path = f"{folder / 'bin'}:{os.environ['PATH']}"
        yield os.environ | {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": path}


def queue(slurm: dict[str, str], *arguments: str) -> list[str]:
    """What squeue says, a line a job."""
    return subprocess.check_output(["squeue", "--noheader", *arguments], env=slurm, text=True).split()


def kill(job: str, slurm: dict[str, str]) -> bool:
    """Whether the job came to its end by being killed, and not before."""
    subprocess.run(["scancel", "--signal=KILL", "--full", job], env=slurm, check=False)
    while True:
        (state,) = queue(slurm, f"--jobs={job}", "--states=all", "--format=%T")
        if state not in ("RUNNING", "COMPLETING"):
            return state != "COMPLETED"
        time.sleep(0.1)


def results(folder: Path, runs: list) -> list[dict]:
    return [
        json.loads((folder / run.folder.relative_to(paths.RESULTS) / "result.json").read_text())
        for run in runs
    ]


def test_a_killed_job_is_run_again_and_the_numbers_are_those_of_a_local_run(slurm, tmp_path):
    file = paths.ROOT / "params" / "smoke.yaml"
    command = [sys.executable, "-m", "snakemake", "sweep", "--config", f"sweep={file}"]
    there, here = tmp_path / "slurm", tmp_path / "local"
    quick = ["--latency-wait", "10", "--slurm-init-seconds-before-status-checks", "2"]
    plain = ["--slurm-no-account", "--slurm-status-command", "squeue"]  # this Slurm keeps no accounts
    with subprocess.Popen(
        [*command, "--profile", "workflow/profiles/slurm", *quick, *plain, "--slurm-logdir", tmp_path / "logs"],
        cwd=paths.ROOT, env=slurm | {"WSE2_RESULTS": str(there)},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        try:
            # Not before a notebook is being executed. One that ends before it can be killed leaves it to the next.
            killed, deadline = False, time.monotonic() + LIMIT
            while process.poll() is None and not killed and time.monotonic() < deadline:
                time.sleep(0.2)
                if any("Executing" in log.read_text() for log in (there / "logs").glob("*/*.txt")):
                    killed = any(kill(job, slurm) for job in queue(slurm, "--states=R", "--format=%i")[:1])
            if not killed:
                process.terminate()
            screen = process.communicate(timeout=LIMIT)[0]
        finally:
            process.kill()
        assert killed, screen
    assert process.returncode == 0, screen
    assert "Trying to restart job" in screen
    assert screen.count("has been submitted with SLURM jobid") == 4
    subprocess.run(
        command, cwd=paths.ROOT, env=os.environ | {"WSE2_RESULTS": str(here)}, check=True, capture_output=True
    )
    of_slurm, of_here = (
        {each["step"]: each for each in results(folder, sweeps.read(file))} for folder in (there, here)
    )
    assert list(of_slurm) == ["04_pristine", "05_defect", "06_radial_dos"]
    assert all(each["key"] == of_here[step]["key"] for step, each in of_slurm.items())
    (sheet, vacancy), (sheet_here, vacancy_here) = (
        [each[step]["results"] for step in ("04_pristine", "05_defect")] for each in (of_slurm, of_here)
    )
    for irrep, mode in sheet["gamma_modes"].items():
        assert mode["per_cm"] == pytest.approx(sheet_here["gamma_modes"][irrep]["per_cm"], abs=1e-6)
    assert vacancy["localised_frequencies"] == vacancy_here["localised_frequencies"]
