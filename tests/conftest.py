"""Tests and notebooks start from an empty results folder, removed at the end."""

import os
import shutil
import tempfile

import pytest
from nbval.plugin import IPyNbCell
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

# Set before the first import of helpers.paths; the kernels of the notebooks inherit it, and so do the other
# processes of pytest -n, which share it.
FIRST = "PYTEST_XDIST_WORKER" not in os.environ
if FIRST:
    os.environ["WSE2_RESULTS"] = tempfile.mkdtemp(prefix="wse2-results-")


# What takes minutes comes first, so that no process is left with it at the end.
LONG = ("notebooks/", "tests/test_slurm.py", "tests/test_committee.py", "tests/test_gpu_bundle.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(
        key=lambda item: next((i for i, name in enumerate(LONG) if item.nodeid.startswith(name)), len(LONG))
    )
    # Progress bars and libraries' remarks on stderr are no results.
    for notebook in {item.parent for item in items if isinstance(item, IPyNbCell)}:
        notebook.skip_compare += ("stderr",)


class ByFile(LoadScopeScheduling):
    """A file is run by one process, and the notebooks by one too, for each needs what an earlier one has found."""

    def _split_scope(self, nodeid: str) -> str:
        return "notebooks" if nodeid.startswith("notebooks/") else nodeid.split("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFile:
    # The marks of `--dist loadgroup` have no effect on node ids of pytest 9.2.
    return ByFile(config, log)


def pytest_unconfigure() -> None:
    if FIRST:
        shutil.rmtree(os.environ["WSE2_RESULTS"], ignore_errors=True)
