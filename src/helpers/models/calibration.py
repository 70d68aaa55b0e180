"""How well the spread of a committee describes the errors of a model, where DFT is known."""

import numpy as np
from ase import Atoms
from scipy.stats import spearmanr, t

from defectphonons.potentials import Potential
from defectphonons.spectra import PER_CM
from helpers.data import accuracy
from helpers.models import evaluation

Panel = tuple[
    str, np.ndarray, np.ndarray
]  # unit, standard deviation over the members (n,), error of the model (n,)


def against_dft(
    potential: Potential, members: list[Potential], frames: dict[str, list[Atoms]]
) -> dict[str, Panel]:
    """Return unit, standard deviation over the members (n,) and error of the model (n,), by the name of a quantity.

    Of the forces of `frames` by name, of the changes of forces and of the modes of the vacancy in 3 x 3.
    """
    models = [potential, *members]
    panels = {}
    for name, labelled in frames.items():
        truth = all_forces(labelled)
        values = [all_forces(accuracy.predict(labelled, model.calculator)) for model in models]
        panels[f"forces of {name}"] = "meV/Å", *compared(1000 * truth, 1000 * np.array(values))
    dft = evaluation.reference("vacancy_3x3")
    cells = [evaluation.as_dft("vacancy_3x3", model)[1] for model in models]
    values = np.array([evaluation.changes_of_forces(phonon) for phonon in cells])
    panels["changes of forces"] = "meV/Å", *compared(1000 * evaluation.changes_of_forces(dft), 1000 * values)
    evaluation.symmetrised(dft, *cells)
    sets = [evaluation.optical_sets(dft, phonon) for phonon in cells]
    truth = np.array([pair.frequency_THz for pair in sets[0]]) * PER_CM
    values = np.array([[pair.partner_THz for pair in pairs] for pairs in sets]) * PER_CM
    panels["modes of V_Se in 3 × 3"] = "cm⁻¹", *compared(truth, values)
    return panels


def compared(truth: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the standard deviation over the members and the error of the model, which is the first of `values`."""
    return values[1:].std(axis=0, ddof=1), values[0] - truth


def all_forces(frames: list[Atoms]) -> np.ndarray:
    return np.concatenate([atoms.get_forces().ravel() for atoms in frames])


def coverage(spread: np.ndarray, error: np.ndarray) -> dict[str, float]:
    """Return how well a spread (n,) describes errors (n,), where it is not zero by symmetry.

    Root mean squares of both, their ratio, the rank correlation, and the shares of errors within one and two spreads.
    """
    scattered = spread > 1e-3 * np.sqrt(np.mean(spread**2))
    spread, error = spread[scattered], abs(error[scattered])
    sizes = [float(np.sqrt(np.mean(values**2))) for values in (error, spread)]
    return {
        "error": sizes[0],
        "spread": sizes[1],
        "error_over_spread": sizes[0] / sizes[1],
        "rank_correlation": float(spearmanr(spread, error).statistic),
        "within_one": float(np.mean(error < spread)),
        "within_two": float(np.mean(error < 2 * spread)),
    }


def of_gaussian_errors(members: int) -> list[float]:
    """Return the shares of Gaussian errors within one and two spreads of so few members."""
    return [float(2 * t.cdf(k, members - 1) - 1) for k in (1, 2)]
