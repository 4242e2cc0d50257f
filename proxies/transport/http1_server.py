"""The HTTP/1.1 server: one `HTTPListener` per listening socket, one `ServerConnection` per client.

    listener = HTTPListener(sock, handler, limits, tls=None)
    await listener.start()
    ...
    await listener.drain(deadline_seconds=30)

`handler(request, response)` runs as one task per request and is cancelled when the client leaves before its answer is
complete. Requests with unacceptable framing never reach it: the server answers them and reports them to `on_refused`.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate

from proxies.contract import Limits
from proxies.transport.headers import Headers
from proxies.transport.limits import DEFAULT_BOUNDS, Bounds
from proxies.transport.server_connection import ServerConnection
from proxies.transport.server_messages import Request, Response
from proxies.transport.tls_accept import Handshake, TLSAcceptor

__all__ = ["HTTPListener", "Handler", "Headers", "OnRefused", "Request", "Response"]

Handler = Callable[[Request, Response], Awaitable[None]]
OnRefused = Callable[[str, int, str], None]
"""Called with peer IP, status and code for every request (or body) that was refused for its framing."""

_BACKLOG = 1024
_CANCEL_GRACE_SECONDS = 1.0


class HTTPListener:
    """Accepts on one socket, which it owns from here on."""

    def __init__(
        self,
        sock: socket.socket,
        handler: Handler,
        limits: Limits,
        tls: ssl.SSLContext | None,
        *,
        on_refused: OnRefused | None = None,
        bounds: Bounds = DEFAULT_BOUNDS,
    ) -> None:
        self.handler = handler
        self.limits = limits
        self.bounds = bounds
        self.tls = tls
        self.draining = False
        self.in_flight = 0
        """Requests whose handler runs."""
        self.date_line = b""
        host, port = sock.getsockname()[:2]
        self.address = (str(host), int(port))
        """Host and port as bound."""
        self._sock = sock
        self._on_refused = on_refused
        self._connections: set[ServerConnection | Handshake] = set()
        self._server: asyncio.Server | TLSAcceptor | None = None
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._empty: asyncio.Event = asyncio.Event()

    @property
    def connections(self) -> int:
        """Open connections, refused ones that are being closed and unfinished TLS handshakes included."""
        return len(self._connections)

    async def start(self) -> None:
        """Begin to accept."""
        loop = asyncio.get_running_loop()
        if hasattr(socket, "TCP_NOTSENT_LOWAT") and self._sock.family in (socket.AF_INET, socket.AF_INET6):
            # Accepted sockets inherit it: the kernel keeps little beyond what is in flight, so that a slow client
            # is felt as back-pressure instead of filling socket buffers of megabytes.
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, self.bounds.high_water_bytes)
        self._sweep()
        if self.tls is None:
            self._server = await loop.create_server(
                lambda: ServerConnection(self, loop), sock=self._sock, backlog=_BACKLOG
            )
        else:
            self._server = acceptor = TLSAcceptor(self._sock, self, loop, self.tls)
            acceptor.start(_BACKLOG)

    async def drain(self, deadline_seconds: float) -> None:
        """Stop accepting, close idle connections, let what is in flight finish, reset what is left at the deadline."""
        if not self.draining and self._server is None:
            self._sock.close()  # It was never started; otherwise the server closes it.
        self.draining = True
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in list(self._connections):
            connection.close_if_idle()
        await self._wait_empty(deadline_seconds)
        left = list(self._connections)
        tasks = [connection.task for connection in left if connection.task is not None]
        for connection in left:
            connection.abort()
        if tasks:
            await asyncio.wait(tasks, timeout=_CANCEL_GRACE_SECONDS)
        await self._wait_empty(_CANCEL_GRACE_SECONDS)
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
            self._sweep_timer = None

    # --- For its connections ------------------------------------------------------------------------------------

    def admit(self, connection: ServerConnection | Handshake, replaces: Handshake | None = None) -> bool:
        """Register a new connection, in the place of its handshake if it had one; False when there are as
        many as `Limits.max_connections` already."""
        if replaces is not None:
            self._connections.discard(replaces)
        self._connections.add(connection)
        self._empty.clear()
        return len(self._connections) <= self.limits.max_connections

    @property
    def is_flooded(self) -> bool:
        """Whether there are so many connections over the cap that refusing them politely would cost too much."""
        return len(self._connections) > self.limits.max_connections + self.bounds.polite_refusals

    def forget(self, connection: ServerConnection | Handshake) -> None:
        """The connection is closed."""
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()

    def refused(self, peer_ip: str, status: int, code: str) -> None:
        """Report a request that was refused for its framing."""
        if self._on_refused is not None:
            self._on_refused(peer_ip, status, code)

    # --- Internals ----------------------------------------------------------------------------------------------

    async def _wait_empty(self, seconds: float) -> None:
        if not self._connections:
            return
        try:
            async with asyncio.timeout(seconds):
                await self._empty.wait()
        except TimeoutError:
            return

    def _sweep(self) -> None:
        """Check every connection's deadlines, renew the Date line, and come again."""
        loop = asyncio.get_running_loop()
        self._sweep_timer = loop.call_later(self.bounds.sweep_seconds, self._sweep)
        self.date_line = f"date: {formatdate(time.time(), usegmt=True)}\r\n".encode()
        now = loop.time()
        for connection in list(self._connections):
            connection.tick(now)
