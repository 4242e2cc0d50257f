"""Comments that keep a quiet event stream alive (G-08, LLM-HTTP-3)."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from proxies.exchange import Exchange
from proxies.transport.sse import KEEPALIVE

KEEPALIVE_SECONDS: Final = 15.0


class KeepAlive:
    """Sends a comment when nothing was sent for a while, so that nobody between takes the stream for dead."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._sent_at = time.monotonic()
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._timer = self._loop.call_later(KEEPALIVE_SECONDS, self._tick)

    def touch(self) -> None:
        """Something is being sent now."""
        self._sent_at = time.monotonic()

    def stop(self) -> None:
        """The stream is over; harmless when called again."""
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _tick(self) -> None:
        quiet_seconds = time.monotonic() - self._sent_at
        if quiet_seconds >= KEEPALIVE_SECONDS and (self._task is None or self._task.done()):
            self.touch()
            # Whole events are written at once, so a comment between two writes cannot split one.
            self._task = self._loop.create_task(self._comment())
            quiet_seconds = 0.0
        self._timer = self._loop.call_later(max(0.05, KEEPALIVE_SECONDS - quiet_seconds), self._tick)

    async def _comment(self) -> None:
        try:
            await self._exchange.write(KEEPALIVE)
        except ConnectionResetError:
            # The client is gone; the handler hears of it in the same moment and ends the stream.
            self._timer.cancel()
