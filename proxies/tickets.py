"""One-time tickets for clients that cannot send a credential with what they open: browsers with WebSockets (W-03).

A ticket stands for the key that asked for it, once and for a short time. It travels as a sub-protocol value, never in a
URL, where it would end up in logs.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

TICKET_SECONDS: Final = 30.0
MAX_TICKETS: Final = 10_000
TICKET_PREFIX: Final = "ticket."
"""What a sub-protocol value that is a ticket begins with."""


class Tickets:
    """The tickets of one proxy that were not used yet, oldest first."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._issued: OrderedDict[bytes, tuple[str, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._issued)

    def issue(self, key_digest: str) -> str:
        """A new ticket for a key, as it goes into `Sec-WebSocket-Protocol`. At the bound the oldest one is void."""
        self._expire()
        if len(self._issued) >= MAX_TICKETS:
            self._issued.popitem(last=False)
        ticket = TICKET_PREFIX + secrets.token_urlsafe(24)
        self._issued[_name(ticket)] = (key_digest, self._clock() + TICKET_SECONDS)
        return ticket

    def redeem(self, ticket: str) -> str | None:
        """The digest of the key behind a ticket, which is void from now on; None for one that is not valid."""
        self._expire()
        found = self._issued.pop(_name(ticket), None)
        return found[0] if found is not None else None

    def _expire(self) -> None:
        now = self._clock()
        while self._issued:
            name, (_, expires_at) = next(iter(self._issued.items()))
            if expires_at > now:
                return
            del self._issued[name]


def _name(ticket: str) -> bytes:
    """What is kept of a ticket: its digest, so that the look-up takes no time that depends on the ticket."""
    return hashlib.sha256(ticket.encode("utf-8", "surrogateescape")).digest()
