"""Autobahn's cases for WebSocket servers, driven by `kosoku` against an echo on our own transport.

Binary messages have no meaning for MCP and are answered with close code 1003, so the cases that expect them back are left
out; the compression cases do not apply, because compression is never negotiated.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from proxies.contract import Limits
from proxies.transport.http1_server import HTTPListener, Request, Response
from tests.conformance.tools import need, python_of

websocket_server: Any = pytest.importorskip("proxies.transport.websocket_server")
pytestmark = [pytest.mark.peers, pytest.mark.timeout(300)]

SUITE = python_of("kosoku").with_name("kosoku")
CASES = ("1.1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*")
"""Text, pings, reserved bits, opcodes, fragments, UTF-8, closing, fragmentation of large messages."""
GOOD = {"OK", "NON-STRICT", "INFORMATIONAL"}
STRICTER = {"7.1.5"}
"""A client that closes in the middle of a message is told so (1002), where the case wants 1000."""


@asynccontextmanager
async def running_echo() -> AsyncIterator[str]:
    """A server that gives every text back; yields `host:port`."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen(64)
    port = sock.getsockname()[1]

    async def echo(request: Request, response: Response) -> None:
        peer = websocket_server.ServerWebSocket(max_message_bytes=1024 * 1024, subprotocols=())
        peer.accept(request, response)
        try:
            while (text := await peer.receive()) is not None:
                await peer.send(text)
        except ConnectionResetError:
            # The case is over: the client closes where it likes.
            return
        finally:
            peer.finish()

    listener = HTTPListener(sock, echo, Limits(), None)
    await listener.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await listener.drain(1)


async def test_W_02_the_frames_of_our_websocket_server_are_those_of_the_protocol(tmp_path: Path) -> None:
    need(SUITE)
    arguments = [part for case in CASES for part in ("-i", case)]
    async with running_echo() as address:
        process = await asyncio.create_subprocess_exec(
            str(SUITE), *arguments, "-o", str(tmp_path), address, stdout=asyncio.subprocess.DEVNULL
        )
        await process.wait()
    (report,) = json.loads((tmp_path / "index.json").read_text()).values()
    bad = {case: (one["behavior"], one["behaviorClose"]) for case, one in report.items() if one["behavior"] not in GOOD}
    bad |= {case: ("close", one["behaviorClose"]) for case, one in report.items() if one["behaviorClose"] not in GOOD}
    assert bad.keys() == STRICTER
    assert len(report) > 200
