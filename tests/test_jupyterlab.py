"""05 as a reader runs it: in JupyterLab, in a browser, from the menu, until the structure is drawn."""

import io
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import browser
import nbformat
import numpy as np
import pytest
from PIL import Image

from helpers import parameters, paths

RUN = parameters.Defect(supercell=3, mesh=6)  # tests/test_report.py, which comes later, shows what it leaves
LIMIT = browser.LIMIT / 1000  # s
pytestmark = browser.needed


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Of JupyterLab, which serves a copy of 05 with RUN's parameters and keeps all its state in `tmp_path`."""
    notebook = nbformat.read(paths.NOTEBOOKS / "05_defect.ipynb", as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell in code:
        cell.outputs, cell.execution_count = [], None
    code[0].source += f"\nsupercell, mesh = {RUN.supercell}, {RUN.mesh}"
    served = tmp_path / "notebooks"
    served.mkdir()
    nbformat.write(notebook, served / "05_defect.ipynb")

    own = {
        "HOME": tmp_path, "IPYTHONDIR": tmp_path / "ipython", "JUPYTER_CONFIG_DIR": tmp_path / "config",
        "JUPYTER_DATA_DIR": tmp_path / "data", "JUPYTER_RUNTIME_DIR": tmp_path / "runtime",
    }  # fmt: skip
    token, log = secrets.token_hex(), tmp_path / "log.txt"
    with log.open("w") as file:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0",
             f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={served}", "--LabApp.news_url=None"],
            env=os.environ | {name: str(place) for name, place in own.items()}, stdout=file, stderr=file,
        )  # fmt: skip
    try:
        # It takes a free port and writes down which.
        deadline = time.monotonic() + LIMIT
        while not (
            started := [
                path for path in (tmp_path / "runtime").glob("jpserver-*.json") if path.stat().st_size
            ]
        ):
            assert server.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        port = json.loads(started[0].read_text())["port"]
        yield f"http://127.0.0.1:{port}/lab/tree/05_defect.ipynb?token={token}"
    finally:
        server.terminate()  # and its kernels
        server.wait(timeout=LIMIT)


def colours(picture: bytes) -> int:
    """How many different colours a PNG has."""
    return len(np.unique(np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).reshape(-1, 3), axis=0))


def test_05_runs_from_the_menu_and_draws_the_structure(address):
    assert not RUN.folder.exists()
    with browser.launched() as chromium:
        page = browser.new_page(chromium, viewport={"width": 1200, "height": 900})
        errors = []
        page.on("console", lambda message: message.type == "error" and errors.append(message.text))
        page.goto(address)
        page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        deadline = time.monotonic() + 2 * LIMIT
        # The structure reaches the browser when the kernel is free to send it: after the last cell.
        while not (RUN.folder / "result.json").exists():
            assert time.monotonic() < deadline, errors
            page.wait_for_timeout(200)
        canvas = page.locator(".jp-OutputArea-output canvas").first
        canvas.wait_for(state="attached")
        deadline = time.monotonic() + LIMIT
        canvas.scroll_into_view_if_needed()
        while colours(canvas.screenshot()) < 50:
            assert time.monotonic() < deadline, f"the canvas stays empty: {errors}"
            page.wait_for_timeout(200)
        assert errors == []
