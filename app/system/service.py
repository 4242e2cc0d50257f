"""Health, readiness and what is running."""

from __future__ import annotations

import asyncio
import os
import platform
import sqlite3
import sys
from collections.abc import Callable
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

import msgspec
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app import clock
from app.database.engine import Database
from app.errors import AppError
from app.settings import Settings
from app.unusable import disk_trouble
from app.version import __version__

READINESS_TIMEOUT_SECONDS = 2.0


class HealthView(msgspec.Struct):
    """Alive. Says nothing else, as anybody may ask (ADM-23)."""

    status: str
    timestamp: datetime
    version: str


class ReadinessView(msgspec.Struct):
    """Whether the console can do its work, part by part."""

    status: str
    checks: dict[str, str]


class SystemView(msgspec.Struct):
    """What is running here."""

    version: str
    environment: str
    started_at: datetime
    uptime_seconds: float
    python: str
    sqlite: str
    platform: str
    pid: int
    workers: int
    is_frozen: bool
    """Whether this is the one-file or one-directory executable."""
    is_compiled: bool
    """Whether calls run through machine code; from the sources they are interpreted."""
    live_connections: int
    errors_logged: int
    """Errors in the log since the start, those of workers included."""
    retention_days: dict[str, int]


class System:
    """Answers for the whole console."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        first_rules_count: Callable[[], int] = lambda: 0,
        errors_logged: Callable[[], int] = lambda: 0,
    ) -> None:
        self._settings = settings
        self._database = database
        self._first_rules_count = first_rules_count
        self._errors_logged = errors_logged
        self.started_at = clock.utcnow()
        self.is_ready = False
        """Set by the lifespan once every part has started, cleared when it begins to stop."""

    def __repr__(self) -> str:
        return f"<System ready={self.is_ready}>"

    def health(self) -> HealthView:
        """The process answers."""
        return HealthView(status="healthy", timestamp=clock.utcnow(), version=__version__)

    async def readiness(self) -> ReadinessView:
        """Started, not stopping, the proxies that start by themselves have their rules, the database answers in time and
        can be written.

        A proxy that is made later and waits for its rules changes nothing: the others serve.
        """
        waiting = self._first_rules_count()
        checks = {
            "started": "ok" if self.is_ready else "starting or stopping",
            "rules": f"being compiled for {waiting} {'proxy' if waiting == 1 else 'proxies'}" if waiting else "ok",
            "database": "ok",
        }
        try:
            async with asyncio.timeout(READINESS_TIMEOUT_SECONDS), self._database.reader() as session:
                await session.execute(text("SELECT 1"))
        except (SQLAlchemyError, AppError, TimeoutError):
            checks["database"] = "does not answer"
        else:
            # What is known to be wrong with the disk, and what the last write met: a quota shows itself only there.
            trouble = await asyncio.to_thread(disk_trouble, self._database.path.parent)
            if not trouble and self._database.write_trouble:
                trouble = await self._write_again()
            if trouble:
                checks["database"] = f"cannot be written: its disk {trouble}"
        is_ready = all(result == "ok" for result in checks.values())
        return ReadinessView(status="ready" if is_ready else "not ready", checks=checks)

    async def _write_again(self) -> str:
        """What is still wrong with the disk, by writing what is there already: nobody else may write for a long time, least
        of all calls, which do not come while this is not ready."""
        try:
            async with asyncio.timeout(READINESS_TIMEOUT_SECONDS), self._database.writer() as session:
                await session.execute(text("UPDATE installation SET created_at = created_at"))
        except (SQLAlchemyError, AppError, TimeoutError):
            return self._database.write_trouble or "does not take what is written"
        return ""

    def info(self, live_connections: int) -> SystemView:
        """For the settings page."""
        now = clock.utcnow()
        return SystemView(
            version=__version__,
            environment=self._settings.environment,
            started_at=self.started_at,
            uptime_seconds=(now - self.started_at).total_seconds(),
            python=platform.python_version(),
            sqlite=sqlite3.sqlite_version,
            platform=f"{platform.system()} {platform.machine()}",
            pid=os.getpid(),
            workers=self._settings.workers,
            is_frozen=bool(getattr(sys, "frozen", False)),
            is_compiled=_is_compiled(),
            live_connections=live_connections,
            errors_logged=self._errors_logged(),
            retention_days={
                "alerts": self._settings.retention_alerts_days,
                "requests": self._settings.retention_requests_days,
                "audit": self._settings.retention_audit_days,
            },
        )


def _is_compiled() -> bool:
    """Whether the modules that every call passes through are compiled, which `packaging/compiled.py` does together."""
    found = find_spec("rules.engine")
    return found is not None and Path(found.origin or "").suffix in (".so", ".pyd")
