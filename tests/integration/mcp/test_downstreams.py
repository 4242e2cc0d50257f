"""What holds for HTTP+SSE and WebSocket clients alike: the SDK's client through a real proxy, and the end of a connection."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import httpx
import msgspec
import pytest
from mcp import Client, types
from mcp.shared.exceptions import MCPError
from websockets.asyncio.client import ClientConnection

from proxies.runtime import KeyRing
from tests.mcp_downstreams import close_frame, sse_session, sse_stream, websocket, websocket_session
from tests.mcp_legacy_server import Server
from tests.mcp_rules import BLOCKED, small_ruleset
from tests.mcp_server import MCPServerProcess
from tests.mcp_wire import CLIENT_KEY, event, notification, request, rpc, stream_head, text_result, wire
from tests.proxy_harness import RunningProxy, running_proxy
from tests.rawpeer import RawMessage, UpstreamPeer, chunked

HELLO = {"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {"name": "plain", "version": "1"}}


class Connection(Protocol):
    """A plain client's end of a connection."""

    async def send(self, message: Any) -> None: ...

    async def message(self) -> Any:
        """The next message."""

    async def end(self) -> Any:
        """How the proxy ended it: code and reason of a WebSocket, nothing of a stream."""


@dataclass(frozen=True)
class Downstream:
    """A transport, its two clients, and what records and ends look like."""

    session: Callable[..., AbstractAsyncContextManager[Client]]
    connection: Callable[[httpx.AsyncClient, RunningProxy], AbstractAsyncContextManager[Connection]]
    opened_at: str
    posted_to: str
    protocol: str
    end_by_revocation: Any = None
    end_by_drain: Any = None


class Stream:
    """HTTP+SSE."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def send(self, message: Any) -> None:
        assert (await self._stream.post(message)).status_code == 202

    async def message(self) -> Any:
        return await self._stream.message()

    async def end(self) -> None:
        with pytest.raises(AssertionError, match="the stream ended"):
            await self._stream.event()


class Socket:
    """A WebSocket."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def send(self, message: Any) -> None:
        await self._connection.send(json.dumps(message))

    async def message(self) -> Any:
        async with asyncio.timeout(10):
            return json.loads(await self._connection.recv())

    async def end(self) -> tuple[int, str]:
        return await close_frame(self._connection)


@asynccontextmanager
async def stream_connection(http: httpx.AsyncClient, _proxy: RunningProxy) -> AsyncIterator[Connection]:
    async with sse_stream(http) as stream:
        yield Stream(stream)


@asynccontextmanager
async def socket_connection(_http: httpx.AsyncClient, proxy: RunningProxy) -> AsyncIterator[Connection]:
    async with websocket(proxy) as connection:
        yield Socket(connection)


DOWNSTREAMS = {
    "sse": Downstream(sse_session, stream_connection, "/sse", "/messages", "mcp.sse"),
    "websocket": Downstream(
        websocket_session,
        socket_connection,
        "/ws",
        "/ws",
        "mcp.websocket",
        end_by_revocation=(1008, "the key is not valid any more"),
        end_by_drain=(1001, "the proxy stops"),
    ),
}


@pytest.fixture(params=list(DOWNSTREAMS))
def downstream(request: pytest.FixtureRequest) -> Downstream:
    return DOWNSTREAMS[request.param]


@pytest.fixture
async def proxy(server: MCPServerProcess) -> AsyncIterator[RunningProxy]:
    async with running_proxy(
        type="mcp", target_url=server.url, client_key=CLIENT_KEY, ruleset=small_ruleset()
    ) as running:
        yield running


async def test_S_01_and_W_01_the_official_client_lists_and_calls_and_hears_progress(proxy, server, downstream) -> None:
    seen: list[float] = []

    async def progress(value: float, _total: float | None, _message: str | None) -> None:
        seen.append(value)

    async with downstream.session(proxy) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        added = await client.call_tool("add", {"a": 2, "b": 3})
        counted = await client.call_tool("slow", {"steps": 3}, progress_callback=progress)

    assert {"echo", "add", "slow"} <= names
    assert (added.content[0].text, counted.content[0].text) == ("5", "counted")
    assert seen == [1, 2, 3]
    assert ["add", {"a": 2, "b": 3}] in server.calls()
    call = next(record for record in proxy.records if record.operation == "tools/call add")
    assert (call.method, call.path, call.protocol) == ("POST", downstream.posted_to, "mcp.legacy")
    assert (call.outcome, call.principal_id) == ("allowed", "key_test")


async def test_S_01_and_W_01_a_question_of_the_server_is_answered_on_the_connection(proxy, downstream) -> None:
    async def elicit(_context: Any, _params: types.ElicitRequestParams) -> types.ElicitResult:
        return types.ElicitResult(action="accept", content={"wish": "peace"})

    async with downstream.session(proxy, elicitation_callback=elicit) as client:
        result = await client.call_tool("ask", {})
    assert result.content[0].text == "peace"


async def test_S_05_and_W_02_a_blocked_message_is_an_error_and_the_connection_stays(proxy, server, downstream) -> None:
    async with downstream.session(proxy) as client:
        with pytest.raises(MCPError) as refused:
            await client.call_tool("run_command", {"args": BLOCKED})
        after = await client.call_tool("echo", {"text": "still here"})
    assert refused.value.error.code == -32010
    assert after.content[0].text == "still here"
    assert server.calls() == [["echo", {"text": "still here"}]]
    call = next(record for record in proxy.records if record.operation == "tools/call run_command")
    assert call.outcome == "blocked"
    assert refused.value.error.data == {"ref": call.id}


async def test_S_04_and_W_04_the_end_of_the_connection_ends_the_session_on_both_legs(proxy, downstream) -> None:
    async with downstream.session(proxy) as client:
        await client.list_tools()
    await proxy.wait_for_records(4)
    await proxy.carriers.settle(10)
    assert [record.operation for record in proxy.records].count("session end") == 1
    connection = next(record for record in proxy.records if record.operation == "connection")
    assert (connection.method, connection.path) == ("GET", downstream.opened_at)
    assert connection.protocol == downstream.protocol


async def test_S_01_and_W_01_what_the_server_says_unasked_arrives(downstream) -> None:
    async def listening(_raw: RawMessage, peer: UpstreamPeer) -> None:
        changed = event(notification("notifications/tools/list_changed"))
        await peer.send(stream_head() + chunked(changed, last=False))
        await peer.wait_gone()

    async with (
        wire(Server(GET=listening)) as (client, _upstream, proxy),
        downstream.connection(client.http, proxy) as connection,
    ):
        await connection.send(request("initialize", 0, **HELLO))
        await connection.message()
        await connection.send(notification("notifications/initialized"))
        heard = await connection.message()
    assert heard["method"] == "notifications/tools/list_changed"


async def test_W_03_a_revoked_key_ends_its_connections_at_the_next_snapshot(downstream) -> None:
    async with wire(Server()) as (client, _upstream, proxy), downstream.connection(client.http, proxy) as connection:
        await connection.send(request("initialize", 0, **HELLO))
        await connection.message()
        proxy.runtime = msgspec.structs.replace(proxy.runtime, keys=KeyRing([]))
        proxy.carriers.recheck(proxy.runtime)
        assert await connection.end() == downstream.end_by_revocation
        await proxy.carriers.settle(10)
        record = next(record for record in proxy.records if record.operation == "connection")
    assert record.reason.endswith(": the key is not valid any more.")


async def test_a_draining_listener_ends_the_connection_after_what_is_under_way(downstream) -> None:
    release = asyncio.Event()

    async def call(raw: RawMessage, peer: UpstreamPeer) -> None:
        await peer.send(stream_head())
        await release.wait()
        await peer.send(chunked(event(text_result(rpc(raw)["id"], "done"))))

    async with (
        wire(Server(tools_call=call)) as (client, upstream, proxy),
        downstream.connection(client.http, proxy) as connection,
    ):
        await connection.send(request("initialize", 0, **HELLO))
        await connection.message()
        await connection.send(request("tools/call", 5, name="x", arguments={}))
        await upstream.wait_for_requests(2)
        draining = asyncio.ensure_future(proxy.listener.drain(10))
        await asyncio.sleep(0)
        release.set()
        assert (await connection.message())["id"] == 5
        assert await connection.end() == downstream.end_by_drain
        await draining
