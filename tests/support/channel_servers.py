"""MCP servers over HTTP+SSE and WebSocket for the scanner, in this process: careless ones, and ones that guard themselves."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from tests.mcp_wire import event, result, rpc_error, stream_head
from tests.rawpeer import RawMessage, Upstream, UpstreamPeer, chunked, http_response

CREDENTIAL = "Bearer right"
CHALLENGE = "WWW-Authenticate: Bearer"
FOREIGN = ".ostiary.invalid"


def answer(message: dict[str, Any]) -> dict[str, Any] | None:
    """What such a server says to a message."""
    id, method = message.get("id"), message.get("method")
    if id is None:
        return None
    if method == "initialize":
        version = message["params"]["protocolVersion"]
        info = {"serverInfo": {"name": "s", "version": "1"}, "capabilities": {"tools": {}}}
        return result(id, protocolVersion=version, **info)
    if method == "tools/list":
        return result(id, tools=[{"name": "add", "description": "Adds.", "inputSchema": {"type": "object"}}])
    return rpc_error(id, -32602 if method == "tools/call" else -32601)


def _refusal(guarded: bool, authorization: str | None, origin: str | None, host: str | None) -> int | None:
    if not guarded:
        return None
    if FOREIGN in (origin or "") or FOREIGN in (host or ""):
        return 403
    return 401 if authorization != CREDENTIAL else None


@asynccontextmanager
async def websocket_server(*, guarded: bool) -> AsyncIterator[str]:
    """The URL of a server over WebSocket."""

    def check(connection: ServerConnection, request: Request) -> Response | None:
        fields = request.headers
        status = _refusal(guarded, fields.get("authorization"), fields.get("origin"), fields.get("host"))
        if status is None:
            return None
        response = connection.respond(HTTPStatus(status), "no")
        if status == 401:
            response.headers["WWW-Authenticate"] = "Bearer"
        return response

    async def connected(socket: ServerConnection) -> None:
        async for text in socket:
            if (said := answer(json.loads(text))) is not None:
                await socket.send(json.dumps(said))

    options: dict[str, Any] = {"subprotocols": ["mcp"], "process_request": check}
    async with serve(connected, "127.0.0.1", 0, **options) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/ws"


@asynccontextmanager
async def sse_server(*, guarded: bool) -> AsyncIterator[str]:
    """The URL of a server over HTTP+SSE. The careless one counts its sessions, takes messages for any, lets all pages read."""
    streams: dict[str, asyncio.Queue[dict[str, Any]]] = {}

    async def get(raw: RawMessage, peer: UpstreamPeer) -> None:
        id = secrets.token_hex(16) if guarded else f"session-{len(streams):08d}"
        streams[id] = asyncio.Queue()
        await peer.send(stream_head(*(() if guarded else ("Access-Control-Allow-Origin: *",))))
        await peer.send(chunked(f"event: endpoint\ndata: /messages?sid={id}\n\n".encode(), last=False))
        while True:
            await peer.send(chunked(event(await streams[id].get()), last=False))

    async def script(peer: UpstreamPeer) -> None:
        while (raw := await peer.read_request()) is not None:
            status = _refusal(guarded, raw.header("authorization"), raw.header("origin"), raw.header("host"))
            if status is not None:
                await peer.send(http_response(status, headers=(CHALLENGE,) if status == 401 else ()))
            elif raw.method == "GET" and raw.target == "/sse":
                await get(raw, peer)
            elif raw.method == "POST":
                stream = streams.get(raw.target.rpartition("=")[2])
                if stream is not None and (said := answer(json.loads(raw.body))) is not None:
                    stream.put_nowait(said)
                await peer.send(http_response(404 if guarded and stream is None else 202))
            else:
                await peer.send(http_response(404))

    async with Upstream(script) as upstream:
        yield f"{upstream.url}/sse"
