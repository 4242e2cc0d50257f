"""Tells the bus how proxies stand: the supervisor reports a status from within its own work, the announcer reads the row
and publishes the whole view. Several reports of one proxy that come close together become one event."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

import msgspec

from app.database.base import DEFAULT_TENANT
from app.database.engine import Database
from app.fleet.repository import ProxyRepository
from app.fleet.state import ProxyStatus
from app.fleet.views import proxy_view
from app.http.events import EventBus
from app.policies.library import PolicyLibrary

logger = logging.getLogger(__name__)


class ProxyAnnouncer:
    """Publishes ProxyView events (topic `proxy`); a deleted proxy is `{"id": …, "deleted": true}`."""

    def __init__(
        self, *, database: Database, library: PolicyLibrary, bus: EventBus, status_of: Callable[[str], ProxyStatus]
    ) -> None:
        self._database = database
        self._library = library
        self._bus = bus
        self._status_of = status_of
        self._waiting: set[str] = set()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<ProxyAnnouncer {len(self._waiting)} waiting>"

    def on_status(self, status: ProxyStatus) -> None:
        """What the fleet calls at every change; never waits."""
        self.announce(status.proxy_id)

    def announce(self, proxy_id: str) -> None:
        """Publish this proxy soon."""
        self._waiting.add(proxy_id)
        self._wake.set()

    async def start(self) -> None:
        """Begin to publish."""
        self._task = asyncio.create_task(self._run(), name="proxy-announcer")

    async def stop(self) -> None:
        """Stop to publish; what still waits is dropped, the bus is about to close."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            waiting, self._waiting = self._waiting, set()
            try:
                await self._publish(waiting)
            except Exception:
                # Broad: this task publishes for every proxy until the console stops.
                logger.exception(
                    "The state of %d proxies could not be published: open pages show it late", len(waiting)
                )

    async def _publish(self, proxy_ids: set[str]) -> None:
        async with self._database.reader() as session:
            rows = {row.id: row for row in await ProxyRepository(session, DEFAULT_TENANT).all()}
        for proxy_id in sorted(proxy_ids):
            if row := rows.get(proxy_id):
                view = proxy_view(row, self._status_of(proxy_id), self._library)
                self._bus.publish("proxy", msgspec.to_builtins(view))
            else:
                self._bus.publish("proxy", {"id": proxy_id, "deleted": True})
