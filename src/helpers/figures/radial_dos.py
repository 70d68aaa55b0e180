"""The pictures of 06_radial_dos, a function each. All return the matplotlib Figure."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, PercentFormatter

from defectphonons.localisation import Decay
from helpers.figures.style import COLOURS, LINES, MARKERS, VERMILION, draw_spread, new, per_cm_above


def committee_shells(grid: np.ndarray, shells: dict[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """Draw the DOS of each shell (states/THz/atom) on `grid` (THz) of a model, with the standard deviation of m members (m, n_grid)."""
    figure, panels = new(6.3, 1.5 + 1.2 * len(shells), nrows=len(shells), sharex=True, squeeze=False)
    for axes, (name, (density, members)) in zip(panels[:, 0], shells.items(), strict=True):
        draw_spread(axes, grid, density, members)
        axes.set_title(name, loc="left", fontsize=9)
    panels[0, 0].legend()
    panels[-1, 0].set_xlabel("frequency (THz)")
    figure.supylabel("DOS (states / THz / atom)", fontsize=9)
    return figure


def radial_dos(grid: np.ndarray, shells: dict[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """Draw the local DOS (states/THz/atom) on `grid` (THz) of each shell, nearest first: (defective, pristine)."""
    figure, panels = new(
        6.3, 1.1 + 1.4 * len(shells), nrows=len(shells), sharex=True, sharey=True, squeeze=False
    )
    for axes, (name, (defective, pristine)) in zip(panels[:, 0], shells.items(), strict=True):
        axes.fill_between(grid, pristine, color="0.88", label="pristine, same sites")
        axes.plot(grid, pristine, ":", color="black", linewidth=0.9)
        axes.plot(grid, defective, color=VERMILION, label="with the defect")
        axes.annotate(name, (0.42, 0.82), xycoords="axes fraction")
        axes.set_ylim(0, None)
    panels[0, 0].legend(loc="upper left")
    panels[-1, 0].set(xlabel="frequency (THz)", xlim=(grid[0], grid[-1]))
    figure.supylabel("local DOS (states / THz / atom)", fontsize=9)
    per_cm_above(panels[0, 0])
    return figure


def decay(shares: dict[str, tuple[np.ndarray, np.ndarray]], laws: dict[str, Decay | None]) -> Figure:
    """Draw the redistributed spectral weight of each site against distance (A), and the law fitted, by species."""
    figure, axes = new(4.6, 3.2)
    for (name, points), colour, marker, line in zip(shares.items(), COLOURS, MARKERS, LINES, strict=False):
        axes.plot(*points, marker, color=colour, markerfacecolor="none", label=name)
        if law := laws[name]:
            distances = np.linspace(points[0].min(), points[0].max())
            label = f"{name}: floor of {law.floor:.1%}, decay over {law.length:.1f} Å"
            axes.plot(distances, law(distances), line, color=colour, label=label)
    axes.set(xlabel="distance from the defect (Å)", ylabel="redistributed spectral weight", yscale="log")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.yaxis.set_minor_formatter(PercentFormatter(1, decimals=0))
    axes.yaxis.set_minor_locator(LogLocator(subs=(2, 3, 5)))
    axes.legend()
    return figure
