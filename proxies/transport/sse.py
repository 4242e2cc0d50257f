"""Server-sent events, parsed and written on bytes (WHATWG HTML §9.2; LLM-HTTP-2, LLM-HTTP-3, G-08, LIM-17). Sans-I/O.

Unlike a browser the parser keeps what a proxy must pass on: events without data, and an event cut off by the end of
the stream (`close()`). Comments are dropped. Invalid UTF-8 becomes U+FFFD, so what is inspected is what is written.
"""

from __future__ import annotations

import re

import msgspec

KEEPALIVE = b":\n\n"
"""A comment that keeps a quiet stream alive."""

_LINE_END = re.compile(rb"\r\n|\n|\r")
_TEXT_LINE_END = re.compile("\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"
_MAX_RETRY_DIGITS = 9


class SSETooLarge(Exception):
    """One event is larger than the bound."""


class SSEEvent(msgspec.Struct, gc=False):
    """One event. `event`, `id` and `retry` (milliseconds) are None when the event does not mention them."""

    event: str | None = None
    data: str = ""
    """The data lines joined by LF."""
    id: str | None = None
    retry: int | None = None
    has_data: bool = True
    """False when there was no data line at all, which differs from an empty one on the wire."""


class SSEParser:
    """Feed bytes as they come; get the events that became complete. `max_event_bytes` bounds one event."""

    __slots__ = (
        "_at_start",
        "_data",
        "_event",
        "_event_bytes",
        "_id",
        "_max_event_bytes",
        "_partial",
        "_partial_bytes",
        "_retry",
        "_seen",
        "_skip_lf",
    )

    def __init__(self, max_event_bytes: int) -> None:
        self._max_event_bytes = max_event_bytes
        self._partial: list[bytes] = []
        self._partial_bytes = 0
        self._event_bytes = 0
        self._skip_lf = False
        self._at_start = True
        self._data: list[str] = []
        self._event: str | None = None
        self._id: str | None = None
        self._retry: int | None = None
        self._seen = False

    def feed(self, data: bytes) -> list[SSEEvent]:
        """The events completed by `data`. Raises SSETooLarge."""
        if self._skip_lf and data:
            # The CR at the end of the last piece ended its line; this LF belongs to it.
            self._skip_lf = False
            data = data.removeprefix(b"\n")
        if not data:
            return []
        lines = _LINE_END.split(data)
        if len(lines) == 1:
            self._hold(data)
            return []
        self._skip_lf = data.endswith(b"\r")
        if self._partial:
            self._partial.append(lines[0])
            lines[0] = b"".join(self._partial)
            self._partial.clear()
            self._partial_bytes = 0
        events: list[SSEEvent] = []
        last = lines.pop()
        for line in lines:
            self._line(line, events)
        if last:
            self._hold(last)
        return events

    def close(self) -> list[SSEEvent]:
        """The stream has ended: the event that lacked its empty line, if any."""
        events: list[SSEEvent] = []
        if self._partial:
            line = b"".join(self._partial)
            self._partial.clear()
            self._partial_bytes = 0
            self._line(line, events)
        self._dispatch(events)
        return events

    def _hold(self, piece: bytes) -> None:
        self._partial.append(piece)
        self._partial_bytes += len(piece)
        if self._event_bytes + self._partial_bytes > self._max_event_bytes:
            raise SSETooLarge(f"an event is larger than {self._max_event_bytes} bytes")

    def _line(self, line: bytes, events: list[SSEEvent]) -> None:
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(_BOM)
        if not line:
            self._dispatch(events)
            return
        self._event_bytes += len(line) + 1
        if self._event_bytes > self._max_event_bytes:
            raise SSETooLarge(f"an event is larger than {self._max_event_bytes} bytes")
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value.decode("utf-8", "replace"))
            self._seen = True
        elif name == b"event":
            self._event = value.decode("utf-8", "replace")
            self._seen = True
        elif name == b"id":
            if b"\0" not in value:
                self._id = value.decode("utf-8", "replace")
                self._seen = True
        elif name == b"retry" and value.isdigit() and len(value) <= _MAX_RETRY_DIGITS:
            self._retry = int(value)
            self._seen = True

    def _dispatch(self, events: list[SSEEvent]) -> None:
        if self._seen:
            data = self._data
            text = data[0] if len(data) == 1 else "\n".join(data)
            events.append(SSEEvent(self._event, text, self._id, self._retry, bool(data)))
            self._data = []
            self._event = self._id = self._retry = None
            self._seen = False
        self._event_bytes = 0


def encode_event(event: SSEEvent) -> bytes:
    """The event on the wire, with LF line ends. Raises ValueError for a line end inside `event` or `id`."""
    lines: list[str] = []
    for name, value in (("event", event.event), ("id", event.id)):
        if value is not None:
            if "\n" in value or "\r" in value or "\0" in value:
                raise ValueError(f"the {name} of an event must be a single line")
            lines.append(f"{name}: {value}\n")
    if event.retry is not None:
        lines.append(f"retry: {event.retry}\n")
    if event.has_data:
        data = event.data
        if "\n" in data or "\r" in data:
            lines += [f"data: {line}\n" for line in _TEXT_LINE_END.split(data)]
        else:
            lines.append(f"data: {data}\n")
    lines.append("\n")
    return "".join(lines).encode("utf-8", "replace")
