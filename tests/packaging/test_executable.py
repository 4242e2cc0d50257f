"""The built executable walks the whole story from an empty directory, without Python on the PATH."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.packaging
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "compiles", [False, pytest.param(True, marks=pytest.mark.nightly)], ids=["compiled-rules", "from-nothing"]
)
def test_the_one_file_executable_walks_the_story(compiles: bool) -> None:
    executable = ROOT / "dist" / "ostiary"
    if not executable.exists():
        message = "dist/ostiary is missing; scripts/build makes it"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    result = subprocess.run(
        [sys.executable, str(ROOT / "packaging" / "smoke.py"), str(executable)],
        capture_output=True,
        text=True,
        check=False,
        env={name: value for name, value in os.environ.items() if not (compiles and name == "OSTIARY_CACHE_DIR")},
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("ok  ") == 12
    if os.environ.get("CI") or shutil.which("gcc"):
        assert "its calls run through machine code" in result.stdout
