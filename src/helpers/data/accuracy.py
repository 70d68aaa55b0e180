"""Energies, forces and stresses of a model beside those of labelled frames; reference energies of atoms."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.calculators.singlepoint import SinglePointCalculator
from tqdm import tqdm

from helpers.data import dataset


def reference_energies(
    frames: list[Atoms], predicted: Sequence[Atoms] = (), known: dict[int, float] | None = None
) -> tuple[dict[int, float], int]:
    """Return E0 in eV by atomic number, and the rank of the composition matrix.

    The E0 of an element with an isolated atom among the frames is that atom's energy (the lowest of
    several); that of another in `known` stays. The others are the least-squares fit of sum_Z n_Z E0_Z to
    what remains of the total energies; with `predicted`, the same frames by a model, to what those lack.
    Of several that fit equally well, the one of least norm.
    They are determined by the data only if the rank equals the number of elements: frames that all
    have one stoichiometry give rank 1 and an arbitrary share of the energy to each element.
    """
    elements = sorted({int(number) for atoms in frames for number in atoms.numbers})
    counts = np.array([[np.sum(atoms.numbers == number) for number in elements] for atoms in frames], float)
    energies = np.array([dataset.energy(atoms) for atoms in frames])
    lowest_last = np.argsort(-energies, kind="stable")
    if predicted:
        energies -= [dataset.energy(atoms) for atoms in predicted]
    lone = {int(frames[i].numbers[0]): float(energies[i]) for i in lowest_last if dataset.isolated(frames[i])}
    known = (known or {}) | lone
    fitted = [column for column, number in enumerate(elements) if number not in known]
    for number, value in known.items():
        energies -= value * counts[:, elements.index(number)]
    solution, _, rank, _ = np.linalg.lstsq(counts[:, fitted], energies, rcond=None)
    E0s = known | {elements[column]: float(value) for column, value in zip(fitted, solution, strict=True)}
    return {number: E0s[number] for number in elements}, int(rank) + len(known)


def predict(frames: list[Atoms], calculator: Calculator) -> list[Atoms]:
    """Return copies of the frames with energy, forces and stress from `calculator`."""
    copies = []
    for atoms in tqdm(frames, desc="frames", unit="frame", leave=False, disable=len(frames) < 50):
        calculator.calculate(atoms)
        results = {name: calculator.results[name] for name in ("energy", "forces", "stress")}
        copy = atoms.copy()
        copy.calc = SinglePointCalculator(copy, **results)
        copies.append(copy)
    return copies


def errors(frames: list[Atoms], predicted: list[Atoms]) -> dict[str, dict[str, float]]:
    """Return RMSE and MAE of `predicted` over `frames`, in total and by kind.

    Of the energy per atom (meV), the force components (meV/A) and the nine components of the
    stress (meV/A^3; frames that have one).
    """
    deviations: dict[str, Any] = defaultdict(lambda: defaultdict(list))
    for atoms, prediction in zip(frames, predicted, strict=True):
        frame_errors = {
            "energy_meV_per_atom": [(dataset.energy(prediction) - dataset.energy(atoms)) / len(atoms)],
            "force_meV_per_A": (prediction.get_forces() - atoms.get_forces()).ravel(),
        }
        if "stress" in atoms.calc.results:
            difference = prediction.get_stress(voigt=False) - atoms.get_stress(voigt=False)
            frame_errors["stress_meV_per_A3"] = difference.ravel()
        for name in ("total", dataset.kind(atoms)):
            for quantity, values in frame_errors.items():
                deviations[name][quantity].extend(1000 * np.asarray(values))
    table: dict[str, dict[str, float]] = {}
    for name in ["total", *sorted(deviations.keys() - {"total"})]:
        quantities = deviations[name]
        table[name] = {"frames": len(quantities["energy_meV_per_atom"])}
        for quantity, values in quantities.items():
            table[name][f"rmse_{quantity}"] = float(np.sqrt(np.mean(np.square(values))))
            table[name][f"mae_{quantity}"] = float(np.mean(np.abs(values)))
    return table


def force_rmse(frames: list[Atoms], predicted: list[Atoms], labels: list[np.ndarray]) -> dict[Any, float]:
    """Return the RMSE of the force components in meV/A by label; `labels` has one for each atom of each frame."""
    squares = defaultdict(list)
    for atoms, prediction, names in zip(frames, predicted, labels, strict=True):
        for name, deviation in zip(names, prediction.get_forces() - atoms.get_forces(), strict=True):
            squares[name].extend(deviation**2)
    return {name: 1000 * float(np.sqrt(np.mean(values))) for name, values in sorted(squares.items())}
