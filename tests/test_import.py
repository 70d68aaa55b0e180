"""Import: real outputs of VASP give the numbers one reads in them; bad files are named and not written."""

import gzip
import lzma
import re
import shutil
import time
import tracemalloc
from copy import deepcopy

import ase.io
import numpy as np
import pytest
from ase import units
from ase.build import bulk, molecule, mx2
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list
from ase.spacegroup import crystal
from ase.stress import voigt_6_to_full_3x3_stress

from helpers import cli, paths, records
from helpers.data import consistency, dataset, splitting, vasp

DATA = paths.ROOT / "tests" / "data"
KBAR = 6.2415091e-4  # eV/A^3: 1e8 Pa over 1.602176634e11 Pa


@pytest.fixture
def run(tmp_path, capsys):
    """The command, with IN as text or a path: exit code, OUT.xyz, and its lines on stdout and stderr."""

    def call(*sources, options=(), name="IN"):
        names = []
        for number, source in enumerate(sources):
            if isinstance(source, str):
                path = tmp_path / f"{name}{number or ''}"
                path.write_text(source)
                source = path
            names.append(str(source))
        out = tmp_path / "OUT.xyz"
        out.unlink(missing_ok=True)
        with pytest.raises(SystemExit) as stop:
            cli.app(["import", *names, str(out), *options])
        code = stop.value.code
        told = capsys.readouterr()
        return code, out, told.out.splitlines(), told.err.splitlines()

    return call


def unpacked(name: str) -> str:
    opener = gzip.open if name.endswith(".gz") else lzma.open
    with opener(DATA / name, "rt") as file:
        return file.read()


# ---- real files; the numbers are read in them by eye


def test_outcar_of_a_cluster(run):
    code, out, told, _ = run(DATA / "OUTCAR_Ni.gz")
    assert code == 0 and "1 frames, 18 atoms, 1 groups" in told[0]
    (atoms,) = dataset.read(out)
    labels = atoms.calc.results
    assert str(atoms.symbols) == "Ni18"
    assert atoms.cell.lengths() == pytest.approx([17.93435] * 3)
    assert atoms.positions[1] == pytest.approx([16.82152, 15.71963, 17.66895])
    assert labels["forces"][1] == pytest.approx([-0.455659, 1.097145, 0.261504])
    assert labels["forces"][17] == pytest.approx([-0.000170, -0.427894, -0.523640])
    assert labels["free_energy"] == pytest.approx(-68.22868532)  # TOTEN
    assert labels["energy"] == pytest.approx(-68.23102426)  # sigma->0
    # in kB  XX -4.29429  YY -4.58894  ZZ -4.50342  XY 0.50047  YZ -0.94049  ZX 0.36481
    kilobars = np.array([-4.29429, -4.58894, -4.50342, -0.94049, 0.36481, 0.50047])
    assert labels["stress"] == pytest.approx(-KBAR * kilobars, rel=1e-6)
    assert dataset.energy(atoms) == labels["free_energy"]


def test_vasprun_of_many_ionic_steps(run):
    code, out, told, _ = run(DATA / "vasprun_Ti.xml.xz")
    assert code == 0 and "20 frames, 40 atoms, 1 groups" in told[0]
    frames = dataset.read(out)
    first, last = frames[0], frames[-1]
    assert [str(atoms.symbols) for atoms in frames] == ["Ti2"] * 20
    assert (first.cell.volume, last.cell.volume) == pytest.approx((33.23665294, 33.23247152), abs=2e-7)
    assert first.get_scaled_positions()[1] == pytest.approx([2 / 3, 1 / 3, 3 / 4], abs=1e-7)
    assert first.calc.results["energy"] == pytest.approx(-21.13471186, abs=1e-8)
    assert first.calc.results["free_energy"] == pytest.approx(-21.13378652, abs=1e-8)
    assert last.calc.results["energy"] == pytest.approx(-21.13471091, abs=1e-8)
    diagonal = -KBAR * np.array([-0.12324170, -0.12324170, -0.14061782])
    assert first.calc.results["stress"] == pytest.approx([*diagonal, 0, 0, 0], rel=1e-6, abs=1e-9)


def test_stress_has_the_sign_and_the_unit_that_make_silicon_as_stiff_as_it_is(run):
    code, out, _, _ = run(DATA / "vasprun_Si_minus.xml.xz", DATA / "vasprun_Si_plus.xml.xz")
    assert code == 0
    minus, plus = dataset.read(out)
    assert minus.calc.results["forces"][0] == pytest.approx([-0.13198352, 0, 0])
    assert minus.calc.results["stress"][3] == pytest.approx(-KBAR * 0.11859534)  # yz
    # VASP 5 writes 0 or the entropy where E0 belongs; it has no smearing to speak of here.
    assert minus.calc.results["energy"] == pytest.approx(-346.94615495)
    volumes, stresses = zip(
        *((a.cell.volume, a.calc.results["stress"][:3].mean()) for a in (minus, plus)), strict=True
    )
    bulk = np.mean(volumes) * np.diff(stresses)[0] / np.diff(volumes)[0] / units.GPa
    assert 80 < bulk < 110  # measured: 98 GPa
    assert dataset.group(minus) != dataset.group(plus)


def test_forces_on_fixed_atoms_are_kept(run, tmp_path):
    shutil.copy(DATA / "OUTCAR_Ni.gz", tmp_path)
    (atoms,) = ase.io.iread(DATA / "OUTCAR_Ni.gz", format="vasp-out")
    atoms.set_constraint(FixAtoms(range(18)))
    ase.io.write(tmp_path / "CONTCAR", atoms, format="vasp")
    assert not ase.io.read(tmp_path / "OUTCAR_Ni.gz", format="vasp-out").get_forces().any()  # the trap
    code, out, _, _ = run(tmp_path / "OUTCAR_Ni.gz")
    (imported,) = dataset.read(out)
    assert (
        imported.get_forces()[1] == pytest.approx([-0.455659, 1.097145, 0.261504])
        and not imported.constraints
    )


def test_the_thesis_example(run):
    code, out, _, _ = run(DATA / "thesis.xyz")
    assert code == 0
    (atoms,) = dataset.read(out)
    assert str(atoms.symbols) == "WSe2" and atoms.symbols[0] == "W"
    assert atoms.positions[0, 2] == pytest.approx(atoms.positions[1:, 2].mean(), abs=1e-4)
    assert atoms.cell.lengths()[:2] == pytest.approx(3.3064, abs=1e-4) and atoms.cell.angles()[
        2
    ] == pytest.approx(120, abs=1e-2)
    assert (dataset.energy(atoms), atoms.get_forces()[2, 2]) == (-22.6457, -0.3126)
    assert "stress" not in atoms.calc.results and abs(atoms.get_forces().sum(axis=0)).max() < 4e-5


# ---- ML_AB, written here after VASP's description of the format: ledger lines, order, three entries a line


def block(line: str, title: str, *rows: str) -> str:
    return "\n".join([line * 50, f"     {title}", "-" * 50, *rows]) + "\n"


def threes(entries) -> list[str]:
    entries = [str(entry) for entry in entries]
    return ["     " + "  ".join(entries[i : i + 3]) for i in range(0, len(entries), 3)]


def ml_ab(configurations: list[dict]) -> str:
    """Of dicts with counts [(symbol, n)], cell, positions, energy, forces and, if known, kbar (6,)."""
    types = list(dict.fromkeys(symbol for each in configurations for symbol, _ in each["counts"]))
    sizes = [[n for _, n in each["counts"]] for each in configurations]
    text = " 1.0 Version\n"
    text += block("*", "The number of configurations", f"     {len(configurations):6d}")
    text += block("*", "The maximum number of atom type", f"     {len(types)}")
    text += block("*", "The atom types in the data file", *threes(types))
    text += block("*", "The maximum number of atoms per system", f"     {max(map(sum, sizes))}")
    text += block("*", "The maximum number of atoms per atom type", f"     {max(map(max, sizes))}")
    text += block("*", "Reference atomic energy (eV)", *threes([0.0] * len(types)))
    text += block("*", "Atomic mass", *threes([10.0] * len(types)))
    text += block("*", "The numbers of basis sets per atom type", *threes([1] * len(types)))
    for symbol in types:
        text += block("*", f"Basis set for {symbol}", "          1      1")

    def rows(array):
        return ["  ".join(f"{value:.15E}" for value in row) for row in array]

    for number, each in enumerate(configurations, start=1):
        text += "*" * 50 + f"\n     Configuration num. {number:6d}\n"
        text += block("=", "System name", "     some system")
        text += block("=", "The number of atom types", f"     {len(each['counts'])}")
        text += block("=", "The number of atoms", f"     {sum(n for _, n in each['counts'])}")
        text += block("*", "Atom types and atom numbers", *(f"     {s:2}{n:7d}" for s, n in each["counts"]))
        text += block("=", "CTIFOR", "   7.2153124269575984E-003")
        text += block("=", "Primitive lattice vectors (ang.)", *rows(each["cell"]))
        text += block("=", "Atomic positions (ang.)", *rows(each["positions"]))
        text += block("=", "Total energy (eV)", f"  {each['energy']:.12f}")
        text += block("=", "Forces (eV ang.^-1)", *rows(each["forces"]))
        if "kbar" in each:
            text += block("=", "Stress (kbar)", "     XX YY ZZ", "-" * 50, *rows([each["kbar"][:3]]))
            text += "\n".join(["-" * 50, "     XY YZ ZX", "-" * 50, *rows([each["kbar"][3:]])]) + "\n"
    return text


def of_frame(atoms, kbar=None) -> dict:
    symbols = [str(symbol) for symbol in atoms.symbols]
    assert symbols == sorted(symbols, key=symbols.index)  # as in a POSCAR: one block an element
    return {
        "counts": [(symbol, symbols.count(symbol)) for symbol in dict.fromkeys(symbols)],
        "cell": atoms.cell.array,
        "positions": atoms.positions,
        "energy": atoms.calc.results["energy"],
        "forces": atoms.calc.results["forces"],
    } | ({} if kbar is None else {"kbar": kbar})


NI_KBAR = (-4.29429, -4.58894, -4.50342, 0.50047, -0.94049, 0.36481)  # XX YY ZZ XY YZ ZX of OUTCAR_Ni


@pytest.fixture(scope="module")
def frames():
    """Nine shipped frames, pristine and with a vacancy, W before Se."""
    frames = dataset.read(paths.DATA / "wse2.xyz")
    ordered = []
    for index in (0, 5, 6, 7, 8, 9, 55, 60, 84):
        atoms, labels = frames[index], frames[index].calc.results
        order = np.argsort(-atoms.numbers, kind="stable")
        ordered.append(atoms[order])
        ordered[-1].calc = SinglePointCalculator(ordered[-1], **labels | {"forces": labels["forces"][order]})
    return ordered


@pytest.fixture(scope="module")
def several(frames):
    """Five configurations of three element sets and as many sizes, two of them with stress, as ML_AB."""
    nickel = ase.io.read(DATA / "OUTCAR_Ni.gz", format="vasp-out")
    titanium = ase.io.read(DATA / "vasprun_Ti.xml.xz", 0, format="vasp-xml")
    kbar = [(-0.12324170, -0.12324170, -0.14061782, 0, 0, 0), NI_KBAR]
    given = [of_frame(titanium, kbar[0]), *map(of_frame, frames[-3:]), of_frame(nickel, kbar[1])]
    return [titanium, *frames[-3:], nickel], ml_ab(given)


def test_ml_ab_of_several_element_sets(run, several):
    given, text = several
    code, out, told, _ = run(text, name="ML_AB")
    assert code == 0 and f"5 frames, {sum(map(len, given))} atoms" in told[0]
    imported = dataset.read(out)
    for atoms, expected in zip(imported, given, strict=True):
        assert list(atoms.numbers) == list(expected.numbers)
        assert atoms.cell.array == pytest.approx(expected.cell.array)
        assert atoms.positions == pytest.approx(expected.positions, abs=2e-8)
        assert atoms.get_forces() == pytest.approx(expected.calc.results["forces"])
        assert atoms.calc.results["energy"] == pytest.approx(expected.calc.results["energy"])
    assert ["stress" in atoms.calc.results for atoms in imported] == [True, False, False, False, True]


def test_stress_of_ml_ab_is_that_of_the_outcar(run, several):
    # Both files state it in kbar and in one order; the OUTCAR is read by ASE, not by us.
    _, out, _, _ = run(several[1])
    imported = dataset.read(out)
    for index in (0, 4):
        assert imported[index].calc.results["stress"] == pytest.approx(
            several[0][index].calc.results["stress"]
        )
    assert imported[4].calc.results["stress"][3:] == pytest.approx(
        -KBAR * np.array([-0.94049, 0.36481, 0.50047])
    )


def test_compressed_files_are_read(run, several, tmp_path):
    for name, opener in (("ML_AB.gz", gzip.open), ("ML_AB.xz", lzma.open)):
        with opener(tmp_path / name, "wt") as file:
            file.write(several[1])
        assert run(tmp_path / name)[0] == 0
    whole = (tmp_path / "ML_AB.gz").read_bytes()
    (tmp_path / "cut.gz").write_bytes(whole[: len(whole) // 2])
    refused(run(tmp_path / "cut.gz"), "cut.gz: the compressed file is cut short")


# ---- what is refused


def refused(result, *words: str) -> None:
    """One line with the words, exit code 2, and no file."""
    code, out, told, errors = result
    assert code == 2 and not told and not out.exists()
    assert len(errors) == 1
    for word in words:
        assert re.search(word, errors[0]), errors[0]


def edit(pattern: str, new: str, count: int = 1):
    def edited(text: str) -> str:
        changed, n = re.subn(pattern, new, text, count=count, flags=re.MULTILINE)
        assert n
        return changed

    return edited


def last(pattern: str, new: str):
    def edited(text: str) -> str:
        *_, match = re.finditer(pattern, text, re.MULTILINE)
        return text[: match.start()] + match.expand(new) + text[match.end() :]

    return edited


FORCE_ROW = r"(Forces \(eV ang\.\^-1\)\n-+\n)(.*)\n"
BAD_ML_AB = {
    "more announced": (
        edit(r"(configurations\n-+\n) +5", r"\1 6"),
        "line 3: 6 configurations .* 5 are there",
    ),
    "fewer announced": (
        edit(r"(configurations\n-+\n) +5", r"\1 4"),
        "line 3: 4 configurations .* 5 are there",
    ),
    "cut in a frame": (lambda text: text[: len(text) * 3 // 5], "line 3: 5 configurations .* [34] are there"),
    "cut in the last": (lambda text: text[: text.rindex("     XX YY")], r"line \d+: the stress must be"),
    "cut in the last forces": (
        lambda text: text[: text.rindex("=" * 50) - 300],
        r"cut short, the line has no end",
    ),
    "cut between two forces": (lambda text: text[: text.rindex("\n", 0, -1500) + 1], r"\d+ rows of 'Forces"),
    "cut in the last number": (lambda text: text[:-4], r"line \d+: cut short"),
    "cut in the header": (lambda text: text[:300], "cut short"),
    "a section lost": (last(r"=+\n +Total energy \(eV\)\n-+\n.*\n", ""), r"no 'Total energy \(eV\)'"),
    "other units": (
        edit(r"Total energy \(eV\)", "Total energy (Hartree)"),
        r"no 'Total energy \(eV\)'.*other units",
    ),
    "first line lost": (last(r"\*+\n +Configuration num.*\n", ""), r"5 .* announced, 4 are there"),
    "first line lost, and fewer announced": (
        lambda text: edit(r"(configurations\n-+\n) +5", r"\1 4")(
            last(r"\*+\n +Configuration num.*\n", "")(text)
        ),
        r"line \d+: a section of this configuration is there twice",
    ),
    "numbered wrongly": (edit(r"num\. +2", "num. 3"), r"line \d+: 'Configuration num. 3' where number 2"),
    "force NaN": (edit(FORCE_ROW, r"\1 nan 0.0 0.0\n"), "configuration 1: NaN or infinity in forces"),
    "force overflow": (edit(FORCE_ROW, r"\1 ****** 0.0 0.0\n"), r"line \d+: not numbers of 'Forces"),
    "numbers run together": (edit(FORCE_ROW, r"\1 -1.5-100.25 3.0\n"), r"line \d+: not numbers of 'Forces"),
    "a force short": (edit(FORCE_ROW, r"\1"), r"line \d+: 1 rows of 'Forces \(eV ang.\^-1\)', not 2"),
    "a position more": (edit(r"(Atomic positions.*\n-+\n)(.*\n)", r"\1\2\2"), "3 rows of 'Atomic positions"),
    "two numbers": (edit(FORCE_ROW, r"\1 0.0 0.0\n"), r"line \d+: 2 numbers of 'Forces"),
    "atoms contradict": (
        edit(r"(The number of atoms\n-+\n).*", r"\1   3"),
        "2 atoms of 1 types .* of 3 of 1",
    ),
    "types contradict": (
        edit(r"(number of atom types\n-+\n).*", r"\1   2"),
        "2 atoms of 1 types .* of 2 of 2",
    ),
    "unknown type": (edit(r"^( +)Ti( +2)$", r"\1Zr\2"), r"line \d+: Zr is not among the types of the file"),
    "no element": (edit(r"^( +)Ti( +2)$", r"\1Qq\2"), r"line \d+: must be an element"),
    "half an atom": (edit(r"(The number of atoms\n-+\n).*", r"\1   2.5"), "positive whole number, not 2.5"),
    "stress in another order": (
        edit("XY YZ ZX", "YZ ZX XY"),
        "must be three numbers XX YY ZZ and three XY YZ ZX",
    ),
    "flat cell": (edit(r"(lattice vectors.*\n-+\n).*", r"\1  0.0 0.0 0.0"), "configuration 1: no cell"),
}


@pytest.mark.parametrize("name", BAD_ML_AB)
def test_bad_ml_ab(name, run, several):
    change, words = BAD_ML_AB[name]
    refused(run(change(several[1]), name="ML_AB"), r"/ML_AB, line \d+", words)


BAD_VASPRUN = {
    "cut in the header": (lambda text: text[:5000], "no frame is left to import .* ends after 0 ionic steps"),
    "another encoding": (edit("ISO-8859-1", "ISO-8859-0"), "line 1: unknown encoding"),
    "damaged": (edit("<calculation>", "<calculation"), r"line \d+: not whole"),
    "force NaN": (
        edit(r"(<varray name=\"forces\" >\n *<v>) *\S+", r"\1 NaN"),
        "ionic step 1: NaN or infinity in forces",
    ),
    "force overflow": (
        edit(r"(<varray name=\"forces\" >\n *<v>) *\S+", r"\1 *****"),
        "ionic step 1: cannot be read",
    ),
    "a force short": (
        last(r"(<varray name=\"forces\" >\n).*\n", r"\1"),
        "ionic step 20: 1 rows of forces for 2 atoms",
    ),
    "a position more": (
        edit(r"(<calculation>[\s\S]*?name=\"positions\" >\n)(.*\n)", r"\1\2\2"),
        "ionic step 1: 3 rows of positions for 2 atoms",
    ),
    "atoms contradict": (
        edit(r"<atoms> +2", "<atoms> 3"),
        "atominfo: 2 atoms are listed where 3 are announced",
    ),
    "no energy": (edit(r"<i name=\"e_fr_energy\">.*</i>", "", count=0), "ionic step 1: cannot be read"),
    "predicted": (
        lambda text: re.sub(r"<scstep>[\s\S]*?</scstep>", "", text),
        "no frame is left to import .* left out, 20 ionic steps predicted by VASP's force field",
    ),
    "another program's": (lambda text: '<?xml version="1.0"?><modeling></modeling>', "not VASP's"),
    "no element": (edit(r"Ti( *</c>|_sv_GW)", r"Qq\1", count=0), "atominfo: 'Qq' is no element"),
}


@pytest.mark.parametrize("name", BAD_VASPRUN)
def test_bad_vasprun(name, run):
    change, words = BAD_VASPRUN[name]
    refused(run(change(unpacked("vasprun_Ti.xml.xz")), name="vasprun.xml"), r"/vasprun\.xml", words)


def twice(text: str) -> str:
    """The OUTCAR with its one ionic step there twice, the second time 1 meV lower."""
    start, end = text.index("----------------------------------------- Iteration"), text.index("     LOOP+:")
    step = text[start:end]
    return (
        text[:end]
        + step.replace("-68.22868532", "-68.22968532").replace("-68.23102426", "-68.23202426")
        + text[end:]
    )


BAD_OUTCAR = {
    "cut in the first step": (
        lambda text: text[: len(text) // 3],
        "the file ends after 0 ionic steps without",
    ),
    "cut in the header": (lambda text: text[:3000], "the file ends after 0 ionic steps"),
    "force NaN": (last(r"-0\.455659", "      NaN"), "ionic step 2: NaN or infinity in forces"),
    "force overflow": (last(r"-0\.455659", "*********"), "ionic step 2: cannot be read"),
    "stress overflow": (last(r"in kB      -4.29429", "in kB      ********"), "ionic step 2: cannot be read"),
    "a force short": (last(r"^ +16\.82152.*\n", ""), r"line \d+: 17 rows of forces for 18 atoms"),
    "a force more": (last(r"(^ +16\.82152.*\n)", r"\1\1"), r"line \d+: 19 rows of forces for 18 atoms"),
    "atoms contradict": (edit(r"NIONS = +18", "NIONS =     17"), r"line \d+: the header contradicts itself"),
    "types contradict": (
        edit(r"ions per type = +18", "ions per type =  9  9"),
        r"line \d+: the header contradicts itself",
    ),
    "no element": (edit("PAW_PBE Ni", "PAW_PBE Qq", count=0), r"line \d+: the header contradicts itself"),
    "predicted": (
        lambda text: text.replace("FREE ENERGIE OF", "ML FREE ENERGIE OF").replace(
            "FORCE (eV/Angst)", "FORCE (eV/Angst) (ML)"
        ),
        "no frame is left to import .* 2 ionic steps predicted by VASP's force field",
    ),
}


@pytest.mark.parametrize("name", BAD_OUTCAR)
def test_bad_outcar(name, run):
    change, words = BAD_OUTCAR[name]
    text = change(twice(unpacked("OUTCAR_Ni.gz")))
    refused(run(text, name="OUTCAR"), r"/OUTCAR, ", words)


@pytest.mark.parametrize("text", ["", "hello\n", "\x00\x01\n", "<html></html>\n"])
def test_files_of_other_kinds_are_refused(text, run):
    refused(
        run(text), "the file is empty|line 1: neither VASP's ML_AB, vasprun.xml or OUTCAR nor extended XYZ"
    )


def test_no_file_is_refused_and_none_is_overwritten(run, tmp_path, capsys):
    refused(run(tmp_path / "missing"), "No such file .*missing")
    shutil.copy(DATA / "OUTCAR_Ni.gz", tmp_path)
    before = records.sha256(tmp_path / "OUTCAR_Ni.gz")
    # OUT.xyz forgotten: the last IN must not be taken for it.
    with pytest.raises(SystemExit, match="2"):
        cli.app(["import", str(DATA / "thesis.xyz"), str(tmp_path / "OUTCAR_Ni.gz")])
    assert "OUTCAR_Ni.gz exists" in capsys.readouterr().err
    assert records.sha256(tmp_path / "OUTCAR_Ni.gz") == before


# ---- electrons that did not converge


def test_steps_of_an_outcar_that_did_not_converge_are_named_and_left_out(run):
    text = twice(unpacked("OUTCAR_Ni.gz"))
    code, out, _, errors = run(text)
    assert (code, errors) == (0, []) and [dataset.energy(atoms) for atoms in dataset.read(out)] == [
        -68.22868532,
        -68.22968532,
    ]
    reached = "aborting loop because EDIFF is reached"
    code, out, _, errors = run(
        last(reached, "aborting loop EDIFF was not reached (unconverged)")(text), name="OUTCAR"
    )
    assert code == 3 and len(errors) == 1
    assert errors[0].endswith("OUTCAR, ionic step 2: left out, its electrons did not converge")
    assert [dataset.energy(atoms) for atoms in dataset.read(out)] == [-68.22868532]
    refused(
        run(text.replace(reached, "")), r"no frame is left to import \(2 left out, the first: .*converge\)"
    )


def test_ediff_reached_after_nelm_steps_does_not_count(run):
    # So VASP up to 5.4.4 says of steps that stopped at NELM.
    text = twice(unpacked("OUTCAR_Ni.gz"))
    taken = max(int(number) for number in re.findall(r"Iteration +1\( *(\d+)\)", text))
    start = text.rindex(f"Iteration    1({taken:4})")
    text = text[:start] + text[start:].replace(
        f"Iteration    1({taken:4})", f"Iteration    1({taken + 1:4})", 1
    )
    code, out, _, errors = run(edit(r"NELM   =    120", f"NELM   =    {taken + 1}")(text))
    assert code == 3 and len(errors) == 1 and "ionic step 2: left out, its electrons did not" in errors[0]
    assert [dataset.energy(atoms) for atoms in dataset.read(out)] == [-68.22868532]


def test_steps_of_a_vasprun_that_reached_nelm_are_left_out(run):
    # Electronic steps in the file: 16, 8, 7, 4, 3, 2, 6, 4, 3, 3, then 2 each.
    text = edit(r'(name="NELM"> +)60', r"\g<1> 8")(unpacked("vasprun_Ti.xml.xz"))
    code, out, _, errors = run(text, name="vasprun.xml")
    assert code == 3 and len(dataset.read(out)) == 18
    assert [re.search(r"step (\d+): left out", line)[1] for line in errors] == ["1", "2"]


# ---- what versions and settings of VASP write otherwise


@pytest.mark.parametrize("cut", [0.75, " General timing"])
def test_complete_steps_of_a_killed_run_are_imported(cut, run):
    text = twice(unpacked("OUTCAR_Ni.gz"))
    at = int(cut * len(text)) if isinstance(cut, float) else text.index(cut)
    code, out, _, errors = run(text[:at], name="OUTCAR")
    n_steps = len(dataset.read(out))
    assert code == 3 and n_steps == (1 if isinstance(cut, float) else 2)
    assert re.search(
        rf"OUTCAR, line \d+: the file ends after {n_steps} ionic steps without VASP's closing", *errors
    )


@pytest.mark.parametrize(("cut", "n_steps"), [(0.5, 15), ("</modeling>", 20)])
def test_complete_steps_of_a_vasprun_that_was_cut_are_imported(cut, n_steps, run):
    text = unpacked("vasprun_Ti.xml.xz")
    code, out, _, errors = run(text[: int(cut * len(text)) if isinstance(cut, float) else text.index(cut)])
    assert code == 3 and len(dataset.read(out)) == n_steps
    assert re.search(rf"line \d+: the file ends after {n_steps} ionic steps", *errors)


def forces_and_energies(path) -> list[tuple[float, float]]:
    """Of each frame, its energy and the x component of the force on its second atom."""
    return [(dataset.energy(atoms), atoms.get_forces()[1, 0]) for atoms in dataset.read(path)]


PAIRED = [(-68.22868532, -0.455659), (-68.22968532, -0.355659)]


@pytest.fixture(scope="module")
def two_steps():
    """An OUTCAR of two ionic steps with the energies and forces that `PAIRED` names."""
    return last(r"-0\.455659", "-0.355659")(twice(unpacked("OUTCAR_Ni.gz")))


def test_outcar_with_the_energy_before_the_forces(two_steps, run):
    # VASP 5.2.2. The block of the energy ends where the next line of dashes and times begins.
    energy = r"(?s)(  FORCE on cell.*?)(  FREE ENERGIE OF.*?energy\(sigma->0\).*?\n)"
    text, n = re.subn(energy, r"\2\1", two_steps)
    assert n == 2 and text.index("FREE ENERGIE OF") < text.index("TOTAL-FORCE")
    code, out, _, errors = run(text)
    assert (code, errors) == (0, []) and forces_and_energies(out) == PAIRED


def test_outcar_with_the_forces_without_van_der_waals_beside(two_steps, run):
    head = r"TOTAL-FORCE (eV/Angst),                                   FORCE-w/o vdW (eV/Angst)"
    row = r"^( +-?\d+\.\d{5} +-?\d+\.\d{5} +-?\d+\.\d{5} +(-?\d+\.\d{6} *){3})$"
    text, n = re.subn(row, r"\1   0.100000   0.200000   0.300000", two_steps, flags=re.MULTILINE)
    assert n == 36
    code, out, _, errors = run(text.replace("TOTAL-FORCE (eV/Angst)", head))
    assert (code, errors) == (0, []) and forces_and_energies(out) == PAIRED


def test_outcar_that_has_forces_of_some_steps_only(two_steps, run):
    # NWRITE = 0: basis vectors and forces of the first and the last ionic step.
    start, end = (two_steps.rindex(text) for text in (" VOLUME and BASIS-vectors", "  FREE ENERGIE OF"))
    code, out, _, errors = run(two_steps[:start] + two_steps[end:])
    assert code == 3 and forces_and_energies(out) == PAIRED[:1]
    assert "ionic step 2: left out, its energy, forces or cell is not in the file" in errors[0]
    # The cell of the header is that of every step, unless it was relaxed.
    without = re.sub(
        r"(?m)(^ +direct lattice vectors.*\n(.*\n){3})(?=(.*\n)*.*Iteration    2\()", "", two_steps
    )
    first = two_steps.index("Iteration    1(")
    without = two_steps[:first] + two_steps[first:].replace("direct lattice vectors", "vectors")
    code, out, _, _ = run(without)
    assert code == 0 and dataset.read(out)[1].cell.lengths() == pytest.approx([17.93435] * 3)
    refused(
        run(edit("ISIF   =      2", "ISIF   =      3")(without)),
        "its energy, forces or cell is not in the file",
    )


def test_outcar_without_the_energy_of_a_step(two_steps, run):
    code, out, _, errors = run(last(r"^  free  energy   TOTEN.*\n", "")(two_steps))
    assert code == 3 and forces_and_energies(out) == PAIRED[:1]
    assert "ionic step 2: left out, its energy, forces or cell is not in the file" in errors[0]


def test_outcars_of_two_runs_in_one_file(two_steps, run):
    other = two_steps.replace("PAW_PBE Ni", "PAW_PBE Co")
    code, out, _, errors = run(two_steps + other)
    assert (code, errors) == (0, []) and forces_and_energies(out) == 2 * PAIRED
    assert [set(atoms.symbols) for atoms in dataset.read(out)] == [{"Ni"}, {"Ni"}, {"Co"}, {"Co"}]


@pytest.mark.parametrize("end", ["", "     LOOP+:  cpu time\n"])
def test_computed_steps_of_a_run_with_a_force_field(end, two_steps, run):
    at = two_steps.index("  FORCE on cell")
    lattice, table = (re.search(text, two_steps[at:])[0] for text in (
        r"(?s)      direct lattice vectors.*?length", r"(?s) POSITION  .*?total drift"
    ))  # fmt: skip
    predicted = "\n".join([
        "  ML FORCE on cell =-STRESS in cart. coord. units (eV/cell)", "  in kB  " + "   1000.0" * 6,
        lattice.replace("17.934", "19.934"), table.replace("(eV/Angst)", "(eV/Angst) (ML)").replace("-0.455659", "9.000000"),
        "  ML FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)", "  free  energy ML TOTEN  =   -50.0 eV",
        "  ML energy  without entropy=  -50.0  ML energy(sigma->0) =   -50.0", "",
    ])  # fmt: skip
    # Before the electronic steps of both ionic steps, and once alone; with LOOP+ between the steps or without.
    first, second = (match.start() for match in re.finditer(r"-+ Iteration +1\( +1\)", two_steps))
    rest = two_steps.index("General timing") - 1
    text = "".join([
        two_steps[:first], predicted, two_steps[first:second], end, predicted, two_steps[second:rest], end, predicted,
        end, two_steps[rest:],
    ])  # fmt: skip
    code, out, _, errors = run(text)
    assert code == 3 and forces_and_energies(out) == PAIRED
    assert "left out, 1 ionic steps predicted by VASP's force field" in errors[0]
    for atoms in dataset.read(out):
        assert atoms.cell.lengths() == pytest.approx([17.93435] * 3)
        assert atoms.get_stress()[0] == pytest.approx(KBAR * 4.29429)


def test_computed_steps_of_a_vasprun_with_a_force_field(run):
    """Predicted ones stand beside <calculation>, as VASP 6 writes them, or are one without electronic steps."""
    text = unpacked("vasprun_Ti.xml.xz")
    code, out, _, _ = run(text)
    energies = [dataset.energy(atoms) for atoms in dataset.read(out)]
    head, *steps, end = re.split(r"(?=<calculation>)|(?<=</calculation>)", text)
    steps = [step for step in steps if "<calculation>" in step]
    without = [re.sub(r"<scstep>[\s\S]*?</scstep>", "", step) for step in steps]
    beside = [re.sub(r"</?calculation>|<dos>[\s\S]*</dos>", "", step) for step in without]
    for predicted in (without, beside):
        mixed = [*predicted[:3], steps[3], *predicted[4:18], *steps[18:], predicted[0]]
        code, out, _, errors = run("".join([head, *mixed, end]))
        assert (
            code == 3
            and [dataset.energy(atoms) for atoms in dataset.read(out)] == energies[3:4] + energies[18:]
        )
        assert len(errors) == 1 and "left out, 18 ionic steps predicted by VASP's force field" in errors[0]
    code, out, _, errors = run("".join([head, *mixed[:10]]))
    assert code == 3 and len(dataset.read(out)) == 1
    assert ["after 1 ionic steps" in errors[0], "9 ionic steps predicted" in errors[1]] == [True, True]


def test_with_isif_1_there_is_no_stress(run):
    for text, pattern in (
        (unpacked("OUTCAR_Ni.gz"), r"(ISIF +=  +)2"), (unpacked("vasprun_Ti.xml.xz"), r'(name="ISIF"> +)3'),
    ):  # fmt: skip
        code, out, _, errors = run(edit(pattern, r"\g<1>1", count=0)(text))
        assert code == 0 and all("stress" not in atoms.calc.results for atoms in dataset.read(out))
        assert "ionic step 1: the stress is left out: with ISIF = 1" in errors[0]


@pytest.mark.parametrize(("written", "potcar", "symbol"), [("i ", "Ti_sv_GW", "Ti"), ("X ", "Xe", "Xe"), ("r ", "Zr_sv", "Zr"), ("S ", "Sn_d", "Sn"), ("Ti", "new", "Ti")])  # fmt: skip
def test_elements_that_vasp_cuts_short_are_told_by_their_potcar(written, potcar, symbol, run):
    text = unpacked("vasprun_Ti.xml.xz").replace("<c>Ti</c>", f"<c>{written}</c>").replace("Ti_sv_GW", potcar)
    code, out, _, _ = run(text)
    assert code == 0 and set(dataset.read(out)[0].symbols) == {symbol}


def test_ml_ab_may_end_in_its_line_of_stars(run, several):
    assert run(several[1] + "*" * 50)[0] == 0


def test_a_stress_of_zeros_in_ml_ab_is_left_out_with_a_line(run, frames):
    code, out, _, errors = run(ml_ab([of_frame(atoms, np.zeros(6)) for atoms in frames[-3:]]))
    assert code == 0 and not any("stress" in atoms.calc.results for atoms in dataset.read(out))
    assert len(errors) == 1 and "configuration 1: a stress of nothing but zeros" in errors[0]
    assert errors[0].endswith("(3 frames: also configuration 2, configuration 3)")


def test_a_vasprun_takes_little_memory(run, tmp_path):
    head, *steps, end = re.split(r"(?=<calculation>)|(?<=</calculation>)", unpacked("vasprun_Ti.xml.xz"))
    steps = [step for step in steps if "<calculation>" in step]
    path = tmp_path / "vasprun.xml"
    path.write_text("".join([head, *steps * 20, end]))
    tracemalloc.start()
    n_steps = sum(1 for _ in vasp.vasprun(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert n_steps == 400 and peak < path.stat().st_size / 2


# ---- extended XYZ with other keys, and other units


def renamed(path, names: dict[str, str]) -> str:
    text = path.read_text()
    for ours, theirs in names.items():
        text = re.sub(rf"(?<=[ :]){ours}(?=[=:])", theirs, text)
    return text


def test_extended_xyz_with_other_keys(run, frames, tmp_path):
    dataset.write(tmp_path / "good.xyz", frames)
    text = renamed(tmp_path / "good.xyz", {"energy": "REF_energy", "forces": "dft_force", "stress": "sigma"})
    keys = ("--energy-key", "REF_energy", "--forces-key", "dft_force", "--stress-key", "sigma")
    code, out, _, _ = run(text, options=keys)
    assert code == 0
    for atoms, expected in zip(dataset.read(out), frames, strict=True):
        assert atoms.calc.results.keys() == expected.calc.results.keys()
        for name, value in expected.calc.results.items():
            assert atoms.calc.results[name] == pytest.approx(value)
        assert repr(atoms.info) == repr(expected.info) and set(atoms.arrays) == {"numbers", "positions"}
    refused(run(text), "IN, frame 1: no energy; give --energy-key, one of: REF_energy")
    refused(run(text, options=keys[:2]), "frame 1: no forces; give --forces-key, one of: dft_force")
    refused(run(text, options=(*keys[:4], "--stress-key", "virial")), "no frame has virial; found .*sigma")
    refused(run(DATA / "OUTCAR_Ni.gz", options=keys[:2]), "only extended XYZ has keys to choose")
    refused(run(text[:-4], options=keys), "frame 9: truncated")
    refused(run(text.replace("sigma=", "other="), options=keys), "no frame has sigma")
    refused(run(text, options=("--energy-key", "energy_Ha", *keys[2:])), "energy_Ha names another unit")
    refused(run(text, options=("--energy-key", "energy_per_atom")), "energy_per_atom names another unit")


def test_a_stress_by_another_name_need_not_be_in_every_frame(run, frames, tmp_path):
    dataset.write(tmp_path / "good.xyz", frames)
    text = renamed(tmp_path / "good.xyz", {"stress": "sigma"}).replace(" sigma=", " was=", 1)
    code, out, _, errors = run(text, options=("--stress-key", "sigma"))
    assert (code, errors) == (0, [])
    first, *others = dataset.read(out)
    assert "stress" not in first.calc.results
    for atoms, expected in zip(others, frames[1:], strict=True):
        assert np.array_equal(atoms.get_stress(), expected.get_stress())


@pytest.mark.parametrize(("key", "options"), [("virial", ()), ("virials", ()), ("REF_virial", ("--stress-key", "REF_virial"))])  # fmt: skip
def test_a_virial_becomes_a_stress(key, options, run, frames, tmp_path):
    virials = deepcopy(frames[:2])
    for atoms in virials:
        stress = atoms.calc.results.pop("stress")
        atoms.info[key] = -voigt_6_to_full_3x3_stress(stress) * atoms.cell.volume
    dataset.write(tmp_path / "virial.xyz", virials)
    code, out, _, errors = run(tmp_path / "virial.xyz", options=options)
    assert code == 0 and len(errors) == 1 and "frame 1: the stress is taken as -virial" in errors[0]
    for atoms, expected in zip(dataset.read(out), frames[:2], strict=True):
        assert atoms.get_stress() == pytest.approx(expected.get_stress())


def test_a_second_set_of_labels_is_pointed_out(run, frames, tmp_path):
    dataset.write(tmp_path / "good.xyz", frames)
    text = renamed(tmp_path / "good.xyz", {"forces": "REF_forces"}).replace(
        " energy=", " REF_energy=-1.0 energy="
    )
    code, _, _, errors = run(text, options=("--forces-key", "REF_forces"))
    assert code == 0 and len(errors) == 1 and "frame 1: REF_energy is there and not used" in errors[0]
    chosen = run(text, options=("--forces-key", "REF_forces", "--energy-key", "energy"))
    assert chosen[0] == 0 and not chosen[3]


def test_a_net_force_is_pointed_out(run, frames, tmp_path):
    pushed = deepcopy([frames[0], frames[1], frames[-1]])
    pushed[1].calc.results["forces"] += [0.5, 0, 0]
    dataset.write(tmp_path / "pushed.xyz", pushed)
    _, _, _, errors = run(tmp_path / "pushed.xyz")
    assert len(errors) == 1 and "pushed.xyz, frame 2: the forces do not sum to zero" in errors[0]


# ---- other files that ASE reads


@pytest.mark.parametrize("name", ["run.traj", "run.db", "run.json"])
def test_files_that_ase_reads_are_imported(name, run, frames, tmp_path):
    fixed = deepcopy(frames)
    for atoms in fixed:
        atoms.set_constraint(FixAtoms([0]))
    ase.io.write(tmp_path / name, fixed)
    code, out, _, errors = run(tmp_path / name)
    assert (code, errors) == (0, [])
    for atoms, expected in zip(dataset.read(out), frames, strict=True):
        assert np.array_equal(atoms.numbers, expected.numbers) and not atoms.constraints
        assert atoms.get_forces() == pytest.approx(expected.calc.results["forces"])
        assert dataset.energy(atoms) == pytest.approx(dataset.energy(expected))
        assert atoms.get_stress() == pytest.approx(expected.get_stress())


def test_other_files_without_labels_are_refused_by_their_frame(run, frames, tmp_path):
    ase.io.write(tmp_path / "POSCAR", frames[0])
    refused(run(tmp_path / "POSCAR"), "POSCAR, frame 1: no energy")
    (tmp_path / "notes.txt").write_text("energies and forces\n")
    refused(
        run(tmp_path / "notes.txt"),
        r"ASE does not read it \(.*convert it: ase.io.write\('OUT.xyz', ase.io.read",
    )


def test_the_chosen_key_counts_and_not_another_of_our_name(run, frames, tmp_path):
    dataset.write(tmp_path / "good.xyz", frames[:1])
    text = (tmp_path / "good.xyz").read_text().replace(" energy=", " free_energy=-1.0 REF=-22.5 energy=")
    _, out, _, _ = run(text, options=("--energy-key", "REF"))
    (atoms,) = dataset.read(out)
    assert atoms.calc.results["energy"] == -22.5 and "free_energy" not in atoms.calc.results
    _, out, _, _ = run(text)
    assert dataset.energy(dataset.read(out)[0]) == -1.0
    _, out, _, _ = run(text, options=("--energy-key", "energy"))
    assert dataset.energy(dataset.read(out)[0]) == pytest.approx(dataset.energy(frames[0]))
    _, _, told, _ = run(text, DATA / "thesis.xyz")
    assert "only 1 have a free_energy" in told[-1]


def scaled(frames, length=1.0, energy=1.0, force=1.0, stress=1.0):
    copies = deepcopy(frames)
    for atoms in copies:
        labels = atoms.calc.results
        atoms.set_cell(atoms.cell * length, scale_atoms=True)
        labels["energy"] *= energy
        labels["forces"] *= force
        labels["stress"] *= stress
        atoms.calc = SinglePointCalculator(atoms, **labels)
    return copies


OTHER_UNITS = {
    "Bohr": ({"length": 1 / units.Bohr}, "nearest atoms are 1.7 times .* not in A"),
    "atomic units": (
        {"length": 1 / units.Bohr, "energy": 1 / units.Hartree, "force": units.Bohr / units.Hartree},
        "nearest atoms are 1.7 times .* not in A",
    ),
    "nm": ({"length": 0.1}, "nearest atoms are 0.0.* not in A"),
    "GPa": ({"stress": 1 / units.GPa}, r"the largest stress is .* not in eV/A\^3"),
    "kbar": ({"stress": 10 / units.GPa}, r"the largest stress is .* not in eV/A\^3"),
    "Hartree": ({"energy": 1 / units.Hartree}, "energies in Hartree with forces in eV/A"),
    "Hartree/Bohr": ({"force": units.Bohr / units.Hartree}, "forces in Hartree/Bohr with energies in eV"),
    "gradient": ({"force": -1}, "opposite sign"),
}


@pytest.mark.parametrize("name", OTHER_UNITS)
def test_other_units_are_refused(name, run, frames, tmp_path):
    scales, words = OTHER_UNITS[name]
    dataset.write(tmp_path / "other.xyz", scaled(frames, **scales))
    refused(run(tmp_path / "other.xyz"), r"other\.xyz: ", words)


def test_sound_but_unusual_lengths_are_not_refused(run, frames, tmp_path):
    """Lone atoms, solid argon (nearest neighbours 1.8 radii apart), and one close pair among other frames."""
    argon = crystal("Ar", [(0, 0, 0)], spacegroup=225, cellpar=[5.31] * 3 + [90] * 3)
    alone = frames[0][:1]
    close = frames[0].copy()
    close.positions[1] = close.positions[0] + [0, 0, 0.9]
    for atoms in (argon, alone, close):
        atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=np.zeros((len(atoms), 3)))
    for number, members in enumerate([[argon], [alone], [*frames[1:], close]]):
        dataset.write(tmp_path / f"{number}.xyz", members)
        assert run(tmp_path / f"{number}.xyz")[0] == 0


def test_a_molecule_in_a_large_box_is_quick(run, tmp_path):
    frames = []
    for seed in range(40):
        atoms = molecule("C6H6", cell=[100] * 3, pbc=False)
        atoms.rattle(0.2, seed=seed)
        atoms.calc = SinglePointCalculator(atoms, energy=-76.0, forces=np.zeros((12, 3)))
        frames.append(atoms)
    dataset.write(tmp_path / "box.xyz", frames)
    start = time.process_time()
    code, out, _, errors = run(tmp_path / "box.xyz")
    assert time.process_time() - start < 5
    assert code == 0 and len(errors) == 1 and "frame 1: taken as periodic in all directions" in errors[0]


def test_shortest_distance_is_that_over_all_images(frames):
    for atoms in [*frames, bulk("Cu"), bulk("Cu") * (1, 1, 30), mx2("WSe2", vacuum=10)]:
        skewed = atoms.copy()
        skewed.set_cell([[1, 0, 0], [3, 1, 0], [-2, 1, 1]] @ skewed.cell.array)
        skewed.pbc = atoms.pbc = True
        i, j, d = neighbor_list("ijd", atoms, 4.0)
        radii = covalent_radii[atoms.numbers]
        assert consistency.shortest(atoms) == pytest.approx((d / (radii[i] + radii[j])).min())
        assert consistency.shortest(skewed) == pytest.approx(consistency.shortest(atoms))


# ---- groups


def test_a_file_is_one_trajectory_unless_told_otherwise(run, frames, tmp_path):
    bare = deepcopy(frames)
    for atoms in bare:
        atoms.info.clear()
    dataset.write(tmp_path / "bare.xyz", bare)
    _, out, told, _ = run(tmp_path / "bare.xyz")
    kinds = {dataset.kind(atoms) for atoms in bare}
    assert len({dataset.group(atoms) for atoms in dataset.read(out)}) == len(kinds) < len(bare)
    dataset.write(tmp_path / "own.xyz", frames)  # config_type and seed of their own
    _, out, _, _ = run(tmp_path / "own.xyz")
    assert [dataset.group(atoms) for atoms in dataset.read(out)] == [dataset.group(atoms) for atoms in frames]


def test_blocks_of_one_trajectory_and_several_files_can_be_split(run, tmp_path):
    text = unpacked("vasprun_Ti.xml.xz")
    _, out, told, _ = run(text)
    with pytest.raises(ValueError, match="One kind needs three groups"):
        splitting.split(dataset.read(out))
    _, out, _, _ = run(text, options=("--blocks", "4"))
    imported = dataset.read(out)
    seeds = [atoms.info["seed"] for atoms in imported]
    assert [seeds.count(seed) for seed in dict.fromkeys(seeds)] == [5] * 4 and seeds == sorted(seeds)
    assert "too few groups" in told[1]
    assert {side: len(part) for side, part in splitting.split(imported).items()} == {
        "train": 10,
        "validation": 5,
        "test": 5,
    }
    # Three files of one name in folders of their own: three groups.
    sources = []
    for name in "abc":
        (tmp_path / name).mkdir()
        sources.append(tmp_path / name / "vasprun.xml")
        sources[-1].write_text(text.replace("</modeling>", f"<!-- {name} --></modeling>"))
    _, out, told, _ = run(*sources)
    assert "60 frames, 120 atoms, 3 groups" in told[0] and len(told) == 1
    assert {len(part) for part in splitting.split(dataset.read(out)).values()} == {20}
    refused(run(text, options=("--blocks", "0")), "--blocks 0: must be 1 or more")
