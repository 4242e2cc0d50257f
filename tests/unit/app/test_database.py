"""The database: one writer, query-only readers, one transaction a unit of work, after-commit calls."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError, StatementError

from app.database import engine
from app.database.connection import Connection
from app.database.engine import Database, database_path
from app.database.unit_of_work import after_commit
from app.errors import Unavailable
from app.paths import DataDirectory
from app.settings import Settings, SettingsError
from app.startup import prepare
from app.system.models import Installation


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    settings = Settings(data_dir=tmp_path / "data")
    directory = DataDirectory(settings.data_dir)
    directory.create()
    prepare(settings)
    opened = Database(database_path(settings, directory))
    await opened.open()
    yield opened
    await opened.close()


async def test_a_connection_that_is_told_to_stop_while_it_closes_ends(tmp_path: Path) -> None:
    """Both happen when a loop ends in the middle of a query; a thread that has ended answers nobody."""
    connection = await Connection(tmp_path / "any.db")
    closing = asyncio.create_task(connection.close())
    await asyncio.sleep(0)
    connection.stop()
    async with asyncio.timeout(20):
        await closing


async def pragma(session: object, name: str) -> object:
    return await session.scalar(text(f"PRAGMA {name}"))  # type: ignore[attr-defined]


async def test_DUR_02_every_connection_has_its_pragmas(database: Database) -> None:
    async with database.writer() as session:
        assert await pragma(session, "journal_mode") == "wal"
        assert await pragma(session, "synchronous") == 2
        assert await pragma(session, "busy_timeout") >= 5000  # type: ignore[operator]
        assert await pragma(session, "foreign_keys") == 1
        assert await pragma(session, "trusted_schema") == 0
        assert await pragma(session, "query_only") == 0
    async with database.reader() as session:
        assert await pragma(session, "query_only") == 1
        assert await pragma(session, "foreign_keys") == 1
        assert await pragma(session, "trusted_schema") == 0
        assert await pragma(session, "wal_autocheckpoint") == 0


async def test_DUR_03_a_reader_cannot_write(database: Database) -> None:
    with pytest.raises(OperationalError, match="readonly"):
        async with database.reader() as session:
            await session.execute(text("DELETE FROM installation"))


async def test_a_unit_of_work_is_committed_whole_or_not_at_all(database: Database) -> None:
    async def fail_halfway() -> None:
        async with database.writer() as session:
            await session.execute(text("DELETE FROM installation"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail_halfway()
    async with database.reader() as session:
        assert await session.scalar(text("SELECT count(*) FROM installation")) == 1


async def test_DUR_04_DUR_05_many_writers_and_readers_lose_nothing(database: Database) -> None:
    async with database.writer() as session:
        await session.execute(text("CREATE TABLE counter (n INTEGER)"))
        await session.execute(text("INSERT INTO counter VALUES (0)"))

    async def write() -> None:
        for _ in range(20):
            async with database.writer() as session:
                # Read, then write: what fails with SQLITE_BUSY_SNAPSHOT in a deferred transaction.
                n = await session.scalar(text("SELECT n FROM counter"))
                await session.execute(text("UPDATE counter SET n = :n"), {"n": n + 1})

    async def read() -> None:
        for _ in range(20):
            async with database.reader() as session:
                await session.scalar(text("SELECT n FROM counter"))

    await asyncio.gather(*(write() for _ in range(10)), *(read() for _ in range(10)))
    async with database.reader() as session:
        assert await session.scalar(text("SELECT n FROM counter")) == 200


async def test_DUR_04_another_process_holding_the_lock_for_a_while_is_waited_for(database: Database) -> None:
    other = sqlite3.connect(database.path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    try:
        writing = asyncio.create_task(touch(database))
        await asyncio.sleep(0.2)
        assert not writing.done()
    finally:
        other.execute("COMMIT")
        other.close()
    await writing


async def touch(database: Database) -> None:
    async with database.writer() as session:
        await session.execute(text("UPDATE installation SET id = id"))


async def test_a_writer_that_waits_too_long_is_told(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "WRITER_WAIT_SECONDS", 0.01)
    async with database.writer():
        with pytest.raises(Unavailable, match="busy"):
            await touch(database)
        monkeypatch.setattr(engine, "MAX_WAITING_WRITERS", 0)
        with pytest.raises(Unavailable, match="too much"):
            await touch(database)
    monkeypatch.setattr(engine, "MAX_WAITING_WRITERS", 1)
    await touch(database)


async def test_after_commit_runs_in_order_once_the_data_is_safe(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[str] = []

    async def other_transaction() -> None:
        await touch(database)
        seen.append("awaited")

    def fail() -> None:
        raise RuntimeError("not the data's fault")

    async with database.writer() as session:
        after_commit(session, lambda: seen.append("called"))
        after_commit(session, fail)
        after_commit(session, other_transaction)
        assert seen == []
    assert seen == ["called", "awaited"]
    assert "A step after a commit failed" in caplog.text


async def test_after_commit_does_not_run_after_a_rollback(database: Database) -> None:
    seen: list[str] = []

    async def fail_after_registering() -> None:
        async with database.writer() as session:
            after_commit(session, lambda: seen.append("called"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail_after_registering()
    assert seen == []


async def test_times_come_back_aware_and_in_utc(database: Database) -> None:
    local = datetime(2026, 11, 20, 12, 30, tzinfo=timezone(timedelta(hours=2)))
    async with database.writer() as session:
        session.add(Installation(id="ins_other", key_check="x", created_at=local))
    async with database.reader() as session:
        row = await session.get(Installation, "ins_other")
    assert row is not None
    assert row.created_at == local
    assert row.created_at.tzinfo is UTC
    assert repr(row) == "<Installation ins_other>"


async def test_a_time_without_zone_is_refused(database: Database) -> None:
    with pytest.raises(StatementError, match="without time zone"):
        async with database.writer() as session:
            session.add(Installation(id="ins_other", key_check="x", created_at=datetime(2026, 11, 20)))


def test_database_path_comes_from_the_settings(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path)
    assert database_path(Settings(), directory) == tmp_path / "ostiary.db"
    assert database_path(Settings(database_url="sqlite:////srv/gateway.db"), directory) == Path("/srv/gateway.db")
    for url in ("sqlite://", "sqlite:///:memory:", "sqlite nonsense"):
        with pytest.raises(SettingsError, match="database_url"):
            database_path(Settings(database_url=url), directory)
