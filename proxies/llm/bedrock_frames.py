"""Streams of Amazon Bedrock: frames with checksums, whose payload is JSON (LLM-BDR-2). Sans-I/O.

The name of an event is its `:event-type`, or its `:exception-type`, which says so by its ending. InvokeModel wraps the events
of the model's own API: each is the base64 in a `chunk`.
"""

from __future__ import annotations

import base64
import re
from typing import Final

import msgspec

from proxies.llm.framing import MAX_EVENT_BYTES, UNBUFFERED, HeaderFields
from proxies.strict_json import dump
from proxies.transport.errors import UpstreamProtocolError
from proxies.transport.event_stream import Frame, FrameParser, FrameRefused, encode_frame
from proxies.transport.sse import SSEEvent

MEDIA_TYPE: Final = "application/vnd.amazon.eventstream"
EXCEPTION: Final = "Exception"
"""Ends the name of an event with which the upstream gives up."""
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z-]{0,63}")
_JSON: Final = "application/json"


class ConverseFrames:
    """Frames as Converse sends them."""

    headers: HeaderFields = (("content-type", MEDIA_TYPE), *UNBUFFERED)
    has_comments = False
    has_done = False

    def __init__(self) -> None:
        self._frames = FrameParser(MAX_EVENT_BYTES)

    def feed(self, data: bytes) -> list[SSEEvent]:
        """The events completed by `data`; raises `UpstreamProtocolError`."""
        try:
            return [self._read(frame) for frame in self._frames.feed(data)]
        except FrameRefused as error:
            raise _broken(str(error)) from None

    def close(self) -> list[SSEEvent]:
        """Nothing; raises `UpstreamProtocolError` for a frame that is cut off."""
        try:
            self._frames.close()
        except FrameRefused as error:
            raise _broken(str(error)) from None
        return []

    def event(self, event: SSEEvent) -> bytes:
        """One frame for the client."""
        name = event.event or ""
        kind = "exception" if name.endswith(EXCEPTION) else "event"
        headers = {f":{kind}-type": name, ":content-type": _JSON, ":message-type": kind}
        return encode_frame(headers, event.data.encode())

    def end(self) -> bytes:
        """Nothing stands behind the last frame."""
        return b""

    def restart(self) -> None:
        """Frames know nothing of each other."""

    def _read(self, frame: Frame) -> SSEEvent:
        kind = frame.headers.get(":message-type")
        if kind == "error":
            words = (frame.headers.get(":error-code", ""), frame.headers.get(":error-message", ""))
            message = ": ".join(word for word in words if word)
            return SSEEvent(event=f"internalServer{EXCEPTION}", data=dump({"message": message}).decode())
        name = frame.headers.get(f":{kind}-type", "")
        if kind not in ("event", "exception") or not _NAME.fullmatch(name):
            raise _broken("a frame does not say what it is")
        if name.endswith(EXCEPTION) is not (kind == "exception"):
            raise _broken("the name of a frame does not fit its kind")
        if frame.headers.get(":content-type", _JSON) != _JSON:
            raise _broken("the payload of a frame is not JSON")
        return self._event(name, frame.payload)

    def _event(self, name: str, payload: bytes) -> SSEEvent:
        return SSEEvent(event=name, data=payload.decode("utf-8", "replace"))


class _Chunk(msgspec.Struct):
    """The payload of a chunk. It is written anew for the client, so whatever else stands in it goes nowhere."""

    event: bytes = msgspec.field(name="bytes")


_chunks: Final = msgspec.json.Decoder(_Chunk)


class InvokeFrames(ConverseFrames):
    """Frames as InvokeModel sends them: each chunk holds an event of the model's API."""

    def event(self, event: SSEEvent) -> bytes:
        """One frame for the client: a chunk, or an exception as it is."""
        if (event.event or "").endswith(EXCEPTION):
            return super().event(event)
        payload = dump({"bytes": base64.b64encode(event.data.encode()).decode()})
        return super().event(SSEEvent(event="chunk", data=payload.decode()))

    def _event(self, name: str, payload: bytes) -> SSEEvent:
        if name.endswith(EXCEPTION):
            return super()._event(name, payload)
        try:
            chunk = _chunks.decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise _broken("a chunk holds no event") from None
        if name != "chunk":
            raise _broken("it has other events than chunks")
        return SSEEvent(event=None, data=chunk.event.decode("utf-8", "replace"))


def _broken(why: str) -> UpstreamProtocolError:
    return UpstreamProtocolError(f"The upstream sent an event stream that cannot be read: {why}.")
