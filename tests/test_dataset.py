"""Data: bad files are refused with words, units are checked, the split does not leak."""

import re
from copy import deepcopy
from types import SimpleNamespace

import numpy as np
import pytest
from ase.build import mx2

from helpers import dataset, paths, potential, records

FILE = paths.DATA / "wse2.xyz"
HEAD = re.compile(r"(?:.*\n){10}")  # two frames of three atoms


@pytest.fixture(scope="module")
def frames():
    return dataset.read(FILE)


@pytest.fixture(scope="module")
def text(frames, tmp_path_factory):
    """Three frames of three atoms each, as a file."""
    path = tmp_path_factory.mktemp("good") / "good.xyz"
    dataset.write(path, frames[5:8])
    assert len(dataset.read(path)) == 3
    return path.read_text()


def relabelled(frames, energy=1.0, forces=1.0):
    """Copies of frames with energies and forces multiplied."""
    copies = deepcopy(frames)
    for copy in copies:
        copy.calc.results["energy"] *= energy
        copy.calc.results["forces"] *= forces
    return copies


def third(pattern: str, new: str):
    """An edit of the text: `pattern` replaced in the third frame."""
    return lambda text: HEAD.match(text)[0] + re.sub(pattern, new, HEAD.sub("", text), count=1)


BAD = {
    "empty": (lambda text: "", "the file is empty"),
    "garbage": (lambda text: "hello\nworld\n", "frame 1: line 1 must be a number of atoms, not 'hello'"),
    "zero atoms": (lambda text: text + "0\n" + text.splitlines()[1] + "\n", "frame 4: zero atoms"),
    "an atom short": (lambda text: "".join(text.splitlines(keepends=True)[:-1]), "frame 3: truncated"),
    "cut in the last number": (lambda text: text[:-4], "frame 3: truncated"),
    "cut after the count": (lambda text: text + "3\n", "frame 4: truncated"),
    "empty line inside": (third("^", "\n"), "frame 3: line 11 must be a number of atoms, not ''"),
    "one atom more": (third(r"(Se .*\n)", r"\1\1"), "frame 4: line 16 must be a number of atoms"),
    "no forces": (third(":forces:R:3", ""), "frame 3: no forces"),
    "a column short": (third(r" \S+\n$", "\n"), "frame 3: not extended XYZ"),
    "no energy": (third(r" energy=\S+", ""), "frame 3: no energy. Write"),
    "other key": (third(" energy=", " REF_energy="), r"frame 3: no energy \(found: REF_energy\)"),
    "energy a word": (third(r" energy=\S+", " energy=low"), "frame 3: energy must be numbers"),
    "energy NaN": (third(r" energy=\S+", " energy=nan"), "frame 3: NaN or infinity in energy"),
    "force infinite": (third(r"\S+\n$", "inf\n"), "frame 3: NaN or infinity in forces"),
    "position NaN": (third(r"Se +\S+", "Se nan"), "frame 3: NaN or infinity in positions"),
    "stress NaN": (third(r'stress="\S+', 'stress="nan'), "frame 3: NaN or infinity in stress"),
    "cell NaN": (third(r'Lattice="\S+', 'Lattice="nan'), "frame 3: NaN or infinity in cell"),
    "no cell": (third(r'Lattice="[^"]*" ', ""), "frame 3: no cell"),
    "flat cell": (third(r' \S+" Prop', ' 0" Prop'), "frame 3: no cell, or one of zero volume"),
    "unknown element": (third("Se ", "Qq "), "frame 3: not extended XYZ"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_file_is_refused_with_its_place(name, text, tmp_path):
    edit, message = BAD[name]
    path = tmp_path / "bad.xyz"
    path.write_text(edit(text))
    with pytest.raises(ValueError, match=message) as error:
        dataset.read(path)
    assert str(path) in str(error.value)


def test_stress_may_be_missing_and_the_file_may_end_in_empty_lines(text, tmp_path):
    path = tmp_path / "file.xyz"
    path.write_text(re.sub(r' stress="[^"]*"', "", text) + "\n\n")
    read = dataset.read(path)
    assert len(read) == 3
    assert dataset.describe(read)[0]["stress_eV_per_A3"] is None
    assert "-" in dataset.table(dataset.describe(read))


def test_counts_are_those_of_the_readme(frames):
    readme = (paths.DATA / "README.md").read_text()
    rows = [
        re.split(r" *\| *", line.strip("| "))
        for line in readme.splitlines()
        if re.match(r"\| (pri|vac|two_vac)", line)
    ]
    assert {row[0] for row in rows} == {dataset.kind(atoms) for atoms in frames}
    for kind in {row[0] for row in rows}:
        stated = np.sum([[int(cell) for cell in row[1:4]] for row in rows if row[0] == kind], axis=0)
        counted = next(row for row in dataset.describe(frames) if row["kind"] == kind)
        assert list(stated) == [counted["frames"], counted["groups"], counted["atoms"]]
    # The raw file, without our reader: a frame's first line holds nothing but its number of atoms.
    counts = [int(line) for line in FILE.read_text().splitlines() if line.isdecimal()]
    assert (len(counts), sum(counts)) == (180, 2755)
    assert "180 frames, 2755 atoms, 79 groups" in readme


def test_written_frames_are_read_back_and_a_failed_write_leaves_the_old_file(frames, tmp_path):
    path = tmp_path / "part.xyz"
    dataset.write(path, frames)
    for one, other in zip(frames, dataset.read(path), strict=True):
        assert np.array_equal(one.positions, other.positions)
        assert all(np.array_equal(value, other.calc.results[key]) for key, value in one.calc.results.items())
    before = records.sha256(path)
    with pytest.raises(TypeError):
        dataset.write(path, [frames[0], None])
    assert records.sha256(path) == before and list(tmp_path.iterdir()) == [path]


def test_our_units_agree(frames):
    # The frames of pairs of vacancies differ in their empty sites: those that do are not close.
    ratio, pairs = dataset.check_units(frames)
    assert ratio == pytest.approx(1, abs=0.01) and pairs > 20


UNITS = [
    (1 / 27.2114, 1, "energies in Hartree with forces in eV/A"),
    (27.2114, 1, "27.* forces in Hartree/A with energies in eV, or energies converted from Hartree twice"),
    (1 / 27.2114, 0.529177 / 27.2114, "forces per Bohr"),
    (1, 0.529177 / 27.2114, "forces in Hartree/Bohr with energies in eV"),
    (23.0605, 1, "23.* energies in kcal/mol"),
    (1, -1, "opposite sign"),
    (2, 1, "by 2.0.* no usual mistake"),
    (0.85, 1, "by 0.8.* no usual mistake"),
]


@pytest.mark.parametrize(("energy", "forces", "words"), UNITS)
def test_wrong_units_are_named(frames, energy, forces, words):
    with pytest.raises(ValueError, match=words):
        dataset.check_units(relabelled(frames, energy, forces))


def test_one_wrong_energy_is_found_and_frames_far_apart_are_not_compared(frames):
    changed = frames[:6] + relabelled(frames[6:7], energy=1.1) + frames[7:]
    with pytest.raises(ValueError, match=r"frames \d+ and 7 |frames 7 and"):
        dataset.check_units(changed)
    assert dataset.check_units([frames[0], frames[5]]) == (None, 0)


def test_every_fold_validates_with_other_groups_and_the_test_stays(frames):
    sides = []
    for fold in range(4):
        parts = dataset.split(frames, fold)
        sides.append({name: {dataset.group(atoms) for atoms in part} for name, part in parts.items()})
    assert len({frozenset(each["test"]) for each in sides}) == 1
    assert len({frozenset(each["validation"]) for each in sides}) == 4
    for each in sides:
        assert not each["train"] & each["validation"] and not each["train"] & each["test"]
        assert len(each["validation"]) == len(sides[0]["validation"])


def test_split_keeps_groups_whole_whatever_the_order(frames):
    parts = dataset.split(frames)
    assert {side: len(part) for side, part in parts.items()} == {"train": 142, "validation": 19, "test": 19}
    groups = {side: {dataset.group(atoms) for atoms in part} for side, part in parts.items()}
    assert sum(map(len, groups.values())) == len(set().union(*groups.values())) == 79
    # The split that the shipped model was trained on.
    assert groups["validation"] == {
        "pristine_1x1/10", "pristine_1x1/26", "pristine_2x2/620", "pristine_2x2/632", "pristine_3x3/600",
        "two_vacancies_2x2/323", "two_vacancies_3x3/369", "vacancy_2x2/313", "vacancy_3x3/204",
    }  # fmt: skip
    backwards = dataset.split(frames[::-1])
    assert {side: {dataset.group(atoms) for atoms in part} for side, part in backwards.items()} == groups


def test_held_out_groups_are_whole(frames):
    pool, test = dataset.held_back(frames, 0.25, np.random.default_rng(0))
    assert sorted(pool + test) == list(range(len(frames)))
    assert not {dataset.group(frames[i]) for i in pool} & {dataset.group(frames[i]) for i in test}
    with pytest.raises(ValueError, match="form 1 groups, too few to hold some out: give frames"):
        dataset.held_back([frames[0]] * 3, 0.25, np.random.default_rng(0))


def test_files_without_our_keys_are_grouped_by_cell(frames):
    bare = [atoms.copy() for atoms in frames if dataset.kind(atoms) == "pristine_1x1"]
    for atoms in bare:
        atoms.info.clear()
    assert len({dataset.group(atoms) for atoms in bare}) == 17
    assert {dataset.kind(atoms) for atoms in bare} == {"WSe2"}
    with pytest.raises(ValueError, match=r"no frames are left for train|no frames are left for validation"):
        dataset.split(bare[:3])


def test_reference_energies_and_their_rank(frames):
    energies, rank = dataset.reference_energies(dataset.split(frames)["train"])
    assert rank == 2
    assert {number: round(value, 5) for number, value in energies.items()} == {74: -6.92597, 34: -6.58357}
    pristine = [atoms for atoms in frames if dataset.kind(atoms).startswith("pristine")]
    energies, rank = dataset.reference_energies(pristine)
    assert rank == 1
    assert energies[34] / energies[74] == pytest.approx(2)


def test_duplicates_are_found_across_lattice_vectors(frames):
    assert dataset.duplicates(frames) == []
    moved = frames[6].copy()
    moved.positions += moved.cell[0] - 2 * moved.cell[1] + 1e-4
    assert dataset.duplicates([*frames, moved]) == [(6, 180)]
    moved.positions[0, 2] += 0.003
    assert dataset.duplicates([*frames, moved]) == []


def test_what_a_model_was_trained_on_is_known_by_its_record():
    small = SimpleNamespace(checksum=records.sha256(paths.MODELS / "wse2-small.model"))
    trained_on = potential.training_frames(small)
    assert len(trained_on) == 142
    assert dataset.vacant_species(trained_on, "WSe2") == {"Se"}
    assert dataset.vacant_species([mx2("WSe2")], "WSe2") == set()
    assert dataset.vacant_species([mx2("WSe2").repeat((2, 2, 1))[1:]], "WSe2") == {"W"}
    assert potential.training_frames(SimpleNamespace(checksum="another")) is None
