"""Accepting on a TLS port: an unfinished handshake counts as a connection (LIM-07).

The event loop's own TLS server shows a connection only when its handshake is done, so clients that connect and say
nothing would be without bound. Here they take a place from the moment they are accepted, and lose it at a deadline.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from typing import TYPE_CHECKING

from proxies.transport.server_connection import ServerConnection

if TYPE_CHECKING:
    from proxies.transport.http1_server import HTTPListener

_log = logging.getLogger(__name__)
_ACCEPTS_AT_ONCE = 128
_RETRY_SECONDS = 1.0
"""How long accepting pauses when the system has no descriptor left (LIM-08)."""


class TLSAcceptor:
    """Accepts on one listening socket until it is closed; has the part of `asyncio.Server` that a listener uses."""

    def __init__(
        self, sock: socket.socket, listener: HTTPListener, loop: asyncio.AbstractEventLoop, tls: ssl.SSLContext
    ) -> None:
        self._sock = sock
        self._listener = listener
        self._loop = loop
        self._tls = tls
        self._retry: asyncio.TimerHandle | None = None

    def start(self, backlog: int) -> None:
        """Begin to accept."""
        self._sock.setblocking(False)
        self._sock.listen(backlog)
        self._resume()

    def close(self) -> None:
        """Stop accepting and close the listening socket."""
        if self._retry is not None:
            self._retry.cancel()
        self._loop.remove_reader(self._sock.fileno())
        self._sock.close()

    def _resume(self) -> None:
        self._loop.add_reader(self._sock.fileno(), self._accept)

    def _accept(self) -> None:
        for _ in range(_ACCEPTS_AT_ONCE):
            try:
                accepted, _ = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                _log.error("connections cannot be accepted for a moment: %s", error.strerror)
                self._loop.remove_reader(self._sock.fileno())
                self._retry = self._loop.call_later(_RETRY_SECONDS, self._resume)
                return
            accepted.setblocking(False)
            Handshake(accepted, self._listener, self._loop, self._tls).begin()


class Handshake:
    """One accepted socket until its handshake is done; a `ServerConnection` takes its place then."""

    __slots__ = ("_deadline", "_listener", "_loop", "_sock", "_tls", "task")

    def __init__(
        self, sock: socket.socket, listener: HTTPListener, loop: asyncio.AbstractEventLoop, tls: ssl.SSLContext
    ) -> None:
        self._sock = sock
        self._listener = listener
        self._loop = loop
        self._tls = tls
        self._deadline = loop.time() + listener.limits.header_timeout_seconds
        self.task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Register with the listener; a connection far over the cap is closed at once."""
        if not self._listener.admit(self) and self._listener.is_flooded:
            self._listener.forget(self)
            self._sock.close()
            return
        self.task = self._loop.create_task(self._shake_hands())
        self.task.add_done_callback(self._ended)

    def tick(self, now: float) -> None:
        """Compare the deadline with the clock; called by the listener's sweep."""
        if now > self._deadline:
            self.abort()

    def close_if_idle(self) -> None:
        """The listener drains: whoever is in the middle of a handshake gets as long as an idle connection."""
        self._deadline = min(self._deadline, self._loop.time() + self._listener.bounds.drain_idle_seconds)

    def abort(self) -> None:
        """Close the connection at once."""
        if self.task is not None:
            self.task.cancel()

    async def _shake_hands(self) -> None:
        await self._loop.connect_accepted_socket(
            lambda: ServerConnection(self._listener, self._loop, replaces=self), self._sock, ssl=self._tls
        )

    def _ended(self, task: asyncio.Task[None]) -> None:
        """The handshake is done or failed, or was given up, perhaps before its first step."""
        self._listener.forget(self)
        if task.cancelled():
            self._sock.close()
        elif error := task.exception():
            self._sock.close()
            if not isinstance(error, OSError):
                # No TLS, or none that both sides speak, or a client that left, would be an OSError, and everyday life.
                _log.error("a TLS handshake failed inside the gateway", exc_info=error)
