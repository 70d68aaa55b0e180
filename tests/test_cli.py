"""The command `wse2`: help at once, one line where it cannot do what it is asked, and what each command passes on."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import ase.io
import numpy as np
import phonopy
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from defectphonons import force_constants, potentials, structures
from helpers import cli, proposing
from helpers.data import dft, selection
from helpers.models import potential, shipping

WSE2 = Path(sys.executable).with_name("wse2")
COMMANDS = ("import", "label", "propose", "ship", "committee", "sweep", "force-constants")


def wse2(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([WSE2, *map(str, words)], capture_output=True, text=True)


def test_help_names_every_command_in_less_than_a_second():
    taken = []
    for _ in range(3):
        started = time.perf_counter()
        told = wse2("--help")
        taken.append(time.perf_counter() - started)
    assert told.returncode == 0 and not told.stderr
    assert all(f"\n  {name} " in told.stdout for name in COMMANDS)
    assert min(taken) < 1


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_loads_nothing_slow(name):
    program = f"""
import sys
from helpers import cli
try:
    cli.app(["{name}", "--help"])
except SystemExit:
    print({{"numpy", "torch", "ase"}} & set(sys.modules))
"""
    told = subprocess.check_output([sys.executable, "-c", program], text=True)
    assert told.startswith("Usage: ") and told.endswith("set()\n")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["import", "none", "out.xyz"], "[Errno 2] No such file or directory: 'none'"),
        (["ship", "none", "name"], "none has no training.json, or a damaged one"),
        (["committee", "none", "wse2.xyz"], "model = 'none': no file"),
        (["force-constants", "POSCAR", "--model", "none"], "model = 'none': no file"),
        (["force-constants", "POSCAR", "--model", "x", "--supercell", "2", "2", "0"], "--supercell 2 2 0: must be three"),
        (["force-constants", "POSCAR", "--model", "x", "-o", "fc.hdf5"], "-o fc.hdf5: must end in .yaml.xz"),
        (["label", "a.xyz", "b.xyz", "--occupations", "1 | 3"], "occupations = '1 | 3' with charge 0: must be two lists"),
        (["propose", "out.xyz", "--kind", "interstitial"], "--kind interstitial: no kind begins so"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_told_in_one_line(words, line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        cli.app(words)
    told = capsys.readouterr()
    assert stop.value.code == 2 and not told.out
    assert told.err.startswith(line) and told.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_labels_have_the_convergence_of_our_data_unless_asked(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(cli.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(dft, "label", lambda *given: asked.append(given) or ["frame 3: did not converge"])
    for more in ([], ["--density", "1e-6", "--processes", "2"]):
        with pytest.raises(SystemExit, match="3"):
            cli.app(["label", "in.xyz", "out.xyz", *more])
    files = Path("in.xyz"), Path("out.xyz")
    assert asked == [(*files, dft.Settings(), 1), (*files, dft.Settings(density=1e-6), 2)]
    assert capsys.readouterr().err == "frame 3: did not converge\n" * 2


def test_a_frame_is_relaxed_by_dft_from_the_force_constants_of_a_model(tmp_path, monkeypatch):
    model = potential.load("wse2-small")
    monkeypatch.setattr(cli.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(dft, "calculator", lambda *given: model.calculator)
    atoms = structures.monolayer("WSe2", 3.32, 3.45)
    atoms.info["state"] = "final"
    ase.io.write(tmp_path / "in.xyz", atoms, format="extxyz")
    with pytest.raises(SystemExit, match="0"):
        cli.app(
            ["label", f"{tmp_path}/in.xyz", f"{tmp_path}/out.xyz", "--charge", "-1", "--relax", "wse2-small"]
        )
    (relaxed,) = ase.io.read(tmp_path / "out.xyz", ":")
    assert abs(relaxed.get_forces()).max() < 0.004 and 0 < relaxed.info["steps"] < 5
    assert relaxed.info["state"] == "final" and json.loads(relaxed.info["dft"])["charge"] == -1


def test_a_fine_tuned_model_is_shipped_with_the_runs_before(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(
        shipping, "ship", lambda *given, **more: asked.append((given, more)) or Path("x.model")
    )
    with pytest.raises(SystemExit, match="0"):
        cli.app(["ship", "run", "mine", "--start", "second", "--start", "first", "--no-committee"])
    more = {"start": [Path("second"), Path("first")], "no_committee": True, "replace": False}
    assert asked == [((Path("run"), "mine"), more)]
    assert capsys.readouterr().out == "wrote x.model\n"


def test_a_sweep_passes_further_options_on(tmp_path):
    """From any folder, with the file named from there."""
    (tmp_path / "mine.yaml").write_text("supercells: [4]\ncommittee: false\n")
    listed = subprocess.run(
        [WSE2, "sweep", "mine.yaml", "--dry-run", "--nolock"],
        cwd=tmp_path, env=os.environ | {"WSE2_RESULTS": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert listed.returncode == 0, listed.stderr
    assert "rule 04_pristine:" in listed.stdout and "rule 05_defect:" in listed.stdout


def test_proposals_are_of_the_kinds_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(proposing, "STRAINS", ((0, 0),))
    monkeypatch.setattr(proposing.relaxation, "relax", lambda atoms, *given, **more: atoms)
    monkeypatch.setattr(selection, "environments", lambda potential, frames: [{}] * len(frames))
    monkeypatch.setattr(selection, "farthest", lambda pool, known, count: list(range(count)))
    for words, kinds in (
        (["--kind", "vacancy", "--kind", "pristine_2x2", "--count", "18"], {"vacancy_2x2", "vacancy_3x3", "pristine_2x2"}),
        (["--substitutes"], {"O_Se_2x2", "O_Se_3x3", "S_Se_2x2", "S_Se_3x3"}),
    ):  # fmt: skip
        with pytest.raises(SystemExit, match="0"):
            cli.app(["propose", str(tmp_path / "out.xyz"), *words])
        assert {atoms.info["config_type"] for atoms in ase.io.read(tmp_path / "out.xyz", ":")} == kinds


# ---- force constants of other crystals and models


def network(kind="ScaleShiftMACE", first="", later="Residual", heads=("Default",), **more):
    """A small MACE of Na and Cl with random weights; `first` and `later` name what its interaction blocks are."""
    from e3nn import o3  # after mace, without which it does not load here
    from mace import modules
    from mace.tools.torch_tools import default_dtype

    blocks = {
        name: modules.interaction_classes[f"RealAgnostic{name}InteractionBlock"] for name in (first, later)
    }
    several = np.arange(1.0, len(heads) + 1) if len(heads) > 1 else 1.0
    if kind == "ScaleShiftMACE":
        more |= {"atomic_inter_scale": 0.8 * several, "atomic_inter_shift": 0.1 * several}
    torch.manual_seed(1)
    with default_dtype(torch.float64):
        return getattr(modules, kind)(
            r_max=4.0, num_bessel=4, num_polynomial_cutoff=5, max_ell=2, num_interactions=2, num_elements=2,
            interaction_cls_first=blocks[first], interaction_cls=blocks[later], correlation=2, radial_MLP=[8],
            hidden_irreps=o3.Irreps("4x0e + 4x1o"), MLP_irreps=o3.Irreps("4x0e"), gate=torch.nn.functional.silu,
            atomic_energies=np.squeeze(np.outer(several, [-1.0, -2.0])), avg_num_neighbors=8.0,
            atomic_numbers=[11, 17], heads=list(heads), **more,
        )  # fmt: skip


SALT = bulk("NaCl", "rocksalt", a=5.0)
MOLECULE = Atoms("Na2Cl2", [[5, 5, 5], [7.2, 5, 5.3], [5.1, 7.4, 5], [7, 7.3, 6]], cell=[14.0] * 3)
KNOWN = {
    "as trained here": {},
    "without scale and shift": {"kind": "MACE", "first": "Residual"},
    "two heads": {"heads": ("pt_head", "Default")},
    "messages over their density": {"first": "Density", "later": "DensityResidual", "apply_cutoff": False},
    "all that foundation models have": {
        "first": "Density", "later": "DensityResidual", "heads": ("pt_head", "Default"), "pair_repulsion": True,
        "distance_transform": "Agnesi",
    },
    "readout of the last layer alone": {"use_last_readout_only": True},
}  # fmt: skip
UNKNOWN = {
    "RealAgnosticResidualNonLinearInteractionBlock": {"later": "ResidualNonLinear"},
    "RealAgnosticAttResidualInteractionBlock": {"later": "AttResidual"},
    "products that do not know the elements": {"use_agnostic_product": True},
    "embedding of charge": {
        "embedding_specs": {"total_charge": {"type": "categorical", "emb_dim": 2, "num_classes": 3, "per": "graph"}}
    },
}  # fmt: skip


@pytest.fixture
def constants(tmp_path, monkeypatch):
    """The command for a network and a structure, in an empty folder: exit code, and phonopy's object of what it wrote."""
    monkeypatch.chdir(tmp_path)

    def call(net, atoms, *more):
        torch.save(net, "mine.model")
        ase.io.write("structure.xyz", atoms)
        with pytest.raises(SystemExit) as stop:
            cli.app(["force-constants", "structure.xyz", "--model", "mine.model", "--trust-model", *more])
        written = Path("phonopy_params.yaml.xz")
        return stop.value.code, phonopy.load(written, log_level=0) if written.exists() else None

    return call


@pytest.mark.parametrize("name", KNOWN)
def test_force_constants_of_a_crystal_and_a_molecule_are_those_of_the_model(name, constants):
    """Of the whole supercell, by MACE's own Hessian."""
    net = network(**KNOWN[name])
    for atoms, sizes in ((SALT, "222"), (MOLECULE, "111")):
        code, phonon = constants(net, atoms, "--supercell", *sizes)
        assert code == 0
        supercell = force_constants.to_ase(phonon.supercell)
        calculator = potential.load("./mine.model", trust_model=True).calculator
        whole = calculator.get_hessian(supercell).reshape(len(supercell), 3, len(supercell), 3)
        expected = whole.transpose(0, 2, 1, 3)[phonon.primitive.p2s_map]
        assert phonon.force_constants == pytest.approx(expected, abs=1e-9)
        assert abs(expected).max() > 0.01
        assert not Path("phonopy_params.yaml.xz.parts").exists()


@pytest.mark.parametrize("atoms", [SALT, MOLECULE], ids=["crystal", "molecule"])
def test_differences_of_forces_come_to_the_same(atoms, constants):
    sizes = ["--supercell", "2", "2", "2"] if atoms is SALT else []
    net = network(**KNOWN["all that foundation models have"])
    _, exact = constants(net, atoms, *sizes)
    code, phonon = constants(net, atoms, *sizes, "--differences", "--displacement", "0.001")
    assert code == 0 and phonon.force_constants == pytest.approx(exact.force_constants, abs=1e-5)


@pytest.mark.parametrize("name", UNKNOWN)
def test_a_model_with_other_parts_is_refused_by_their_name(name, constants, capsys):
    code, phonon = constants(network(**UNKNOWN[name]), SALT)
    told = capsys.readouterr().err
    assert code == 2 and phonon is None
    assert name in told and told.endswith("give --differences\n") and told.count("\n") == 1
    assert sorted(path.name for path in Path().iterdir()) == ["mine.model", "structure.xyz"]


def test_what_a_refused_model_has_by_differences(constants):
    code, phonon = constants(network(later="ResidualNonLinear"), SALT, "--differences")
    assert code == 0 and phonon.force_constants.shape == (2, 2, 3, 3)


def test_models_and_structures_that_will_not_do_are_refused(constants, capsys):
    flat = SALT.copy()
    flat.pbc = (True, True, False)
    nowhere = Atoms("NaCl", [[0, 0, 0], [2.4, 0, 0]])
    for net, atoms, words in (
        (
            network(heads=("one", "two")),
            SALT,
            "has the heads one, two, and none is called Default: choose one",
        ),
        (network(), flat, "structure.xyz is not periodic along its cell vector 3, and the cell leaves"),
        (network(), nowhere, "structure.xyz has no cell in three directions"),
        (network(), bulk("Cu"), "knows Na, Cl but not Cu"),
    ):
        code, phonon = constants(net, atoms)
        assert code == 2 and phonon is None and words in capsys.readouterr().err


def test_a_model_of_dipoles_or_charges_is_refused_by_its_name():
    dipoles = type("AtomicDipolesMACE", (torch.nn.Module,), {})()
    with pytest.raises(
        ValueError, match="dipoles.model is of the kind AtomicDipolesMACE: models with dipoles"
    ):
        potentials.check_kind(dipoles, Path("dipoles.model"))


def test_an_unrelaxed_structure_is_pointed_out(constants, capsys):
    assert constants(network(), MOLECULE)[0] == 0
    told = capsys.readouterr()
    assert "wrote phonopy_params.yaml.xz: between 4 atoms and the 4 of the supercell" in told.out
    assert "structure.xyz is not relaxed: forces of up to" in told.err
