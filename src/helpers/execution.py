"""Execute the notebook of a run, in a kernel of this Python that ends with the process that started it.

    python -m helpers.execution STEP TARGET.ipynb [PARAMETERS as YAML]

is how `make` and sweeps do it.
"""

import sys
from pathlib import Path
from typing import Any

from helpers import parameters, paths, records

# Not of a kernel's name: JUPYTER_PATH, which modules of clusters set, may put another of that name before ours.
KERNEL = """
from defectphonons.parallel import end_with_parent
end_with_parent()
from ipykernel.kernelapp import launch_new_instance
launch_new_instance()
"""


def execute(step: str, target: Path, given: dict[str, Any]) -> None:
    """Execute the notebook of a step with the parameters `given` into `target`.

    Raises ValueError for wrong parameters, before anything is started, and PapermillExecutionError if a cell fails.
    """
    type(parameters.default_runs()[step]).of(given)

    import papermill  # here, for it takes a second and most who need this module do not need it
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpec

    class OwnKernel(AsyncKernelManager):
        # The warnings that it does not show are of its own sockets.
        how = ["-f", "{connection_file}", "--log-level=ERROR"]
        kernel_spec = KernelSpec(argv=[sys.executable, "-P", "-c", KERNEL, *how], language="python")

    target.parent.mkdir(parents=True, exist_ok=True)
    papermill.execute_notebook(
        paths.NOTEBOOKS / f"{step}.ipynb", target, parameters=given,
        kernel_name="python3", kernel_manager_class=OwnKernel, progress_bar=False,
    )  # fmt: skip


def obtain(run: Any) -> dict[str, Any]:
    """`results` of the run; where there are none that are valid, its notebook is executed first."""
    if records.load(run) is None:
        execute(run.step, run.folder / "notebook.ipynb", run.model_dump())
    found = records.load(run)
    if found is None:
        raise RuntimeError(f"{run.step} was run, but code or data changed meanwhile: run again")
    return found


def main() -> None:
    import logging

    import yaml
    from papermill.exceptions import PapermillExecutionError

    logging.basicConfig(
        level="INFO", format="%(message)s"
    )  # as papermill does: the log says when a notebook begins
    step, target, *given = sys.argv[1:]
    try:
        execute(step, Path(target), yaml.safe_load(given[0]) if given else {})
    except PapermillExecutionError as error:
        # The last line is all that most want to read.
        sys.exit(f"{error}\n{error.ename}: {' '.join(error.evalue.split())}")
    except (OSError, ValueError) as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
