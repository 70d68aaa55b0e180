"""Every picture, one function each. All return the matplotlib Figure; `save` writes it."""

import re
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from ase import Atoms, units
from ase.geometry import find_mic
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import LogLocator, NullFormatter, PercentFormatter

from defectphonons import caching
from defectphonons.following import Continued
from defectphonons.localisation import ENHANCEMENT, Decay, Mode
from defectphonons.spectra import PER_CM, Bands, Flexural, PairedSet
from defectphonons.structures import Defect
from helpers.data import dataset
from helpers.parameters import Run

# Okabe and Ito's colours: told apart by the colour-blind and, with the line styles, in grey print.
BLUE, VERMILION, GREEN, ORANGE, SKY, PURPLE = (
    "#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9", "#CC79A7",
)  # fmt: skip
STYLE = {
    "figure.constrained_layout.use": True,
    "figure.dpi": 110,
    "savefig.dpi": 200,
    "font.size": 9,
    "axes.labelsize": 9,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "axes.spines.top": False,
    "pdf.fonttype": 42,
}


def new(width: float = 6.3, height: float = 3.6, **subplots: Any) -> tuple[Figure, Any]:
    """A figure of `width` x `height` inches in the compendium's style, and its axes."""
    plt.rcParams.update(STYLE)  # each time, for MACE sets a font size of its own when it is imported
    return plt.subplots(figsize=(width, height), **subplots)


def per_cm_axis(axes: Axes) -> None:
    """A right-hand axis in cm-1 beside a vertical axis in THz."""
    right = axes.secondary_yaxis("right", functions=(lambda f: f * PER_CM, lambda k: k / PER_CM))
    right.set_ylabel("wavenumber (cm$^{-1}$)")


def per_cm_above(axes: Axes) -> None:
    """An upper axis in cm-1 above a horizontal axis in THz."""
    top = axes.secondary_xaxis("top", functions=(lambda f: f * PER_CM, lambda k: k / PER_CM))
    top.set_xlabel("wavenumber (cm$^{-1}$)")


COLOURS = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY)
MARKERS = "osD^vP"
LINES = ("-", "--", "-.", ":", "-", "--")


def _look(number: int) -> dict[str, Any]:
    """Colour and hollow marker that tell 42 kinds of thing apart."""
    return {
        "color": (*COLOURS, "black")[number % 7],
        "marker": MARKERS[number % 6],
        "markersize": 4,
        "markerfacecolor": "none",
    }


def labelled_data(frames: list[Atoms]) -> Figure:
    """Two panels: energy against forces of each frame, and how the forces are distributed, by kind.

    Energies in meV an atom above the lowest frame of the kind, forces in eV/A.
    """
    figure, (left, right) = new(6.3, 3.4, ncols=2)
    for number, name in enumerate(sorted({dataset.kind(atoms) for atoms in frames})):
        members = [atoms for atoms in frames if dataset.kind(atoms) == name]
        energies = np.array([dataset.energy(atoms) / len(atoms) for atoms in members])
        forces = [np.linalg.norm(atoms.calc.results["forces"], axis=1) for atoms in members]
        left.plot(
            [np.sqrt((each**2).mean()) for each in forces],
            1000 * (energies - energies.min()),
            linestyle="", label=name, **_look(number),
        )  # fmt: skip
        ordered = np.sort(np.concatenate(forces))
        share = 1 - np.arange(len(ordered)) / len(ordered)
        right.plot(ordered, share, markevery=max(1, len(ordered) // 8), **_look(number))
    left.set(
        xlabel="r.m.s. force on an atom (eV/Å)", ylabel="energy above the lowest of its kind\n(meV per atom)"
    )
    right.set(xlabel="force on an atom (eV/Å)", ylabel="share of atoms with a larger force", ylim=(0, 1.02))
    right.set_xlim(left=0)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def energies_follow_forces(pairs: list[tuple[int, int, float, float]]) -> Figure:
    """Energy difference of close frames against the work of their forces (eV), from `close_pairs`.

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


def _draw_bands(axes: Axes, bands: Bands) -> None:
    """Frame of a band plot: ticks at the corners of the zone, THz, a line at zero."""
    for distance, _ in bands.ticks[1:-1]:
        axes.axvline(distance, color="0.8", linewidth=0.6, zorder=0)
    axes.set_xticks([distance for distance, _ in bands.ticks], [label for _, label in bands.ticks])
    axes.set_xlim(bands.distances[0], bands.distances[-1])
    axes.set_ylabel("frequency (THz)")
    axes.set_ylim(min(0.0, 1.05 * bands.frequencies.min()), 1.03 * bands.frequencies.max())
    axes.axhline(0.0, color="0.8", linewidth=0.6, zorder=0)


def _draw_at_ticks(axes: Axes, bands: Bands, exact: dict[str, np.ndarray]) -> list[Line2D]:
    return [
        axes.plot(
            np.full(len(exact[label]), place), exact[label], "o", color=VERMILION, markersize=4.5,
            markerfacecolor="none", clip_on=False,
        )[0]
        for place, label in bands.ticks
        if label in exact
    ]  # fmt: skip


def _draw_weights(axes: Axes, bands: Bands, group: str) -> LineCollection:
    """The bands in the colour and width of their weight on `group`."""
    share = bands.shares[group]
    points = np.stack(np.broadcast_arrays(bands.distances[:, None], bands.frequencies), axis=-1)
    segments = np.stack([points[:-1], points[1:]], axis=2).reshape(-1, 2, 2)
    weight = ((share[:-1] + share[1:]) / 2).ravel()
    order = weight.argsort()  # the strongest drawn last
    colours = LinearSegmentedColormap.from_list("weight", ["0.88", "0.75", ORANGE, VERMILION, "#3b0f00"])
    lines = LineCollection(
        segments[order], array=weight[order], cmap=colours, norm=Normalize(0, weight.max()),
        linewidths=0.5 + 1.8 * weight[order] / weight.max(), rasterized=True,
    )  # fmt: skip
    axes.add_collection(lines)
    return lines


def pipeline() -> Figure:
    """From DFT to phonons: what is computed from what, and the notebook that does it."""
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
    """Branches (n_q, n) in THz of each chain, (computed, exact), against q (reciprocal lattice vectors)."""
    figure, panels = new(6.3, 2.8, ncols=len(branches), sharey=True)
    for axes, (name, (found, exact)) in zip(panels, branches.items(), strict=True):
        axes.plot(q, exact, color="black", label=["formula"] + [None] * (exact.shape[1] - 1))
        axes.plot(q[::4], found[::4], "o", color=BLUE, markerfacecolor="none", markersize=4,
                  label=["computed"] + [None] * (exact.shape[1] - 1))  # fmt: skip
        axes.set(title=name, xlabel="$q a / 2\\pi$", ylim=(0, None), xlim=(0, 0.5))
    panels[0].set_ylabel("frequency (THz)")
    panels[0].legend()
    return figure


def densities(edges: np.ndarray, counts: dict[str, np.ndarray]) -> Figure:
    """Densities of states, each of unit integral, between the `edges` of frequency over the largest one."""
    figure, axes = new(4.6, 3.0)
    for (name, values), colour, line in zip(counts.items(), COLOURS, LINES, strict=False):
        axes.plot((edges[1:] + edges[:-1]) / 2, values, line, color=colour, label=name)
    axes.set(xlabel="frequency / largest frequency", ylabel="density of states", xlim=(0, 1), ylim=(0, 4))
    axes.legend()
    return figure


def bands_and_dos(bands: Bands, grid: np.ndarray, total: np.ndarray, dft: dict[str, np.ndarray]) -> Figure:
    """Bands (THz) along the path, and beside them the total DOS (states/THz/cell) on `grid`.

    `dft`: label of a tick -> frequencies (n,) in THz there, drawn as points.
    """
    figure, (left, right) = new(6.3, 4.0, ncols=2, sharey=True, width_ratios=[3, 1])
    lines = left.plot(bands.distances, bands.frequencies, color=BLUE)
    _draw_bands(left, bands)
    if points := _draw_at_ticks(left, bands, dft):
        figure.legend([lines[0], points[0]], ["model", "DFT"], loc="outside upper center", ncols=2)
    right.plot(total, grid, color="black")
    right.fill_betweenx(grid, total, color="0.88")
    right.set(xlabel="DOS\n(states / THz / cell)", xlim=(0, None))
    per_cm_axis(right)
    return figure


def committee_bands(bands: Bands, members: np.ndarray) -> Figure:
    """Bands of a model, and below them the standard deviation of each branch over the `members` (m, n_q, n_modes) in THz."""
    figure, (above, below) = new(5.2, 4.6, nrows=2, sharex=True, height_ratios=[2, 1])
    deviation = members.std(axis=0, ddof=1)
    above.plot(bands.distances, bands.frequencies, color=BLUE, linewidth=0.9)
    for branch, around in zip(bands.frequencies.T, deviation.T, strict=True):
        filled = above.fill_between(
            bands.distances, branch - around, branch + around, color=ORANGE, alpha=0.6, linewidth=0
        )
    _draw_bands(above, bands)
    figure.legend(
        [above.lines[0], filled], ["model", f"± standard deviation of {len(members)} models"],
        loc="outside upper center", ncols=2,
    )  # fmt: skip
    acoustic = below.plot(bands.distances, deviation[:, :3] * PER_CM, color=VERMILION, linestyle="--")
    optical = below.plot(bands.distances, deviation[:, 3:] * PER_CM, color="black", linewidth=0.9)
    for distance, _ in bands.ticks[1:-1]:
        below.axvline(distance, color="0.8", linewidth=0.6, zorder=0)
    below.set(ylabel="standard deviation\n(cm$^{-1}$)", ylim=(0, 1.3 * deviation.max() * PER_CM))
    below.legend([acoustic[0], optical[0]], ["branches 1 to 3", "the others"], ncols=2)
    return figure


def projected_dos(grid: np.ndarray, total: np.ndarray, parts: dict[str, np.ndarray]) -> Figure:
    """Total DOS and its parts (states/THz/cell) against frequency in THz."""
    figure, axes = new(6.3, 3.2)
    axes.plot(grid, total, color="black", linewidth=0.8, label="total")
    axes.fill_between(grid, total, color="0.92")
    for (name, part), colour, line in zip(
        parts.items(), (BLUE, VERMILION, GREEN), ("-", "--", ":"), strict=False
    ):
        axes.plot(grid, part, line, color=colour, linewidth=1.6, label=name)
    axes.set(xlabel="frequency (THz)", ylabel="DOS (states / THz / cell)", ylim=(0, None))
    axes.set_xlim(grid[0], grid[-1])
    axes.legend()
    per_cm_above(axes)
    return figure


def flexural(branches: dict[str, Flexural]) -> Figure:
    """ZA branch near Gamma for each label, and the q^2 law of the last one."""
    figure, axes = new(4.6, 3.4)
    styles = ((VERMILION, "s--"), (BLUE, "o-"))
    for (label, branch), (colour, style) in zip(branches.items(), styles, strict=True):
        axes.plot(
            branch.q,
            branch.frequencies,
            style,
            color=colour,
            markersize=4,
            markerfacecolor="none",
            label=label,
        )
    stiffness = np.sqrt(branch.quadratic)
    axes.plot(
        branch.q, stiffness * branch.q**2, ":", color="black", label=f"{stiffness:.1f} THz Å$^2$ × $q^2$"
    )
    axes.axhline(0.0, color="0.8", linewidth=0.6, zorder=0)
    axes.set(xlabel="$q$ along Γ–M (1/Å)", ylabel="frequency (THz), negative if imaginary")
    axes.legend()
    return figure


def thermal(functions: dict[str, np.ndarray], limit: float) -> Figure:
    """Heat capacity (k_B) with its classical `limit`, and free energy (eV), against temperature (K)."""
    figure, (left, right) = new(6.3, 2.8, ncols=2)
    temperature = functions["temperature"]
    left.plot(temperature, functions["heat_capacity_kB"], color=BLUE, label="harmonic")
    left.axhline(limit, color="black", linestyle=":", label=f"Dulong and Petit, {limit:.0f} $k_B$")
    left.set(xlabel="temperature (K)", ylabel="heat capacity ($k_B$ / cell)", ylim=(0, None))
    left.legend(loc="lower right")
    right.plot(temperature, functions["free_energy_eV"], color=BLUE)
    right.axhline(0.0, color="0.8", linewidth=0.6, zorder=0)
    right.set(xlabel="temperature (K)", ylabel="vibrational free energy (eV / cell)")
    return figure


def vacancy(defect: Defect, relaxed: Atoms) -> Figure:
    """Top and side view of the relaxed cell within 7.5 A of the missing atom.

    Arrows from the ideal places, five times as long as the atoms moved.
    """
    radius, magnification = 7.5, 5.0
    from_site = find_mic(relaxed.positions - defect.site, relaxed.cell, relaxed.pbc)[0]
    moved = find_mic(relaxed.positions - defect.atoms.positions, relaxed.cell, relaxed.pbc)[0]
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
        arrows = shown[np.linalg.norm(moved[shown], axis=1) > 0.02]
        axes.quiver(
            *(from_site - moved)[arrows][:, [0, up]].T, *moved[arrows][:, [0, up]].T,
            angles="xy", scale_units="xy", scale=1 / magnification, width=0.005, color="black", zorder=5,
        )  # fmt: skip
        axes.scatter(
            0, 0, s=110, facecolor="none", edgecolor=VERMILION, linestyle="--", linewidth=1.5, zorder=6
        )
        axes.set(ylabel=f"${'xyz'[up]}$ (Å)", aspect="equal", xlim=wide, ylim=wide if up == 1 else high)
    panels[1].set_xlabel("$x$ (Å)")
    handles = [
        Line2D([], [], marker="o", linestyle="", color=looks[name][0], markersize=8, label=name)
        for name in species
    ]
    handles += [
        Line2D([], [], marker="o", linestyle="", markerfacecolor="none", markeredgecolor="black", label="at the defect"),
        Line2D([], [], marker="o", linestyle="", markerfacecolor="none", markeredgecolor=VERMILION, label="missing atom"),
        Line2D([], [], marker=r"$\rightarrow$", linestyle="", color="black", label=f"displacement × {magnification:g}"),
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=3, handletextpad=0.1)
    return figure


def _draw_spread(axes: Axes, grid: np.ndarray, density: np.ndarray, members: np.ndarray) -> None:
    deviation = members.std(axis=0, ddof=1)
    axes.plot(grid, density, color=BLUE, label="model")
    axes.fill_between(
        grid, density - deviation, density + deviation, color=ORANGE, alpha=0.6, linewidth=0,
        label=f"± standard deviation of {len(members)} models",
    )  # fmt: skip
    axes.set(xlim=(grid[0], grid[-1]), ylim=(0, None))


def committee_modes(
    grid: np.ndarray,
    density: np.ndarray,
    members: np.ndarray,
    modes: list[tuple[Mode, np.ndarray, np.ndarray]],
) -> Figure:
    """Local DOS (states/THz/cell) on `grid` (THz) with the spread of m `members` (m, n_grid), and each mode with its error bars.

    A mode comes with the members' frequencies (m,) in THz and weights at the defect (m,).
    """
    figure, (above, below) = new(6.3, 4.4, nrows=2, sharex=True)
    _draw_spread(above, grid, density, members)
    above.set_ylabel("local DOS\n(states / THz / cell)")
    above.legend()
    for number, irrep in enumerate(sorted({mode.irrep for mode, _, _ in modes})):
        chosen = [each for each in modes if each[0].irrep == irrep]
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
    """Bands coloured by the share of `group`; beside them total and local DOS (states/THz/cell).

    `totals` and `locals_` give a DOS on `grid` (THz) for each label, the defective cell's first.
    """
    figure, panels = new(7.2, 4.6, ncols=3, sharey=True, width_ratios=[3.2, 1, 1])
    lines = _draw_weights(panels[0], bands, group)
    _draw_bands(panels[0], bands)
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


def comparison(
    bands: Bands, pristine: np.ndarray, group: str, grid: np.ndarray, dos: dict[str, np.ndarray]
) -> Figure:
    """Bands over those of the pristine sheet, its local DOS over the pristine one, and their difference.

    `pristine` (n_q, n_modes) in THz at the q points of `bands`, whose weight on `group` is the colour;
    `dos` holds the local DOS (states/THz/cell) on `grid` (THz), the defective cell's first.
    """
    figure, panels = new(7.2, 4.6, ncols=3, sharey=True, width_ratios=[3.2, 1, 1])
    panels[0].plot(bands.distances, pristine, color=SKY, linewidth=1.0, zorder=0, rasterized=True)
    lines = _draw_weights(panels[0], bands, group)
    _draw_bands(panels[0], bands)
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
    """Local DOS less the pristine one (states/THz/cell) on `grid` (THz), for each cell."""
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
    """Frequency (THz), weight of `group` and participating atoms of each mode against n of the n x n cell.

    Bars reach from the lower to the upper quarter of the frequency's distribution (half the width each way).
    """
    figure, panels = new(7.2, 3.6, ncols=3, sharex=True)
    for number, (name, found) in enumerate(zip(names, modes, strict=True)):
        style = _look(number) | {"linestyle": LINES[number // 6 % 6]}
        panels[0].errorbar(
            sizes, [each.frequency_THz for each in found], [each.width_THz / 2 for each in found],
            capsize=2, label=name, **style,
        )  # fmt: skip
        panels[1].plot(sizes, [each.weights[group] for each in found], **style)
        panels[2].plot(sizes, [each.atoms for each in found], **style)
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


def committee_shells(grid: np.ndarray, shells: dict[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """DOS of each shell (states/THz/atom) on `grid` (THz) of a model, with the standard deviation of m members (m, n_grid)."""
    figure, panels = new(6.3, 1.5 + 1.2 * len(shells), nrows=len(shells), sharex=True, squeeze=False)
    for axes, (name, (density, members)) in zip(panels[:, 0], shells.items(), strict=True):
        _draw_spread(axes, grid, density, members)
        axes.set_title(name, loc="left", fontsize=9)
    panels[0, 0].legend()
    panels[-1, 0].set_xlabel("frequency (THz)")
    figure.supylabel("DOS (states / THz / atom)", fontsize=9)
    return figure


def radial_dos(grid: np.ndarray, shells: dict[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """Local DOS (states/THz/atom) on `grid` (THz) of each shell, nearest first: (defective, pristine)."""
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
    """Share of the local states that lie elsewhere against distance (A), and the law fitted, by species."""
    figure, axes = new(4.6, 3.2)
    for (name, points), colour, marker, line in zip(shares.items(), COLOURS, MARKERS, LINES, strict=False):
        axes.plot(*points, marker, color=colour, markerfacecolor="none", label=name)
        if law := laws[name]:
            distances = np.linspace(points[0].min(), points[0].max())
            label = f"{name}: floor of {law.floor:.1%}, decay over {law.length:.1f} Å"
            axes.plot(distances, law(distances), line, color=colour, label=label)
    axes.set(
        xlabel="distance from the empty site (Å)", ylabel="share of local states elsewhere", yscale="log"
    )
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.yaxis.set_minor_formatter(PercentFormatter(1, decimals=0))
    axes.yaxis.set_minor_locator(LogLocator(subs=(2, 3, 5)))
    axes.legend()
    return figure


def mode_weights(modes: list[Mode], candidates: list[Mode], evenly: float) -> Figure:
    """Weight at the defect of every mode against frequency (THz), by irrep; `candidates` labelled.

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


def learning_curves(curves: dict[str, dict[str, np.ndarray]]) -> Figure:
    """Validation RMSE of forces and of the energy over the epochs; `curves` by name, from training.read_log.

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


def parity(frames: list[Atoms], predicted: list[Atoms]) -> Figure:
    """Force components (eV/A) and energies (meV an atom, by their deviation) of MACE against DFT, by kind."""
    figure, (left, right) = new(6.3, 3.5, ncols=2)
    for number, name in enumerate(sorted({dataset.kind(atoms) for atoms in frames})):
        pairs = [pair for pair in zip(frames, predicted, strict=True) if dataset.kind(pair[0]) == name]
        style = _look(number) | {"linestyle": ""}
        forces = [
            np.concatenate([atoms.get_forces().ravel() for atoms in side])
            for side in zip(*pairs, strict=True)
        ]
        left.plot(*forces, label=name, **style | {"markersize": 3})
        right.plot(
            [np.sqrt((atoms.get_forces() ** 2).sum(axis=1).mean()) for atoms, _ in pairs],
            [1000 * (dataset.energy(ours) - dataset.energy(atoms)) / len(atoms) for atoms, ours in pairs],
            **style,
        )  # fmt: skip
    left.axline((0, 0), slope=1, color="black", linewidth=0.8, zorder=0)
    left.set(xlabel="force component, DFT (eV/Å)", ylabel="force component, MACE (eV/Å)", aspect="equal")
    right.axhline(0, color="black", linewidth=0.8, zorder=0)
    right.set(xlabel="r.m.s. force on an atom, DFT (eV/Å)", ylabel="energy, MACE − DFT (meV/atom)")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def errors_by_distance(rows: dict[str, dict[float, float]], width: float) -> Figure:
    """RMSE of force components (meV/A) in shells of `width` A round the defect; shell's inner radius: RMSE."""
    figure, axes = new(4.6, 3.0)
    for (name, row), colour, marker, line in zip(rows.items(), COLOURS, MARKERS, LINES, strict=False):
        middle = [start + width / 2 for start in row]
        axes.plot(middle, row.values(), line, marker=marker, color=colour, markerfacecolor="none", label=name)
    axes.set(xlabel="distance from the empty site (Å)", ylabel="force RMSE (meV/Å)", ylim=(0, None))
    axes.legend()
    return figure


def bands_against_dft(bands: Bands, dft: Bands, exact: dict[str, np.ndarray]) -> Figure:
    """Bands of a model over those of DFT, both of force constants of one supercell, in THz.

    `exact`: label of a tick -> frequencies (n,) of DFT there, where a supercell is exact.
    """
    figure, axes = new(5.2, 4.0)
    below = axes.plot(dft.distances, dft.frequencies, color="0.6", linewidth=2.6)
    above = axes.plot(bands.distances, bands.frequencies, color=BLUE, linewidth=1.0)
    _draw_bands(axes, dft)
    points = _draw_at_ticks(axes, bands, exact)
    figure.legend(
        [below[0], above[0], points[0]], ["DFT, 3 × 3", "model, 3 × 3", "DFT, exact here"],
        loc="outside upper center", ncols=3,
    )  # fmt: skip
    per_cm_axis(axes)
    return figure


def calibration(panels: dict[str, tuple[str, np.ndarray, np.ndarray]], models: int) -> Figure:
    """Error of a model against the spread of `models`, both (n,) in the unit given first, for each panel.

    Circles are root mean squares over tenths by spread. The spread of a few models is noisy itself, so that even errors that
    it describes exactly do not lie on the diagonal: the dashed line is what Gaussian ones would give.
    """
    figure, every = new(6.3, 5.6, ncols=2, nrows=(len(panels) + 1) // 2, squeeze=False)
    for axes, (name, (unit, spread, error)) in zip(every.flat, panels.items(), strict=True):
        there = spread > 1e-3 * np.sqrt(np.mean(spread**2))  # not zero by symmetry
        spread, error = spread[there], error[there]
        rng = np.random.default_rng(0)
        spreads = spread * np.sqrt(rng.chisquare(models - 1, (100, len(spread))) / (models - 1))
        errors = spread * rng.normal(size=spreads.shape)
        rms, ideal = (
            np.array([
                [np.sqrt(np.mean(values[part] ** 2)) for part in np.array_split(by.argsort(), 10)] for values in (by, of)
            ])
            for by, of in ((spread, error), (spreads.ravel(), errors.ravel()))
        )  # fmt: skip
        axes.loglog(spread, abs(error), ".", color="0.75", markersize=2, zorder=0, rasterized=True)
        axes.loglog(
            *rms, "o", color=BLUE, markersize=5, markerfacecolor="none", label="root mean squares of tenths"
        )
        axes.loglog(*ideal, "--", color=VERMILION, label="Gaussian errors as large as the spread")
        ends = np.array([rms[0].min() / 2, rms[0].max() * 2])
        axes.loglog(ends, ends, color="black", linewidth=0.8, label="error = spread")
        axes.set(
            xlabel=f"spread ({unit})", xlim=ends, ylim=(rms.min() / 10, 2 * abs(error).max()),
        )  # fmt: skip
        axes.set_title(name, fontsize=9)
        axes.xaxis.set_minor_formatter(NullFormatter())
    for axes in every[:, 0]:
        axes.set_ylabel("error")
    figure.legend(*every[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def paired_modes(pairs: dict[str, list[PairedSet]], atoms: np.ndarray) -> Figure:
    """Deviation (cm-1) of each mode's partner from it, against its frequency (THz), for each label.

    Area by the motion of `atoms`; modes whose partner overlaps by less than half are crosses.
    """
    figure, axes = new(6.3, 3.4)
    for (name, found), colour, marker in zip(pairs.items(), COLOURS, MARKERS, strict=False):
        for certain in (True, False):
            chosen = [each for each in found if (each.overlap > 0.5) == certain]
            if not chosen:
                continue  # nor an entry of the legend
            axes.scatter(
                [each.frequency_THz for each in chosen],
                [(each.partner_THz - each.frequency_THz) * PER_CM for each in chosen],
                s=[12 + 150 * each.motion[atoms].sum() for each in chosen],
                **({"facecolor": "none", "edgecolor": colour, "marker": marker} if certain else {"color": colour, "marker": "x"}),
                label=name + ("" if certain else ", overlap below one half"),
            )  # fmt: skip
    axes.axhline(0.0, color="black", linewidth=0.8, zorder=0)
    axes.set(xlabel="frequency, DFT (THz)", ylabel="deviation from DFT (cm$^{-1}$)")
    figure.legend(loc="outside lower center", ncols=2)
    per_cm_above(axes)
    return figure


def local_dos(grid: np.ndarray, densities: dict[str, np.ndarray]) -> Figure:
    """Draw local DOS (states/THz) on `grid` (THz): the first entry filled, the others as lines."""
    figure, axes = new(6.3, 3.0)
    (name, values), *others = densities.items()
    axes.fill_between(grid, values, color="0.8", label=name)
    for (name, values), colour, line in zip(others, COLOURS, LINES, strict=False):
        axes.plot(grid, values, line, color=colour, label=name)
    axes.set(xlabel="frequency (THz)", ylabel="local DOS (states / THz)", ylim=(0, None), xlim=(0, grid[-1]))
    axes.legend(loc="upper left")
    per_cm_above(axes)
    return figure


def paired_weights(pairs: list[PairedSet], atoms: np.ndarray) -> Figure:
    """Weight at `atoms` of each mode of DFT against frequency (THz), joined to that of its partner in the model."""
    figure, axes = new(6.3, 3.2)
    ends = np.array(
        [
            [
                (each.frequency_THz, each.motion[atoms].sum()),
                (each.partner_THz, each.partner_motion[atoms].sum()),
            ]
            for each in pairs
        ]
    )
    certain = np.array([each.overlap > 0.5 for each in pairs])
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


def cells_and_largest(grid: np.ndarray, local: dict[str, np.ndarray]) -> Figure:
    """Local DOS (states/THz) on `grid` (THz) of a defect in each cell; below, each less that of the last, the largest."""
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
    """States below each frequency of `grid` (THz) that a defect adds, by irrep and in all; below, per THz."""
    figure, (upper, lower) = new(6.3, 4.6, nrows=2, sharex=True)
    curves = list(gained.items()) + [("all", sum(gained.values()))]
    colours = (*COLOURS[: len(gained)], "black")
    for (name, values), colour, line in zip(curves, colours, ("-", "--", "-.", "-"), strict=False):
        label = re.sub(r"^(\w)(\d?)$", r"$\1_{\2}$", name)
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
    """Each mode against 1/N, the number of `atoms` of an n x n cell: frequency (THz), part within 0.01 THz, atoms.

    The last panel has the share of its pattern that one eigenmode holds, from dilute.strongest.
    """
    figure, panels = new(7.2, 5.2, ncols=2, nrows=2, sharex=True)
    panels = panels.ravel()
    for number, (name, track) in enumerate(tracks.items()):
        style = _look(number) | {"linestyle": LINES[number // 6 % 6]}
        places = [1 / atoms[n] for n in track]
        panels[0].plot(places, [found.frequency_THz for found in track.values()], label=name, **style)
        panels[1].plot(places, [found.core for found in track.values()], **style)
        panels[2].plot(places, [found.atoms for found in track.values()], **style)
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
    """States per THz and cell (n_grid, n_q) at each q of a path and frequency of `grid` (THz), by cells per vacancy.

    On a logarithmic scale, for what vacancies add is faint beside the bands.
    """
    figure, panels = new(7.2, 5.6, ncols=2, nrows=2, sharex=True, sharey=True)
    highest = max(density.max() for density in densities.values())
    for axes, (count, density) in zip(panels.ravel(), densities.items(), strict=False):
        image = axes.pcolormesh(
            distances, grid, density, norm=LogNorm(highest / 300, highest), cmap="magma_r", shading="gouraud", rasterized=True
        )  # fmt: skip
        axes.set(title=f"1 vacancy in {count} cells")
        axes.set_xticks([distance for distance, _ in ticks], [label for _, label in ticks])
    for axes in panels[:, 0]:
        axes.set_ylabel("frequency (THz)")
    figure.colorbar(image, ax=panels, label="states / THz / cell", shrink=0.7)
    return figure


def linewidths(frequencies: np.ndarray, widths: np.ndarray) -> Figure:
    """Width (THz, full, at half maximum) of each branch against its frequency (THz), both (n_q, n_branches).

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


def active_learning(
    errors: dict[str, np.ndarray],
    labels: np.ndarray,
    atoms: dict[str, np.ndarray],
    kinds: dict[str, dict[str, float]],
) -> Figure:
    """Three panels: force RMSE against labelled frames, and against the atoms in them, by rule; and what was chosen.

    `errors`: rule -> (splits, n) in meV/A, drawn as mean and its standard error; `labels` (n,); `atoms`: rule -> (n,);
    `kinds`: rule -> kind of cell -> share of the frames chosen.
    """
    figure, (left, middle, right) = new(7.4, 3.1, ncols=3, width_ratios=(1.2, 1.2, 1))
    for number, (rule, every) in enumerate(errors.items()):
        look = {"color": COLOURS[number], "marker": MARKERS[number], "linestyle": LINES[number],
                "markersize": 4, "markerfacecolor": "none", "capsize": 2}  # fmt: skip
        spread = every.std(axis=0, ddof=1) / np.sqrt(len(every))
        left.errorbar(labels, every.mean(axis=0), spread, label=rule, **look)
        middle.errorbar(atoms[rule], every.mean(axis=0), spread, **look)
        places = np.arange(len(kinds[rule])) + 0.36 * (number - 0.5)
        hatch = ("", "///")[number % 2]
        right.barh(
            places, list(kinds[rule].values()), 0.34, color=COLOURS[number], hatch=hatch, edgecolor="white"
        )
    left.set(xlabel="labelled frames", ylabel="force RMSE on held-out frames (meV/Å)")
    middle.set(xlabel="atoms in them", xscale="log")
    left.legend()
    right.set_yticks(np.arange(len(kinds[rule])), list(kinds[rule]), fontsize=7)
    right.invert_yaxis()
    right.set(xlabel="share of the frames\nchosen first")
    return figure


def queries(
    grid: np.ndarray,
    truth: np.ndarray,
    snapshots: dict[str, dict[int, tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]],
) -> Figure:
    """A row for each strategy, a panel for each number of queries: truth, mean with twice its deviation, and the queries.

    `snapshots`: strategy -> number of queries -> places, values, mean (n_grid,), standard deviation (n_grid,).
    """
    figure, every = new(
        6.3,
        3.8,
        nrows=len(snapshots),
        ncols=len(next(iter(snapshots.values()))),
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    for row, (strategy, numbers) in zip(every, snapshots.items(), strict=True):
        for axes, (number, (places, values, mean, deviation)) in zip(row, numbers.items(), strict=True):
            axes.fill_between(
                grid, mean - 2 * deviation, mean + 2 * deviation, color=SKY, alpha=0.4, linewidth=0
            )
            axes.plot(grid, truth, "k--", linewidth=0.8, label="function")
            axes.plot(grid, mean, color=BLUE, label="mean, twice the deviation")
            axes.plot(places, values, "o", color=VERMILION, markersize=4, label="queried")
            axes.set_title(f"{number} points", fontsize=8)
        row[0].set_ylabel(strategy)
    for axes in every[-1]:
        axes.set_xlabel("x")
    figure.legend(*every[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


def save(figure: Figure, run: Run, name: str) -> None:
    """Write NAME.pdf and NAME.png into the run's folder."""
    for suffix in (".pdf", ".png"):
        path = run.folder / f"{name}{suffix}"
        # Without the date and the software, files of equal pictures are equal.
        names = ("CreationDate", "Creator", "Producer") if suffix == ".pdf" else ("Software",)
        metadata = dict.fromkeys(names)
        with caching.whole_file(path) as temporary:
            figure.savefig(temporary, metadata=metadata)
