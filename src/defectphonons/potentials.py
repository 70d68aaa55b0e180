"""Models ready to compute energies, forces and stresses: read a MACE from its file, or add dispersion to one."""

import contextlib
import hashlib
import importlib.metadata
import io
import itertools
import json
import logging
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.mixing import LinearCombinationCalculator
from ase.data import atomic_numbers, chemical_symbols
from scipy.spatial.transform import Rotation

from defectphonons import caching

# PyTorch and MACE are imported where they are needed: who only evaluates, or names the type, need not wait for them.
if TYPE_CHECKING:
    import torch


NOBLE_GASES = (0, 2, 10, 18, 36, 54, 86, 118)  # atomic numbers; each ends a row of the periodic table


@dataclass(frozen=True)
class Potential:
    """A model ready to compute energies (eV), forces (eV/A) and stress (eV/A^3)."""

    name: str
    checksum: str  # SHA-256 of the file
    origin: str  # where it comes from
    elements: tuple[str, ...]
    r_max: float  # A
    num_interactions: int
    calculator: Calculator  # of MACE, or a sum with it

    def __str__(self) -> str:
        return (
            f"{self.name}: sha256 {self.checksum[:16]}… ({self.origin}), elements {' '.join(self.elements)}, "
            f"r_max {self.r_max:g} A, {self.num_interactions} interactions"
        )


def load(
    path: Path, *, device: str = "cpu", elements: tuple[str, ...] = (), checksum: str | None = None
) -> Potential:
    """Load the model in a file that mace_run_train wrote, in float64 on `device`.

    This executes code that the file contains: load none of which you do not know where it comes from. With `checksum` a
    file of another SHA-256 is not loaded.

    Raises ValueError when the file is not what it should be, when the model does not know one of `elements`, or when
    PyTorch has no such `device`.
    """
    import torch

    with contextlib.redirect_stdout(io.StringIO()):  # a line about an accelerator that is not installed
        from mace.calculators import MACECalculator

    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device = 'cuda': PyTorch finds no GPU here; set device = 'cpu'")
    content = path.read_bytes()  # once, so that what is checked is what is loaded
    if not content:
        raise ValueError(f"model {path} is empty; copy it again or train it anew")
    own = hashlib.sha256(content).hexdigest()
    if checksum not in (None, own):
        raise ValueError(
            f"model {path} has sha256 {own[:16]}…, not {checksum[:16]}…: it was exchanged; copy it again"
        )
    network = read(content, path, device)
    check_kind(network, path)
    network = in_double_precision(network)
    model_elements = tuple(chemical_symbols[number] for number in network.atomic_numbers.tolist())
    missing = [element for element in elements if element not in model_elements]
    if missing:
        raise ValueError(
            f"model {path.name} knows {', '.join(model_elements)} but not {', '.join(missing)}: "
            "take a model trained on these elements, or another formula"
        )
    # MACE warns when it converts a model to the precision we ask for.
    logging.disable(logging.WARNING)
    try:
        calculator = MACECalculator(models=[network], device=device, default_dtype="float64")
    finally:
        logging.disable(logging.NOTSET)
    return Potential(
        name=path.stem,
        checksum=own,
        origin="a file",
        elements=model_elements,
        r_max=float(network.r_max),
        num_interactions=int(network.num_interactions),
        calculator=calculator,
    )


def check_kind(network: "torch.nn.Module", path: Path) -> None:
    """Raise ValueError for a model whose energies and forces MACE's calculator does not give as it is used here."""
    with contextlib.redirect_stdout(io.StringIO()):
        from mace.modules import MACE, PolarMACE

    if not isinstance(network, MACE) or isinstance(network, PolarMACE):
        raise ValueError(
            f"model {path} is of the kind {type(network).__name__}: models with dipoles, polarisabilities or charges are not known "
            "here, give one of energies and forces, a MACE or ScaleShiftMACE"
        )
    heads = getattr(network, "heads", ["Default"])
    if len(heads) > 1 and "default" not in [head.lower() for head in heads]:
        raise ValueError(
            f"model {path} has the heads {', '.join(heads)}, and none is called Default: choose one, "
            f"mace_select_head {path} --head_name {heads[0]}, and give what that writes"
        )


def read(content: bytes, path: Path, device: str) -> "torch.nn.Module":
    """Return the pickled MACE module in `content` of the file `path`; ValueError if it is damaged or something else."""
    import torch

    if content.startswith(b"PK") and not caching.is_whole(io.BytesIO(content)):  # PyTorch checks no checksums
        raise ValueError(f"model {path} is truncated or damaged: copy it again, or train it anew")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network = torch.load(io.BytesIO(content), map_location=device, weights_only=False)
    except Exception as error:  # pickle raises whatever the damaged bytes happen to mean
        needed, installed = written_with(path), importlib.metadata.version("mace-torch")
        why = "it is truncated or not a model written by mace_run_train; copy it again"
        if needed not in (None, installed):
            why = f"it was written with mace-torch {needed}, and here is {installed}: install {needed}, or train it anew"
        raise ValueError(f"model {path} cannot be loaded ({type(error).__name__}): {why}") from error
    parts = ("atomic_numbers", "r_max", "num_interactions", "interactions", "products", "readouts")
    if not all(hasattr(network, name) for name in parts) or next(network.parameters(), None) is None:
        raise ValueError(f"model {path} holds a {type(network).__name__}, not a MACE model")
    for name, values in (*network.named_parameters(), *network.named_buffers()):
        if not torch.isfinite(values).all():
            raise ValueError(
                f"model {path}: {name} has values that are no numbers, so that it predicts nothing: its training failed"
            )
    return network


def in_double_precision(network: "torch.nn.Module") -> "torch.nn.Module":
    """Build a model of single precision anew in double, with the weights it has, on its device.

    Converting it would keep its Clebsch-Gordan coefficients as rounded as its weights, and so
    rotations to 1e-7 only. A model that MACE does not describe completely is returned unchanged.
    """
    import torch
    from mace.tools.scripts_utils import extract_config_mace_model
    from mace.tools.torch_tools import default_dtype

    weight = next(network.parameters())
    if weight.dtype != torch.float32 or "error" in (config := extract_config_mace_model(network)):
        return network
    given, before = network.state_dict(), torch.get_default_dtype()
    try:
        with warnings.catch_warnings(), default_dtype(torch.float64), torch.no_grad():
            warnings.simplefilter("ignore")
            exact = type(network)(**config)
            for name, parameter in exact.named_parameters():
                parameter.copy_(given[name])
    except (KeyError, RuntimeError, TypeError):
        torch.set_default_dtype(before)  # which MACE leaves changed
        return network
    exact = exact.to(weight.device)
    rebuilt = exact.state_dict()
    same = rebuilt.keys() == given.keys() and all(
        value.shape == given[name].shape and torch.allclose(value.double(), given[name].double(), atol=1e-5)
        for name, value in rebuilt.items()
    )
    return exact if same else network


def stand_ins(model_elements: tuple[str, ...], elements: tuple[str, ...]) -> dict[int, int]:
    """Return for each of `elements` that a model lacks the nearest of `model_elements` in its group, as atomic numbers.

    Raises ValueError for an element of whose group of the periodic table the model has none.
    """
    old = [atomic_numbers[element] for element in model_elements]
    new = sorted({atomic_numbers[element] for element in elements} - {*old})
    alike = {number: [other for other in old if column(other) == column(number)] for number in new}
    if strange := [chemical_symbols[number] for number, others in alike.items() if not others]:
        raise ValueError(
            f"the model knows {', '.join(model_elements)} but not {', '.join(strange)}, and no element of the same group of the "
            "periodic table to start from: take a model trained on these elements"
        )
    return {number: min(others, key=lambda other: abs(other - number)) for number, others in alike.items()}


def with_elements(network: "torch.nn.Module", stand_ins: dict[int, int]) -> "torch.nn.Module":
    """Build a model that knows more elements, in double precision: each begins with all weights of its stand-in.

    Raises ValueError for a model that MACE cannot build anew.
    """
    import torch
    from mace.tools import AtomicNumberTable
    from mace.tools.finetuning_utils import load_foundations_elements
    from mace.tools.scripts_utils import extract_config_mace_model
    from mace.tools.torch_tools import default_dtype

    if not stand_ins:
        return network
    numbers = network.atomic_numbers.tolist()
    source = dict(sorted((stand_ins | {number: number for number in numbers}).items()))
    if "error" in (config := extract_config_mace_model(network)):
        raise ValueError(
            f"no element can be added to the model, for MACE does not know its kind ({config['error']}): take a model "
            "trained on these elements"
        )
    energies = config["atomic_energies"][..., [numbers.index(number) for number in source.values()]]
    config |= {"atomic_numbers": [*source], "num_elements": len(source), "atomic_energies": energies}
    with warnings.catch_warnings(), default_dtype(torch.float64):
        warnings.simplefilter("ignore")
        extended = type(network)(**config)
        load_foundations_elements(
            extended,
            network,
            AtomicNumberTable([*source.values()]),
            load_readout=True,
            max_L=config["hidden_irreps"].lmax,
        )
    return extended.to(next(network.parameters()).device)


def column(number: int) -> int:
    """Return what the elements of one group of the periodic table share: how far the nearest end of their row is.

    It is 1 or 2 for the first two groups, and 0 to -29, counted from the noble gas, for the others.
    """
    start, end = next(row for row in itertools.pairwise(NOBLE_GASES) if number <= row[1])
    return number - start if number - start <= 2 and number < end else number - end


def written_with(path: Path) -> str | None:
    """Return the version of mace-torch that the .json beside a model names; None without one."""
    try:
        return json.loads(path.with_suffix(".json").read_text())["versions"]["mace-torch"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def evaluate(potential: Potential, atoms: Atoms) -> dict[str, Any]:
    """Return energy (eV), forces (N, 3) (eV/A) and stress (6,) (eV/A^3, Voigt) of `atoms`."""
    wanted = ("energy", "forces", "stress")
    potential.calculator.calculate(atoms, wanted, all_changes)
    return {name: potential.calculator.results[name] for name in wanted}


def broken_symmetry(potential: Potential, atoms: Atoms) -> dict[str, dict[str, float]]:
    """Return how much energy and forces change under each operation that may only turn and renumber the forces.

    They are one rotation, reflection, translation and permutation of the atoms: by name `energy_eV` and the largest
    `forces_eV_per_A`.
    """
    before = evaluate(potential, atoms)
    same, unmoved = np.arange(len(atoms)), np.zeros(3)
    operations = {
        "rotation": (Rotation.from_rotvec([0.3, -0.7, 1.1]).as_matrix(), unmoved, same),
        "reflection": (np.diag([1.0, 1.0, -1.0]), unmoved, same),
        "translation": (np.eye(3), np.array([0.4, 1.3, -2.1]), same),
        "permutation": (np.eye(3), unmoved, np.random.default_rng(1).permutation(len(atoms))),
    }
    changes = {}
    for name, (matrix, shift, order) in operations.items():
        image = atoms[order]
        image.set_cell(atoms.cell.array @ matrix.T)
        image.positions = atoms.positions[order] @ matrix.T + shift
        after = evaluate(potential, image)
        changes[name] = {
            "energy_eV": float(abs(after["energy"] - before["energy"])),
            "forces_eV_per_A": float(abs(after["forces"] - before["forces"][order] @ matrix.T).max()),
        }
    return changes


def with_dispersion(potential: Potential, beyond: float = 0.0) -> Potential:
    """Return `potential` plus the D3(BJ) dispersion that belongs to PBE, of pairs more than `beyond` A apart.

    A sharp cut would make the energy jump, so it is smoothed over 1 A.
    S. Grimme, S. Ehrlich and L. Goerigk, J. Comput. Chem. 32, 1456 (2011).
    """
    from dftd3.ase import DFTD3

    parts = [potential.calculator, DFTD3(method="PBE", damping="d3bj")]
    if beyond:
        parts.append(DFTD3(method="PBE", damping="d3bj", realspace_cutoff={"disp2": beyond, "width2": 1.0}))
    name = f"{potential.name} + D3" + (f" beyond {beyond:g} A" if beyond else "")
    return replace(
        potential,
        name=name,
        checksum=hashlib.sha256(f"{potential.checksum} {name}".encode()).hexdigest(),
        calculator=LinearCombinationCalculator(parts, [1, 1, -1][: len(parts)]),
    )
