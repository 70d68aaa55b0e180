"""Electronic transitions of a defect: the frames of data/reference, what couples, and what is refused."""

from types import SimpleNamespace

import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator

from defectphonons import emission, structures
from defectphonons.spectra import MEV
from helpers import paths, transitions
from helpers.data import dataset
from helpers.models import evaluation

FILE = paths.REFERENCE / "transitions.xyz"


@pytest.fixture(scope="module")
def constants():
    """Return DFT's force constants (26, 26, 3, 3) of the vacancy in 3 x 3."""
    (dft,) = evaluation.symmetrised(evaluation.reference("vacancy_3x3"))
    return dft.force_constants


@pytest.fixture
def vacancy():
    """Return the electron attachment of V_Se in 3 x 3, read anew."""
    return transitions.read(FILE, "V_Se", "electron_attachment")["electron_attachment"][3]


def test_the_negative_vacancy_has_the_factor_that_another_script_found(constants, vacancy):
    found = transitions.factors(vacancy, constants)["forces at the ground state's minimum"]
    assert found.total == pytest.approx(0.47, abs=0.005)
    assert found.frequencies[found.factors.argmax()] == pytest.approx(2.80, abs=0.01)
    assert np.linalg.norm(vacancy.difference("ground") - vacancy.pushes["ground"]) < 1e-3  # C3v is kept


def test_harmonic_states_have_one_factor_whatever_it_is_computed_from(constants, vacancy):
    moved = 0.1 * vacancy.pushes["ground"]
    moved -= vacancy.ground.get_masses() @ moved / vacancy.ground.get_masses().sum()
    push = np.einsum("ijab,jb->ia", constants, moved)
    frames = {}
    for state, geometry in (
        ("ground", "ground"),
        ("final", "ground"),
        ("ground", "final"),
        ("final", "final"),
    ):
        atoms = vacancy.ground.copy()
        atoms.positions += moved if geometry == "final" else 0.0
        forces = (state == "final") * push - (geometry == "final") * push
        atoms.calc = SinglePointCalculator(atoms, forces=forces)
        frames[state, geometry] = atoms
    harmonic = transitions.Transition("V_Se", frames)
    totals = [one.total for one in transitions.factors(harmonic, constants).values()]
    assert len(totals) == 3 and totals == pytest.approx([totals[0]] * 3, rel=1e-4)


@pytest.fixture
def embedded():
    """Return the places of the sites round a vacancy in a sheet that is somewhat larger than DFT's."""
    primitive = structures.monolayer("WSe2", 3.33, 3.36)
    defect = structures.Defect.of(structures.supercell(primitive, 9), "V_Se")
    places = np.vstack([np.zeros(3), defect.from_site[np.linalg.norm(defect.from_site, axis=1) < 11]])
    return SimpleNamespace(
        places=places, sites=np.zeros((len(places), 3)), perfect=SimpleNamespace(primitive=primitive)
    )


def test_forces_find_their_sites_and_equally_near_images_share_them(embedded, vacancy):
    push = vacancy.pushes["ground"]
    on_site = transitions.on_sites(vacancy, push, embedded)
    assert on_site.sum(axis=0) == pytest.approx(push.sum(axis=0), abs=1e-12)
    assert not on_site[0].any()
    lengths = np.linalg.norm(on_site, axis=1)
    assert lengths.max() == pytest.approx(np.linalg.norm(push, axis=1).max())
    nearest = np.argsort(np.linalg.norm(embedded.places, axis=1))[1:4]  # three W take the largest
    assert lengths[nearest] == pytest.approx([lengths.max()] * 3, rel=1e-3)
    turn = np.array([[-0.5, -(3**0.5) / 2, 0], [3**0.5 / 2, -0.5, 0], [0, 0, 1]])
    for place, force in zip(embedded.places, on_site, strict=True):
        image = np.linalg.norm(embedded.places - turn @ place, axis=1).argmin()
        assert on_site[image] == pytest.approx(turn @ force, abs=1e-3)


def test_a_cell_in_another_order_or_with_another_defect_is_refused(embedded, vacancy):
    atoms = vacancy.ground[::-1]
    for other in (
        transitions.Transition("V_Se", {("ground", "ground"): atoms}),
        transitions.Transition("V_W", vacancy.frames),
    ):
        with pytest.raises(ValueError, match="sort its atoms in that order and shift it onto that lattice"):
            transitions.on_sites(other, np.zeros((26, 3)), embedded)


def test_what_is_not_there_is_told(tmp_path):
    with pytest.raises(
        ValueError, match=r"transitions.xyz has no optical of V_W \(of which it has: none\): label the defect"
    ):
        transitions.read(FILE, "V_W", "optical")
    frames = [atoms for atoms in dataset.read(FILE) if atoms.info["state"] == "ground"]
    dataset.write(tmp_path / "some.xyz", frames)
    with pytest.raises(
        ValueError,
        match="some.xyz lacks state=final geometry=ground for electron_attachment of V_Se in a cell of 26",
    ):
        transitions.read(tmp_path / "some.xyz", "V_Se", "electron_attachment")


def distorted(vacancy, coupling, curvature):
    """Return the frames of an electron in one of two partners, which pulls by `coupling`, and by `curvature` whichever it is."""
    frames = {key: atoms for key, atoms in vacancy.frames.items() if set(key) <= {*transitions.STATES}}
    for geometry, sign in (("distorted", 1), ("opposite", -1)):
        shared = vacancy.ground.copy()
        shared.positions += 0.3 * sign * coupling
        shared.calc = SinglePointCalculator(shared, forces=-2 * sign * coupling)
        partner = shared.copy()
        partner.calc = SinglePointCalculator(partner, forces=(1 - 2) * sign * coupling + curvature)
        frames |= {("final", geometry): shared, ("partner", geometry): partner}
    return transitions.Transition("V_Se", frames)


def test_a_partner_of_a_degenerate_level_pulls_by_what_changes_sign_with_the_distortion(constants, vacancy):
    coupling, curvature = 0.1 * np.random.default_rng(0).normal(size=(2, 26, 3))
    one = distorted(vacancy, coupling, curvature)
    assert one.jahn_teller == pytest.approx(coupling)
    found = transitions.factors_of_one_partner(one, constants)["linear coupling"]
    assert found.total == pytest.approx(
        emission.huang_rhys(one.ground.get_masses(), constants, forces=coupling).total
    )
    assert one.rises == vacancy.rises


def test_one_partner_of_the_negative_vacancy_pulls_as_its_level_splits(constants, vacancy):
    coupled = transitions.factors_of_one_partner(vacancy, constants)["linear coupling"]
    matrix = constants.swapaxes(1, 2).reshape(78, 78)
    relaxation = vacancy.jahn_teller.ravel() @ np.linalg.pinv(matrix) @ vacancy.jahn_teller.ravel() / 2  # eV
    assert coupled.factors @ coupled.frequencies * MEV == pytest.approx(1000 * relaxation, rel=1e-3)
    by_dft, linear = vacancy.partner_energies
    assert -2 * linear == pytest.approx(0.154, rel=0.1)  # eV, by which DFT's eigenvalues lie apart there
    assert linear < by_dft < 0
    symmetric = transitions.symmetric_part(vacancy.ground, vacancy.jahn_teller)
    assert np.linalg.norm(symmetric) < 0.02 * np.linalg.norm(vacancy.jahn_teller)
    assert vacancy.spin_orbit == pytest.approx(0.134)
    squares = np.sort((vacancy.jahn_teller**2).sum(axis=1))
    assert squares[-3:].sum() == pytest.approx(
        0.9 * squares.sum(), rel=0.02
    )  # on the three W: no image shares it


def test_a_distortion_of_which_a_frame_is_missing_or_elsewhere_is_refused(tmp_path, vacancy):
    frames = distorted(vacancy, np.full((26, 3), 0.01), np.zeros((26, 3))).frames
    for (state, geometry), atoms in frames.items():
        atoms.calc.results.setdefault("energy", 0.0)
        atoms.info |= {"defect": "V_Se", "transition": "one", "state": state, "geometry": geometry}
    *all_but_last, _ = frames.values()
    with pytest.raises(ValueError, match="lacks state=partner geometry=opposite for one of V_Se"):
        dataset.write(tmp_path / "some.xyz", all_but_last)
        transitions.read(tmp_path / "some.xyz", "V_Se", "one")
    frames["partner", "opposite"].positions[0] += 0.01
    with pytest.raises(
        ValueError, match="has states at geometry=opposite at different places for one of V_Se"
    ):
        dataset.write(tmp_path / "all.xyz", list(frames.values()))
        transitions.read(tmp_path / "all.xyz", "V_Se", "one")


def test_peaks_have_the_part_of_a_gaussian_that_lies_within_its_width():
    grid = np.arange(0.0, 10.0, 0.005)
    density = 0.3 * np.exp(-(((grid - 3) / 0.1) ** 2) / 2) + 0.1 * np.exp(-(((grid - 7) / 0.3) ** 2) / 2)
    (first, width, share), (second, wide, other) = sorted(transitions.peaks(grid, density))
    assert (first, second) == pytest.approx((3, 7), abs=0.005)
    assert (width, wide) == pytest.approx((0.2355, 0.7064), rel=0.02)
    assert (share, other) == pytest.approx((0.761 / 2, 0.761 / 2), rel=0.02)
    assert [at for at, _, _ in transitions.peaks(grid, density, least=0.9)] == []
