"""How far a model is from DFT, in frames and in what phonons are made of, beside the targets set for the shipped models."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import phonopy
from ase import Atoms
from phonopy import Phonopy

from helpers import dataset, force_constants, paths, phonons, relaxation, structures
from helpers.potential import Potential

FORMULA = "WSe2"  # what data/reference holds


@dataclass(frozen=True)
class Target:
    """A quantity that has to stay below `limit`."""

    what: str
    limit: float
    unit: str


TARGETS = {
    "energy": Target("energy, test frames, RMSE", 1.0, "meV/atom"),
    "forces": Target("forces, test frames, RMSE", 20.0, "meV/Å"),
    "forces_vacancy_3x3": Target("forces, 3 × 3 vacancies of the test rattled by up to 0.06 Å, RMSE", 12.0, "meV/Å"),
    "forces_vacancy_6x6": Target("forces, a 6 × 6 vacancy rattled by 0.03 Å, RMSE", 20.0, "meV/Å"),
    "force_changes": Target("changes of forces when an atom of the 3 × 3 vacancy moves, RMSE", 3.0, "meV/Å"),
    "stress": Target("in-plane stress, test frames, RMSE", 0.5, "meV/Å³"),
    "gamma": Target("modes of the sheet at Γ in DFT's cell, largest deviation", 1.0, "cm⁻¹"),
    "vacancy_modes": Target("modes of the 3 × 3 vacancy, mean absolute deviation", 0.05, "THz"),
    "lattice_constant": Target("lattice constant, deviation", 0.1, "%"),
}  # fmt: skip


def kept() -> Path:
    """Where forces of cells displaced as for DFT are kept, for every notebook that asks for them."""
    return paths.RESULTS / "against_dft"


def as_dft(name: str, potential: Potential) -> tuple[Phonopy, Phonopy]:
    """Phonopy objects of data/reference/`name`.yaml.xz and of the model, of the same displacements.

    With the force constants as they come from the forces.
    """
    dft = phonopy.load(paths.REFERENCE / f"{name}.yaml.xz", symmetrize_fc=False, log_level=0)
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


def force_changes(dft: Phonopy, ours: Phonopy) -> float:
    """RMSE in meV/A of half the difference between the forces after +u and after -u."""
    changes = [(phonon.forces[::2] - phonon.forces[1::2]) / 2 for phonon in (dft, ours)]
    return float(1000 * np.sqrt(np.mean((changes[1] - changes[0]) ** 2)))


def optical_sets(dft: Phonopy, other: Phonopy) -> list[phonons.PairedSet]:
    """`phonons.pair_sets` at Gamma of two cells, both symmetrised, without the acoustic sets."""
    paired = phonons.pair_sets(phonons.gamma_modes(dft), phonons.gamma_modes(other))
    return [each for each in paired if each.frequency_THz > 0.1]


def mean_deviation(sets: list[phonons.PairedSet]) -> float:
    """Mean over all modes of |partner - mode| in THz, for frequencies and partners of `optical_sets`."""
    deviations = [abs(each.partner_THz - each.frequency_THz) for each in sets]
    return float(np.average(deviations, weights=[each.degeneracy for each in sets]))


def gamma_in_dft_geometry(potential: Potential) -> dict[str, float]:
    """Frequencies in cm-1 by irrep of the sheet at Gamma, in the geometry and by the displacements of our DFT."""
    known = json.loads((paths.DATA / "literature.json").read_text())[FORMULA]["gamma_geometry"]
    cell = structures.monolayer(FORMULA, known["lattice_constant"], known["thickness"])
    how = {"displacement": known["displacement"], "folder": kept()}
    modes = phonons.gamma_modes(force_constants.by_differences(cell, 1, potential, **how))
    found = {
        irrep: float(modes.frequencies[members].mean() * phonons.PER_CM)
        for members, irrep in zip(modes.sets, modes.irreps, strict=True)
        if modes.frequencies[members].mean() > 0.5
    }
    if sorted(found) != ["A1'", "A2''", "E'", "E''"]:
        raise RuntimeError(
            f"the modes at Gamma are not those of D3h, but {', '.join(found)}: look at the model"
        )
    return found


def against_targets(potential: Potential, test: list[Atoms], predicted: list[Atoms]) -> dict[str, float]:
    """What TARGETS limit, of a model of WSe2 that never saw the `test` frames, `predicted` by it.

    Stress and 3 x 3 vacancies only if the frames have any; phonons and lattice constant against data/reference.
    """
    total = dataset.errors(test, predicted)["total"]
    pairs = list(zip(test, predicted, strict=True))
    stress = [
        (ours.get_stress() - atoms.get_stress())[[0, 1, 5]]
        for atoms, ours in pairs
        if "stress" in atoms.calc.results
    ]
    near = [
        each
        for each in pairs
        if dataset.kind(each[0]) == "vacancy_3x3" and each[0].info.get("rattle", 1) <= 0.06
    ]
    large = dataset.read(paths.REFERENCE / "vacancy_6x6.xyz")
    dft, ours = as_dft("vacancy_3x3", potential)
    changes = force_changes(dft, ours)
    for phonon in (dft, ours):
        force_constants.symmetrise(phonon)
    known = json.loads((paths.DATA / "literature.json").read_text())[FORMULA]["gamma_per_cm"]
    gamma = gamma_in_dft_geometry(potential)
    sheet = json.loads((paths.REFERENCE / "monolayer.json").read_text())
    start = structures.monolayer(FORMULA, sheet["lattice_constant_A"], sheet["thickness_A"])
    relaxed = relaxation.relax(start, potential, hold_symmetry=True, relax_cell=True)
    found = {
        "energy": total["rmse_energy_meV_per_atom"],
        "forces": total["rmse_force_meV_per_A"],
        "forces_vacancy_6x6": dataset.errors(large, dataset.predict(large, potential.calculator))["total"][
            "rmse_force_meV_per_A"
        ],
        "force_changes": changes,
        "gamma": max(abs(value - known[irrep]["dft"]) for irrep, value in gamma.items()),
        "vacancy_modes": mean_deviation(optical_sets(dft, ours)),
        "lattice_constant": float(100 * abs(relaxed.cell.lengths()[0] / sheet["lattice_constant_A"] - 1)),
    }
    if stress:
        found["stress"] = float(1000 * np.sqrt(np.mean(np.square(stress))))
    if near:
        found["forces_vacancy_3x3"] = dataset.errors(*map(list, zip(*near, strict=True)))["total"][
            "rmse_force_meV_per_A"
        ]
    return {name: found[name] for name in TARGETS if name in found}
