"""The one graph of steps: every notebook with its defaults, then the report. `make` runs it.

A step is run again when its key (parameters, inputs, helpers), its notebook or the drawing changed.
"""

import hashlib
import os
import sys
from pathlib import Path

from helpers import parameters, paths, records

if "--quiet" in sys.argv:
    logger.setLevel("ERROR")


RUNS = parameters.default_runs()


workdir: paths.ROOT


FOLDERS = {run.step: Path(os.path.relpath(run.folder, paths.ROOT)) for run in RUNS.values()}
EXECUTED = {step: folder / "notebook.ipynb" for step, folder in FOLDERS.items()}
REPORT = Path(os.path.relpath(paths.RESULTS / "report", paths.ROOT))


# An executed notebook without a valid result (of another key, or damaged) does not count.
if "--quiet" in sys.argv:  # as `make` calls; other calls may only look
    for run in RUNS.values():
        if records.load(run) is None:
            (paths.ROOT / EXECUTED[run.step]).unlink(missing_ok=True)


def logged(command):
    """`command` with its output in the log and one line on the screen; on failure the log's end."""
    return (
        f"if {command} > {{log:q}} 2>&1; then echo '{{resources.label}}' ... $SECONDS s; "
        "else echo '{resources.label}' failed after $SECONDS s. The end of {log:q}:; "
        "(sed -n '/^Exception encountered/,$p' {log:q} | grep . || cat {log:q}) | tail -n 30; exit 1; fi"
    )


def label(number, step):
    return f"[{number}/{len(RUNS) + 1}] {step}"


onstart:
    # From here on a step that fails speaks for itself.
    if "--quiet" in sys.argv:
        logger.setLevel("CRITICAL")


rule all:
    default_target: True
    input:
        EXECUTED.values(),
        [folder / "result.json" for folder in FOLDERS.values()],
        REPORT / "index.html",


for number, run in enumerate(RUNS.values(), start=1):

    rule:
        name:
            run.step
        input:
            [EXECUTED[needed.step] for needed in run.needed],
            # `ancient`: not the file's time but its words decide, see params.
            notebook=ancient(f"notebooks/{run.step}.ipynb"),
        output:
            notebook=EXECUTED[run.step],
            result=update(FOLDERS[run.step] / "result.json"),
        log:
            REPORT.parent / "logs" / f"{run.step}.txt",
        params:
            key=run.key,
            notebook=records.drawing(run.step),
        resources:
            label=label(number, run.step),
        shell:
            logged(
                "{sys.executable:q} -m papermill -k python3 --no-progress-bar "
                "{input.notebook:q} {output.notebook:q}"
            )


rule report:
    input:
        EXECUTED.values(),
    output:
        REPORT / "index.html",
    log:
        REPORT.parent / "logs" / "report.txt",
    params:
        steps=[(run.key, records.drawing(run.step)) for run in RUNS.values()],
        # Of the whole folder: report.py shares captions, numbers and figures with others in it.
        code=hashlib.sha256(
            b"".join(path.read_bytes() for path in sorted((paths.ROOT / "workflow").glob("*.py")))
        ).hexdigest()[:16],
    resources:
        label=label(len(RUNS) + 1, "report"),
    shell:
        logged("{sys.executable:q} workflow/report.py {output:q} {input:q}")
