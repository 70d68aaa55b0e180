"""The pictures of 03_evaluation, a function each. All return the matplotlib Figure."""

import numpy as np
from ase import Atoms
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from defectphonons.spectra import PER_CM, Bands, PairedSet
from helpers.data import dataset
from helpers.figures.bands import draw_at_ticks, draw_bands
from helpers.figures.style import (
    BLUE,
    COLOURS,
    LINES,
    MARKERS,
    VERMILION,
    look,
    new,
    per_cm_above,
    per_cm_axis,
)


def parity(frames: list[Atoms], predicted: list[Atoms]) -> Figure:
    """Draw force components (eV/A) and energies (meV an atom, by their deviation) of MACE against DFT, by kind."""
    figure, (left, right) = new(6.3, 3.5, ncols=2)
    for number, name in enumerate(sorted({dataset.kind(atoms) for atoms in frames})):
        pairs = [pair for pair in zip(frames, predicted, strict=True) if dataset.kind(pair[0]) == name]
        style = look(number) | {"linestyle": ""}
        forces = [
            np.concatenate([atoms.get_forces().ravel() for atoms in side])
            for side in zip(*pairs, strict=True)
        ]
        left.plot(*forces, label=name, **style | {"markersize": 3})
        right.plot(
            [np.sqrt((atoms.get_forces() ** 2).sum(axis=1).mean()) for atoms, _ in pairs],
            [1000 * (dataset.energy(prediction) - dataset.energy(atoms)) / len(atoms) for atoms, prediction in pairs],
            **style,
        )  # fmt: skip
    left.axline((0, 0), slope=1, color="black", linewidth=0.8, zorder=0)
    left.set(xlabel="force component, DFT (eV/Å)", ylabel="force component, MACE (eV/Å)", aspect="equal")
    right.axhline(0, color="black", linewidth=0.8, zorder=0)
    right.set(xlabel="r.m.s. force on an atom, DFT (eV/Å)", ylabel="energy, MACE − DFT (meV/atom)")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def errors_by_distance(rows: dict[str, dict[float, float]], width: float) -> Figure:
    """Draw the RMSE of force components (meV/A) in shells of `width` A round the defect; shell's inner radius: RMSE."""
    figure, axes = new(4.6, 3.0)
    for number, (name, row) in enumerate(rows.items()):
        middle = [start + width / 2 for start in row]
        axes.plot(middle, row.values(), LINES[number % len(LINES)], label=name, **look(number))
    axes.set(xlabel="distance from the empty site (Å)", ylabel="force RMSE (meV/Å)", ylim=(0, None))
    axes.legend()
    return figure


def bands_against_dft(bands: Bands, dft: Bands, exact: dict[str, np.ndarray]) -> Figure:
    """Draw the bands of a model over those of DFT, both of force constants of one supercell, in THz.

    `exact`: label of a tick -> frequencies (n,) of DFT at it, where a supercell is exact.
    """
    figure, axes = new(5.2, 4.0)
    below = axes.plot(dft.distances, dft.frequencies, color="0.6", linewidth=2.6)
    above = axes.plot(bands.distances, bands.frequencies, color=BLUE, linewidth=1.0)
    draw_bands(axes, dft)
    points = draw_at_ticks(axes, bands, exact)
    figure.legend(
        [below[0], above[0], points[0]], ["DFT, 3 × 3", "model, 3 × 3", "DFT, exact here"],
        loc="outside upper center", ncols=3,
    )  # fmt: skip
    per_cm_axis(axes)
    return figure


def calibration(panels: dict[str, tuple[str, np.ndarray, np.ndarray]], models: int) -> Figure:
    """Draw the error of a model against the spread of `models`, both (n,) in the unit given first, for each panel.

    Circles are root mean squares over tenths by spread. The spread of a few models is noisy itself, so that even errors that
    it describes exactly do not lie on the diagonal: the dashed line is what Gaussian ones would give.
    """
    figure, grid = new(6.3, 5.6, ncols=2, nrows=(len(panels) + 1) // 2, squeeze=False)
    for axes, (name, (unit, spread, error)) in zip(grid.flat, panels.items(), strict=True):
        scattered = spread > 1e-3 * np.sqrt(np.mean(spread**2))  # not zero by symmetry
        spread, error = spread[scattered], error[scattered]
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
    for axes in grid[:, 0]:
        axes.set_ylabel("error")
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def paired_modes(pairs: dict[str, list[PairedSet]], atoms: np.ndarray) -> Figure:
    """Draw the deviation (cm-1) of each mode's partner from it, against its frequency (THz), for each label.

    Area by the motion of `atoms`; modes whose partner overlaps by less than half are crosses.
    """
    figure, axes = new(6.3, 3.4)
    for (name, sets), colour, marker in zip(pairs.items(), COLOURS, MARKERS, strict=False):
        for certain in (True, False):
            chosen = [pair for pair in sets if (pair.overlap > 0.5) == certain]
            if not chosen:
                continue  # nor an entry of the legend
            axes.scatter(
                [pair.frequency_THz for pair in chosen],
                [(pair.partner_THz - pair.frequency_THz) * PER_CM for pair in chosen],
                s=[12 + 150 * pair.motion[atoms].sum() for pair in chosen],
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
