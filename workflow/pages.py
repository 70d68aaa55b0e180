"""The pages of the report beside the notebooks: figures, vacancy, numbers, ledger and index, as Markdown."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import interactive
from markup import contents, escaped, table
from pictures import FIGURES, PICTURES, THESIS
from publish import JUDGES, NUMBERS, judged, numbers

from defectphonons import spectra
from helpers import ledger, paths

TITLES = {
    "figures": "The figures of the thesis, and ours",
    "vacancy": "The vacancy, moving",
    "numbers": "Numbers",
    "ledger": "What the thesis says, and whether it holds",
}
ABOUT = {
    "figures": "what the thesis shows, and what this compendium draws in its place",
    "vacancy": "its modes animated, its bands to point at",
    "numbers": "what came out, and the errors of the model by kind of cell",
    "ledger": "statement by statement, with what was measured",
}
GUIDES = [
    "Read me first <README>", "docs/running", "docs/own_data", "docs/other_defects", "docs/cluster", "docs/results", "docs/force_constants", "docs/emission", "docs/benchmarks", "docs/numbers",
    "docs/figures", "data/README", "data/models/README", "CONTRIBUTING", "CHANGELOG",
]  # fmt: skip


def link(step: str) -> str:
    """Return a link to the notebook of a step, from a page in the topmost folder."""
    return f"[{step}](notebooks/{step}.ipynb)"


def picture(key: str) -> str:
    """Return the figure of the picture STEP/NAME, with its caption and a link to its notebook."""
    caption = PICTURES[key][1]
    words = json.dumps(caption.split(". ")[0], ensure_ascii=False)
    return (
        f"```{{figure}} pictures/{FIGURES[key]}.png\n:alt: {words}\n\n"
        f"{escaped(caption)} {link(key.split('/')[0])}\n```\n"
    )


def figures(steps: Collection[str]) -> str:
    """Return the figures of the thesis with ours, then our others."""
    drawn = [key for key in FIGURES if key.split("/")[0] in steps]
    whether = (
        " Whether the statements hold is judged in the [ledger](ledger.md)." if ledger_is_whole(steps) else ""
    )
    body = (
        f"# {TITLES['figures']}\n\n"
        "S. Kindl, *Machine Learning Force Fields for Defective WSe2* (TU Wien, 2025). Its pictures are not "
        "reprinted: their numbers stand first, with the beginning of their captions and what the thesis reads from them; "
        f"then comes what this compendium draws in their place, from its own data and model.{whether}\n\n"
    )
    for number, caption, reads, key in THESIS:
        ours = picture(key) if key in drawn else "Not drawn again.\n" if key is None else "Not run.\n"
        body += (
            f"## {'Figures' if ',' in number else 'Figure'} {number}\n\n> “{escaped(caption)}”\n\n"
            f"{escaped(reads)}\n\n{ours}\n"
        )
    others = sorted(set(drawn) - {ours for *_, ours in THESIS})
    return body + "## What the thesis does not show\n\n" + "\n".join(map(picture, others))


def vacancy(folder: Path, characters: dict[str, str]) -> str:
    """Return modes of the vacancy that move, and its bands, of the run of 05 in `folder`.

    `characters`: what 08 calls each of its modes.
    """
    shown = interactive.Vacancy.of(folder)
    modes = shown.moving()
    size = len(shown.relaxed)
    n = json.loads((folder / "result.json").read_text())["parameters"]["supercell"]
    rows = [
        [
            mode.irrep, f"{mode.frequency_THz:.2f}", f"{mode.frequency_THz * spectra.PER_CM:.0f}",
            f"{mode.weight:.0%}", f"{mode.participation * size:.0f}",
            f"{interactive.exaggeration(motion):.0f} ×", characters.get(interactive.name(mode), "not followed"),
        ]
        for mode, motion in modes
    ]  # fmt: skip
    head = ["irrep", "THz", "cm⁻¹", "weight", "atoms", "enlarged", "in larger cells"]
    moving = interactive.animation(shown, modes)
    bands = interactive.bands(spectra.bands(shown.phonon, {"local": shown.defect.local}), "local")
    first = modes[0][0]
    larger = (
        f" What they become in cells of up to 30,000 atoms is the last column, from {link('08_dilute_limit')}: a resonance "
        "spreads over more and more modes as the cell grows."
        if characters
        else ""
    )
    return f"""# {TITLES["vacancy"]}

Modes at Γ of a {n} × {n} cell without one selenium atom, {size} atoms, by the trained force field
({link("05_defect")}). Shown first is the one with the largest weight at the vacancy:
{first.irrep} at {first.frequency_THz:.2f} THz ({first.frequency_THz * spectra.PER_CM:.0f} cm⁻¹).
The menu has the other candidates for localised modes.

```{{raw}} html
<script src="_static/plotly.min.js"></script>
<noscript><p>The figures of this page need JavaScript; <a href="figures.html">pictures</a> do not.</p></noscript>
<div class="moving" role="group" aria-label="The atoms round the vacancy swing in one mode, from above and from the
side">{moving}</div>
```

Above the sheet from above, where atoms that come nearer grow; below it the atoms within {interactive.SLAB} Å of the empty
site, from the side. Outlined: the three W and the Se across, whose motion is the weight at the vacancy. Grey: bonds at
rest. **The motion is exaggerated**: the atom that moves most swings by {interactive.AMPLITUDE} Å. How many times more that is
than its zero-point motion (root mean square) says the column “enlarged”. A period takes
{interactive.STEPS * interactive.PICTURE / 1000:.1f} s here, {1 / first.frequency_THz:.2f} ps in truth for the first mode. Of
a pair of E modes one is shown.

{table(head, rows, range(1, 6))}

Weight: the share of the mode's kinetic energy that the outlined atoms have. Atoms: how many take part, participation
ratio × number of atoms. One cell has candidates only.{larger}

## Bands to point at

```{{raw}} html
<div class="bands" role="group" aria-label="Phonon bands of the cell with a vacancy along Γ–M–K–Γ, coloured by the
weight at the vacancy; pointing at a band tells frequency, wave vector and weight">{bands}</div>
```

Point at a band, or tap it, for its frequency, wave vector (in reciprocal lattice vectors of the {n} × {n} cell) and weight
at the vacancy: the part of the motion that the outlined atoms have. Spread evenly over all atoms it would be
{len(shown.defect.local) / size:.0%}.
"""


def all_numbers(results: dict[str, dict[str, Any]]) -> str:
    """Return the table of numbers of a run, and the errors of the model by kind of cell."""
    model = results["03_evaluation"]["parameters"]["model"]
    errors = json.loads((paths.MODELS / f"{model}.json").read_text())["errors"]
    rows = [
        [part, escaped(kind.replace("total", "all")), str(found["frames"])]
        + [
            f"{found[f'rmse_{name}']:.{digits}f} ({found[f'mae_{name}']:.{digits}f})"
            for name, digits in (("energy_meV_per_atom", 1), ("force_meV_per_A", 0), ("stress_meV_per_A3", 2))
        ]
        for part in ("test", "validation")
        for kind, found in errors[part].items()
    ]
    head = ["frames of", "kind of cell", "frames", "energy (meV/atom)", "force (meV/Å)", "stress (meV/Å³)"]
    measured = [
        [escaped(quantity), f"**{escaped(value.strip())}**", link(step)]
        for quantity, (value, step) in numbers(results).items()
    ]
    return f"""# {TITLES["numbers"]}

Of this run, each from the notebook named beside it. [The published numbers](docs/numbers.md) have the errors of 05 and 06 too.

{table(["quantity", "value", "notebook"], measured, kind="stacked")}

## Errors of {escaped(model)} by kind of cell

Against DFT: root mean square, in brackets mean absolute. Frames of *test* were kept from training, those of *validation*
steered the training. All are of the same few kinds of cell as what it was trained on, and there are few: the errors tell
of such cells alone.

{table(head, rows, range(2, 6))}

{picture("03_evaluation/parity")}
"""


def whole_ledger(entries: list[dict[str, Any]]) -> str:
    """Return the claims of the thesis, with what was measured, and how often each verdict was given."""
    rows = [
        [
            escaped(entry["section"]), escaped(entry["statement"]), "<br>".join(map(escaped, entry["numbers"])),
            f"**{escaped(entry['verdict'])}**",
        ]
        for entry in entries
    ]  # fmt: skip
    counts = ", ".join(f"{verdict}: {count}" for verdict, count in ledger.counts(entries).items())
    return f"""# {TITLES["ledger"]}

{escaped(counts)}.

What the thesis says of its results, each with what was measured and, in brackets, what was wanted for it to hold or to hold
with restrictions (a weaker criterion): from `data/claims.json`, judged in the default runs of
{", ".join(map(link, JUDGES))}.

{table(["section", "statement", "measured (wanted)", "verdict"], rows, kind="stacked")}
"""


def ledger_is_whole(steps: Collection[str]) -> bool:
    """Return whether all notebooks that judge are there."""
    return set(JUDGES) <= set(steps)


def of_results(folders: dict[str, Path], results: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Return the pages by name, without those that need a step of which there is no run."""
    written = {"figures": figures(folders)}
    if "05_defect" in folders:
        followed = results["08_dilute_limit"]["results"]["modes"] if "08_dilute_limit" in folders else []
        characters = {mode["name"]: mode["character"] for mode in followed}
        written["vacancy"] = vacancy(folders["05_defect"], characters)
    if {step for _, step, *_ in NUMBERS} <= set(folders):
        written["numbers"] = all_numbers(results)
    if ledger_is_whole(folders):
        written["ledger"] = whole_ledger(judged(results))
    return written


def index(openings: dict[str, tuple[str, str]], results: dict[str, Any], pages: list[str]) -> str:
    """Return what there is, the notebooks, and the table of contents."""
    revisions = ", ".join(sorted({str(each["revision"]) for each in results.values()}))
    listed = "\n".join(f"- [{TITLES[page]}]({page}.md): {ABOUT[page]}" for page in pages)
    notebooks = "\n\n".join(
        f"### [{title}](notebooks/{step}.ipynb)\n\n{question}" for step, (title, question) in openings.items()
    )
    return f"""# Machine-learned force fields for defective WSe2

Every notebook with its defaults, computed at revision {escaped(revisions)}. How to run and change them is in the
[README](README.md), how to use data of your own in [a guide](docs/own_data.md).

{listed}

{picture("05_defect/bands") if "05_defect" in results else ""}

## The notebooks, as run

{notebooks}

{contents("Results", pages)}
{contents("Notebooks", [f"notebooks/{step}" for step in openings])}
{contents("Guides", GUIDES)}
{contents("Python", ["reference/index"])}
"""
