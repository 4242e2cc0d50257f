"""Publishes the figures that move, while somebody listens and when they have changed."""

from __future__ import annotations

import msgspec

from app.database.base import DEFAULT_TENANT
from app.http.events import EventBus
from app.overview.schemas import LiveStats
from app.overview.service import OverviewService


class LiveStatsJob:
    """The job; remembers what it published last."""

    def __init__(self, *, overview: OverviewService, bus: EventBus) -> None:
        self._overview = overview
        self._bus = bus
        self._last: LiveStats | None = None

    async def run(self) -> None:
        """Publish if there is somebody to tell and something to say."""
        if self._bus.subscribers == 0:
            return
        stats = await self._overview.live(DEFAULT_TENANT)
        if stats != self._last:
            self._last = stats
            self._bus.publish("stats", msgspec.to_builtins(stats))
