"""The report, read as a reader does: from a plain folder, in a browser, on a desk and on a phone."""

import ast
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import browser
import interactive
import nbformat
import publish
import pytest
from bs4 import BeautifulSoup
from playwright.sync_api import Browser, Page

from helpers import execution, parameters, paths

RUN = parameters.Defect(supercell=3, mesh=6)  # as in tests/test_jupyterlab.py
MADE_UP = {
    "narrowest_optical/A2": {"frequency_THz": 6.9, "by_dft_THz": 6.9, "width_THz": 0.01},
    "narrowest_optical/E": {"frequency_THz": 6.9, "by_dft_THz": 6.9, "width_THz": 0.01},
    "bound_states/0": {"irrep": "E", "frequency_THz": 5.0, "from_band_THz": 0.0002},
    "defects/V_Se2/bound_states/0": {"irrep": "A1'", "frequency_THz": 4.3, "weights": {"local": 0.7}},
    "defects/O_Se/bound_states": [{"irrep": "E", "frequency_THz": 15.0}] * 3,
    "defects/V_Se/in_cell": dict.fromkeys(
        ("electron_attachment, wse2-defects", "electron_attachment, DFT"),
        {"forces at the ground state's minimum": {"S": 0.5}},
    ),
    "defects/V_Se/of_one_partner": dict.fromkeys(("wse2-defects", "DFT"), {"linear coupling": {"S": 5.5}}),
    "defects/V_Se/one_partner/96": {"S": 6.0, "energy_meV": 80.0},
    "defects/V_Se/total": {"S": 0.5, "error": 0.05},
    "defects/V_Se/peaks/0": {"share": 0.5, "meV": 17.0},
    "defects/V_Se2/along_modes/A1' of three W": {"model_THz": 4.0, "deviation_THz": 0.1, "dft_THz": 4.1},
    "defects/O_Se/along_modes/E of O": {"model_THz": 15.0, "deviation_THz": 0.1, "dft_THz": 14.9},
    "defects/O_Se/along_modes/A1 of O": {"model_THz": 17.0, "deviation_THz": 0.1, "dft_THz": 16.9},
    "modes/5": {"irrep": "A2", "per_cm_per_percent": -3.0, "error": 0.1},
    "targets_met": {"number": 1, "of": 2},
    "vacancy_modes": dict.fromkeys(
        ["model", "null model"],
        {"modes_below": 1.1, "modes_above": 0.5, "local_dos": 6.0, "sets": 50, "without_partner": 0},
    ),
    "labels_saved": {"mean": 3.0, "error": 1.0, "verdict": "distinguishable from none"},
    "within_10_percent": dict.fromkeys(["committee", "random"], {"labels": 16, "atoms": 300}),
}
CLAIM = {
    "section": "4.4",
    "statement": "a < b",
    "verdict": "fails",
    "numbers": ["criterion: x: 2 (< 1)"],
}


def made_up(step: str) -> dict[str, Any]:
    """The part of result.json that the report reads, for a step that is not run here."""
    results: dict[str, Any] = {"ledger": [CLAIM], "modes": [] if step == "08_dilute_limit" else {}}
    for _, _, place, _ in (row for row in publish.NUMBERS if row[1] == step):
        *parents, last = place.split("/")
        inner = results
        for name in parents:
            inner = inner.setdefault(name, {})
        lines = {"per_cm_at_dft_geometry": 168.4, "dft_per_cm": 168.0}
        inner[last] = lines if parents == ["gamma_modes"] else MADE_UP.get(place, 0.5)
    return {"results": results, "revision": "none", "parameters": {"model": "wse2-small"}}


def write(site: Path, *runs: Path) -> None:
    """Build the site of `runs`; what is said meanwhile is in the file log beside it."""
    command = [sys.executable, paths.ROOT / "workflow" / "report.py", site / "index.html"]
    with (site.parent / "log").open("w") as log:
        subprocess.run(
            [*command, *(run / "notebook.ipynb" for run in runs)],
            stdout=log,
            stderr=subprocess.STDOUT,
            check=True,
        )


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder: of the committed notebooks and figures, and of a small run of 05."""
    folder = tmp_path_factory.mktemp("results")
    execution.obtain(RUN)  # where no browser has run it
    runs = {step: folder / step / "tag" for step in parameters.default_runs()}
    for step, run in runs.items():
        run.mkdir(parents=True)
        shutil.copy(paths.NOTEBOOKS / f"{step}.ipynb", run / "notebook.ipynb")
        (run / "result.json").write_text(json.dumps(made_up(step)))
    for source, name in publish.FIGURES.items():
        step, picture = source.split("/")
        shutil.copy(paths.FIGURES / f"{name}.png", runs[step] / f"{picture}.png")
    for name in ("result.json", "phonopy_params.yaml.xz"):
        shutil.copy(RUN.folder / name, runs[RUN.step])
    write(folder / "report", *runs.values())
    return folder / "report"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser.launched() as opened:
        yield opened


@pytest.fixture
def page(chromium: Browser, report: Path) -> Iterator[Page]:
    """An empty page; at the end what it said on the console or asked for elsewhere is an error."""
    opened, wrong = browser.new_page(chromium), []
    opened.on("console", lambda said: said.type in ("error", "warning") and wrong.append(said.text))
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    known = (report.as_uri(), "data:", "blob:")
    opened.on("request", lambda asked: asked.url.startswith(known) or wrong.append(asked.url))
    opened.on("requestfailed", lambda asked: wrong.append(asked.url))
    yield opened
    opened.close()
    assert wrong == []


def rows(file: Path) -> list[list[str]]:
    """The cells of all tables on a page."""
    page = BeautifulSoup(file.read_text(), "html.parser")
    return [[cell.get_text("\n", strip=True) for cell in row.find_all("td")] for row in page.find_all("tr")]


def test_ledger_and_numbers_are_those_of_the_results(report):
    ledger, numbers = (rows(report / name) for name in ("ledger.html", "numbers.html"))
    claim = [CLAIM["section"], CLAIM["statement"], "\n".join(CLAIM["numbers"]), CLAIM["verdict"]]
    assert claim in ledger
    results = {step: made_up(step) for step in parameters.default_runs()}
    results[RUN.step] = json.loads((RUN.folder / "result.json").read_text())
    for quantity, (value, step) in publish.numbers(results).items():
        assert [quantity, value.strip(), step] in numbers
    assert any("vacancy_2x2" in row for row in numbers)


def test_sphinx_finds_nothing_to_warn_of(report):
    assert "WARNING" not in (report.parent / "log").read_text()


def test_a_step_that_is_not_given_has_no_page(report, tmp_path):
    run = tmp_path / "results" / "01_data" / "mine"
    shutil.copytree(report.parent / "01_data" / "tag", run)
    executed = nbformat.read(run / "notebook.ipynb", as_version=4)
    given = nbformat.v4.new_code_cell("data = 'mine.xyz'", metadata={"tags": ["injected-parameters"]})
    executed.cells.insert(2, given)  # as papermill does
    nbformat.write(executed, run / "notebook.ipynb")
    write(tmp_path / "report", run)
    assert "mine.xyz" in (tmp_path / "report" / "notebooks" / "01_data.html").read_text()
    warnings = [line for line in (tmp_path / "log").read_text().splitlines() if "WARNING" in line]
    assert all("notebooks/" in line for line in warnings), "only links from README to the others lead nowhere"
    assert {path.name for path in (tmp_path / "report" / "notebooks").iterdir()} == {"01_data.html"}
    assert not any(
        (tmp_path / "report" / f"{name}.html").exists() for name in ("vacancy", "numbers", "ledger")
    )
    assert {path.name for path in tmp_path.iterdir()} == {"results", "report", "log"}


def test_formulas_are_drawn(report):
    text = (report / "notebooks" / "01_data.html").read_text()
    assert "Δ</mi>" in text and r"\tfrac" not in text


def test_the_reference_has_every_public_function(report):
    for file in (paths.ROOT / "src").rglob("*.py"):
        module = ".".join(file.relative_to(paths.ROOT / "src").with_suffix("").parts).removesuffix(
            ".__init__"
        )
        page = (report / "reference" / f"{module}.html").read_text()
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                assert f'id="{module}.{node.name}"' in page


@browser.needed
def test_pages_are_whole_and_readable(page, report):
    files = [path for path in sorted(report.rglob("*.html")) if "_static" not in path.parts]
    assert len(list(report.glob("notebooks/*.html"))) == len(parameters.default_runs())
    for file in files:
        page.set_viewport_size({"width": 360, "height": 844})
        page.goto(file.as_uri())
        for width in (360, 1200):
            page.set_viewport_size({"width": width, "height": 844})
            assert page.evaluate(
                "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
            ), f"{file} at {width} pixels"
        pictures = page.evaluate("[...document.images].map(each => [each.naturalWidth, each.alt])")
        assert all(natural > 0 and alt for natural, alt in pictures), file
        for link in page.evaluate("[...document.links].map(each => each.href)"):
            assert Path(unquote(urlsplit(link).path)).is_file(), f"{file}: {link}"
    page.goto((report / "figures.html").as_uri())
    assert page.locator("img").count() >= len(publish.FIGURES)


@browser.needed
def test_search_finds_words_of_notebooks_and_of_the_reference(page, report):
    page.goto((report / "index.html").as_uri())
    page.keyboard.press("Control+K")
    page.keyboard.type("linewidth")
    page.keyboard.press("Enter")
    results = page.locator("#search-results li a")
    results.first.wait_for()
    addresses = [urlsplit(each).path for each in page.evaluate("[...document.links].map(each => each.href)")]
    assert f"{report}/notebooks/08_dilute_limit.html" in addresses
    assert any(each.endswith(".tmatrix.html") for each in addresses)


def places(page: Page) -> list[list[float]]:
    """Where the atoms are on the screen, in pixels."""
    return page.evaluate(
        "[...document.querySelectorAll('#moving .points path')]"
        ".map(each => each.getBoundingClientRect()).map(box => [box.x + box.width / 2, box.y + box.height / 2])"
    )


def moved(before: list[list[float]], after: list[list[float]]) -> int:
    """How many atoms are elsewhere by more than half a pixel."""
    return sum(abs(x - u) + abs(y - v) > 0.5 for (x, y), (u, v) in zip(before, after, strict=True))


def wait_until_atoms_move(page: Page) -> None:
    """More than three, however few pictures a busy machine shows in a second."""
    before, deadline = places(page), time.monotonic() + browser.LIMIT / 1000
    while moved(before, places(page)) <= 3:
        assert time.monotonic() < deadline, "no atom moves"
        page.wait_for_timeout(50)


@browser.needed
def test_atoms_move_until_stopped(page, report):
    page.goto((report / "vacancy.html").as_uri())
    page.locator("#moving .points path").first.wait_for()
    assert "The motion is exaggerated" in page.locator("article").inner_text()
    page.evaluate("""() => {
        const figure = document.getElementById("moving");
        window.ended = 0;
        figure.on("plotly_animating", () => { window.playing = true; });
        figure.on("plotly_animated", () => { window.playing = false; window.ended += 1; });
    }""")
    page.wait_for_function("window.ended > 1 && window.playing")  # it goes on by itself
    wait_until_atoms_move(page)
    page.locator("#moving .updatemenu-button", has_text="Stop").click()
    page.wait_for_function("!window.playing")  # the period that was on show is over, and no other begins
    before = places(page)
    page.wait_for_timeout(2 * interactive.STEPS * interactive.PICTURE)
    assert moved(before, places(page)) == 0
    page.locator("#moving .updatemenu-button", has_text="Play").click()
    wait_until_atoms_move(page)


@browser.needed
def test_bands_say_what_one_points_at(page, report):
    page.goto((report / "vacancy.html").as_uri())
    page.locator("#bands .scatterlayer").wait_for()
    page.locator("#bands").scroll_into_view_if_needed()
    x, y, frequency = page.evaluate("""() => {
        const plot = document.getElementById("bands"), box = plot.getBoundingClientRect();
        const {xaxis, yaxis} = plot._fullLayout, trace = plot._fullData[0], point = 10;
        return [box.x + xaxis._offset + xaxis.l2p(trace.x[point]),
                box.y + yaxis._offset + yaxis.l2p(trace.y[point]), trace.y[point]];
    }""")
    page.mouse.move(x, y)
    label = page.locator("#bands .hoverlayer .hovertext")
    label.wait_for()
    text = label.text_content()
    assert f"{frequency:.2f} THz" in text
    for part in ("cm⁻¹", "q = (", "weight at the vacancy"):
        assert part in text
