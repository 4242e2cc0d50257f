"""What a worker leaves behind that was killed: processes of the servers that it had started, and their directories.

A server's own process dies with its worker by a signal of the system. What it has started in turn does not: it is found by
the variable that every server inherits.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import tempfile
from contextlib import suppress
from pathlib import Path

from proxies.child_environment import DIRECTORY_PREFIX, WORKER_VARIABLE

logger = logging.getLogger(__name__)

MAX_PASSES = 5
"""Somebody who forks while we look is found in the next pass."""


def end_orphans(worker_pid: int) -> int:
    """Kill the processes of a worker's servers that have outlived it and remove their directories; gives how many were killed.
    Reads /proc and the temporary directory: call it off the loop."""
    marker = f"{WORKER_VARIABLE}={worker_pid}".encode()
    killed: set[int] = set()
    for _ in range(MAX_PASSES):
        found = [pid for pid in _pids() if marker in _environment(pid)]
        for pid in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
        if not found:
            break
    for directory in Path(tempfile.gettempdir()).glob(f"{DIRECTORY_PREFIX}{worker_pid}-*"):
        shutil.rmtree(directory, ignore_errors=True)
    if killed:
        logger.warning("worker %d left %d processes of its servers behind; they are killed", worker_pid, len(killed))
    return len(killed)


def _pids() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    except OSError:
        return []  # Not Linux: nothing can be found this way.


def _environment(pid: int) -> list[bytes]:
    """The variables with which a process was started; empty for one of another user and for a zombie."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []
