"""The conversations of one upstream: which there are, whose they are, and who makes room for a new one. Bounded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from proxies.mcp.messages import Message
from proxies.mcp.upstreams.conversation import Conversation

GRACE_SECONDS: Final = 5.0
"""How long a conversation that was just used keeps its seat: a client needs it for more than one message."""
PRINCIPAL_SESSION: Final = ""
"""The session id of the one conversation that a principal's modern requests share."""


class SeatBounds(msgspec.Struct, frozen=True):
    """How many conversations one upstream may have, and when an unused one ends."""

    max_open: int
    max_open_per_principal: int
    legacy_idle_seconds: float = 3600.0
    modern_idle_seconds: float = 600.0


class Seat(msgspec.Struct):
    """A conversation, or the room for one that is being opened."""

    principal_id: str
    session_id: str
    conversation: Conversation | None = None
    identity: bytes = b""
    """What sessions must have in common to share the process of this one; empty where none may."""
    opening: Message | None = None
    """The server's answer to its initialize."""
    was_told: bool = False
    """Whether the server has heard that it was understood."""

    def unused_for(self, seconds: float, now: float) -> bool:
        """Whether nobody waits for anything, nor has done anything for so long."""
        conversation = self.conversation
        return conversation is not None and not conversation.busy and now - conversation.used_at >= seconds


class Seats:
    """All seats of one upstream."""

    def __init__(self, bounds: SeatBounds) -> None:
        self._bounds = bounds
        self._seats: dict[tuple[str, str], Seat] = {}
        """By session and principal; a session's id alone names its seat."""

    def __len__(self) -> int:
        return len(self._seats)

    def __iter__(self) -> Iterator[Seat]:
        return iter(tuple(self._seats.values()))

    def find(self, session_id: str, principal_id: str = "") -> Seat | None:
        """The seat of a legacy session, or with `PRINCIPAL_SESSION` that of a principal."""
        return self._seats.get(_key(session_id, principal_id))

    def take(self, principal_id: str, session_id: str, now: float) -> tuple[Seat | None, Seat | None]:
        """A new seat, and the one that has to be vacated for it; no seat where everything is in use.

        At a principal's bound its own least recently used seat goes; at the bound of all, the least recently used of
        anybody that has no stream open either.
        """
        vacated: Seat | None = None
        own = [seat for seat in self if seat.principal_id == principal_id]
        if len(own) >= self._bounds.max_open_per_principal:
            vacated = _least_recent([seat for seat in own if seat.unused_for(GRACE_SECONDS, now)])
        elif len(self._seats) >= self._bounds.max_open:
            free = [seat for seat in self if seat.unused_for(GRACE_SECONDS, now)]
            unwatched = [seat for seat in free if not _watched(seat)]
            vacated = _least_recent(unwatched) or _least_recent([seat for seat in own if seat in free])
        else:
            return self._add(principal_id, session_id), None
        if vacated is None:
            return None, None
        self.leave(vacated)
        return self._add(principal_id, session_id), vacated

    def leave(self, seat: Seat) -> bool:
        """Give a seat back; False when it is gone already."""
        key = _key(seat.session_id, seat.principal_id)
        if self._seats.get(key) is not seat:
            return False
        del self._seats[key]
        return True

    def leave_with(self, conversation: Conversation) -> None:
        """Give back the seat of a conversation that has ended."""
        for seat in self:
            if seat.conversation is conversation:
                self.leave(seat)

    def idle(self, now: float) -> list[Seat]:
        """The seats that nobody has used for too long."""
        return [seat for seat in self if not _watched(seat) and seat.unused_for(self._idle_seconds(seat), now)]

    def _idle_seconds(self, seat: Seat) -> float:
        return self._bounds.legacy_idle_seconds if seat.session_id else self._bounds.modern_idle_seconds

    def _add(self, principal_id: str, session_id: str) -> Seat:
        seat = Seat(principal_id, session_id)
        self._seats[_key(session_id, principal_id)] = seat
        return seat


def _key(session_id: str, principal_id: str) -> tuple[str, str]:
    return (session_id, "" if session_id else principal_id)


def _watched(seat: Seat) -> bool:
    return seat.conversation is not None and seat.conversation.watched


def _least_recent(seats: list[Seat]) -> Seat | None:
    return min(seats, key=lambda seat: seat.conversation.used_at if seat.conversation else 0.0, default=None)
