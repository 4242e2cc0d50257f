"""What a worker leaves behind that was killed: processes of the servers that it had started, and their directories.

A server's own process dies with its worker by a signal of the system. What it has started in turn does not: it is found by
the variable that every server inherits.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from pathlib import Path

from proxies.child_environment import DIRECTORY_PREFIX, WORKER_VARIABLE
from proxies.marked_processes import end_marked

logger = logging.getLogger(__name__)


def end_orphans(worker_pid: int) -> int:
    """Kill the processes of a worker's servers that have outlived it and remove their directories; gives how many were killed.
    Reads /proc and the temporary directory: call it off the loop."""
    killed = end_marked(WORKER_VARIABLE, str(worker_pid))
    for directory in Path(tempfile.gettempdir()).glob(f"{DIRECTORY_PREFIX}{worker_pid}-*"):
        shutil.rmtree(directory, ignore_errors=True)
    if killed:
        logger.warning("worker %d left %d processes of its servers behind; they are killed", worker_pid, killed)
    return killed
