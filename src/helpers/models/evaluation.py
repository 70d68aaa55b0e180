"""How far a model is from DFT, in frames and in what phonons are made of, beside the targets set for the shipped models."""

import dataclasses
import json
import time
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import phonopy
from ase import Atoms
from ase.geometry import get_distances
from ase.io import read
from phonopy import Phonopy

from defectphonons import force_constants, localisation, potentials, relaxation, spectra, structures
from defectphonons.embedding import TO_THZ2
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


def force_rmse_by_distance(
    frames: list[Atoms], predicted: list[Atoms], width: float
) -> dict[str, dict[float, float]]:
    """Return the RMSE in meV/A of force components by kind, in shells of `width` A round the empty site.

    By the inner radius of the shell; kinds without a vacancy, or with an atom in its place, are left out.
    """
    _, primitive = dft_sheet()
    distances = [structures.distances_from_vacancy(atoms, primitive) for atoms in frames]
    pairs = zip(frames, distances, strict=True)
    by_kind = {}
    for kind in sorted({dataset.kind(atoms) for atoms, each in pairs if np.isfinite(each).all()}):
        chosen = [i for i, atoms in enumerate(frames) if dataset.kind(atoms) == kind]
        radii = [width * (distances[i] // width) for i in chosen]
        by_kind[kind] = accuracy.force_rmse(
            [frames[i] for i in chosen], [predicted[i] for i in chosen], radii
        )
    return by_kind


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
    frequencies = {}
    for label, (name, q_point) in SHEET.items():
        (phonon,) = symmetrised(reference(name))
        phonon.run_qpoints([q_point])
        frequencies[label] = phonon.qpoints.frequencies[0]
    return frequencies


def dft_sheet() -> tuple[dict[str, Any], Atoms]:
    """Read data/reference/monolayer.json, and build the primitive cell that it describes."""
    sheet = json.loads((paths.REFERENCE / "monolayer.json").read_text())
    return sheet, structures.monolayer(FORMULA, sheet["lattice_constant_A"], sheet["thickness_A"])


def dft_vacancy() -> Defect:
    """Return the vacancy of data/reference in its 3 x 3 cell, before relaxation."""
    sheet, primitive = dft_sheet()
    return Defect.of(
        structures.supercell(primitive, sheet["vacancy"]["supercell"]), sheet["vacancy"]["defect"]
    )


def relaxed_by_dft(formula: str, defects: list[str]) -> dict[str, Atoms]:
    """Return the 3 x 3 cells, as DFT has relaxed them, of those of `defects` of which data/ has one."""
    if formula != FORMULA:
        return {}
    relaxed = {
        dataset.kind(atoms).removesuffix("_3x3"): atoms
        for atoms in dataset.read(paths.DATA / "wse2.xyz")
        if dataset.kind(atoms).endswith("_3x3") and abs(atoms.get_forces()).max() < 0.01
    }
    relaxed[dft_vacancy().name] = read(paths.REFERENCE / "vacancy_3x3.xyz")
    return {name: relaxed[name] for name in defects if name in relaxed}


def formation_energies(relaxed: Atoms) -> dict[str, float]:
    """Return the formation energy in eV of a defect in a cell that DFT has relaxed, at the ends "Se-rich" and "Se-poor".

    E(defect) - E(sheet) + the chemical potentials of the atoms that it lacks - those of the atoms that it has more. Se is that of the
    bulk or W is; the other follows from the energy of the sheet. O is that of the molecule. NaN for an element of which
    data/reference has no energy.
    """
    elements = json.loads((paths.REFERENCE / "elements.json").read_text())
    sheet = min(read(paths.REFERENCE / "monolayer.xyz", ":"), key=lambda atoms: atoms.get_potential_energy())
    energy = sheet.get_potential_energy()
    cells = round(relaxed.get_volume() / sheet.get_volume())
    perfect, there = (Counter(atoms.symbols) for atoms in (sheet, relaxed))
    lacking = {symbol: cells * perfect[symbol] - there[symbol] for symbol in perfect | there}
    bulk = {symbol: elements.get(symbol, {}).get("energy_eV", np.nan) for symbol in lacking}
    ends = {"Se-rich": {"W": energy - 2 * bulk["Se"]}, "Se-poor": {"Se": (energy - bulk["W"]) / 2}}
    excess = relaxed.get_potential_energy() - cells * energy
    return {
        end: float(excess + sum(count * (bulk | fixed)[symbol] for symbol, count in lacking.items() if count))
        for end, fixed in ends.items()
    }


def constants_in_cell(run: Any, defect: str, atoms: Atoms, potential: Potential) -> dict[str, np.ndarray]:
    """Return the force constants (N, N, 3, 3) in eV/A^2 of a cell that DFT has relaxed, by the model and, where they are there, by DFT.

    The model's are those at its own minimum, which keeps the symmetry and the lattice of `atoms`. `run` is one of 12.
    """
    relaxed = relaxation.relax(atoms, potential, hold_symmetry=True, folder=run.folder / "relaxed")
    ours = force_constants.analytic(relaxed, 1, potential, dtype=run.dtype, folder=run.folder)
    constants = {run.model_name: ours.force_constants}
    if run.formula == FORMULA and defect == dft_vacancy().name:
        (dft,) = symmetrised(reference("vacancy_3x3"))
        if len(dft.supercell) == len(atoms):
            constants["DFT"] = dft.force_constants
    return constants


def along_displacement(first: Atoms, second: Atoms, potential: Potential | None = None) -> float:
    """Return the frequency in THz of motion along the displacement between two frames, by a model or, without one, by their labels.

    w^2 = -u dF / (u M u), the Rayleigh quotient, with the differences u of the positions and dF of the forces.
    """
    forces = [
        potentials.evaluate(potential, atoms)["forces"] if potential else atoms.get_forces()
        for atoms in (first, second)
    ]
    moved, pulled = first.positions - second.positions, forces[0] - forces[1]
    stiffness = -(moved * pulled).sum() / (first.get_masses()[:, None] * moved**2).sum()
    return float(np.sqrt(stiffness * TO_THZ2))


def displaced_along_modes(formula: str, defects: list[str]) -> dict[tuple[str, str], list[Atoms]]:
    """Return the two frames by DFT, displaced either way along a mode of a 3 x 3 cell, of each mode of `defects` of which data/ has them."""
    frames: dict[tuple[str, str], list[Atoms]] = {}
    for atoms in read(paths.REFERENCE / "along_modes_3x3.xyz", ":") if formula == FORMULA else []:
        if atoms.info["defect"] in defects:
            frames.setdefault((atoms.info["defect"], atoms.info["mode"]), []).append(atoms)
    return frames


def relaxed_vacancy(potential: Potential) -> tuple[Atoms, Atoms]:
    """Return the vacancy of `dft_vacancy` as DFT relaxed it, and as a model does with the symmetry held."""
    sheet, _ = dft_sheet()
    ours = relaxation.relax(dft_vacancy().atoms, potential, hold_symmetry=True)
    return read(paths.REFERENCE / sheet["vacancy"]["file"]), ours


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
        -constants[:, displaced["number"]] @ displaced["displacement"]
        for displaced in dft.dataset["first_atoms"]
    ]
    null.force_constants = constants  # which phonopy forgets with new displacements
    return null


@cache
def gap_middle() -> float:
    """Return the middle (THz) of the gap between the bands of DFT's 3 x 3 sheet."""
    (full,) = symmetrised(reference("pristine_3x3"))
    return sum(spectra.gap(spectra.bands(full), below=3)) / 2


def changes_of_forces(phonon: Phonopy) -> np.ndarray:
    """Return half the difference between the forces after +u and after -u, (n,) in eV/A."""
    return (phonon.forces[::2] - phonon.forces[1::2]).ravel() / 2


def force_changes(dft: Phonopy, other: Phonopy) -> float:
    """Return the RMSE in meV/A of the `changes_of_forces` of another method than DFT."""
    return float(1000 * np.sqrt(np.mean((changes_of_forces(other) - changes_of_forces(dft)) ** 2)))


def optical_sets(dft: Phonopy, other: Phonopy) -> list[PairedSet]:
    """Return `spectra.pair_sets` at Gamma of two cells, both symmetrised, without the acoustic sets."""
    paired = spectra.pair_sets(spectra.gamma_modes(dft), spectra.gamma_modes(other))
    return [pair for pair in paired if pair.frequency_THz > 0.1]


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
    reordered = []
    for irrep in {pair.irrep for pair in sets}:
        members = [pair for pair in sets if pair.irrep == irrep]
        ordered = sorted(members, key=lambda pair: pair.frequency_THz)
        partners = sorted(pair.partner_THz for pair in members)
        reordered += [
            dataclasses.replace(pair, partner_THz=partner)
            for pair, partner in zip(ordered, partners, strict=True)
        ]
    return reordered


def mean_error(sets: list[PairedSet], atoms: np.ndarray | None = None) -> float:
    """Return the mean over all modes of |partner - mode| in cm-1; weighted by their motion on `atoms`, if given."""
    errors = [abs(pair.partner_THz - pair.frequency_THz) * spectra.PER_CM for pair in sets]
    weights = [pair.degeneracy * (1 if atoms is None else pair.motion[atoms].sum()) for pair in sets]
    return float(np.average(errors, weights=weights))


def local_dos(*cells: Phonopy) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return a grid (n_grid,) in THz, and of each 3 x 3 cell the local DOS (n_grid,) at the vacancy in states per THz."""
    groups = {"local": dft_vacancy().local}
    sampled = [spectra.on_mesh(phonon, MESH, groups) for phonon in cells]
    grid = spectra.frequency_grid(*sampled, smearing=SMEARING)
    return grid, [spectra.density_of_states(spectrum, grid, SMEARING, "local") for spectrum in sampled]


def vacancy_errors(dft: Phonopy, other: Phonopy) -> dict[str, float]:
    """Return what TARGETS limit of the vacancy in 3 x 3, of two cells, both symmetrised.

    And how many sets of modes there are, and how many have no certain partner (overlap of one half or less).
    """
    sets = optical_sets(dft, other)
    grid, densities = local_dos(dft, other)
    errors = {}
    for name, paired in (("modes", sets), ("unpaired", by_order(sets))):
        errors[f"{name}_below"] = mean_error([pair for pair in paired if pair.frequency_THz < gap_middle()])
        errors[f"{name}_above"] = mean_error([pair for pair in paired if pair.frequency_THz > gap_middle()])
    return errors | {
        "modes_by_weight": mean_error(sets, dft_vacancy().local),
        "modes_largest": max(mean_error([pair]) for pair in sets),
        "local_dos": 100 * localisation.redistributed(*densities, grid),
        "sets": len(sets),
        "without_partner": sum(pair.overlap <= 0.5 for pair in sets),
    }


def sheet_pairs(dft: Phonopy, other: Phonopy, label: str) -> np.ndarray:
    """Return `spectra.pair` at a point of SHEET, for cells of the sheet, both symmetrised.

    At Gamma without the three acoustic modes, which are any mixture of three.
    """
    return spectra.pair(dft, other, SHEET[label][1])[3 * (label == "Γ") :]


def sheet_cells(potential: Potential) -> dict[str, tuple[Phonopy, ...]]:
    """Return `as_dft` of the sheet, symmetrised, at each of SHEET, where the cells are exact."""
    return {label: symmetrised(*as_dft(name, potential)) for label, (name, _) in SHEET.items()}


def sheet_errors(potential: Potential) -> dict[str, float]:
    """Return what TARGETS limit of the modes of the sheet, in DFT's own cells."""
    errors = {}
    for label, cells in sheet_cells(potential).items():
        pairs = sheet_pairs(*cells, label)
        errors[label] = abs(pairs[:, 1] - pairs[:, 0]) * spectra.PER_CM
    largest = float(max(values.max() for values in errors.values()))
    return {f"sheet_{label}": float(values.mean()) for label, values in errors.items()} | {
        "sheet_largest": largest
    }


def missed_at_M(two: Phonopy, three: Phonopy) -> np.ndarray:
    """Return how far (9,) in cm-1 modes at M of a 3 x 3 cell are above those of a 2 x 2 cell, which is exact there."""
    pairs = spectra.pair(two, three, SHEET["M"][1])
    return (pairs[:, 1] - pairs[:, 0]) * spectra.PER_CM


def optical_by_irrep(phonon: Phonopy) -> dict[str, float]:
    """Return the frequencies in cm-1 of the optical modes of the sheet at Gamma, by irrep.

    Of a sheet whose symmetry a strain has lowered, 'A1 (2)' is the second of that irrep. Raises RuntimeError if the modes of a sheet
    with the symmetry D3h are not those of D3h.
    """
    modes = spectra.gamma_modes(phonon)
    optical: dict[str, float] = {}
    for members, irrep in zip(modes.sets, modes.irreps, strict=True):
        frequency = float(modes.frequencies[members].mean())
        if frequency > 0.5:
            number = 1 + sum(name.split()[0] == irrep for name in optical)
            optical[irrep if number == 1 else f"{irrep} ({number})"] = frequency * spectra.PER_CM
    if phonon.symmetry.pointgroup_symbol == "-6m2" and sorted(optical) != ["A1'", "A2''", "E'", "E''"]:
        raise RuntimeError(
            f"the modes at Gamma are not those of D3h, but {', '.join(optical)}: look at the model"
        )
    return optical


def gamma_in_dft_geometry(potential: Potential) -> dict[str, float]:
    """Return `optical_by_irrep` of a model, in the geometry and by the displacements of our DFT."""
    geometry = json.loads((paths.DATA / "literature.json").read_text())[FORMULA]["gamma_geometry"]
    cell = structures.monolayer(FORMULA, geometry["lattice_constant"], geometry["thickness"])
    how = {"displacement": geometry["displacement"], "folder": kept()}
    return optical_by_irrep(force_constants.by_differences(cell, 1, potential, **how))


def with_dispersion(potential: Potential, folder: Path) -> dict[str, tuple[float, np.ndarray]]:
    """Return the lattice constant in A and the optical modes (4,) in cm-1 of the sheet, without D3(BJ) and with it.

    With all of it, and with its part beyond twice the cutoff of the model. In a cell 40 A high, for D3 reaches from a
    sheet to its images. Forces are cached in `folder`.
    """
    _, start = dft_sheet()
    start.cell[2, 2] = 40.0
    corrected = {
        "without": potential,
        "all": potentials.with_dispersion(potential),
        "beyond_two_cutoffs": potentials.with_dispersion(potential, beyond=2 * potential.r_max),
    }
    relaxed = {}
    for name, model in corrected.items():
        cell = relaxation.relax(start, model, hold_symmetry=True, relax_cell=True)
        phonon = force_constants.by_differences(
            cell, 1, model, displacement=0.01, folder=folder / f"d3_{name}"
        )
        modes = optical_by_irrep(phonon)
        relaxed[name] = float(cell.cell.lengths()[0]), np.array([modes[irrep] for irrep in sorted(modes)])
    return relaxed


def seconds(potential: Potential) -> dict[str, float]:
    """Return how long one energy with forces of a 3 x 3 cell takes DFT and the model (median of five), and the ratio.

    DFT from the second displacement on, which starts from the density of the one before.
    """
    sheet, primitive = dft_sheet()
    cell = structures.supercell(primitive, 3)
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        potentials.evaluate(potential, cell)
        times.append(time.perf_counter() - begin)
    dft, ours = float(np.median(sheet["seconds"]["3x3"][1:])), float(np.median(times))
    return {"DFT": dft, "MACE": ours, "ratio": dft / ours}


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
    measured = elastic_errors(potential)  # first: a poor model fails here
    dft, ours = symmetrised(*as_dft("vacancy_3x3", potential))
    measured |= vacancy_errors(dft, ours) | sheet_errors(potential)
    measured["force_changes"] = force_changes(dft, ours)
    measured["energy"] = accuracy.errors(test, predicted)["total"]["rmse_energy_meV_per_atom"]
    if large := [atoms for atoms in train if dataset.kind(atoms) == "vacancy_4x4"]:
        measured["forces_vacancy_4x4"] = force_error(large, potential)
    measured["forces_vacancy_6x6"] = force_error(dataset.read(paths.REFERENCE / "vacancy_6x6.xyz"), potential)
    return {name: measured[name] for name in TARGETS if name in measured}


def null_model() -> dict[str, float]:
    """Return what TARGETS limit, of `null_constants` of the vacancy, where they say something of it."""
    (dft,) = symmetrised(reference("vacancy_3x3"))
    null = null_constants(dft)
    measured = vacancy_errors(dft, null) | {"force_changes": force_changes(dft, null)}
    return {name: measured[name] for name in TARGETS if name in measured}


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
