"""The pictures of 07_comparison, a function each. All return the matplotlib Figure."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from defectphonons.following import Continued
from defectphonons.spectra import Bands
from helpers.figures.bands import draw_bands, draw_weights
from helpers.figures.style import COLOURS, LINES, SKY, VERMILION, look, new, per_cm_above, per_cm_axis


def comparison(
    bands: Bands, pristine: np.ndarray, group: str, grid: np.ndarray, dos: dict[str, np.ndarray]
) -> Figure:
    """Draw bands over those of the pristine sheet, its local DOS over the pristine one, and their difference.

    `pristine` (n_q, n_modes) in THz at the q points of `bands`, whose weight on `group` is the colour;
    `dos` holds the local DOS (states/THz/cell) on `grid` (THz), the defective cell's first.
    """
    figure, panels = new(7.2, 4.6, ncols=3, sharey=True, width_ratios=[3.2, 1, 1])
    panels[0].plot(bands.distances, pristine, color=SKY, linewidth=1.0, zorder=0, rasterized=True)
    lines = draw_weights(panels[0], bands, group)
    draw_bands(panels[0], bands)
    figure.colorbar(lines, ax=panels[0], location="top", shrink=0.7, aspect=30,
                    label="weight at the defect (blue: pristine)")  # fmt: skip
    for (name, values), (colour, style) in zip(dos.items(), ((VERMILION, "-"), ("black", ":")), strict=True):
        panels[1].plot(values, grid, style, color=colour, linewidth=1.0, label=name)
    panels[1].set(xlabel="local DOS\n(states / THz / cell)", xlim=(0, None))
    panels[1].legend(loc="lower center", bbox_to_anchor=(0.5, 1.0))
    first, second = dos.values()
    panels[2].fill_betweenx(grid, first - second, where=first > second, color=VERMILION, label="more")
    panels[2].fill_betweenx(grid, first - second, where=first < second, color="0.6", label="less")
    panels[2].axvline(0.0, color="black", linewidth=0.6)
    panels[2].set_xlabel("its difference\n(states / THz / cell)")
    panels[2].legend(loc="lower center", bbox_to_anchor=(0.5, 1.0))
    per_cm_axis(panels[2])
    return figure


def differences(grid: np.ndarray, by_cell: dict[str, np.ndarray]) -> Figure:
    """Draw the local DOS less the pristine one (states/THz/cell) on `grid` (THz), for each cell."""
    figure, axes = new(6.3, 3.0)
    for (name, values), colour, line in zip(by_cell.items(), COLOURS, LINES, strict=False):
        axes.plot(grid, values, line, color=colour, label=name)
    axes.axhline(0.0, color="0.8", linewidth=0.6, zorder=0)
    axes.set(xlabel="frequency (THz)", ylabel="local DOS, defective − pristine\n(states / THz / cell)")
    axes.set_xlim(grid[0], grid[-1])
    axes.legend()
    per_cm_above(axes)
    return figure


def modes_by_size(
    sizes: list[int], names: list[str], modes: list[tuple[Continued, ...]], group: str
) -> Figure:
    """Draw frequency (THz), weight of `group` and participating atoms of each mode against n of the n x n cell.

    Bars reach from the lower to the upper quarter of the frequency's distribution (half the width each way).
    """
    figure, panels = new(7.2, 3.6, ncols=3, sharex=True)
    for number, (name, track) in enumerate(zip(names, modes, strict=True)):
        style = look(number) | {"linestyle": LINES[number // 6 % 6]}
        panels[0].errorbar(
            sizes, [mode.frequency_THz for mode in track], [mode.width_THz / 2 for mode in track],
            capsize=2, label=name, **style,
        )  # fmt: skip
        panels[1].plot(sizes, [mode.weights[group] for mode in track], **style)
        panels[2].plot(sizes, [mode.atoms for mode in track], **style)
    labels = ("frequency (THz)", "weight at the defect", "atoms that take part")
    for axes, label in zip(panels, labels, strict=True):
        axes.set(xlabel="$n$ of the $n × n$ cell", ylabel=label)
        axes.set_xlim(sizes[0] - 1, sizes[-1] + 1)
        axes.set_xticks(sizes)
    panels[1].set_ylim(0, None)
    panels[2].set(yscale="log")
    panels[2].yaxis.set_major_formatter("{x:g}")
    panels[2].yaxis.set_minor_formatter("{x:g}")
    panels[2].yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    if modes:
        figure.legend(loc="outside right center", title="irrep, THz at Γ")
    return figure
