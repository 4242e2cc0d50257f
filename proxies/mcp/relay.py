"""Relays an upstream's event stream: every message parsed, shown to the gate, written anew; the end is always explicit.

A client never mistakes a broken stream for an answer: each request that is still open when the stream cannot go on gets a
JSON-RPC error as the last events (D-02, M-13), or the connection is cut where there is no request to answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import Final

from proxies import off_loop
from proxies.exchange import Exchange
from proxies.keepalive import KeepAlive
from proxies.mcp.denials import denial
from proxies.mcp.drain import Answer
from proxies.mcp.eras import PRIMING_SINCE
from proxies.mcp.event_ids import seal
from proxies.mcp.gates import Gate
from proxies.mcp.media_types import STREAM_HEADERS
from proxies.mcp.messages import Message
from proxies.mcp.refusals import upstream_invalid
from proxies.mcp.sessions import Session
from proxies.mcp.upstream import messages_in
from proxies.mcp.upstream_events import events
from proxies.refusal import Refusal
from proxies.strict_json import dump
from proxies.transport.errors import UpstreamError, UpstreamIdleTimeout, UpstreamTotalTimeout
from proxies.transport.sse import SSEEvent, encode_event

MAX_RETRY_MS: Final = 600_000

Reply = Callable[[Message], Awaitable[None]]
"""Sends a message to the upstream on the client's behalf."""


async def relay(
    exchange: Exchange,
    upstream: Answer,
    gate: Gate,
    *,
    session: Session | None = None,
    reply: Reply | None = None,
    first: tuple[Message, ...] = (),
    endless: bool = False,
) -> bool:
    """Relay a stream until the gate is done or it ends. `first` goes to the client before anything else.

    With a `session` (legacy) event ids and priming events go on, so that the client can resume. An `endless` stream also
    ends, cleanly, when the listener drains or its session ends. True when the gate was done, so that only the rest of
    the upstream's stream is left to read.
    """
    exchange.start_answer(200, STREAM_HEADERS)
    stream = _Stream(exchange, gate, session, reply)
    interruption = _Interruption(exchange, session) if endless else None
    notices = _Notices(exchange, gate, stream) if endless else None
    try:
        if first:
            await stream.write(b"".join(encode_event(_event(message)) for message in first))
        async with aclosing(events(exchange, upstream)) as received:
            async for event in received:
                await stream.take(event)
                if gate.done:
                    return True
        stream.check_end()
    except Refusal as refusal:
        await stream.end(refusal)
    except UpstreamError as error:
        await stream.end_on(error)
    except asyncio.CancelledError:
        if interruption is None or not interruption.taken_back():
            raise
        # It was waiting for the next message, for hours perhaps.
        exchange.lap("upstream", waiting=True)
        await stream.say_farewell()
    else:
        stream.note_dropped()
        exchange.finish_answer()
    finally:
        stream.keepalive.stop()
        if notices is not None:
            notices.stop()
        if interruption is not None:
            interruption.forget()
    return False


async def answer_on_stream(exchange: Exchange, message: Message) -> None:
    """Send one message as a whole stream. The record goes first: what the client saw complete is never lost."""
    exchange.start_answer(200, STREAM_HEADERS)
    data = encode_event(_event(message))
    exchange.response_bytes += len(data)
    exchange.record()
    await exchange.response.write(data)
    exchange.finish_answer()


class _Interruption:
    """Interrupts the task that relays an endless stream when the listener drains or the session ends."""

    def __init__(self, exchange: Exchange, session: Session | None) -> None:
        self._task = asyncio.current_task()
        self._session = session
        self._asked = False
        if session is not None:
            session.enders.add(self._interrupt)
        exchange.response.end_on_drain(self._interrupt)

    def forget(self) -> None:
        """The stream is over."""
        if self._session is not None:
            self._session.enders.discard(self._interrupt)

    def _interrupt(self) -> None:
        if self._task is not None and not self._asked:
            self._asked = True
            self._task.cancel()

    def taken_back(self) -> bool:
        """Whether the cancellation was ours alone, and is now undone; not so when the client has left as well."""
        return self._asked and self._task is not None and self._task.uncancel() == 0


class _Notices:
    """What the gateway itself has to say on an endless stream (`control.notices.Listener`)."""

    def __init__(self, exchange: Exchange, gate: Gate, stream: _Stream) -> None:
        self.key_id = exchange.principal.id
        self._gate = gate
        self._stream = stream
        self._waiting: dict[str, Message] = {}
        """By method: a client that reads slowly is told once."""
        self._task: asyncio.Task[None] | None = None
        self._controlled = exchange.proxy.controlled
        if self._controlled is not None:
            self._controlled.listeners.add(self)

    def tell(self, method: str) -> None:
        """See `Listener`."""
        message = self._gate.notice(method)
        if message is None:
            return
        self._waiting[method] = message
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._send())

    def stop(self) -> None:
        """The stream is over."""
        if self._controlled is not None:
            self._controlled.listeners.discard(self)
        if self._task is not None:
            self._task.cancel()

    async def _send(self) -> None:
        try:
            while self._waiting:
                # Whole events are written at once: this one cannot split another.
                await self._stream.write(encode_event(_event(self._waiting.pop(next(iter(self._waiting))))))
        except ConnectionResetError:
            self._waiting.clear()


class _Stream:
    """The client's side of one relayed stream."""

    def __init__(self, exchange: Exchange, gate: Gate, session: Session | None, reply: Reply | None) -> None:
        self._exchange = exchange
        self._gate = gate
        self._session = session
        self._reply = reply
        self._resumable = False
        self.keepalive = KeepAlive(exchange)

    async def take(self, event: SSEEvent) -> None:
        """Pass one event through the gate; raises `Refusal`."""
        id = self._sealed(event)
        if not event.data:
            await self._prime(event, id)
            return
        size = len(event.data)
        passed: list[Message] = []
        try:
            for message in await messages_in(event.data, allow_batch=self._gate.allow_batches):
                if kept := await self._gate.take(message, size):
                    passed.append(kept)
        finally:
            # What passed before a refusal still goes out, and whoever waits upstream gets its reply.
            await self._send_replies()
            if passed:
                await self._send(passed, id, size)

    def check_end(self) -> None:
        """The upstream ended its stream: fine where nobody waits, or where the client can resume (L-10)."""
        if self._gate.unanswered() and not self._resumable:
            raise upstream_invalid("The upstream ended its answer before the response.")

    async def end(self, refusal: Refusal) -> None:
        """Answer what is still open with the refusal and end the stream (D-02)."""
        exchange = self._exchange
        exchange.outcome = refusal.outcome
        exchange.error_code = refusal.code
        exchange.reason = refusal.message
        open_ids = self._gate.unanswered()
        if not open_ids:
            exchange.abort_answer()
            return
        exchange.truncated = refusal.outcome == "upstream_error"
        denials = [denial(exchange, id, refusal, self._gate.method_of(id)) for id in open_ids]
        last = b"".join([encode_event(_event(message)) for message in denials])
        await self._finish(last)

    async def end_on(self, error: UpstreamError) -> None:
        """End the stream for a failure of the upstream."""
        if not self._gate.unanswered() and isinstance(error, UpstreamIdleTimeout | UpstreamTotalTimeout):
            # Nobody waits on this stream and its time is over: the client opens the next one.
            self.note_dropped()
            self._exchange.finish_answer()
            return
        await self.end(Refusal(error.status, error.code, error.message, outcome="upstream_error"))

    async def say_farewell(self) -> None:
        """End a stream that the upstream would have kept open."""
        # Nothing more where the upstream's own last message was just being sent.
        last = self._gate.farewell() if self._gate.unanswered() else None
        await self._finish(encode_event(_event(last)) if last is not None else b"")

    def note_dropped(self) -> None:
        """Say in the record that the client did not get everything."""
        if self._gate.dropped and not self._exchange.reason:
            self._exchange.reason = f"Dropped {self._gate.dropped} messages of the upstream that may not pass."

    async def write(self, data: bytes) -> None:
        """Send whole events."""
        self.keepalive.touch()
        await self._exchange.write(data)
        self._exchange.lap("downstream", waiting=True)

    async def _send(self, messages: list[Message], id: str | None, size: int) -> None:
        data = await off_loop.sized(size, partial(_written, messages, id))
        if self._gate.done:
            await self._finish(data)
        else:
            await self.write(data)

    async def _finish(self, data: bytes) -> None:
        """The last events. The record goes first: what the client saw complete is never lost."""
        self.keepalive.stop()
        self.note_dropped()
        self._exchange.response_bytes += len(data)
        self._exchange.record()
        await self._exchange.response.write(data)
        self._exchange.finish_answer()

    async def _prime(self, event: SSEEvent, id: str | None) -> None:
        """An event without data gives the client an id to resume from; older clients choke on it (L-10)."""
        if id is None or self._session is None or self._session.version < PRIMING_SINCE:
            return
        retry = event.retry if event.retry is not None and 0 <= event.retry <= MAX_RETRY_MS else None
        await self.write(encode_event(SSEEvent(event=None, data="", id=id, retry=retry)))

    def _sealed(self, event: SSEEvent) -> str | None:
        if self._session is None or not event.id:
            return None
        self._resumable = True
        return seal(self._session.event_key, event.id)

    async def _send_replies(self) -> None:
        replies, self._gate.replies = self._gate.replies, []
        for message in replies:
            if self._reply is not None:
                await self._reply(message)


def _written(messages: list[Message], id: str | None) -> bytes:
    """Messages as they are sent; the last one carries the id."""
    rendered = [_event(message) for message in messages]
    rendered[-1] = _event(messages[-1], id)
    return b"".join(map(encode_event, rendered))


def _event(message: Message, id: str | None = None) -> SSEEvent:
    return SSEEvent(event="message", data=dump(message.body()).decode(), id=id, retry=None)
