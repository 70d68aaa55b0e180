"""Error bars without further trainings: a committee of models that differ in their last layers.

`wse2 committee` makes one for a model that 02 has not shipped. The energy of a MACE is linear in the weights of its last
layers, so that their posterior distribution given the training labels has a closed form. Members are drawn from it;
their spread is widened by one factor, the most likely one for the errors of the validation forces.
"""

import copy
import hashlib
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from ase import Atoms
from scipy.optimize import minimize_scalar

from defectphonons import caching
from defectphonons.potentials import Potential
from helpers import paths
from helpers.data import accuracy, dataset
from helpers.models import active, potential

MEMBERS = 8
NOISE = 4e-4  # eV/A: how far the forces of two eigensolvers of the DFT code lie apart (data/README.md)


def weights(base_model: Potential, train: list[Atoms], validation: list[Atoms]) -> tuple[np.ndarray, float]:
    """Return the weights (members, n_weights) of the last layers in eV, with the model's own as their mean, and the factor.

    Frames count by their `config_weight`. Raises ValueError for a model whose last layers `active.last_layers` refuses.
    """
    own = active.readout(base_model)
    with tempfile.TemporaryDirectory() as folder:
        taught, held = (active.slopes(base_model, frames, Path(folder)) for frames in (train, validation))
    covariance = active.posterior(rows(taught, train, accuracy.predict(train, base_model.calculator)))
    every = np.concatenate([frame_slopes.forces for frame_slopes in held])
    errors = np.concatenate([atoms.get_forces().ravel() for atoms in validation]) - every @ own
    factor = likeliest(errors, np.sqrt(((every @ covariance) * every).sum(axis=1)))
    return own + factor * active.drawn(covariance, MEMBERS, np.random.default_rng(0)), factor


def rows(slopes: list[active.Slopes], frames: list[Atoms], predicted: list[Atoms]) -> list[np.ndarray]:
    """Return for each frame the slopes of its energy, forces and stress over the root mean square errors of the model.

    Energies per atom; frames count by their `config_weight`.
    """
    total = accuracy.errors(frames, predicted)["total"]
    quantities = ("energy_meV_per_atom", "force_meV_per_A", "stress_meV_per_A3")
    energy, force, stress = (total.get(f"rmse_{name}", np.inf) / 1000 for name in quantities)
    scaled = []
    for frame_slopes, atoms in zip(slopes, frames, strict=True):
        parts = [frame_slopes.energy[None] / (len(atoms) * energy), frame_slopes.forces / force]
        if "stress" in atoms.calc.results:
            parts.append(frame_slopes.stress / stress)
        scaled.append(np.sqrt(atoms.info.get("config_weight", 1.0)) * np.concatenate(parts))
    return scaled


def likeliest(errors: np.ndarray, deviations: np.ndarray) -> float:
    """Return the factor by which `deviations` (n,) describe `errors` (n,) best, both in eV/A: the maximum of the likelihood.

    For Gaussian errors of variance (factor x deviation)^2 + NOISE^2.
    """

    def cost(logarithm: float) -> float:
        variance = (np.exp(logarithm) * deviations) ** 2 + NOISE**2
        return float((np.log(variance) + errors**2 / variance).sum())

    start = np.log(np.sqrt((errors**2).mean() / (deviations**2).mean()))
    return float(np.exp(minimize_scalar(cost, bounds=(start - 5, start + 5), method="bounded").x))


def write(path: Path, base_model: Potential, train: list[Atoms], validation: list[Atoms]) -> float:
    """Write the committee of `base_model` to `path` and return the factor of its spread."""
    members, factor = weights(base_model, train, validation)
    with caching.whole_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, weights=members, factor=factor, model=base_model.checksum)
    return factor


def members(base_model: Potential, model: str) -> list[Potential]:
    """Return the members of the committee that lies beside the file of `model`, which is loaded as `base_model`.

    Raises FileNotFoundError when there is none, and ValueError for one that is damaged or belongs to another model.
    """
    path = paths.committee_file(model)
    again = f"set committee = False, or make it anew: wse2 committee {model} DATA.xyz"
    try:
        with np.load(path, allow_pickle=False) as kept:
            several, owner = kept["weights"], str(kept["model"])
    except Exception as error:  # numpy raises whatever the damaged bytes happen to mean
        raise ValueError(f"{path.name} is no committee ({type(error).__name__}): {again}") from error
    if owner != base_model.checksum:
        raise ValueError(
            f"{path.name} belongs to the model with sha256 {owner[:16]}…, not to {base_model.name} ({base_model.checksum[:16]}…): {again}"
        )
    return [member(base_model, number, chosen) for number, chosen in enumerate(several, start=1)]


def member(base_model: Potential, number: int, chosen: np.ndarray) -> Potential:
    """Return the model with other weights (n_weights,) of its last layers, in eV as `active.readout` gives them."""
    import torch

    network, device = copy.deepcopy(base_model.calculator.models[0]), str(base_model.calculator.device)
    changed = replace(base_model, calculator=type(base_model.calculator)(models=[network], device=device))
    layers = active.last_layers(changed)
    parts = np.split(chosen, np.cumsum([layer.weight.numel() for layer in layers])[:-1])
    with torch.no_grad():
        for layer, part in zip(layers, parts, strict=True):
            scale = float(network.scale_shift.scale) / np.sqrt(len(part))
            layer.weight.copy_(torch.as_tensor(part / scale).view_as(layer.weight))
    name = f"{base_model.name}, member {number}"
    checksum = hashlib.sha256(base_model.checksum.encode() + chosen.tobytes()).hexdigest()
    return replace(changed, name=name, checksum=checksum, origin="of a committee")


def make(model: str, data: str, trust_model: bool = False) -> tuple[Path, float]:
    """Write the committee of a model beside its file, from the `data` that it was trained on; the file and the factor.

    Raises ValueError for data that cannot have trained it.
    """
    base_model = potential.load(model, trust_model=trust_model)
    frames = dataset.read(paths.data_file(data))
    recorded = potential.recorded_sides(base_model, frames)
    if not all(recorded.values()) or not dataset.of_elements(frames, base_model.elements):
        raise ValueError(
            f"{data} has not the frames that trained {base_model.name} ({', '.join(base_model.elements)}), whose errors "
            "the committee is made of: give the data that it was trained on"
        )
    parts, _ = potential.sides(base_model, frames)
    path = paths.model_file(model).with_suffix(".committee.npz")
    return path, write(path, base_model, parts["train"], parts["validation"])
