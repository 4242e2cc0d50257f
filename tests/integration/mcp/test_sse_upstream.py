"""Servers behind HTTP+SSE: what a proxy does with the stream, and with what a hostile server says on it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx
import pytest

from proxies.contract import MCPSettings
from proxies.egress_policy import parse_target
from proxies.mcp.upstreams.sse import endpoint_of
from proxies.transport.errors import UpstreamError
from tests.mcp_rules import small_ruleset
from tests.mcp_wire import CLIENT_KEY, UPSTREAM_KEY, MCPClient, event, request, result, stream_head, text_result
from tests.proxy_harness import RunningProxy, running_proxy
from tests.rawpeer import Upstream, UpstreamPeer, chunked, http_response

INITIALIZE = request("initialize", 0, protocolVersion="2025-06-18", capabilities={}, clientInfo={})


class SSEServerScript:
    """A server of 2024-11-05 with one stream at a time."""

    def __init__(self, endpoint: str = "/messages?sid=1", accept: int = 202) -> None:
        self.endpoint = endpoint
        self.accept = accept
        self.posted: list[tuple[str, dict[str, Any]]] = []
        self.stream: UpstreamPeer | None = None
        self.stream_closed = asyncio.Event()

    async def __call__(self, peer: UpstreamPeer) -> None:
        while (raw := await peer.read_request()) is not None:
            if raw.method == "GET":
                await self._open(peer)
                return
            message = json.loads(raw.body)
            self.posted.append((raw.target, message))
            await peer.send(http_response(self.accept))
            if self.accept < 300:
                await self._answer(message)

    async def _open(self, peer: UpstreamPeer) -> None:
        self.stream = peer
        await peer.send(stream_head() + chunked(f"event: endpoint\ndata: {self.endpoint}\n\n".encode(), last=False))
        while await peer.read_some():
            pass
        self.stream_closed.set()

    async def say(self, message: Any) -> None:
        assert self.stream is not None
        await self.stream.send(chunked(event(message), last=False))

    async def _answer(self, message: dict[str, Any]) -> None:
        if message.get("method") == "initialize":
            info = {"capabilities": {}, "serverInfo": {"name": "s", "version": "1"}}
            await self.say(result(message["id"], protocolVersion=message["params"]["protocolVersion"], **info))
        elif message.get("method") == "tools/call":
            await self.say(text_result(message["id"], "from the stream"))


class Stand(NamedTuple):
    client: MCPClient
    server: SSEServerScript
    upstream: Upstream
    proxy: RunningProxy


@asynccontextmanager
async def stand(server: SSEServerScript) -> AsyncIterator[Stand]:
    async with (
        Upstream(server) as upstream,
        running_proxy(
            type="mcp",
            target_url=f"{upstream.url}/sse",
            client_key=CLIENT_KEY,
            upstream_bearer=UPSTREAM_KEY,
            ruleset=small_ruleset(),
            mcp=MCPSettings(transport="sse"),
        ) as proxy,
        httpx.AsyncClient(base_url=proxy.url, headers={"authorization": f"Bearer {CLIENT_KEY}"}, timeout=20) as http,
    ):
        yield Stand(MCPClient(http), server, upstream, proxy)


async def test_S_01_answers_arrive_on_the_stream_and_credentials_go_with_both_requests() -> None:
    async with stand(SSEServerScript()) as (client, server, upstream, _proxy):
        session = await client.initialize("2024-11-05")
        answer = await client.post(request("tools/call", 4, name="t"), session=session)
    assert answer.json()["result"]["content"][0]["text"] == "from the stream"
    assert answer.json()["id"] == 4
    assert [target for target, _ in server.posted] == ["/messages?sid=1"] * 2
    opening, *posts = upstream.requests
    assert (opening.method, opening.target, opening.header("accept")) == ("GET", "/sse", "text/event-stream")
    assert {raw.header("authorization") for raw in upstream.requests} == {f"Bearer {UPSTREAM_KEY}"}
    assert all(raw.header("via") for raw in posts)


async def test_S_05_the_negotiated_version_is_what_counts_and_not_the_transport() -> None:
    async with stand(SSEServerScript()) as (client, _server, _upstream, _proxy):
        answer = await client.post(INITIALIZE)
        session = answer.headers["mcp-session-id"]
        wrong = await client.post(request("tools/list"), session=session, mcp_protocol_version="2024-11-05")
    assert answer.json()["result"]["protocolVersion"] == "2025-06-18"
    assert wrong.status_code == 400


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://169.254.169.254/latest",
        "https://127.0.0.1:{port}/messages",
        "http://127.0.0.1:1/messages",
        "//evil.example/messages",
        "http://127.0.0.1:{port}@evil.example/",
        "http://localhost:{port}/messages",
        "javascript:alert(1)",
        "/messages with blank",
        "",
    ],
)
async def test_S_02_an_address_of_another_origin_is_refused_and_recorded(endpoint: str) -> None:
    server = SSEServerScript()
    async with stand(server) as (client, _server, upstream, proxy):
        server.endpoint = endpoint.format(port=upstream.port)
        answer = await client.post(INITIALIZE)
        await server.stream_closed.wait()
    assert answer.status_code == 502
    assert answer.json()["error"]["data"]["code"] == "upstream_endpoint_refused"
    assert server.posted == []
    assert proxy.records[0].error_code == "upstream_endpoint_refused"


@pytest.mark.parametrize(
    ("data", "path"),
    [
        ("/messages/?session_id=7", "/messages/?session_id=7"),
        ("messages?x=1", "/a/messages?x=1"),
        ("?sid=2", "/a/sse?sid=2"),
        ("http://host.test:80/m", "/m"),
        ("HTTP://HOST.test/m", "/m"),
        ("http://host.test", "/"),
    ],
)
def test_S_02_addresses_of_the_same_origin_are_used(data: str, path: str) -> None:
    assert endpoint_of(data, parse_target("http://host.test/a/sse")) == path


def test_S_02_an_endless_address_is_refused() -> None:
    with pytest.raises(UpstreamError):
        endpoint_of("/" + "x" * 5000, parse_target("http://host.test/sse"))


async def test_S_04_a_stream_that_ends_fails_what_is_open_and_the_session_with_it() -> None:
    async with stand(SSEServerScript()) as (client, server, _upstream, proxy):
        session = await client.initialize("2024-11-05")
        hanging = asyncio.create_task(client.post(request("prompts/list", 4), session=session))
        async with asyncio.timeout(10):
            while len(server.posted) < 2:
                await asyncio.sleep(0.01)
        assert server.stream is not None
        await server.stream.send(b"0\r\n\r\n")
        answer = await hanging
        after = await client.post(request("tools/list"), session=session)
        assert proxy.upstream.open_channels == 0
        assert proxy.upstream.problem == ""
    assert (answer.status_code, answer.json()["id"]) == (502, 4)
    assert after.status_code == 404


async def test_S_04_the_end_of_a_session_closes_its_stream() -> None:
    async with stand(SSEServerScript()) as (client, server, _upstream, _proxy):
        session = await client.initialize("2024-11-05")
        await client.http.delete("/mcp", headers={"mcp-session-id": session})
        async with asyncio.timeout(10):
            await server.stream_closed.wait()


async def test_S_01_a_message_that_the_server_does_not_take_is_an_error() -> None:
    server = SSEServerScript()
    async with stand(server) as (client, _server, _upstream, _proxy):
        session = await client.initialize("2024-11-05")
        server.accept = 503
        answer = await client.post(request("tools/list", 3), session=session)
    assert answer.status_code == 502
    assert answer.json()["error"]["message"] == "The upstream answered with HTTP 503."


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (http_response(404), "upstream_error"),
        (http_response(200, b"{}", headers=("Content-Type: application/json",)), "upstream_protocol_error"),
        (stream_head() + chunked(*[b"event: other\ndata: x\n\n"] * 20), "upstream_protocol_error"),
        (stream_head() + chunked(b": nothing\n\n"), "upstream_truncated"),
    ],
)
async def test_S_01_a_server_of_another_transport_is_told_from_its_first_answer(answer: bytes, code: str) -> None:
    async def script(peer: UpstreamPeer) -> None:
        while await peer.read_request() is not None:
            await peer.send(answer)

    async with stand(script) as (client, _server, _upstream, _proxy):  # type: ignore[arg-type]
        refused = await client.post(INITIALIZE)
    assert refused.status_code == 502
    assert refused.json()["error"]["data"]["code"] == code
