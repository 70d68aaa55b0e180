"""Choose which configurations to label next: those least like what is labelled already."""

from collections import defaultdict

import numpy as np
from ase import Atoms
from scipy.spatial.distance import cdist
from tqdm import tqdm

from defectphonons.potentials import Potential

Environments = dict[str, np.ndarray]  # species -> (n_atoms, n_features) descriptors


def environments(potential: Potential, frames: list[Atoms]) -> list[Environments]:
    """Return rotation-invariant features of the last layer of the model for each atom of each frame, by species."""
    by_frame = []
    for atoms in tqdm(frames, desc="descriptors", unit="frame", disable=len(frames) < 50):
        features = potential.calculator.get_descriptors(atoms, invariants_only=True)
        by_frame.append({symbol: features[atoms.symbols == symbol] for symbol in set(atoms.symbols)})
    return by_frame


def farthest(pool: list[Environments], labelled: list[Environments], count: int) -> list[int]:
    """Return the indices of `count` frames of `pool`, each the one with the most unlike atom when its turn comes.

    An atom is as unlike as its distance to the nearest atom of its species among `labelled` and
    the frames chosen before (farthest-point sampling). A species that was never seen is infinitely far.
    """
    nearest = [
        {symbol: np.full(len(features), np.inf) for symbol, features in atoms.items()} for atoms in pool
    ]
    seen = defaultdict(list)
    for frame in labelled:
        for symbol, features in frame.items():
            seen[symbol].append(features)

    def compare(symbol: str, features: np.ndarray) -> None:
        for distances, atoms in zip(nearest, pool, strict=True):
            if symbol in atoms:
                apart = cdist(atoms[symbol], features).min(axis=1)
                distances[symbol] = np.minimum(distances[symbol], apart)

    for symbol, features in seen.items():
        compare(symbol, np.concatenate(features))
    chosen: list[int] = []
    while len(chosen) < min(count, len(pool)):
        scores = [max(lengths.max() for lengths in distances.values()) for distances in nearest]
        for index in chosen:
            scores[index] = -1.0
        chosen.append(int(np.argmax(scores)))
        for symbol, features in pool[chosen[-1]].items():
            compare(symbol, features)
    return chosen
