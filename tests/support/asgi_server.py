"""An ASGI application on a free loopback port under uvicorn, in this process.

Uvicorn's own `serve` looks every tenth of a second whether it shall end, and then waits for another tenth.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

GRACE_SECONDS = 1
"""So long a request under way may take at the end, before it is cancelled."""


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[str]:
    """The server's URL; it ends with the block."""
    config = uvicorn.Config(app, log_config=None, lifespan="off")
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        await server.startup([sock])
        await server.on_tick(0)  # It makes the headers that every answer has.
        try:
            yield f"http://127.0.0.1:{sock.getsockname()[1]}"
        finally:
            for listening in server.servers:
                listening.close()
            for connection in list(server.server_state.connections):
                connection.shutdown()
            await _ended(server.server_state.tasks)


async def _ended(requests: set[asyncio.Task[None]]) -> None:
    if requests:
        await asyncio.wait(requests, timeout=GRACE_SECONDS)
    for late in list(requests):
        late.cancel()
    if requests:
        await asyncio.wait(requests, timeout=GRACE_SECONDS)
