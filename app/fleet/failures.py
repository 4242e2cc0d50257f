"""Proxies that cannot serve as configured: an audit entry and an alert for each failure, so that nobody has to look at the
list of proxies to learn of it (a port that is taken, rules that do not load, a configuration that workers refuse).

The fleet reports from within its own work; writing happens in a task of its own.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

import msgspec

from app import clock, ids
from app.alerts.recording import failure_row
from app.alerts.repository import AlertRepository
from app.alerts.service import alert_view
from app.audit.service import AuditLog
from app.database.base import DEFAULT_TENANT
from app.database.engine import Database
from app.fleet.repository import ProxyRepository
from app.fleet.state import ProxyState, ProxyStatus, is_refused
from app.http.events import EventBus

logger = logging.getLogger(__name__)

MAX_WAITING = 1_000
QUIET_SECONDS = 600.0
"""The same reason of the same proxy is said again after so long at the earliest."""


class ProxyFailures:
    """Writes down what the fleet reports."""

    def __init__(self, *, database: Database, audit: AuditLog, bus: EventBus) -> None:
        self._database = database
        self._audit = audit
        self._bus = bus
        self._waiting: asyncio.Queue[ProxyStatus] = asyncio.Queue(MAX_WAITING)
        self._said: dict[str, tuple[str, float]] = {}
        """By proxy the last reason and when it was said, in Unix seconds."""
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<ProxyFailures {self._waiting.qsize()} waiting>"

    def on_status(self, status: ProxyStatus) -> None:
        """What the fleet calls at every change; never waits."""
        if status.state is not ProxyState.FAILED and not is_refused(status):
            return
        now = clock.utcnow().timestamp()
        reason, said_at = self._said.get(status.proxy_id, ("", 0.0))
        if reason == status.reason and now - said_at < QUIET_SECONDS:
            return
        self._said[status.proxy_id] = (status.reason, now)
        try:
            self._waiting.put_nowait(status)
        except asyncio.QueueFull:
            self._forget(status)
            logger.error("Proxy %s cannot serve as configured: %s", status.proxy_id, status.reason)

    async def start(self) -> None:
        """Begin to write."""
        self._task = asyncio.create_task(self._run(), name="proxy-failures")

    async def stop(self) -> None:
        """Write what waits, then end."""
        if self._task is not None:
            await self._waiting.join()
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _run(self) -> None:
        while True:
            status = await self._waiting.get()
            try:
                await self._write(status)
            except Exception:
                # Broad: this task writes for every proxy until the console stops.
                self._forget(status)
                logger.exception("The failure of proxy %s could not be recorded: %s", status.proxy_id, status.reason)
            finally:
                self._waiting.task_done()

    def _forget(self, status: ProxyStatus) -> None:
        """What could not be written is not yet said: the next report of it tries again."""
        if self._said.get(status.proxy_id, ("", 0.0))[0] == status.reason:
            del self._said[status.proxy_id]

    async def _write(self, status: ProxyStatus) -> None:
        now, event_id = clock.utcnow(), ids.new_id("fail")
        async with self._database.writer() as session:
            proxy = await ProxyRepository(session, DEFAULT_TENANT).get(status.proxy_id)
            if proxy is None:
                return
            await self._audit.record(
                session,
                "proxy.failed" if status.state is ProxyState.FAILED else "proxy.configuration.refused",
                actor=None,
                resource=("proxy", proxy.id, proxy.name),
                result="failure",
                severity="critical",
                details={"reason": status.reason[:500]},
            )
            alerts = AlertRepository(session)
            row = failure_row(
                event_id,
                tenant_id=DEFAULT_TENANT,
                proxy=(proxy.id, proxy.name, proxy.type),
                serves=status.state.serves,
                reason=status.reason,
                now=now,
            )
            await alerts.add_new([row])
            views = [msgspec.to_builtins(alert_view(alert)) for alert in await alerts.of_calls({event_id})]
        for view in views:
            self._bus.publish("alert", view)
