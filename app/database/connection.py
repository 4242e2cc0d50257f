"""The driver's connection, with an end that may be asked for twice."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import aiosqlite

_FETCHED_AT_ONCE = 64


class Connection(aiosqlite.Connection):
    """Its thread ends with the first request to stop and would never answer a second one.

    Both are made when a task is cancelled while SQLAlchemy closes its connection in another one, as at the end of a loop: that
    other task would wait for ever, and the loop with it.
    """

    def __init__(self, path: Path) -> None:
        def connect() -> sqlite3.Connection:
            return sqlite3.connect(path, check_same_thread=False)

        super().__init__(connect, _FETCHED_AT_ONCE)
        # A connection that nobody closed must not keep the process.
        self._thread.daemon = True
        self._is_stopping = False
        self._stopped: asyncio.Future[None] | None = None

    def stop(self) -> asyncio.Future[None] | None:
        """Ask the thread to end; what to wait for is the same each time."""
        if not self._is_stopping:
            self._is_stopping = True
            self._stopped = super().stop()
        return self._stopped
