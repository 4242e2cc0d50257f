"""Sealed files of what was masked: found by whoever may, bounded, and harmless where they cannot be written or read."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

import pytest

from proxies.llm import kept_files
from proxies.llm.kept_files import KeptFiles
from rules.masking.session import MaskingSession

MASTER = b"m" * 32
KEY = ("prx_a", "key_1", "resp_1")


@pytest.fixture
def files(tmp_path: Path) -> KeptFiles:
    kept = KeptFiles(seconds=60)
    kept.open(tmp_path / "conversations")
    return kept


def session_with(*values: str) -> MaskingSession:
    session = MaskingSession(b"k" * 32)
    for value in values:
        session.mask("EMAIL", value, "PII-EMAIL")
    return session


def values(session: MaskingSession | None) -> set[str]:
    assert session is not None
    return {one.value for one in session.values()}


def in_directory(files: KeptFiles) -> list[Path]:
    assert files._directory is not None
    return sorted(files._directory.glob("*.sealed"))


def test_RED_PH_4_a_session_comes_back_as_it_was(files) -> None:
    session = session_with("ann@example.com", "half\ud83d")
    files.keep(MASTER, KEY, session)

    found = files.find(MASTER, KEY)

    assert found is not None
    assert list(found.values()) == list(session.values())
    assert found.mask("EMAIL", "new@example.com") == session.mask("EMAIL", "new@example.com")
    assert list(found.find(session.mask("EMAIL", "ann@example.com")))


@pytest.mark.parametrize(
    "key", [("prx_b", "key_1", "resp_1"), ("prx_a", "key_2", "resp_1"), ("prx_a", "key_1", "resp_2")]
)
def test_RED_PH_4_a_session_is_found_by_its_proxy_caller_and_response_only(files, key) -> None:
    files.keep(MASTER, KEY, session_with("ann@example.com"))
    assert files.find(MASTER, key) is None
    assert files.find(b"n" * 32, KEY) is None
    # A file under another name does not open either.
    (file,) = in_directory(files)
    files.keep(MASTER, key, session_with("bob@example.com"))
    (other,) = set(in_directory(files)) - {file}
    other.write_bytes(file.read_bytes())
    assert files.find(MASTER, key) is None


def test_RED_PH_4_what_two_workers_masked_in_a_conversation_is_kept_together(files) -> None:
    files.keep(MASTER, KEY, session_with("ann@example.com"))
    files.keep(MASTER, KEY, session_with("bob@example.com"))
    assert values(files.find(MASTER, KEY)) == {"ann@example.com", "bob@example.com"}


def test_RED_PH_4_old_sessions_are_not_found_and_deleted(files) -> None:
    files.keep(MASTER, KEY, session_with("ann@example.com"))
    (file,) = in_directory(files)
    os.utime(file, (time.time() - 61, time.time() - 61))
    assert files.find(MASTER, KEY) is None
    assert files.is_untidy
    files.tidy()
    assert in_directory(files) == []
    assert not files.is_untidy


def test_RED_STR_8_the_oldest_go_beyond_the_bound(files, monkeypatch) -> None:
    monkeypatch.setattr(kept_files, "MAX_BYTES", 2_000)
    monkeypatch.setattr(kept_files, "TIDY_BYTES", 1_000)
    for number in range(20):
        files.keep(MASTER, ("prx_a", "key_1", f"resp_{number}"), session_with(f"{number}-{'a' * 300}@example.com"))
        for file in in_directory(files):
            os.utime(file, (file.stat().st_mtime - 1, file.stat().st_mtime - 1))
    assert sum(file.stat().st_size for file in in_directory(files)) <= 3_500
    assert files.find(MASTER, ("prx_a", "key_1", "resp_19")) is not None
    assert files.find(MASTER, ("prx_a", "key_1", "resp_0")) is None


@pytest.mark.parametrize("damage", [b"", b"short", b"x" * 400])
def test_damaged_files_are_as_good_as_none(files, damage, caplog) -> None:
    files.keep(MASTER, KEY, session_with("ann@example.com"))
    (file,) = in_directory(files)
    file.write_bytes(damage)
    assert files.find(MASTER, KEY) is None
    files.keep(MASTER, KEY, session_with("bob@example.com"))
    assert values(files.find(MASTER, KEY)) == {"bob@example.com"}
    assert "ann@" not in caplog.text


def test_a_directory_that_cannot_be_written_is_said_once(tmp_path, caplog) -> None:
    (tmp_path / "file").write_text("no directory")
    files = KeptFiles(seconds=60)
    files.open(tmp_path / "file" / "conversations")
    for _ in range(3):
        files.keep(MASTER, KEY, session_with("ann@example.com"))
    assert files.find(MASTER, KEY) is None
    assert caplog.text.count("known to this worker only") == 1
    files.tidy()


def test_a_worker_that_was_stopped_in_the_middle_holds_up_no_other(files, monkeypatch, caplog) -> None:
    files.keep(MASTER, KEY, session_with("ann@example.com"))
    monkeypatch.setattr(kept_files, "LOCK_SECONDS", 0.0)
    with (files._directory / "lock").open() as stopped:
        fcntl.flock(stopped, fcntl.LOCK_EX)
        files.keep(MASTER, KEY, session_with("bob@example.com"))
        assert "known to this worker only" in caplog.text
        assert values(files.find(MASTER, KEY)) == {"ann@example.com"}
    files.keep(MASTER, KEY, session_with("bob@example.com"))
    assert values(files.find(MASTER, KEY)) == {"ann@example.com", "bob@example.com"}


def test_nothing_is_kept_without_a_directory_or_a_key(tmp_path) -> None:
    files = KeptFiles(seconds=60)
    files.keep(MASTER, KEY, session_with("ann@example.com"))
    assert files.find(MASTER, KEY) is None
    assert not files.is_untidy
    files.open(tmp_path / "conversations")
    files.keep(b"", KEY, session_with("ann@example.com"))
    assert files.find(b"", KEY) is None
    assert not (tmp_path / "conversations").exists()
    assert "conversations" in repr(files)
