import json

import numpy as np
import pytest

from defectphonons import force_constants, potentials, spectra
from helpers import parameters, paths, records
from helpers.data import dataset, splitting
from helpers.models import active, calibration, committee, evaluation, potential, shipping

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


@pytest.fixture(scope="module")
def dft():
    return evaluation.symmetrised(evaluation.reference("vacancy_3x3"))[0]


def stiffer(phonon, factor):
    """The same cell with all frequencies `factor` times as high."""
    other = force_constants.undisplaced(
        force_constants.to_ase(phonon.primitive), phonon.supercell_matrix[0, 0]
    )
    other.force_constants = factor**2 * phonon.force_constants
    return other


def test_modes_of_the_vacancy_that_are_all_too_high_by_a_factor(dft):
    dft.run_qpoints([[0, 0, 0]], with_eigenvectors=True)
    per_cm = dft.qpoints.frequencies[0] * spectra.PER_CM
    vectors = dft.qpoints.eigenvectors[0].reshape(26, 3, 78)
    motion = (abs(vectors[evaluation.dft_vacancy().local]) ** 2).sum(axis=(0, 1))
    middle = evaluation.gap_middle() * spectra.PER_CM
    optical = abs(per_cm) > 3
    found = evaluation.vacancy_errors(dft, stiffer(dft, 1.01))
    for name in ("modes", "unpaired"):
        assert found[f"{name}_below"] == pytest.approx(
            0.01 * per_cm[optical & (per_cm < middle)].mean(), rel=1e-6
        )
        assert found[f"{name}_above"] == pytest.approx(0.01 * per_cm[per_cm > middle].mean(), rel=1e-6)
    weighted = np.average(per_cm[optical], weights=motion[optical])
    assert found["modes_by_weight"] == pytest.approx(0.01 * weighted, rel=1e-6)
    assert found["modes_largest"] == pytest.approx(0.01 * per_cm.max(), rel=1e-6)
    assert 1 < found["local_dos"] < 30
    assert (found["sets"], found["without_partner"]) == (50, 0)


def test_dft_does_not_deviate_from_itself(dft):
    found = evaluation.vacancy_errors(dft, dft)
    assert (found.pop("sets"), found.pop("without_partner")) == (50, 0)
    assert set(found.values()) == {0.0}
    assert set(found) < set(evaluation.TARGETS)


def test_the_null_model_has_the_errors_that_others_found(dft):
    """Computed by an independent program."""
    found = evaluation.null_model()
    assert (found["modes_below"], found["modes_above"]) == pytest.approx((2.11, 3.92), abs=0.01)
    assert "sheet_Γ" not in found
    null = evaluation.null_constants(dft)
    assert evaluation.vacancy_errors(dft, null)["without_partner"] == 3
    constants = null.force_constants.copy()
    null.produce_force_constants(show_drift=False)  # from its forces
    assert null.force_constants == pytest.approx(constants, abs=1e-6)


def test_the_gap_lies_between_three_and_six_bands():
    (sheet,) = evaluation.symmetrised(evaluation.reference("pristine_3x3"))
    frequencies = spectra.on_mesh(sheet, 12).frequencies
    assert ((frequencies < evaluation.gap_middle()).sum(axis=1) == 3).all()
    assert frequencies[:, 3:].min() + frequencies[:, :3].max() == pytest.approx(
        2 * evaluation.gap_middle(), abs=0.02
    )


def test_the_local_dos_has_three_states_for_each_of_four_atoms(dft):
    grid, densities = evaluation.local_dos(dft, stiffer(dft, 1.1))
    assert [np.trapezoid(each, grid) for each in densities] == pytest.approx([12, 12], abs=1e-3)


def test_partners_by_order_do_not_cross_and_stay_in_their_irrep():
    def one(irrep, frequency, partner):
        return spectra.PairedSet(irrep, 1, frequency, partner, 1.0, np.ones(1), np.ones(1))

    crossed = [one("A1", 1.0, 2.1), one("E", 1.5, 9.0), one("A1", 2.0, 1.1)]
    assert evaluation.mean_error(crossed) == pytest.approx((1.1 + 7.5 + 0.9) / 3 * spectra.PER_CM)
    ordered = evaluation.by_order(crossed)
    assert {each.frequency_THz: each.partner_THz for each in ordered} == {1.0: 1.1, 1.5: 9.0, 2.0: 2.1}


def test_modes_of_a_sheet_that_are_all_too_high_by_a_factor(monkeypatch):
    sheets = {
        name: evaluation.symmetrised(evaluation.reference(name))[0] for name, _ in evaluation.SHEET.values()
    }
    monkeypatch.setattr(evaluation, "as_dft", lambda name, _: (sheets[name], stiffer(sheets[name], 1.01)))
    found = evaluation.sheet_errors(None)
    largest = 0.0
    for label, (name, q_point) in evaluation.SHEET.items():
        sheets[name].run_qpoints([q_point])
        per_cm = sheets[name].qpoints.frequencies[0][3 * (label == "Γ") :] * spectra.PER_CM
        assert found[f"sheet_{label}"] == pytest.approx(0.01 * per_cm.mean(), rel=1e-6)
        largest = max(largest, 0.01 * per_cm.max())
    assert found["sheet_largest"] == pytest.approx(largest, rel=1e-6)


def test_deviations_of_the_relaxed_sheet_are_in_percent(monkeypatch):
    sheet, primitive = evaluation.dft_sheet()
    larger = primitive.copy()
    larger.set_cell(primitive.cell.array * [1.002, 1.002, 1], scale_atoms=True)
    constants = 0.97 * sheet["C11_N_per_m"], 1.05 * sheet["C12_N_per_m"]
    monkeypatch.setattr(evaluation.relaxation, "relax", lambda *_, **__: larger)
    monkeypatch.setattr(evaluation.relaxation, "elastic_constants", lambda *_: constants)
    expected = {"lattice_constant": 0.2, "C11": 3.0, "C12": 5.0}
    assert evaluation.elastic_errors(None) == pytest.approx(expected)


def test_the_table_of_targets():
    rows = evaluation.beside_targets(
        {"modes_below": 1.1249, "lattice_constant": 0.0418}, {"modes_below": 123.4}
    )
    assert [list(row.values())[1:] for row in rows] == [
        ["1.1", "120", "1", "cm⁻¹", "no"],
        ["0.042", "–", "0.1", "%", "yes"],
    ]


def test_a_model_too_poor_for_the_targets_is_shipped_with_the_reason(mace, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("the sheet does not relax\nand more")

    monkeypatch.setattr(evaluation.relaxation, "relax", fail)
    assert shipping.targets(mace, [], [], []) == "the sheet does not relax"


def test_what_the_record_of_the_shipped_model_says_of_the_targets(mace):
    """Recompute a sample; 03 computes the whole."""
    described = json.loads(SHIPPED.read_text())
    said = described["targets"]
    assert list(said) == list(evaluation.TARGETS)
    train = splitting.split(dataset.read(paths.data_file(described["data"]["file"])))["train"]
    large = [atoms for atoms in train if dataset.kind(atoms) == "vacancy_4x4"]
    assert said["forces_vacancy_4x4"] == pytest.approx(evaluation.force_error(large, mace), rel=1e-4)
    pair = evaluation.symmetrised(*evaluation.as_dft("vacancy_3x3", mace))
    found = evaluation.vacancy_errors(*pair) | {"force_changes": evaluation.force_changes(*pair)}
    expected = {name: value for name, value in found.items() if name in evaluation.TARGETS}
    assert len(expected) == 8
    assert {name: said[name] for name in expected} == pytest.approx(expected, rel=1e-3)
    total = described["errors"]["test"]["total"]
    assert said["energy"] == pytest.approx(total["rmse_energy_meV_per_atom"], rel=1e-6)


def test_the_foundation_models_were_compared_with_the_shipped_model():
    compared = json.loads((paths.DATA / "foundation_models.json").read_text())
    assert compared["model"]["sha256"] == records.sha256(SHIPPED.with_suffix(".model"))
    assert compared["data"]["file"] == parameters.Evaluation().data
    # On the test frames of the model that it is compared with.
    assert compared["data"] == json.loads(SHIPPED.read_text())["data"]
    assert set(compared["rows"]) == {"wse2-small", "SevenNet-0", "SevenNet-l3i5", "CHGNet"}


def test_coverage_of_errors_that_are_known():
    rng = np.random.default_rng(0)
    true = rng.uniform(0.5, 5, 40_000)
    spread = true * np.sqrt(rng.chisquare(7, len(true)) / 7)  # as of eight members
    found = calibration.coverage(
        np.append(spread, 0.0), np.append(true * rng.standard_normal(len(true)), 0.0)
    )
    assert found["error_over_spread"] == pytest.approx(1, abs=0.02)
    # Student's t of seven degrees of freedom, from a table: 0.65 within one, 0.914 within two.
    assert (found["within_one"], found["within_two"]) == pytest.approx((0.649, 0.914), abs=0.01)
    assert 0.3 < found["rank_correlation"] < 0.7
    twice = calibration.coverage(spread, 2 * true)
    assert twice["error_over_spread"] == pytest.approx(2, rel=0.02) and twice["within_one"] < 0.01


def test_calibration_compares_the_model_with_its_members(mace):
    """A member that is the model moved by nothing has no spread; two that are moved alike have their distance."""
    frames = dataset.read(paths.data_file("wse2.xyz"))[3:5]
    own = active.readout(mace)
    members = [committee.member(mace, k, factor * own) for k, factor in enumerate((0.99, 1.01), start=1)]
    panels = calibration.against_dft(mace, members, {"some": frames})
    assert list(panels) == ["forces of some", "changes of forces", "modes of V_Se in 3 × 3"]
    unit, spread, error = panels["forces of some"]
    forces = [np.concatenate([potentials.evaluate(mace, atoms)["forces"].ravel() for atoms in frames])]
    assert spread == pytest.approx(1000 * 0.02 / np.sqrt(2) * abs(forces[0]), abs=1e-6)
    truth = np.concatenate([atoms.get_forces().ravel() for atoms in frames])
    assert unit == "meV/Å" and error == pytest.approx(1000 * (forces[0] - truth), abs=1e-6)
    _, spread, error = panels["modes of V_Se in 3 × 3"]
    dft, _ = evaluation.symmetrised(*evaluation.as_dft("vacancy_3x3", mace))
    of_dft = np.array([each.frequency_THz for each in evaluation.optical_sets(dft, dft)]) * spectra.PER_CM
    factor = np.std([np.sqrt(0.99), np.sqrt(1.01)], ddof=1)
    assert spread == pytest.approx(factor * (of_dft + error), rel=1e-3)
