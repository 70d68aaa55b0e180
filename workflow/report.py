"""report.py INDEX NOTEBOOK...: the site of executed notebooks, one run of each step, with INDEX as its first page.

Pages are written as Markdown into a folder beside the site, and Sphinx makes HTML of them with docs/conf.py. What is about a
step of which no notebook is given is left out.
"""

import base64
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import api
import interactive
import nbformat
import plotly.offline
from captions import CAPTIONS, THESIS
from markup import contents, escaped, table
from publish import FIGURES, NUMBERS, judged, numbers, with_outputs
from sphinx.cmd.build import build_main

from defectphonons import spectra
from helpers import ledger, paths

# What the site takes over as it is, and what its pages refer to.
TEXTS = (
    "README.md", "docs/*.md", "data/README.md", "data/models/README.md", "data/error_budget/*.png", "benchmarks/*.*",
    "figures/*.png", "Dockerfile", "LICENSE", "CITATION.cff",
)  # fmt: skip
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
    "Read me first <README>", "docs/running", "docs/own_data", "docs/other_defects", "docs/cluster", "docs/results", "docs/benchmarks", "docs/numbers",
    "docs/figures", "data/README", "data/models/README",
]  # fmt: skip


def link(step: str) -> str:
    """Return a link to the notebook of a step, from a page in the topmost folder."""
    return f"[{step}](notebooks/{step}.ipynb)"


def opening(notebook: nbformat.NotebookNode) -> tuple[str, str]:
    """Return the first heading and the first paragraph."""
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    heading, paragraph = text.split("\n\n")[:2]
    return heading.lstrip("# "), paragraph


def saved(source: str) -> list[str]:
    """Return names under which the source of a cell saves pictures; a name with a changing part is a pattern."""
    names = re.findall(r'style\.save\(.*, run, f?"([^"]+)"\)', source)
    return [re.sub(r"\{[^}]*\}", "[^/]+", each) for each in names]


def described(step: str, patterns: list[str], number: int) -> str:
    """Return the caption of the picture number `number` (from 0) of a cell that saves `patterns`."""
    known = [key for pattern in patterns for key in CAPTIONS if re.fullmatch(f"{step}/{pattern}", key)]
    return CAPTIONS[known[number]]


def write_notebook(step: str, notebook: nbformat.NotebookNode, source: Path) -> None:
    """Write the notebook as run, its pictures with words beside them, and without widgets, which need JupyterLab."""
    notebook.metadata.pop("widgets", None)
    count = 0
    for cell in notebook.cells:
        patterns, pictures, shown = saved(cell.source), 0, []
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "application/vnd.jupyter.widget-view+json" in data:
                text = (
                    "To turn the structure with the mouse, run this cell in JupyterLab. "
                    "Here its [modes move](../vacancy.html)."
                )
                shown = [nbformat.v4.new_output("display_data", {"text/markdown": text})]
                continue
            if "image/png" in data:
                file = source / "pictures" / f"{step}_{count}.png"
                file.write_bytes(base64.b64decode(data["image/png"]))
                words = escaped(described(step, patterns, pictures))
                output.data = {"text/markdown": f"![{words}](../pictures/{file.name})"}
                pictures, count = pictures + 1, count + 1
            shown.append(output)
        if cell.cell_type == "code":
            cell.outputs = shown
    nbformat.write(notebook, source / "notebooks" / f"{step}.ipynb")


def picture(key: str) -> str:
    """Return the figure of the picture STEP/NAME, with its caption and a link to its notebook."""
    caption = CAPTIONS[key]
    words = json.dumps(caption.split(". ")[0], ensure_ascii=False)
    return (
        f"```{{figure}} pictures/{FIGURES[key]}.png\n:alt: {words}\n\n"
        f"{escaped(caption)} {link(key.split('/')[0])}\n```\n"
    )


def figures_page(steps: list[str]) -> str:
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


def vacancy_page(folder: Path, characters: dict[str, str]) -> str:
    """Return modes of the vacancy that move, and its bands, of the run of 05 in `folder`.

    `characters`: what 08 calls each of its modes.
    """
    vacancy = interactive.Vacancy.of(folder)
    modes = vacancy.moving()
    size = len(vacancy.relaxed)
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
    moving = interactive.animation(vacancy, modes)
    bands = interactive.bands(spectra.bands(vacancy.phonon, {"local": vacancy.defect.local}), "local")
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
{len(vacancy.defect.local) / size:.0%}.
"""


def numbers_page(results: dict[str, dict[str, Any]]) -> str:
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


def ledger_page(entries: list[dict[str, Any]]) -> str:
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
with a limit: criteria from `data/claims.json`, judged in the default runs of {link("07_comparison")} and
{link("08_dilute_limit")}.

{table(["section", "statement", "measured (wanted)", "verdict"], rows, kind="stacked")}
"""


def ledger_is_whole(steps: list[str]) -> bool:
    """Return whether both notebooks that judge are there."""
    return {"07_comparison", "08_dilute_limit"} <= set(steps)


def index_page(openings: dict[str, tuple[str, str]], results: dict[str, Any], pages: list[str]) -> str:
    """Return what there is, the notebooks, and the table of contents."""
    revisions = ", ".join(sorted({str(each["revision"]) for each in results.values()}))
    listed = "\n".join(f"- [{TITLES[page]}]({page}.md): {ABOUT[page]}" for page in pages)
    notebooks = "\n\n".join(
        f"### [{title}](notebooks/{step}.ipynb)\n\n{question}" for step, (title, question) in openings.items()
    )
    bands = "05_defect/bands"
    return f"""# Machine-learned force fields for defective WSe2

Every notebook with its defaults, computed at revision {escaped(revisions)}. How to run and change them is in the
[README](README.md), how to use data of your own in [a guide](docs/own_data.md).

{listed}

{picture(bands) if bands.split("/")[0] in results else ""}

## The notebooks, as run

{notebooks}

{contents("Results", pages)}
{contents("Notebooks", [f"notebooks/{step}" for step in openings])}
{contents("Guides", GUIDES)}
{contents("Python", ["reference/index"])}
"""


def write_sources(source: Path, folders: dict[str, Path]) -> None:
    """Write all pages into the folder `source`, in places as in the repository, so that links between them are the same."""
    for pattern in TEXTS:
        for path in paths.ROOT.glob(pattern):
            copy = source / path.relative_to(paths.ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    for name in ("notebooks", "pictures", "reference"):
        (source / name).mkdir()
    results = {step: json.loads((run / "result.json").read_text()) for step, run in folders.items()}
    openings = {}
    for step, run in folders.items():
        notebook = with_outputs(step, run / "notebook.ipynb")
        openings[step] = opening(notebook)
        write_notebook(step, notebook, source)
    for key, name in FIGURES.items():
        step, file = key.split("/")
        if step in folders:
            shutil.copyfile(folders[step] / f"{file}.png", source / "pictures" / f"{name}.png")
    pages = {"figures": figures_page(list(folders))}
    if "05_defect" in folders:
        followed = results["08_dilute_limit"]["results"]["modes"] if "08_dilute_limit" in folders else []
        characters = {mode["name"]: mode["character"] for mode in followed}
        pages["vacancy"] = vacancy_page(folders["05_defect"], characters)
    if {step for _, step, *_ in NUMBERS} <= set(folders):
        pages["numbers"] = numbers_page(results)
    if ledger_is_whole(list(folders)):
        pages["ledger"] = ledger_page(judged(results))
    for name, text in pages.items():
        (source / f"{name}.md").write_text(text)
    api.write(paths.ROOT / "src", source / "reference")
    (source / "index.md").write_text(index_page(openings, results, list(pages)))


def build(source: Path, built: Path) -> None:
    """Have Sphinx make HTML of the pages in `source`; SystemExit if it cannot."""
    settings = ["-q", "-c", str(paths.ROOT / "docs"), "-d", str(built.with_name("read"))]
    if build_main([*settings, str(source), str(built)]):
        sys.exit("Sphinx could not build the report: what is wrong stands above")
    (built / "_static" / "plotly.min.js").write_text(plotly.offline.get_plotlyjs())


def main(index: Path, executed: list[Path]) -> None:
    """Build beside the site that is there, which is replaced when all is done."""
    site = index.parent
    beside = site.with_name(f".{site.name}")
    shutil.rmtree(beside, ignore_errors=True)  # of a build that was killed
    source, built = beside / "source", beside / "built"
    source.mkdir(parents=True)
    try:
        write_sources(source, {path.parent.parent.name: path.parent for path in executed})
        build(source, built)
        if site.exists():
            site.rename(beside / "old")
        built.rename(site)
    finally:
        shutil.rmtree(beside)


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
