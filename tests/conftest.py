"""Tests and notebooks start from an empty results folder, removed at the end."""

import os
import shutil
import tempfile

import pytest
from nbval.plugin import IPyNbCell

# Set before the first import of helpers.paths; the kernels of the notebooks inherit it, and so do the other
# processes of pytest -n, which share it.
FIRST = "PYTEST_XDIST_WORKER" not in os.environ
if FIRST:
    os.environ["WSE2_RESULTS"] = tempfile.mkdtemp(prefix="wse2-results-")


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks for groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Progress bars and libraries' remarks on stderr are no results.
    for notebook in {item.parent for item in items if isinstance(item, IPyNbCell)}:
        notebook.skip_compare += ("stderr",)
    # A file is run by one process, and the notebooks by one too, for each needs what an earlier one has found.
    for item in items:
        group = "notebooks" if isinstance(item, IPyNbCell) else item.path.name
        item.add_marker(pytest.mark.xdist_group(group))


def pytest_unconfigure() -> None:
    if FIRST:
        shutil.rmtree(os.environ["WSE2_RESULTS"], ignore_errors=True)
