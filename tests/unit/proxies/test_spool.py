"""What a worker writes when it cannot deliver, read back with what the console reads it with."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from app.fleet.spool import parse
from proxies import spool
from proxies.contract import encoder
from proxies.spool import SpoolFile, SpoolFull
from tests.support.records import blocked_call
from tests.support.records import call as plain_call


def test_DUR_calls_come_back_as_they_were(tmp_path: Path) -> None:
    calls = [blocked_call() for _ in range(3)] + [plain_call()]
    file = SpoolFile(tmp_path)
    assert not file.open
    file.append(map(encoder.encode, calls[:2]))
    file.append(map(encoder.encode, calls[2:]))
    assert file.open
    file.close()
    [path] = tmp_path.iterdir()
    content = parse(path.read_bytes())
    assert content.calls == tuple(calls)
    assert (content.torn, content.damage) == (False, "")
    assert path.stat().st_mode & 0o777 == 0o600


def test_frames_are_cut_by_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "FRAME_BYTES", 1000)
    calls = [plain_call() for _ in range(20)]
    file = SpoolFile(tmp_path)
    file.append(map(encoder.encode, calls))
    file.close()
    [path] = tmp_path.iterdir()
    data = path.read_bytes()
    assert int.from_bytes(data[:4], "big") < len(data) / 2
    assert parse(data).calls == tuple(calls)


def test_nothing_to_write_makes_no_file(tmp_path: Path) -> None:
    file = SpoolFile(tmp_path)
    file.append([])
    file.close()
    assert list(tmp_path.iterdir()) == []


def test_file_is_locked_while_it_is_written_and_free_after(tmp_path: Path) -> None:
    file = SpoolFile(tmp_path)
    file.append([encoder.encode(plain_call())])
    [path] = tmp_path.iterdir()
    with path.open("rb") as reader:
        with pytest.raises(BlockingIOError):
            fcntl.flock(reader, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.close()
        fcntl.flock(reader, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_next_call_after_close_begins_a_new_file(tmp_path: Path) -> None:
    file = SpoolFile(tmp_path)
    for _ in range(2):
        file.append([encoder.encode(plain_call())])
        file.close()
    assert len(list(tmp_path.iterdir())) == 2


def test_full_disk_leaves_no_half_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = blocked_call()
    file = SpoolFile(tmp_path)
    file.append([encoder.encode(kept)])
    write = os.write

    def half_full(descriptor: int, data: memoryview) -> int:
        if len(data) > 100:
            return write(descriptor, data[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", half_full)
    with pytest.raises(OSError, match="No space"):
        file.append([encoder.encode(blocked_call())])
    monkeypatch.undo()
    last = blocked_call()
    file.append([encoder.encode(last)])
    file.close()
    [path] = tmp_path.iterdir()
    assert parse(path.read_bytes()).calls == (kept, last)


def test_file_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "MAX_FILE_BYTES", 2000)
    file = SpoolFile(tmp_path)
    calls = [encoder.encode(blocked_call()) for _ in range(100)]
    monkeypatch.setattr(spool, "FRAME_BYTES", 1)
    with pytest.raises(SpoolFull):
        file.append(calls)
    file.close()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 2000
    assert "bytes" in repr(file)


def test_missing_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        SpoolFile(tmp_path / "missing").append([encoder.encode(plain_call())])
