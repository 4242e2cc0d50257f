"""The connections of one proxy to its upstream: made on demand, kept alive, reused last-in first-out.

    pool = UpstreamPool("https://api.example.com/base", limits, tls.upstream_context())
    response = await pool.request("POST", "/v1/chat", headers, body)
    data = await response.read(limits.max_response_bytes)

Redirects are not followed, and a request is sent at most once, except that an
idempotent one is repeated when a reused connection turns out to be dead before any byte of an answer (HTTP-20).
"""

from __future__ import annotations

import asyncio
import math
import ssl
from collections import deque

from proxies.contract import Limits, UpstreamProxy
from proxies.egress_policy import Origin, parse_target, refused_address
from proxies.transport.breaker import Breaker
from proxies.transport.client_connection import LostBeforeAnswer, UpstreamConnection
from proxies.transport.dialler import Dialler
from proxies.transport.egress import EgressPolicy
from proxies.transport.errors import (
    UpstreamBusy,
    UpstreamCircuitOpen,
    UpstreamConnectTimeout,
    UpstreamError,
    UpstreamProxyError,
)
from proxies.transport.headers import encode_fields
from proxies.transport.limits import DEFAULT_BOUNDS, Bounds
from proxies.transport.upstream_response import UpstreamResponse
from proxies.transport.via import via_value

__all__ = ["UpstreamPool", "UpstreamResponse"]

# The pool frames the message and asks for a readable answer: a caller's own idea of these is dropped.
_POOL_FIELDS = frozenset(
    {"accept-encoding", "connection", "content-length", "expect", "host", "te", "transfer-encoding", "upgrade"}
)
_METHODS_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


class UpstreamPool:
    """Belongs to one proxy and one origin; signs each request with that proxy's pseudonym (`via`), if it is given.
    `authority` stands in Host in place of the target's own: a scan asks what a server does with a foreign name.
    Raises egress_policy.BadTarget for an unusable URL."""

    def __init__(
        self,
        target_url: str,
        limits: Limits,
        tls: ssl.SSLContext | None,
        *,
        signature: str = "",
        proxy: UpstreamProxy | None = None,
        egress: EgressPolicy = refused_address,
        bounds: Bounds = DEFAULT_BOUNDS,
        authority: str = "",
    ) -> None:
        self.origin: Origin = parse_target(target_url)
        if self.origin.is_tls and tls is None:
            raise ValueError("an https target needs a TLS context")
        self._limits = limits
        self._bounds = bounds
        self._dialler = Dialler(self.origin, tls, proxy=proxy, egress=egress, bounds=bounds)
        self.tunnels = Dialler(self.origin, tls, proxy=proxy, egress=egress, bounds=bounds, tunnels=True)
        """Makes connections to the same origin that carry something else than HTTP. They are their maker's alone."""
        self._target_prefix = self._dialler.request_prefix + self.origin.base_path
        fields = [("host", authority or self.origin.authority), ("accept-encoding", "identity")]
        if signature:
            fields.append(("via", via_value([signature])))
        if self._dialler.speaks_to_proxy:
            fields += self._dialler.proxy_fields
        self._common_fields = encode_fields(fields)
        self._breaker = Breaker()
        self._idle: list[UpstreamConnection] = []
        self._all: set[UpstreamConnection] = set()
        self._open = 0
        self._waiters: deque[asyncio.Future[UpstreamConnection | None]] = deque()
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing = False

    @property
    def connections(self) -> int:
        """Open connections, those being made included."""
        return self._open

    @property
    def idle_connections(self) -> int:
        """Connections that wait for a request."""
        return len(self._idle)

    @property
    def tls_key_sha256(self) -> str:
        """Fingerprint of the public key that the upstream proved last; empty without TLS or before a connection."""
        return self._dialler.tls_key_sha256

    async def request(
        self,
        method: str,
        target: str,
        headers: list[tuple[str, str]],
        body: bytes,
        *,
        idempotent: bool = False,
        endless: bool = False,
    ) -> UpstreamResponse:
        """Send one request and return when the response head is there. Raises UpstreamError.

        `target` is origin-form and is put behind the target URL's path. `headers` may hold everything but framing.
        An `endless` answer is a stream that is meant to stay open: only silence ends it, not its age (G-11).
        """
        message = self._encode(method, target, headers, body)
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        now = loop.time()
        if wait_seconds := self._breaker.wait_seconds(now):
            raise UpstreamCircuitOpen(
                "The upstream has not answered several times in a row, so it is left alone for a moment.",
                retry_after_seconds=math.ceil(wait_seconds),
                detail=f"The upstream is left alone for a moment after failing several times: {self._breaker.last_failure}",
            )
        total_deadline = math.inf if endless else now + self._limits.total_timeout_seconds
        try:
            response = await self._send(method, message, total_deadline, idempotent=idempotent)
            if response.status == 407 and self._dialler.speaks_to_proxy:
                response.close()
                raise UpstreamProxyError.from_status(response.status)
        except UpstreamBusy:
            raise  # It answers others: that is no failure of it.
        except UpstreamError as error:
            self._breaker.failed(loop.time(), error.detail or error.message)
            raise
        self._breaker.answered()
        return response

    async def aclose(self) -> None:
        """Close what is idle. Exchanges under way finish, and their connections are closed after them."""
        self._closing = True
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    # --- Internals ----------------------------------------------------------------------------------------------

    def _encode(self, method: str, target: str, headers: list[tuple[str, str]], body: bytes) -> bytes:
        fields = encode_fields(headers, without=_POOL_FIELDS)
        line = f"{method} {self._target_prefix}{target} HTTP/1.1\r\n".encode("ascii")
        if line.count(b"\n") != 1 or line.count(b" ") != 2:
            raise ValueError("method or target hold characters that must not be sent")
        length = b"content-length: %d\r\n" % len(body) if body or method in _METHODS_WITH_BODY else b""
        return b"".join((line, self._common_fields, fields, length, b"\r\n", body))

    async def _send(self, method: str, message: bytes, total_deadline: float, *, idempotent: bool) -> UpstreamResponse:
        connection = self._take_idle() or await self._acquire()
        reused = connection.exchanges > 0
        response = self._begin(connection, method, message, total_deadline)
        try:
            await response.wait_head()
            return response
        except LostBeforeAnswer:
            if not (reused and idempotent):
                raise
        # Other idle connections may be as stale as that one was: the repetition gets a new one.
        response = self._begin(await self._acquire(fresh=True), method, message, total_deadline)
        await response.wait_head()
        return response

    def _begin(
        self, connection: UpstreamConnection, method: str, message: bytes, total_deadline: float
    ) -> UpstreamResponse:
        response = UpstreamResponse(method, self._bounds)
        connection.begin(
            response,
            message,
            first_byte_seconds=self._limits.first_byte_timeout_seconds,
            idle_seconds=self._limits.idle_timeout_seconds,
            total_deadline=total_deadline,
        )
        return response

    def _take_idle(self) -> UpstreamConnection | None:
        """The connection that was used last, if one is idle."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        return None

    async def _acquire(self, *, fresh: bool = False) -> UpstreamConnection:
        """An idle connection (unless `fresh`), a new one, or the next that becomes free."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + self._limits.connect_timeout_seconds
        while True:
            if not fresh and (connection := self._take_idle()) is not None:
                return connection
            if self._open < self._limits.max_upstream_connections:
                return await self._connect()
            if fresh and self._idle:
                self._idle.pop(0).close()
            handed_over = await self._wait_for_turn(give_up_at)
            if handed_over is not None and handed_over.usable:
                return handed_over

    async def _wait_for_turn(self, give_up_at: float) -> UpstreamConnection | None:
        """A connection that another exchange has left, or None when there is room for a new one."""
        waiter: asyncio.Future[UpstreamConnection | None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout_at(give_up_at):
                return await waiter
        except TimeoutError as error:
            self._pass_on(waiter)
            raise UpstreamBusy("All connections to the upstream are in use.") from error
        except asyncio.CancelledError:
            self._pass_on(waiter)
            raise

    def _pass_on(self, waiter: asyncio.Future[UpstreamConnection | None]) -> None:
        """The request left the queue: a turn that it was given in the same moment goes to the next one."""
        if not waiter.done():
            waiter.cancel()
        elif not waiter.cancelled():
            connection = waiter.result()
            if connection is None:
                self._wake_next(None)
            else:
                self._release(connection)

    def _wake_next(self, connection: UpstreamConnection | None) -> bool:
        """Give the turn to the request that waits longest; False when none does."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return True
        return False

    async def _connect(self) -> UpstreamConnection:
        self._open += 1
        made = False
        try:
            async with asyncio.timeout(self._limits.connect_timeout_seconds):
                connection = await self._dialler.dial(self._new_connection, self._limits.connect_timeout_seconds)
            made = True
            self._all.add(connection)
            self._start_sweep(asyncio.get_running_loop())
            return connection
        except TimeoutError as error:
            raise UpstreamConnectTimeout("The connection to the upstream took too long.") from error
        finally:
            if not made:
                self._open -= 1
                self._wake_next(None)

    def _new_connection(self) -> UpstreamConnection:
        return UpstreamConnection(asyncio.get_running_loop(), self._bounds, self._release, self._forget)

    def _release(self, connection: UpstreamConnection) -> None:
        """An exchange is over and the connection may be used again."""
        if self._closing or not connection.usable:
            connection.close()
            return
        connection.idle_for(self._limits.upstream_keepalive_seconds)
        if not self._waiters or not self._wake_next(connection):
            self._idle.append(connection)

    def _forget(self, connection: UpstreamConnection) -> None:
        """The socket is gone."""
        if connection in self._all:
            self._all.discard(connection)
            self._open -= 1
            if connection in self._idle:
                self._idle.remove(connection)
            self._wake_next(None)

    def _start_sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._sweep_timer is None:
            self._sweep_timer = loop.call_later(self._bounds.sweep_seconds, self._sweep)

    def _sweep(self) -> None:
        """Check every connection's deadlines; come again while there are any."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._sweep_timer = loop.call_later(self._bounds.sweep_seconds, self._sweep) if self._all else None
        for connection in list(self._all):
            connection.tick(now)
