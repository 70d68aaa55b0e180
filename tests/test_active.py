"""Active learning of the readout: exact features, fits, a committee that sees what is unlike, and both toys."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import ase.io
import numpy as np
import pytest
from ase import Atoms

from defectphonons import potentials
from helpers import parameters, paths
from helpers.data import dataset
from helpers.models import active, learning_curves, potential


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


def test_a_curve_ends_where_all_labels_of_the_pool_lead():
    """Labels that are linear in the slopes: whatever is chosen, the errors vanish once all weights are determined."""
    rng = np.random.default_rng(0)
    frames = [Atoms("HO", info={"config_type": f"kind{i % 2}", "seed": i}) for i in range(20)]
    slopes = [rng.standard_normal((3, 5)) for _ in frames]
    forces = [slope @ np.arange(5.0) for slope in slopes]
    run = parameters.ActiveLearning(start=1, batch=1, rounds=3, committee=4, splits=3, draws=2)
    curves = learning_curves.compare(run, frames, slopes, forces)
    assert curves.labels.tolist() == [1, 2, 3, 4]
    for rule, draws in (("committee", 1), ("random", 2)):
        assert curves.errors[rule].shape == curves.atoms[rule].shape == (3, 4)
        assert (curves.errors[rule][:, 0] > 100).all() and (curves.errors[rule][:, 1:] < 10).all()
        assert curves.within_10_percent[rule].shape == (3, draws, 2)
        assert sum(curves.kinds[rule].values()) == pytest.approx(1)
    with pytest.raises(ValueError, match="too few for start = 15"):
        learning_curves.compare(run.model_copy(update={"start": 15}), frames, slopes, forces)


def test_labels_saved_counts_a_curve_that_never_comes_close_with_all_its_labels():
    needed = {
        "committee": np.array([[[4.0, 40]], [[8.0, 80]], [[6.0, 60]]]),
        "random": np.array([[[8.0, 80], [np.inf, np.inf]], [[8.0, 80], [8.0, 80]], [[6.0, 60], [10.0, 100]]]),
    }
    curves = learning_curves.Curves(np.array([4, 8, 12]), {}, {}, np.zeros(3), needed, {})
    # 10, 8 and 8 labels at random less 4, 8 and 6.
    assert learning_curves.labels_saved(curves) == pytest.approx(
        {"mean": 8 / 3, "error": np.std([6, 0, 2], ddof=1) / 3**0.5}
    )


def test_active_learning_asks_where_it_is_unsure_and_optimisation_where_it_is_high():
    grid = np.linspace(0, 1, 201)
    truth = np.exp(-((grid - 0.3) ** 2) / 0.02)
    everywhere = active.queries("active learning", grid, truth, 8)
    highest = active.queries("Bayesian optimisation", grid, truth, 8)
    assert list(everywhere) == list(highest) == [2, 3, 4, 5, 6, 7, 8]
    assert np.diff(np.sort(everywhere[8][0])).max() < np.diff(np.sort(highest[8][0])).max()
    assert highest[8][1].max() > 0.99


def test_dft_labels_what_the_committee_chooses_among_proposals_that_are_new(mace, tmp_path, monkeypatch):
    """One proposal is known already, one is never answered, and the third is."""
    every = [atoms for atoms in dataset.read(paths.DATA / "wse2.xyz") if len(atoms) == 3][:5]
    known, lost, answered = every[:3], every[3], every[4]

    def label(source, target, settings, parts):
        asked = ase.io.read(source, ":")
        assert len(asked) == 2
        dataset.write(target, [answered])
        return ["frame 1: not converged"]

    monkeypatch.setattr(learning_curves.dft, "label", label)
    run = SimpleNamespace(folder=tmp_path / "step" / "tag", rounds=3, batch=2, committee=4)
    run.folder.mkdir(parents=True)
    slopes = [slope.forces for slope in active.slopes(mace, known, tmp_path)]
    (only,) = learning_curves.ask_dft(run, mace, known, slopes, [known[1], lost, answered])
    assert only.failures == ["frame 1: not converged"]
    assert [atoms.get_forces().tolist() for atoms in only.labelled] == [answered.get_forces().tolist()]
    assert only.after < only.before


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
