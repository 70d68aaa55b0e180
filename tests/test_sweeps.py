"""A sweep: what a file may say, what is run, and how it goes on. The notebooks here are stand-ins of two cells."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

from helpers import parameters, paths, records, sweeps

QUIET = ("--quiet", "progress", "rules", "host", "reason")  # as `make` says it
THESIS, SMOKE = (paths.ROOT / "params" / f"{name}.yaml" for name in ("thesis", "smoke"))


def of(folder: Path, text: str) -> list[parameters.Run]:
    """The runs of a sweep that says `text`."""
    (folder / "sweep.yaml").write_text(text)
    return sweeps.read(folder / "sweep.yaml")


def test_the_thesis_is_every_cell_with_every_defect_under_every_strain():
    runs = sweeps.read(THESIS)
    found = {(run.supercell, run.strain) for run in runs if isinstance(run, parameters.Defect)}
    assert found == {(n, strain) for n in (6, 9, 12) for strain in (0.0, 0.02)}
    assert {(run.supercell, run.strain) for run in runs if isinstance(run, parameters.Pristine)} == found
    compared = [run for run in runs if isinstance(run, parameters.Comparison)]
    assert [(run.supercells, run.strain) for run in compared] == [([6, 9, 12], 0.0), ([6, 9, 12], 0.02)]
    assert len({run.folder for run in runs}) == len(runs)


@pytest.mark.parametrize("path", [THESIS, SMOKE], ids=lambda path: path.stem)
def test_what_a_run_needs_comes_before_it_and_is_a_run_of_the_sweep(path):
    runs = sweeps.read(path)
    folders = [run.folder for run in runs]
    for i, run in enumerate(runs):
        assert {needed.folder for needed in [*run.needed, *sweeps.cells(run)]} <= set(folders[:i])


def test_a_default_run_in_a_sweep_is_that_of_make():
    default = {run.folder: run.key for run in parameters.default_runs().values()}
    shared = {run.step for run in sweeps.read(THESIS) if default.get(run.folder) == run.key}
    assert shared == {"03_evaluation", "04_pristine", "05_defect", "06_radial_dos"}


def test_every_kind_of_line_of_the_file_counts(tmp_path):
    runs = of(
        tmp_path, "{supercells: [5], defects: [V_W], strains: [0, 0.01], device: cuda, training: [small]}"
    )
    assert [(run.step, getattr(run, "strain", None)) for run in runs] == [
        ("01_data", None), ("02_training", None), ("05_defect", 0.0), ("06_radial_dos", 0.0),
        ("05_defect", 0.01), ("06_radial_dos", 0.01),
    ]  # fmt: skip
    assert {run.mesh for run in runs[2:]} == {35}  # what 5 divides, next to the default of 36
    assert {run.device for run in runs[1:]} == {"cuda"} and sweeps.gpus(runs[1]) == 1
    assert sweeps.given(runs[4]) == {
        "supercell": 5, "defect": "V_W", "strain": 0.01, "device": "cuda", "mesh": 35
    }  # fmt: skip
    assert all(sweeps.gpus(run) == 0 for run in sweeps.read(SMOKE))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("supercell: [6]", "unknown name 'supercell'; did you mean 'supercells'?"),
        ("{supercells: [6], defects: [V_Te]}", r"defects\[0\] = 'V_Te': 'V_Te' is no defect of WSe2; known: .*did you mean 'V_Se'"),
        ("{supercells: [6], strains: [2]}", r"strains\[0\] = 2: must be from -0.05 to 0.05"),
        ("{supercells: [6], models: [wse2-smal]}", "model = 'wse2-smal': no file .* shipped model .*wse2-small"),
        ("{supercells: [6], models: [README.md.model]}", "model = 'README.md.model': no file"),
        ("{supercells: [6], models: [wse2-thesis]}", "no wse2-thesis.committee.npz beside it. Set 'committee: false'"),
        ("{supercells: [6], device: gpu}", "device = 'gpu': must be 'cpu' or 'cuda'"),
        ("{supercells: [6, 8], mesh: 36}", "must divide mesh = 36, or the cells are sampled at different"),
        ("{supercells: [3, 6]}", r"supercells\[0\] = 3: must be greater than or equal to 4"),
        ("{supercells: 6}", "supercells = 6: must be a list, like"),
        ("{supercells: [12, 6]}", "must be positive and increase"),
        ("strains: [0.0]", "supercells is missing"),
        ("{supercells: [6], strains: []}", "strains = .*at least 1 item"),
        ("supercells: [6", "is no YAML"),
        ("6, 9, 12", "must have lines of the kind 'supercells: .6, 12.'"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_in_words(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        of(tmp_path, text)


def test_a_model_from_elsewhere_has_to_be_trusted(tmp_path):
    model = tmp_path / "own.model"
    model.write_bytes(b"another")
    text = f"{{supercells: [6], models: ['{model}']"
    with pytest.raises(ValueError, match="executes code in it; write 'trust_model: true'"):
        of(tmp_path, text + "}")
    text += ", committee: false"  # which it has not
    assert of(tmp_path, text + ", trust_model: true}")
    shutil.copy(paths.MODELS / "wse2-small.model", model)
    assert of(tmp_path, text + "}"), "a copy of a shipped model needs no trust"


def test_a_larger_cell_gets_more(tmp_path):
    small, large = (of(tmp_path, f"{{supercells: [{n}], defects: [V_Se]}}")[0] for n in (6, 24))
    assert sweeps.threads(small) < sweeps.threads(large)
    assert sweeps.memory_MB(small) < 5000 < 20000 < sweeps.memory_MB(large)
    assert sweeps.minutes(small) < sweeps.minutes(large)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="cores cannot be chosen on this system")
def test_two_runs_do_not_share_a_core(tmp_path):
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        pytest.skip("there is one core")
    show = "import os, sys; print(sorted(os.sched_getaffinity(0)), flush=True); sys.stdin.read()"
    command = [sys.executable, paths.ROOT / "workflow" / "on_cores.py", "1", sys.executable, "-c", show]
    how = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    how["env"] = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, **how) as one, subprocess.Popen(command, **how) as other:
        has = [json.loads(each.stdout.readline()) for each in (one, other)]
        one.communicate(), other.communicate()
    assert len(has[0]) == len(has[1]) == 1 and has[0] != has[1]


# Where the test has put a file `hold`, the notebook says so and waits until it is interrupted.
HELD = """
import os, threading
from helpers import paths
if (paths.ROOT / "hold").exists():
    (paths.ROOT / "held" / str(run.supercell)).write_text(str(os.getpid()))
    threading.Event().wait()"""


@pytest.fixture(scope="module")
def compendium(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy whose notebooks read their parameters and write a result, nothing more."""
    root = tmp_path_factory.mktemp("compendium")
    for name in ("Snakefile", "src", "params", "workflow", "data"):
        source = paths.ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, root / name)
    (root / "profiles").symlink_to("workflow/profiles")
    (root / "quick.yaml").write_text("{supercells: [4, 5], defects: [V_Se], mesh: 20}")
    (root / "notebooks").mkdir()
    for path in paths.NOTEBOOKS.glob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        notebook.cells = [cell for cell in notebook.cells if cell.cell_type == "code"][:2]
        if path.stem == "06_radial_dos":
            notebook.cells[1].source += HELD
        notebook.cells[1].source += "\nfrom helpers import records\nrecords.write(run, {'tag': run.tag})"
        nbformat.write(notebook, root / "notebooks" / path.name)
    return root


def snakemake(root: Path, *arguments: str, **how: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "snakemake", *arguments],
        cwd=root, env=os.environ | {"PYTHONPATH": str(root / "src"), "WSE2_RESULTS": str(root / "results")},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **how,
    )  # fmt: skip


def swept(root: Path) -> tuple[int, str, set[str]]:
    """The sweep: its exit status, what is on the screen, and what was run to its end."""
    process = snakemake(root, "sweep", "--config", "sweep=quick.yaml", *QUIET)
    screen = process.communicate()[0]
    done = {line.split()[1] for line in screen.splitlines() if line.startswith("[") and line.endswith(" s")}
    return process.returncode, screen, done


def test_a_sweep_goes_on(compendium):
    steps = ["03_evaluation", "04_pristine", *2 * ["05_defect"], *2 * ["06_radial_dos"], "07_comparison"]
    notebook = compendium / "notebooks" / "06_radial_dos.ipynb"
    sound = notebook.read_text()
    damaged = nbformat.reads(sound, as_version=4)
    damaged.cells[1].source += "\nassert run.supercell != 5, 'five will not do'"
    nbformat.write(damaged, notebook)

    # Interrupted by Ctrl-C, which everything on the terminal gets. By then a run of 06 is being executed, so
    # that Snakemake has heard of the end of the run of 05 that it needs.
    (compendium / "hold").touch()
    (compendium / "held").mkdir()
    process = snakemake(
        compendium, "sweep", "--config", "sweep=quick.yaml", *QUIET, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # which `make test &` leaves ignored
    )  # fmt: skip
    while not (held := [path.name for path in (compendium / "held").iterdir()]):
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    screen = process.communicate(timeout=600)[0]
    (compendium / "hold").unlink()
    assert process.returncode != 0
    assert not list(compendium.glob("results/06_radial_dos/*/result.json"))
    finished = f"05_defect/{held[0]}x{held[0]}_V_Se_strain0.00_wse2-small_mesh=20"
    assert finished in screen

    # One run fails: it is named with its cell, and all that do not need it are run. Nothing is run twice.
    status, screen, done = swept(compendium)
    assert status != 0
    failed = "06_radial_dos/5x5_V_Se_strain0.00_wse2-small_mesh=20"
    assert (
        f"{failed} failed in notebooks/06_radial_dos.ipynb, In [2]: AssertionError: five will not do"
        in screen
    )
    assert finished not in done
    assert "07_comparison/4x4-5x5_V_Se_strain0.00_wse2-small_mesh=20" in done

    # Mended: what failed and what came from the other words of its notebook.
    notebook.write_text(sound)
    status, screen, done = swept(compendium)
    assert status == 0, screen
    assert sorted(name.split("/")[0] for name in done) == ["06_radial_dos", "06_radial_dos", "07_comparison"]
    results = [path.parent.parent.name for path in compendium.glob("results/*/*/result.json")]
    assert sorted(results) == steps
    assert swept(compendium)[::2] == (0, set())

    # The one key: a damaged result, a file that only 07 reads, and a model.
    result = next(compendium.glob("results/05_defect/4x4*/result.json"))
    result.write_text("")
    with (compendium / "data" / "claims.json").open("a") as file:
        file.write("\n")
    expected = {name.split("/")[0] for name in swept(compendium)[2]}
    assert expected == {"05_defect", "06_radial_dos", "07_comparison"}
    model = compendium / "data" / "models" / "wse2-small.model"
    with model.open("ab") as file:
        file.write(b"more")
    record = json.loads(model.with_suffix(".json").read_text())
    model.with_suffix(".json").write_text(json.dumps(record | {"sha256": records.sha256(model)}))
    listed = snakemake(compendium, "sweep", "--config", "sweep=quick.yaml", "-n").communicate()[0]
    counts = dict(line.split() for line in listed.splitlines() if line[:3] in {step[:3] for step in steps})
    assert counts == {step: str(steps.count(step)) for step in steps}


@pytest.mark.skipif(sys.platform != "linux", reason="a process cannot ask to end with another on this system")
def test_nothing_goes_on_when_make_is_killed(compendium, tmp_path):
    (tmp_path / "Makefile").write_text(
        f"all:\n\t@{sys.executable} -m snakemake sweep --config sweep=quick.yaml --quiet rules\n"
    )
    (compendium / "hold").touch()
    (compendium / "held").mkdir(exist_ok=True)
    for path in (compendium / "held").iterdir():
        path.unlink()
    with (tmp_path / "screen.txt").open("w") as screen:
        process = subprocess.Popen(
            ["make", "-f", tmp_path / "Makefile"], cwd=compendium, stdin=subprocess.DEVNULL, stdout=screen, stderr=screen,
            env=os.environ | {"PYTHONPATH": str(compendium / "src"), "WSE2_RESULTS": str(tmp_path / "results")},
        )  # fmt: skip
        while not (held := [path.read_text() for path in (compendium / "held").iterdir()]) or not all(held):
            assert process.poll() is None, (tmp_path / "screen.txt").read_text()
            time.sleep(0.1)
        process.kill()
        process.wait()
    (compendium / "hold").unlink()
    for number in held:  # its kernel has gone: what nobody waits for may stay as a zombie
        status = Path("/proc", number, "status")
        for _ in range(600):
            if not status.exists() or "State:\tZ" in status.read_text():
                break
            time.sleep(0.1)
        else:
            os.kill(int(number), signal.SIGKILL)
            pytest.fail("a notebook outlived the make that started it")


def test_a_sweep_without_a_file_or_with_a_wrong_one_is_refused_before_anything_runs(compendium):
    (compendium / "wrong.yaml").write_text("supercels: [4, 5]")
    for config, message in (
        ([], "A sweep of what? Name a file: wse2 sweep params/thesis.yaml"),
        (["--config", "sweep=none.yaml"], "none.yaml: cannot be read"),
        (
            ["--config", "sweep=wrong.yaml"],
            "wrong.yaml: unknown name 'supercels'; did you mean 'supercells'?",
        ),
    ):
        process = snakemake(compendium, "sweep", *config, *QUIET)
        screen = process.communicate()[0]
        assert process.returncode != 0 and message in screen and "Traceback" not in screen
