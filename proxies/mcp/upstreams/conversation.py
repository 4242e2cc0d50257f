"""One channel to a server, its open requests and its streams: messages in, Streamable HTTP answers out."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Final

from proxies import off_loop
from proxies.contract import Limits
from proxies.contract.mcp import ProcessPolicy
from proxies.mcp.messages import (
    METHOD_NOT_FOUND,
    Message,
    MessageRefused,
    error_response,
    parse_message,
    result_response,
)
from proxies.mcp.upstreams.answers import StreamAnswer
from proxies.mcp.upstreams.interface import Channel, ChannelEnded
from proxies.mcp.upstreams.multiplexer import Multiplexer, OpenRequest
from proxies.mcp.upstreams.subscriptions import SUBSCRIBE, UNSUBSCRIBE, Subscriptions
from proxies.mcp.upstreams.task_ids import TaskIds
from proxies.strict_json import JSONRefused, dump, parse
from proxies.transport.errors import (
    UpstreamBusy,
    UpstreamError,
    UpstreamFirstByteTimeout,
    UpstreamProtocolError,
    UpstreamTotalTimeout,
    UpstreamTruncated,
)

logger = logging.getLogger(__name__)

MAX_OPEN_REQUESTS: Final = 1_000
MAX_STREAMS: Final = 16
MAX_BACKLOG_MESSAGES: Final = 256
MAX_BACKLOG_BYTES: Final = 1024 * 1024
MAX_VIOLATIONS: Final = 100
"""Things on the channel that are no message, or that nobody asked for; with the next one the channel is ended (P-01)."""
LOGGED_VIOLATIONS: Final = 3
CANCELLED_SECONDS: Final = 5.0
"""How long a request that its client has cancelled may still be answered."""

_BEYOND_CALLS: Final = frozenset(
    {
        "notifications/prompts/list_changed",
        "notifications/resources/list_changed",
        "notifications/resources/updated",
        "notifications/tools/list_changed",
    }
)
"""Notifications that are never about the request that happens to be open."""


def messages_of(data: bytes) -> list[Message]:
    """The messages in one text; raises `JSONRefused` or `MessageRefused`."""
    value = parse(data)
    return [parse_message(element) for element in (value if type(value) is list else [value])]


class Call:
    """The requests of one POST and what answers them."""

    def __init__(self, on_close: Callable[[Call, bool], None], member: str = "") -> None:
        self.member = member
        """The session of the client, where several have one channel."""
        self.answer = StreamAnswer(lambda ended: on_close(self, ended))
        self.open: dict[int, OpenRequest[Call]] = {}
        self.last_response: Message | None = None
        self.subscribing: dict[int, Message] = {}
        """Subscriptions that the server has not granted yet."""
        self.timer: asyncio.TimerHandle | None = None

    def finish(self, error: UpstreamError | None = None) -> None:
        """Nothing more will come."""
        if self.timer is not None:
            self.timer.cancel()
        if error is not None and self.open:
            self.answer.fail(error)
        else:
            self.answer.end()


class Conversation:
    """`on_end` is called once when the channel carries nothing any more, with the reason."""

    def __init__(
        self,
        channel: Channel,
        *,
        modern: bool,
        limits: Limits,
        name: str,
        on_end: Callable[[Conversation, UpstreamError], None],
        task_ids: TaskIds | None = None,
        process: ProcessPolicy = "session",
    ) -> None:
        """`process` says who is on this side of the channel; of several keys none may hear what is meant for another."""
        self._process = process
        self.modern = modern
        self.answered = False
        """Whether the server has answered anything yet."""
        self._channel = channel
        self._limits = limits
        self._name = name
        self._on_end = on_end
        self._multiplexer: Multiplexer[Call] = Multiplexer(modern=modern, task_ids=task_ids)
        self._subscriptions = None if modern or process == "session" else Subscriptions()
        """Of the sessions, where several have this channel."""
        self._streams: list[StreamAnswer] = []
        self._backlog: deque[bytes] = deque()
        self._backlog_bytes = 0
        self._violations = 0
        self._ended: UpstreamError | None = None
        self._sending = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self.used_at = self._loop.time()
        self._pump = self._loop.create_task(self._run())

    def __repr__(self) -> str:
        return f"<Conversation {self._name} {len(self._multiplexer)} open {'ended' if self._ended else 'live'}>"

    @property
    def live(self) -> bool:
        """Whether the channel still carries messages."""
        return self._ended is None

    @property
    def busy(self) -> bool:
        """Whether a request is open."""
        return len(self._multiplexer) > 0

    @property
    def watched(self) -> bool:
        """Whether a stream of unsolicited messages is open."""
        return bool(self._streams)

    # --- From the client ------------------------------------------------------------------------------------------

    async def call(
        self, messages: Sequence[Message], *, size: int = 0, endless: bool = False, member: str = ""
    ) -> Call:
        """Send messages of which at least one is a request; raises UpstreamError. `size` is that of the text that they
        came in, `member` the session that they belong to."""
        requests = sum(message.kind == "request" for message in messages)
        if len(self._multiplexer) + requests > MAX_OPEN_REQUESTS:
            raise UpstreamBusy("Too many requests to the upstream are open.")
        call = Call(self._reader_left, member)
        if not endless:
            call.timer = self._loop.call_later(self._limits.total_timeout_seconds, self._expire, call)
        try:
            for message in messages:
                if message.kind != "request":
                    await self.tell(message, member, size=size)
                elif not self._answered_here(message, call):
                    opened, sent = self._multiplexer.open(message, call)
                    call.open[opened.wire_id] = opened
                    self._note_subscription(opened, message)
                    await self._send(sent, size)
        except BaseException:
            call.answer.close()
            raise
        if not call.open:
            call.finish()
        return call

    def leave(self, member: str) -> None:
        """One of several sessions is over: what nobody else has subscribed to is not sent any more."""
        if self._subscriptions is None:
            return
        left = self._subscriptions.forget(member)
        if left and self._ended is None:
            self._spawn(self._unsubscribe(left))

    def _answered_here(self, request: Message, call: Call) -> bool:
        """Whether a request has its answer already: the end of a subscription that another session goes on with. Raises
        UpstreamError for a subscription too many."""
        if self._subscriptions is None or request.method not in (SUBSCRIBE, UNSUBSCRIBE):
            return False
        if request.method == SUBSCRIBE:
            if self._subscriptions.full:
                raise UpstreamBusy("Too many resources are subscribed to.")
            return False
        if self._subscriptions.remove(request, call.member):
            return False
        assert request.id is not None  # A request has an id.
        call.last_response = result_response(request.id, {})
        call.answer.put_now(dump(call.last_response.body()))
        return True

    def _note_subscription(self, opened: OpenRequest[Call], request: Message) -> None:
        """A session subscribes, unless the server refuses it."""
        if self._subscriptions is None or request.method != SUBSCRIBE:
            return
        if self._subscriptions.add(request, opened.owner.member):
            opened.owner.subscribing[opened.wire_id] = request

    async def tell(self, message: Message, member: str = "", *, size: int = 0) -> None:
        """Send a notification or a response of the client, from a text of this size; raises UpstreamError."""
        if message.kind == "response":
            await self._send(self._multiplexer.told(message), size)
            return
        cancelled, sent = self._multiplexer.to_server(
            self._multiplexer.told(message), lambda call: call.member == member
        )
        if sent is not None:
            await self._send(sent, size)
        if cancelled is not None:
            self._loop.call_later(CANCELLED_SECONDS, self._give_up, cancelled)

    def watch(self) -> StreamAnswer | None:
        """A stream of what the server says of itself, from what nobody has heard yet; None at the bound."""
        if len(self._streams) >= MAX_STREAMS:
            return None
        stream = StreamAnswer(lambda _ended: self._streams.remove(stream))
        self._streams.append(stream)
        while self._backlog:
            stream.put_now(self._backlog.popleft())
        self._backlog_bytes = 0
        if self._ended is not None:
            stream.end()
        return stream

    async def aclose(self, error: UpstreamError | None = None) -> None:
        """End the channel; what is open fails."""
        self._end(error or UpstreamTruncated("The connection to the upstream was ended by the gateway."))
        self._pump.cancel()
        await self._channel.aclose()

    async def _send(self, message: Message, size: int = 0) -> None:
        """One message after the other: a server that does not read makes its clients wait, not our memory grow."""
        self.used_at = self._loop.time()
        if self._ended is not None:
            raise self._ended
        try:
            async with asyncio.timeout(self._limits.first_byte_timeout_seconds), self._sending:
                await self._channel.send(await off_loop.sized(size, partial(dump, message.body())))
        except TimeoutError as error:
            raise UpstreamFirstByteTimeout("The upstream does not take messages.") from error

    # --- From the server ------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        error: UpstreamError = UpstreamTruncated("The connection to the upstream was lost.")
        try:
            while self._violations <= MAX_VIOLATIONS:
                await self._take(await self._channel.receive())
            error = UpstreamProtocolError("The upstream sent too much that is not a message.")
        except ChannelEnded as ended:
            error = ended.error
        except Exception:
            logger.exception("%s: its messages cannot be handled any more", self._name)
        self._end(error)
        await self._channel.aclose()

    def _end(self, error: UpstreamError) -> None:
        if self._ended is not None:
            return
        self._ended = error
        for request in self._multiplexer.open_requests:
            self._multiplexer.close(request)
            request.owner.finish(error)
        for stream in self._streams:
            stream.end()
        self._on_end(self, error)

    async def _take(self, data: bytes) -> None:
        try:
            messages = await off_loop.sized(len(data), partial(messages_of, data))
        except (JSONRefused, MessageRefused) as error:
            self._violated(f"something that is not a message: {error}")
            return
        for message in messages:
            if message.kind == "response":
                await self._take_response(message, len(data))
            elif message.kind == "request":
                await self._take_request(self._multiplexer.said(message))
            else:
                await self._take_notification(self._multiplexer.said(message))

    async def _take_response(self, message: Message, size: int) -> None:
        found = self._multiplexer.response(message)
        if found is None:
            if not self._multiplexer.was_issued(message.id):
                self._violated("a response to a request that was not made")
            return
        request, answer = found
        call = request.owner
        refused = call.subscribing.pop(request.wire_id, None) if answer.error is not None else None
        if refused is not None and self._subscriptions is not None:
            self._subscriptions.remove(refused, call.member)
        call.last_response = answer
        self.answered = True
        self.used_at = self._loop.time()
        body = await off_loop.sized(size, partial(dump, answer.body()))
        # Only now: whoever is still sending the request takes a call with nothing open for one that is answered.
        call.open.pop(request.wire_id, None)
        if call.open:
            await call.answer.put(body)
            return
        if call.answer.open:
            call.answer.put_now(body)  # Nothing follows that would have to wait for its reader.
        call.finish()

    async def _take_request(self, message: Message) -> None:
        if not self.modern and self._process == "shared":
            assert message.id is not None  # A request has an id.
            reply = error_response(message.id, METHOD_NOT_FOUND, "Several clients share this process.")
            await self._send(result_response(message.id, {}) if message.method == "ping" else reply)
            return
        if not self.modern:
            await self._take_unsolicited(message)
            return
        self._violated("a request, which its protocol version forbids")
        calls = self._open_calls()
        if len(calls) == 1 and self._process != "shared":
            # What the client asked for cannot be trusted to be finished: its gate fails the call (M-12).
            await calls[0].answer.put(dump(message.body()))

    async def _take_notification(self, message: Message) -> None:
        found = self._multiplexer.notification(message)
        if found is not None:
            request, passed = found
            await request.owner.answer.put(dump(passed.body()))
        elif not self._multiplexer.names_a_request(message):
            await self._take_unsolicited(message)

    async def _take_unsolicited(self, message: Message) -> None:
        """Which request a message is about is not said on these channels: it is the only one that is open, or none.

        Of a process that several sessions share everybody hears what changes, and several keys hear nothing else."""
        if self._process != "session" and message.method in _BEYOND_CALLS and not self.modern:
            await self._tell_all(message)
            return
        if self._process == "shared":
            return
        calls = self._open_calls()
        alone = calls[0] if len(calls) == 1 else None
        if self.modern:
            if alone is not None:
                await alone.answer.put(dump(message.body()))
            return
        body = dump(message.body())
        stream = self._streams[-1] if self._streams else None
        first, second = (
            (stream, alone and alone.answer) if message.method in _BEYOND_CALLS else (alone and alone.answer, stream)
        )
        target = first or second or (calls[-1].answer if calls else None)
        if target is not None:
            await target.put(body)
        else:
            self._keep(body)

    async def _tell_all(self, message: Message) -> None:
        if self._process == "shared" and message.method == "notifications/resources/updated":
            return  # Who asked for it is not said.
        body = dump(message.body())
        for stream in tuple(self._streams):
            await stream.put(body)
        if not self._streams and self._process == "key":
            self._keep(body)

    def _open_calls(self) -> list[Call]:
        calls = {id(request.owner): request.owner for request in self._multiplexer.open_requests}
        return [call for call in calls.values() if call.answer.open]

    def _keep(self, body: bytes) -> None:
        """Keep a message until somebody listens; the oldest go when there are too many."""
        self._backlog.append(body)
        self._backlog_bytes += len(body)
        while len(self._backlog) > MAX_BACKLOG_MESSAGES or self._backlog_bytes > MAX_BACKLOG_BYTES:
            self._backlog_bytes -= len(self._backlog.popleft())

    def _violated(self, what: str) -> None:
        self._violations += 1
        if self._violations <= LOGGED_VIOLATIONS:
            logger.warning("%s sent %s", self._name, what)

    # --- Ends -----------------------------------------------------------------------------------------------------

    def _reader_left(self, call: Call, ended: bool) -> None:
        """In the modern era leaving cancels (M-13); in the legacy eras what comes later is dropped (L-11)."""
        if ended or not self.modern:
            return
        for request in tuple(call.open.values()):
            if self._multiplexer.close(request) and self._ended is None:
                self._spawn(self._cancel(request, "The client has left."))
        call.finish()

    def _expire(self, call: Call) -> None:
        error = UpstreamTotalTimeout("The upstream's answer took too long.")
        for request in tuple(call.open.values()):
            if self._multiplexer.close(request) and self._ended is None and request.method != "initialize":
                self._spawn(self._cancel(request, "The answer took too long."))
        call.finish(error)

    def _give_up(self, request: OpenRequest[Call]) -> None:
        """A cancelled request was not answered, which it need not be."""
        if self._multiplexer.close(request):
            call = request.owner
            call.open.pop(request.wire_id, None)
            if not call.open:
                call.finish()

    async def _cancel(self, request: OpenRequest[Call], reason: str) -> None:
        try:
            await self._send(self._multiplexer.cancellation(request, reason))
        except UpstreamError as error:
            logger.debug("%s: a cancellation was not sent: %s", self._name, error.code)

    async def _unsubscribe(self, addresses: Sequence[str]) -> None:
        """Nobody waits for the answers. What another session has subscribed to meanwhile stays."""
        assert self._subscriptions is not None  # Only sessions that share them leave any.
        try:
            for address in addresses:
                if not self._subscriptions.has(address):
                    await self._send(self._multiplexer.unowned(UNSUBSCRIBE, {"uri": address}))
        except UpstreamError as error:
            logger.debug("%s: the end of a subscription was not sent: %s", self._name, error.code)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
