"""A TLS server on blocking sockets: unlike asyncio's, it sends its alert before it closes on a failed handshake."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

HANG_SECONDS = 20.0


@asynccontextmanager
async def strict_tls_server(context: ssl.SSLContext) -> AsyncIterator[int]:
    """The port of a server that takes one connection, does the handshake and answers nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(HANG_SECONDS)
        thread = threading.Thread(target=_serve_one, args=(listener, context))
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            await asyncio.to_thread(thread.join, HANG_SECONDS)
    assert not thread.is_alive()


def _serve_one(listener: socket.socket, context: ssl.SSLContext) -> None:
    raw, _ = listener.accept()
    raw.settimeout(HANG_SECONDS)
    with context.wrap_socket(raw, server_side=True, do_handshake_on_connect=False) as tls:
        try:
            tls.do_handshake()
        except ssl.SSLError:
            # Closing on unread bytes would be a reset, which may overtake the alert.
            socket.socket.shutdown(tls, socket.SHUT_WR)
        while socket.socket.recv(tls, 4096):
            continue
