"""The style of all pictures: colours, markers, axes in two units; `save` writes a picture."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from defectphonons import caching
from defectphonons.spectra import PER_CM
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
    """Return a figure of `width` x `height` inches in the compendium's style, and its axes."""
    plt.rcParams.update(STYLE)  # each time, for MACE sets a font size of its own when it is imported
    return plt.subplots(figsize=(width, height), **subplots)


def per_cm_axis(axes: Axes) -> None:
    """Draw a right-hand axis in cm-1 beside a vertical axis in THz."""
    right = axes.secondary_yaxis("right", functions=(lambda f: f * PER_CM, lambda k: k / PER_CM))
    right.set_ylabel("wavenumber (cm$^{-1}$)")


def per_cm_above(axes: Axes) -> None:
    """Draw an upper axis in cm-1 above a horizontal axis in THz."""
    top = axes.secondary_xaxis("top", functions=(lambda f: f * PER_CM, lambda k: k / PER_CM))
    top.set_xlabel("wavenumber (cm$^{-1}$)")


COLOURS = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY)
MARKERS = "osD^vP"
LINES = ("-", "--", "-.", ":", "-", "--")


def look(number: int) -> dict[str, Any]:
    """Return colour and hollow marker, which tell 42 kinds of thing apart."""
    return {
        "color": (*COLOURS, "black")[number % 7],
        "marker": MARKERS[number % 6],
        "markersize": 4,
        "markerfacecolor": "none",
    }


def draw_spread(axes: Axes, grid: np.ndarray, density: np.ndarray, members: np.ndarray) -> None:
    deviation = members.std(axis=0, ddof=1)
    axes.plot(grid, density, color=BLUE, label="model")
    axes.fill_between(
        grid, density - deviation, density + deviation, color=ORANGE, alpha=0.6, linewidth=0,
        label=f"± standard deviation of {len(members)} models",
    )  # fmt: skip
    axes.set(xlim=(grid[0], grid[-1]), ylim=(0, None))


def save(figure: Figure, run: Run, name: str) -> None:
    """Write NAME.pdf and NAME.png into the run's folder."""
    for suffix in (".pdf", ".png"):
        path = run.folder / f"{name}{suffix}"
        # Without the date and the software, files of equal pictures are equal.
        names = ("CreationDate", "Creator", "Producer") if suffix == ".pdf" else ("Software",)
        metadata = dict.fromkeys(names)
        with caching.whole_file(path) as temporary:
            figure.savefig(temporary, metadata=metadata)
