"""What a killed worker leaves behind is found by the variable that its servers inherit."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from app.fleet.orphans import end_orphans

SLEEP = "import os, sys, time; print('up', flush=True); time.sleep(600)"


def started(environment: dict[str, str]) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", SLEEP], env=environment, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_P_03_processes_and_directories_of_a_dead_worker_end_and_no_others(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("ostiary-server-4194999-a", "ostiary-server-41949990-a"):
        (tmp_path / name / "inner").mkdir(parents=True)
    mine, other = started({"OSTIARY_WORKER": "4194999"}), started({"OSTIARY_WORKER": "41949990"})
    try:
        assert end_orphans(4194999) == 1
        assert mine.wait() == -9
        assert other.poll() is None
        assert [path.name for path in tmp_path.iterdir()] == ["ostiary-server-41949990-a"]
        assert end_orphans(4194999) == 0
    finally:
        for process in (mine, other):
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
