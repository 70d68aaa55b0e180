"""One process a core with a progress bar, all of which end with the process that started them."""

import contextlib
import ctypes
import multiprocessing
import multiprocessing.connection
import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm


def end_with_parent() -> None:
    """Have this process killed when the one that started it ends, however it ends; on Linux alone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL


def on_every_core(
    write: Callable[[list[Any]], Iterable[int]],
    tasks: list[Any],
    at_once: int,
    files: Collection[Path],
    bar: tqdm,
) -> None:
    """Call `write` with a share of `tasks` in each of several processes, one a core, but `at_once` tasks or more in each.

    It writes `files` and yields how many it has just written. Raises RuntimeError if a process fails; what is
    written by then stays.
    """
    import torch

    # A fork of a process that has used a GPU, or could, cannot differentiate.
    forks = sys.platform == "linux" and not torch.cuda.is_available()
    processes = min(cores(), -(-len(tasks) // at_once)) if forks else 1
    with single_thread():
        if processes <= 1:
            for written in write(tasks):
                bar.update(written)
            return
        context = multiprocessing.get_context("fork")
        running = [
            context.Process(
                target=lambda share: (end_with_parent(), list(write(share))),
                args=(tasks[i::processes],),
                daemon=True,
            )
            for i in range(processes)
        ]
        try:
            for process in running:
                process.start()
            while any(process.is_alive() for process in running):
                multiprocessing.connection.wait([process.sentinel for process in running], timeout=0.5)
                bar.update(sum(path.exists() for path in files) - bar.n)
        finally:
            for process in running:
                process.terminate()
                process.join()
        failed = [process.exitcode for process in running if process.exitcode]
        if failed:
            raise RuntimeError(
                f"a process that computes with the model ended with exit code {failed[0]} (-9: most likely for "
                "want of memory); what is finished is kept: run again, on fewer cores (taskset) if memory is short"
            )


def cores() -> int:
    """Return the number of cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def single_thread() -> Iterator[None]:
    """Let PyTorch use one thread: tensors of a few atoms are so small that several wait for each other, and there is a process a core."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
