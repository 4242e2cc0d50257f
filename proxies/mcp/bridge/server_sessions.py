"""The sessions that the bridge has with a legacy server on behalf of modern clients, who have none."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any, Final, Protocol

from proxies.mcp.bridge.leg import Fields, RefusedByStatus, ServerLeg
from proxies.mcp.eras import LATEST_LEGACY, LEGACY_VERSIONS
from proxies.mcp.messages import Message
from proxies.mcp.methods import INPUT_REQUESTS, SERVER_REQUESTS
from proxies.mcp.texts import TRACE_HEADERS
from proxies.mcp.upstream import SESSION_HEADER
from proxies.strict_json import dump
from proxies.transport.errors import UpstreamBusy, UpstreamError, UpstreamProtocolError

logger = logging.getLogger(__name__)

MAX_SESSIONS: Final = 1_000
MAX_SESSIONS_PER_PRINCIPAL: Final = 16
"""What clients declare decides how many a principal has, so that it must not decide for the others."""
IDLE_SECONDS: Final = 1_800.0


class Asked(Protocol):
    """An open call whose client can be asked."""

    def ask(self, question: Message) -> None:
        """Ask it, within that call."""


class ServerSession:
    """One session with the server: of one principal, with the capabilities that its client declares."""

    def __init__(
        self,
        principal_id: str,
        id: str | None,
        initialized: dict[str, Any],
        used_at: float,
        fields: Fields,
        *,
        asks: bool = False,
    ) -> None:
        self.principal_id = principal_id
        self.id = id
        self.fields = fields
        """What goes with a message of ours: the credential of its own principal, nobody's trace."""
        self.initialized = initialized
        """The server's initialize result."""
        self.version = str(initialized["protocolVersion"])
        declared = initialized.get("capabilities")
        self.capabilities: dict[str, Any] = declared if type(declared) is dict else {}
        self.log_level: str | None = None
        self.subscribed: Counter[str] = Counter()
        """How many subscriptions want to hear of a resource."""
        self.busy = 0
        """Calls and subscriptions that hold it."""
        self.calls: list[Asked] = []
        """Those of its calls in which the client can be asked something."""
        self.used_at = used_at
        self._asks = asks
        self._last_id = 0

    @property
    def asks(self) -> bool:
        """Whether its server was told of anything that it may ask a client for."""
        return self._asks

    def next_id(self) -> int:
        """An id for a request of ours: modern clients share the session and choose their ids freely."""
        self._last_id += 1
        return self._last_id

    def __repr__(self) -> str:
        return f"<ServerSession {self.version} busy={self.busy}>"


class ServerSessions:
    """They are opened when they are needed, and ended when nobody has used them for a while."""

    def __init__(
        self,
        leg: ServerLeg,
        clock: Callable[[], float] = time.monotonic,
        *,
        on_end: Callable[[ServerSession], None] = lambda session: None,
    ) -> None:
        """`on_end` is called with every session that is over."""
        self._leg = leg
        self._on_end = on_end
        self._clock = clock
        self._sessions: OrderedDict[tuple[str, bytes], ServerSession] = OrderedDict()
        self._opening: dict[tuple[str, bytes], asyncio.Lock] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._sessions)

    async def session(
        self, fields: Fields, principal_id: str, capabilities: dict[str, Any], client_info: Any
    ) -> ServerSession:
        """The session for a request with these capabilities; raises UpstreamError."""
        self._expire()
        key = (principal_id, hashlib.sha256(dump(capabilities)).digest())
        lock = self._opening.setdefault(key, asyncio.Lock())
        try:
            async with lock:
                session = self._sessions.get(key)
                if session is None:
                    self._make_room(principal_id)
                    session = await self._open(fields, principal_id, capabilities, client_info)
                    self._sessions[key] = session
                self._sessions.move_to_end(key)
                session.used_at = self._clock()
                session.fields = _untraced(fields)
                return session
        finally:
            if not lock.locked():
                self._opening.pop(key, None)

    def lost(self, session: ServerSession) -> None:
        """The server does not know it any more."""
        for key, known in tuple(self._sessions.items()):
            if known is session:
                del self._sessions[key]
                self._on_end(session)

    def close(self) -> None:
        """End all of them."""
        for key in tuple(self._sessions):
            self._end(key)

    async def settle(self, seconds: float) -> None:
        """Wait until those that were ended are ended at the server too."""
        if self._tasks:
            _, left = await asyncio.wait(self._tasks, timeout=seconds)
            for task in left:
                task.cancel()

    async def _open(
        self, fields: Fields, principal_id: str, capabilities: dict[str, Any], client_info: Any
    ) -> ServerSession:
        params = {
            "protocolVersion": LATEST_LEGACY,
            "capabilities": capabilities,
            "clientInfo": client_info if type(client_info) is dict else {"name": "ostiary", "version": "1"},
        }
        request = Message(kind="request", id=0, method="initialize", params=params)
        answer = await self._leg.legacy(fields, request, principal_id=principal_id, session_id=None, version="")
        session_id = answer.headers.get(SESSION_HEADER)
        if answer.status != 200:
            answer.close()
            raise RefusedByStatus(answer.status)
        response = await self._leg.response_to(answer, request)
        result = response.result if response is not None else None
        if result is None or result.get("protocolVersion") not in LEGACY_VERSIONS:
            raise UpstreamProtocolError("The upstream did not accept a session of a version that the gateway speaks.")
        session = ServerSession(
            principal_id, session_id, result, self._clock(), _untraced(fields), asks=_asks(capabilities)
        )
        initialized = Message(kind="notification", method="notifications/initialized")
        accepted = await self._leg.legacy(
            fields, initialized, principal_id=principal_id, session_id=session.id, version=session.version
        )
        accepted.close()
        return session

    def _expire(self) -> None:
        oldest_allowed = self._clock() - IDLE_SECONDS
        for key, session in tuple(self._sessions.items()):
            if session.used_at > oldest_allowed:
                return
            if not session.busy:
                self._end(key)

    def _make_room(self, principal_id: str) -> None:
        """End the least recently used session at a bound, a principal's own first, but none that somebody uses; raises
        UpstreamBusy where there is none."""
        own = [key for key in self._sessions if key[0] == principal_id]
        coming = sum(key[0] == principal_id and key not in self._sessions for key in self._opening) - 1
        is_full = len(own) + coming >= MAX_SESSIONS_PER_PRINCIPAL
        if not is_full and len(self._sessions) < MAX_SESSIONS:
            return
        of_whom = own if is_full else list(self._sessions)
        for key in of_whom:
            if not self._sessions[key].busy:
                self._end(key)
                return
        raise UpstreamBusy("All sessions with the upstream are in use.")

    def _end(self, key: tuple[str, bytes]) -> None:
        session = self._sessions.pop(key)
        self._on_end(session)
        if session.id is not None:
            task = asyncio.get_running_loop().create_task(self._say_goodbye(session, session.id))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _say_goodbye(self, session: ServerSession, session_id: str) -> None:
        try:
            await self._leg.legacy_end(
                session.fields, principal_id=session.principal_id, session_id=session_id, version=session.version
            )
        except UpstreamError as error:
            logger.debug("a session could not be ended at its server: %s", error.code)


def _asks(capabilities: dict[str, Any]) -> bool:
    return any(SERVER_REQUESTS[method] in capabilities for method in INPUT_REQUESTS)


def _untraced(fields: Fields) -> Fields:
    return [field for field in fields if field[0] not in TRACE_HEADERS]
