"""What a connection writes, kept back to the end of the event loop's round.

Every write at once wakes whoever waits for it, and the waking costs more than the writing. What many connections have to say in
one round goes out in a row instead, to readers that are mostly awake by then. A round is one look at what has arrived.
"""

from __future__ import annotations

import asyncio
from typing import Final, cast

MAX_KEPT_BYTES: Final = 64 * 1024
"""More than this goes out at once, so that a writer that never waits still feels its reader."""


class Outgoing:
    """The writing side of one transport. Whoever closes, ends or cuts the transport sends what is kept first, or loses it."""

    __slots__ = ("_kept", "_loop", "_size", "_transport")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)  # Set by `attach`, before any use.
        self._loop = loop
        self._kept: list[bytes] = []
        self._size = 0

    def attach(self, transport: asyncio.Transport) -> None:
        """The transport is there."""
        self._transport = transport

    @property
    def is_kept_back(self) -> bool:
        """Whether something waits for the end of the round."""
        return self._size > 0

    def write(self, data: bytes) -> None:
        """Send at the end of the round, in order."""
        if not self._size:
            self._loop.call_soon(self.send)
        self._kept.append(data)
        self._size += len(data)
        if self._size > MAX_KEPT_BYTES:
            self.send()

    def send(self) -> None:
        """Send what is kept now; nothing happens when the transport is gone."""
        if not self._size:
            return
        kept, self._kept, self._size = self._kept, [], 0
        if not self._transport.is_closing():
            self._transport.write(kept[0] if len(kept) == 1 else b"".join(kept))
