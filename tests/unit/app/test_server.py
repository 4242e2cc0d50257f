"""The server's bounds: a head in time, a bounded number of connections, one stop for two signals."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from app.http import server as module
from app.http.server import ConsoleServer
from app.settings import Settings


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers every request with 204."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        return
    while (message := await receive())["type"] != "lifespan.shutdown":
        await send({"type": f"{message['type']}.complete"})
    await send({"type": "lifespan.shutdown.complete"})


@asynccontextmanager
async def running() -> AsyncIterator[tuple[str, int]]:
    """The address of a running server."""
    server = ConsoleServer(app, Settings(), on_stop=lambda: None)
    server.config.host, server.config.port = "127.0.0.1", 0
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()
    finally:
        server.should_exit = True
        await task


async def exchange(address: tuple[str, int], sent: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(sent)
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n"])
async def test_a_head_that_does_not_arrive_in_time_is_refused(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(module, "HEAD_TIMEOUT_SECONDS", 0.05)
    async with running() as address:
        answer = await exchange(address, sent)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"REQUEST_TIMEOUT" in answer


async def test_a_second_request_on_the_connection_has_its_own_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEAD_TIMEOUT_SECONDS", 0.3)
    async with running() as address:
        answer = await exchange(address, b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHo")
    assert answer.startswith(b"HTTP/1.1 204 ")
    assert b"HTTP/1.1 408 " in answer


async def test_connections_beyond_the_bound_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CONNECTIONS", 1)
    async with running() as address:
        _, writer = await asyncio.open_connection(*address)
        answer = await exchange(address, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        writer.close()
    assert answer.startswith(b"HTTP/1.1 503 ")


def test_a_second_signal_stops_at_once() -> None:
    stopped: list[bool] = []
    server = ConsoleServer(app, Settings(), on_stop=lambda: stopped.append(True))
    server.handle_exit(signal.SIGTERM, None)
    assert (server.should_exit, server.force_exit, stopped) == (True, False, [True])
    server.handle_exit(signal.SIGTERM, None)
    assert server.force_exit
