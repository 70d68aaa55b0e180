"""The pictures of 11_strain, a function each. All return the matplotlib Figure."""

import numpy as np
from matplotlib.figure import Figure

from defectphonons.spectra import PER_CM
from helpers.figures.style import BLUE, COLOURS, LINES, MARKERS, VERMILION, look, new, per_cm_above


def shifts(frequencies: dict[float, np.ndarray], names: list[str]) -> Figure:
    """Draw against strain by how many cm-1 each mode shifts from its frequency (n_modes,) in THz without strain."""
    figure, axes = new(6.3, 3.8)
    strains = 100 * np.array(list(frequencies))
    moved = PER_CM * (np.array(list(frequencies.values())) - frequencies[0.0])
    for number, name in enumerate(names):
        axes.plot(
            strains, moved[:, number], label=name, **look(number) | {"linestyle": LINES[number // 6 % 6]}
        )
    axes.axhline(0.0, color="0.8", linewidth=0.6, zorder=0)
    axes.set(xlabel="biaxial strain (%)", ylabel="shift (cm$^{-1}$)")
    figure.legend(loc="outside right center", title="irrep, THz at Γ")
    return figure


def splittings(parts: dict[str, dict[str, dict[str, np.ndarray]]], strains: dict[str, np.ndarray]) -> Figure:
    """Draw by how many cm-1 the parts of each mode that strain splits shift, a panel for each mode.

    Their frequencies (n_strains,) in THz by mode, direction and irrep, and the strains by direction; without strain the
    frequencies are equal.
    """
    figure, panels = new(6.3, 3.2, ncols=max(len(parts), 1), sharey=True, squeeze=False)
    for axes, (name, directions) in zip(panels[0], parts.items(), strict=False):
        for (direction, irreps), colour, marker in zip(directions.items(), COLOURS, MARKERS, strict=False):
            for (irrep, levels), line in zip(irreps.items(), LINES, strict=False):
                axes.plot(
                    100 * strains[direction], PER_CM * (levels - levels[strains[direction] == 0.0]), line,
                    color=colour, marker=marker, markersize=4, markerfacecolor="none", label=f"{irrep}, {direction}",
                )  # fmt: skip
        axes.axhline(0.0, color="0.8", linewidth=0.6, zorder=0)
        axes.set(title=name, xlabel="strain (%)")
    panels[0, 0].set_ylabel("shift (cm$^{-1}$)")
    if parts:
        figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside right center")
    return figure


def local_dos(grid: np.ndarray, local: dict[float, np.ndarray], modes: dict[float, np.ndarray]) -> Figure:
    """Draw the local DOS (states/THz) on `grid` (THz) under each strain, one above the other; a tick at each of `modes` (THz)."""
    figure, axes = new(6.3, 5.2)
    offset = 0.75 * max(density.max() for density in local.values())
    for number, (strain, density) in enumerate(sorted(local.items())):
        base, colour = number * offset, "black" if strain == 0.0 else BLUE if strain < 0.0 else VERMILION
        axes.plot(grid, base + density, color=colour)
        axes.plot(modes[strain], np.full(len(modes[strain]), base), "|", color=colour, markersize=7)
        axes.annotate(
            f"{100 * strain:g} %", (grid[-1], base), (-2, 4), textcoords="offset points", ha="right"
        )
    axes.set(
        xlabel="frequency (THz)",
        ylabel="local DOS (states / THz), shifted",
        xlim=(grid[0], grid[-1]),
        yticks=[],
    )
    per_cm_above(axes)
    return figure
