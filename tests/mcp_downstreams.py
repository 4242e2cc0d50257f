"""Clients of the other transports: the official SDK over HTTP+SSE, and plain ones for what an SDK would not do.

The SDK has no WebSocket client any more; `websocket_transport` gives its `Client` one, message for frame.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import mcp_types
from mcp import Client
from mcp.client.sse import sse_client
from mcp.shared.message import SessionMessage
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_websocket
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from tests.mcp_wire import CLIENT_KEY
from tests.proxy_harness import RunningProxy


@asynccontextmanager
async def sse_session(proxy: RunningProxy, key: str = CLIENT_KEY, **options: Any) -> AsyncIterator[Client]:
    """The SDK's client over HTTP+SSE."""
    transport = sse_client(f"{proxy.url}/sse", headers={"authorization": f"Bearer {key}"})
    async with Client(transport, mode="legacy", **options) as client:
        yield client


@asynccontextmanager
async def websocket(
    proxy: RunningProxy, key: str = CLIENT_KEY, *, subprotocols: tuple[str, ...] = ("mcp",), **options: Any
) -> AsyncIterator[ClientConnection]:
    """A WebSocket to the proxy."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    async with connect_websocket(
        proxy.url.replace("http", "ws") + "/ws",
        additional_headers=headers | options.pop("headers", {}),
        subprotocols=[Subprotocol(name) for name in subprotocols],
        proxy=None,
        **options,
    ) as connection:
        yield connection


async def close_frame(connection: ClientConnection) -> tuple[int, str]:
    """Code and reason with which the proxy closes, after what it still says."""
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionClosed):
            while True:
                await connection.recv()
    assert connection.close_code is not None
    return connection.close_code, connection.close_reason or ""


@asynccontextmanager
async def websocket_transport(proxy: RunningProxy, key: str = CLIENT_KEY) -> AsyncIterator[Any]:
    """A transport for the SDK's client."""
    incoming, messages = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    outgoing, posted = anyio.create_memory_object_stream[SessionMessage](0)

    async with websocket(proxy, key) as connection, anyio.create_task_group() as tasks:

        async def read() -> None:
            async with incoming:
                async for text in connection:
                    await incoming.send(SessionMessage(mcp_types.jsonrpc_message_adapter.validate_json(text)))

        async def write() -> None:
            async with posted:
                async for message in posted:
                    await connection.send(message.message.model_dump_json(by_alias=True, exclude_unset=True))

        tasks.start_soon(read)
        tasks.start_soon(write)
        yield messages, outgoing
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def websocket_session(proxy: RunningProxy, key: str = CLIENT_KEY, **options: Any) -> AsyncIterator[Client]:
    """The SDK's client over a WebSocket."""
    async with Client(websocket_transport(proxy, key), **({"mode": "legacy"} | options)) as client:
        yield client


class SSEStream:
    """A raw stream of the HTTP+SSE transport."""

    def __init__(self, http: httpx.AsyncClient, response: httpx.Response) -> None:
        self.http = http
        self.response = response
        self._lines = response.aiter_lines()
        self.endpoint = ""

    async def event(self) -> tuple[str, str]:
        """Name and data of the next event."""
        name, data = "message", []
        async with asyncio.timeout(10):
            async for line in self._lines:
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    data.append(line.removeprefix("data: "))
                elif not line and data:
                    return name, "\n".join(data)
        raise AssertionError("the stream ended")

    async def message(self) -> Any:
        """The next message."""
        name, data = await self.event()
        assert name == "message"
        return json.loads(data)

    async def post(self, body: Any, **headers: str) -> httpx.Response:
        """Post one message to the endpoint."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        fields = {"content-type": "application/json"} | {n.replace("_", "-"): value for n, value in headers.items()}
        return await self.http.post(self.endpoint, content=content, headers=fields)


@asynccontextmanager
async def sse_stream(http: httpx.AsyncClient) -> AsyncIterator[SSEStream]:
    """Open a stream and read where messages go."""
    async with http.stream("GET", "/sse", headers={"accept": "text/event-stream"}) as response:
        assert response.status_code == 200, await response.aread()
        stream = SSEStream(http, response)
        name, stream.endpoint = await stream.event()
        assert name == "endpoint"
        yield stream
