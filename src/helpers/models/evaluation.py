"""How far a model is from DFT, in frames and in what phonons are made of, beside the targets set for the shipped models."""

import dataclasses
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import phonopy
from ase import Atoms
from ase.geometry import get_distances
from phonopy import Phonopy
from scipy.stats import spearmanr

from defectphonons import force_constants, localisation, relaxation, spectra, structures
from defectphonons.potentials import Potential
from defectphonons.spectra import PairedSet
from defectphonons.structures import Defect
from helpers import paths
from helpers.data import accuracy, dataset

FORMULA = "WSe2"  # what data/reference holds
MESH, SMEARING = 8, 0.05  # q points along each side and THz, of the local DOS
# Points at which force constants of a supercell are exact: the cell of data/reference, and q.
SHEET = {
    "Γ": ("pristine_2x2", [0, 0, 0]),
    "M": ("pristine_2x2", [0.5, 0, 0]),
    "K": ("pristine_3x3", [1 / 3, 1 / 3, 0]),
}


@dataclass(frozen=True)
class Target:
    """A quantity that has to stay below `limit`."""

    what: str
    limit: float
    unit: str


# Means and RMSE are of absolute deviations from DFT.
TARGETS = {
    "modes_below": Target("modes of V_Se in 3 × 3 below the gap, mean", 1.0, "cm⁻¹"),
    "modes_above": Target("modes of V_Se in 3 × 3 above the gap, mean", 1.0, "cm⁻¹"),
    "modes_by_weight": Target("modes of V_Se in 3 × 3, mean weighted by motion at the vacancy", 1.0, "cm⁻¹"),
    "modes_largest": Target("modes of V_Se in 3 × 3, largest", 3.0, "cm⁻¹"),
    "unpaired_below": Target("frequencies of V_Se in 3 × 3 below the gap, unpaired, mean", 1.0, "cm⁻¹"),
    "unpaired_above": Target("frequencies of V_Se in 3 × 3 above the gap, unpaired, mean", 1.0, "cm⁻¹"),
    "local_dos": Target("local DOS of V_Se in 3 × 3, redistributed spectral weight", 5.0, "%"),
    "sheet_Γ": Target("modes of the sheet at Γ, mean", 0.3, "cm⁻¹"),
    "sheet_M": Target("modes of the sheet at M, mean", 0.6, "cm⁻¹"),
    "sheet_K": Target("modes of the sheet at K, mean", 1.0, "cm⁻¹"),
    "sheet_largest": Target("modes of the sheet at Γ, M and K, largest", 2.0, "cm⁻¹"),
    "forces_vacancy_4x4": Target("forces, V_Se in 4 × 4, frames of the training set, RMSE", 10.0, "meV/Å"),
    "forces_vacancy_6x6": Target("forces, V_Se in 6 × 6, frames of no training set, RMSE", 15.0, "meV/Å"),
    "energy": Target("energies of test frames, RMSE", 1.0, "meV/atom"),
    "force_changes": Target("force changes under displacements of V_Se in 3 × 3, RMSE", 1.0, "meV/Å"),
    "lattice_constant": Target("lattice constant", 0.1, "%"),
    "C11": Target("elastic constant C11", 2.0, "%"),
    "C12": Target("elastic constant C12", 2.0, "%"),
}  # fmt: skip


def kept() -> Path:
    """Return where forces of cells displaced as for DFT are cached, for every notebook that asks for them."""
    return paths.RESULTS / "against_dft"


def reference(name: str) -> Phonopy:
    """Read data/reference/`name`.yaml.xz, with the force constants as they come from DFT's forces."""
    return phonopy.load(paths.REFERENCE / f"{name}.yaml.xz", symmetrize_fc=False, log_level=0)


def as_dft(name: str, potential: Potential) -> tuple[Phonopy, Phonopy]:
    """Return `reference` of `name` and the phonopy object of the model with the same displacements.

    With the force constants as they come from the forces.
    """
    dft = reference(name)
    step = float(np.linalg.norm(dft.dataset["first_atoms"][0]["displacement"]))
    n = int(dft.supercell_matrix[0, 0])
    cell = force_constants.to_ase(dft.primitive)
    ours = force_constants.by_differences(cell, n, potential, displacement=step, folder=kept())
    if np.shape(ours.displacements) != np.shape(dft.displacements) or not np.allclose(
        ours.displacements, dft.displacements
    ):
        raise RuntimeError(
            f"{name}: this version of phonopy displaces other atoms than were displaced for DFT"
        )
    return dft, ours


def symmetrised(*cells: Phonopy) -> tuple[Phonopy, ...]:
    """Symmetrise the force constants of each of `cells` in place, and return them."""
    for phonon in cells:
        force_constants.symmetrise(phonon)
    return cells


def dft_at_corners() -> dict[str, np.ndarray]:
    """Return DFT's frequencies (9,) in THz of the sheet that it relaxed, at each of SHEET, where its supercells are exact."""
    found = {}
    for label, (name, q_point) in SHEET.items():
        (phonon,) = symmetrised(reference(name))
        phonon.run_qpoints([q_point])
        found[label] = phonon.qpoints.frequencies[0]
    return found


def dft_sheet() -> tuple[dict[str, Any], Atoms]:
    """Read data/reference/monolayer.json, and build the primitive cell that it describes."""
    sheet = json.loads((paths.REFERENCE / "monolayer.json").read_text())
    return sheet, structures.monolayer(FORMULA, sheet["lattice_constant_A"], sheet["thickness_A"])


def dft_vacancy() -> Defect:
    """Return the vacancy of data/reference in its 3 x 3 cell, before relaxation."""
    sheet, primitive = dft_sheet()
    return structures.vacancy(
        structures.supercell(primitive, sheet["vacancy"]["supercell"]), sheet["vacancy"]["defect"]
    )


def null_constants(dft: Phonopy) -> Phonopy:
    """Return what one knows of the vacancy `dft` without a calculation of it.

    The pristine force constants of DFT's 3 x 3 sheet, one Se deleted, the sum rule restored, with
    the forces (-Phi u) that they give for the displacements of `dft`.
    """
    defect = dft_vacancy()
    (full,) = symmetrised(reference("pristine_3x3"))
    cell = full.supercell
    to_site = get_distances(defect.atoms.positions, cell.positions, cell=cell.cell, pbc=True)[1]
    (null,) = symmetrised(force_constants.of_some(full, to_site.argmin(axis=1), defect.atoms))
    constants, null.dataset = null.force_constants, dft.dataset
    null.forces = [
        -constants[:, each["number"]] @ each["displacement"] for each in dft.dataset["first_atoms"]
    ]
    null.force_constants = constants  # which phonopy forgets with new displacements
    return null


@cache
def gap_middle() -> float:
    """Return the middle (THz) of the gap between the bands of DFT's 3 x 3 sheet."""
    (full,) = symmetrised(reference("pristine_3x3"))
    return sum(spectra.gap(spectra.bands(full), below=3)) / 2


def force_changes(dft: Phonopy, other: Phonopy) -> float:
    """Return the RMSE in meV/A of half the difference between the forces after +u and after -u."""
    changes = [(phonon.forces[::2] - phonon.forces[1::2]) / 2 for phonon in (dft, other)]
    return float(1000 * np.sqrt(np.mean((changes[1] - changes[0]) ** 2)))


def optical_sets(dft: Phonopy, other: Phonopy) -> list[PairedSet]:
    """Return `spectra.pair_sets` at Gamma of two cells, both symmetrised, without the acoustic sets."""
    paired = spectra.pair_sets(spectra.gamma_modes(dft), spectra.gamma_modes(other))
    return [each for each in paired if each.frequency_THz > 0.1]


def weight_errors(sets: list[PairedSet], atoms: np.ndarray) -> dict[str, float]:
    """Return how far the weights of paired modes on some atoms lie from DFT's, of the sets that overlap by more than half."""
    certain = [pair for pair in sets if pair.overlap > 0.5]
    deviation = np.array([(pair.partner_motion - pair.motion)[atoms].sum() for pair in certain])
    return {
        "pairs": len(certain),
        "sets": len(sets),
        "weight_rms": float(np.sqrt((deviation**2).mean())),
        "weight_largest": float(abs(deviation).max()),
    }


def by_order(sets: list[PairedSet]) -> list[PairedSet]:
    """Give the sets other partners: by the order of frequencies within each irrep, not by overlap."""
    found = []
    for irrep in {each.irrep for each in sets}:
        members = [each for each in sets if each.irrep == irrep]
        ordered = sorted(members, key=lambda each: each.frequency_THz)
        partners = sorted(each.partner_THz for each in members)
        found += [
            dataclasses.replace(each, partner_THz=partner)
            for each, partner in zip(ordered, partners, strict=True)
        ]
    return found


def mean_error(sets: list[PairedSet], atoms: np.ndarray | None = None) -> float:
    """Return the mean over all modes of |partner - mode| in cm-1; weighted by their motion on `atoms`, if given."""
    errors = [abs(each.partner_THz - each.frequency_THz) * spectra.PER_CM for each in sets]
    weights = [each.degeneracy * (1 if atoms is None else each.motion[atoms].sum()) for each in sets]
    return float(np.average(errors, weights=weights))


def local_dos(*cells: Phonopy) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return a grid (n_grid,) in THz, and of each 3 x 3 cell the local DOS (n_grid,) at the vacancy in states per THz."""
    groups = {"local": dft_vacancy().local}
    sampled = [spectra.on_mesh(phonon, MESH, groups) for phonon in cells]
    grid = spectra.frequency_grid(*sampled, smearing=SMEARING)
    return grid, [spectra.density_of_states(each, grid, SMEARING, "local") for each in sampled]


def vacancy_errors(dft: Phonopy, other: Phonopy) -> dict[str, float]:
    """Return what TARGETS limit of the vacancy in 3 x 3, of two cells, both symmetrised.

    And how many sets of modes there are, and how many have no certain partner (overlap of one half or less).
    """
    sets = optical_sets(dft, other)
    grid, densities = local_dos(dft, other)
    found = {}
    for name, paired in (("modes", sets), ("unpaired", by_order(sets))):
        found[f"{name}_below"] = mean_error([each for each in paired if each.frequency_THz < gap_middle()])
        found[f"{name}_above"] = mean_error([each for each in paired if each.frequency_THz > gap_middle()])
    return found | {
        "modes_by_weight": mean_error(sets, dft_vacancy().local),
        "modes_largest": max(mean_error([each]) for each in sets),
        "local_dos": 100 * localisation.redistributed(*densities, grid),
        "sets": len(sets),
        "without_partner": sum(each.overlap <= 0.5 for each in sets),
    }


def sheet_pairs(dft: Phonopy, other: Phonopy, label: str) -> np.ndarray:
    """Return `spectra.pair` at a point of SHEET, for cells of the sheet, both symmetrised.

    At Gamma without the three acoustic modes, which are any mixture of three.
    """
    return spectra.pair(dft, other, SHEET[label][1])[3 * (label == "Γ") :]


def sheet_errors(potential: Potential) -> dict[str, float]:
    """Return what TARGETS limit of the modes of the sheet, in DFT's own cells."""
    errors = {}
    for label, (name, _) in SHEET.items():
        pairs = sheet_pairs(*symmetrised(*as_dft(name, potential)), label)
        errors[label] = abs(pairs[:, 1] - pairs[:, 0]) * spectra.PER_CM
    largest = float(max(values.max() for values in errors.values()))
    return {f"sheet_{label}": float(values.mean()) for label, values in errors.items()} | {
        "sheet_largest": largest
    }


def calibration(
    potential: Potential, members: list[Potential], frames: dict[str, list[Atoms]]
) -> dict[str, tuple[str, np.ndarray, np.ndarray]]:
    """Return unit, standard deviation over the members (n,) and error of the model (n,), by the name of a quantity.

    Of the forces of `frames` by name, of the changes of forces and of the modes of the vacancy in 3 x 3.
    """
    found = {}
    for name, some in frames.items():
        truth, *values = (
            np.concatenate([atoms.get_forces().ravel() for atoms in each])
            for each in (some, *(accuracy.predict(some, model.calculator) for model in (potential, *members)))
        )
        found[f"forces of {name}"] = (
            "meV/Å",
            1000 * np.std(values[1:], axis=0, ddof=1),
            1000 * (values[0] - truth),
        )
    dft, *cells = (
        reference("vacancy_3x3"),
        *(as_dft("vacancy_3x3", model)[1] for model in (potential, *members)),
    )
    truth, *values = ((phonon.forces[::2] - phonon.forces[1::2]).ravel() / 2 for phonon in (dft, *cells))
    spread = np.std(values[1:], axis=0, ddof=1)
    found["changes of forces"] = "meV/Å", 1000 * spread, 1000 * (values[0] - truth)
    symmetrised(dft, *cells)
    sets = [optical_sets(dft, phonon) for phonon in cells]
    truth = np.array([each.frequency_THz for each in sets[0]]) * spectra.PER_CM
    values = np.array([[each.partner_THz for each in some] for some in sets]) * spectra.PER_CM
    found["modes of V_Se in 3 × 3"] = "cm⁻¹", values[1:].std(axis=0, ddof=1), values[0] - truth
    return found


def coverage(spread: np.ndarray, error: np.ndarray) -> dict[str, float]:
    """Return how well a spread (n,) describes errors (n,), where it is not zero by symmetry.

    Root mean squares of both, their ratio, the rank correlation, and the shares of errors within one and two spreads.
    """
    there = spread > 1e-3 * np.sqrt(np.mean(spread**2))
    spread, error = spread[there], abs(error[there])
    sizes = [float(np.sqrt(np.mean(each**2))) for each in (error, spread)]
    return {
        "error": sizes[0],
        "spread": sizes[1],
        "error_over_spread": sizes[0] / sizes[1],
        "rank_correlation": float(spearmanr(spread, error).statistic),
        "within_one": float(np.mean(error < spread)),
        "within_two": float(np.mean(error < 2 * spread)),
    }


def gamma_in_dft_geometry(potential: Potential) -> dict[str, float]:
    """Return frequencies in cm-1 by irrep of the sheet at Gamma, in the geometry and by the displacements of our DFT."""
    known = json.loads((paths.DATA / "literature.json").read_text())[FORMULA]["gamma_geometry"]
    cell = structures.monolayer(FORMULA, known["lattice_constant"], known["thickness"])
    how = {"displacement": known["displacement"], "folder": kept()}
    modes = spectra.gamma_modes(force_constants.by_differences(cell, 1, potential, **how))
    found = {
        irrep: float(modes.frequencies[members].mean() * spectra.PER_CM)
        for members, irrep in zip(modes.sets, modes.irreps, strict=True)
        if modes.frequencies[members].mean() > 0.5
    }
    if sorted(found) != ["A1'", "A2''", "E'", "E''"]:
        raise RuntimeError(
            f"the modes at Gamma are not those of D3h, but {', '.join(found)}: look at the model"
        )
    return found


def force_error(frames: list[Atoms], potential: Potential) -> float:
    """Return the RMSE in meV/A of the force components in labelled `frames`."""
    predicted = accuracy.predict(frames, potential.calculator)
    return accuracy.errors(frames, predicted)["total"]["rmse_force_meV_per_A"]


def elastic_errors(potential: Potential) -> dict[str, float]:
    """Return the deviations in % from DFT of the relaxed sheet: lattice constant, C11, C12.

    Raises RuntimeError if the sheet does not relax.
    """
    sheet, start = dft_sheet()
    relaxed = relaxation.relax(start, potential, hold_symmetry=True, relax_cell=True)
    C11, C12 = relaxation.elastic_constants(relaxed, potential)
    ratios = {
        "lattice_constant": relaxed.cell.lengths()[0] / sheet["lattice_constant_A"],
        "C11": C11 / sheet["C11_N_per_m"],
        "C12": C12 / sheet["C12_N_per_m"],
    }
    return {name: float(100 * abs(ratio - 1)) for name, ratio in ratios.items()}


def against_targets(
    potential: Potential, train: list[Atoms], test: list[Atoms], predicted: list[Atoms]
) -> dict[str, float]:
    """Return what TARGETS limit, of a model of WSe2 that never saw the `test` frames, `predicted` by it.

    V_Se in 4 x 4 only if there is any among the frames `train`; the others against data/reference.
    Raises RuntimeError for a model too poor to relax the sheet.
    """
    found = elastic_errors(potential)  # first: a poor model fails here
    dft, ours = symmetrised(*as_dft("vacancy_3x3", potential))
    found |= vacancy_errors(dft, ours) | sheet_errors(potential)
    found["force_changes"] = force_changes(dft, ours)
    found["energy"] = accuracy.errors(test, predicted)["total"]["rmse_energy_meV_per_atom"]
    if large := [atoms for atoms in train if dataset.kind(atoms) == "vacancy_4x4"]:
        found["forces_vacancy_4x4"] = force_error(large, potential)
    found["forces_vacancy_6x6"] = force_error(dataset.read(paths.REFERENCE / "vacancy_6x6.xyz"), potential)
    return {name: found[name] for name in TARGETS if name in found}


def null_model() -> dict[str, float]:
    """Return what TARGETS limit, of `null_constants` of the vacancy, where they say something of it."""
    (dft,) = symmetrised(reference("vacancy_3x3"))
    null = null_constants(dft)
    found = vacancy_errors(dft, null) | {"force_changes": force_changes(dft, null)}
    return {name: found[name] for name in TARGETS if name in found}


def rounded(value: float | None) -> str:
    """Write a number with two significant digits, which other machines reproduce; a dash for None."""
    return "–" if value is None else f"{float(f'{value:.2g}'):g}"


def beside_targets(measured: dict[str, float], null: dict[str, float]) -> list[dict[str, str]]:
    """Return a row for each target of `measured`: what a model and the null model reach, and whether it is met."""
    return [
        {
            "quantity": TARGETS[name].what,
            "this model": rounded(value),
            "null model": rounded(null.get(name)),
            "target": f"{TARGETS[name].limit:g}",
            "unit": TARGETS[name].unit,
            "met": "yes" if value <= TARGETS[name].limit else "no",
        }
        for name, value in measured.items()
    ]
