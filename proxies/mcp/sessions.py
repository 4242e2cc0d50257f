"""Legacy sessions: ours towards the client, the upstream's behind it (L-01..L-03). In worker memory, bounded.

A client never sees the upstream's session id. A session belongs to one proxy and one principal; for everybody else it
does not exist. When the worker is replaced its sessions are gone: the client gets 404 and initializes anew, which every
client does.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Final, Protocol

from proxies.conversation import RecentFindings
from proxies.mcp.control.server import ControlledServer
from proxies.mcp.drain import Answer
from proxies.mcp.messages import MessageId
from rules.masking.session import MaskingSession

SESSION_ID_BYTES: Final = 24
MAX_SESSIONS: Final = 20_000
MAX_SESSIONS_PER_PRINCIPAL: Final = 1_000
IDLE_SECONDS: Final = 3600.0
MAX_OPEN_REQUESTS: Final = 1_000

IdTable = dict[tuple[type, MessageId], str]
"""Open requests: method by typed id, because the ids 1 and "1" differ in JSON-RPC."""


class OwnStream(Protocol):
    """What a session needs of its own stream."""

    async def attach(self) -> Answer | None:
        """The server's stream for the client, or None where it has to be asked for."""

    def stop(self) -> None:
        """The session is over."""


class Session:
    """One client's legacy session on one proxy."""

    __slots__ = (
        "called_tools",
        "capabilities",
        "client_requests",
        "controlled",
        "enders",
        "event_key",
        "id",
        "masking",
        "offered_notices",
        "on_close",
        "own_stream",
        "principal_id",
        "proxy_id",
        "recent_findings",
        "server_requests",
        "upstream_id",
        "used_at",
        "version",
        "was_claimed",
    )

    def __init__(
        self,
        *,
        proxy_id: str,
        principal_id: str,
        upstream_id: str | None,
        version: str,
        capabilities: frozenset[str],
        used_at: float,
    ) -> None:
        self.id = secrets.token_urlsafe(SESSION_ID_BYTES)
        self.event_key = secrets.token_bytes(32)
        """Signs the event ids that this session's client sees (L-09)."""
        self.proxy_id = proxy_id
        self.principal_id = principal_id
        self.upstream_id = upstream_id
        self.version = version
        """Negotiated with the upstream."""
        self.capabilities = capabilities
        """Names of the capabilities that the client declared: what the server may ask it for (L-12)."""
        self.client_requests: IdTable = {}
        """Requests without an answer yet: what may still arrive on a resumed stream (L-09)."""
        self.called_tools: IdTable = {}
        """The tools of those requests that call one, by the same ids."""
        self.server_requests: IdTable = {}
        """Server requests that the client has not answered yet (L-12)."""
        self.controlled: ControlledServer | None = None
        """What is known of the server on the other leg."""
        self.offered_notices: frozenset[str] = frozenset()
        """The `list_changed` notifications that the server declared: only these are expected by the client."""
        self.own_stream: OwnStream | None = None
        """The gateway's ear on the server, whether the client listens or not (L-08)."""
        self.masking: MaskingSession | None = None
        """What was masked in it towards the server, to be put back into whatever the server says."""
        self.recent_findings = RecentFindings()
        """What was found in its last messages: signals of one conversation."""
        self.enders: set[Callable[[], None]] = set()
        """What ends the streams that are open now; they hold the session while it is idle otherwise."""
        self.on_close: Callable[[], None] | None = None
        """Tells the upstream that its session has lost its client."""
        self.used_at = used_at
        self.was_claimed = False
        """Whether another principal has presented its id."""

    def __repr__(self) -> str:
        # The id is a bearer of the session's state: it is never shown.
        return f"<Session proxy={self.proxy_id} principal={self.principal_id} {self.version}>"


def remember(table: IdTable, id: MessageId, method: str) -> None:
    """Note an open request. At the bound the oldest is forgotten: an answer to it will not pass any more."""
    if len(table) >= MAX_OPEN_REQUESTS:
        del table[next(iter(table))]
    table[type(id), id] = method


def take(table: IdTable, id: MessageId | None) -> str | None:
    """Close an open request; its method, or None for an id that was never opened or is closed already."""
    return None if id is None else table.pop((type(id), id), None)


class SessionStore:
    """The sessions of this worker by id, least recently used first."""

    def __init__(
        self,
        *,
        max_sessions: int = MAX_SESSIONS,
        max_per_principal: int = MAX_SESSIONS_PER_PRINCIPAL,
        idle_seconds: float = IDLE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_sessions = max_sessions
        self._max_per_principal = max_per_principal
        self._idle_seconds = idle_seconds
        self._clock = clock
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._per_principal: Counter[tuple[str, str]] = Counter()

    def __len__(self) -> int:
        return len(self._sessions)

    def open(
        self, *, proxy_id: str, principal_id: str, upstream_id: str | None, version: str, capabilities: frozenset[str]
    ) -> Session:
        """A new session. At a bound the least recently used one goes, the principal's own before anybody else's."""
        self._expire()
        owner = (proxy_id, principal_id)
        if self._per_principal[owner] >= self._max_per_principal:
            oldest = next(s for s in self._sessions.values() if (s.proxy_id, s.principal_id) == owner)
            self.close(oldest)
        elif len(self._sessions) >= self._max_sessions:
            self.close(next(iter(self._sessions.values())))
        session = Session(
            proxy_id=proxy_id,
            principal_id=principal_id,
            upstream_id=upstream_id,
            version=version,
            capabilities=capabilities,
            used_at=self._clock(),
        )
        self._sessions[session.id] = session
        self._per_principal[owner] += 1
        return session

    def find(self, id: str, *, proxy_id: str, principal_id: str) -> Session | None:
        """The live session of exactly this proxy and principal, or None without saying why (L-01)."""
        self._expire()
        session = self._sessions.get(id)
        if session is None or session.proxy_id != proxy_id or session.principal_id != principal_id:
            return None
        session.used_at = self._clock()
        self._sessions.move_to_end(id)
        return session

    def take_claim(self, id: str, principal_id: str) -> bool:
        """Whether this is the session of another principal, whose id somebody presents for the first time (L-01)."""
        session = self._sessions.get(id)
        if session is None or session.principal_id == principal_id or session.was_claimed:
            return False
        session.was_claimed = True
        return True

    def close(self, session: Session) -> None:
        """Forget a session and end its streams (L-13); harmless when it is gone already."""
        if self._sessions.pop(session.id, None) is None:
            return
        if session.own_stream is not None:
            session.own_stream.stop()
        for end in tuple(session.enders):
            end()
        if session.on_close is not None:
            session.on_close()
        owner = (session.proxy_id, session.principal_id)
        self._per_principal[owner] -= 1
        if not self._per_principal[owner]:
            del self._per_principal[owner]

    def _expire(self) -> None:
        oldest_allowed = self._clock() - self._idle_seconds
        while self._sessions:
            session = next(iter(self._sessions.values()))
            if session.used_at > oldest_allowed:
                return
            if session.enders:
                session.used_at = self._clock()
                self._sessions.move_to_end(session.id)
            else:
                self.close(session)
