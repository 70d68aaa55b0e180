"""logged.py LOG LABEL COMMAND...: runs COMMAND with its output in LOG, and says on one line how long it took; on failure the log's end.

COMMAND ends with whoever started this: else it would go on beside the next `make` after one that was killed.
"""

import signal
import subprocess
import sys
import time
from pathlib import Path

from defectphonons import parallel

log, label, *command = sys.argv[1:]
parallel.end_with_parent()
interrupted = []
signal.signal(signal.SIGINT, lambda *_: interrupted.append(True))  # COMMAND gets it too, and ends in order
started = time.monotonic()
with open(log, "w") as file:
    status = subprocess.run(
        command, stdout=file, stderr=subprocess.STDOUT, preexec_fn=parallel.end_with_parent
    ).returncode
seconds = round(time.monotonic() - started)
if status == 0:
    print(f"{label} ... {seconds} s")
elif not interrupted:
    text = Path(log).read_text(errors="replace")
    end = text[max(text.find("\nException encountered"), 0) :].strip().splitlines()[-30:]
    print(f"{label} failed after {seconds} s. The end of {log}:", *end, sep="\n")
sys.exit(status != 0)
