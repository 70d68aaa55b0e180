"""The one graph of steps: every notebook with its defaults, then the report (`make` runs it); or a sweep.

A step is run again when its key changed (parameters, inputs, what is computed), or what its notebook prints and draws.
"""

import hashlib
import os
import shlex
import sys
from pathlib import Path

import yaml

from defectphonons import parallel
from helpers import fingerprint, parameters, paths, records, sweeps

SWEEP = config.get("sweep")
if "sweep" in sys.argv and not SWEEP:
    sys.exit("A sweep of what? Name a file: wse2 sweep params/thesis.yaml")

QUIET = "--quiet" in sys.argv  # as `make` calls
if QUIET:
    logger.setLevel("ERROR")
if "MAKELEVEL" in os.environ and workflow.is_main_process:
    parallel.end_with_parent()  # which is `make`


workdir: paths.ROOT


try:
    chosen = sweeps.read(Path(SWEEP)) if SWEEP else list(parameters.default_runs().values())
except ValueError as error:
    sys.exit(f"{SWEEP}: {error}")
RUNS = {(run.step, run.tag): run for run in chosen}
STEPS = sorted({step for step, _ in RUNS})
RESULTS = Path(os.path.relpath(paths.RESULTS, paths.ROOT))
REPORT = RESULTS / "report"
COMPARISON = parameters.Comparison()
AWAITED = {run.step for run in COMPARISON.needed}
CELLS = RESULTS / "logs" / "cells.done"  # the larger cells of 07 and 08 are relaxed
LARGE = (COMPARISON.step, parameters.Dilute.step)


def name(run):
    """Of its folder in results/, in a sweep; without one there is one run of each step."""
    return f"{run.step}/{run.tag}" if SWEEP else run.step


def log_of(run):
    return RESULTS / "logs" / f"{name(run)}.txt"


def executed(run):
    return RESULTS / run.step / run.tag / "notebook.ipynb"


# Executed notebooks that lie there without a valid result (of another key, or damaged). Jobs on a cluster read this file
# too, when it is settled what they do.
INVALID = {
    name(run)
    for run in RUNS.values()
    if workflow.is_main_process and (paths.ROOT / executed(run)).exists() and not records.is_executed(run)
}


def before_anew(run):
    """`before`; on the way an invalid notebook is marked to be executed anew, which its files and parameters do not tell."""
    if name(run) in INVALID:
        workflow.dag.forcefiles.add(str(executed(run)))
    return before(run)


def logged(command):
    """`command` with its output in the log and one line on the screen; `exec`, so that it ends with Snakemake."""
    return "exec {sys.executable:q} workflow/logged.py {log:q} {resources.label:q} " + command


def of(step, what):
    """For a rule of `step`: `what` of the run that its wildcards mean."""
    tag = next(run.tag for run in RUNS.values() if run.step == step)
    return lambda wildcards: what(RUNS[step, getattr(wildcards, "tag", tag)])


def label(run):
    return f"[{list(RUNS.values()).index(run) + 1}/{len(RUNS) + (not SWEEP)}] {name(run)}"


def before(run):
    """Executed notebooks that it needs, or whose work it would do again."""
    earlier = [*run.needed, *(sweeps.cells(run) if SWEEP else [])]
    return [executed(RUNS[each.step, each.tag]) for each in earlier]


def arguments(run):
    """The parameters, on one line. Not a `param`: the device does not make a result another."""
    given = sweeps.given(run)
    line = yaml.safe_dump(given, default_flow_style=True, width=float("inf")).strip()
    return shlex.quote(line) if given else ""


onstart:
    # From here on a step that fails speaks for itself.
    if QUIET:
        logger.setLevel("CRITICAL")
    for run in RUNS.values():
        if workflow.is_main_process and records.load(run) is None:
            log_of(run).unlink(missing_ok=True)  # or an earlier failure would be told again


onerror:
    for run in RUNS.values():
        if log_of(run).exists() and records.load(run) is None:
            print(f"{name(run)} {sweeps.failure(run, log_of(run).read_text())}. See {log_of(run)}", file=sys.stderr)


RESULTS_OF_ALL = [executed(run).with_name(file) for run in RUNS.values() for file in ("notebook.ipynb", "result.json")]

if SWEEP:

    rule sweep:
        default_target: True
        input:
            RESULTS_OF_ALL,

else:

    rule all:
        default_target: True
        input:
            RESULTS_OF_ALL,
            REPORT / "index.html",


for step in STEPS:
    tag = "{tag}" if SWEEP else next(run.tag for run in RUNS.values() if run.step == step)

    rule:
        name:
            step
        input:
            of(step, before_anew),
            CELLS if not SWEEP and step in LARGE else [],
            # `ancient`: not the file's time decides, but what it computes and shows, see params.
            notebook=ancient(f"notebooks/{step}.ipynb"),
        output:
            notebook=RESULTS / step / tag / "notebook.ipynb",
            result=update(RESULTS / step / tag / "result.json"),
        log:
            RESULTS / "logs" / (f"{step}/{tag}.txt" if SWEEP else f"{step}.txt"),
        params:
            key=of(step, lambda run: run.key),
            notebook=fingerprint.of_notebook(records.cells(step)),
        threads: of(step, sweeps.threads) if SWEEP else 1
        # The vacancy's bands are what most look at first; then comes what takes longest, and what 07 waits for.
        priority: 60 if step == "05_defect" else 55 if step in LARGE else 50 if step in AWAITED else 0
        resources:
            label=of(step, label),
            arguments=of(step, arguments),
            mem_mb=of(step, sweeps.memory_MB),
            runtime=of(step, sweeps.minutes),
            gpu=of(step, sweeps.gpus),
        shell:
            logged(
                ("{sys.executable:q} workflow/on_cores.py {threads} " if SWEEP else "")
                + "{sys.executable:q} -m helpers.execution {rule} {output.notebook:q} {resources.arguments}"
            )


if not SWEEP:

    rule cells:
        output:
            CELLS,
        log:
            RESULTS / "logs" / "cells.txt",
        priority: 100  # what takes longest begins first
        params:
            key=COMPARISON.key,
        resources:
            label="larger cells of 07 and 08",
        shell:
            logged("{sys.executable:q} workflow/cells.py {output:q}")

    rule report:
        localrule: True
        input:
            [executed(run) for run in RUNS.values()],
        output:
            # `update`: the old site stays until the new one, built beside it, takes its place.
            update(REPORT / "index.html"),
        log:
            REPORT.parent / "logs" / "report.txt",
        params:
            # The words of the notebooks are in it as they are now.
            steps=[(run.key, records.sha256(paths.NOTEBOOKS / f"{run.step}.ipynb")) for run in RUNS.values()],
            # What the site is made of beside the notebooks.
            pages=hashlib.sha256(
                b"".join(
                    path.read_bytes()
                    for pattern in ("README.md", "docs/**/*.*", "data/**/README.md", "src/**/*.py", "workflow/*.py")
                    for path in sorted(paths.ROOT.glob(pattern))
                )
            ).hexdigest()[:16],
        resources:
            label=f"[{len(RUNS) + 1}/{len(RUNS) + 1}] report",
        shell:
            logged("{sys.executable:q} workflow/report.py {output:q} {input:q}")
