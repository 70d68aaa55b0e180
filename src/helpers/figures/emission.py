"""The pictures of 12_emission, a function each. All return the matplotlib Figure."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from defectphonons.emission import HuangRhys, LineShape
from defectphonons.spectra import MEV
from helpers.figures.style import COLOURS, GREEN, LINES, MARKERS, ORANGE, SKY, VERMILION, new


def pushes(defects: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Figure:
    """Draw the force difference (N, 3) in eV/A of two states on the atoms at each defect, from above and from the side.

    Of each defect the places (N, 3) in A from its middle, the elements (N,) and the forces.
    """
    figure, panels = new(6.3, 0.6 + 2.6 * len(defects), nrows=len(defects), ncols=2, squeeze=False)
    longest = max(np.linalg.norm(forces, axis=1).max() for _, _, forces in defects.values())
    for row, (name, (places, elements, forces)) in zip(panels, defects.items(), strict=True):
        looks = dict(zip(dict.fromkeys(elements), ((SKY, 130), (ORANGE, 70), (GREEN, 70)), strict=False))
        for axes, up, depth in zip(row, (1, 2), (2, 1), strict=True):
            for atom in np.argsort(-places[:, depth] * (-1) ** up):
                colour, size = looks[elements[atom]]
                axes.scatter(*places[atom, [0, up]], s=size, color=colour, edgecolor="white", linewidth=1.0)
            axes.plot(0, 0, "x", color=VERMILION, markersize=7)
            arrows = axes.quiver(
                *places[:, [0, up]].T, *forces[:, [0, up]].T, angles="xy", scale_units="xy", scale=longest / 2.5,
                width=0.007, color="black", zorder=5,
            )  # fmt: skip
            axes.set(aspect="equal", xlabel="$x$ (Å)", ylabel=f"${'xyz'[up]}$ (Å)")
            axes.margins(0.12)
        row[0].set_title(name, loc="left", fontsize=9)
        handles = [Line2D([], [], marker="o", linestyle="", color=looks[one][0], label=one) for one in looks]
        row[1].legend(handles=handles, loc="upper right", ncols=3)
        row[1].set_ylim(-4.5, 4.5)
    panels[0, 0].quiverkey(
        arrows, 0.75, 1.07, longest, f"{longest:.2f} eV/Å", labelpos="E", fontproperties={"size": 8}
    )
    return figure


def spectral_densities(
    grid: np.ndarray, densities: dict[str, np.ndarray], cells: dict[str, HuangRhys], cell: str
) -> Figure:
    """Draw S(w) on `grid` (THz) of each isolated defect, per meV, and the partial factors of the modes of a small `cell` under it."""
    figure, panels = new(6.3, 1.0 + 1.9 * len(densities), nrows=len(densities), sharex=True, squeeze=False)
    for axes, (name, density), colour in zip(panels[:, 0], densities.items(), COLOURS, strict=False):
        axes.plot(grid * MEV, density / MEV, color=colour, label=f"isolated {name}, S(ω)")
        axes.set(ylabel="S(ω) (1/meV)", ylim=(0, None), xlim=(0, grid[-1] * MEV))
        partial = axes.twinx()
        coupled = cells[name].factors > 1e-3 * cells[name].total
        partial.vlines(
            cells[name].frequencies[coupled] * MEV, 0, cells[name].factors[coupled], color="black", linewidth=1.0,
            label=f"S$_k$, Γ modes of the {cell} cell",
        )  # fmt: skip
        partial.set(ylabel="S$_k$", ylim=(0, None))
        handles = [*axes.get_legend_handles_labels()[0], *partial.get_legend_handles_labels()[0]]
        axes.legend(handles=handles, loc="upper right")
    panels[-1, 0].set_xlabel("phonon energy ħω (meV)")
    return figure


def totals_by_size(totals: dict[str, dict[float, dict[int, float]]]) -> Figure:
    """Draw the total factor of each defect against the size n of the cell, for each gap of the ZA branch in THz."""
    figure, panels = new(6.3, 3.0, ncols=len(totals), squeeze=False)
    for axes, (name, gaps) in zip(panels[0], totals.items(), strict=True):
        for (gap, sizes), colour, marker, line in zip(gaps.items(), COLOURS, MARKERS, LINES, strict=False):
            axes.plot(
                list(sizes), list(sizes.values()), marker=marker, color=colour, linestyle=line, markersize=4,
                label="free sheet" if gap == 0.0 else f"springs along z, ZA from {gap:g} THz",
            )  # fmt: skip
        axes.set(title=name, xlabel="size n of the n × n cell", xscale="log", ylim=(0, None))
        axes.set_xticks(list(sizes), [str(n) for n in sizes])
        axes.minorticks_off()
    panels[0, 0].set_ylabel("total Huang–Rhys factor S")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def lines(shapes: dict[str, dict[float, LineShape]], widest: float) -> Figure:
    """Draw the line shape of each defect at each temperature (K), on a logarithmic scale, up to `widest` meV left in the lattice."""
    figure, panels = new(6.3, 1.0 + 2.0 * len(shapes), nrows=len(shapes), sharex=True, squeeze=False)
    for axes, (name, temperatures) in zip(panels[:, 0], shapes.items(), strict=True):
        top = 0.0
        for (temperature, shape), colour, line in zip(temperatures.items(), COLOURS, LINES, strict=False):
            axes.plot(
                shape.energies * MEV, shape.intensities / MEV, line, color=colour, label=f"{temperature:g} K"
            )
            top = max(top, shape.intensities.max() / MEV)
        axes.set(yscale="log", ylim=(1e-5 * top, 2 * top), xlim=(-widest / 3, widest))
        axes.set_ylabel(f"{name}\nline shape (1/meV)")
    panels[0, 0].legend(loc="upper right")
    panels[-1, 0].set_xlabel("energy left in the lattice (meV)")
    return figure
