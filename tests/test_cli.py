"""The command `wse2`: help at once, one line where it cannot do what it is asked, and what each command passes on."""

import os
import subprocess
import sys
import time
from pathlib import Path

import ase.io
import pytest

from helpers import cli, proposing
from helpers.data import dft, selection
from helpers.models import shipping

WSE2 = Path(sys.executable).with_name("wse2")
COMMANDS = ("import", "label", "propose", "ship", "committee", "sweep", "force-constants")


def wse2(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([WSE2, *map(str, words)], capture_output=True, text=True)


def test_help_names_every_command_in_less_than_a_second():
    taken = []
    for _ in range(3):
        started = time.perf_counter()
        told = wse2("--help")
        taken.append(time.perf_counter() - started)
    assert told.returncode == 0 and not told.stderr
    assert all(f"\n  {name} " in told.stdout for name in COMMANDS)
    assert min(taken) < 1


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_loads_nothing_slow(name):
    program = f"""
import sys
from helpers import cli
try:
    cli.app(["{name}", "--help"])
except SystemExit:
    print({{"numpy", "torch", "ase"}} & set(sys.modules))
"""
    told = subprocess.check_output([sys.executable, "-c", program], text=True)
    assert told.startswith("Usage: ") and told.endswith("set()\n")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["import", "none", "out.xyz"], "[Errno 2] No such file or directory: 'none'"),
        (["ship", "none", "name"], "none has no training.json, or a damaged one"),
        (["committee", "none", "wse2.xyz"], "model = 'none': no file"),
        (["force-constants", "POSCAR", "--model", "none"], "model = 'none': no file"),
        (["force-constants", "POSCAR", "--model", "x", "--supercell", "2", "2", "0"], "--supercell 2 2 0: must be three"),
        (["force-constants", "POSCAR", "--model", "x", "-o", "fc.hdf5"], "-o fc.hdf5: must end in .yaml.xz"),
        (["propose", "out.xyz", "--kind", "interstitial"], "--kind interstitial: no kind begins so"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_told_in_one_line(words, line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        cli.app(words)
    told = capsys.readouterr()
    assert stop.value.code == 2 and not told.out
    assert told.err.startswith(line) and told.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_labels_have_the_convergence_of_our_data_unless_asked(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(cli.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(dft, "label", lambda *given: asked.append(given) or ["frame 3: did not converge"])
    for more in ([], ["--density", "1e-6", "--processes", "2"]):
        with pytest.raises(SystemExit, match="3"):
            cli.app(["label", "in.xyz", "out.xyz", *more])
    files = Path("in.xyz"), Path("out.xyz")
    assert asked == [(*files, dft.Settings(), 1), (*files, dft.Settings(density=1e-6), 2)]
    assert capsys.readouterr().err == "frame 3: did not converge\n" * 2


def test_a_fine_tuned_model_is_shipped_with_the_runs_before(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(
        shipping, "ship", lambda *given, **more: asked.append((given, more)) or Path("x.model")
    )
    with pytest.raises(SystemExit, match="0"):
        cli.app(["ship", "run", "mine", "--start", "second", "--start", "first", "--no-committee"])
    more = {"start": [Path("second"), Path("first")], "no_committee": True, "replace": False}
    assert asked == [((Path("run"), "mine"), more)]
    assert capsys.readouterr().out == "wrote x.model\n"


def test_a_sweep_passes_further_options_on(tmp_path):
    """From any folder, with the file named from there."""
    (tmp_path / "mine.yaml").write_text("supercells: [4]\ncommittee: false\n")
    listed = subprocess.run(
        [WSE2, "sweep", "mine.yaml", "--dry-run", "--nolock"],
        cwd=tmp_path, env=os.environ | {"WSE2_RESULTS": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert listed.returncode == 0, listed.stderr
    assert "rule 04_pristine:" in listed.stdout and "rule 05_defect:" in listed.stdout


def test_proposals_are_of_the_kinds_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(proposing, "STRAINS", ((0, 0),))
    monkeypatch.setattr(proposing.relaxation, "relax", lambda atoms, *given, **more: atoms)
    monkeypatch.setattr(selection, "environments", lambda potential, frames: [{}] * len(frames))
    monkeypatch.setattr(selection, "farthest", lambda pool, known, count: list(range(count)))
    for words, kinds in (
        (["--kind", "vacancy", "--kind", "pristine_2x2", "--count", "18"], {"vacancy_2x2", "vacancy_3x3", "pristine_2x2"}),
        (["--substitutes"], {"O_on_Se_2x2", "O_on_Se_3x3", "S_on_Se_2x2", "S_on_Se_3x3"}),
    ):  # fmt: skip
        with pytest.raises(SystemExit, match="0"):
            cli.app(["propose", str(tmp_path / "out.xyz"), *words])
        assert {atoms.info["config_type"] for atoms in ase.io.read(tmp_path / "out.xyz", ":")} == kinds
