"""The pictures of 02_training, a function each. All return the matplotlib Figure."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from helpers.figures.style import COLOURS, LINES, new


def learning_curves(curves: dict[str, dict[str, np.ndarray]]) -> Figure:
    """Draw the validation RMSE of forces and of the energy over the epochs; `curves` by name, from training.read_log.

    A dotted line marks where stage two begins.
    """
    figure, panels = new(6.3, 3.0, ncols=2, sharex=True)
    quantities = {
        "force_meV_per_A": "validation force RMSE (meV/Å)",
        "energy_meV_per_atom": "validation energy RMSE (meV/atom)",
    }
    for axes, (quantity, label) in zip(panels, quantities.items(), strict=True):
        for (name, curve), colour, style in zip(
            curves.items(),
            COLOURS,
            LINES,
            strict=False,
        ):
            axes.plot(curve["epoch"] + 1, curve[quantity], style, color=colour, label=name)
            for epoch in curve["epoch"][curve["stage"] == 2][:1]:
                axes.axvline(epoch + 1, color=colour, linestyle=":", linewidth=0.9)
        axes.set(xscale="log", yscale="log", xlabel="epoch (counted from 1)", ylabel=label)
        axes.grid(alpha=0.25, which="major", linewidth=0.5)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        axes.yaxis.set_minor_formatter("{x:g}")
    panels[0].plot([], [], ":", color="0.3", linewidth=0.9, label="stage two begins")
    panels[0].legend(frameon=True, edgecolor="none")
    return figure
