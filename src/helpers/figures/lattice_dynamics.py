"""The pictures of 00_lattice_dynamics, a function each. All return the matplotlib Figure."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from helpers.figures.style import BLUE, COLOURS, LINES, new


def pipeline() -> Figure:
    """Draw the way from DFT to phonons: what is computed from what, and the notebook that does it."""
    figure, axes = new(6.3, 2.0)
    steps = (
        ("DFT", "energies, forces,\nstresses", "01"), ("MACE", "trained, tested", "02, 03"),
        ("relaxed cell", "pristine,\nwith a vacancy", "04, 05"), ("force constants", "displaced cells,\ninvariances", "04, 05"),
        ("phonons", "bands, DOS,\nmodes, shells", "04 to 07"),
    )  # fmt: skip
    for i, (name, what, notebook) in enumerate(steps):
        axes.text(i, 0, f"{name}\n", ha="center", va="center", weight="bold", fontsize=8)
        axes.text(i, -0.05, what, ha="center", va="top", fontsize=7)
        axes.text(i, 0.62, notebook, ha="center", va="center", fontsize=8, color="0.35")
        box = FancyBboxPatch(
            (i - 0.4, -0.5), 0.8, 0.9, boxstyle="round,pad=0.02", facecolor="0.94", edgecolor=BLUE
        )
        axes.add_patch(box)
        if i:
            axes.annotate(
                "", (i - 0.43, -0.05), (i - 0.57, -0.05), arrowprops={"arrowstyle": "->", "color": BLUE}
            )
    axes.set(xlim=(-0.5, len(steps) - 0.5), ylim=(-0.65, 0.8))
    axes.axis("off")
    return figure


def chains(q: np.ndarray, branches: dict[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """Draw the branches (n_q, n) in THz of each chain, (computed, exact), against q (reciprocal lattice vectors)."""
    figure, panels = new(6.3, 2.8, ncols=len(branches), sharey=True)
    for axes, (name, (computed, exact)) in zip(panels, branches.items(), strict=True):
        axes.plot(q, exact, color="black", label=["formula"] + [None] * (exact.shape[1] - 1))
        axes.plot(q[::4], computed[::4], "o", color=BLUE, markerfacecolor="none", markersize=4,
                  label=["computed"] + [None] * (exact.shape[1] - 1))  # fmt: skip
        axes.set(title=name, xlabel="$q a / 2\\pi$", ylim=(0, None), xlim=(0, 0.5))
    panels[0].set_ylabel("frequency (THz)")
    panels[0].legend()
    return figure


def densities(edges: np.ndarray, counts: dict[str, np.ndarray]) -> Figure:
    """Draw densities of states, each of unit integral, between the `edges` of frequency over the largest one."""
    figure, axes = new(4.6, 3.0)
    for (name, values), colour, line in zip(counts.items(), COLOURS, LINES, strict=False):
        axes.plot((edges[1:] + edges[:-1]) / 2, values, line, color=colour, label=name)
    axes.set(xlabel="frequency / largest frequency", ylabel="density of states", xlim=(0, 1), ylim=(0, 4))
    axes.legend()
    return figure
