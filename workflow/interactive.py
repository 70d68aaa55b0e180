"""The figures of the report that move or answer: modes of a vacancy, and its bands to point at."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import phonopy
import plotly.graph_objects as go
from ase import Atoms, units
from ase.data import covalent_radii
from ase.geometry import find_mic
from ase.neighborlist import neighbor_list
from phonopy import Phonopy
from plotly.subplots import make_subplots

from defectphonons import force_constants, localisation, spectra, structures
from defectphonons.localisation import Mode
from defectphonons.spectra import PER_CM, Bands
from defectphonons.structures import Defect
from helpers.figures.style import ORANGE, SKY, VERMILION

AMPLITUDE = 0.6  # A, of the atom that moves most
STEPS = 32  # pictures of one period
PICTURE = 50  # ms, for each
SLAB = 3.4  # A to either side of the empty site: what the view from the side shows
EDGES = (0.10, 0.15, 0.20, 0.25, 0.30, 1.0)  # of the weight at the vacancy, in the legend of the bands
COLOURS = ("#c9b27c", ORANGE, VERMILION, "#8f2d00", "#3b0f00")
LAYOUT = {
    "template": "plotly_white",
    "font": {"family": "system-ui, sans-serif", "size": 13, "color": "#1a1a1a"},
    "margin": {"l": 50, "r": 8, "t": 8, "b": 44},
    "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "itemclick": False},
    "hoverlabel": {"bgcolor": "white", "font": {"color": "#1a1a1a", "size": 14}},
    "dragmode": False,  # a finger that scrolls the page must not zoom
}
# The mode on show is played again when its period is over, until it is stopped or another one chosen.
LOOP = """
const figure = document.getElementById("{plot_id}"), options = OPTIONS;
let shown = FIRST, moving = !matchMedia("(prefers-reduced-motion: reduce)").matches;
const play = () => { if (moving) Plotly.animate(figure, shown, options).then(play, () => {}); };
figure.on("plotly_buttonclicked", ({button}) => {
  moving = button.label !== "Stop";
  shown = button.args?.[0] ?? shown;
  play();
});
play();
"""


@dataclass(frozen=True)
class Vacancy:
    """What a run of 05 left behind of its relaxed vacancy."""

    phonon: Phonopy
    relaxed: Atoms
    defect: Defect

    @classmethod
    def of(cls, folder: Path) -> Self:
        """From result.json and phonopy_params.yaml.xz in the `folder` of the run."""
        record = json.loads((folder / "result.json").read_text())
        given, found = record["parameters"], record["results"]
        phonon = phonopy.load(folder / "phonopy_params.yaml.xz", is_compact_fc=True, log_level=0)
        # Which atoms lie at the vacancy depends on the ideal sites alone.
        sheet = structures.monolayer(given["formula"], found["lattice_constant_A"], given["thickness"])
        defect = Defect.of(structures.supercell(sheet, given["supercell"]), given["defect"])
        return cls(phonon, force_constants.to_ase(phonon.primitive), defect)

    @property
    def places(self) -> np.ndarray:
        """(N, 3) A, of the atoms at rest, from the empty site to the nearest image."""
        return find_mic(self.relaxed.positions - self.defect.site, self.relaxed.cell)[0]

    def moving(self) -> list[tuple[Mode, np.ndarray]]:
        """The candidates for localised modes, the largest weight first, with (N, 3) displacements in A.

        Where there is none, the one mode with the largest weight. The displacements are those of a member
        of each degenerate set, real, and for one quantum of zero-point motion, root mean square.
        """
        gamma = spectra.gamma_modes(self.phonon)
        modes = localisation.defect_modes(gamma, self.defect)
        order = sorted(range(len(modes)), key=lambda i: -modes[i].weight)
        candidates = localisation.localised(modes)
        masses = self.relaxed.get_masses() * units._amu
        found = []
        for i in order[: max(1, len(candidates))]:
            vector = gamma.eigenvectors[:, :, gamma.sets[i][0]]
            largest = vector.ravel()[abs(vector).argmax()]
            vector = (vector * abs(largest) / largest).real
            angular = 2e12 * np.pi * modes[i].frequency_THz
            found.append((modes[i], 1e10 * np.sqrt(units._hbar / (2 * angular * masses))[:, None] * vector))
        return found


def name(mode: Mode) -> str:
    """As 08 names the modes that it follows: irrep and THz."""
    return f"{mode.irrep} {mode.frequency_THz:.2f}"


def exaggeration(displacements: np.ndarray) -> float:
    """How many times larger than `displacements` (N, 3), in A, a motion is drawn."""
    return AMPLITUDE / np.linalg.norm(displacements, axis=1).max()


def broken(*ends: np.ndarray) -> np.ndarray:
    """(3 n,) coordinates of n lines from the first to the second of `ends` (n,), with gaps between them."""
    return np.stack([*ends, np.full(len(ends[0]), np.nan)], axis=1).ravel()


def animation(vacancy: Vacancy, modes: list[tuple[Mode, np.ndarray]]) -> str:
    """HTML of a figure in which the atoms move, from above and from the side, one mode at a time."""
    places, local = vacancy.places, vacancy.defect.local
    first, second, vectors = neighbor_list("ijD", vacancy.relaxed, 3.0)
    inside = np.linalg.norm(places[second] - places[first] - vectors, axis=1) < 0.1
    first, second = first[inside & (first < second)], second[inside & (first < second)]
    near = abs(places[:, 1]) < SLAB
    figure = make_subplots(rows=2, cols=1, row_heights=[0.76, 0.24], vertical_spacing=0.06)
    for row, height in ((1, 1), (2, 2)):
        drawn = np.ones(len(first), bool) if row == 1 else near[first] & near[second]
        ends = [places[first[drawn]], places[second[drawn]]]
        figure.add_scatter(
            x=broken(*(end[:, 0] for end in ends)), y=broken(*(end[:, height] for end in ends)),
            mode="lines", line={"color": "#d5d5d5", "width": 1.5}, hoverinfo="skip", showlegend=False, row=row, col=1,
        )  # fmt: skip
        figure.add_scatter(
            x=[0], y=[0], mode="markers", marker={"symbol": "circle-open-dot", "size": 15, "color": VERMILION},
            name="empty site", hoverinfo="skip", showlegend=row == 1, row=row, col=1,
        )  # fmt: skip
    # Those far from the reader first, so that near ones cover them.
    groups = []
    for element, colour in zip(dict.fromkeys(vacancy.relaxed.symbols), (SKY, ORANGE), strict=True):
        members = np.flatnonzero(vacancy.relaxed.symbols == element)
        size = 11 * covalent_radii[vacancy.relaxed.numbers[members[0]]]
        for row, height in ((1, 1), (2, 2)):
            atoms = members[near[members]] if row == 2 else members
            atoms = atoms[np.argsort(places[atoms, 2] if row == 1 else -places[atoms, 1])]
            groups.append((len(figure.data), atoms, height, size))
            outline = np.where(np.isin(atoms, local), 2.0, 0.4)
            figure.add_scatter(
                x=places[atoms, 0], y=places[atoms, height], mode="markers", name=element,
                marker={"size": np.full(len(atoms), size), "color": colour, "opacity": 1,
                        "line": {"color": "#1a1a1a", "width": outline}},
                hoverinfo="skip", showlegend=row == 1, row=row, col=1,
            )  # fmt: skip
    figure.frames = [
        go.Frame(group=name(mode), name=f"{name(mode)} {step}", traces=[trace for trace, *_ in groups], data=[
            scattered(places[atoms], np.cos(2 * np.pi * step / STEPS) * exaggeration(motion) * motion[atoms], height, size)
            for _, atoms, height, size in groups
        ])
        for mode, motion in modes for step in range(1, STEPS + 1)
    ]  # fmt: skip
    reach = [abs(places[:, axis]).max() + 1.2 for axis in range(2)]
    low, high = places[:, 2].min() - 1.5, 1.5
    figure.update_layout(
        **LAYOUT | {"margin": {"l": 44, "r": 8, "t": 78, "b": 44}},
        xaxis={"range": [-reach[0], reach[0]], "showticklabels": False},
        yaxis={"range": [-reach[1], reach[1]], "scaleanchor": "x", "title": "y (Å), from above"},
        xaxis2={"matches": "x", "title": "x (Å)"},
        yaxis2={"range": [low, high], "scaleanchor": "x2", "title": "z (Å)"},
        updatemenus=[
            {"buttons": [{"label": chosen(mode), "method": "skip", "args": [name(mode)]} for mode, _ in modes],
             "x": 0, "xanchor": "left", "y": 1.17, "yanchor": "top", "bgcolor": "white"},
            {"type": "buttons", "direction": "left", "showactive": False, "bgcolor": "white",
             "buttons": [{"label": label, "method": "skip"} for label in ("Play", "Stop")],
             "x": 1, "xanchor": "right", "y": 1.17, "yanchor": "top"},
        ],
    )  # fmt: skip
    figure.update_xaxes(zeroline=False, showgrid=False, constrain="domain", fixedrange=True)
    figure.update_yaxes(zeroline=False, showgrid=False, constrain="domain", fixedrange=True)
    options = {
        "mode": "immediate", "transition": {"duration": 0}, "frame": {"duration": PICTURE, "redraw": False},
    }  # fmt: skip
    script = LOOP.replace("OPTIONS", json.dumps(options)).replace("FIRST", json.dumps(name(modes[0][0])))
    return embedded(figure, "moving", script)


def scattered(places: np.ndarray, displaced: np.ndarray, height: int, size: float) -> go.Scatter:
    """Atoms at `places` + `displaced` (n, 3), in A; seen from above they grow as they come nearer."""
    now = places + displaced
    grown = 1 + 0.4 * displaced[:, 2] / AMPLITUDE if height == 1 else np.ones(len(now))
    return go.Scatter(
        x=now[:, 0].round(3), y=now[:, height].round(3), marker={"size": (size * grown).round(1)}
    )


def chosen(mode: Mode) -> str:
    """The mode's line in the menu."""
    return f"{mode.irrep}, {mode.frequency_THz:.2f} THz ({mode.frequency_THz * PER_CM:.0f} cm⁻¹)"


def bands(found: Bands, group: str) -> str:
    """HTML of bands coloured by the weight of `group`, that say what one points at."""
    n_q, n_modes = found.frequencies.shape
    weight = found.shares[group]

    def gapped(values: np.ndarray) -> np.ndarray:
        """(n_modes (n_q + 1),) of `values` (n_q, n_modes), one band after the other, with gaps."""
        return np.vstack([values, np.full(n_modes, np.nan)]).T.ravel().astype(np.float32)

    across = np.broadcast_to(found.distances[:, None], weight.shape)
    first, second = (np.broadcast_to(found.q_points[:, axis, None], weight.shape) for axis in range(2))
    told = [found.frequencies * PER_CM, first, second, 100 * weight]
    figure = go.Figure()
    figure.add_scatter(
        x=gapped(across), y=gapped(found.frequencies), customdata=np.stack([gapped(each) for each in told], axis=1),
        mode="lines", line={"color": "#cfcfcf", "width": 1}, name=f"below {EDGES[0]:.0%}",
        hovertemplate="%{y:.2f} THz (%{customdata[0]:.0f} cm⁻¹)<br>q = (%{customdata[1]:.3f}, %{customdata[2]:.3f}, 0)"
        "<br>weight at the vacancy %{customdata[3]:.0f}%<extra></extra>",
    )  # fmt: skip
    between = (weight[:-1] + weight[1:]) / 2
    for low, high, colour in zip(EDGES[:-1], EDGES[1:], COLOURS, strict=True):
        here = (between >= low) & (between < high)
        figure.add_scatter(
            x=broken(across[:-1][here], across[1:][here]).astype(np.float32),
            y=broken(found.frequencies[:-1][here], found.frequencies[1:][here]).astype(np.float32),
            mode="lines", line={"color": colour, "width": 0.5 + 10 * low}, hoverinfo="skip",
            name=f"{low:.0%} to {high:.0%}" if high < 1 else f"{low:.0%} and more",
        )  # fmt: skip
    places, labels = zip(*found.ticks, strict=True)
    figure.update_layout(
        **LAYOUT, hovermode="closest", legend_title={"text": "weight at the vacancy", "side": "top"},
        xaxis={"tickvals": places, "ticktext": labels, "fixedrange": True, "gridcolor": "#b5b5b5",
               "zeroline": False, "range": [0, found.distances[-1]]},
        yaxis={"title": "frequency (THz)", "fixedrange": True, "zeroline": False,
               "range": [min(0, 1.05 * found.frequencies.min()), 1.03 * found.frequencies.max()]},
    )  # fmt: skip
    return embedded(figure, "bands")


def embedded(figure: go.Figure, identity: str, script: str | None = None) -> str:
    """HTML of a figure as large as what it stands in; the page loads plotly.min.js."""
    config: dict[str, Any] = {"displayModeBar": False, "responsive": True}
    return figure.to_html(
        full_html=False, include_plotlyjs=False, auto_play=False, config=config, div_id=identity,
        default_height="100%", post_script=script,
    )  # fmt: skip
