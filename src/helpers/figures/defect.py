"""The pictures of 05_defect, a function each. All return the matplotlib Figure."""

import re

import numpy as np
from ase import Atoms
from ase.geometry import find_mic
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from defectphonons.localisation import ENHANCEMENT, Mode
from defectphonons.spectra import Bands, PairedSet
from defectphonons.structures import Defect
from helpers.figures.bands import draw_bands, draw_weights
from helpers.figures.style import (
    COLOURS,
    GREEN,
    MARKERS,
    ORANGE,
    SKY,
    VERMILION,
    draw_spread,
    new,
    per_cm_above,
    per_cm_axis,
)


def structure(defect: Defect, relaxed: Atoms) -> Figure:
    """Draw top and side view of the relaxed cell within 7.5 A of the defect.

    Arrows from the ideal places, five times as long as the atoms of the sheet moved.
    """
    radius, magnification = 7.5, 5.0
    from_site = find_mic(relaxed.positions - defect.site, relaxed.cell, relaxed.pbc)[0]
    moved = find_mic(relaxed.positions - defect.atoms.positions, relaxed.cell, relaxed.pbc)[0]
    empty = find_mic(defect.pristine.positions[defect.empty] - defect.site, relaxed.cell, relaxed.pbc)[0]
    near = np.linalg.norm(from_site[:, :2], axis=1) < radius
    species = list(dict.fromkeys(relaxed.symbols))
    looks = dict(zip(species, ((SKY, 130), (ORANGE, 70), (GREEN, 70)), strict=False))
    wide = np.array([-1.0, 1.0]) * (radius + 1)
    high = from_site[near, 2].min() - 1.2, from_site[near, 2].max() + 1.2
    figure, panels = new(4.6, 6.7, nrows=2, sharex=True, height_ratios=[np.ptp(wide), np.ptp(high)])
    for axes, (up, depth) in zip(panels, ((1, 2), (2, 1)), strict=True):
        # The side view is a slice, or what lies behind would show in the empty place.
        shown = np.flatnonzero(near & (abs(from_site[:, depth]) < (2.5 if depth == 1 else np.inf)))
        for atom in shown[np.argsort(-from_site[shown, depth] * (-1) ** up)]:
            colour, size = looks[relaxed.symbols[atom]]
            edge = "black" if atom in defect.local else "white"
            axes.scatter(*from_site[atom, [0, up]], s=size, color=colour, edgecolor=edge, linewidth=1.2)
        arrows = shown[(np.linalg.norm(moved[shown], axis=1) > 0.02) & ~np.isin(shown, defect.own)]
        axes.quiver(
            *(from_site - moved)[arrows][:, [0, up]].T, *moved[arrows][:, [0, up]].T,
            angles="xy", scale_units="xy", scale=1 / magnification, width=0.005, color="black", zorder=5,
        )  # fmt: skip
        axes.scatter(
            *empty[:, [0, up]].T,
            s=110,
            facecolor="none",
            edgecolor=VERMILION,
            linestyle="--",
            linewidth=1.5,
            zorder=6,
        )
        axes.set(ylabel=f"${'xyz'[up]}$ (Å)", aspect="equal", xlim=wide, ylim=wide if up == 1 else high)
    panels[1].set_xlabel("$x$ (Å)")
    handles = [
        Line2D([], [], marker="o", linestyle="", color=looks[name][0], markersize=8, label=name)
        for name in species
    ]
    handles += [
        Line2D([], [], marker="o", linestyle="", markerfacecolor="none", markeredgecolor="black", label="at the defect"),
        Line2D([], [], marker=r"$\rightarrow$", linestyle="", color="black", label=f"displacement × {magnification:g}"),
    ]  # fmt: skip
    if defect.empty:
        empty_site = {"markerfacecolor": "none", "markeredgecolor": VERMILION, "label": "missing atom"}
        handles.insert(-1, Line2D([], [], marker="o", linestyle="", **empty_site))
    figure.legend(handles=handles, loc="outside lower center", ncols=3, handletextpad=0.1)
    return figure


def committee_modes(
    grid: np.ndarray,
    density: np.ndarray,
    members: np.ndarray,
    modes: list[tuple[Mode, np.ndarray, np.ndarray]],
) -> Figure:
    """Draw the local DOS (states/THz/cell) on `grid` (THz) with the spread of m `members` (m, n_grid), and each mode with its error bars.

    A mode comes with the members' frequencies (m,) in THz and weights at the defect (m,).
    """
    figure, (above, below) = new(6.3, 4.4, nrows=2, sharex=True)
    draw_spread(above, grid, density, members)
    above.set_ylabel("local DOS\n(states / THz / cell)")
    above.legend()
    for number, irrep in enumerate(sorted({mode.irrep for mode, _, _ in modes})):
        chosen = [entry for entry in modes if entry[0].irrep == irrep]
        below.errorbar(
            [mode.frequency_THz for mode, _, _ in chosen], [mode.weight for mode, _, _ in chosen],
            xerr=[frequencies.std(ddof=1) for _, frequencies, _ in chosen],
            yerr=[weights.std(ddof=1) for _, _, weights in chosen],
            fmt=MARKERS[number], color=COLOURS[number], markersize=4, markerfacecolor="none", capsize=2, label=irrep,
        )  # fmt: skip
    below.set(xlabel="frequency (THz)", ylabel="weight at the defect", ylim=(0, None))
    if modes:
        below.legend()
    per_cm_above(above)
    return figure


def weighted_bands(
    bands: Bands, group: str, grid: np.ndarray, totals: dict[str, np.ndarray], locals_: dict[str, np.ndarray]
) -> Figure:
    """Draw bands coloured by the share of `group`; beside them total and local DOS (states/THz/cell).

    `totals` and `locals_` give a DOS on `grid` (THz) for each label, the defective cell's first.
    """
    figure, panels = new(7.2, 4.6, ncols=3, sharey=True, width_ratios=[3.2, 1, 1])
    lines = draw_weights(panels[0], bands, group)
    draw_bands(panels[0], bands)
    figure.colorbar(lines, ax=panels[0], location="top", shrink=0.7, aspect=30, label="weight at the defect")
    for axes, curves, label in ((panels[1], totals, "total DOS"), (panels[2], locals_, "local DOS")):
        for (name, values), (colour, style) in zip(
            curves.items(), ((VERMILION, "-"), ("black", ":")), strict=False
        ):
            axes.plot(values, grid, style, color=colour, linewidth=1.0, label=name)
        axes.set(xlabel=f"{label}\n(states / THz / cell)", xlim=(0, None))
    panels[1].legend(loc="lower center", bbox_to_anchor=(1.0, 1.0), ncols=1)
    per_cm_axis(panels[2])
    return figure


def mode_weights(modes: list[Mode], candidates: list[Mode], evenly: float) -> Figure:
    """Draw the weight at the defect of every mode against frequency (THz), by irrep; `candidates` labelled.

    `evenly` is the weight of a mode spread over all atoms.
    """
    figure, axes = new(6.3, 3.2)
    for irrep, colour, marker in zip(sorted({mode.irrep for mode in modes}), COLOURS, MARKERS, strict=False):
        chosen = [mode for mode in modes if mode.irrep == irrep]
        axes.plot(
            [mode.frequency_THz for mode in chosen], [mode.weight for mode in chosen], marker,
            color=colour, markersize=4, markerfacecolor="none", label=re.sub(r"(\w)(\d?)('*)", r"$\1_{\2}\3$", irrep),
        )  # fmt: skip
    clusters: list[list[Mode]] = []  # one column of labels each, or labels would overlap
    for mode in candidates:
        if clusters and mode.frequency_THz - clusters[-1][-1].frequency_THz < 0.25:
            clusters[-1].append(mode)
        else:
            clusters.append([mode])
    for cluster in clusters:
        # In the order of the symbols, the largest weight on top.
        label = "\n".join(
            f"{mode.frequency_THz:.2f}" for mode in sorted(cluster, key=lambda mode: -mode.weight)
        )
        place = np.mean([mode.frequency_THz for mode in cluster]), max(mode.weight for mode in cluster)
        axes.annotate(label, place, (0, 4), textcoords="offset points", fontsize=7, ha="center")
    axes.axhline(evenly, color="black", linestyle=":", label="spread evenly")
    axes.axhline(ENHANCEMENT * evenly, color="black", linestyle="--", label=f"{ENHANCEMENT:g} × evenly")
    axes.set(xlabel="frequency (THz)", ylabel="weight at the defect")
    labels = max(map(len, clusters), default=0)
    axes.set_ylim(0, (1.1 + 0.06 * labels) * max(mode.weight for mode in modes))
    axes.legend(ncols=2)
    per_cm_above(axes)
    return figure


def paired_weights(pairs: list[PairedSet], atoms: np.ndarray) -> Figure:
    """Draw the weight at `atoms` of each mode of DFT against frequency (THz), joined to that of its partner in the model."""
    figure, axes = new(6.3, 3.2)
    ends = np.array(
        [
            [
                (pair.frequency_THz, pair.motion[atoms].sum()),
                (pair.partner_THz, pair.partner_motion[atoms].sum()),
            ]
            for pair in pairs
        ]
    )
    certain = np.array([pair.overlap > 0.5 for pair in pairs])
    axes.plot(*ends[certain].transpose(2, 1, 0), color="0.6", linewidth=1)
    for column, (label, marker) in enumerate((("DFT", "o"), ("model", "D"))):
        style = {"color": COLOURS[column], "markersize": 4, "linestyle": "none"}
        axes.plot(*ends[certain, column].T, marker=marker, markerfacecolor="none", label=label, **style)
        if not certain.all():
            axes.plot(
                *ends[~certain, column].T, marker="x", label=f"{label}, overlap below one half", **style
            )
    axes.set(xlabel="frequency (THz)", ylabel="weight at the defect")
    axes.set_ylim(-0.02, 1.3 * ends[..., 1].max())
    axes.legend(ncols=2)
    per_cm_above(axes)
    return figure
