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


MAX_KEPT_CHARACTERS: Final = 8 * 1024
"""Of an address, so that it can be named once its last session has left without a word."""


class Subscriptions:
    """Those of one process. Of an address a digest is kept, since it can be as long as a message, and itself where it is not."""

    def __init__(self) -> None:
        self._members: dict[bytes, set[str]] = {}
        self._addresses: dict[bytes, str] = {}
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
        address = _address(request)
        place = _place(address)
        members = self._members.setdefault(place, set())
        if member in members:
            return False
        members.add(member)
        self._count += 1
        if len(address) <= MAX_KEPT_CHARACTERS:
            self._addresses[place] = address
        return True

    def remove(self, request: Message, member: str) -> bool:
        """A session ends its subscription, or has been refused one; True where no other session has it."""
        place = _place(_address(request))
        self._take_out(place, member)
        return place not in self._members

    def forget(self, member: str) -> list[str]:
        """A session is over; the addresses to which nobody subscribes any more."""
        left: list[str] = []
        for place, members in tuple(self._members.items()):
            if member in members:
                address = self._addresses.get(place)
                self._take_out(place, member)
                if place not in self._members and address is not None:
                    left.append(address)
        return left

    def has(self, address: str) -> bool:
        """Whether a session subscribes to this address."""
        return _place(address) in self._members

    def _take_out(self, place: bytes, member: str) -> None:
        members = self._members.get(place, set())
        if member in members:
            members.remove(member)
            self._count -= 1
        if not members:
            self._members.pop(place, None)
            self._addresses.pop(place, None)


def _address(request: Message) -> str:
    return str((request.params or {}).get("uri"))


def _place(address: str) -> bytes:
    return hashlib.blake2b(address.encode("utf-8", "surrogatepass"), digest_size=16).digest()
