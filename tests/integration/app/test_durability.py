"""What was acknowledged survives a killed process and a torn write-ahead log; two first starts make one installation."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import shutil
import sqlite3
import sys
from pathlib import Path

import pytest

from app.audit.service import AuditLog
from app.database.engine import Database, database_path
from app.paths import DataDirectory
from app.security.keys import Keys
from app.settings import Settings
from app.startup import prepare
from tests.support.console import ROOT, ConsoleProcess

PAGE_BYTES = 4096

# Records audit entries one after the other and prints the sequence of each once its transaction is committed.
WRITER = """
import asyncio, sys
from pathlib import Path
from app.audit.service import AuditLog
from app.database.engine import Database, database_path
from app.paths import DataDirectory
from app.settings import Settings
from app.startup import prepare

async def main():
    settings = Settings(data_dir=Path(sys.argv[1]))
    _, keys = prepare(settings)
    database = Database(database_path(settings, DataDirectory(settings.data_dir)))
    await database.open()
    audit = AuditLog(keys.audit)
    while True:
        async with database.writer() as session:
            entry = await audit.record(session, "proxy.created", actor=None, details={"filler": "x" * 500})
        print(entry.sequence, flush=True)

asyncio.run(main())
"""


def installation(directory: Path) -> tuple[Settings, Keys]:
    """A fresh installation in a directory."""
    settings = Settings(data_dir=directory / "data")
    DataDirectory(settings.data_dir).create()
    _, keys = prepare(settings)
    return settings, keys


def sequences(path: Path) -> list[int]:
    """The audit entries of a database that must be sound."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        return [row[0] for row in connection.execute("SELECT sequence FROM audit_entries ORDER BY sequence")]


async def verify(path: Path, keys: Keys) -> tuple[int, int | None]:
    """The audit chain of a database."""
    database = Database(path)
    try:
        async with database.reader() as session:
            return await AuditLog(keys.audit).verify(session)
    finally:
        await database.close()


async def write_and_kill(settings: Settings, randomness: random.Random) -> int:
    """Let a writer run for a moment, kill it, and return the last sequence that it acknowledged."""
    writer = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", WRITER, str(settings.data_dir)),
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
    )
    assert writer.stdout is not None
    async with asyncio.timeout(30):
        acknowledged = int(await writer.stdout.readline())
    await asyncio.sleep(randomness.uniform(0.005, 0.3))
    writer.kill()
    output, _ = await writer.communicate()
    complete = re.findall(rb"^(\d+)\n", output, re.MULTILINE)
    return int(complete[-1]) if complete else acknowledged


@pytest.mark.parametrize("rounds", [3, pytest.param(200, marks=[pytest.mark.nightly, pytest.mark.timeout(1800)])])
async def test_DUR_06_what_was_acknowledged_survives_kill_9(tmp_path: Path, rounds: int) -> None:
    settings, keys = installation(tmp_path)
    path = database_path(settings, DataDirectory(settings.data_dir))
    randomness = random.Random(6)
    for _ in range(rounds):
        acknowledged = await write_and_kill(settings, randomness)
        present = sequences(path)
        assert present == list(range(1, len(present) + 1))
        assert acknowledged <= len(present) <= acknowledged + 1
    assert await verify(path, keys) == (len(present), None)


async def test_DUR_07_a_torn_write_ahead_log_opens_at_a_prefix_of_the_commits(tmp_path: Path) -> None:
    settings, keys = installation(tmp_path)
    path = database_path(settings, DataDirectory(settings.data_dir))
    database = Database(path)
    await database.open()
    audit = AuditLog(keys.audit)
    for number in range(20):
        async with database.writer() as session:
            await audit.record(session, "proxy.created", actor=None, details={"n": number, "filler": "x" * 900})
    torn = tmp_path / "torn.db"
    log = path.with_name("ostiary.db-wal").read_bytes()
    kept: list[int] = []
    for length in range(0, len(log), 3 * PAGE_BYTES):
        shutil.copy(path, torn)
        torn.with_name("torn.db-wal").write_bytes(log[:length])
        present = sequences(torn)
        assert present == list(range(1, len(present) + 1))
        assert await verify(torn, keys) == (len(present), None)
        kept.append(len(present))
        for leftover in tmp_path.glob("torn.db*"):
            leftover.unlink()
    await database.close()
    assert kept == sorted(kept)
    assert kept[0] == 0
    assert kept[-1] >= 15
    assert len(sequences(path)) == 20


async def test_ADM_24_DUR_13_two_first_starts_at_once_make_one_installation(tmp_path: Path) -> None:
    flags = ("--log-level", "info")
    both = [ConsoleProcess(tmp_path, *flags), ConsoleProcess(tmp_path, *flags)]
    outcomes = await asyncio.gather(*(console.start() for console in both), return_exceptions=True)
    codes = [await console.stop() for console in both]
    assert sorted(codes) == [0, 1]
    (refusal,) = [outcome for outcome in outcomes if outcome is not None]
    assert "in use by another Ostiary" in str(refusal)
    assert sum(console.output.count(b"Password  ") for console in both) == 1
