"""Tests and notebooks start from an empty results folder, removed at the end."""

import os
import shutil
import tempfile

import pytest
from nbval.plugin import IPyNbCell

# Set before the first import of helpers.paths; the kernels of the notebooks inherit it.
RESULTS = os.environ["WSE2_RESULTS"] = tempfile.mkdtemp(prefix="wse2-results-")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Progress bars and libraries' remarks on stderr are no results.
    for notebook in {item.parent for item in items if isinstance(item, IPyNbCell)}:
        notebook.skip_compare += ("stderr",)


def pytest_unconfigure() -> None:
    shutil.rmtree(RESULTS, ignore_errors=True)
