"""Calls from the workers into the database: a batch is acknowledged when it is committed, and not before.

Batches that wait together are committed together. When that fails they are tried one by one, so that one bad batch does
not hold up the others; what fails is tried again with back-off for as long as it takes. Only a batch that fails five times
while others succeed is set aside in a file, with an error in the log. The queue is bounded by the workers: each keeps at
most a few megabytes unacknowledged.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from pathlib import Path
from typing import Protocol

from app.fleet import spool
from app.fleet.spool import Ingest
from proxies.contract import CallRecord, Events

logger = logging.getLogger(__name__)

BATCHES_PER_COMMIT = 64
FIRST_BACKOFF_SECONDS = 0.2
MAX_BACKOFF_SECONDS = 10.0
FAILURES_BEFORE_SET_ASIDE = 5


class Source(Protocol):
    """Who sent a batch and waits for its acknowledgement."""

    async def acknowledge(self, sequence: int) -> None:
        """The batch is committed."""


class Batch:
    """One `Events` of one worker."""

    __slots__ = ("calls", "commits_at_first_failure", "failures", "sequence", "source")

    def __init__(self, source: Source, events: Events) -> None:
        self.source = source
        self.sequence = events.sequence
        self.calls = events.calls
        self.failures = 0
        self.commits_at_first_failure = 0


class Intake:
    """The queue between the channels and the database."""

    def __init__(self, ingest: Ingest, spool_dir: Path) -> None:
        self._ingest = ingest
        self._spool_dir = spool_dir
        self._waiting: deque[Batch] = deque()
        self._arrived = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._committing = asyncio.Lock()
        self._commits = 0
        self.calls_dropped = 0
        """Calls that workers dropped under pressure, since the start: with findings only where the disk is full as well."""
        self.texts_dropped = 0
        """Calls whose captured texts workers dropped under pressure, since the start."""
        self.failing = ""
        """Why the last commit failed; empty when it did not."""

    def __repr__(self) -> str:
        return f"<Intake waiting={len(self._waiting)} commits={self._commits} failing={self.failing!r}>"

    def put(self, source: Source, events: Events) -> None:
        """Take a batch."""
        if events.calls_dropped:
            self.calls_dropped += events.calls_dropped
            logger.warning("a worker dropped %d calls under pressure", events.calls_dropped)
        if events.texts_dropped:
            self.texts_dropped += events.texts_dropped
            logger.warning("a worker dropped the texts of %d calls under pressure", events.texts_dropped)
        self._waiting.append(Batch(source, events))
        self._empty.clear()
        self._arrived.set()

    async def run(self) -> None:
        """Commit what comes, until cancelled."""
        backoff = 0.0
        while True:
            await self._arrived.wait()
            batches = [self._waiting.popleft() for _ in range(min(len(self._waiting), BATCHES_PER_COMMIT))]
            failed = await self._commit_all(batches)
            self._waiting.extend(failed)
            if not self._waiting:
                self._arrived.clear()
                self._empty.set()
            if failed:
                backoff = min(max(FIRST_BACKOFF_SECONDS, backoff * 2), MAX_BACKOFF_SECONDS)
                await asyncio.sleep(backoff)
            else:
                backoff = 0.0

    async def emptied(self) -> None:
        """Wait until everything that was put is committed."""
        await self._empty.wait()

    async def recover(self) -> int:
        """Ingest the spool files of workers that are gone; returns the number of calls. Failures wait for next time."""
        async with self._committing:
            try:
                return await spool.ingest_directory(self._spool_dir, self._ingest)
            except Exception:
                # Broad: a database, a file or a record of another version; the console must come up, the files stay.
                logger.exception("spooled calls cannot be ingested now; their files stay and are tried again")
                return 0

    async def _commit_all(self, batches: list[Batch]) -> list[Batch]:
        """Commit and acknowledge; returns the batches that are to be tried again."""
        if await self._commit(batches):
            return []
        if len(batches) == 1:
            self._note_failure(batches[0])
        else:
            for batch in batches:
                if not await self._commit([batch]):
                    self._note_failure(batch)
        again = []
        for batch in batches:
            if batch.failures and not await self._gives_up(batch):
                again.append(batch)
        return again

    async def _commit(self, batches: list[Batch]) -> bool:
        calls: list[CallRecord] = [call for batch in batches for call in batch.calls]
        async with self._committing:
            try:
                await self._ingest(calls)
            except Exception as error:
                # Broad: nothing is acknowledged, so whatever it is the workers keep the calls and the batch comes again.
                self.failing = f"{type(error).__name__}: {error}"
                logger.error("%d calls cannot be committed and are tried again: %s", len(calls), self.failing)
                return False
        self.failing = ""
        self._commits += 1
        for batch in batches:
            batch.failures = 0
            await batch.source.acknowledge(batch.sequence)
        return True

    def _note_failure(self, batch: Batch) -> None:
        if not batch.failures:
            batch.commits_at_first_failure = self._commits
        batch.failures += 1

    async def _gives_up(self, batch: Batch) -> bool:
        """Set aside a batch that the database refuses while it takes others."""
        if batch.failures < FAILURES_BEFORE_SET_ASIDE or self._commits == batch.commits_at_first_failure:
            return False
        try:
            path = spool.set_aside(self._spool_dir, secrets.token_hex(8), batch.calls)
        except OSError as error:
            logger.error("a batch that cannot be committed cannot be set aside either: %s", error.strerror)
            return False
        logger.error("%d calls were refused %d times and are kept in %s", len(batch.calls), batch.failures, path.name)
        await batch.source.acknowledge(batch.sequence)
        return True
