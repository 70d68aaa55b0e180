"""report.py INDEX NOTEBOOK...: a page for each executed notebook beside INDEX, which links them.

Text and pictures are within the pages; nothing is fetched except MathJax, for formulas, when it can be.
"""

import html
import json
import sys
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter

from helpers import records

STYLE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<style>
  body { font-family: sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
  img { max-width: 100%; max-height: 18rem; }
  td, th { text-align: left; vertical-align: top; padding: 0.4rem 0.6rem; border-top: 1px solid #ccc; }
</style>"""
PAGE = """{style}
<title>Defective WSe2: report of the default run</title>
<h1>Report of the default run</h1>
<p>Every notebook with its defaults, at revision {revision}. A title opens the notebook as run.</p>
{entries}
</html>
"""
LEDGER = """{style}
<title>Defective WSe2: the ledger</title>
<h1>What the thesis says, and whether it holds</h1>
<p>What the thesis says of its results, each with what was measured and, in brackets, what was wanted for it
to hold or to hold with a limit: criteria from data/claims.json, numbers of the default run of
<a href="08_dilute_limit.html">08_dilute_limit</a> and of the notebooks before it.</p>
<table>
{rows}
</table>
</html>
"""


def title(notebook: nbformat.NotebookNode) -> str:
    """The first heading."""
    lines = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown").splitlines()
    return next(line.lstrip("# ") for line in lines if line.startswith("#"))


def without_stderr(notebook: nbformat.NotebookNode) -> None:
    """Remove progress bars and remarks of libraries from the outputs."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]


def pictures(notebook: nbformat.NotebookNode) -> str:
    """HTML images of the PNGs among the outputs."""
    found = [
        output.data["image/png"].strip()
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    return "\n".join(f'<img alt="" src="data:image/png;base64,{picture}">' for picture in found)


def ledger(result: Path) -> str:
    """HTML table of the claims of a result.json, with what was measured and the verdicts."""
    rows = [
        f"<tr><td>{html.escape(entry['section'])}</td><td>{html.escape(entry['statement'])}</td>"
        f"<td>{'<br>'.join(map(html.escape, entry['numbers']))}</td><th>{html.escape(entry['verdict'])}</th></tr>"
        for entry in json.loads(result.read_text())["results"]["ledger"]
    ]
    return "\n".join(
        ["<tr><th>section</th><th>statement</th><th>measured (wanted)</th><th>verdict</th></tr>", *rows]
    )


def main(index: Path, executed: list[Path]) -> None:
    # No page waits for the network: require.js is not needed, MathJax is loaded after the text.
    exporter = HTMLExporter(require_js_url="data:,")
    mathjax = f'src="{exporter.mathjax_url}"'
    entries = []
    for path in executed:
        step = path.parent.parent.name
        notebook = nbformat.read(path, as_version=4)
        without_stderr(notebook)
        page, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": step}})
        with records.whole_file(index.parent / f"{step}.html") as temporary:
            temporary.write_text(page.replace(mathjax, f"defer {mathjax}"))
        entries.append(f'<h2><a href="{step}.html">{html.escape(title(notebook))}</a></h2>')
        entries.append(pictures(notebook))
        if step == "08_dilute_limit":
            with records.whole_file(index.parent / "ledger.html") as temporary:
                temporary.write_text(LEDGER.format(rows=ledger(path.parent / "result.json"), style=STYLE))
            entries.append(
                '<h2><a href="ledger.html">The ledger: what the thesis says, and whether it holds</a></h2>'
            )
    with records.whole_file(index) as temporary:
        temporary.write_text(
            PAGE.format(style=STYLE, entries="\n".join(entries), revision=records.revision())
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
