"""The built executable walks the whole story from an empty directory, without Python on the PATH."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.packaging
@pytest.mark.timeout(300)
def test_the_one_file_executable_walks_the_story() -> None:
    executable = ROOT / "dist" / "ostiary"
    if not executable.exists():
        message = "dist/ostiary is missing; scripts/build makes it"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    result = subprocess.run(
        [sys.executable, str(ROOT / "packaging" / "smoke.py"), str(executable)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("ok  ") == 10
