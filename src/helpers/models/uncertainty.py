"""Standard deviations over a committee of what the notebooks compute of the sheet and of a defect in it."""

from typing import Any

import numpy as np
from ase import Atoms

from defectphonons import (
    force_constants,
    invariance,
    localisation,
    potentials,
    relaxation,
    spectra,
    structures,
)
from defectphonons.localisation import Mode
from defectphonons.potentials import Potential
from defectphonons.spectra import PER_CM, GammaModes, Groups
from helpers import defects, transitions
from helpers.cells import Densities
from helpers.models import committee, evaluation
from helpers.transitions import Transition


def of_sheet(
    run: Any, potential: Potential, start: Atoms, elements: Groups, heavy: str
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the bands (m, n_q, n_modes) in THz of the sheet by each of m members, and standard deviations over them.

    `run` is one of 04, `start` the cell that each member relaxes, `heavy` the element whose share of the motion counts.
    """
    relaxed, phonons = [], []
    for member in committee.members(potential, run.model):
        free = relaxation.relax(start, member, hold_symmetry=True, relax_cell=True)
        cell = relaxation.relax(structures.strained(free, run.strain), member, hold_symmetry=True)
        how = {
            "method": run.method,
            "displacement": run.displacement,
            "dtype": run.dtype,
            "folder": run.folder,
        }
        phonon = force_constants.of(cell, run.supercell, member, **how)
        force_constants.symmetrise(phonon)
        invariance.make_rotationally_invariant(phonon, potentials.evaluate(member, cell)["stress"])
        relaxed.append(cell)
        phonons.append(phonon)
    bands = np.array([spectra.bands(phonon, points=200).frequencies for phonon in phonons])
    sampled = [spectra.on_mesh(phonon, run.mesh // 3 or 1, elements) for phonon in phonons]
    gaps = [spectra.gap(spectrum, 3) for spectrum in sampled]
    shares = [
        spectra.dominance(spectrum, heavy, sum(gap) / 2) for spectrum, gap in zip(sampled, gaps, strict=True)
    ]
    at_gamma = [evaluation.optical_by_irrep(phonon) for phonon in phonons]
    scatter = bands.std(axis=0, ddof=1) * PER_CM
    return bands, {
        "models": len(relaxed),
        "lattice_constant_A": deviation(cell.cell.lengths()[0] for cell in relaxed),
        "bands_per_cm": {"mean": float(scatter.mean()), "largest": float(scatter.max())},
        "gamma_per_cm": {
            irrep: deviation(frequencies[irrep] for frequencies in at_gamma) for irrep in at_gamma[0]
        },
        "gap_THz": np.std(gaps, axis=0, ddof=1).tolist(),
        "gap_width_THz": deviation(upper - lower for lower, upper in gaps),
        **{
            name: {side: deviation(share[name][side] for share in shares) for side in ("below", "above")}
            for name in shares[0]
        },
    }


def of_defect(
    run: Any,
    potential: Potential,
    gamma: GammaModes,
    candidates: list[Mode],
    grid: np.ndarray,
    local: np.ndarray,
) -> tuple[np.ndarray, list[tuple[Mode, np.ndarray, np.ndarray]], dict[str, Any]]:
    """Return what each of m members has for a defect, and standard deviations over them.

    The local density of states (m, n_grid) on `grid`, beside `local` of the model itself; each of the `candidates` among
    the model's modes `gamma` with the frequencies (m,) in THz and weights at the defect (m,) of its partners. `run` is
    one of 05.
    """
    mesh = spectra.mesh_for(run.supercell, run.mesh)
    locals_of, shares, inward, partners = [], [], [], []
    for member in committee.members(potential, run.model):
        sheet = defects.defective_sheet(run, member)
        atoms = sheet.defect.local
        sampled = spectra.on_mesh(sheet.phonon, mesh, {"local": atoms})
        bare = spectra.by_atom(sheet.pristine, mesh * run.supercell)
        densities = Densities.of(sheet, sampled, bare, grid, run.smearing)
        locals_of.append(densities.local)
        shares.append(localisation.redistributed(densities.local, densities.local_pristine, grid))
        inward.append(structures.neighbour_displacements(sheet.defect, sheet.relaxed)["inward_A"])
        paired = spectra.pair_sets(gamma, spectra.gamma_modes(sheet.phonon))
        partners.append({pair.frequency_THz: pair for pair in paired})
    followed, modes = [], []
    for mode in candidates:
        several = [by_frequency[mode.frequency_THz] for by_frequency in partners]
        frequencies = np.array([pair.partner_THz for pair in several])
        weights = np.array([pair.partner_motion[atoms].sum() for pair in several])
        followed.append((mode, frequencies, weights))
        modes.append(
            {
                "irrep": mode.irrep,
                "frequency_THz": mode.frequency_THz,
                "frequency_deviation_THz": deviation(frequencies),
                "weight": mode.weight,
                "weight_deviation": deviation(weights),
                "least_overlap": min(pair.overlap for pair in several),
            }
        )
    redistributed = [localisation.redistributed(density, local, grid) for density in locals_of]
    return (
        np.array(locals_of),
        followed,
        {
            "models": len(locals_of),
            "local_states_elsewhere": float(np.mean(redistributed)),
            "redistributed_local": deviation(shares),
            "inward_A": deviation(inward),
            "modes": modes,
        },
    )


def of_shells(
    run: Any, potential: Potential, shells: Groups, grid: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the density of states per atom (m, n_grid) of each shell by each of m members, and standard deviations.

    Of the spectral weight that is redistributed in each shell. `run` is one of 06.
    """
    mesh = spectra.mesh_for(run.supercell, run.mesh)
    densities: dict[str, list[np.ndarray]] = {name: [] for name in shells}
    shares: dict[str, list[float]] = {name: [] for name in shells}
    for member in committee.members(potential, run.model):
        sheet = defects.defective_sheet(run, member)
        sampled = spectra.on_mesh(sheet.phonon, mesh, shells)
        bare = spectra.by_atom(sheet.pristine, mesh * run.supercell)
        by_site = spectra.densities_by_atom(bare, grid, run.smearing)
        pairs = localisation.densities_per_atom(sheet, sampled, by_site, shells, grid, run.smearing)
        for name, pair in pairs.items():
            densities[name].append(pair[0])
            shares[name].append(localisation.redistributed(*pair, grid))
    spread = {
        "models": len(next(iter(shares.values()))),
        "share_elsewhere": {name: deviation(values) for name, values in shares.items()},
    }
    return {name: np.array(values) for name, values in densities.items()}, spread


def of_transition(run: Any, potential: Potential, transition: Transition) -> dict[str, float]:
    """Return the standard deviation of the total Huang-Rhys factor over a committee, by what it is computed from.

    Each member relaxes the cell of the transition and has force constants of its own; the forces are DFT's.
    """
    totals: dict[str, list[float]] = {}
    for member in committee.members(potential, run.model):
        relaxed = relaxation.relax(transition.ground, member, hold_symmetry=True)
        phonon = force_constants.analytic(relaxed, 1, member, dtype=run.dtype, folder=run.folder)
        both = (transitions.factors, transitions.factors_of_one_partner)
        every = [
            (measure, one)
            for factors in both
            for measure, one in factors(transition, phonon.force_constants).items()
        ]
        for measure, found in every:
            totals.setdefault(measure, []).append(found.total)
    return {measure: deviation(values) for measure, values in totals.items()}


def along_modes(
    run: Any, potential: Potential, frames: dict[tuple[str, str], list[Atoms]]
) -> dict[tuple[str, str], float]:
    """Return the standard deviation over a committee of the frequency in THz of motion along each displacement."""
    members = committee.members(potential, run.model)
    return {
        mode: deviation(evaluation.along_displacement(*pair, member) for member in members)
        for mode, pair in frames.items()
    }


def deviation(values: Any) -> float:
    """Return the standard deviation of a sample."""
    return float(np.std(list(values), ddof=1))
