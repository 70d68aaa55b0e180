"""report.py INDEX NOTEBOOK...: the site of executed notebooks, one run of each step, with INDEX as its first page.

Pages are written as Markdown into a folder beside the site, and Sphinx makes HTML of them with docs/conf.py. What is about a
step of which no notebook is given is left out.
"""

import base64
import itertools
import json
import re
import shutil
import sys
from pathlib import Path

import api
import nbformat
import pages
import plotly.offline
from markup import escaped
from pictures import FIGURES, PICTURES
from publish import with_outputs
from sphinx.cmd.build import build_main

from helpers import paths

# What the site takes over as it is, and what its pages refer to.
TEXTS = (
    "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/*.md", "data/README.md", "data/models/README.md", "data/error_budget/*.png", "benchmarks/*.*",
    "figures/*.png", "Dockerfile", "LICENSE", "CITATION.cff",
)  # fmt: skip
TO_TURN = "To turn the structure with the mouse, run this cell in JupyterLab. Here its [modes move](../vacancy.html)."


def opening(notebook: nbformat.NotebookNode) -> tuple[str, str]:
    """Return the first heading and the first paragraph."""
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    heading, paragraph = text.split("\n\n")[:2]
    return heading.lstrip("# "), paragraph


def captions(step: str, source: str) -> list[str]:
    """Return the captions of the pictures that the source of a cell saves, of whose names a part may change."""
    names = re.findall(r'\.save\(.*, run, f?"([^"]+)"\)', source)
    patterns = [f"{step}/" + re.sub(r"\{[^}]*\}", "[^/]+", each) for each in names]
    return [PICTURES[key][1] for pattern in patterns for key in PICTURES if re.fullmatch(pattern, key)]


def write_notebook(step: str, notebook: nbformat.NotebookNode, source: Path) -> None:
    """Write the notebook as run, its pictures with words beside them, and without widgets, which need JupyterLab."""
    notebook.metadata.pop("widgets", None)
    files = (source / "pictures" / f"{step}_{number}.png" for number in itertools.count())
    for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
        words, shown = captions(step, cell.source), []
        for output in cell.outputs:
            data = output.get("data", {})
            if "application/vnd.jupyter.widget-view+json" in data:
                shown = [nbformat.v4.new_output("display_data", {"text/markdown": TO_TURN})]
                continue
            if "image/png" in data:
                file = next(files)
                file.write_bytes(base64.b64decode(data["image/png"]))
                output.data = {"text/markdown": f"![{escaped(words.pop(0))}](../pictures/{file.name})"}
            shown.append(output)
        cell.outputs = shown
    nbformat.write(notebook, source / "notebooks" / f"{step}.ipynb")


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
    texts = pages.of_results(folders, results)
    texts["index"] = pages.index(openings, results, list(texts))
    for name, text in texts.items():
        (source / f"{name}.md").write_text(text)
    api.write(paths.ROOT / "src", source / "reference")


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
