"""Processes that are found by a variable with which they were started, and ended: what a server has started in turn, in
whatever session or process group it hides. Linux only; elsewhere nothing is found. Console and workers share it.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Final

MAX_PASSES: Final = 5
"""Somebody who forks while we look is found in the next pass."""


def end_marked(variable: str, value: str) -> int:
    """Kill every process that was started with this variable, and give their number. Reads /proc: call it off the loop."""
    marker = f"{variable}={value}".encode()
    killed: set[int] = set()
    for _ in range(MAX_PASSES):
        found = [pid for pid in _pids() if marker in _environment(pid)]
        for pid in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
        if not found:
            break
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
