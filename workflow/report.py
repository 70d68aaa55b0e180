"""report.py INDEX NOTEBOOK...: the report of the executed notebooks, a page each and INDEX beside them.

The pages open from a plain folder: nothing is fetched, and what moves needs plotly.min.js beside them alone.
"""

import base64
import html
import io
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import interactive
import nbformat
import plotly.offline
from captions import CAPTIONS, THESIS
from matplotlib.font_manager import FontProperties
from matplotlib.mathtext import MathTextParser, math_to_image
from nbconvert import HTMLExporter
from nbconvert.filters import markdown2html
from publish import FIGURES, judged, numbers, with_outputs
from pygments.formatters import HtmlFormatter

from defectphonons import caching, spectra
from helpers import ledger, paths

STYLE = """
  body { font: 1rem/1.55 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 62rem; margin: 0 auto;
         padding: 0 1rem 4rem; overflow-wrap: break-word; }
  nav { display: flex; flex-wrap: wrap; gap: 0 1.2rem; padding: 0.8rem 0; border-bottom: 1px solid #ddd; }
  a { color: #00568a; }
  h1 { font-size: 1.7rem; line-height: 1.25; margin: 1.6rem 0 0.8rem; }
  h2 { font-size: 1.25rem; line-height: 1.3; margin: 2.2rem 0 0.6rem; }
  h3 { font-size: 1.05rem; margin: 1.4rem 0 0.4rem; }
  p, ul, blockquote { max-width: 44rem; }
  img { max-width: 100%; height: auto; }
  figure { margin: 0; }
  figcaption, .note { color: #4a4a4a; font-size: 0.92rem; }
  blockquote { margin: 0.4rem 0; padding-left: 0.9rem; border-left: 3px solid #ccc; }
  .scroll { overflow-x: auto; }
  table { border-collapse: collapse; margin: 0.6rem 0; }
  td, th { text-align: left; vertical-align: top; padding: 0.4rem 0.9rem 0.4rem 0; border-top: 1px solid #ddd; }
  td.number, th.number { text-align: right; white-space: nowrap; }
  .pair { display: grid; grid-template-columns: 17rem minmax(0, 1fr); gap: 0.5rem 2rem; margin: 1.2rem 0 2.4rem;
          padding-top: 1.2rem; border-top: 1px solid #ddd; }
  .pair h2 { margin: 0; }
  .gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 26rem), 1fr)); gap: 2rem; }
  .moving { width: 100%; max-width: 36rem; aspect-ratio: 20 / 29; }
  .bands { width: 100%; height: 38rem; }
  pre { overflow-x: auto; font: 0.85rem/1.45 ui-monospace, monospace; margin: 0.3rem 0; }
  code { font-family: ui-monospace, monospace; font-size: 0.92em; }
  td code { overflow-wrap: anywhere; }
  .input_area { background: #f6f6f6; border-left: 3px solid #ccc; padding: 0.3rem 0.7rem; margin-top: 0.8rem; }
  .output { padding-left: 0.9rem; }
  .output_html { overflow-x: auto; }
  .prompt { display: none; }
  td b { white-space: nowrap; }
  @media (max-width: 45rem) {
    .pair { grid-template-columns: minmax(0, 1fr); }
    .stacked thead { display: none; }
    .stacked tr { display: block; border-top: 1px solid #ddd; padding: 0.6rem 0; }
    .stacked td { display: block; border: 0; padding: 0.1rem 0; }
    .stacked td b { white-space: normal; }
    .scroll td, .scroll th { white-space: nowrap; }
  }
  @media print {
    nav { display: none; }
    html { font-size: 10pt; }
    body { max-width: none; }
    a { color: inherit; }
    pre { white-space: pre-wrap; }
    figure, tr, .pair { break-inside: avoid; }
  }
"""
PAGES = {
    "index.html": "Report", "figures.html": "Figures of the thesis", "vacancy.html": "The vacancy, moving",
    "numbers.html": "Numbers", "ledger.html": "Ledger",
}  # fmt: skip
FORMULA = re.compile(r"\$([^$\n]+)\$")
POINT = 1 / 11.5  # em, of formulas drawn at 12 pt: a little larger than the text


def page(title: str, body: str, head: str = "") -> str:
    """A whole page with the report's style and the links to its other pages."""
    links = "".join(f'<a href="{name}">{text}</a>' for name, text in PAGES.items())
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{html.escape(title)}</title>\n'
        f"<style>{STYLE}</style>\n{head}</head>\n<body>\n<nav>{links}</nav>\n{body}\n</body>\n</html>\n"
    )


def write(path: Path, text: str) -> None:
    """Write a file, whole or not at all."""
    with caching.whole_file(path) as temporary:
        temporary.write_text(text)


def opening(notebook: nbformat.NotebookNode) -> tuple[str, str]:
    """The first heading, and the first paragraph as HTML."""
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    heading, paragraph = text.split("\n\n")[:2]
    return heading.lstrip("# "), markdown2html(paragraph)


def formula(tex: re.Match[str]) -> str:
    """HTML image of a formula, drawn by matplotlib and as large as the text; its TeX is the alternative text."""
    drawn, font = io.BytesIO(), FontProperties(size=12, math_fontfamily="dejavusans")
    known = f"${tex[1]}$".replace(r"\tfrac", r"\frac")  # the name of a fraction that matplotlib knows
    *_, height, depth = MathTextParser("path").parse(known, prop=font)[:3]
    math_to_image(known, drawn, prop=font, dpi=72, format="svg")
    source = base64.b64encode(drawn.getvalue()).decode()
    return (
        f'<img alt="{html.escape(tex[1])}" src="data:image/svg+xml;base64,{source}" '
        f'style="height: {height * POINT:.2f}em; vertical-align: {-depth * POINT:.2f}em">'
    )


def saved(source: str) -> list[str]:
    """Names under which the source of a cell saves pictures; a name with a changing part is a pattern."""
    names = re.findall(r'style\.save\(.*, run, f?"([^"]+)"\)', source)
    return [re.sub(r"\{[^}]*\}", "[^/]+", each) for each in names]


def described(step: str, patterns: list[str], number: int) -> str:
    """Caption of the picture number `number` (from 0) of a cell that saves `patterns`."""
    known = [key for pattern in patterns for key in CAPTIONS if re.fullmatch(f"{step}/{pattern}", key)]
    return CAPTIONS[known[number]]


def notebook_page(step: str, notebook: nbformat.NotebookNode) -> str:
    """The notebook as run: formulas and pictures within the page, and no widgets, for which JupyterLab is needed."""
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = FORMULA.sub(formula, cell.source)
            continue
        patterns, pictures, shown = saved(cell.source), 0, []
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "application/vnd.jupyter.widget-view+json" in data:
                text = (
                    '<p class="note">To turn the structure with the mouse, run this cell in JupyterLab. '
                    'Here its <a href="vacancy.html">modes move</a>.</p>'
                )
                shown = [nbformat.v4.new_output("display_data", {"text/html": text})]
                continue
            if "image/png" in data:
                alt = html.escape(described(step, patterns, pictures))
                picture = f'<img alt="{alt}" src="data:image/png;base64,{data["image/png"].strip()}">'
                output.data = {"text/html": picture}
                pictures += 1
            shown.append(output)
        cell.outputs = shown
    exporter = HTMLExporter(template_name="basic", exclude_anchor_links=True)
    body, _ = exporter.from_notebook_node(notebook)
    colours = HtmlFormatter().get_style_defs(".highlight")
    return page(opening(notebook)[0], f"<main>{body}</main>", f"<style>{colours}</style>\n")


def table(rows: list[list[str]], head: list[str], numeric: range = range(0)) -> str:
    """HTML table of escaped texts that scrolls in its own box; columns in `numeric` are aligned right."""

    def cells(row: list[str], tag: str) -> str:
        """One row, of `tag` td or th."""
        kinds = [' class="number"' if i in numeric else "" for i in range(len(row))]
        return "".join(
            f"<{tag}{kind}>{text}</{tag}>" for kind, text in zip(kinds, map(html.escape, row), strict=True)
        )

    lines = "\n".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{cells(head, "th")}</tr></thead>\n{lines}\n</table></div>'


def stacked(rows: list[list[str]], head: list[str]) -> str:
    """HTML table of HTML texts, whose rows become blocks of lines where the page is narrow."""
    titles = "".join(f"<th>{title}</th>" for title in head)
    lines = "\n".join("<tr>" + "".join(f"<td>{text}</td>" for text in row) + "</tr>" for row in rows)
    return f'<table class="stacked"><thead><tr>{titles}</tr></thead>\n{lines}\n</table>'


def picture(key: str) -> str:
    """HTML figure of the picture STEP/NAME, with its caption and a link to its notebook."""
    step, caption = key.split("/")[0], CAPTIONS[key]
    file = f"pictures/{FIGURES[key]}.png"
    return (
        f'<figure><a href="{file}"><img alt="{html.escape(caption.split(". ")[0])}" src="{file}"></a>'
        f'<figcaption>{html.escape(caption)} <a href="{step}.html">{step}</a></figcaption></figure>'
    )


def figures_page() -> str:
    """The figures of the thesis beside ours, then our others."""
    body = (
        "<h1>The figures of the thesis, and ours</h1>\n"
        "<p>S. Kindl, <i>Machine Learning Force Fields for Defective WSe2</i> (TU Wien, 2025). Its pictures are not "
        "reprinted: their numbers stand first, with the beginning of their captions and what the thesis reads from them; "
        "then comes what this compendium draws in their place, from its own data and model. Whether the "
        'statements hold is judged in the <a href="ledger.html">ledger</a>.</p>\n'
    )
    for number, caption, reads, key in THESIS:
        ours = picture(key) if key else '<p class="note">Not drawn again.</p>'
        body += (
            f'<section class="pair"><div><h2>{"Figures" if "," in number else "Figure"} {number}</h2><blockquote>“{html.escape(caption)}”</blockquote>'
            f"<p>{html.escape(reads)}</p></div>{ours}</section>\n"
        )
    other = [key for key in FIGURES if key not in [ours for *_, ours in THESIS]]
    gallery = "\n".join(map(picture, sorted(other)))
    body += f'<h2>What the thesis does not show</h2>\n<div class="gallery">\n{gallery}\n</div>\n'
    return page("Figures of the thesis, and ours", body)


def vacancy_page(folder: Path, characters: dict[str, str]) -> str:
    """Modes of the vacancy that move, and its bands, of the run of 05 in `folder`.

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
    head = [
        "irrep",
        "THz",
        "cm⁻¹",
        "weight",
        "atoms",
        "enlarged",
        "in larger cells",
    ]
    moving = interactive.animation(vacancy, modes)
    groups = {"local": vacancy.defect.local}
    bands = interactive.bands(spectra.bands(vacancy.phonon, groups), "local")
    first = modes[0][0]
    body = f"""<h1>The vacancy, moving</h1>
<p>Modes at Γ of a {n} × {n} cell without one selenium atom, {size} atoms, by the trained force field
(<a href="05_defect.html">05_defect</a>). Shown first is the one with the largest weight at the vacancy:
{first.irrep} at {first.frequency_THz:.2f} THz ({first.frequency_THz * spectra.PER_CM:.0f} cm⁻¹).
The menu has the other candidates for localised modes.</p>
<noscript><p>The figures of this page need JavaScript; <a href="figures.html">pictures</a> do not.</p></noscript>
<figure><div class="moving" role="group" aria-label="The atoms round the vacancy swing in one mode, from above and from
the side">{moving}</div>
<figcaption>Above the sheet from above, where atoms that come nearer grow; below it the atoms within
{interactive.SLAB} Å of the empty site, from the side. Outlined: the three W and the Se across, whose motion is the weight at the
vacancy. Grey: bonds at rest. <b>The motion is exaggerated</b>: the atom that moves most swings by
{interactive.AMPLITUDE} Å. How many times more that is than its zero-point motion (root mean square) says the column
“enlarged”. A period takes {interactive.STEPS * interactive.PICTURE / 1000:.1f} s here,
{1 / first.frequency_THz:.2f} ps in truth for the first mode. Of a pair of E modes one is shown.</figcaption></figure>
{table(rows, head, range(1, 6))}
<p class="note">Weight: the share of the mode's kinetic energy that the outlined atoms have. Atoms: how many take part, participation ratio × number of
atoms. One cell has candidates only. What they become in cells of up to 30,000 atoms is the last column, from
<a href="08_dilute_limit.html">08_dilute_limit</a>: a resonance spreads over more and more modes as the cell grows.</p>
<h2>Bands to point at</h2>
<figure><div class="bands" role="group" aria-label="Phonon bands of the cell with a vacancy along Γ–M–K–Γ, coloured by the
weight at the vacancy; pointing at a band tells frequency, wave vector and weight">{bands}</div>
<figcaption>Point at a band, or tap it, for its frequency, wave vector (in reciprocal lattice vectors of the
{n} × {n} cell) and weight at the vacancy: the part of the motion that the outlined atoms have. Spread evenly over all
atoms it would be {len(vacancy.defect.local) / size:.0%}.</figcaption></figure>
"""
    return page("The vacancy, moving", body, '<script src="plotly.min.js"></script>\n')


def numbers_page(results: dict[str, dict[str, Any]]) -> str:
    """README's table of numbers, and the errors of the model by kind of cell."""
    model = results["03_evaluation"]["parameters"]["model"]
    errors = json.loads((paths.MODELS / f"{model}.json").read_text())["errors"]
    rows = [
        [part, kind.replace("total", "all"), str(found["frames"])]
        + [
            f"{found[f'rmse_{name}']:.{digits}f} ({found[f'mae_{name}']:.{digits}f})"
            for name, digits in (("energy_meV_per_atom", 1), ("force_meV_per_A", 0), ("stress_meV_per_A3", 2))
        ]
        for part in ("test", "validation")
        for kind, found in errors[part].items()
    ]
    head = ["frames of", "kind of cell", "frames", "energy (meV/atom)", "force (meV/Å)", "stress (meV/Å³)"]
    measured = [
        [html.escape(quantity), f"<b>{html.escape(value)}</b>", f'<a href="{step}.html">{step}</a>']
        for quantity, (value, step) in numbers(results).items()
    ]
    body = f"""<h1>Numbers</h1>
<p>Of the default run, each from the notebook named beside it. README has the same table, there with the errors of 05 and 06 too.</p>
{stacked(measured, ["quantity", "value", "notebook"])}
<h2>Errors of {html.escape(model)} by kind of cell</h2>
<p>Against DFT: root mean square, in brackets mean absolute. Frames of <i>test</i> were kept from training, those of <i>validation</i> steered the training. All are
of the same few kinds of cell as what it was trained on, and there are few: the errors tell of such cells alone.</p>
{table(rows, head, range(2, 6))}
{picture("03_evaluation/parity")}
"""
    return page("Numbers", body)


def ledger_page(entries: list[dict[str, Any]]) -> str:
    """The claims of the thesis, with what was measured, and how often each verdict was given."""
    rows = [
        [
            html.escape(entry["section"]), html.escape(entry["statement"]),
            "<br>".join(map(html.escape, entry["numbers"])), f"<b>{html.escape(entry['verdict'])}</b>",
        ]
        for entry in entries
    ]  # fmt: skip
    counts = ", ".join(f"{verdict}: {count}" for verdict, count in ledger.counts(entries).items())
    body = f"""<h1>What the thesis says, and whether it holds</h1>
<p>{html.escape(counts)}.</p>
<p>What the thesis says of its results, each with what was measured and, in brackets, what was wanted for it
to hold or to hold with a limit: criteria from data/claims.json, judged in the default
runs of <a href="07_comparison.html">07_comparison</a> and <a href="08_dilute_limit.html">08_dilute_limit</a>.</p>
{stacked(rows, ["section", "statement", "measured (wanted)", "verdict"])}
"""
    return page("The ledger", body)


def index_page(openings: dict[str, tuple[str, str]], results: dict[str, dict[str, Any]]) -> str:
    """What there is, and the notebooks."""
    revisions = ", ".join(sorted({str(each["revision"]) for each in results.values()}))
    notebooks = "\n".join(
        f'<h3><a href="{step}.html">{html.escape(title)}</a></h3>\n{question}'
        for step, (title, question) in openings.items()
    )
    body = f"""<h1>Machine-learned force fields for defective WSe2: report of the default run</h1>
<p>Every notebook with its defaults, computed at revision {html.escape(revisions)}.</p>
<ul>
<li><a href="figures.html">Figures of the thesis</a>, and ours beside them</li>
<li><a href="vacancy.html">The vacancy, moving</a>: its modes animated, its bands to point at</li>
<li><a href="numbers.html">Numbers</a>: what came out, and the errors of the model by kind of cell</li>
<li><a href="ledger.html">The ledger</a>: what the thesis says, and whether it holds</li>
</ul>
{picture("05_defect/bands")}
<h2>The notebooks, as run</h2>
{notebooks}
"""
    return page("Defective WSe2: report of the default run", body)


def main(index: Path, executed: list[Path]) -> None:
    folder = index.parent
    folders = {path.parent.parent.name: path.parent for path in executed}
    results = {step: json.loads((run / "result.json").read_text()) for step, run in folders.items()}
    openings = {}
    for step, run in folders.items():
        notebook = with_outputs(step, run / "notebook.ipynb")
        openings[step] = opening(notebook)
        write(folder / f"{step}.html", notebook_page(step, notebook))
    for key, name in FIGURES.items():
        step, file = key.split("/")
        with caching.whole_file(folder / "pictures" / f"{name}.png") as temporary:
            shutil.copyfile(folders[step] / f"{file}.png", temporary)
    characters = {mode["name"]: mode["character"] for mode in results["08_dilute_limit"]["results"]["modes"]}
    write(folder / "plotly.min.js", plotly.offline.get_plotlyjs())
    write(folder / "figures.html", figures_page())
    write(folder / "vacancy.html", vacancy_page(folders["05_defect"], characters))
    write(folder / "numbers.html", numbers_page(results))
    write(folder / "ledger.html", ledger_page(judged(results)))
    write(index, index_page(openings, results))


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
