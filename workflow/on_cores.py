"""on_cores.py N COMMAND...: run COMMAND on N cores that no other COMMAND has, where that can be arranged.

The notebooks start a process for each core that they may run on: several at a time must not take the same.
"""

import fcntl
import os
import sys
import tempfile
from pathlib import Path

wanted, command = int(sys.argv[1]), sys.argv[2:]
if hasattr(os, "sched_setaffinity"):  # not on macOS
    folder = Path(tempfile.gettempdir()) / f"wse2-cores-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    claimed, locks = [], []
    for core in sorted(os.sched_getaffinity(0)):
        if len(claimed) == wanted:
            break
        lock = os.open(folder / str(core), os.O_CREAT | os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # another has it
            os.close(lock)
        else:
            claimed.append(core)
            locks.append(lock)
            os.set_inheritable(lock, True)  # freed when COMMAND ends, however it ends
    if len(claimed) == wanted:
        os.sched_setaffinity(0, claimed)
    else:
        for lock in locks:
            os.close(lock)
os.execvp(command[0], command)
