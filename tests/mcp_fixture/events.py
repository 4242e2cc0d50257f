"""Keeps every event of the legacy streams, so that a client can come back for what it missed."""

from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp.types import JSONRPCMessage


class Memory(EventStore):
    """All events of the process; an event's id is its place."""

    def __init__(self) -> None:
        self._events: list[tuple[str, JSONRPCMessage | None]] = []

    async def store_event(self, stream_id: str, message: JSONRPCMessage | None) -> str:
        """Keep one event."""
        self._events.append((stream_id, message))
        return str(len(self._events) - 1)

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        """Send what came later on the same stream."""
        if not last_event_id.isdecimal() or int(last_event_id) >= len(self._events):
            return None
        stream_id, _ = self._events[int(last_event_id)]
        for index in range(int(last_event_id) + 1, len(self._events)):
            other, message = self._events[index]
            if other == stream_id and message is not None:
                await send_callback(EventMessage(message, str(index)))
        return stream_id
