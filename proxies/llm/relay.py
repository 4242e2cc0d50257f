"""Relays an event stream: parse, read, inspect, then release (LLM-HTTP-2, LLM-HTTP-3).

Nothing is released before it was inspected. A block ends the stream in the API's own error form. An upstream that stalls,
truncates or speaks nonsense ends it with an error event and a cut connection, never with the API's regular end.
"""

from __future__ import annotations

from typing import Any, Final

from proxies.exchange import Exchange
from proxies.keepalive import KeepAlive
from proxies.llm.errors import stream_event
from proxies.llm.streams import Interpreter, Reading
from proxies.llm.surfaces import Surface
from proxies.pipeline import ResponseInspector, inspect_response
from proxies.refusal import Refusal
from proxies.strict_json import JSONRefused, dump, parse
from proxies.transport.errors import UpstreamError, UpstreamProtocolError
from proxies.transport.pool import UpstreamResponse
from proxies.transport.sse import SSEEvent, SSEParser, SSETooLarge, encode_event

MAX_EVENT_BYTES: Final = 10 * 1024 * 1024
STREAM_HEADERS: Final = [
    ("content-type", "text/event-stream; charset=utf-8"),
    ("cache-control", "no-cache"),
    ("x-accel-buffering", "no"),
]


async def relay_stream(
    exchange: Exchange,
    surface: Surface,
    interpreter: Interpreter,
    upstream: UpstreamResponse,
    headers: list[tuple[str, str]],
    *,
    hide_usage: bool,
) -> None:
    """Relay `upstream` to the client as an inspected event stream. `hide_usage` drops the usage the gateway asked for."""
    exchange.start_answer(upstream.status, [*STREAM_HEADERS, *headers])
    stream = _Stream(exchange, surface, interpreter, hide_usage=hide_usage)
    keepalive = KeepAlive(exchange)
    try:
        await _pump(exchange, stream, upstream, keepalive)
    except Refusal as refusal:
        await _end_with_error(exchange, stream, refusal, clean=refusal.outcome == "blocked")
    except UpstreamError as error:
        failure = Refusal(error.status, error.code, error.message, outcome="upstream_error")
        await _end_with_error(exchange, stream, failure, clean=False)
    else:
        exchange.truncated = not stream.ended
        exchange.usage = interpreter.usage
        exchange.finish_answer()
    finally:
        keepalive.stop()
        exchange.usage = interpreter.usage


async def _pump(exchange: Exchange, stream: _Stream, upstream: UpstreamResponse, keepalive: KeepAlive) -> None:
    parser = SSEParser(MAX_EVENT_BYTES)
    try:
        async for chunk in upstream:
            exchange.lap("upstream", waiting=True)
            await _release(exchange, stream, parser.feed(chunk), keepalive)
        exchange.lap("upstream", waiting=True)
        await _release(exchange, stream, parser.close(), keepalive)
    except SSETooLarge:
        raise UpstreamProtocolError("The upstream sent an event that is larger than the gateway can inspect.") from None
    stream.close()


async def _release(exchange: Exchange, stream: _Stream, events: list[SSEEvent], keepalive: KeepAlive) -> None:
    """Inspect the events of one read and send what passed: the good ones before a block still reach the client."""
    released: list[bytes] = []
    try:
        for event in events:
            if passed := stream.inspect(event):
                released.append(passed)
    finally:
        exchange.lap("inspect_response")
        if released:
            keepalive.touch()
            await exchange.write(b"".join(released))
            exchange.lap("downstream", waiting=True)


class _Stream:
    """The inspection of one stream; no I/O."""

    def __init__(self, exchange: Exchange, surface: Surface, interpreter: Interpreter, *, hide_usage: bool) -> None:
        self._exchange = exchange
        self.surface = surface
        self.interpreter = interpreter
        self._hide_usage = hide_usage
        self._inspector = ResponseInspector(exchange)
        self.ended = False

    def inspect(self, event: SSEEvent) -> bytes | None:
        """The bytes to release for one event, None to swallow it; raises `Refusal` or `UpstreamError`."""
        if event.data == "[DONE]":
            self._inspector.close()
            self.ended = True
            return encode_event(event)
        if not event.data:
            return None
        body = self._parse(event.data)
        reading = self.interpreter.read(event.event, body)
        self._weigh(reading)
        if reading.is_end:
            self._inspector.close()
            self.ended = True
        if self._hide_usage:
            if reading.is_usage_only:
                return None
            if "usage" in body and body["usage"] is None:
                del body["usage"]
        # The name of the event goes on only where the API has one; id and retry have no meaning in these APIs.
        name = event.event if event.event is not None and event.event.isprintable() else None
        return encode_event(SSEEvent(event=name, data=dump(body).decode()))

    def close(self) -> None:
        """The upstream's stream is over: weigh what only the end decides."""
        self._inspector.close()

    def _parse(self, data: str) -> dict[str, Any]:
        try:
            body = parse(data.encode())
        except (JSONRefused, UnicodeEncodeError) as error:
            raise UpstreamProtocolError(f"The upstream sent an event that is not valid: {error}") from None
        if type(body) is not dict:
            raise UpstreamProtocolError("The upstream sent an event that is not a JSON object.")
        return body

    def _weigh(self, reading: Reading) -> None:
        for piece in reading.pieces:
            self._inspector.feed(piece.key, piece.target, piece.path, piece.text)
        if reading.texts:
            inspect_response(self._exchange, reading.texts)
        for key in reading.ended:
            self._inspector.close_text(key)


async def _end_with_error(exchange: Exchange, stream: _Stream, refusal: Refusal, *, clean: bool) -> None:
    """Say in the API's words why the stream stops; cut the connection unless the gateway itself decided to stop."""
    exchange.outcome = refusal.outcome
    exchange.error_code = refusal.code
    exchange.reason = refusal.message
    exchange.usage = stream.interpreter.usage
    interpreter = stream.interpreter
    event = stream_event(stream.surface, refusal, exchange.id, interpreter.response_id, interpreter.sequence)
    if clean:
        # The record goes first: a client that sees the block must find it in the console.
        exchange.record()
    await exchange.write(encode_event(event))
    if clean:
        exchange.finish_answer()
    else:
        exchange.abort_answer()
