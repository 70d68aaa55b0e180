"""The isolated defect: where it is looked at, how far the model's errors and isotopes move it, what it scatters."""

from dataclasses import asdict
from typing import Any

import numpy as np
from ase import Atoms

from defectphonons import chebyshev, embedding, spectra
from defectphonons.embedding import Embedded
from defectphonons.following import Continued
from defectphonons.potentials import Potential
from defectphonons.spectra import Groups, Spectrum
from defectphonons.structures import Defect
from defectphonons.tmatrix import Resonance
from helpers import defects
from helpers.models import evaluation

AT_DEFECT = 0.1  # weight at the defect from which a resonance is compared


def cut_out(run: Any, name: str, potential: Potential) -> tuple[Defect, Atoms, Embedded, float]:
    """Relax the cell with the defect `name`, free it of the strain of its images, and cut the defect out.

    Returns the ideal defect and its relaxed cell, the defect that `run.radius` embeds in the sheet, and its elastic dipole in eV.
    RuntimeError if the cut breaks the sum rule of the force constants.
    """
    cell = run.cell(name)
    primitive, defect, relaxed = defects.relaxed_defect(cell, potential)
    without_images, released, dipole = embedding.without_image_strain(
        primitive, defect, relaxed, potential, cell.shared_folder / "relaxed"
    )
    how = {"radius": run.radius, "dtype": run.dtype, "folder": cell.shared_folder}
    embedded, residuals = embedding.embed(primitive, without_images, released, potential, **how)
    if max(residuals["sum_rule"], residuals["permutation"]) > 1e-10:
        raise RuntimeError(
            f"{name}, cut out at {run.radius} A, breaks the sum rule or the symmetry of its constants: {residuals}"
        )
    return defect, relaxed, embedded, dipole


def groups(embedded: Embedded, defect: Defect) -> Groups:
    """Return the groups of sites in which the motion of a mode is counted, as of atoms by `helpers.cells.groups`."""
    return {
        "local": embedded.find(defect.from_site[defect.local]),
        "neighbours": embedded.find(defect.from_site[defect.neighbours]),
        "within 7 Å": embedded.within(7.0),
    }


def shells(embedded: Embedded, outer_radii: list[float]) -> Groups:
    """Return the sites that hold an atom, by their distance in A from the middle of the defect."""
    return {
        f"{inner:g} to {outer:g} Å": embedded.within(outer, inner)
        for inner, outer in zip([0.0, *outer_radii], outer_radii, strict=False)
    }


def local_dos(embedded: Embedded, defect: Defect, n: int, moments: int) -> Spectrum:
    """Sample the atoms at the defect in an n x n cell by kernel polynomials; its group is `local`."""
    sites = embedded.find(defect.from_site[defect.local])
    return chebyshev.local_dos(embedded, n, spectra.mesh_for(n, 60), {"local": sites}, moments)


def resolution(sampled: Spectrum, moments: int, frequencies: np.ndarray) -> np.ndarray:
    """Return the standard deviation in THz that kernel polynomials give a state at `frequencies` (n,) in THz."""
    ends = sampled.frequencies[0, [-1, 0]]
    return chebyshev.resolution(moments, ends * abs(ends), frequencies)  # polynomials of THz^2


def narrowest(resonances: list[Resonance], above: float) -> dict[str, dict[str, Any]]:
    """Return of each irrep the narrowest resonance above a frequency in THz that has some weight at the defect."""
    chosen = {}
    for resonance in sorted(resonances, key=lambda one: -one.width_THz):
        if resonance.frequency_THz > above and resonance.weights["local"] > AT_DEFECT:
            chosen[resonance.irrep] = asdict(resonance)
    return chosen


def corrected_by_dft(embedded: Embedded, potential: Potential) -> tuple[Embedded, np.ndarray]:
    """Replace the force constants near the defect by DFT's of the 3 x 3 cell; also returns the atoms near it."""
    dft, ours = evaluation.symmetrised(*evaluation.as_dft("vacancy_3x3", potential))
    difference = dft.force_constants - ours.force_constants
    return embedding.corrected(embedded, evaluation.dft_vacancy(), difference)


def counterparts(reference: dict[str, dict[str, Any]], resonances: list[Resonance]) -> dict[str, Resonance]:
    """Return for resonances from `narrowest` the nearest in frequency of the same irrep, where there is one."""
    nearest = {}
    for irrep, model in reference.items():
        others = [one for one in resonances if one.irrep == irrep and one.weights["local"] > AT_DEFECT]
        if others:
            nearest[irrep] = min(others, key=lambda one: abs(one.frequency_THz - model["frequency_THz"]))
    return nearest


def in_larger_cells(
    names: list[str],
    patterns: list[np.ndarray],
    embedded: Embedded,
    sizes: list[int],
    sites: Groups,
    moments: int,
) -> tuple[dict[str, dict[int, Continued]], dict[str, dict[int, tuple[float, float, float]]]]:
    """Follow patterns on the sites of an embedding into n x n cells of several sizes.

    Returns for each name and n what it has become, and the one eigenmode closest to it, from `chebyshev.strongest`.
    """
    tracks: dict[str, dict[int, Continued]] = {name: {} for name in names}
    single: dict[str, dict[int, tuple[float, float, float]]] = {name: {} for name in names}
    for n in sizes:
        cell = chebyshev.Cell(embedded, (n, n))
        modes = chebyshev.continued(patterns, cell, sites, moments)
        for name, mode, pattern in zip(names, modes, patterns, strict=True):
            tracks[name][n] = mode
            # Of a sharp one all that lie within it.
            count = 80 if mode.core > 0.5 else 24
            single[name][n] = chebyshev.strongest(pattern[0], cell, mode.frequency_THz, count=count)
    return tracks, single


def isotope_samples(
    patterns: dict[str, np.ndarray], embedded: Embedded, n: int, sites: Groups, moments: int, samples: int
) -> dict[str, dict[str, Any]]:
    """Follow patterns through samples of natural isotopes in an n x n cell; shares are averages over the samples."""
    if not patterns:
        return {}
    followed = [
        chebyshev.continued(
            list(patterns.values()), chebyshev.Cell(embedded, (n, n), isotopes=seed), sites, moments
        )
        for seed in range(samples)
    ]
    result = {}
    for name, modes in zip(patterns, zip(*followed, strict=True), strict=False):
        result[name] = {
            "frequencies_THz": [mode.frequency_THz for mode in modes],
            "share": float(np.mean([mode.share for mode in modes])),
            "core": float(np.mean([mode.core for mode in modes])),
        }
    return result


def scattering(frequencies: np.ndarray, widths: np.ndarray) -> dict[str, dict[str, Any]]:
    """Return of each acoustic branch the lifetime at 1.5 THz and how fast its width grows from 1 to 2 THz.

    From its `widths` (n_radii, n, 3) in THz for several radii of what is cut out, at `frequencies` (n,) in THz, among
    which 1, 1.5 and 2 are; with how far the radii differ at 1.5 THz.
    """
    low, middle, high = np.searchsorted(frequencies, [1.0, 1.5, 2.0])
    mean = widths.mean(axis=0)
    spread = np.ptp(widths, axis=0) / mean
    return {
        name: {
            "lifetime_ps": float(1 / (2 * np.pi * mean[middle, branch])),
            "relative_spread": float(spread[middle, branch]),
            "exponent": float(np.log(mean[high, branch] / mean[low, branch]) / np.log(2)),
            "widths_THz": widths[:, :, branch].tolist(),
        }
        for branch, name in enumerate(("ZA", "TA", "LA"))
    }


def followed_modes(
    characters: dict[str, str],
    tracks: dict[str, dict[int, Continued]],
    single: dict[str, dict[int, tuple[float, float, float]]],
) -> list[dict[str, Any]]:
    """Return what each mode has become in each cell, and the one eigenmode closest to it, as result.json holds it."""
    keys = ("frequency_THz", "share", "atoms")
    return [
        {
            "name": name,
            "character": characters[name],
            "cells": {n: asdict(mode) for n, mode in track.items()},
            "single": {n: dict(zip(keys, one, strict=True)) for n, one in single[name].items()},
        }
        for name, track in tracks.items()
    ]
