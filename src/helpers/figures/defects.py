"""The picture of 10_defects."""

import numpy as np
from matplotlib.figure import Figure

from defectphonons.tmatrix import Bound, Resonance
from helpers.figures.dilute_limit import irrep_label
from helpers.figures.style import BLUE, look, new, per_cm_above


def local_dos(
    grid: np.ndarray,
    local: dict[str, np.ndarray],
    pristine: dict[str, np.ndarray],
    modes: dict[str, list[Bound | Resonance]],
) -> Figure:
    """Draw the local DOS (states/THz) on `grid` (THz) of each isolated defect over that of the perfect sheet on its sites.

    Bound states (filled) and resonances (hollow) stand above it, with a marker for each irrep.
    """
    figure, panels = new(6.3, 1.2 + 1.5 * len(local), nrows=len(local), sharex=True, squeeze=False)
    irreps = list(dict.fromkeys(mode.irrep for every in modes.values() for mode in every))
    for axes, (name, density) in zip(panels[:, 0], local.items(), strict=True):
        axes.fill_between(grid, pristine[name], color="0.85", label="perfect sheet, same sites")
        axes.plot(grid, density, color=BLUE, label="isolated defect")
        top = 1.25 * max(density.max(), pristine[name].max())
        for number, irrep in enumerate(irreps):
            for mode in (mode for mode in modes[name] if mode.irrep == irrep):
                marker = look(number)
                if isinstance(mode, Bound):
                    marker["markerfacecolor"] = marker["color"]
                axes.plot(mode.frequency_THz, 0.9 * top, **marker)
        axes.set(ylim=(0, top), xlim=(grid[0], grid[-1]))
        axes.set_ylabel(f"{name}\n(states / THz)")
    panels[-1, 0].set_xlabel("frequency (THz)")
    for number, irrep in enumerate(irreps):
        panels[0, 0].plot([], [], linestyle="", label=irrep_label(irrep), **look(number))
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    per_cm_above(panels[0, 0])
    return figure
