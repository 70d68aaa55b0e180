"""Checks of whole sets of frames: energies against forces, lengths and stresses against what matter has, duplicates."""

import itertools
from collections import defaultdict
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.data import atomic_numbers, covalent_radii
from ase.geometry import find_mic
from scipy.spatial import cKDTree

from helpers.data import dataset

NOBLE = [atomic_numbers[symbol] for symbol in ("He", "Ne", "Ar", "Kr", "Xe", "Rn")]


def close_pairs(frames: list[Atoms]) -> list[tuple[int, int, float, float]]:
    """Return pairs (i, j, energy difference, work) of frames of one cell, near enough to compare the two.

    work = -(F_i + F_j)/2 . (R_j - R_i) in eV, the trapezoid rule, for each frame with the next
    five of its cell and species order. Its error is of third order: for a Morse bond of
    exponent 2/A, |dF . dR| d / (2 A) at displacement d. Pairs where that exceeds a tenth of the
    work are left out, and those in which an atom is half an A or more away: another site may be empty.
    So are pairs whose work and energy difference are below 1 meV/atom, where noise would decide.
    """
    cells: dict[str, list[int]] = defaultdict(list)
    for index, atoms in enumerate(frames):
        cells[dataset.cell_name(atoms)].append(index)
    pairs = []
    for indices in cells.values():
        later = ((i, j) for k, i in enumerate(indices) for j in indices[k + 1 : k + 6])
        for i, j in later:
            first, second = frames[i], frames[j]
            if not np.array_equal(first.numbers, second.numbers):
                continue
            step, length = find_mic(second.positions - first.positions, first.cell, first.pbc)
            forces = first.calc.results["forces"], second.calc.results["forces"]
            work = -float(np.sum((forces[0] + forces[1]) / 2 * step))
            error = abs(np.sum((forces[1] - forces[0]) * step)) * length.max() / 2
            change = dataset.energy(second) - dataset.energy(first)
            above_noise = max(abs(work), abs(change)) > 0.001 * len(first)
            if length.max() < 0.5 and error < 0.1 * abs(work) and above_noise:
                pairs.append((i, j, change, work))
    return pairs


def unit_mistakes() -> dict[str, float]:
    """Return what energy difference / work comes to, for each usual mistake in one of the two units."""
    eV = {"Hartree": units.Hartree, "Rydberg": units.Rydberg, "kcal/mol": units.kcal / units.mol,
          "kJ/mol": units.kJ / units.mol}  # fmt: skip
    return {
        **{f"energies in {name} with forces in eV/A": 1 / value for name, value in eV.items()},
        **{
            f"forces in {name}/A with energies in eV, or energies converted from {name} twice": value
            for name, value in eV.items()
        },
        **{f"forces in {name}/Bohr with energies in eV": value / units.Bohr for name, value in eV.items()},
        "forces per Bohr with positions in A": 1 / units.Bohr,
        "positions in Bohr with forces per A": units.Bohr,
    }


def check_units(frames: list[Atoms]) -> tuple[float | None, int]:
    """Return energy difference / work of the forces over close pairs of frames, and the number of pairs.

    The ratio is a median weighted by the work, so that neither noise nor single frames move it;
    None if no two frames are close enough to tell. Units that agree with each other but not with
    eV and A (all in Hartree and Bohr) give 1 too: no ratio can show them.
    Raises ValueError if it is not between 0.7 and 1.4, naming the units that explain it, or if
    single frames disagree. (No mistake in units lies in between, but the error of the trapezoid may.)
    """
    pairs = close_pairs(frames)
    if not pairs:
        return None, 0
    change, work = np.array([pair[2:] for pair in pairs]).T
    order = np.argsort(change / work)
    total = np.cumsum(np.abs(work[order]))
    ratio = float((change / work)[order][np.searchsorted(total, total[-1] / 2)])
    evidence = (
        f"between {len(pairs)} pairs of close frames of one cell the energy changes by {ratio:.4g} times "
        "the work of the forces"
    )
    if not 0.7 < ratio < 1.4:
        deviation = {
            name: abs(np.log(abs(ratio) / value)) for name, value in unit_mistakes().items() if ratio > 0
        }
        name = min(deviation, key=deviation.get, default=None)
        if name is None:
            cause = "the opposite sign: forces are minus the gradient of the energy"
        elif deviation[name] < 0.04:
            cause = f"as for {name}"
        else:
            cause = "which no usual mistake in units explains: are both from the same calculation?"
        raise ValueError(f"energies and forces disagree: {evidence}, {cause}. Convert to eV, A and eV/A")
    sizes = np.array([len(frames[pair[0]]) for pair in pairs])
    excess = np.abs(change - work) - 0.5 * np.abs(work) - 0.001 * sizes
    worst = int(np.argmax(excess))
    if excess[worst] > 0:
        i, j = pairs[worst][:2]
        raise ValueError(
            f"energies and forces of frames {i + 1} and {j + 1} (counted from 1) disagree: {change[worst]:.4g} eV "
            f"against {work[worst]:.4g} eV of work, though {evidence}. Compute the two again, or drop them"
        )
    return ratio, len(pairs)


def duplicates(frames: list[Atoms]) -> list[tuple[int, int]]:
    """Return pairs of frames of one cell whose atoms lie within 0.001 A, up to lattice vectors.

    Atoms are compared in the order of the file.
    """
    tolerance = 0.001  # A
    species: dict[bytes, list[int]] = defaultdict(list)
    for index, atoms in enumerate(frames):
        species[atoms.numbers.tobytes()].append(index)
    pairs = []
    for indices in species.values():
        fractional = np.array([frames[i].get_scaled_positions(wrap=False).ravel() for i in indices])
        radius = tolerance * max(np.linalg.norm(frames[i].cell.reciprocal(), axis=1).max() for i in indices)
        tree = cKDTree(fractional % 1 % 1, boxsize=1)  # -1e-20 % 1 is 1.0, outside the box
        for first, second in tree.query_pairs(radius, p=np.inf):
            a, b = frames[indices[first]], frames[indices[second]]
            _, lengths = find_mic(b.positions - a.positions, a.cell, a.pbc)
            if np.abs(a.cell.array - b.cell.array).max() < tolerance and lengths.max() < tolerance:
                pairs.append((indices[first], indices[second]))
    return sorted(pairs)


def shortest(atoms: Atoms) -> float:
    """Return the smallest distance between atoms over the sum of their covalent radii."""
    cell = atoms.cell.minkowski_reduce()[0]
    fractions = cell.scaled_positions(atoms.positions) % 1
    shifts = np.array(list(itertools.product((-1, 0, 1), repeat=3)))
    images = (shifts[:, None] + fractions).reshape(-1, 3) @ cell.array
    # The nearest dozen: of images that lie on each other, as with positions in nm, there are millions in reach.
    lengths, neighbours = cKDTree(images).query(fractions @ cell.array, k=13)
    radii = covalent_radii[atoms.numbers]
    sums = radii[:, None] + radii[neighbours % len(atoms)]
    return float((lengths / sums)[:, 1:].min())  # without the atom itself


def check_sizes(frames: list[Atoms], path: Path) -> None:
    """Refuse lengths and stresses that no matter has, as far as can be told, by the median over frames.

    Nearest neighbours are 0.8 to 1.3 times the sum of their covalent radii apart, but for noble gases
    and lone atoms; 1 eV/A^3 is 160 GPa. Some fifty frames are enough.
    """
    bound = [atoms for atoms in frames if len(atoms) > 1 and not set(atoms.numbers) & set(NOBLE)]
    bound = bound[:: 1 + len(bound) // 50]
    ratio = float(np.median([shortest(atoms) for atoms in bound])) if bound else 1.0
    if not 0.5 < ratio < 1.5:
        raise ValueError(
            f"{path}: nearest atoms are {ratio:.2g} times the sum of their covalent radii apart (median of "
            "frames), so positions are not in A (Bohr, nm, or fractions of the cell?). Convert them to A"
        )
    stresses = [
        np.abs(atoms.calc.results["stress"]).max() for atoms in frames if "stress" in atoms.calc.results
    ]
    if stresses and np.median(stresses) > 1:
        raise ValueError(
            f"{path}: the largest stress is {np.median(stresses):.3g} (median of frames), and 1 eV/A^3 is "
            "160 GPa, so it is not in eV/A^3 (GPa, kbar, or a virial in eV?). Convert it to eV/A^3"
        )
