"""The pictures of 08_dilute_limit, a function each. All return the matplotlib Figure."""

import re

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from defectphonons.following import Continued
from helpers.figures.style import BLUE, COLOURS, LINES, VERMILION, look, new, per_cm_above


def irrep_label(name: str) -> str:
    """Return the name of an irrep as mathematical text; any other name unchanged."""
    return re.sub(r"^(\w)(\d?)('*)$", r"$\1_{\2}\3$", name)


def cells_and_largest(grid: np.ndarray, local: dict[str, np.ndarray]) -> Figure:
    """Draw the local DOS (states/THz) on `grid` (THz) of a defect in each cell; below, each less that of the last, the largest."""
    figure, (upper, lower) = new(6.3, 4.6, nrows=2, sharex=True, height_ratios=[2, 1])
    *cells, (largest, exact) = local.items()
    upper.fill_between(grid, exact, color="0.85", label=largest)
    for (name, values), colour, line in zip(cells, COLOURS, LINES, strict=False):
        upper.plot(grid, values, line, color=colour, label=name)
        lower.plot(grid, values - exact, line, color=colour)
    lower.axhline(0.0, color="black", linewidth=0.6, zorder=0)
    upper.set(ylabel="local DOS (states / THz)", ylim=(0, None), xlim=(grid[0], grid[-1]))
    lower.set(xlabel="frequency (THz)", ylabel=f"less that of\n{largest}")
    upper.legend(loc="upper left")
    per_cm_above(upper)
    return figure


def change_of_states(grid: np.ndarray, gained: dict[str, np.ndarray]) -> Figure:
    """Draw the states below each frequency of `grid` (THz) that a defect adds, by irrep and in all; below, per THz."""
    figure, (upper, lower) = new(6.3, 4.6, nrows=2, sharex=True)
    curves = list(gained.items()) + [("all", sum(gained.values()))]
    colours = (*COLOURS[: len(gained)], "black")
    for (name, values), colour, line in zip(curves, colours, (*LINES[: len(gained)], "-"), strict=True):
        label = irrep_label(name)
        upper.plot(grid, values, line, color=colour, label=label)
        lower.plot(grid, np.gradient(values, grid), line, color=colour)
    for axes in (upper, lower):
        axes.axhline(0.0, color="0.8", linewidth=0.6, zorder=0)
    upper.set(ylabel="states gained below", xlim=(grid[0], grid[-1]))
    lower.set(xlabel="frequency (THz)", ylabel="states gained / THz")
    upper.legend(loc="lower left")
    per_cm_above(upper)
    return figure


def modes_by_number(
    atoms: dict[int, int], tracks: dict[str, dict[int, Continued]], single: dict[str, dict[int, tuple]]
) -> Figure:
    """Draw each mode against 1/N, the number of `atoms` of an n x n cell: frequency (THz), part within 0.01 THz, atoms.

    The last panel has the share of its pattern that one eigenmode holds, from chebyshev.strongest.
    """
    figure, panels = new(7.2, 5.2, ncols=2, nrows=2, sharex=True)
    panels = panels.ravel()
    for number, (name, track) in enumerate(tracks.items()):
        style = look(number) | {"linestyle": LINES[number // 6 % 6]}
        places = [1 / atoms[n] for n in track]
        panels[0].plot(places, [mode.frequency_THz for mode in track.values()], label=name, **style)
        panels[1].plot(places, [mode.core for mode in track.values()], **style)
        panels[2].plot(places, [mode.atoms for mode in track.values()], **style)
        panels[3].plot(
            [1 / atoms[n] for n in single[name]], [share for _, share, _ in single[name].values()], **style
        )
    labels = ("frequency (THz)", "share within 0.01 THz", "atoms that take part", "share in one eigenmode")
    for axes, label in zip(panels, labels, strict=True):
        axes.set(ylabel=label, xscale="log")
    for axes in panels[[1, 3]]:
        axes.set_ylim(0, 1)
    panels[2].set(yscale="log")
    for of_axis in (panels[2].yaxis.set_major_formatter, panels[2].yaxis.set_minor_formatter):
        of_axis("{x:g}")
    panels[2].yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    panels[0].invert_xaxis()
    for axes in panels[2:]:
        axes.set_xlabel("1 / number of atoms")
    if tracks:
        figure.legend(loc="outside right center", title="irrep, THz at Γ")
    return figure


def spectral_functions(
    distances: np.ndarray, ticks: tuple, grid: np.ndarray, densities: dict[int, np.ndarray]
) -> Figure:
    """Draw the states per THz and cell (n_grid, n_q) at each q of a path and frequency of `grid` (THz), by cells per defect.

    On a logarithmic scale, for what vacancies add is faint beside the bands.
    """
    figure, panels = new(7.2, 5.6, ncols=2, nrows=2, sharex=True, sharey=True)
    highest = max(density.max() for density in densities.values())
    for axes, (count, density) in zip(panels.ravel(), densities.items(), strict=False):
        image = axes.pcolormesh(
            distances, grid, density, norm=LogNorm(highest / 300, highest), cmap="magma_r", shading="gouraud", rasterized=True
        )  # fmt: skip
        axes.set(title=f"1 defect in {count} cells")
        axes.set_xticks([distance for distance, _ in ticks], [label for _, label in ticks])
    for axes in panels[:, 0]:
        axes.set_ylabel("frequency (THz)")
    figure.colorbar(image, ax=panels, label="states / THz / cell", shrink=0.7)
    return figure


def linewidths(frequencies: np.ndarray, widths: np.ndarray) -> Figure:
    """Draw the width (THz, full, at half maximum) of each branch against its frequency (THz), both (n_q, n_branches).

    On the right as lifetime in ps.
    """
    figure, axes = new(6.3, 3.8)
    names = ["ZA, TA, LA", *[None] * 2, "optical", *[None] * (frequencies.shape[1] - 4)]
    for branch, name in enumerate(names):
        acoustic = branch < 3
        axes.plot(
            frequencies[:, branch], widths[:, branch], "o" if acoustic else "s", markersize=3, markerfacecolor="none",
            color=BLUE if acoustic else VERMILION, label=name,
        )  # fmt: skip
    axes.set(xlabel="frequency (THz)", ylabel="width (THz)", yscale="log")
    right = axes.secondary_yaxis(
        "right", functions=(lambda w: 1 / (2 * np.pi * np.maximum(w, 1e-12)), lambda t: 1 / (2 * np.pi * np.maximum(t, 1e-12)))
    )  # fmt: skip
    right.set_ylabel("lifetime (ps)")
    axes.legend()
    per_cm_above(axes)
    return figure
