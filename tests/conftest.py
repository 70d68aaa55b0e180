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


# What takes minutes comes first, so that no process is left with it at the end. test_dilute relaxes the cell of 08 before
# the notebooks come to it.
LONG = (
    "notebooks/", "tests/test_jupyterlab.py", "tests/test_report.py", "tests/test_dilute.py", "tests/test_slurm.py",
    "tests/test_committee.py", "tests/test_training.py", "tests/test_sweeps.py", "tests/test_force_constants.py", "tests/test_cli.py",
    "tests/test_gpu_bundle.py",
)  # fmt: skip
# `pytest -m quick`, in less than a minute: the tests of these files but those that ask for a model, start a
# notebook, Snakemake or a training.
QUICK = (
    "test_active", "test_dataset", "test_emission", "test_environment", "test_evaluation", "test_fingerprint",
    "test_import", "test_inputs", "test_ledger", "test_notebooks", "test_packages", "test_phonons", "test_selection", "test_sweeps",
)  # fmt: skip
SLOW_FIXTURES = {"mace", "compendium", "model"}
SLOW_TESTS = {
    "test_a_rattled_cell_is_less_like_the_sheet_than_a_turned_one",
    "test_a_result_that_is_not_there_is_computed",
    "test_a_frame_is_asked_for_and_labelled",
}


def is_quick(item: pytest.Item) -> bool:
    fixtures = set(getattr(item, "fixturenames", ()))
    name = getattr(item, "originalname", item.name)
    return item.path.stem in QUICK and not fixtures & SLOW_FIXTURES and name not in SLOW_TESTS


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "quick: needs no model, and starts no notebook, Snakemake, browser or Slurm"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(
        key=lambda item: next((i for i, name in enumerate(LONG) if item.nodeid.startswith(name)), len(LONG))
    )
    for item in items:
        if is_quick(item):
            item.add_marker("quick")
    cells = [item for item in items if isinstance(item, IPyNbCell)]
    for cell in cells:
        # The 5 s that nbval gives a kernel to hand on what a cell printed (its issue 231) are short on a busy machine.
        cell.output_timeout = 120
    # Progress bars and libraries' remarks on stderr are no results.
    for notebook in {cell.parent for cell in cells}:
        notebook.skip_compare += ("stderr",)


class ByFile(LoadScopeScheduling):
    """A file is run by one process.

    So are the notebooks, for each needs what an earlier one has found, and the report with JupyterLab, whose run it
    shows.
    """

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith("notebooks/"):
            return "notebooks"
        if nodeid.startswith(("tests/test_jupyterlab.py", "tests/test_report.py")):
            return "browser"
        return nodeid.split("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFile:
    # The marks of `--dist loadgroup` have no effect on node ids of pytest 9.2.
    return ByFile(config, log)


def pytest_unconfigure() -> None:
    if FIRST:
        shutil.rmtree(os.environ["WSE2_RESULTS"], ignore_errors=True)
