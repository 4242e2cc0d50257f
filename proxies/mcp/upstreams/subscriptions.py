"""Who of the sessions that share a process has subscribed to what: for the server they are one client (P-04). No I/O.

A server counts no subscribers: the first unsubscription would end the subscription of all of them.
"""

from __future__ import annotations

import hashlib
from typing import Final

from proxies.mcp.messages import Message

SUBSCRIBE: Final = "resources/subscribe"
UNSUBSCRIBE: Final = "resources/unsubscribe"
MAX_SUBSCRIPTIONS: Final = 10_000
"""Of all sessions of one process."""


class Subscriptions:
    """Those of one process. Nothing of an address is kept but a digest: it can be as long as a message."""

    def __init__(self) -> None:
        self._members: dict[bytes, set[str]] = {}
        self._count = 0

    def __repr__(self) -> str:
        return f"<Subscriptions {self._count}>"

    @property
    def full(self) -> bool:
        """Whether there may be no more of them."""
        return self._count >= MAX_SUBSCRIPTIONS

    def add(self, request: Message, member: str) -> bool:
        """A session subscribes; True where it had not. It counts before the server has answered, so that the end of another
        one's subscription does not overtake it."""
        members = self._members.setdefault(_place(request), set())
        if member in members:
            return False
        members.add(member)
        self._count += 1
        return True

    def remove(self, request: Message, member: str) -> bool:
        """A session ends its subscription, or has been refused one; True where no other session has it."""
        place = _place(request)
        members = self._members.get(place, set())
        if member in members:
            members.remove(member)
            self._count -= 1
        if not members:
            self._members.pop(place, None)
        return not members

    def forget(self, member: str) -> None:
        """A session is over."""
        for place, members in tuple(self._members.items()):
            if member in members:
                members.remove(member)
                self._count -= 1
                if not members:
                    del self._members[place]


def _place(request: Message) -> bytes:
    uri = (request.params or {}).get("uri")
    return hashlib.blake2b(str(uri).encode("utf-8", "surrogatepass"), digest_size=16).digest()
