"""Active learning: which frames to label next, and what they teach the readout of a model.

The readout is all linear layers that give a MACE's energy, a few weights that its features are multiplied with.
Fitted anew to forces, by least squares, it is trained to the end at once, so that errors depend on the labels alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from scipy.linalg import solve
from tqdm import tqdm

from defectphonons import caching, fingerprint, parallel
from defectphonons.potentials import Potential

# PyTorch and MACE are imported where they are needed, for they take seconds.
if TYPE_CHECKING:
    import torch

RIDGE = 1e-6  # of the sum of squares of a column
ATOMS_AT_ONCE = 30  # more fall out of the cache


@dataclass(frozen=True)
class Slopes:
    """What the labels of a frame of N atoms become for a weight of 1 eV on each feature of the readout."""

    forces: np.ndarray  # (3N, n_weights) eV/A
    stress: np.ndarray  # (6, n_weights) eV/A^3, Voigt
    energy: np.ndarray  # (n_weights,) eV


def last_layers(potential: Potential) -> list["torch.nn.Module"]:
    """Return the linear layers that give the energy of a model; ValueError for readouts of other kinds than MACE's usual ones."""
    from mace.modules import LinearReadoutBlock, NonLinearReadoutBlock

    network = getattr(potential.calculator, "models", [None])[0]
    if not hasattr(network, "scale_shift"):
        raise ValueError(f"{potential.name} is no ScaleShiftMACE: only such a model can be fitted anew here")
    layers = []
    for readout in network.readouts:
        if not isinstance(readout, LinearReadoutBlock | NonLinearReadoutBlock) or len(network.heads) != 1:
            raise ValueError(
                f"{potential.name} has a {type(readout).__name__}: only MACE models with one head and the "
                "usual readouts can be fitted anew here"
            )
        layers.append(readout.linear if isinstance(readout, LinearReadoutBlock) else readout.linear_2)
    return layers


def readout(potential: Potential) -> np.ndarray:
    """Return the weights (n_weights,) that the model itself multiplies the features of `slopes` with, in eV."""
    scale = float(potential.calculator.models[0].scale_shift.scale)
    layers = [layer.weight.detach().cpu().numpy() for layer in last_layers(potential)]
    return scale * np.concatenate([weights / np.sqrt(len(weights)) for weights in layers])


def slopes(potential: Potential, frames: list[Atoms], folder: Path) -> list[Slopes]:
    """Return the slopes of each frame.

    They are cached in `folder` for each geometry, model and code that computes them.
    """
    code = fingerprint.of("helpers.models.active.differentiated")
    paths = [folder / f"{caching.geometry_key([atoms], potential.checksum, code)}.npz" for atoms in frames]
    cached = {path: caching.cached(path) for path in paths}
    missing = {path: atoms for path, atoms in zip(paths, frames, strict=True) if cached[path] is None}
    batches: list[list[Path]] = []
    for path, atoms in missing.items():
        if not batches or sum(len(missing[queued]) for queued in batches[-1]) + len(atoms) > ATOMS_AT_ONCE:
            batches.append([])
        batches[-1].append(path)
    last_layers(potential)  # refuses before, and not in, a process of its own
    with tqdm(total=len(missing), desc="features", unit="frame", disable=len(missing) < 10) as bar:
        parallel.on_every_core(lambda share: write(potential, missing, share), batches, 1, missing, bar)
    cached |= {path: caching.cached(path) for path in missing}
    return [Slopes(**cached[path]) for path in paths]


def write(potential: Potential, frames: dict[Path, Atoms], batches: list[list[Path]]) -> Iterator[int]:
    """Compute and write the slopes of `frames`, batch by batch; yields how many each had."""
    for batch in batches:
        computed = differentiated(potential, [frames[path] for path in batch])
        for path, frame_slopes in zip(batch, computed, strict=True):
            caching.cache(path, **vars(frame_slopes))
        yield len(batch)


def differentiated(potential: Potential, frames: list[Atoms]) -> list[Slopes]:
    """Return the slopes of frames that are evaluated together."""
    import torch
    from mace.data import AtomicData, config_from_atoms
    from mace.tools.torch_geometric import Batch
    from mace.tools.torch_tools import default_dtype

    calculator, layers = potential.calculator, last_layers(potential)
    network = calculator.models[0]
    with default_dtype(torch.float64):  # in which AtomicData writes positions
        data = [
            AtomicData.from_config(
                config_from_atoms(atoms), z_table=calculator.z_table, cutoff=calculator.r_max
            )
            for atoms in frames
        ]
    batch = Batch.from_data_list(data).to(calculator.device).to_dict()
    # A strain of each frame, zero, to differentiate by: of the places and of the vectors to other cells.
    strain = torch.zeros(len(frames), 3, 3, dtype=torch.float64, device=calculator.device, requires_grad=True)
    symmetric = (strain + strain.transpose(1, 2)) / 2
    places = batch["positions"].requires_grad_(True)
    batch["positions"] = places + torch.einsum("ni,nij->nj", places, symmetric[batch["batch"]])
    of_edge = batch["batch"][batch["edge_index"][0]]
    batch["shifts"] = batch["shifts"] + torch.einsum("ei,eij->ej", batch["shifts"], symmetric[of_edge])
    inputs: list[torch.Tensor] = []
    hooks = [layer.register_forward_pre_hook(lambda _, given: inputs.append(given[0])) for layer in layers]
    try:
        network(batch, training=True, compute_force=False)
    finally:
        for hook in hooks:
            hook.remove()
    # The scalars, which come first.
    features = [values[:, : layer.weight.numel()] for values, layer in zip(inputs, layers, strict=True)]
    # Added up over all atoms: frames do not know of each other. Layer by layer: what an early one holds does not go
    # through the later ones, back through which a pass takes longest.
    gradients = [
        torch.autograd.grad(feature, (places, strain), retain_graph=True)
        for values in features
        for feature in values.sum(dim=0)
    ]
    forces, strained = (
        -torch.stack(by_feature, dim=-1).cpu().numpy() for by_feature in zip(*gradients, strict=True)
    )
    ends = np.cumsum([len(atoms) for atoms in frames])[:-1]
    energies = [
        part.sum(axis=0) for part in np.split(torch.cat(features, dim=1).detach().cpu().numpy(), ends)
    ]
    return [
        Slopes(
            force.reshape(-1, force.shape[-1]),
            -virial[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]] / atoms.get_volume(),
            energy,
        )
        for force, virial, energy, atoms in zip(
            np.split(forces, ends), strained, energies, frames, strict=True
        )
    ]


def fit(slopes: list[np.ndarray], forces: list[np.ndarray], shares: np.ndarray | None = None) -> np.ndarray:
    """Return the weights (n_weights,) in eV by least squares, with a small ridge; `shares` (n_frames,) of frames, else alike."""
    shares = np.ones(len(slopes)) if shares is None else shares
    products = sum(share * matrix.T @ matrix for share, matrix in zip(shares, slopes, strict=True))
    target = sum(
        share * matrix.T @ force for share, matrix, force in zip(shares, slopes, forces, strict=True)
    )
    size, scaled = conditioned(products)
    return solve(scaled, target / size, assume_a="pos") / size


def posterior(rows: list[np.ndarray]) -> np.ndarray:
    """Return the covariance (n_weights, n_weights) of the weights in eV^2 after a linear fit to labels.

    `rows` (n_labels, n_weights) of each frame: the slopes of its labels over the standard deviation of their errors. The
    covariance does not depend on the labels themselves. F. Bigi, S. Chong, M. Ceriotti and F. Grasselli, Mach. Learn.: Sci. Technol.
    (2024).
    """
    size, scaled = conditioned(sum(matrix.T @ matrix for matrix in rows))
    return np.linalg.inv(scaled) / np.outer(size, size)


def conditioned(products: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the sizes of the columns and the normal matrix for columns of unit size, with a small ridge."""
    size = np.sqrt(np.diag(products))
    size[size == 0] = 1.0
    return size, products / np.outer(size, size) + RIDGE * np.eye(len(size))


def drawn(covariance: np.ndarray, members: int, rng: np.random.Generator) -> np.ndarray:
    """Return `members` draws (members, n_weights) of that covariance, shifted so that their mean is zero."""
    several = rng.standard_normal((members, len(covariance))) @ np.linalg.cholesky(covariance).T
    return several - several.mean(axis=0)


def disagreement(slopes: np.ndarray, members: np.ndarray) -> float:
    """Return the largest standard deviation of the force on an atom of a frame among the `members` of a committee, in eV/A.

    Of those that `choose` draws it is in units of the error of the forces.
    """
    variance = (slopes @ members.T).var(axis=1)
    return float(np.sqrt(variance.reshape(-1, 3).sum(axis=1).max()))


def choose(
    slopes: list[np.ndarray],
    labelled: list[int],
    pool: list[int],
    count: int,
    members: int,
    rng: np.random.Generator,
) -> list[int]:
    """Return `count` of `pool` to label next: those of the largest `disagreement` among `members` of a committee.

    `labelled` and `pool` are numbers of frames in `slopes`.
    """
    committee = drawn(posterior([slopes[frame] for frame in labelled]), members, rng)
    return sorted(pool, key=lambda frame: -disagreement(slopes[frame], committee))[:count]


def rmse(slopes: list[np.ndarray], forces: list[np.ndarray], weights: np.ndarray) -> float:
    """Return the root mean square error of all force components in meV/A."""
    errors = [matrix @ weights - force for matrix, force in zip(slopes, forces, strict=True)]
    return float(1000 * np.sqrt(np.mean(np.concatenate(errors) ** 2)))


def gaussian_process(
    places: np.ndarray, values: np.ndarray, at: np.ndarray, length: float, deviation: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean (n,) and standard deviation (n,) at `at` (n,) given `values` (m,) at `places` (m,), on a line.

    Squared-exponential covariance. C. Rasmussen and C. Williams, Gaussian Processes for Machine Learning,
    equations 2.25 and 2.26.
    """

    def covariance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return deviation**2 * np.exp(-((one[:, None] - other[None]) ** 2) / (2 * length**2))

    own = covariance(places, places) + 1e-8 * deviation**2 * np.eye(len(places))
    gain = solve(own, covariance(places, at), assume_a="pos").T
    variance = deviation**2 - (gain * covariance(at, places)).sum(axis=1)
    return gain @ values, np.sqrt(np.clip(variance, 0, None))


def expected_improvement(mean: np.ndarray, deviation: np.ndarray, best: float) -> np.ndarray:
    """Return by how much a value of this mean and deviation is expected to exceed `best`; D. Jones, M. Schonlau, W. Welch, J. Global Optim. 13, 455 (1998)."""
    from scipy.stats import norm

    score = (mean - best) / np.maximum(deviation, 1e-12)
    return (mean - best) * norm.cdf(score) + deviation * norm.pdf(score)


def queries(
    strategy: str, grid: np.ndarray, truth: np.ndarray, points: int
) -> dict[int, tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Ask for values of a function on a line one by one, where a Gaussian process wishes, beginning with two.

    "active learning" asks where the deviation is largest, any other strategy where the expected improvement is. Returns by
    the number of values, up to `points`, their places and values, and mean and deviation (n_grid,) of the process.
    """
    asked, stages = [20, 120], {}
    while len(asked) <= points:
        mean, deviation = gaussian_process(grid[asked], truth[asked], grid, length=0.08, deviation=0.7)
        stages[len(asked)] = grid[asked], truth[asked], mean, deviation
        improvement = expected_improvement(mean, deviation, truth[asked].max())
        wish = deviation if strategy == "active learning" else improvement
        asked.append(int(wish.argmax()))
    return stages
