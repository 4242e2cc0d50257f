"""The fixture as a process of its own, for tests and for `scripts/conformance`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "tests.mcp_fixture"]


@contextmanager
def running_fixture() -> Iterator[str]:
    """Start it on a free port; yields the address of its endpoint."""
    with subprocess.Popen([*COMMAND, "http"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/mcp"
        finally:
            process.kill()
