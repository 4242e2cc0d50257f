"""The client of a held call: it hears that it is waited for, so that no time limit between it and a person fires."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from proxies.exchange import Exchange
from proxies.mcp.media_types import STREAM_HEADERS, accepted
from proxies.mcp.messages import Message
from proxies.strict_json import dump
from proxies.transport.sse import KEEPALIVE, SSEEvent, encode_event

FIRST_SECONDS: Final = 5.0
"""A decision that comes sooner is answered as if nobody had waited."""
REPEAT_SECONDS: Final = 10.0
_WAITING: Final = "Waiting for approval"


class HeldClient:
    """Told now and then while its call waits: by progress where it asked for that, else by a comment."""

    def __init__(self, exchange: Exchange, message: Message) -> None:
        self._exchange = exchange
        meta = (message.params or {}).get("_meta")
        token = meta.get("progressToken") if type(meta) is dict else None
        self._token = token if type(token) in (int, str) else None
        self._told = 0
        self._task: asyncio.Task[None] | None = None
        if "text/event-stream" in accepted(exchange.request.headers):
            self._task = asyncio.get_running_loop().create_task(self._tell())

    def stop(self) -> None:
        """It does not wait any more. Whole events are written at once, so none is cut."""
        if self._task is not None:
            self._task.cancel()

    async def _tell(self) -> None:
        try:
            await asyncio.sleep(FIRST_SECONDS)
            self._exchange.start_early(STREAM_HEADERS)
            while True:
                await self._exchange.write(self._next())
                await asyncio.sleep(REPEAT_SECONDS)
        except ConnectionResetError:
            # The client is gone; the call hears of it in the same moment.
            return

    def _next(self) -> bytes:
        if self._token is None:
            return KEEPALIVE
        self._told += 1
        # Progress must grow, and that of the server begins at 0 or above.
        params: dict[str, Any] = {"progressToken": self._token, "progress": -1 / self._told, "message": _WAITING}
        told = Message(kind="notification", method="notifications/progress", params=params)
        return encode_event(SSEEvent(event="message", data=dump(told.body()).decode(), id=None, retry=None))
