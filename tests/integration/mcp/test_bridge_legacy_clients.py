"""What the bridge says on the wire when a legacy client meets a modern server, and the servers it leaves alone (E-05)."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tests.mcp_legacy_server import Server, legacy_only, methods, next_message
from tests.mcp_modern_server import BRIDGE, CAPABILITIES, COMPLETE, QUESTION, SUBSCRIPTION, ModernServer
from tests.mcp_wire import (
    MODERN,
    event,
    json_answer,
    legacy_headers,
    messages_of,
    notification,
    request,
    result,
    rpc,
    rpc_error,
    stream_head,
    wire,
)
from tests.rawpeer import RawMessage, UpstreamPeer, chunked, http_response


async def test_E_05_initialize_is_answered_from_discover() -> None:
    server = ModernServer()
    async with wire(server, mcp=BRIDGE) as (client, _upstream, _proxy):
        hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "old", "version": "1"}}
        answer = (await client.post(request("initialize", "i", **hello))).json()
        session = await client.initialize("2025-06-18")
        listed = await client.post(request("tools/list", 5), session=session)
        ping = await client.post(request("ping", 6), session=session)
    assert answer["id"] == "i"
    assert answer["result"]["protocolVersion"] == "2025-06-18"
    assert answer["result"]["serverInfo"] == {"name": "modern", "version": "9"}
    assert answer["result"]["instructions"] == "Be kind."
    assert answer["result"]["capabilities"] == CAPABILITIES
    assert listed.json() == {"jsonrpc": "2.0", "id": 5, "result": {}}
    assert ping.json()["result"] == {}
    assert [message["method"] for message in server.seen].count("ping") == 0


async def test_E_05_every_request_has_the_envelope_and_the_fields_of_the_modern_era() -> None:
    server = ModernServer()
    async with wire(server, mcp=BRIDGE) as (client, _upstream, _proxy):
        session = await client.initialize(capabilities={"sampling": {}})
        params = {"name": "x", "arguments": {}, "_meta": {"progressToken": "p", "own/key": 1}}
        await client.post(request("logging/setLevel", 1, level="warning"), session=session)
        await client.post(request("tools/call", 2, **params), session=session, traceparent="00-aa-bb-01")
    sent, raw = server.seen[-1], server.fields[-1]
    assert sent["params"]["_meta"] == {
        "progressToken": "p",
        "own/key": 1,
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {"sampling": {}},
        "io.modelcontextprotocol/clientInfo": {"name": "wire", "version": "1"},
        "io.modelcontextprotocol/logLevel": "warning",
    }
    names = ("mcp-protocol-version", "mcp-method", "mcp-name", "mcp-session-id", "traceparent")
    assert [raw.header(name) for name in names] == [MODERN, "tools/call", "x", None, "00-aa-bb-01"]
    assert "logging/setLevel" not in [message["method"] for message in server.seen]


async def test_E_05_required_input_becomes_a_server_request_and_a_retry() -> None:
    asked = {"who": {"method": "elicitation/create", "params": QUESTION}}
    first = {"resultType": "input_required", "inputRequests": asked, "requestState": "s1"}
    again = {"resultType": "input_required", "requestState": "s2"}
    last = {"resultType": "complete", "content": [{"type": "text", "text": "hello Eve"}]}
    server = ModernServer(tools_call=[first, again, last])
    async with wire(server, mcp=BRIDGE) as (client, _upstream, _proxy):
        session = await client.initialize(capabilities={"elicitation": {}})
        fields = legacy_headers(session)
        body = json.dumps(request("tools/call", 7, name="greet", arguments={"a": 1}))
        async with client.http.stream("POST", "/mcp", content=body, headers=fields) as stream:
            lines = stream.aiter_lines()
            question = await next_message(lines)
            said = {"jsonrpc": "2.0", "id": question["id"], "result": {"action": "accept", "content": {"n": "Eve"}}}
            accepted = await client.post(said, session=session)
            answer = await next_message(lines)
    calls = [message["params"] for message in server.seen if message["method"] == "tools/call"]
    assert question["method"] == "elicitation/create"
    assert question["params"] == QUESTION
    assert accepted.status_code == 202
    assert answer == {"jsonrpc": "2.0", "id": 7, "result": {"content": [{"type": "text", "text": "hello Eve"}]}}
    assert [call.get("requestState") for call in calls] == [None, "s1", "s2"]
    assert calls[1]["inputResponses"] == {"who": {"action": "accept", "content": {"n": "Eve"}}}
    assert "inputResponses" not in calls[2]
    assert {json.dumps(call["arguments"]) for call in calls} == {'{"a": 1}'}
    assert len({message["id"] for message in server.seen if message["method"] == "tools/call"}) == 3


async def test_E_05_input_that_the_client_never_declared_is_not_asked_for() -> None:
    asked = {"who": {"method": "sampling/createMessage", "params": {"messages": [], "maxTokens": 1}}}
    server = ModernServer(tools_call={"resultType": "input_required", "inputRequests": asked})
    async with wire(server, mcp=BRIDGE) as (client, _upstream, _proxy):
        session = await client.initialize()
        answer = await client.post(request("tools/call", 7, name="x", arguments={}), session=session)
    (error,) = messages_of(answer.text) if "data:" in answer.text else [answer.json()]
    assert error["error"]["code"] == -32603


async def test_E_05_the_session_stream_is_a_subscription_which_follows_what_the_client_subscribes_to() -> None:
    filters: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def listen(raw: RawMessage, peer: UpstreamPeer) -> None:
        message = rpc(raw)
        wanted = message["params"]["notifications"]
        filters.put_nowait(wanted)
        meta = {SUBSCRIPTION: message["id"]}
        await peer.send(stream_head())
        acknowledged = notification("notifications/subscriptions/acknowledged", notifications=wanted, _meta=meta)
        told = notification("notifications/tools/list_changed", _meta=meta)
        await peer.send(chunked(event(acknowledged), event(told), last=False))
        await peer.wait_gone()

    server = ModernServer(subscriptions_listen=listen)
    async with wire(server, mcp=BRIDGE) as (client, _upstream, _proxy):
        session = await client.initialize()
        fields = legacy_headers(session)
        async with client.http.stream("GET", "/mcp", headers=fields) as stream, asyncio.timeout(10):
            lines = stream.aiter_lines()
            told = await next_message(lines)
            first = await filters.get()
            subscribed = await client.post(request("resources/subscribe", 2, uri="test://a"), session=session)
            second = await filters.get()
    assert (
        told == {"jsonrpc": "2.0", "method": "notifications/tools/list_changed", "params": {}} or "params" not in told
    )
    assert first == {"toolsListChanged": True}
    assert second == {"toolsListChanged": True, "resourceSubscriptions": ["test://a"]}
    assert subscribed.json()["result"] == {}


async def test_E_06_codes_of_the_modern_era_do_not_reach_a_legacy_client() -> None:
    async def refused(raw: RawMessage, _peer: UpstreamPeer) -> bytes:
        return json_answer(rpc_error(rpc(raw)["id"], -32021, "Missing capability"), 400)

    async with wire(ModernServer(tools_call=refused), mcp=BRIDGE) as (client, _upstream, _proxy):
        session = await client.initialize()
        answer = await client.post(request("tools/call", 7, name="x", arguments={}), session=session)
    assert (answer.status_code, answer.json()["id"], answer.json()["error"]["code"]) == (200, 7, -32600)


async def test_M_03_arguments_that_must_be_mirrored_are_learned_when_the_server_asks_for_them() -> None:
    schema = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}

    async def call(raw: RawMessage, _peer: UpstreamPeer) -> bytes:
        if raw.header("mcp-param-region") != "eu-1":
            return json_answer(rpc_error(rpc(raw)["id"], -32020, "Mcp-Param-Region is missing"), 400)
        return json_answer(result(rpc(raw)["id"], content=[], resultType="complete"))

    tools = {"tools": [{"name": "lookup", "inputSchema": schema}], **COMPLETE}
    server = ModernServer(tools_call=call, tools_list=tools)
    async with wire(server, mcp=BRIDGE) as (client, _upstream, _proxy):
        session = await client.initialize()
        body = request("tools/call", 7, name="lookup", arguments={"region": "eu-1"})
        answers = [(await client.post(body, session=session)).json() for _ in range(2)]
    assert [answer["result"] for answer in answers] == [{"content": []}, {"content": []}]
    assert [message["method"] for message in server.seen[1:]] == [
        "tools/call",
        "tools/list",
        "tools/call",
        "tools/call",
    ]


async def test_L_07_a_batch_becomes_single_requests() -> None:
    async with wire(ModernServer(), mcp=BRIDGE) as (client, _upstream, _proxy):
        session = await client.initialize("2025-03-26")
        answer = await client.post([request("tools/list", 1), request("prompts/list", 2)], session=session)
    messages = messages_of(answer.text) if "data:" in answer.text else answer.json()
    assert {message["id"] for message in messages} == {1, 2}


async def test_L_13_the_end_of_a_bridged_session_is_a_matter_of_the_gateway_alone() -> None:
    async with wire(ModernServer(), mcp=BRIDGE) as (client, upstream, _proxy):
        session = await client.initialize()
        before = len(upstream.requests)
        gone = await client.http.delete("/mcp", headers={"mcp-session-id": session})
        late = await client.post(request("tools/list", 1), session=session)
    assert (gone.status_code, late.status_code, len(upstream.requests)) == (204, 404, before)


async def test_an_upstream_that_fails_in_a_bridged_call_is_a_502_with_the_id() -> None:
    async def broken(_raw: RawMessage, _peer: UpstreamPeer) -> bytes:
        return http_response(503)

    async with wire(ModernServer(tools_call=broken), mcp=BRIDGE) as (client, _upstream, _proxy):
        session = await client.initialize()
        answer = await client.post(request("tools/call", 7, name="x", arguments={}), session=session)
    assert (answer.status_code, answer.json()["id"], answer.json()["error"]["code"]) == (502, 7, -32012)


async def test_L_11_a_cancelled_request_of_a_bridged_session_is_left_at_the_server() -> None:
    gone = asyncio.Event()

    async def call(_raw: RawMessage, peer: UpstreamPeer) -> None:
        await peer.send(stream_head() + chunked(event(notification("notifications/progress", progress=1)), last=False))
        await peer.wait_gone()
        gone.set()

    async with wire(ModernServer(tools_call=call), mcp=BRIDGE) as (client, _upstream, _proxy):
        session = await client.initialize()
        body = json.dumps(request("tools/call", 7, name="x", arguments={}))
        async with client.http.stream("POST", "/mcp", content=body, headers=legacy_headers(session)) as stream:
            await next_message(stream.aiter_lines())
            cancelled = await client.post(notification("notifications/cancelled", requestId=7), session=session)
            async with asyncio.timeout(10):
                await gone.wait()
    assert cancelled.status_code == 202


async def test_a_bridged_stream_cannot_be_resumed_and_a_second_one_takes_its_place() -> None:
    async def listen(raw: RawMessage, peer: UpstreamPeer) -> None:
        told = notification("notifications/tools/list_changed", _meta={SUBSCRIPTION: rpc(raw)["id"], "own": 1})
        await peer.send(stream_head() + chunked(event(told), last=False))
        await peer.wait_gone()

    async with wire(ModernServer(subscriptions_listen=listen), mcp=BRIDGE) as (client, _upstream, _proxy):
        session = await client.initialize()
        fields = legacy_headers(session)
        async with client.http.stream("GET", "/mcp", headers=fields) as first:
            told = await next_message(first.aiter_lines())
            async with client.http.stream("GET", "/mcp", headers=fields) as second:
                await next_message(second.aiter_lines())
                async with asyncio.timeout(10):
                    await first.aclose()
    assert told["params"]["_meta"] == {"own": 1}


async def test_E_05_an_error_to_initialize_that_is_not_about_the_era_stays_the_clients() -> None:
    async def no(raw: RawMessage, _peer: UpstreamPeer) -> bytes:
        return json_answer(rpc_error(rpc(raw)["id"], -32603, "not today"))

    async with wire(legacy_only(Server(initialize=no)), mcp=BRIDGE) as (client, _upstream, _proxy):
        hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
        answer = await client.post(request("initialize", 2, **hello))
    assert answer.json()["error"]["message"] == "not today"


async def test_E_05_a_server_of_a_newer_modern_version_only_cannot_be_bridged() -> None:
    async def newer(raw: RawMessage, _peer: UpstreamPeer) -> bytes:
        return json_answer(rpc_error(rpc(raw).get("id"), -32022, "no", supported=["2030-01-01"]), 400)

    async with wire(newer, mcp=BRIDGE) as (client, _upstream, _proxy):
        hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
        answer = await client.post(request("initialize", 2, **hello))
    assert answer.json()["error"]["code"] == -32022


async def test_E_05_a_legacy_session_of_the_server_goes_through_unchanged() -> None:
    async def listening(_raw: RawMessage, peer: UpstreamPeer) -> None:
        told = event(notification("notifications/tools/list_changed"), "e1")
        await peer.send(stream_head() + chunked(told))

    async with wire(legacy_only(Server(GET=listening)), mcp=BRIDGE) as (client, upstream, _proxy):
        session = await client.initialize()
        stream = await client.http.get("/mcp", headers=legacy_headers(session))
        called = await client.post(request("tools/call", 3, name="x", arguments={}), session=session)
        await client.http.delete("/mcp", headers={"mcp-session-id": session})
    assert messages_of(stream.text)[0]["method"] == "notifications/tools/list_changed"
    assert called.json()["result"]["content"][0]["text"] == "ok"
    assert methods(upstream) == ["initialize", "GET", "tools/call", "DELETE"]
