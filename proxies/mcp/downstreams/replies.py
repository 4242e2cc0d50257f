"""What a carried call answers, message by message: from a whole body or from a stream, as text for the carrier."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from proxies.mcp.downstreams.incoming import Incoming
from proxies.mcp.messages import UPSTREAM_FAILED, MessageId, error_response
from proxies.mcp.upstream import MAX_EVENT_BYTES
from proxies.strict_json import dump
from proxies.transport.sse import SSEParser

Deliver = Callable[[str], Awaitable[None]]
"""Gives one message to the client; raises ConnectionResetError when it is gone."""


class _Envelope(msgspec.Struct):
    id: MessageId | None = None
    method: str | None = None


_envelope = msgspec.json.Decoder(_Envelope)
_body = msgspec.json.Decoder(dict)


class Replies:
    """The messages that answer one message of the client. `feed` is the sink of its call."""

    def __init__(self, message: Incoming, deliver: Deliver) -> None:
        self._message = message
        self._deliver = deliver
        self._parser = SSEParser(MAX_EVENT_BYTES * 2)
        self.answered = message.kind != "request" or message.id is None
        """Whether the client does not wait for anything more."""
        self.last_event_id: str | None = None
        self.retry_ms: int | None = None

    async def feed(self, data: bytes) -> None:
        """A piece of an event stream."""
        for event in self._parser.feed(data):
            if event.id:
                self.last_event_id = event.id
            if event.retry is not None:
                self.retry_ms = event.retry
            if event.data:
                self._note(event.data)
                await self._deliver(event.data)

    async def whole(self, status: int, body: bytes) -> None:
        """A complete answer: a message, whatever its status; only an error may have lost the id of its request."""
        if not body or self._message.kind != "request":
            return
        text = body.decode("utf-8", "replace")
        if status != 200:
            error = _error_of(body)
            if error is None:
                return
            text = dump({"jsonrpc": "2.0", "id": self._message.id, "error": error}).decode()
        self.answered = True
        await self._deliver(text)

    async def give_up(self, reason: str) -> None:
        """Say that no answer will come, if the client still waits for one."""
        if self.answered or self._message.id is None:
            return
        self.answered = True
        error = error_response(self._message.id, UPSTREAM_FAILED, reason)
        await self._deliver(dump(error.body()).decode())

    def _note(self, text: str) -> None:
        if self.answered:
            return
        try:
            envelope = _envelope.decode(text)
        except msgspec.MsgspecError:
            return  # A batch: whoever sent one counts its answers.
        self.answered = envelope.method is None and envelope.id == self._message.id


def _error_of(body: bytes) -> object:
    try:
        return _body.decode(body).get("error")
    except msgspec.MsgspecError:
        return None
