"""Where a client's connection stands; `server_connection` says how it goes from one state to the next."""

from __future__ import annotations

from enum import IntEnum


class State(IntEnum):
    """The states in the order in which a connection may pass them for the last time."""

    HEAD = 0
    """Between requests, or a head is arriving."""
    BODY = 1
    """The handler runs, the body is arriving."""
    ANSWER = 2
    """The handler runs, the body is complete."""
    UPGRADED = 3
    """Another protocol's reader has taken over."""
    CLOSING = 4
    """A last answer is being flushed, what still arrives is dropped."""
    CLOSED = 5


HEAD, BODY, ANSWER, UPGRADED, CLOSING, CLOSED = State
# By name, because every look into an enumeration costs a tenth of a microsecond.
