"""Modes followed into strained cells: against the modes themselves, the sum rule of uniaxial strains, group theory."""

import numpy as np
import pytest

from defectphonons import following, spectra, structures
from defectphonons.structures import Defect
from helpers import defects, parameters, straining
from helpers.models import potential

STEP = 0.002  # strain, so small that what is of second order hardly counts


@pytest.fixture(scope="module")
def cells():
    """The vacancy in 3 x 3 without strain, with biaxial strain and with strain along zigzag; and the modes of each."""
    mace = potential.load("wse2-small")
    strains = {"0": 0.0, "++": STEP, "+0": [STEP, 0.0]}
    sheets = {
        name: defects.defective_sheet(parameters.DefectiveCell(supercell=3, strain=strain), mace)
        for name, strain in strains.items()
    }
    return {name: (spectra.gamma_modes(sheet.phonon), sheet.defect) for name, sheet in sheets.items()}


@pytest.fixture(scope="module")
def carried(cells):
    """Every optical set of modes in each of these cells."""
    gamma, defect = cells["0"]
    optical = [i for i, members in enumerate(gamma.sets) if gamma.frequencies[members[0]] > 0.1]
    return {name: following.carried(gamma, optical, defect, *cell) for name, cell in cells.items()}


def test_without_strain_a_pattern_is_its_mode(cells, carried):
    gamma, _ = cells["0"]
    one = carried["0"]
    assert len(one.modes.frequencies) == 75 and set(one.modes.irreps) == {"A1", "A2", "E"}
    assert one.modes.frequencies == pytest.approx(gamma.frequencies[3:], abs=1e-9)
    assert one.overlaps == pytest.approx(np.ones(len(one.overlaps)))
    assert straining.frequencies(one) == pytest.approx(
        [gamma.frequencies[m[0]] for m in gamma.sets[-len(set(one.origins)) :]]
    )


def test_strain_along_an_axis_splits_pairs_by_the_mirror_that_is_left(cells, carried):
    gamma, _ = cells["0"]
    irreps = {"A1": ["A'"], "A2": ["A''"], "E": ["A'", "A''"]}
    optical = gamma.irreps[-len(set(carried["0"].origins)) :]
    for number, irrep in enumerate(optical):
        found = [
            label
            for label, origin in zip(carried["+0"].modes.irreps, carried["+0"].origins, strict=True)
            if origin == number
        ]
        assert sorted(found) == irreps[irrep]
        apart = straining.parts({0.0: carried["0"], STEP: carried["+0"]}, number)
        assert len(apart) == (2 if irrep == "E" else 0)
        for levels in apart.values():
            assert levels[0] == pytest.approx(straining.frequencies(carried["0"])[number])
    # Parts of unit norm, each orthogonal to the other.
    vectors = carried["+0"].modes.eigenvectors.reshape(78, -1)
    assert vectors.conj().T @ vectors == pytest.approx(np.eye(75), abs=1e-6)


def test_uniaxial_strain_shifts_by_half_of_what_biaxial_strain_does(carried):
    """The vacancy has three mirrors: to first order both axes shift a mode, or the mean of a pair, by the same."""
    before, biaxial, uniaxial = (straining.frequencies(carried[name]) for name in ("0", "++", "+0"))
    slopes = (biaxial - before) / (100 * STEP)  # THz per %
    assert abs(slopes).max() > 0.1
    assert 2 * (uniaxial - before) / (100 * STEP) == pytest.approx(slopes, abs=0.003)


def test_a_slope_is_exact_for_a_parabola():
    strains = np.array([-0.02, 0.0, 0.02, 0.04])
    parabola, cubic = (
        {strain: np.array([7.0 - 9.0 * strain + 40.0 * strain**2 + third * strain**3]) for strain in strains}
        for third in (0.0, 5000.0)
    )
    assert np.array(straining.per_percent(parabola)) == pytest.approx(np.array([[-0.09], [0.0]]))
    # A central difference is off by the third order times the square of the step.
    assert np.array(straining.per_percent(cubic)) == pytest.approx(np.array([[-0.07], [0.02]]))


def test_shifts_along_both_axes_add_up_free_of_what_is_of_second_order():
    """A threefold axis gives both the same second order; without one it takes strains of both signs."""
    zigzag = {strain: np.array([-4.0 * strain + 40.0 * strain**2]) for strain in (-0.03, 0.0, 0.03)}
    for second, signs in ((40.0, (-1,)), (10.0, (-1, 1))):
        armchair = {sign * 0.03: np.array([-5.0 * sign * 0.03 + second * 0.03**2]) for sign in signs}
        along_zigzag = {strain: zigzag[strain] for strain in (0.0, *(-one for one in armchair))}
        assert straining.along_both(along_zigzag, armchair) == pytest.approx([-0.09])


def test_sites_are_found_again_where_the_defect_is_made_in_another_place():
    sheet = structures.monolayer("WSe2", 3.32, 3.36)
    one, other = (
        Defect.of(structures.supercell(structures.strained(sheet, strain), 6), "V_Se")
        for strain in (0.0, [-0.03, 0.0])
    )
    assert one.changed != other.changed  # it is nearest to the middle of the cell, which strain moves
    same = following.same_sites(one, other)
    assert sorted(same) == list(range(107))
    assert list(one.atoms.symbols[same]) == list(other.atoms.symbols)
    assert one.distances[same] == pytest.approx(other.distances, rel=0.031, abs=0.01)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"biaxial": [-0.01, 0.01]}, "must have three strains, one of them with both signs"),
        ({"biaxial": [0.01, 0.02, 0.03]}, "must have three strains, one of them with both signs"),
        ({"biaxial": [-0.01, 0.0, 0.01]}, "must have a strain, and not 0"),
        ({"uniaxial": []}, "must have a strain, and not 0"),
        ({"uniaxial": "[0.03, -0.03]"}, "must increase"),
        ({"uniaxial": [-0.06, 0.06]}, r"uniaxial\[0\] = -0.06: must be from -0.05 to 0.05"),
        ({"uniaxial": 0.03}, "must be a list"),
        ({"defect": "V_Te"}, "is no defect of WSe2"),
    ],
)  # fmt: skip
def test_strains_that_will_not_do_are_refused_in_one_line(given, message):
    with pytest.raises(ValueError, match=message) as refused:
        parameters.UnderStrain.of(given)
    assert "\n" not in str(refused.value)


def test_the_cells_are_those_of_05():
    run = parameters.UnderStrain(smearing=0.1)
    assert run.cell(0.0).shared_folder == parameters.Defect().shared_folder
    assert run.cell([0.0, 0.03]).shared_folder == parameters.Defect(strain=[0.0, 0.03]).shared_folder
    assert run.tag == "6x6_V_Se_wse2-small_smearing=0.1"
