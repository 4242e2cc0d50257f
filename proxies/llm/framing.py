"""How the events of a stream stand on the wire, from the upstream and towards the client. Sans-I/O.

A framing cuts what the upstream sends into events and writes the inspected ones. An event has a name only where the API
gives it one.
"""

from __future__ import annotations

from typing import Final

from proxies.transport.errors import UpstreamProtocolError
from proxies.transport.lines import LineSplitter, LineTooLong
from proxies.transport.sse import SSEEvent, SSEParser, SSETooLarge, encode_event

MAX_EVENT_BYTES: Final = 10 * 1024 * 1024
UNBUFFERED: Final = (("cache-control", "no-cache"), ("x-accel-buffering", "no"))
HeaderFields = tuple[tuple[str, str], ...]


class ServerSentEvents:
    """Server-sent events both ways."""

    headers: HeaderFields = (("content-type", "text/event-stream; charset=utf-8"), *UNBUFFERED)
    has_comments = True
    """Whether something may be written that no client takes for an event."""
    has_done = True
    """Whether `[DONE]` in the place of an event is the end."""

    def __init__(self) -> None:
        self._parser = SSEParser(MAX_EVENT_BYTES)

    def feed(self, data: bytes) -> list[SSEEvent]:
        """The events completed by `data`; raises `UpstreamProtocolError`."""
        try:
            return self._parser.feed(data)
        except SSETooLarge:
            raise _too_large() from None

    def close(self) -> list[SSEEvent]:
        """What the end of the stream completes; raises `UpstreamProtocolError`."""
        try:
            return self._parser.close()
        except SSETooLarge:
            raise _too_large() from None

    def event(self, event: SSEEvent) -> bytes:
        """One event for the client."""
        return encode_event(event)

    def end(self) -> bytes:
        """What stands behind the last event."""
        return b""

    def restart(self) -> None:
        """What was written so far is dropped and never goes out."""


class JSONArray(ServerSentEvents):
    """Server-sent events, written as the elements of one JSON array: Gemini without `alt=sse`."""

    headers: HeaderFields = (("content-type", "application/json; charset=utf-8"), ("cache-control", "no-cache"))
    has_comments = False
    has_done = False

    def __init__(self) -> None:
        super().__init__()
        self._is_first = True

    def event(self, event: SSEEvent) -> bytes:
        """One element, and what divides it from the one before."""
        opening, self._is_first = b"[" if self._is_first else b",\r\n", False
        return opening + event.data.encode()

    def end(self) -> bytes:
        """What closes the array."""
        return b"[]" if self._is_first else b"]"

    def restart(self) -> None:
        """The next event is the first again."""
        self._is_first = True


class JSONLines:
    """One JSON value a line, both ways. An empty line is no comment: clients read every line as JSON."""

    headers: HeaderFields = (("content-type", "application/x-ndjson"), *UNBUFFERED)
    has_comments = False
    has_done = False

    def __init__(self) -> None:
        self._lines = LineSplitter(MAX_EVENT_BYTES)

    def feed(self, data: bytes) -> list[SSEEvent]:
        """The lines completed by `data`; raises `UpstreamProtocolError`."""
        try:
            return [_line(line) for line in self._lines.feed(data)]
        except LineTooLong:
            raise _too_large() from None

    def close(self) -> list[SSEEvent]:
        """The line that the end of the stream completes."""
        return [_line(line) for line in self._lines.close()]

    def event(self, event: SSEEvent) -> bytes:
        """One line for the client."""
        return event.data.encode() + b"\n"

    def end(self) -> bytes:
        """Nothing stands behind the last line."""
        return b""

    def restart(self) -> None:
        """Lines know nothing of each other."""


def _line(line: bytes) -> SSEEvent:
    return SSEEvent(event=None, data=line.decode("utf-8", "replace"))


def _too_large() -> UpstreamProtocolError:
    return UpstreamProtocolError("The upstream sent an event that is larger than the gateway can inspect.")
