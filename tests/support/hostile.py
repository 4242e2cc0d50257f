"""The hostile server as a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.measured import unmeasured_environment

PROGRAM = Path(__file__).resolve().parents[1] / "hostile_server.py"
STDIO = (sys.executable, str(PROGRAM), "stdio")


@contextmanager
def hostile_server(mode: str = "open") -> Iterator[str]:
    """The URL of a hostile server; it is gone when the block ends."""
    command = [sys.executable, str(PROGRAM), "http", mode]
    with subprocess.Popen(
        command, env=unmeasured_environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/mcp"
        finally:
            process.kill()
