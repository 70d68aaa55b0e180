"""Data: bad files are refused with words, units are checked, the split does not leak."""

import json
import re
from copy import deepcopy
from types import SimpleNamespace

import numpy as np
import pytest
from ase import Atoms
from ase.build import mx2
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms

from helpers import paths, records
from helpers.data import accuracy, consistency, dataset, splitting
from helpers.models import potential

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
    "ASE's dummy element": (third("Se ", "X  "), "frame 3: X is no element"),
    "another unit": (third(" energy=", " energy_unit=Hartree energy="), "frame 3: energy_unit=Hartree in the comm"),
    "another unit for all": (third(" energy=", ' units="kcal/mol, A" energy='), "frame 3: units=kcal/mol, A in"),
    "energies per atom": (third(" energy=", " unit=eV/atom energy="), "frame 3: unit=eV/atom in the comment line"),
    "a unit by itself": (third(" energy=", " Rydberg energy="), "frame 3: Rydberg in the comment line"),
    "a sheet without vacuum": (
        third(r'(?s)0\.0 14\.0"(.*)pbc="T T T"', r'0.0 9.0"\1pbc="T T F"'),
        r"frame 3: not periodic along cell vector 3, which leaves 5\.\d A of vacuum",
    ),
    "periodic in no direction": (third('pbc="T T T"', 'pbc="F F F"'), "frame 3: not periodic along cell vector 1"),
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
    stress = dataset.describe(read)[0]["stress_eV_per_A3"]
    assert stress is None and dataset.as_text(stress) == "-"


def test_a_byte_that_is_not_utf8_is_refused_with_its_line(text, tmp_path):
    path = tmp_path / "file.xyz"
    path.write_bytes(text.encode().replace(b"Se", b"S\xe9", 1))
    with pytest.raises(ValueError, match="file.xyz, line 4: the byte 0xe9 is not UTF-8"):
        dataset.read(path)


def edited(text, tmp_path, pattern: str, new: str, count: int = 0):
    """The frames of the text with `pattern` replaced."""
    path = tmp_path / "edited.xyz"
    changed, n = re.subn(pattern, new, text, count=count)
    assert n
    path.write_text(changed)
    return dataset.read(path)


def test_forces_on_fixed_atoms_are_kept(frames, tmp_path):
    fixed = deepcopy(frames[5:7])
    for atoms in fixed:
        atoms.set_constraint(FixAtoms([1]))
    dataset.write(tmp_path / "fixed.xyz", fixed)
    assert "move_mask" in (tmp_path / "fixed.xyz").read_text()
    for atoms, expected in zip(dataset.read(tmp_path / "fixed.xyz"), frames[5:7], strict=True):
        assert not atoms.constraints and np.any(atoms.get_forces()[1])
        assert np.array_equal(atoms.get_forces(), expected.get_forces())


def test_a_sheet_that_is_periodic_in_its_plane_becomes_so_in_its_vacuum_too(frames, text, tmp_path, capsys):
    read = edited(text, tmp_path, 'pbc="T T T"', 'pbc="T T F"', count=2)
    assert all(atoms.pbc.all() for atoms in read)
    assert np.array_equal(read[0].cell, frames[5].cell) and np.array_equal(
        read[0].get_stress(), frames[5].get_stress()
    )
    (line,) = capsys.readouterr().err.splitlines()
    assert "frame 1: taken as periodic in all directions" in line and line.endswith(
        "(2 frames: also frame 2)"
    )


def test_a_stress_may_be_six_numbers_or_a_virial(frames, text, tmp_path, capsys):
    expected = frames[5].get_stress()
    six = " ".join(repr(float(number)) for number in expected)
    (atoms, *_) = edited(text, tmp_path, 'stress="[^"]*"', f'stress="{six}"', count=1)
    assert np.array_equal(atoms.get_stress(), expected)
    assert not capsys.readouterr().err
    for numbers in (
        -expected * atoms.cell.volume,
        -frames[5].get_stress(voigt=False).ravel() * atoms.cell.volume,
    ):
        virial = " ".join(repr(float(number)) for number in numbers)
        (atoms, *_) = edited(text, tmp_path, 'stress="[^"]*"', f'virial="{virial}"', count=1)
        assert atoms.get_stress() == pytest.approx(expected) and "virial" not in atoms.info
        assert "frame 1: the stress is taken as -virial/volume" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["0.0", "nan"])
def test_a_stress_that_was_not_computed_is_left_out(word, text, tmp_path, capsys):
    first, *others = edited(text, tmp_path, 'stress="[^"]*"', f'stress="{" ".join([word] * 9)}"', count=1)
    assert "stress" not in first.calc.results and all("stress" in atoms.calc.results for atoms in others)
    assert "frame 1: a stress of nothing but zeros or NaN" in capsys.readouterr().err


def test_other_labels_are_pointed_out(text, tmp_path, capsys):
    keys = ' REF_energy=-1.0 config_energy_weight=1.0 dft_stress="1 2 3 4 5 6" energy='
    edited(text, tmp_path, " energy=", keys)
    lines = capsys.readouterr().err.splitlines()
    assert [re.search("frame 1: (.*) is there and not used", line)[1] for line in lines] == [
        "REF_energy",
        "dft_stress",
    ]
    assert "--energy-key REF_energy" in lines[0] and "--stress-key dft_stress" in lines[1]


def test_a_net_force_is_pointed_out_with_its_frame(frames, tmp_path, capsys):
    pushed = deepcopy(frames[:2])
    for atoms, push in zip(pushed, (0.1, 0.01), strict=True):
        atoms.calc.results["forces"] = atoms.calc.results["forces"] + [push, 0, 0]  # sums over 26 atoms
    dataset.write(tmp_path / "pushed.xyz", pushed)
    dataset.read(tmp_path / "pushed.xyz")
    (line,) = capsys.readouterr().err.splitlines()
    assert "pushed.xyz, frame 1: the forces do not sum to zero" in line


# ---- isolated atoms


def salt(size: float) -> Atoms:
    atoms = Atoms("Na4Cl4", np.random.default_rng(0).random((8, 3)) * size, cell=[size] * 3, pbc=True)
    atoms.calc = SinglePointCalculator(atoms, energy=-27.5 + size, forces=np.zeros((8, 3)))
    return atoms


def atom(symbol: str, energy: float, **keys) -> Atoms:
    atoms = Atoms(symbol, cell=[12] * 3, pbc=True, info=keys)
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=np.zeros((1, 3)))
    return atoms


def test_isolated_atoms_train_and_are_the_e0s():
    solids = [salt(5.6 + 0.02 * number) for number in range(6)]
    for names in ({}, {"config_type": "isolated_atom"}):
        atoms = [atom("Na", -0.2, **names), atom("Na", -0.1, **names), atom("Cl", -0.3, **names)]
        assert {dataset.kind(each) for each in atoms} == {"isolated_atom"}
        for fold in range(3):
            parts = splitting.split([*solids, *atoms], fold)
            assert all(each in parts["train"] for each in atoms)
            assert {side: len(part) for side, part in parts.items()} == {
                "train": 7,
                "validation": 1,
                "test": 1,
            }
        energies, rank = accuracy.reference_energies(parts["train"])
        assert energies == {11: -0.2, 17: -0.3} and rank == 2
        for seed in range(5):
            _, test = splitting.held_back([*atoms, *solids], 0.5, np.random.default_rng(seed))
            assert min(test) >= len(atoms)
    # With one of the two, the other is fitted to what remains.
    energies, rank = accuracy.reference_energies([*solids[:1], atoms[0]])
    assert energies == pytest.approx({11: -0.2, 17: (-27.5 + 5.6 + 0.8) / 4}) and rank == 2
    assert not dataset.isolated(Atoms("Cu", cell=[[0, 1.8, 1.8], [1.8, 0, 1.8], [1.8, 1.8, 0]], pbc=True))


def test_an_isolated_atom_without_a_cell_is_given_one(text, tmp_path, capsys):
    path = tmp_path / "atom.xyz"
    path.write_text(
        text
        + "1\nProperties=species:S:1:pos:R:3:forces:R:3 config_type=IsolatedAtom energy=-0.25\nW 0 0 0 0 0 0\n"
    )
    *_, atoms = dataset.read(path)
    assert dataset.energy(atoms) == -0.25 and atoms.pbc.all() and dataset.isolated(atoms)
    assert atoms.cell.lengths() == pytest.approx([12] * 3)
    box, name = capsys.readouterr().err.splitlines()
    assert "frame 4: an isolated atom without a cell: given one of 12 A" in box
    # Of a frame called IsolatedAtom MACE reads no energy.
    assert dataset.kind(atoms) == "isolated_atom" and "frame 4: its config_type is now isolated_atom" in name


def test_an_isolated_atom_in_a_small_box_is_one_by_its_name(text, tmp_path):
    path = tmp_path / "atom.xyz"
    line = 'Lattice="5 0 0 0 5 0 0 0 5" Properties=species:S:1:pos:R:3:forces:R:3 config_type=IsolatedAtom energy=-0.25'
    path.write_text(f"1\n{line}\nW 0 0 0 0 0 0\n")
    assert dataset.isolated(*dataset.read(path))


# ---- energies and forces


def test_counts_are_those_of_the_readme(frames):
    readme = (paths.DATA / "README.md").read_text()
    rows = [
        re.split(r" *\| *", line.strip("| "))
        for line in readme.splitlines()
        if re.match(r"\| (pri|vac|two_vac|V_Se2_|O_Se_|S_Se_)", line)
    ]
    assert {row[0] for row in rows} == {dataset.kind(atoms) for atoms in frames}
    for kind in {row[0] for row in rows}:
        stated = np.sum([[int(cell) for cell in row[1:4]] for row in rows if row[0] == kind], axis=0)
        counted = next(row for row in dataset.describe(frames) if row["kind"] == kind)
        assert list(stated) == [counted["frames"], counted["groups"], counted["atoms"]]
    # The raw file, without our reader: a frame's first line holds nothing but its number of atoms.
    counts = [int(line) for line in FILE.read_text().splitlines() if line.isdecimal()]
    assert (len(counts), sum(counts)) == (217, 3472)
    assert "217 frames, 3472 atoms, 94 groups" in readme


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
    ratio, pairs = consistency.check_units(frames)
    assert ratio == pytest.approx(1, abs=0.01) and pairs > 20


UNITS = [
    (1 / 27.2114, 1, "energies in Hartree with forces in eV/A"),
    (27.2114, 1, "27.* forces in Hartree/A with energies in eV, or energies converted from Hartree twice"),
    (1 / 27.2114, 0.529177 / 27.2114, "forces per Bohr"),
    (1, 0.529177 / 27.2114, "forces in Hartree/Bohr with energies in eV"),
    (23.0605, 1, "23.* energies in kcal/mol"),
    (1, -1, "opposite sign"),
    (2, 1, "by 2.0.* no usual mistake"),
    (0.65, 1, "by 0.6.* no usual mistake"),
    (1.45, 1, "by 1.4.* no usual mistake"),
]


@pytest.mark.parametrize(("energy", "forces", "words"), UNITS)
def test_wrong_units_are_named(frames, energy, forces, words):
    with pytest.raises(ValueError, match=words):
        consistency.check_units(relabelled(frames[:180], energy, forces))


def test_the_error_of_the_trapezoid_is_no_mistake_in_units(frames):
    for energy in (0.8, 1.2):
        assert consistency.check_units(relabelled(frames, energy))[0] == pytest.approx(energy, abs=0.02)


def test_frames_whose_energies_differ_by_noise_are_not_compared(frames):
    near, far = frames[6].copy(), frames[6].copy()
    for atoms, shift, noise in ((near, 5e-4, 1e-4), (far, 2e-2, 0.0)):
        forces = frames[6].get_forces()
        step = shift * forces / np.abs(forces).max()
        atoms.positions += step
        work = np.sum(forces * step)
        atoms.calc = SinglePointCalculator(
            atoms, energy=dataset.energy(frames[6]) - work + noise, forces=forces
        )
    assert consistency.check_units([frames[6], near]) == (None, 0)
    assert consistency.check_units([frames[6], far]) == (pytest.approx(1), 1)


def test_one_wrong_energy_is_found_and_frames_far_apart_are_not_compared(frames):
    changed = frames[:6] + relabelled(frames[6:7], energy=1.1) + frames[7:]
    with pytest.raises(ValueError, match=r"frames \d+ and 7 |frames 7 and"):
        consistency.check_units(changed)
    assert consistency.check_units([frames[0], frames[5]]) == (None, 0)


def test_every_fold_validates_with_other_groups_and_the_test_stays(frames):
    sides = []
    for fold in range(4):
        parts = splitting.split(frames, fold)
        sides.append({name: {dataset.group(atoms) for atoms in part} for name, part in parts.items()})
    assert len({frozenset(each["test"]) for each in sides}) == 1
    assert len({frozenset(each["validation"]) for each in sides}) == 4
    for each in sides:
        assert not each["train"] & each["validation"] and not each["train"] & each["test"]
        assert len(each["validation"]) == len(sides[0]["validation"])


def test_split_keeps_groups_whole_whatever_the_order(frames):
    parts = splitting.split(frames)
    assert {side: len(part) for side, part in parts.items()} == {"train": 158, "validation": 29, "test": 30}
    groups = {side: {dataset.group(atoms) for atoms in part} for side, part in parts.items()}
    assert sum(map(len, groups.values())) == len(set().union(*groups.values())) == 94
    # What was added after the shipped model was trained left the sides of its frames as they were.
    first = {dataset.group(atoms) for atoms in frames[:180]}
    record = json.loads((paths.MODELS / "wse2-small.json").read_text())
    assert {side: sorted(names & first) for side, names in groups.items()} == record["split"]
    assert len(first) == 79
    backwards = splitting.split(frames[::-1])
    assert {side: {dataset.group(atoms) for atoms in part} for side, part in backwards.items()} == groups


def test_held_out_groups_are_whole(frames):
    pool, test = splitting.held_back(frames, 0.25, np.random.default_rng(0))
    assert sorted(pool + test) == list(range(len(frames)))
    assert not {dataset.group(frames[i]) for i in pool} & {dataset.group(frames[i]) for i in test}
    with pytest.raises(ValueError, match="form 1 groups, too few to hold some out: give frames"):
        splitting.held_back([frames[0]] * 3, 0.25, np.random.default_rng(0))


def test_files_without_our_keys_are_grouped_by_cell(frames):
    bare = [atoms.copy() for atoms in frames if dataset.kind(atoms) == "pristine_1x1"]
    for atoms in bare:
        atoms.info.clear()
    assert len({dataset.group(atoms) for atoms in bare}) == 17
    assert {dataset.kind(atoms) for atoms in bare} == {"WSe2"}
    with pytest.raises(ValueError, match=r"no frames are left for train|no frames are left for validation"):
        splitting.split(bare[:3])


def test_reference_energies_and_their_rank(frames):
    energies, rank = accuracy.reference_energies(splitting.split(frames)["train"])
    assert rank == 4
    assert list(energies) == [8, 16, 34, 74]
    energies, rank = accuracy.reference_energies(splitting.split(frames[:180])["train"])
    assert rank == 2
    assert {number: round(value, 5) for number, value in energies.items()} == {74: -6.92597, 34: -6.58357}
    kept, rank = accuracy.reference_energies(splitting.split(frames)["train"], known=energies)
    assert rank == 4 and {number: kept[number] for number in energies} == energies
    pristine = [atoms for atoms in frames if dataset.kind(atoms).startswith("pristine")]
    energies, rank = accuracy.reference_energies(pristine)
    assert rank == 1
    assert energies[34] / energies[74] == pytest.approx(2)


def test_duplicates_are_found_across_lattice_vectors(frames):
    assert consistency.duplicates(frames) == []
    moved = frames[6].copy()
    moved.positions += moved.cell[0] - 2 * moved.cell[1] + 1e-4
    assert consistency.duplicates([*frames, moved]) == [(6, len(frames))]
    moved.positions[0, 2] += 0.003
    assert consistency.duplicates([*frames, moved]) == []


def test_what_a_model_was_trained_on_is_known_by_its_record():
    small = SimpleNamespace(checksum=records.sha256(paths.MODELS / "wse2-small.model"))
    trained_on = potential.training_frames(small)
    assert len(trained_on) == 142
    assert dataset.vacant_species(trained_on, "WSe2") == {"Se"}
    assert dataset.vacant_species([mx2("WSe2")], "WSe2") == set()
    assert dataset.vacant_species([mx2("WSe2").repeat((2, 2, 1))[1:]], "WSe2") == {"W"}
    assert potential.training_frames(SimpleNamespace(checksum="another")) is None


def test_a_model_is_judged_by_its_own_split_and_by_what_was_added_later(frames):
    small = SimpleNamespace(checksum=records.sha256(paths.MODELS / "wse2-small.model"), elements=("Se", "W"))
    parts, later = potential.sides(small, frames)
    assert parts == splitting.split(frames[:180])
    assert {dataset.kind(atoms) for atoms in later} == {"V_Se2_3x3"}
    assert potential.seen_groups(small, frames) == sorted(
        {dataset.group(atoms) for side in ("train", "validation") for atoms in parts[side]}
    )
    # A model without a record, and data of another name: by the rule.
    other = SimpleNamespace(checksum="another", elements=("Se", "W"))
    known = dataset.of_elements(frames, ("Se", "W"))
    assert potential.sides(other, frames) == (splitting.split(known), [])
    assert potential.seen_groups(other, frames) is None
    renamed = [atoms.copy() for atoms in frames[:180]]
    for atoms in renamed:
        atoms.info["config_type"] += "_of_mine"
    assert potential.sides(small, renamed) == (splitting.split(renamed), [])


def test_a_group_on_two_sides_is_refused_and_sisters_are_counted(text, tmp_path):
    path = tmp_path / "file.xyz"
    path.write_text(text)
    frames = dataset.read(path)
    for atoms, seed in zip(frames, (1, 1, 2), strict=True):
        atoms.info |= {"config_type": "cell", "seed": seed}
    with pytest.raises(ValueError, match="a group is on two sides"):
        splitting.groups_of({"train": frames[:1], "test": frames[1:]})
    assert splitting.groups_of({"train": frames[:2], "test": frames[2:]}) == {
        "train": {"cell/1"},
        "test": {"cell/2"},
    }
    # One frame is held back: it has a sister unless it is the third.
    counted = [splitting.with_sister(frames, 1, seed) for seed in range(200)]
    assert set(counted) == {0, 1} and 0.5 < np.mean(counted) < 0.8
