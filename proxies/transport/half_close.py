"""A client that sent FIN while its answer is pending: it may wait for the answer, or be gone (LIM-11, LIM-12).

TCP shows the difference only to who sends: a client that left answers the next byte with a reset. So while the answer is
silent, the client is sent bytes that mean nothing to one that waits (`Response.probe`), at intervals that double.
"""

from __future__ import annotations

import asyncio
import socket

from proxies.transport.server_messages import Response


class HalfClose:
    """Watches one half-closed client until its answer is finished; aborts the transport of one that is gone."""

    __slots__ = ("_loop", "_progress", "_response", "_timer", "_transport", "_wait_first_seconds", "_wait_seconds")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport, response: Response, wait_seconds: float
    ) -> None:
        self._loop = loop
        self._transport = transport
        self._response = response
        self._progress = (response.started, response.bytes_sent)
        self._wait_first_seconds = self._wait_seconds = wait_seconds
        self._timer = loop.call_later(wait_seconds, self._check)

    def stop(self) -> None:
        """The connection is closed; harmless when called again."""
        self._timer.cancel()

    def _check(self) -> None:
        response = self._response
        if response.finished:
            return
        if self._was_reset():
            self._transport.abort()
            return
        progress = (response.started, response.bytes_sent)
        if progress != self._progress:
            # Bytes of the answer are as good as a probe.
            self._progress = progress
            self._wait_seconds = self._wait_first_seconds
        elif not response.probe():
            self._transport.abort()
            return
        self._timer = self._loop.call_later(self._wait_seconds, self._check)
        self._wait_seconds *= 2

    def _was_reset(self) -> bool:
        """Whether a reset came. After a FIN nothing is read any more, so the transport would not hear of it."""
        sock: socket.socket | None = self._transport.get_extra_info("socket")
        return sock is not None and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
