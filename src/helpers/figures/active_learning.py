"""The pictures of 09_active_learning, a function each. All return the matplotlib Figure."""

import numpy as np
from matplotlib.figure import Figure

from helpers.figures.style import BLUE, COLOURS, LINES, MARKERS, SKY, VERMILION, new
from helpers.models.learning_curves import mean_and_error


def active_learning(
    errors: dict[str, np.ndarray],
    labels: np.ndarray,
    atoms: dict[str, np.ndarray],
    kinds: dict[str, dict[str, float]],
) -> Figure:
    """Draw three panels: force RMSE against labelled frames, and against the atoms in them, by rule; and what was chosen.

    `errors`: rule -> (splits, n) in meV/A, drawn as mean and standard error of `mean_and_error`; `labels` (n,); `atoms`: rule -> (n,);
    `kinds`: rule -> kind of cell -> share of the frames chosen.
    """
    figure, (left, middle, right) = new(7.4, 3.1, ncols=3, width_ratios=(1.2, 1.2, 1))
    for number, (rule, values) in enumerate(errors.items()):
        look = {"color": COLOURS[number], "marker": MARKERS[number], "linestyle": LINES[number],
                "markersize": 4, "markerfacecolor": "none", "capsize": 2}  # fmt: skip
        mean, error = mean_and_error(values)
        left.errorbar(labels, mean, error, label=rule, **look)
        middle.errorbar(atoms[rule], mean, error, **look)
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
    """Draw a row for each strategy, a panel for each number of queries: truth, mean with twice its deviation, and the queries.

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
