"""Autobahn's cases for WebSocket servers, driven by `kosoku`: against an echo on our own transport, and against an MCP server
of the library `websockets`, direct and through a proxy, where the proxy may fail no case that the server passes.

Binary messages have no meaning for MCP and are answered with close code 1003, so the cases that expect them back (1.2) are
left out; the compression cases (12, 13) do not apply, because compression is never negotiated.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from proxies.contract import Limits, MCPSettings
from proxies.transport.http1_server import HTTPListener, Request, Response
from tests.conformance.tools import need, python_of
from tests.conformance.websocket_translator import translated
from tests.mcp_rules import small_ruleset
from tests.mcp_wire import CLIENT_KEY, result, text_result
from tests.proxy_harness import running_proxy

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


@asynccontextmanager
async def running_mcp_echo() -> AsyncIterator[int]:
    """An MCP server over WebSocket whose tool `echo` gives a text back, made of `websockets` alone; yields its port."""

    async def connected(socket: ServerConnection) -> None:
        with suppress(ConnectionClosed):  # Many cases end in the middle of something.
            await answer_all(socket)

    async def answer_all(socket: ServerConnection) -> None:
        async for text in socket:
            message = json.loads(text)
            if message.get("method") == "initialize":
                info = {"capabilities": {"tools": {}}, "serverInfo": {"name": "echo", "version": "1"}}
                answer = result(message["id"], protocolVersion=message["params"]["protocolVersion"], **info)
            elif message.get("method") == "tools/call":
                answer = text_result(message["id"], message["params"]["arguments"]["text"])
            else:
                continue
            await socket.send(json.dumps(answer))

    options: dict[str, Any] = {"subprotocols": ["mcp"], "compression": None}
    async with serve(connected, "127.0.0.1", 0, **options) as server:
        yield server.sockets[0].getsockname()[1]


async def results_of(address: str, folder: Path) -> dict[str, dict[str, Any]]:
    """Run the cases against a server; what the suite says of each."""
    arguments = [part for case in CASES for part in ("-i", case)]
    process = await asyncio.create_subprocess_exec(
        str(SUITE), *arguments, "-o", str(folder), address, stdout=asyncio.subprocess.DEVNULL
    )
    await process.wait()
    (report,) = json.loads((folder / "index.json").read_text()).values()
    assert len(report) > 200
    return report


def failed(report: dict[str, dict[str, Any]]) -> set[str]:
    """The cases that did not end as the protocol wants it."""
    return {case for case, one in report.items() if not {one["behavior"], one["behaviorClose"]} <= GOOD}


async def test_W_02_the_frames_of_our_websocket_server_are_those_of_the_protocol(tmp_path: Path) -> None:
    need(SUITE)
    async with running_echo() as address:
        assert failed(await results_of(address, tmp_path)) == STRICTER


async def test_W_02_the_cases_are_no_worse_through_the_proxy_than_direct(tmp_path: Path) -> None:
    need(SUITE)
    async with running_mcp_echo() as server:
        async with translated(server, "/") as address:
            direct = await results_of(address, tmp_path / "direct")
        async with running_proxy(
            type="mcp",
            target_url=f"http://127.0.0.1:{server}/",
            client_key=CLIENT_KEY,
            ruleset=small_ruleset(),
            mcp=MCPSettings(transport="websocket"),
        ) as proxy:
            async with translated(int(proxy.url.rpartition(":")[2]), "/ws", CLIENT_KEY) as address:
                through = await results_of(address, tmp_path / "through")
            calls = [record for record in proxy.records if record.tool and record.tool.name == "echo"]
    assert direct.keys() == through.keys()
    assert failed(through) <= failed(direct), {case: through[case] for case in failed(through) - failed(direct)}
    # The texts were carried by calls that the proxy judged, to the server and back.
    assert len(calls) > 50
