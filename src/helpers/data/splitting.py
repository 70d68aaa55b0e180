"""Split frames by groups: train, validation and test, or a share that is held back."""

import hashlib
from collections import defaultdict

import numpy as np
from ase import Atoms

from helpers.data import dataset

INDEPENDENT = "give frames that were made independently a `seed` of their own in the comment line"
SIDES = ("train", "validation", "test")


def split(frames: list[Atoms], fold: int = 0) -> dict[str, list[Atoms]]:
    """Return train, validation and test frames, whole groups each, every kind on its own.

    A kind's groups are ranked by the SHA-256 of their names, which needs no seed and survives
    reordering. n = max(1, a tenth of the groups): the first n are test (of two groups or more),
    the next n validation (of three or more), the rest train. Each further `fold` validates with
    the n groups after that, in turn; the test stays the same. Groups with isolated atoms train,
    since nobody else knows their energy.
    Raises ValueError if a side is left without frames.
    """
    side = {dataset.group(atoms): "train" for atoms in frames if dataset.isolated(atoms)}
    kinds: dict[str, set[str]] = defaultdict(set)
    for atoms in frames:
        if dataset.group(atoms) not in side:
            kinds[dataset.kind(atoms)].add(dataset.group(atoms))
    for groups in kinds.values():
        ranked = sorted(groups, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
        n = max(1, round(len(ranked) / 10))
        n_test = n if len(ranked) > 1 else 0
        n_validation = n if len(ranked) > 2 else 0
        turned = fold * n % max(1, len(ranked) - n_test)
        others = ranked[n_test + turned :] + ranked[n_test : n_test + turned]
        for rank, name in enumerate(ranked[:n_test] + others):
            side[name] = SIDES[2 if rank < n_test else 1 if rank < n_test + n_validation else 0]
    parts = {name: [atoms for atoms in frames if side[dataset.group(atoms)] == name] for name in SIDES}
    for name, part in parts.items():
        if not part:
            raise ValueError(
                f"no frames are left for {name}: {len(frames)} frames form {len(side)} groups of {len(kinds)} "
                f"kinds. One kind needs three groups: {INDEPENDENT}"
            )
    return parts


def groups_of(parts: dict[str, list[Atoms]]) -> dict[str, set[str]]:
    """Return the names of the groups on each side of a split. Raises ValueError if one is on two sides."""
    groups = {side: {dataset.group(atoms) for atoms in part} for side, part in parts.items()}
    if sum(map(len, groups.values())) > len(set().union(*groups.values())):
        raise ValueError(
            "a group is on two sides of the split, so that errors on the test would be too small: split the frames anew"
        )
    return groups


def counts(parts: dict[str, list[Atoms]]) -> dict[str, dict[str, int]]:
    """Return the numbers of frames, atoms and groups on each side of a split."""
    return {
        side: {"frames": len(parts[side]), "atoms": sum(map(len, parts[side])), "groups": len(groups)}
        for side, groups in groups_of(parts).items()
    }


def with_sister(frames: list[Atoms], n_held: int, seed: int) -> int:
    """Return how many of `n_held` frames that are drawn at random have a frame of their group among the others.

    They are drawn as mace_run_train draws its validation frames.
    """
    names = [dataset.group(atoms) for atoms in frames]
    order = list(range(len(frames)))
    np.random.default_rng(seed).shuffle(order)
    n_kept = len(frames) - n_held
    kept = {names[i] for i in order[:n_kept]}
    return sum(names[i] in kept for i in order[n_kept:])


def held_back(frames: list[Atoms], share: float, rng: np.random.Generator) -> tuple[list[int], list[int]]:
    """Return the numbers of the frames to choose from, and of those to test on: a random `share` of the groups.

    Isolated atoms are not tested on. Raises ValueError if there are too few groups.
    """
    groups = sorted(
        {dataset.group(atoms) for atoms in frames}
        - {dataset.group(atoms) for atoms in frames if dataset.isolated(atoms)}
    )
    test = set(rng.permutation(groups)[: round(share * len(groups))].tolist())
    if not 0 < len(test) < len(groups):
        raise ValueError(
            f"{len(frames)} frames form {len(groups)} groups, too few to hold some out: {INDEPENDENT}"
        )
    side = [dataset.group(atoms) in test for atoms in frames]
    return [i for i, out in enumerate(side) if not out], [i for i, out in enumerate(side) if out]
