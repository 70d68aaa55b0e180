"""Lattices whose frequencies have closed formulas: chains of atoms with springs, and scalar lattices in one to three dimensions."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.lj import LennardJones
from phonopy.physical_units import get_physical_units

from defectphonons import force_constants, spectra
from defectphonons.potentials import Potential

DISTANCE = 2 ** (1 / 6)  # A, length at rest of a Lennard-Jones bond with sigma = 1 A
STIFFNESS = 72 / 2 ** (1 / 3)  # eV/A^2, of one with epsilon = 1 eV


def chain(symbols: Sequence[str], q: np.ndarray, n: int, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the branches (n_q, n_atoms) in THz of a chain with one or two atoms a cell: computed, and by the formula.

    Nearest neighbours have a Lennard-Jones bond at rest. `q` in reciprocal lattice vectors, `n` cells have their forces
    computed, which are cached in `folder`.
    """
    reach = 1.5 * DISTANCE
    bond = LennardJones(sigma=1.0, epsilon=1.0, rc=reach, smooth=False)
    spring = Potential("Lennard-Jones", f"nearest neighbours, rc = {reach:.6f}", True, (), reach, 1, bond)
    places = [[i * DISTANCE, 5, 5] for i in range(len(symbols))]
    atoms = Atoms(symbols, positions=places, cell=[len(symbols) * DISTANCE, 10, 10], pbc=True)
    phonon = force_constants.by_differences(atoms, n, spring, displacement=0.001, folder=folder)
    computed = spectra.spectrum(phonon, np.outer(q, [1, 0, 0]), np.full(len(q), 1 / len(q))).frequencies
    masses = atoms.get_masses()
    if len(atoms) == 1:
        squared = 4 * STIFFNESS / masses[0] * np.sin(np.pi * q)[:, None] ** 2
    else:
        root = np.sqrt(1 - 4 * masses.prod() * np.sin(np.pi * q) ** 2 / masses.sum() ** 2)
        squared = STIFFNESS * (1 / masses).sum() * np.stack([1 - root, 1 + root], axis=1)
    return computed[:, -len(atoms) :], np.sqrt(squared) * get_physical_units().DefaultToTHz


def scalar_density(
    dimensions: int, points: int, edges: np.ndarray, power: float = 0.5
) -> tuple[np.ndarray, float]:
    """Return the density of states between `edges` of frequency over the largest one, and its exponent near zero.

    Of the frequencies (sum of 4 sin^2(q_i / 2) over the dimensions)^power: with power 0.5 sound, with 1 a sheet that bends.
    """
    one = (
        4 * np.sin(np.pi * (np.arange(points) + 0.5) / points / 2) ** 2
    )  # q from 0 to pi: by symmetry enough
    frequencies = one
    for _ in range(dimensions - 1):
        frequencies = np.add.outer(frequencies, one).ravel()
    frequencies = np.sort(frequencies**power)
    low = np.geomspace(0.2, 0.5, 20) ** (2 * power)
    # The number of states below w grows with one power more than their density.
    slope = np.polyfit(np.log(low), np.log(np.searchsorted(frequencies, low)), 1)[0]
    density, _ = np.histogram(frequencies / frequencies[-1], bins=edges, density=True)
    return density, float(slope) - 1
