"""Streamable HTTP in front of servers that are reached over channels.

Every legacy session has a channel of its own, since such a server has one session only. The modern requests of a principal
share one, and nobody shares one with another principal (P-04). A modern request meets a server that was asked for
`server/discover` before anything else: an older one might act on what it does not know (E-03).
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, Final
from weakref import WeakValueDictionary

import msgspec

from proxies import off_loop
from proxies.contract import Limits
from proxies.contract.mcp import ProcessPolicy
from proxies.mcp.drain import Answer
from proxies.mcp.eras import META_CAPABILITIES, META_VERSION, MODERN_VERSIONS, VERSION_HEADER, names_modern_version
from proxies.mcp.messages import (
    HEADER_MISMATCH,
    METHOD_NOT_FOUND,
    MISSING_CAPABILITY,
    UNSUPPORTED_VERSION,
    Message,
    error_response,
)
from proxies.mcp.upstream import LAST_EVENT_HEADER, SESSION_HEADER
from proxies.mcp.upstreams.answers import SESSION_GONE, JSONAnswer, LegacyServer, StatusAnswer
from proxies.mcp.upstreams.conversation import Call, Conversation, messages_of
from proxies.mcp.upstreams.interface import Connect
from proxies.mcp.upstreams.seats import PRINCIPAL_SESSION, Seat, SeatBounds, Seats
from proxies.mcp.upstreams.server_log import ServerLog
from proxies.mcp.upstreams.starts import StartsByPrincipal
from proxies.mcp.upstreams.task_ids import TaskIds
from proxies.strict_json import dump
from proxies.transport.errors import UpstreamBusy, UpstreamError, UpstreamFirstByteTimeout, UpstreamUnreachable

logger = logging.getLogger(__name__)

QUIET_SECONDS: Final = 10.0
"""After so long without a message an answer begins as a stream, so that the client is kept waiting by comments."""
DISCOVER_SECONDS: Final = 10.0
LEGACY_VERDICT_SECONDS: Final = 600.0
"""How long a server counts as legacy, before it is asked again: it may have been updated (E-04)."""
SWEEP_SECONDS: Final = 30.0
SESSION_ID_BYTES: Final = 24

_BAD_REQUEST: Final = frozenset({HEADER_MISMATCH, MISSING_CAPABILITY, UNSUPPORTED_VERSION})


class ChannelUpstream:
    """See `interface.Upstream`. `on_problem` hears when `problem` changes."""

    def __init__(
        self,
        connect: Connect,
        *,
        name: str,
        limits: Limits,
        bounds: SeatBounds,
        base_path: str = "",
        on_problem: Callable[[], None] | None = None,
        log: ServerLog | None = None,
        release: Callable[[], Awaitable[None]] | None = None,
        tls_key: Callable[[], str] | None = None,
        process: ProcessPolicy = "session",
    ) -> None:
        """`process` says who shares a channel, where that is a process of ours."""
        self._process = process
        self._members: dict[str, Seat] = {}
        """By session those that share the process of a seat."""
        self.base_path = base_path
        self.log = log
        """What the server writes beside its messages, where we start it ourselves. Only then is it tried less and less often,
        and its failures are those of the proxy: over the network they may be anybody's."""
        self._release = release
        self._tls_key = tls_key
        self._connect = connect
        self._name = name
        self._limits = limits
        self._seats = Seats(bounds)
        self._starts = StartsByPrincipal()
        self._on_problem = on_problem or _nobody
        self._legacy_until = 0.0
        self._opening: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._closed = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._sweep: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<ChannelUpstream {self._name} {len(self._seats)} open>"

    @property
    def tls_key_sha256(self) -> str:
        """See `Upstream`."""
        return self._tls_key() if self._tls_key is not None else ""

    @property
    def problem(self) -> str:
        """See `Upstream`."""
        return self._starts.problem

    @property
    def open_channels(self) -> int:
        """Channels that are open or being opened."""
        return len(self._seats)

    async def request(
        self,
        method: str,
        target: str,
        headers: list[tuple[str, str]],
        body: bytes,
        *,
        principal_id: str = "",
        endless: bool = False,
    ) -> Answer:
        """See `Upstream`."""
        fields = dict(headers)
        session_id = fields.get(SESSION_HEADER, "")
        if method == "POST":
            messages = await off_loop.sized(len(body), partial(messages_of, body))
            if names_modern_version(fields.get(VERSION_HEADER)):
                return await self._post_modern(messages[0], principal_id, size=len(body), endless=endless)
            if messages[0].method == "initialize" and messages[0].kind == "request":
                return await self._initialize(messages[0], principal_id)
            return await self._post_legacy(messages, session_id, size=len(body))
        conversation = self._conversation(session_id)
        if conversation is None:
            return StatusAnswer(405 if not session_id else SESSION_GONE if method == "GET" else 404)
        if method == "DELETE":
            self.forget(session_id)
            return StatusAnswer(204)
        if LAST_EVENT_HEADER in fields:
            return StatusAnswer(400)  # No event of ours has an id, so there is none to resume from.
        return conversation.watch() or StatusAnswer(405)

    def forget(self, session_id: str) -> None:
        """See `Upstream`."""
        shared = self._members.pop(session_id, None)
        if shared is not None and any(seat is shared for seat in self._members.values()):
            if shared.conversation is not None:
                shared.conversation.leave(session_id)
        elif shared is not None:
            self._vacate(shared)
        elif session_id and (seat := self._seats.find(session_id)) is not None:
            self._vacate(seat)

    async def aclose(self) -> None:
        """End every conversation."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        for seat in self._seats:
            self._vacate(seat)
        while self._tasks:
            try:
                await asyncio.wait(self._tasks)
            except asyncio.CancelledError:
                # No patience any more: each of them ends its server at once.
                for task in self._tasks:
                    task.cancel()
                await asyncio.wait(self._tasks)
                raise
        if self._release is not None:
            await self._release()

    # --- Messages -------------------------------------------------------------------------------------------------

    async def _initialize(self, message: Message, principal_id: str) -> Answer:
        if self._process == "session":
            return (await self._opened(message, principal_id))[0]
        owner = principal_id if self._process == "key" else ""
        if self._process == "shared":
            # Nobody can be asked in a process that several keys share, so nobody's client says what it can do.
            message = _without_capabilities(message)
        identity = _identity(message)
        async with self._lock(f"{owner} {identity.hex()}"):
            seat = next((one for one in self._seats if one.principal_id == owner and one.identity == identity), None)
            if seat is None or seat.opening is None:
                answer, seat = await self._opened(message, owner)
                if seat is None or seat.opening is None:
                    return answer
                seat.identity = identity
                if self._process == "shared":
                    seat.opening = _without_subscriptions(seat.opening)
        assert seat.opening is not None
        session_id = secrets.token_urlsafe(SESSION_ID_BYTES)
        self._members[session_id] = seat
        body = msgspec.structs.replace(seat.opening, id=message.id).body()
        return JSONAnswer(200, dump(body), [(SESSION_HEADER, session_id)])

    async def _opened(self, message: Message, principal_id: str) -> tuple[Answer, Seat | None]:
        """A session with a channel of its own, and its seat where the server has opened it; raises UpstreamError."""
        session_id = secrets.token_urlsafe(SESSION_ID_BYTES)
        seat = await self._open(principal_id, session_id, modern=False)
        conversation = seat.conversation
        assert conversation is not None
        kept = False
        try:
            call = await conversation.call([message])
            if not await call.answer.ended(self._limits.first_byte_timeout_seconds):
                raise UpstreamFirstByteTimeout("The upstream did not answer initialize in time.")
            answer = call.last_response
            if answer is None:
                raise UpstreamUnreachable("The upstream did not answer initialize.")
            kept = answer.error is None
        except UpstreamError as error:
            self._note_failure(principal_id, error)
            raise
        finally:
            if not kept:
                self._vacate(seat)
        self._note_success(principal_id)
        seat.opening = answer
        headers = [(SESSION_HEADER, session_id)] if kept else None
        return JSONAnswer(200, dump(answer.body()), headers), seat if kept else None

    async def _post_legacy(self, messages: list[Message], session_id: str, *, size: int) -> Answer:
        conversation = self._conversation(session_id)
        if conversation is None:
            return StatusAnswer(404 if session_id else 400)
        if not any(message.kind == "request" for message in messages):
            for message in messages:
                if self._is_first_to_say(message, session_id):
                    await conversation.tell(message, session_id, size=size)
            return StatusAnswer(202)
        return await _answer(await conversation.call(messages, size=size, member=session_id), modern=False)

    def _is_first_to_say(self, message: Message, session_id: str) -> bool:
        """A process is told once that its client has initialized, however many sessions it has."""
        seat = self._members.get(session_id)
        if seat is None or message.method != "notifications/initialized":
            return True
        was_told, seat.was_told = seat.was_told, True
        return not was_told

    async def _post_modern(self, message: Message, principal_id: str, *, size: int, endless: bool) -> Answer:
        if message.kind != "request":
            return StatusAnswer(202)
        conversation = await self._modern(principal_id)
        if conversation is None:
            error = error_response(message.id, METHOD_NOT_FOUND, "The server speaks a legacy protocol version.")
            return LegacyServer(400, dump(error.body()))
        return await _answer(await conversation.call([message], size=size, endless=endless), modern=True)

    def _conversation(self, session_id: str) -> Conversation | None:
        seat = (self._members.get(session_id) or self._seats.find(session_id)) if session_id else None
        return seat.conversation if seat is not None else None

    # --- Channels -------------------------------------------------------------------------------------------------

    async def _modern(self, principal_id: str) -> Conversation | None:
        """The conversation of a principal's modern requests; None when the server is of another era."""
        if self._process == "shared":
            principal_id = ""
        async with self._lock(principal_id):
            seat = self._seats.find(PRINCIPAL_SESSION, principal_id)
            if seat is not None and seat.conversation is not None:
                return seat.conversation
            if asyncio.get_running_loop().time() < self._legacy_until:
                return None
            seat = await self._open(principal_id, PRINCIPAL_SESSION, modern=True)
            return await self._probed(seat)

    def _lock(self, name: str) -> asyncio.Lock:
        """One for each name; whoever waits for it keeps it alive."""
        lock = self._opening.get(name) or asyncio.Lock()
        self._opening[name] = lock
        return lock

    async def _probed(self, seat: Seat) -> Conversation | None:
        conversation, principal_id = seat.conversation, seat.principal_id
        assert conversation is not None
        is_modern = False
        try:
            call = await conversation.call([_DISCOVER])
            await call.answer.ended(DISCOVER_SECONDS)
            is_modern = call.last_response is not None and _speaks_modern(call.last_response)
            call.answer.close()
        except UpstreamError as error:
            self._note_failure(principal_id, error)
            raise
        finally:
            if not is_modern:
                self._vacate(seat)
        if not is_modern:
            self._legacy_until = asyncio.get_running_loop().time() + LEGACY_VERDICT_SECONDS
            return None
        self._note_success(principal_id)
        return conversation

    async def _open(self, principal_id: str, session_id: str, *, modern: bool) -> Seat:
        """A seat with a live conversation; raises UpstreamError."""
        loop = asyncio.get_running_loop()
        if self._closed:
            raise UpstreamUnreachable("The gateway lets go of this upstream.")
        if (wait_seconds := self._starts.wait_seconds(principal_id, loop.time())) > 0:
            raise UpstreamUnreachable(
                f"{self._starts.problem} It is tried again in {wait_seconds:.0f} s.", code="upstream_not_started"
            )
        seat, vacated = self._seats.take(principal_id, session_id, loop.time())
        if seat is None:
            raise UpstreamBusy("All sessions that the upstream may have are in use.")
        if vacated is not None:
            self._forget_members(vacated)
            self._end(vacated)
        try:
            channel = await self._connect()
        except UpstreamError as error:
            self._seats.leave(seat)
            self._note_failure(principal_id, error)
            raise
        except BaseException:
            self._seats.leave(seat)
            raise
        seat.conversation = Conversation(
            channel,
            modern=modern,
            limits=self._limits,
            name=self._name,
            on_end=self._conversation_ended,
            # A server of ours is another one in each process; in the network it is the same one behind all channels.
            task_ids=TaskIds() if self.log is not None else None,
            process=self._process,
        )
        if self._sweep is None:
            self._sweep = loop.call_later(SWEEP_SECONDS, self._end_idle)
        return seat

    def _vacate(self, seat: Seat) -> None:
        if self._seats.leave(seat):
            self._forget_members(seat)
            self._end(seat)

    def _end(self, seat: Seat) -> None:
        if seat.conversation is not None:
            self._spawn(seat.conversation.aclose())

    def _conversation_ended(self, conversation: Conversation, error: UpstreamError) -> None:
        for seat in self._seats:
            if seat.conversation is conversation:
                self._forget_members(seat)
        self._seats.leave_with(conversation)

    def _forget_members(self, seat: Seat) -> None:
        for session_id, theirs in tuple(self._members.items()):
            if theirs is seat:
                del self._members[session_id]

    def _end_idle(self) -> None:
        loop = asyncio.get_running_loop()
        for seat in self._seats.idle(loop.time()):
            self._vacate(seat)
        self._sweep = loop.call_later(SWEEP_SECONDS, self._end_idle) if len(self._seats) else None

    # --- What is known --------------------------------------------------------------------------------------------

    def _note_failure(self, principal_id: str, error: UpstreamError) -> None:
        if isinstance(error, UpstreamBusy) or self._closed or self.log is None:
            return
        self._starts.failed(principal_id, error.message, asyncio.get_running_loop().time())
        logger.warning("%s: %s", self._name, error.detail or error.message)
        self._on_problem()

    def _note_success(self, principal_id: str) -> None:
        had_problem = bool(self._starts.problem)
        self._starts.succeeded(principal_id)
        if had_problem:
            self._on_problem()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


_DISCOVER: Final = Message(
    kind="request",
    id=0,
    method="server/discover",
    params={
        "_meta": {
            META_VERSION: MODERN_VERSIONS[-1],
            META_CAPABILITIES: {},
            "io.modelcontextprotocol/clientInfo": {"name": "ostiary", "version": "1"},
        }
    },
)


def _identity(message: Message) -> bytes:
    """What decides how a server treats its client: the version and what the client can do."""
    params = message.params or {}
    return hashlib.sha256(dump([params.get("protocolVersion"), params.get("capabilities")])).digest()


def _without_capabilities(message: Message) -> Message:
    params = {**(message.params or {}), "capabilities": {}, "clientInfo": {"name": "ostiary", "version": "1"}}
    return msgspec.structs.replace(message, params=params)


def _without_subscriptions(opening: Message) -> Message:
    """Whose subscription an update is about is not said, so that several keys cannot have any."""
    result = opening.result or {}
    capabilities = result.get("capabilities")
    resources = capabilities.get("resources") if type(capabilities) is dict else None
    if type(capabilities) is not dict or type(resources) is not dict:
        return opening
    kept = {name: value for name, value in resources.items() if name != "subscribe"}
    return msgspec.structs.replace(opening, result={**result, "capabilities": {**capabilities, "resources": kept}})


def _speaks_modern(answer: Message) -> bool:
    """Whether the answer to `server/discover` is one of the modern era: a result, or that the version is not right."""
    return answer.error is None or answer.error["code"] == UNSUPPORTED_VERSION


async def _answer(call: Call, *, modern: bool) -> Answer:
    """The answer to a call, once it can be told which form it has."""
    try:
        await call.answer.begun(QUIET_SECONDS)
    except BaseException:
        call.answer.close()
        raise
    if not call.answer.is_single or call.last_response is None:
        return call.answer
    error = call.last_response.error
    status = 200
    if modern and error is not None:
        status = 400 if error["code"] in _BAD_REQUEST else 404 if error["code"] == METHOD_NOT_FOUND else 200
    body = call.answer.take()
    call.answer.close()
    return JSONAnswer(status, body)


def _nobody() -> None:
    pass
