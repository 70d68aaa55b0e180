"""The pictures of 01_data, a function each. All return the matplotlib Figure."""

import numpy as np
from ase import Atoms, units
from matplotlib.figure import Figure

from helpers.data import dataset
from helpers.figures.style import BLUE, VERMILION, look, new


def labelled_data(frames: list[Atoms]) -> Figure:
    """Draw two panels: energy against forces of each frame, and how the forces are distributed, by kind.

    Energies in meV an atom above the lowest frame of the kind, forces in eV/A.
    """
    figure, (left, right) = new(6.3, 3.4, ncols=2)
    for number, name in enumerate(sorted({dataset.kind(atoms) for atoms in frames})):
        members = [atoms for atoms in frames if dataset.kind(atoms) == name]
        energies = np.array([dataset.energy(atoms) / len(atoms) for atoms in members])
        forces = [np.linalg.norm(atoms.calc.results["forces"], axis=1) for atoms in members]
        left.plot(
            [np.sqrt((norms**2).mean()) for norms in forces],
            1000 * (energies - energies.min()),
            linestyle="", label=name, **look(number),
        )  # fmt: skip
        ordered = np.sort(np.concatenate(forces))
        share = 1 - np.arange(len(ordered)) / len(ordered)
        right.plot(ordered, share, markevery=max(1, len(ordered) // 8), **look(number))
    left.set(
        xlabel="r.m.s. force on an atom (eV/Å)", ylabel="energy above the lowest of its kind\n(meV per atom)"
    )
    right.set(xlabel="force on an atom (eV/Å)", ylabel="share of atoms with a larger force", ylim=(0, 1.02))
    right.set_xlim(left=0)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def energies_follow_forces(pairs: list[tuple[int, int, float, float]]) -> Figure:
    """Draw the energy difference of close frames against the work of their forces (eV), from `close_pairs`.

    On logarithmic axes a mistake in a unit moves all points onto a parallel of the diagonal.
    """
    change, work = np.abs([pair[2:] for pair in pairs]).T
    figure, axes = new(5.2, 3.0)
    ends = np.array([work.min() / 2, work.max() * 2])
    axes.loglog(ends, ends, color="black", label="eV and eV/Å agree")
    axes.loglog(ends, ends * units.Hartree, "--", color=VERMILION, label="forces in Hartree/Å")
    axes.loglog(ends, ends / units.Hartree, ":", color=VERMILION, label="energies in Hartree")
    axes.loglog(
        work, change, "o", color=BLUE, markersize=5, markerfacecolor="none", label="pairs of close frames"
    )
    axes.set(xlabel="work of the mean force (eV)", ylabel="energy difference (eV)")
    figure.legend(loc="outside right upper")
    return figure
