"""WebSocket clients: what an SDK does, and the rules of the transport (W-01..W-04)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest
from websockets.exceptions import InvalidStatus

from proxies.contract import Limits
from proxies.runtime import KeyRing
from tests.mcp_downstreams import close_frame, websocket
from tests.mcp_legacy_server import Server, methods
from tests.mcp_rules import small_ruleset
from tests.mcp_server import MCPServerProcess
from tests.mcp_wire import (
    CLIENT_KEY,
    META,
    OTHER_KEY,
    notification,
    request,
    rpc,
    stream_head,
    text_result,
    wire,
)
from tests.proxy_harness import RunningProxy, running_proxy
from tests.rawpeer import RawMessage, UpstreamPeer

HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "ws", "version": "1"}}


@pytest.fixture
async def proxy(server: MCPServerProcess) -> AsyncIterator[RunningProxy]:
    async with running_proxy(
        type="mcp", target_url=server.url, client_key=CLIENT_KEY, other_keys=(OTHER_KEY,), ruleset=small_ruleset()
    ) as running:
        yield running


async def ask(connection: Any, message: Any) -> Any:
    """Send one message; what comes next."""
    await connection.send(message if isinstance(message, str | bytes) else json.dumps(message))
    async with asyncio.timeout(10):
        return json.loads(await connection.recv())


async def test_W_04_two_connections_of_one_key_have_sessions_of_their_own_and_equal_ids_do_not_meet() -> None:
    async def call(raw: RawMessage, _peer: UpstreamPeer) -> bytes:
        name = rpc(raw)["params"]["name"]
        body = json.dumps(text_result(rpc(raw)["id"], name)).encode()
        return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)

    async with (
        wire(Server(tools_call=call)) as (_client, _upstream, proxy),
        websocket(proxy) as first,
        websocket(proxy) as second,
    ):
        for connection in (first, second):
            await ask(connection, request("initialize", 0, **HELLO))
        one, two = await asyncio.gather(
            ask(first, request("tools/call", 7, name="one", arguments={})),
            ask(second, request("tools/call", 7, name="two", arguments={})),
        )
    assert [answer["result"]["content"][0]["text"] for answer in (one, two)] == ["one", "two"]


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"key": ""}, 401),
        ({"key": "ost_wrong"}, 401),
        ({"origin": "http://evil.test"}, 403),
        ({"subprotocols": ("graphql",)}, 400),
    ],
)
async def test_W_02_the_handshake_is_refused_before_it_is_accepted(options, status) -> None:
    async with wire(Server()) as (_client, upstream, proxy):
        with pytest.raises(InvalidStatus) as refused:
            async with websocket(proxy, **options):
                pass
        (record,) = await proxy.wait_for_records(1)
    assert refused.value.response.status_code == record.status == status
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 400),
        ({"sec-websocket-protocol": "mcp", "upgrade": "websocket", "connection": "upgrade", "host": "evil.test"}, 403),
        ({"sec-websocket-protocol": "mcp"}, 426),
        ({"sec-websocket-protocol": "mcp", "upgrade": "websocket", "connection": "upgrade"}, 400),
        (
            {
                "sec-websocket-protocol": "mcp",
                "upgrade": "websocket",
                "connection": "upgrade",
                "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==",
                "sec-websocket-version": "12",
            },
            400,
        ),
    ],
)
async def test_W_02_what_is_no_handshake_gets_a_plain_answer(headers, status) -> None:
    async with wire(Server()) as (client, _upstream, _proxy):
        answer = await client.http.get("/ws", headers=headers)
    assert answer.status_code == status
    assert answer.json()["error"]["data"]["code"] == ("host_not_allowed" if status == 403 else "websocket_handshake")


async def test_W_02_the_subprotocol_is_mcp_and_nothing_is_compressed() -> None:
    async with (
        wire(Server()) as (_client, _upstream, proxy),
        websocket(proxy, subprotocols=("other", "mcp")) as connection,
    ):
        assert connection.subprotocol == "mcp"
        assert connection.protocol.extensions == []


async def test_W_02_a_binary_message_closes_with_1003() -> None:
    async with wire(Server()) as (_client, _upstream, proxy), websocket(proxy) as connection:
        await connection.send(b"{}")
        code, _ = await close_frame(connection)
    assert code == 1003


async def test_W_02_a_message_over_the_limit_closes_with_1009() -> None:
    async with (
        wire(Server(), limits=Limits(max_body_bytes=1000)) as (_client, upstream, proxy),
        websocket(proxy) as connection,
    ):
        await connection.send("x" * 1001)
        code, _ = await close_frame(connection)
    assert code == 1009
    assert upstream.requests == []


async def test_W_02_malformed_json_is_answered_a_few_times_and_then_closes_with_1007() -> None:
    async with wire(Server()) as (_client, _upstream, proxy), websocket(proxy) as connection:
        answers = [await ask(connection, "{") for _ in range(5)]
        working = await ask(connection, request("initialize", 0, **HELLO))
        await connection.send('{"a":1,"a":2}')
        code, _ = await close_frame(connection)
    assert {(answer["id"], answer["error"]["code"]) for answer in answers} == {(None, -32700)}
    assert working["id"] == 0
    assert code == 1007


async def test_W_02_text_that_is_not_utf_8_closes_with_1007() -> None:
    async with wire(Server()) as (_client, _upstream, proxy), websocket(proxy) as connection:
        await connection.send(b"\xff\xfe", text=True)
        code, _ = await close_frame(connection)
    assert code == 1007


async def test_W_02_pings_are_answered_and_fragments_joined() -> None:
    async with wire(Server()) as (_client, _upstream, proxy), websocket(proxy) as connection:
        async with asyncio.timeout(10):
            await (await connection.ping(b"there?"))
        text = json.dumps(request("initialize", 0, **HELLO))
        await connection.send([text[:5], text[5:20], text[20:]])
        assert json.loads(await connection.recv())["id"] == 0


async def test_W_03_a_ticket_opens_one_connection_and_no_second_one() -> None:
    async with wire(Server()) as (client, _upstream, proxy):
        answer = await client.http.post("/ws/ticket")
        ticket = answer.json()["ticket"]
        async with websocket(proxy, "", subprotocols=("mcp", ticket)) as connection:
            assert connection.subprotocol == "mcp"
            assert (await ask(connection, request("initialize", 0, **HELLO)))["id"] == 0
        with pytest.raises(InvalidStatus) as refused:
            async with websocket(proxy, "", subprotocols=("mcp", ticket)):
                pass
        initialize = next(record for record in proxy.records if record.operation == "initialize")
    assert answer.json()["expires_in"] <= 30
    assert refused.value.response.status_code == 401
    assert initialize.principal_id == "key_test"


async def test_W_03_a_ticket_needs_a_key_and_is_no_credential_elsewhere() -> None:
    async with wire(Server()) as (client, _upstream, proxy), httpx.AsyncClient(base_url=proxy.url) as nobody:
        refused = await nobody.post("/ws/ticket")
        ticket = (await client.http.post("/ws/ticket")).json()["ticket"]
        as_key = await nobody.post("/mcp", json=request("ping"), headers={"authorization": f"Bearer {ticket}"})
        in_query = await nobody.get(f"/ws?ticket={ticket}")
        get = await client.http.get("/ws/ticket")
    assert [one.status_code for one in (refused, as_key, in_query, get)] == [401, 401, 401, 405]


async def test_W_03_an_expired_key_is_noticed_by_the_next_message() -> None:
    async with wire(Server()) as (_client, upstream, proxy), websocket(proxy) as connection:
        await ask(connection, request("initialize", 0, **HELLO))
        proxy.runtime = msgspec.structs.replace(proxy.runtime, keys=KeyRing([]))
        refused = await ask(connection, request("tools/list", 1))
        code, _ = await close_frame(connection)
    assert refused["error"]["code"] == -32011
    assert code == 1008
    assert "tools/list" not in methods(upstream)


async def test_W_04_a_modern_message_has_no_header_layer_and_is_judged_by_its_body(proxy, server) -> None:
    async with websocket(proxy) as connection:
        listed = await ask(connection, request("tools/list", 1, _meta=META))
        params = {"name": "lookup", "arguments": {"region": "Zürich", "id": 7}, "_meta": META}
        called = await ask(connection, request("tools/call", "c-7", **params))
        strange = META | {"io.modelcontextprotocol/protocolVersion": "2027-01-01"}
        newer = await ask(connection, request("tools/list", 2, _meta=strange))
    assert any(tool["name"] == "lookup" for tool in listed["result"]["tools"])
    assert called["result"]["content"][0]["text"] == "Zürich/7"
    assert newer["error"]["code"] == -32022
    assert {record.protocol for record in proxy.records if record.path == "/ws"} >= {"mcp.modern"}


async def test_W_04_a_modern_request_is_cancelled_by_a_message_and_its_server_sees_the_stream_closed() -> None:
    gone = asyncio.Event()

    async def call(_raw: RawMessage, peer: UpstreamPeer) -> None:
        await peer.send(stream_head())
        await peer.wait_gone()
        gone.set()

    async with wire(Server(tools_call=call)) as (_client, upstream, proxy), websocket(proxy) as connection:
        await connection.send(json.dumps(request("tools/call", 3, name="x", arguments={}, _meta=META)))
        await upstream.wait_for_requests(1)
        await connection.send(json.dumps(notification("notifications/cancelled", requestId=3)))
        async with asyncio.timeout(10):
            await gone.wait()


async def test_a_client_that_does_not_read_makes_the_upstream_wait(proxy) -> None:
    async with websocket(proxy, max_queue=1, write_limit=1024) as connection:
        await ask(connection, request("initialize", 0, **HELLO))
        text = "y" * 200_000
        for id in range(1, 41):
            await connection.send(json.dumps(request("tools/call", id, name="echo", arguments={"text": text})))
        seen = set()
        async with asyncio.timeout(30):
            while len(seen) < 40:
                seen.add(json.loads(await connection.recv())["id"])
    assert seen == set(range(1, 41))
