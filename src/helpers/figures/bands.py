"""Parts of every picture of bands."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.lines import Line2D

from defectphonons.spectra import Bands
from helpers.figures.style import ORANGE, VERMILION


def draw_bands(axes: Axes, bands: Bands) -> None:
    """Draw the frame of a band plot: ticks at the corners of the zone, THz, a line at zero."""
    for distance, _ in bands.ticks[1:-1]:
        axes.axvline(distance, color="0.8", linewidth=0.6, zorder=0)
    axes.set_xticks([distance for distance, _ in bands.ticks], [label for _, label in bands.ticks])
    axes.set_xlim(bands.distances[0], bands.distances[-1])
    axes.set_ylabel("frequency (THz)")
    axes.set_ylim(min(0.0, 1.05 * bands.frequencies.min()), 1.03 * bands.frequencies.max())
    axes.axhline(0.0, color="0.8", linewidth=0.6, zorder=0)


def draw_at_ticks(axes: Axes, bands: Bands, exact: dict[str, np.ndarray]) -> list[Line2D]:
    return [
        axes.plot(
            np.full(len(exact[label]), place), exact[label], "o", color=VERMILION, markersize=4.5,
            markerfacecolor="none", clip_on=False,
        )[0]
        for place, label in bands.ticks
        if label in exact
    ]  # fmt: skip


def draw_weights(axes: Axes, bands: Bands, group: str) -> LineCollection:
    """Draw the bands in the colour and width of their weight on `group`."""
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
