"""Learning curves of the readout: frames labelled batch by batch, chosen by a committee or at random, or labelled by DFT."""

import importlib.util
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import ase.io
import numpy as np
from ase import Atoms

from defectphonons import caching
from defectphonons.potentials import Potential
from helpers import paths
from helpers.data import dataset, dft, splitting
from helpers.models import active

INDEPENDENT = 4  # splits, for each holds back a quarter of the groups


@dataclass(frozen=True)
class Curves:
    """What many splits give for each rule of choosing, "committee" and "random"."""

    labels: np.ndarray  # (n,) labelled frames
    errors: dict[str, np.ndarray]  # (splits, n) force RMSE in meV/A on held-back frames, mean over the draws
    atoms: dict[str, np.ndarray]  # (splits, n) atoms in the labelled frames, mean over the draws
    limits: np.ndarray  # (splits,) force RMSE in meV/A with labels for all that can be chosen
    within_10_percent: dict[str, np.ndarray]  # (splits, draws, 2) labels and atoms to come so close, or inf
    kinds: dict[str, dict[str, float]]  # shares of the kinds of cell in the frames of the first three rounds


def compare(run: Any, frames: list[Atoms], slopes: list[np.ndarray], forces: list[np.ndarray]) -> Curves:
    """Return the learning curves of both rules, over the splits and draws of `run`, which is one of 09.

    `slopes` and `forces` of each frame, as `active.fit` takes them. Raises ValueError if a split has too few frames.
    """
    draws = {"committee": 1, "random": run.draws}
    curves: dict[str, list] = {rule: [] for rule in draws}
    needed: dict[str, list] = {rule: [] for rule in draws}
    first = {rule: Counter() for rule in draws}
    limits = []
    for split in range(run.splits):
        pool, test = splitting.held_back(frames, 0.25, np.random.default_rng([split, 0]))
        rounds = min(run.rounds, (len(pool) - run.start) // run.batch)
        if rounds < 1:
            raise ValueError(
                f"{len(pool)} frames to choose from are too few for start = {run.start} and batch = {run.batch}: "
                "give more frames, or smaller numbers"
            )
        beginning = np.random.default_rng([split, 1]).choice(pool, run.start, replace=False).tolist()
        fitted = active.fit([slopes[i] for i in pool], [forces[i] for i in pool])
        limits.append(active.rmse([slopes[i] for i in test], [forces[i] for i in test], fitted))
        for rule in draws:
            several = []
            for draw in range(draws[rule]):
                choose = chooser(rule, run, slopes, np.random.default_rng([split, 2, draw]))
                labelled = labelled_in_turn(beginning, pool, rounds, choose)
                curve = learning_curve(frames, slopes, forces, labelled, test)
                several.append(curve)
                newly = [i for some in labelled[1:4] for i in some]
                first[rule].update(dataset.kind(frames[i]) for i in newly)
                close = curve[curve[:, 2] < 1.1 * limits[-1], :2]
                needed[rule].append(close[0] if len(close) else np.array([np.inf, np.inf]))
            curves[rule].append(np.mean(several, axis=0))
    shortest = min(len(curve) for curve in curves["random"])
    columns = {rule: np.array([curve[:shortest] for curve in curves[rule]]) for rule in draws}
    kinds = sorted({dataset.kind(atoms) for atoms in frames})
    return Curves(
        labels=columns["random"][0, :, 0],
        errors={rule: values[:, :, 2] for rule, values in columns.items()},
        atoms={rule: values[:, :, 1] for rule, values in columns.items()},
        limits=np.array(limits),
        within_10_percent={
            rule: np.reshape(values, (run.splits, draws[rule], 2)) for rule, values in needed.items()
        },
        kinds={
            rule: {kind: counted[kind] / counted.total() for kind in kinds} for rule, counted in first.items()
        },
    )


def chooser(
    rule: str, run: Any, slopes: list[np.ndarray], rng: np.random.Generator
) -> Callable[[list[int], list[int]], list[int]]:
    """Return the function that chooses, given the numbers of labelled and of other frames, a batch of the others."""
    if rule == "committee":
        return lambda labelled, others: active.choose(slopes, labelled, others, run.batch, run.committee, rng)
    return lambda _, others: rng.choice(others, run.batch, replace=False).tolist()


def labelled_in_turn(
    beginning: list[int],
    pool: list[int],
    rounds: int,
    choose: Callable[[list[int], list[int]], list[int]],
) -> list[list[int]]:
    """Return the numbers of the frames that are labelled at the beginning and in each round."""
    batches = [beginning]
    for _ in range(rounds):
        labelled = [i for batch in batches for i in batch]
        batches.append(choose(labelled, [i for i in pool if i not in labelled]))
    return batches


def learning_curve(
    frames: list[Atoms],
    slopes: list[np.ndarray],
    forces: list[np.ndarray],
    batches: list[list[int]],
    test: list[int],
) -> np.ndarray:
    """Return labelled frames, atoms in them and force RMSE in meV/A on the frames `test`, after each batch: (n, 3)."""
    labelled: list[int] = []
    points = []
    for batch in batches:
        labelled = labelled + batch
        weights = active.fit([slopes[i] for i in labelled], [forces[i] for i in labelled])
        error = active.rmse([slopes[i] for i in test], [forces[i] for i in test], weights)
        points.append((len(labelled), sum(len(frames[i]) for i in labelled), error))
    return np.array(points)


def mean_and_error(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean over splits, the first axis, and its standard error, as of no more than INDEPENDENT of them."""
    independent = min(INDEPENDENT, len(values))
    return values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(independent)


def labels_saved(curves: Curves) -> dict[str, float]:
    """Return how many labels fewer the committee needs than chance to come within 10 %, and the standard error.

    A curve that does not come so close counts with all its labels.
    """
    needed = {
        rule: np.minimum(values[:, :, 0], curves.labels[-1]).mean(axis=1)
        for rule, values in curves.within_10_percent.items()
    }
    mean, error = mean_and_error(needed["random"] - needed["committee"])
    return {"mean": float(mean), "error": float(error)}


def proposals(run: Any) -> list[Atoms]:
    """Read the frames that `run`, which is one of 09, may ask DFT for. Raises RuntimeError if GPAW is not installed."""
    if importlib.util.find_spec("gpaw") is None:
        raise RuntimeError(dft.INSTALL)
    return ase.io.read(paths.data_file(run.proposals), ":")


@dataclass(frozen=True)
class Round:
    """A round of frames that DFT labelled."""

    failures: list[str]  # a line for each frame that DFT did not finish
    labelled: list[Atoms]
    before: float  # force RMSE on them in meV/A, before they were labelled; NaN without any
    after: float


def ask_dft(
    run: Any, potential: Potential, frames: list[Atoms], slopes: list[np.ndarray], proposals: list[Atoms]
) -> Iterator[Round]:
    """Let the committee choose among `proposals` that `frames` lack, and DFT label them, round by round.

    `slopes` of the labelled frames. `run` is one of 09; labels are cached beside its folder.
    """
    present = {caching.geometry_key([atoms]) for atoms in frames}
    keys = {caching.geometry_key([atoms]): atoms for atoms in proposals}
    candidates = {key: atoms for key, atoms in keys.items() if key not in present}
    cells = [*frames, *candidates.values()]
    features = active.slopes(potential, list(candidates.values()), run.folder.parent / "features")
    slopes = slopes + [slope.forces for slope in features]
    numbers = {key: number for number, key in enumerate(candidates, start=len(frames))}
    forces = {i: atoms.get_forces().ravel() for i, atoms in enumerate(frames)}
    others, rng = list(numbers.values()), np.random.default_rng(0)
    weights = active.fit(slopes[: len(frames)], list(forces.values()))
    source, target = run.folder / "asked.xyz", run.folder / "answered.xyz"  # of the last round
    for _ in range(run.rounds):
        chosen = active.choose(slopes, list(forces), others, run.batch, run.committee, rng)
        if not chosen:
            return
        others = [i for i in others if i not in chosen]
        dataset.write(source, [cells[i] for i in chosen])
        failures = dft.label(source, target, dft.Settings(), parts=run.folder.parent / "labels")
        labelled = dataset.read(target) if target.exists() else []
        answers = {numbers.get(caching.geometry_key([atoms])): atoms for atoms in labelled}
        answers = {i: answers[i] for i in chosen if i in answers}
        if not answers:
            yield Round(failures, [], np.nan, np.nan)
            continue
        forces |= {i: atoms.get_forces().ravel() for i, atoms in answers.items()}
        new = [slopes[i] for i in answers], [forces[i] for i in answers]
        before, weights = weights, active.fit([slopes[i] for i in forces], list(forces.values()))
        yield Round(failures, list(answers.values()), active.rmse(*new, before), active.rmse(*new, weights))
