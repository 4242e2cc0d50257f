"""Spool files as the console reads them: sound, torn, damaged, locked."""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.fleet import spool
from app.fleet.spool import ingest_directory, parse, set_aside
from proxies.contract import CONTRACT_VERSION, CallRecord, Spool, encoder
from tests.support.records import blocked_call
from tests.support.records import call as plain_call


def frame(*calls: CallRecord, version: int = CONTRACT_VERSION) -> bytes:
    payload = encoder.encode(Spool(contract_version=version, calls=calls))
    return len(payload).to_bytes(4, "big") + payload


class Ingested:
    def __init__(self) -> None:
        self.calls: list[CallRecord] = []
        self.error: Exception | None = None

    async def __call__(self, calls: Sequence[CallRecord]) -> None:
        if self.error:
            raise self.error
        self.calls += calls


CALLS = [blocked_call(), plain_call(), blocked_call()]
DATA = frame(*CALLS[:2]) + frame(CALLS[2])


@given(st.integers(0, len(DATA)))
def test_RUN_11_torn_file_gives_every_whole_frame(length: int) -> None:
    content = parse(DATA[:length])
    whole = len(frame(*CALLS[:2]))
    assert content.calls == tuple(CALLS[: 3 if length == len(DATA) else 2 if length >= whole else 0])
    assert content.torn is (length not in (0, whole, len(DATA)))
    assert content.damage == ""


@given(st.binary(max_size=200))
def test_FUZZ_no_bytes_make_parsing_fail(data: bytes) -> None:
    parse(data)


async def test_sound_file_is_ingested_and_deleted(tmp_path: Path) -> None:
    (tmp_path / "a.spool").write_bytes(DATA)
    (tmp_path / "unrelated.txt").write_text("stays")
    ingested = Ingested()
    assert await ingest_directory(tmp_path, ingested) == 3
    assert ingested.calls == CALLS
    assert [path.name for path in tmp_path.iterdir()] == ["unrelated.txt"]


async def test_large_file_is_ingested_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "CALLS_PER_INGEST", 2)
    (tmp_path / "a.spool").write_bytes(DATA)
    sizes: list[int] = []

    async def ingest(calls: Sequence[CallRecord]) -> None:
        sizes.append(len(calls))

    await ingest_directory(tmp_path, ingest)
    assert sizes == [2, 1]


@pytest.mark.parametrize(
    "damage",
    [b"\xff\xff\xff\xff rest", frame()[:4] + b"\xc1" * (len(frame()) - 4), frame(version=CONTRACT_VERSION + 1)],
    ids=["length", "content", "version"],
)
async def test_damaged_file_is_moved_aside_and_reported(
    tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.spool").write_bytes(DATA + damage)
    ingested = Ingested()
    assert await ingest_directory(tmp_path, ingested) == 3
    assert ingested.calls == CALLS
    assert [path.name for path in tmp_path.iterdir()] == ["a.spool.damaged"]
    assert "is damaged" in caplog.text
    assert await ingest_directory(tmp_path, ingested) == 0


async def test_torn_file_is_reported_and_deleted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    (tmp_path / "a.spool").write_bytes(DATA[:-1])
    assert await ingest_directory(tmp_path, Ingested()) == 2
    assert list(tmp_path.iterdir()) == []
    assert "incomplete" in caplog.text


async def test_file_of_a_living_worker_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.spool"
    path.write_bytes(DATA)
    ingested = Ingested()
    with path.open("rb") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        assert await ingest_directory(tmp_path, ingested) == 0
        assert path.exists()
    assert await ingest_directory(tmp_path, ingested) == 3


async def test_file_stays_when_it_cannot_be_committed(tmp_path: Path) -> None:
    (tmp_path / "a.spool").write_bytes(DATA)
    ingested = Ingested()
    ingested.error = RuntimeError("the database is away")
    with pytest.raises(RuntimeError):
        await ingest_directory(tmp_path, ingested)
    ingested.error = None
    assert await ingest_directory(tmp_path, ingested) == 3


async def test_symlink_is_not_followed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    target = tmp_path / "elsewhere"
    target.write_bytes(DATA)
    (tmp_path / "a.spool").symlink_to(target)
    assert await ingest_directory(tmp_path, Ingested()) == 0
    assert target.exists()
    assert "cannot be read" in caplog.text


def test_calls_set_aside_can_be_read_again_and_belong_to_the_owner_alone(tmp_path: Path) -> None:
    path = set_aside(tmp_path, "abc", CALLS)
    assert path.name == "abc.refused"
    assert path.stat().st_mode & 0o777 == 0o600
    assert parse(path.read_bytes()).calls == tuple(CALLS)
