import json

import numpy as np
import pytest

from helpers import dataset, evaluation, force_constants, parameters, paths, potential, records

SHIPPED = paths.MODELS / "wse2-small.json"


@pytest.fixture(scope="module")
def mace():
    return potential.load("wse2-small")


def test_force_changes_of_forces_that_are_off_by_a_factor(mace):
    dft, ours = evaluation.as_dft("pristine_2x2", mace)
    changes = (dft.forces[::2] - dft.forces[1::2]) / 2
    assert evaluation.force_changes(dft, ours) < 3.0
    constant = np.random.default_rng(0).normal(
        size=dft.forces.shape[1:]
    )  # of both signs alike, so it does not count
    ours.forces = 1.1 * dft.forces + constant
    expected = 100 * np.sqrt(np.mean(changes**2))
    assert evaluation.force_changes(dft, ours) == pytest.approx(expected, rel=1e-6)


def test_sets_of_the_same_force_constants_are_their_own_partners(mace):
    dft, ours = evaluation.as_dft("pristine_3x3", mace)
    for phonon in (dft, ours):
        phonon.produce_force_constants(calculate_full_force_constants=False, show_drift=False)
        force_constants.symmetrise(phonon)
    sets = evaluation.optical_sets(dft, dft)
    assert sum(each.degeneracy for each in sets) == 6  # nine modes of the cell, three of them acoustic
    assert all(each.partner_THz == each.frequency_THz and each.overlap > 0.999 for each in sets)
    assert max(abs(each.partner_THz - each.frequency_THz) for each in evaluation.optical_sets(dft, ours)) > 0


def test_what_the_record_of_the_shipped_model_says_of_the_targets(mace):
    """A sample computed again, the whole by 03."""
    described = json.loads(SHIPPED.read_text())
    said = described["targets"]
    assert list(said) == list(evaluation.TARGETS)
    frames = dataset.read(paths.data_file(described["data"]["file"]))
    near = [
        atoms
        for atoms in dataset.split(frames)["test"]
        if dataset.kind(atoms) == "vacancy_3x3" and atoms.info["rattle"] <= 0.06
    ]
    table = dataset.errors(near, dataset.predict(near, mace.calculator))
    assert said["forces_vacancy_3x3"] == pytest.approx(table["total"]["rmse_force_meV_per_A"], rel=1e-4)
    known = json.loads((paths.DATA / "literature.json").read_text())["WSe2"]["gamma_per_cm"]
    gamma = evaluation.gamma_in_dft_geometry(mace)
    worst = max(abs(value - known[irrep]["dft"]) for irrep, value in gamma.items())
    assert said["gamma"] == pytest.approx(worst, abs=1e-3)
    total = described["errors"]["test"]["total"]
    assert said["energy"] == pytest.approx(total["rmse_energy_meV_per_atom"], rel=1e-6)
    assert said["forces"] == pytest.approx(total["rmse_force_meV_per_A"], rel=1e-6)


def test_the_foundation_models_were_compared_with_the_shipped_model():
    compared = json.loads((paths.DATA / "foundation_models.json").read_text())
    assert compared["model"]["sha256"] == records.sha256(SHIPPED.with_suffix(".model"))
    assert compared["data"]["file"] == parameters.Evaluation().data
    assert compared["data"]["sha256"] == records.sha256(paths.data_file(compared["data"]["file"]))
    assert set(compared["rows"]) == {"wse2-small", "SevenNet-0", "SevenNet-l3i5", "CHGNet"}
