"""The DFT labeller: its settings, and that nothing finished is lost. With GPAW installed, a shipped frame again."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase.calculators.lj import LennardJones

from defectphonons import force_constants, relaxation, structures
from helpers import paths
from helpers.data import dataset, dft
from helpers.models import potential

SHIPPED = paths.DATA / "wse2.xyz"


def test_k_points_have_one_density():
    primitive = structures.monolayer("WSe2", 3.32, 3.36)
    points = [dft.Settings().k_points(structures.supercell(primitive, n)) for n in (1, 2, 3, 6, 12)]
    assert points == [(6, 6, 1), (3, 3, 1), (2, 2, 1), (1, 1, 1), (1, 1, 1)]
    assert dft.Settings().k_points(structures.strained(primitive, 0.04)) == (6, 6, 1)


@pytest.fixture
def frames(tmp_path):
    """Two cells, two frames each, and a calculator that needs no DFT."""
    primitive = structures.monolayer("WSe2", 3.32, 3.36)
    frames = [structures.strained(primitive, strain) for strain in (0.0, 0.0, 0.01, 0.01)]
    for seed, atoms in enumerate(frames):
        atoms.rattle(0.02, seed=seed)
        atoms.info["config_type"] = "test"
        atoms.calc = LennardJones(sigma=2.0)
        atoms.get_forces()
    dataset.write(tmp_path / "in.xyz", frames)
    return frames


def test_frames_are_labelled_in_order_and_what_failed_is_tried_again(frames, tmp_path, monkeypatch):
    class Stubborn(LennardJones):
        def calculate(self, atoms=None, *args, **kwargs):
            if stubborn and np.allclose(atoms.positions, frames[2].positions):
                raise RuntimeError("did not converge")
            super().calculate(atoms, *args, **kwargs)

    made = tmp_path / "calls"
    made.mkdir()

    def calculator(atoms, settings, log):
        (made / log.name).touch()
        return Stubborn(sigma=2.0)

    monkeypatch.setattr(dft, "calculator", calculator)
    stubborn = True
    failures = dft.label(tmp_path / "in.xyz", tmp_path / "out.xyz", dft.Settings(), processes=2)
    assert failures == ["frame 3: RuntimeError: did not converge"]
    assert len(dataset.read(tmp_path / "out.xyz")) == 3
    stubborn = False
    assert not dft.label(tmp_path / "in.xyz", tmp_path / "out.xyz", dft.Settings())
    shutil.rmtree(tmp_path / "out.parts")
    assert not dft.label(tmp_path / "in.xyz", tmp_path / "out.xyz", dft.Settings())
    labelled = dataset.read(tmp_path / "out.xyz")
    assert len(list(made.iterdir())) == 3  # one a cell, and one for the frame that failed
    for atoms, given in zip(labelled, frames, strict=True):
        assert atoms.get_forces() == pytest.approx(given.get_forces(), abs=1e-6)
        assert atoms.info["config_type"] == "test"
        assert json.loads(atoms.info["dft"])["cutoff_eV"] == 400
    other = dft.Settings(density=1e-6)
    dft.label(tmp_path / "in.xyz", tmp_path / "out.xyz", other)
    assert len(list((tmp_path / "out.parts").glob("*.xyz"))) == 8  # other settings, other results


def test_a_damaged_part_is_computed_again_and_one_without_a_checksum_counts(
    frames, tmp_path, monkeypatch, capfd
):
    computed = tmp_path / "computed"
    computed.mkdir()

    class Counting(LennardJones):
        def calculate(self, atoms=None, *args, **kwargs):
            (computed / dft.name(atoms, dft.Settings())).touch()
            super().calculate(atoms, *args, **kwargs)

    def label() -> tuple[int, str]:
        (tmp_path / "out.xyz").unlink(missing_ok=True)
        for each in computed.iterdir():
            each.unlink()
        assert not dft.label(tmp_path / "in.xyz", tmp_path / "out.xyz", dft.Settings())
        for atoms, given in zip(dataset.read(tmp_path / "out.xyz"), frames, strict=True):
            assert atoms.get_forces() == pytest.approx(given.get_forces(), abs=1e-6)
            assert "sha256" not in atoms.info
        return len(list(computed.iterdir())), capfd.readouterr().err

    monkeypatch.setattr(dft, "calculator", lambda *given: Counting(sigma=2.0))
    assert label()[0] == 4
    assert label()[0] == 0
    first, second, *_ = sorted((tmp_path / "out.parts").glob("*.xyz"))
    digit = re.search(r"\d(?=\s*$)", first.read_text()).start()  # of the last force
    for damaged in (
        lambda text: text[:digit] + str((int(text[digit]) + 1) % 10) + text[digit + 1 :],
        lambda text: text[: len(text) // 2],
        lambda text: "",
    ):
        first.write_text(damaged(first.read_text()))
        n_computed, said = label()
        assert n_computed == 1
        assert f"{first} is damaged, and computed again" in said and str(second) not in said
    second.write_text(re.sub(" sha256=[0-9a-f]+", "", second.read_text()))
    assert label()[0] == 0


def test_a_killed_process_is_named_and_nothing_else_is_lost(frames, tmp_path, monkeypatch):
    def calculator(atoms, settings, log):
        if atoms.cell.lengths()[0] > 3.33:
            os._exit(137)
        return LennardJones(sigma=2.0)

    monkeypatch.setattr(dft, "calculator", calculator)
    failures = dft.label(tmp_path / "in.xyz", tmp_path / "out.xyz", dft.Settings())
    assert failures == ["frame 3: its process was killed", "frame 4: its process was killed"]
    assert len(dataset.read(tmp_path / "out.xyz")) == 2


def test_when_all_fail_nothing_is_written(frames, tmp_path, monkeypatch):
    def calculator(atoms, settings, log):
        raise RuntimeError("no setups")

    monkeypatch.setattr(dft, "calculator", calculator)
    for _ in range(2):
        assert len(dft.label(tmp_path / "in.xyz", tmp_path / "out.xyz", dft.Settings())) == 4
        assert not (tmp_path / "out.xyz").exists()


@pytest.mark.skipif(importlib.util.find_spec("gpaw") is not None, reason="GPAW is installed")
def test_without_gpaw_one_line_says_how_to_get_it(tmp_path):
    refused = subprocess.run(
        [Path(sys.executable).with_name("wse2"), "label", SHIPPED, tmp_path / "out.xyz"],
        capture_output=True,
        text=True,
    )
    assert refused.returncode == 2
    assert "GPAW is not installed. It needs the Debian packages" in refused.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(importlib.util.find_spec("gpaw") is None, reason="GPAW is not installed")
def test_a_shipped_frame_comes_out_the_same(tmp_path):
    shipped = next(atoms for atoms in dataset.read(SHIPPED) if dataset.kind(atoms) == "pristine_1x1")
    dataset.write(tmp_path / "in.xyz", [shipped])
    assert not dft.label(tmp_path / "in.xyz", tmp_path / "out.xyz", dft.Settings())
    (again,) = dataset.read(tmp_path / "out.xyz")
    assert dataset.energy(again) == pytest.approx(dataset.energy(shipped), abs=0.001 * len(shipped))
    assert again.get_forces() == pytest.approx(shipped.get_forces(), abs=0.002)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"occupations": "1.5 1.5 | 0.5 0.5"}, [1, 1, 0.75, 0.75, 0.25, 0.25]),
        ({"occupations": "| .5 .5", "charge": -1}, [1, 1, 1, 1, 0.25, 0.25]),
        ({"occupations": "1 |", "charge": 1}, [1, 1, 1, 0.5, 0, 0]),
    ],
)
def test_fixed_occupations_hold_the_electrons_of_the_cell(settings, expected):
    numbers = dft.fixed_occupations(dft.Settings(**settings), electrons=8)
    assert numbers == expected + [0] * (len(numbers) - len(expected)) and len(numbers) > 8
    assert 2 * sum(numbers) == 8 - settings.get("charge", 0)


@pytest.mark.parametrize(
    ("settings", "electrons", "line"),
    [
        ({"occupations": "1 1 | 0.5 0.5"}, 8, "with charge 0: must be two lists of electrons, 0 to 2"),
        ({"occupations": "1 | 3 -2"}, 8, "must be two lists"),
        ({"occupations": "1 1 0 0"}, 8, "must be two lists"),
        ({"occupations": "one | one"}, 8, "must be two lists"),
        ({"occupations": "1 | 1"}, 9, "of 9 electrons when neutral, is not"),
        ({"occupations": "1 | 1", "spin": True}, 8, "with spin: leave one of them out"),
    ],
)
def test_occupations_that_cannot_be_are_refused(settings, electrons, line):
    with pytest.raises(ValueError, match="occupations = ") as refused:
        dft.fixed_occupations(dft.Settings(**settings), electrons)
    assert line in str(refused.value)


def test_what_is_computed_is_named_by_charge_spin_and_occupations_too():
    (atoms, *_) = dataset.read(SHIPPED)
    others = [{}, {"charge": -1}, {"charge": 1}, {"spin": True}, {"occupations": "1 | 1"}]
    assert len({dft.name(atoms, dft.Settings(**changed)) for changed in others}) == len(others)
    carried = [one.info["dft"] for one in dataset.read(SHIPPED) if one.info["dft"].startswith("{")]
    assert set(carried) == {dft.Settings().recorded()}  # frames of before stay valid
    assert json.loads(dft.Settings(charge=-1).recorded())["charge"] == -1


def test_dft_relaxes_in_few_steps_from_force_constants_and_goes_on(tmp_path, monkeypatch):
    model = potential.load("wse2-small")
    atoms = structures.monolayer("WSe2", 3.32, 3.45)
    hessian = force_constants.analytic(atoms, 1, model, folder=tmp_path).force_constants
    monkeypatch.setattr(dft, "calculator", lambda *given: model.calculator)
    labeller = dft.Labeller(dft.Settings(charge=-1), tmp_path)
    with pytest.raises(
        RuntimeError, match="forces above 0.004 eV/A after 1 steps of DFT; call again to go on"
    ):
        dft.relax(atoms, labeller, hessian, steps=1)
    relaxed = dft.relax(atoms, labeller, hessian)
    assert abs(relaxed.get_forces()).max() < 0.004 and relaxed.info["steps"] <= 4
    exact = relaxation.relax(atoms, model, hold_symmetry=True)
    assert np.ptp(relaxed.positions[:, 2]) == pytest.approx(np.ptp(exact.positions[:, 2]), abs=5e-4)

    def refuse(*given):
        raise AssertionError("computed again")

    monkeypatch.setattr(dft, "calculator", refuse)
    again = dft.relax(atoms, dft.Labeller(dft.Settings(charge=-1), tmp_path), hessian)
    assert again.positions == pytest.approx(relaxed.positions)
