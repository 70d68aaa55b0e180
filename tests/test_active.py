"""Active learning of the readout: exact features, fits, a committee that sees what is unlike, and both toys."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from defectphonons import potentials
from helpers import paths
from helpers.data import dataset
from helpers.models import active, potential


@pytest.fixture(scope="module")
def frames():
    """One frame of each of two kinds, twice."""
    every = dataset.read(paths.DATA / "wse2.xyz")
    return [next(a for a in every if dataset.kind(a) == kind) for kind in ("pristine_1x1", "vacancy_2x2")] * 2


@pytest.fixture(scope="module")
def mace():
    return potential.load("wse2-small")


@pytest.fixture(scope="module")
def slopes(mace, frames, tmp_path_factory):
    return active.slopes(mace, frames, tmp_path_factory.mktemp("features"))


def test_the_models_own_weights_give_its_labels(mace, frames, slopes, tmp_path):
    own = active.readout(mace)
    for atoms, each in zip(frames, slopes, strict=True):
        expected = potentials.evaluate(mace, atoms)["forces"].ravel()
        assert each.forces @ own == pytest.approx(expected, abs=1e-10)
        assert each.stress @ own == pytest.approx(potentials.evaluate(mace, atoms)["stress"], abs=1e-12)
    assert abs(slopes[1].forces @ own).max() > 0.1
    # The energy less that of the isolated constants: of two frames of one composition the constants are the same.
    distorted = frames[0].copy()
    distorted.positions[0] += 0.05
    (there,) = active.slopes(mace, [distorted], tmp_path)
    energies = [potentials.evaluate(mace, atoms)["energy"] for atoms in (frames[0], distorted)]
    assert (there.energy - slopes[0].energy) @ own == pytest.approx(energies[1] - energies[0], abs=1e-10)


def test_features_are_kept_and_made_one_batch_at_a_time(mace, frames, slopes, tmp_path, monkeypatch):
    monkeypatch.setattr(active, "ATOMS_AT_ONCE", 3)  # a frame of its own each
    alone = active.slopes(mace, frames, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2  # each geometry once
    for one, other in zip(alone, slopes, strict=True):
        assert one.forces == pytest.approx(other.forces, abs=1e-12)
        assert one.stress == pytest.approx(other.stress, abs=1e-12)
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:-50])  # damaged, and so made again
    assert active.slopes(mace, frames, tmp_path)[1].forces == pytest.approx(slopes[1].forces, abs=1e-12)
    monkeypatch.setattr(active, "differentiated", None)  # not called again
    assert active.slopes(mace, frames, tmp_path)[1].forces == pytest.approx(slopes[1].forces, abs=1e-12)


def test_a_fit_finds_the_weights_that_made_the_forces():
    rng = np.random.default_rng(0)
    matrices = [rng.standard_normal((30, 5)) * [1, 10, 100, 1e-3, 1] for _ in range(3)]
    weights = np.array([1.0, 0.2, 0.01, 2000.0, -1.0])
    forces = [each @ weights for each in matrices]
    assert active.fit(matrices, forces) == pytest.approx(weights, rel=1e-4)
    assert active.rmse(matrices, forces, weights) < 1e-9
    # A frame without a share does not count.
    forces[2] = forces[2] + 1
    assert active.fit(matrices, forces, np.array([1, 1, 0])) == pytest.approx(weights, rel=1e-4)


def test_members_disagree_by_the_deviation_of_a_force():
    members = np.array([[0.0, 0.0, 0.0], [3.0, 4.0, 0.0]])
    assert active.disagreement(np.eye(3), members) == pytest.approx(2.5)
    two_atoms = np.concatenate([0.1 * np.eye(3), 2 * np.eye(3)])
    assert active.disagreement(two_atoms, members) == pytest.approx(5.0)


def test_the_committee_asks_for_what_it_cannot_know():
    """Along a weight that no known frame tells, though others have far larger slopes along known ones."""
    rng = np.random.default_rng(1)
    known = [rng.standard_normal((12, 4)) * [10, 10, 10, 0.01] for _ in range(4)]
    alike = [rng.standard_normal((12, 4)) * [30, 30, 30, 0.01] for _ in range(5)]
    unlike = rng.standard_normal((12, 4))
    every = [*known, *alike, unlike]
    pool = list(range(4, 10))
    assert active.choose(every, list(range(4)), pool, 1, 8, rng) == [9]


def test_what_is_no_mace_with_the_usual_readout_is_refused(mace):
    with pytest.raises(ValueError, match=r"wse2-small \+ D3 is no ScaleShiftMACE"):
        active.last_layers(potentials.with_dispersion(mace))


def test_a_gaussian_process_passes_through_its_points_and_forgets_far_away():
    places, values = np.array([0.2, 0.5]), np.array([1.0, -2.0])
    mean, deviation = active.gaussian_process(places, values, np.array([0.2, 0.5, 9.0]), 0.1, 3.0)
    assert mean == pytest.approx([1, -2, 0], abs=1e-6)
    assert deviation == pytest.approx([0, 0, 3], abs=1e-3)
    # One point: mean and variance in closed form.
    mean, deviation = active.gaussian_process(np.array([0.0]), np.array([2.0]), np.array([0.1]), 0.1, 3.0)
    assert mean == pytest.approx([2 * np.exp(-0.5)], rel=1e-6)
    assert deviation == pytest.approx([3 * np.sqrt(1 - np.exp(-1))], rel=1e-6)


def test_expected_improvement_is_the_mean_of_what_exceeds_the_best():
    drawn = np.random.default_rng(0).normal(0.3, 0.5, 400_000)
    expected = np.clip(drawn - 0.6, 0, None).mean()
    found = active.expected_improvement(np.array([0.3, 0.9]), np.array([0.5, 0.0]), 0.6)
    assert found == pytest.approx([expected, 0.3], rel=0.01)


def asking(labelled: list, proposed: list, folder: Path) -> subprocess.CompletedProcess[str]:
    """The notebook with labels = "gpaw" in a process of its own."""
    dataset.write(folder / "data.xyz", labelled)
    dataset.write(folder / "proposals.xyz", proposed)
    given = {"data": folder / "data.xyz", "proposals": folder / "proposals.xyz", "labels": "gpaw"}
    settings = [part for name, value in given.items() for part in ("-p", name, str(value))]
    return subprocess.run(
        [sys.executable, "-m", "papermill", "-k", "python3", "--no-progress-bar", *settings,
         "-p", "rounds", "1", "-p", "batch", "1", "09_active_learning.ipynb", folder / "out.ipynb"],
        cwd=paths.NOTEBOOKS, env=os.environ | {"WSE2_RESULTS": str(folder / "results")},
        capture_output=True, text=True,
    )  # fmt: skip


@pytest.mark.skipif(importlib.util.find_spec("gpaw") is None, reason="GPAW is not installed")
def test_a_frame_is_asked_for_and_labelled(tmp_path):
    """One round of one 1x1 frame, whose label we have to what the density is converged; one proposal is known."""
    every = [atoms for atoms in dataset.read(paths.DATA / "wse2.xyz") if len(atoms) == 3]
    done = asking(every[:10], [every[3], *every[10:13]], tmp_path)
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("results/*/wse2*/labelled.xyz")
    (labelled,) = dataset.read(path)
    (known,) = [each for each in every[10:13] if abs(each.positions - labelled.positions).max() < 1e-6]
    assert labelled.get_forces() == pytest.approx(known.get_forces(), abs=0.005)
