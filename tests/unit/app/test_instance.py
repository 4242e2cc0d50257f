"""One console per data directory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.instance import AlreadyRunning, InstanceLock


def test_DUR_14_the_lock_is_exclusive_names_the_pid_and_can_be_taken_again(tmp_path: Path) -> None:
    path = tmp_path / "ostiary.lock"
    with InstanceLock(path) as held:
        assert "held" in repr(held)
        with pytest.raises(AlreadyRunning, match=f"pid {os.getpid()}") as refusal:
            InstanceLock(path).acquire()
        assert refusal.value.pid == str(os.getpid())
    again = InstanceLock(path)
    again.acquire()
    again.release()
    again.release()
    assert path.read_bytes() == b""
    assert "free" in repr(again)
