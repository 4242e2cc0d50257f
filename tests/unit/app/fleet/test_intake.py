"""Batches are acknowledged when they are committed; one bad batch does not hold up the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from app.fleet import intake as intake_module
from app.fleet.intake import Intake
from app.fleet.spool import parse
from proxies.contract import CallRecord, Events
from tests.support.records import call as plain_call


class Worker:
    """Remembers what was acknowledged."""

    def __init__(self) -> None:
        self.acknowledged: list[int] = []

    async def acknowledge(self, sequence: int) -> None:
        self.acknowledged.append(sequence)


class Database:
    """Commits calls, unless it is away or dislikes one."""

    def __init__(self) -> None:
        self.commits: list[list[str]] = []
        self.away = 0
        self.disliked: set[str] = set()

    async def ingest(self, calls: Sequence[CallRecord]) -> None:
        await asyncio.sleep(0)
        if self.away:
            self.away -= 1
            raise ConnectionError("the database is away")
        if bad := self.disliked & {call.id for call in calls}:
            raise ValueError(f"cannot store {bad}")
        self.commits.append([call.id for call in calls])

    @property
    def ids(self) -> list[str]:
        return [identifier for commit in self.commits for identifier in commit]


@asynccontextmanager
async def running(intake: Intake) -> AsyncIterator[None]:
    task = asyncio.create_task(intake.run())
    try:
        async with asyncio.timeout(20):
            yield
    finally:
        task.cancel()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_module, "FIRST_BACKOFF_SECONDS", 0.001)
    monkeypatch.setattr(intake_module, "MAX_BACKOFF_SECONDS", 0.002)


def events(sequence: int, *calls: CallRecord, dropped: int = 0) -> Events:
    return Events(sequence=sequence, calls=calls or (plain_call(),), calls_dropped=dropped)


async def test_waiting_batches_are_committed_together_and_acknowledged_after(tmp_path: Path) -> None:
    database, worker = Database(), Worker()
    intake = Intake(database.ingest, tmp_path)
    for sequence in range(1, 4):
        intake.put(worker, events(sequence))
    assert worker.acknowledged == []
    async with running(intake):
        await intake.emptied()
    assert worker.acknowledged == [1, 2, 3]
    assert len(database.commits) == 1
    assert len(database.ids) == 3


async def test_nothing_is_acknowledged_while_the_database_is_away_and_nothing_is_lost(tmp_path: Path) -> None:
    database, worker = Database(), Worker()
    database.away = 7
    intake = Intake(database.ingest, tmp_path)
    batches = [events(sequence) for sequence in range(1, 4)]
    for batch in batches:
        intake.put(worker, batch)
    async with running(intake):
        while database.away > 1:
            assert worker.acknowledged == []
            await asyncio.sleep(0)
        await intake.emptied()
    assert sorted(worker.acknowledged) == [1, 2, 3]
    assert sorted(database.ids) == sorted(call.id for batch in batches for call in batch.calls)
    assert intake.failing == ""


async def test_long_absence_of_the_database_sets_nothing_aside(tmp_path: Path) -> None:
    database, worker = Database(), Worker()
    database.away = 60
    intake = Intake(database.ingest, tmp_path)
    for sequence in range(1, 4):
        intake.put(worker, events(sequence))
    async with running(intake):
        await intake.emptied()
    assert sorted(worker.acknowledged) == [1, 2, 3]
    assert list(tmp_path.iterdir()) == []


async def test_one_bad_batch_is_set_aside_and_the_others_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database, worker = Database(), Worker()
    intake = Intake(database.ingest, tmp_path)
    bad = plain_call()
    database.disliked.add(bad.id)
    intake.put(worker, events(1, bad))
    intake.put(worker, events(2))
    async with running(intake):
        while 2 not in worker.acknowledged:
            await asyncio.sleep(0.001)
        sequence = 3
        while 1 not in worker.acknowledged:
            intake.put(worker, events(sequence))
            sequence += 1
            await asyncio.sleep(0.001)
        await intake.emptied()
    [path] = tmp_path.iterdir()
    assert parse(path.read_bytes()).calls == (bad,)
    assert "were refused" in caplog.text
    assert sorted(worker.acknowledged) == list(range(1, sequence))


async def test_bad_batch_that_cannot_be_set_aside_is_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    database, worker = Database(), Worker()
    intake = Intake(database.ingest, tmp_path / "missing")
    bad = plain_call()
    database.disliked.add(bad.id)
    intake.put(worker, events(1, bad))
    async with running(intake):
        sequence = 2
        while "cannot be set aside" not in caplog.text:
            intake.put(worker, events(sequence))
            sequence += 1
            await asyncio.sleep(0.001)
        database.disliked.clear()
        await intake.emptied()
    assert 1 in worker.acknowledged
    assert bad.id in database.ids


async def test_dropped_calls_are_counted(tmp_path: Path) -> None:
    intake = Intake(Database().ingest, tmp_path)
    intake.put(Worker(), events(1, dropped=4))
    intake.put(Worker(), events(1, dropped=2))
    assert intake.calls_dropped == 6
    assert "waiting=2" in repr(intake)


async def test_spooled_calls_wait_for_a_database_that_is_away(tmp_path: Path) -> None:
    from proxies.contract import encoder
    from proxies.spool import SpoolFile

    call = plain_call()
    file = SpoolFile(tmp_path)
    file.append([encoder.encode(call)])
    file.close()
    database = Database()
    database.away = 1
    intake = Intake(database.ingest, tmp_path)
    assert await intake.recover() == 0
    assert await intake.recover() == 1
    assert database.ids == [call.id]
