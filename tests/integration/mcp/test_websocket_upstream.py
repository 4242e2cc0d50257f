"""Servers behind WebSocket: the handshake, one message a frame, and what a hostile server may send."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx
import pytest
from websockets.asyncio.server import ServerConnection, serve

from proxies.contract import Limits, MCPSettings, UpstreamProxy
from tests.certificates import Authority
from tests.forward_proxy import ForwardProxy
from tests.mcp_rules import BLOCKED, small_ruleset
from tests.mcp_wire import CLIENT_KEY, UPSTREAM_KEY, MCPClient, request, result, text_result
from tests.proxy_harness import RunningProxy, running_proxy
from tests.rawpeer import Upstream, UpstreamPeer, http_response

Handle = Callable[[ServerConnection, dict[str, Any]], Awaitable[None]]
INITIALIZE = request("initialize", 0, protocolVersion="2025-11-25", capabilities={}, clientInfo={})


class Stand(NamedTuple):
    client: MCPClient
    proxy: RunningProxy
    sockets: list[ServerConnection]


found_port: list[int] = [0]
"""Where the server of the latest stand listens."""


@asynccontextmanager
async def stand(
    handle: Handle | None = None, *, target: str = "http://127.0.0.1:{port}/ws", **options: Any
) -> AsyncIterator[Stand]:
    """A server that initializes, and lets `handle` do the rest."""
    sockets: list[ServerConnection] = []

    async def connected(socket: ServerConnection) -> None:
        sockets.append(socket)
        async for text in socket:
            message = json.loads(text)
            if message.get("method") == "initialize":
                info = {"capabilities": {}, "serverInfo": {"name": "s", "version": "1"}}
                answer = result(message["id"], protocolVersion=message["params"]["protocolVersion"], **info)
                await socket.send(json.dumps(answer))
            elif handle is not None and "id" in message:
                await handle(socket, message)

    server_options = {"subprotocols": ["mcp"], **options.pop("server", {})}
    config = {"limits": Limits(first_byte_timeout_seconds=5), **options}
    async with serve(connected, "127.0.0.1", 0, **server_options) as server:
        port = found_port[0] = server.sockets[0].getsockname()[1]
        async with (
            running_proxy(
                type="mcp",
                target_url=target.format(port=port),
                client_key=CLIENT_KEY,
                upstream_bearer=UPSTREAM_KEY,
                ruleset=small_ruleset(),
                mcp=MCPSettings(transport="websocket"),
                **config,
            ) as proxy,
            httpx.AsyncClient(
                base_url=proxy.url, headers={"authorization": f"Bearer {CLIENT_KEY}"}, timeout=20
            ) as http,
        ):
            yield Stand(MCPClient(http), proxy, sockets)


async def echo(socket: ServerConnection, message: dict[str, Any]) -> None:
    await socket.send(json.dumps(text_result(message["id"], json.dumps(message))))


async def test_W_01_one_message_a_text_frame_with_the_subprotocol_and_our_credential() -> None:
    async with stand(echo) as (client, _proxy, sockets):
        session = await client.initialize()
        answer = await client.post(request("tools/call", "c", name="t", arguments={"a": 1}), session=session)
    seen = json.loads(answer.json()["result"]["content"][0]["text"])
    assert answer.json()["id"] == "c"
    assert seen["params"] == {"name": "t", "arguments": {"a": 1}}
    (socket,) = sockets
    assert socket.subprotocol == "mcp"
    assert socket.request.path == "/ws"
    assert socket.request.headers["authorization"] == f"Bearer {UPSTREAM_KEY}"
    assert "ostiary-" in socket.request.headers["via"]
    assert "origin" not in socket.request.headers


async def test_W_04_a_session_has_a_socket_of_its_own_which_closes_with_it() -> None:
    async with stand(echo) as (client, proxy, sockets):
        first, second = await client.initialize(), await client.initialize()
        await client.http.delete("/mcp", headers={"mcp-session-id": first})
        async with asyncio.timeout(10):
            await sockets[0].wait_closed()
        assert (sockets[0].close_code, len(sockets)) == (1000, 2)
        assert (await client.post(request("tools/call", name="t"), session=second)).status_code == 200
        assert proxy.upstream.open_channels == 1


async def test_W_04_a_socket_that_closes_ends_the_session() -> None:
    async def close(socket: ServerConnection, _message: dict[str, Any]) -> None:
        await socket.close(1008, "because")

    async with stand(close) as (client, _proxy, _sockets):
        session = await client.initialize()
        answer = await client.post(request("tools/list", 4), session=session)
        after = await client.post(request("tools/list"), session=session)
    assert (answer.status_code, answer.json()["id"]) == (502, 4)
    assert answer.json()["error"]["message"] == "The upstream closed its WebSocket (1008)."
    assert "because" not in answer.text
    assert after.status_code == 404


async def test_W_02_a_binary_message_closes_with_1003() -> None:
    async def binary(socket: ServerConnection, _message: dict[str, Any]) -> None:
        await socket.send(b"{}")

    async with stand(binary) as (client, _proxy, sockets):
        session = await client.initialize()
        answer = await client.post(request("tools/list", 4), session=session)
        await sockets[0].wait_closed()
    assert answer.json()["error"]["data"]["code"] == "upstream_protocol_error"
    assert sockets[0].close_code == 1003


async def test_W_02_a_message_that_is_too_big_closes_with_1009(monkeypatch) -> None:
    monkeypatch.setattr("proxies.mcp.upstreams.websocket.MAX_MESSAGE_BYTES", 10_000)

    async def big(socket: ServerConnection, message: dict[str, Any]) -> None:
        async def pieces() -> AsyncIterator[str]:
            for _ in range(30):
                yield "x" * 1_000

        await socket.send(pieces())

    async with stand(big) as (client, _proxy, sockets):
        session = await client.initialize()
        answer = await client.post(request("tools/list", 4), session=session)
        await sockets[0].wait_closed()
    assert answer.json()["error"]["data"]["code"] == "upstream_protocol_error"
    assert sockets[0].close_code == 1009


async def test_W_01_a_fragmented_message_is_one_message() -> None:
    async def fragments(socket: ServerConnection, message: dict[str, Any]) -> None:
        text = json.dumps(text_result(message["id"], "whole"))
        await socket.send([text[:10], text[10:20], text[20:]])

    async with stand(fragments) as (client, _proxy, _sockets):
        session = await client.initialize()
        answer = await client.post(request("tools/call", name="t"), session=session)
    assert answer.json()["result"]["content"][0]["text"] == "whole"


async def test_W_01_a_large_answer_passes_with_back_pressure() -> None:
    async def large(socket: ServerConnection, message: dict[str, Any]) -> None:
        await socket.send(json.dumps(text_result(message["id"], "y" * 3_000_000)))

    async with stand(large) as (client, _proxy, _sockets):
        session = await client.initialize()
        answers = [await client.post(request("tools/call", name="t"), session=session) for _ in range(2)]
    assert [len(answer.json()["result"]["content"][0]["text"]) for answer in answers] == [3_000_000] * 2


async def test_W_02_a_peer_that_does_not_answer_pings_is_given_up(monkeypatch) -> None:
    monkeypatch.setattr("proxies.transport.websocket_client.PING_SECONDS", 0.2)

    async def deaf(socket: ServerConnection, _message: dict[str, Any]) -> None:
        socket.transport.pause_reading()
        socket.close_timeout = 0.1  # It would not hear the other side close either.

    async with stand(deaf) as (client, _proxy, _sockets):
        session = await client.initialize()
        answer = await client.post(request("tools/list", 4), session=session)
    assert answer.status_code == 504
    assert answer.json()["error"]["data"]["code"] == "upstream_idle_timeout"


async def test_W_02_a_quiet_peer_that_answers_pings_is_kept(monkeypatch) -> None:
    monkeypatch.setattr("proxies.transport.websocket_client.PING_SECONDS", 0.1)

    async def slow(socket: ServerConnection, message: dict[str, Any]) -> None:
        await asyncio.sleep(0.6)
        await echo(socket, message)

    async with stand(slow) as (client, _proxy, _sockets):
        session = await client.initialize()
        assert (await client.post(request("tools/call", name="t"), session=session)).status_code == 200


async def test_W_02_what_the_rules_block_does_not_pass_either_way() -> None:
    async def poisoned(socket: ServerConnection, message: dict[str, Any]) -> None:
        await socket.send(json.dumps(text_result(message["id"], "BLOCK-THIS-ANSWER")))

    async with stand(poisoned) as (client, proxy, _sockets):
        session = await client.initialize()
        request_blocked = await client.post(
            request("tools/call", 1, name="t", arguments={"args": f"x; {BLOCKED}"}), session=session
        )
        answer_blocked = await client.post(request("tools/call", 2, name="t", arguments={}), session=session)
    assert request_blocked.json()["error"]["code"] == -32010
    assert answer_blocked.json()["error"]["code"] == -32010
    assert [record.outcome for record in proxy.records[1:]] == ["blocked", "blocked"]


async def test_W_02_a_server_without_the_subprotocol_is_refused() -> None:
    async with stand(echo, server={"subprotocols": None}) as (client, _proxy, _sockets):
        answer = await client.post(INITIALIZE)
    assert answer.status_code == 502
    assert answer.json()["error"]["message"] == "The upstream's WebSocket does not speak mcp."


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (http_response(403), "HTTP 403"),
        (http_response(200, b"hello"), "HTTP 200"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", "not acceptable"),
        (b"not http at all\r\n\r\n", "WebSocket handshake"),
        (b"", "WebSocket handshake"),
    ],
)
async def test_W_02_a_handshake_that_fails_is_an_error_in_words(answer: bytes, words: str) -> None:
    async def script(peer: UpstreamPeer) -> None:
        await peer.read_request()
        if answer:
            await peer.send(answer)

    async with (
        Upstream(script) as upstream,
        running_proxy(
            type="mcp",
            target_url=f"{upstream.url}/ws",
            client_key=CLIENT_KEY,
            ruleset=small_ruleset(),
            mcp=MCPSettings(transport="websocket"),
        ) as proxy,
        httpx.AsyncClient(base_url=proxy.url, headers={"authorization": f"Bearer {CLIENT_KEY}"}, timeout=20) as http,
    ):
        refused = await MCPClient(http).post(INITIALIZE)
    assert refused.status_code == 502
    assert words in refused.json()["error"]["message"]


async def test_W_02_a_handshake_without_an_answer_times_out() -> None:
    async def script(peer: UpstreamPeer) -> None:
        await peer.read_request()
        while await peer.read_some():
            pass

    async with (
        Upstream(script) as upstream,
        running_proxy(
            type="mcp",
            target_url=f"{upstream.url}/ws",
            client_key=CLIENT_KEY,
            ruleset=small_ruleset(),
            limits=Limits(first_byte_timeout_seconds=0.3),
            mcp=MCPSettings(transport="websocket"),
        ) as proxy,
        httpx.AsyncClient(base_url=proxy.url, headers={"authorization": f"Bearer {CLIENT_KEY}"}, timeout=20) as http,
    ):
        refused = await MCPClient(http).post(INITIALIZE)
    assert refused.status_code == 504


async def test_W_01_tls_is_verified_against_the_configured_authority(tmp_path) -> None:
    authority = Authority(tmp_path)
    certificate = authority.issue("localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert_path, certificate.key_path)
    options: dict[str, Any] = {"target": "https://localhost:{port}/ws"}
    async with stand(echo, **options, server={"ssl": context}, upstream_ca_path=authority.ca_path) as found:
        session = await found.client.initialize()
        assert (await found.client.post(request("tools/call", name="t"), session=session)).status_code == 200
    async with stand(echo, **options, server={"ssl": context}) as found:
        refused = await found.client.post(INITIALIZE)
    assert refused.json()["error"]["data"]["code"] == "upstream_tls_error"


async def test_W_01_a_plain_websocket_goes_through_a_tunnel_of_the_http_proxy() -> None:
    async with ForwardProxy() as way:
        options: dict[str, Any] = {"target": "http://ws.test/ws"}
        hop = UpstreamProxy(host="127.0.0.1", port=way.port)
        async with stand(echo, **options, upstream_proxy=hop) as (client, _proxy, _sockets):
            way.names["ws.test:80"] = found_port[0]
            session = await client.initialize()
            assert (await client.post(request("tools/call", name="t"), session=session)).status_code == 200
    assert [head.split()[:2] for head in way.heads] == [["CONNECT", "ws.test:80"]]


async def test_W_01_the_egress_policy_holds_for_websockets() -> None:
    async with stand(echo, target="http://169.254.169.254/ws") as (client, proxy, _sockets):
        refused = await client.post(INITIALIZE)
    assert refused.json()["error"]["data"]["code"] == "upstream_address_refused"
    assert "169.254" in proxy.records[0].reason
