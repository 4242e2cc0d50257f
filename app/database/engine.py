"""Reader and writer engines.

SQLite: one connection writes (`BEGIN IMMEDIATE`, WAL, synchronous FULL) and is the only one that checkpoints; an
asyncio lock queues the units of work in front of it, so "database is locked" cannot come from within. Readers are
`query_only` and never checkpoint. One writing and checkpointing connection is also what keeps SQLite releases before
3.51.3 clear of their WAL-reset fault, which needs two (DUR-01).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from app.database.connection import Connection
from app.database.trouble import disk_trouble_of
from app.database.unit_of_work import run_after_commit
from app.errors import Unavailable
from app.paths import DataDirectory
from app.settings import Settings, SettingsError

READER_CONNECTIONS = 4
READER_WAIT_SECONDS = 10
WRITER_WAIT_SECONDS = 15
MAX_WAITING_WRITERS = 1000
BUSY_TIMEOUT_MS = 10_000
CACHE_KIB = 16 * 1024

COMMON_PRAGMAS = {
    "busy_timeout": BUSY_TIMEOUT_MS,
    "foreign_keys": 1,
    "trusted_schema": 0,
    "temp_store": 2,
    "cache_size": -CACHE_KIB,
}
WRITER_PRAGMAS = COMMON_PRAGMAS | {"journal_mode": "WAL", "synchronous": 2, "wal_autocheckpoint": 1000}
READER_PRAGMAS = COMMON_PRAGMAS | {"query_only": 1, "wal_autocheckpoint": 0}


def database_path(settings: Settings, directory: DataDirectory) -> Path:
    """The SQLite file that the settings name, or the one in the data directory; raises SettingsError."""
    if not settings.database_url:
        return directory.database
    try:
        url = make_url(settings.database_url)
    except ArgumentError:
        raise SettingsError("database_url", "is not a URL.") from None
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        raise SettingsError("database_url", "must look like sqlite:////absolute/path.db.")
    return Path(url.database).expanduser().absolute()


class Database:
    """Sessions for one SQLite file. The file exists and has the current schema: `upgrade` saw to that."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writer_engine = _engine(path, WRITER_PRAGMAS, begin="BEGIN IMMEDIATE", connections=1)
        self._reader_engine = _engine(path, READER_PRAGMAS, begin="BEGIN", connections=READER_CONNECTIONS)
        self._write = async_sessionmaker(self._writer_engine, expire_on_commit=False)
        self._read = async_sessionmaker(self._reader_engine, expire_on_commit=False, autoflush=False)
        self._turn = asyncio.Lock()
        self._waiting = 0
        self.write_trouble = ""
        """What was wrong with the disk when something was written last, as a predicate; empty where nothing was."""

    def __repr__(self) -> str:
        return f"<Database {self.path.name}>"

    @asynccontextmanager
    async def writer(self) -> AsyncIterator[AsyncSession]:
        """One unit of work: committed when the block ends, rolled back when it raises, then the after-commit calls run.

        Raises Unavailable when the turn does not come in time; never enter it twice in one task.
        """
        await self._take_turn()
        try:
            async with self._write() as session, session.begin():
                yield session
            self.write_trouble = ""
        except DBAPIError as error:
            # Another error, such as a value that is taken, says nothing about the disk.
            self.write_trouble = disk_trouble_of(error) or self.write_trouble
            raise
        finally:
            self._turn.release()
        await run_after_commit(session)

    @asynccontextmanager
    async def reader(self) -> AsyncIterator[AsyncSession]:
        """A consistent view of the database; writing through it fails."""
        async with self._read() as session:
            yield session

    async def open(self) -> None:
        """Connect the writer first, so that it is the one that holds the write-ahead log open."""
        async with self._writer_engine.connect():
            pass

    async def close(self) -> None:
        """Close readers first: the writer's connection is the last one and checkpoints as it goes."""
        await self._reader_engine.dispose()
        await self._writer_engine.dispose()

    async def _take_turn(self) -> None:
        if self._waiting >= MAX_WAITING_WRITERS:
            raise Unavailable("The database has too much to write at the moment.")
        self._waiting += 1
        try:
            async with asyncio.timeout(WRITER_WAIT_SECONDS):
                await self._turn.acquire()
        except TimeoutError:
            raise Unavailable("The database is busy.") from None
        finally:
            self._waiting -= 1


def _engine(path: Path, pragmas: Mapping[str, object], *, begin: str, connections: int) -> AsyncEngine:
    engine = create_async_engine(
        URL.create("sqlite+aiosqlite", database=str(path)),
        async_creator=lambda: Connection(path),
        pool_size=connections,
        max_overflow=0,
        pool_timeout=READER_WAIT_SECONDS,
        # An error of the driver would tell the log what was written: paths, evidence, hashes of passwords and keys.
        hide_parameters=True,
    )

    @event.listens_for(engine.sync_engine, "connect")
    def prepare(connection: Any, _: Any) -> None:
        # The driver must not begin transactions of its own: only then is BEGIN IMMEDIATE ours to say.
        connection.isolation_level = None
        cursor = connection.cursor()
        for name, value in pragmas.items():
            cursor.execute(f"PRAGMA {name}={value}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin_transaction(connection: Any) -> None:
        connection.exec_driver_sql(begin)

    return engine
