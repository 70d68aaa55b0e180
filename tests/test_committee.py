"""Error bars: of models whose energies differ by a factor they are known exactly."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from defectphonons import potentials
from helpers import parameters, paths
from helpers.data import accuracy, dataset, splitting
from helpers.models import active, committee, potential

FACTORS = np.array([0.96, 1.04])
ROOTS = np.sqrt(FACTORS)


def with_committee(folder, factors) -> str:
    """A copy of wse2-small whose members' interaction energies, and so force constants, are `factors` times its own."""
    model = folder / "alike.model"
    shutil.copy(paths.model_file("wse2-small"), model)
    found = potential.load(str(model))
    weights = np.outer(factors, active.readout(found))
    np.savez(model.with_suffix(".committee.npz"), weights=weights, factor=1.0, model=found.checksum)
    return str(model)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return with_committee(tmp_path_factory.mktemp("committee"), FACTORS)


@pytest.fixture(scope="module")
def mace(model):
    return potential.load(model)


def spread(step: str, model, place, **more) -> dict:
    """`results` of the notebook with `committee = True`."""
    given = {"model": model, "committee": True, "supercell": 4} | more
    settings = [text for name, value in given.items() for text in ("-p", name, str(value))]
    subprocess.run(
        [sys.executable, "-m", "papermill", "-k", "python3", "--no-progress-bar", *settings,
         paths.NOTEBOOKS / f"{step}.ipynb", place / f"{step}.ipynb"],
        env=os.environ | {"WSE2_RESULTS": str(place)}, check=True, capture_output=True,
    )  # fmt: skip
    [path] = (place / step).glob("*/result.json")
    assert (path.parent / "committee.png").stat().st_size > 10000
    return json.loads(path.read_text())["results"]


def test_error_bars_follow_the_factor(model, tmp_path):
    expected = ROOTS.std(ddof=1)
    sheet = spread("04_pristine", model, tmp_path, mesh=12, supercell=3)
    assert sheet["spread"]["models"] == len(FACTORS)
    assert sheet["spread"]["lattice_constant_A"] < 1e-5
    for irrep, deviation in sheet["spread"]["gamma_per_cm"].items():
        assert deviation == pytest.approx(expected * sheet["gamma_modes"][irrep]["per_cm"], rel=1e-3)
    assert sheet["spread"]["heavy_share"]["below"] < 1e-3
    hole = spread("05_defect", model, tmp_path, mesh=8)
    assert hole["spread"]["modes"]
    for mode in hole["spread"]["modes"]:
        assert mode["frequency_deviation_THz"] == pytest.approx(expected * mode["frequency_THz"], rel=1e-3)
        assert mode["weight_deviation"] < 1e-3
        assert mode["least_overlap"] > 0.999
    assert hole["spread"]["inward_A"] < 1e-4
    assert 0.05 < hole["spread"]["local_states_elsewhere"] < 0.6
    shells = spread("06_radial_dos", model, tmp_path, mesh=8, outer_radii=[4.0, 7.0])
    assert all(0 < deviation < 0.02 for deviation in shells["spread"]["share_elsewhere"].values())


def test_a_member_is_the_model_with_other_last_layers(mace, model):
    frame = dataset.read(paths.data_file("wse2.xyz"))[5]
    own = potentials.evaluate(mace, frame)
    several = committee.members(mace, model)
    for factor, each in zip(FACTORS, several, strict=True):
        assert potentials.evaluate(each, frame)["forces"] == pytest.approx(factor * own["forces"], abs=1e-10)
        assert potentials.evaluate(each, frame)["stress"] == pytest.approx(factor * own["stress"], abs=1e-12)
    assert len({each.checksum for each in (mace, *several)}) == 1 + len(FACTORS)
    assert own["energy"] == pytest.approx(potentials.evaluate(mace, frame)["energy"], abs=1e-12)


def test_the_factor_is_the_one_that_made_the_errors():
    rng = np.random.default_rng(0)
    deviations = rng.uniform(0.001, 0.1, 20_000)
    errors = 3 * deviations * rng.standard_normal(len(deviations))
    assert committee.likeliest(errors, deviations) == pytest.approx(3, rel=0.02)
    # One kind of frame with far larger errors does not set it alone, as it would in a ratio of mean squares.
    errors[:1000] *= 5
    ratio = np.sqrt((errors**2).mean() / (deviations**2).mean())
    assert 3 < committee.likeliest(errors, deviations) < ratio


def test_draws_have_the_covariance_of_a_linear_fit():
    """The spread of least-squares fits to labels with Gaussian errors, drawn anew many times, is the posterior's."""
    rng = np.random.default_rng(1)
    rows = [rng.standard_normal((40, 3)) * [1, 5, 0.1] for _ in range(4)]
    every = np.concatenate(rows)
    fits = np.array([np.linalg.lstsq(every, rng.standard_normal(len(every)))[0] for _ in range(4000)])
    covariance = active.posterior(rows)
    assert np.sqrt(np.diag(covariance)) == pytest.approx(fits.std(axis=0), rel=0.05)
    drawn = active.drawn(covariance, 8000, rng)
    assert drawn.std(axis=0) == pytest.approx(fits.std(axis=0), rel=0.05)
    assert abs(drawn.mean(axis=0)).max() < 1e-10


def test_the_shipped_committees_belong_to_their_models():
    for path in sorted(paths.MODELS.glob("*.committee.npz")):
        path = path.with_name(path.name.replace(".committee.npz", ".model"))
        found = potential.load(path.stem)
        several = committee.members(found, path.stem)
        record = json.loads(path.with_suffix(".json").read_text())["committee"]
        assert len(several) == record["members"] == committee.MEMBERS
        with np.load(paths.committee_file(path.stem)) as kept:
            assert kept["weights"].mean(axis=0) == pytest.approx(active.readout(found), rel=1e-6, abs=1e-9)
            assert float(kept["factor"]) == record["factor"]


def test_the_shipped_committee_is_what_its_data_give(tmp_path):
    """The covariance again, by another way: the Hessian of the weighted squares by differences of a few weights."""
    found = potential.load("wse2-small")
    parts = splitting.split(dataset.read(paths.data_file("wse2.xyz")))
    train = [atoms for atoms in parts["train"] if len(atoms) < 9][:12]
    slopes = active.slopes(found, train, tmp_path)
    predicted = accuracy.predict(train, found.calculator)
    rows = committee.rows(slopes, train, predicted)
    errors = accuracy.errors(train, predicted)["total"]
    own, step = active.readout(found), 1e-3
    moved = own.copy()
    moved[3] += step
    changed = accuracy.predict(train, committee.member(found, 1, moved).calculator)
    cost = 0.0
    for before, after, atoms in zip(predicted, changed, train, strict=True):
        energy = (dataset.energy(after) - dataset.energy(before)) / len(atoms)
        squares = (1000 * energy / errors["rmse_energy_meV_per_atom"]) ** 2
        squares += (
            ((after.get_forces() - before.get_forces()) * 1000 / errors["rmse_force_meV_per_A"]) ** 2
        ).sum()
        squares += (
            ((after.get_stress() - before.get_stress()) * 1000 / errors["rmse_stress_meV_per_A3"]) ** 2
        ).sum()
        cost += atoms.info["config_weight"] * squares
    assert sum(each[:, 3] @ each[:, 3] for each in rows) == pytest.approx(cost / step**2, rel=1e-6)


def test_the_shipped_spread_is_as_large_as_errors_that_trained_no_model():
    """By the members' own forces: the factor that would still be missing is near one."""
    found = potential.load("wse2-small")
    parts, _ = potential.sides(found, dataset.read(paths.data_file("wse2.xyz")))
    frames = [atoms for atoms in parts["validation"] + parts["test"] if 3 < len(atoms) < 13]
    forces = np.array(
        [
            np.concatenate(
                [atoms.get_forces().ravel() for atoms in accuracy.predict(frames, each.calculator)]
            )
            for each in (found, *committee.members(found, "wse2-small"))
        ]
    )
    errors = forces[0] - np.concatenate([atoms.get_forces().ravel() for atoms in frames])
    assert 0.5 < committee.likeliest(errors, forces[1:].std(axis=0, ddof=1)) < 2


def test_a_model_gets_the_sides_of_its_record_and_its_members_those_of_the_rule(mace):
    frames = dataset.read(paths.data_file("wse2.xyz"))
    record = json.loads((paths.MODELS / "wse2-thesis.json").read_text())
    sides, _ = potential.sides(potential.load("wse2-thesis"), frames)
    for side, groups in record["split"].items():
        assert sorted({dataset.group(atoms) for atoms in sides[side]}) == groups
    assert [len(part) for part in sides.values()] == [130, 17, 19]
    member = committee.members(mace, "wse2-small")[0]
    old = dataset.of_elements(frames, mace.elements)
    assert potential.sides(member, frames) == (splitting.split(old), [])


def test_what_is_no_committee_of_the_model_is_refused(model, mace, tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"no alone\.committee\.npz beside it\. Set committee = False"
    ):
        shutil.copy(model, tmp_path / "alone.model")
        _ = parameters.Pristine(model=str(tmp_path / "alone.model")).key
    assert parameters.Pristine(model=str(tmp_path / "alone.model"), committee=False).key
    other = with_committee(tmp_path, FACTORS)
    path = paths.committee_file(other)
    np.savez(path, weights=np.ones((2, 48)), factor=1.0, model="0" * 64)
    with pytest.raises(
        ValueError, match=r"belongs to the model with sha256 0{16}…, not to alike .*committee = False"
    ):
        committee.members(mace, other)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"alike\.committee\.npz is no committee .*set committee = False"):
        committee.members(mace, other)


def test_other_data_are_refused(mace, monkeypatch):
    refusal = r"has not the frames that trained .* \(Se, W\).*give the data that it was trained on"
    with pytest.raises(ValueError, match=refusal):
        committee.make("wse2-small", str(paths.REFERENCE / "vacancy_6x6.xyz"))
    oxides = [atoms for atoms in dataset.read(paths.data_file("wse2.xyz")) if "O" in atoms.symbols]
    monkeypatch.setattr(dataset, "read", lambda path: oxides)
    member = committee.members(mace, "wse2-small")[0]
    monkeypatch.setattr(potential, "load", lambda model, trust_model: member)
    with pytest.raises(ValueError, match=refusal):
        committee.make("wse2-small", "wse2.xyz")


def test_the_committee_enters_the_key(model):
    run, without = parameters.Defect(model=model, committee=True), parameters.Defect(model=model)
    assert run.key != without.key and "committee=True" in run.tag and not without.committee
    assert parameters.Pristine().committee and parameters.Evaluation().committee
    assert parameters.Pristine(model=model).inputs["committee"]
