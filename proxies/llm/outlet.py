"""Where the inspected events of a stream go: to the client at once, or all together at the end (RED-STR-9).

A rule may ask that nothing of an answer goes out until the whole of it is decided. Then the events wait here; a block, or an
answer that breaks off, drops them.
"""

from __future__ import annotations

from proxies.exchange import Exchange
from proxies.refusal import Refusal


def too_large_to_hold() -> Refusal:
    """The end of an answer of which more waits for a decision than may."""
    return Refusal(
        502,
        "upstream_too_large",
        "The answer is too large to be held until all of it is decided.",
        remediation="Ask an administrator for the mode 'window' for the rules that hold whole answers.",
        outcome="upstream_error",
    )


class Outlet:
    """The client's side of one stream."""

    __slots__ = ("_exchange", "_waiting", "_waiting_bytes", "waits")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self.waits = exchange.protection.streams.buffers
        """Whether nothing goes out before the end."""

    async def write(self, events: list[bytes]) -> None:
        """Take inspected events; raises `Refusal` where more would have to wait than may."""
        if not self.waits:
            await self._exchange.write(b"".join(events))
            return
        self._waiting += events
        self._waiting_bytes += sum(map(len, events))
        if self._waiting_bytes > self._exchange.proxy.config.limits.max_response_bytes:
            self.drop()
            raise too_large_to_hold()

    async def end(self) -> None:
        """All is decided: what waited goes out."""
        if self._waiting:
            await self._exchange.write(b"".join(self._waiting))
            self._waiting.clear()

    def drop(self) -> None:
        """What waits never goes out."""
        self._waiting.clear()
