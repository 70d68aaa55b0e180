"""The pictures of 04_pristine, a function each. All return the matplotlib Figure."""

import numpy as np
from matplotlib.figure import Figure

from defectphonons.spectra import PER_CM, Bands, Flexural
from helpers.figures.bands import draw_at_ticks, draw_bands
from helpers.figures.style import BLUE, GREEN, ORANGE, VERMILION, new, per_cm_above, per_cm_axis


def bands_and_dos(bands: Bands, grid: np.ndarray, total: np.ndarray, dft: dict[str, np.ndarray]) -> Figure:
    """Draw the bands (THz) along the path, and beside them the total DOS (states/THz/cell) on `grid`.

    `dft`: label of a tick -> frequencies (n,) in THz at it, drawn as points.
    """
    figure, (left, right) = new(6.3, 4.0, ncols=2, sharey=True, width_ratios=[3, 1])
    lines = left.plot(bands.distances, bands.frequencies, color=BLUE)
    draw_bands(left, bands)
    if points := draw_at_ticks(left, bands, dft):
        figure.legend([lines[0], points[0]], ["model", "DFT"], loc="outside upper center", ncols=2)
    right.plot(total, grid, color="black")
    right.fill_betweenx(grid, total, color="0.88")
    right.set(xlabel="DOS\n(states / THz / cell)", xlim=(0, None))
    per_cm_axis(right)
    return figure


def committee_bands(bands: Bands, members: np.ndarray) -> Figure:
    """Draw the bands of a model, and below them the standard deviation of each branch over the `members` (m, n_q, n_modes) in THz."""
    figure, (above, below) = new(5.2, 4.6, nrows=2, sharex=True, height_ratios=[2, 1])
    deviation = members.std(axis=0, ddof=1)
    above.plot(bands.distances, bands.frequencies, color=BLUE, linewidth=0.9)
    for branch, around in zip(bands.frequencies.T, deviation.T, strict=True):
        filled = above.fill_between(
            bands.distances, branch - around, branch + around, color=ORANGE, alpha=0.6, linewidth=0
        )
    draw_bands(above, bands)
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
    """Draw the total DOS and its parts (states/THz/cell) against frequency in THz."""
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
    """Draw the ZA branch near Gamma for each label, and the q^2 law of the last one."""
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
    """Draw the heat capacity (k_B) with its classical `limit`, and the free energy (eV), against temperature (K)."""
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
