"""What the bridge between the eras says on the wire of either side, against scripted servers (E-05)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from proxies.contract import MCPSettings
from tests.mcp_legacy_server import Server as LegacyServer
from tests.mcp_legacy_server import asking, methods, next_message
from tests.mcp_wire import (
    META,
    MODERN,
    OTHER_KEY,
    MCPClient,
    event,
    json_answer,
    legacy_headers,
    messages_of,
    modern,
    notification,
    request,
    result,
    rpc,
    rpc_error,
    stream_answer,
    stream_head,
    wire,
)
from tests.rawpeer import RawMessage, UpstreamPeer, chunked, http_response

BRIDGE = MCPSettings(era="bridge")
SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
QUESTION = {"message": "Your name?", "requestedSchema": {"type": "object", "properties": {}}}
CAPABILITIES = {"tools": {"listChanged": True}, "resources": {"subscribe": True}, "logging": {}}


class ModernServer:
    """A scripted server of the modern era only; `answers` by method with underscores."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.seen: list[dict[str, Any]] = []
        self.fields: list[RawMessage] = []

    async def __call__(self, raw: RawMessage, peer: UpstreamPeer) -> bytes | None:
        if raw.method != "POST":
            return http_response(405)
        message = rpc(raw)
        if raw.header("mcp-protocol-version") != MODERN:
            return json_answer(rpc_error(message.get("id"), -32022, supported=[MODERN]), 400)
        self.seen.append(message)
        self.fields.append(raw)
        if message["method"] == "server/discover":
            members = {"supportedVersions": [MODERN], "capabilities": CAPABILITIES, "instructions": "Be kind."}
            meta = {"io.modelcontextprotocol/serverInfo": {"name": "modern", "version": "9"}}
            return json_answer(result(message["id"], **members, _meta=meta, **COMPLETE))
        answer = self.answers.get(message["method"].replace("/", "_"))
        if answer is None:
            return json_answer(result(message["id"], **COMPLETE))
        if isinstance(answer, list):
            answer = answer.pop(0)
        return await answer(raw, peer) if callable(answer) else json_answer(result(message["id"], **answer))


COMPLETE = {"resultType": "complete", "ttlMs": 5, "cacheScope": "public"}


async def opened(client: MCPClient, **params: Any) -> str:
    """A legacy session."""
    return await client.initialize(**params)


# --- Legacy client, modern server -------------------------------------------------------------------------------------


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
        session = await opened(client, capabilities={"sampling": {}})
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
        session = await opened(client, capabilities={"elicitation": {}})
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
        session = await opened(client)
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
        session = await opened(client)
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
        session = await opened(client)
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
        session = await opened(client)
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
        session = await opened(client)
        before = len(upstream.requests)
        gone = await client.http.delete("/mcp", headers={"mcp-session-id": session})
        late = await client.post(request("tools/list", 1), session=session)
    assert (gone.status_code, late.status_code, len(upstream.requests)) == (204, 404, before)


async def test_an_upstream_that_fails_in_a_bridged_call_is_a_502_with_the_id() -> None:
    async def broken(_raw: RawMessage, _peer: UpstreamPeer) -> bytes:
        return http_response(503)

    async with wire(ModernServer(tools_call=broken), mcp=BRIDGE) as (client, _upstream, _proxy):
        session = await opened(client)
        answer = await client.post(request("tools/call", 7, name="x", arguments={}), session=session)
    assert (answer.status_code, answer.json()["id"], answer.json()["error"]["code"]) == (502, 7, -32012)


# --- Modern client, legacy server -------------------------------------------------------------------------------------


def refusing_modern(server: LegacyServer) -> Callable[..., Any]:
    """A legacy server that has never heard of the modern era."""

    async def respond(raw: RawMessage, peer: UpstreamPeer) -> bytes | None:
        if (raw.header("mcp-protocol-version") or "") >= MODERN:
            return json_answer(rpc_error("server-error", -32600, "Bad Request: Missing session ID"), 400)
        if b"notifications/initialized" in raw.body:
            return http_response(202)
        return await server(raw, peer)

    return respond


async def test_E_05_discover_is_answered_from_initialize() -> None:
    async def no_tools(raw: RawMessage, _peer: UpstreamPeer) -> bytes:
        return json_answer(result(rpc(raw)["id"], tools=[]))

    server = LegacyServer(tools_list=no_tools)
    async with wire(refusing_modern(server), mcp=BRIDGE) as (client, upstream, _proxy):
        answer = (await client.post_modern(request("server/discover", "d"))).json()
        listed = (await client.post_modern(request("tools/list", 2))).json()
    found = answer["result"]
    assert found["supportedVersions"] == [MODERN]
    assert found["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "scripted"
    assert (found["resultType"], found["ttlMs"], found["cacheScope"]) == ("complete", 0, "private")
    assert listed["result"]["resultType"] == "complete"
    assert methods(upstream)[:4] == ["server/discover", "initialize", "notifications/initialized", "tools/list"]
    assert "_meta" not in rpc(upstream.requests[3]).get("params", {})
    assert upstream.requests[3].header("mcp-method") is None


async def test_E_05_principals_and_capabilities_do_not_share_a_session() -> None:
    other_meta = {**META, "io.modelcontextprotocol/clientCapabilities": {}}
    async with wire(refusing_modern(LegacyServer()), mcp=BRIDGE) as (client, upstream, _proxy):
        await client.post_modern(request("tools/list", 1))
        await client.post_modern(request("tools/list", 2))
        await client.post_modern(request("tools/list", 3), authorization=f"Bearer {OTHER_KEY}")
        await client.post_modern(request("tools/list", 4, _meta=other_meta))
    declared = [rpc(seen)["params"]["capabilities"] for seen in upstream.requests if b'"initialize"' in seen.body]
    assert declared == [{"elicitation": {}}, {"elicitation": {}}, {}]


async def test_E_05_a_server_request_becomes_required_input_and_the_retry_its_answer() -> None:
    question = request("elicitation/create", "q1", **QUESTION)
    server = LegacyServer(**asking(question))
    async with wire(refusing_modern(server), mcp=BRIDGE) as (client, upstream, _proxy):
        call = {"name": "greet", "arguments": {"a": 1}}
        first = (await client.post_modern(request("tools/call", 7, **call))).json()["result"]
        state = first["requestState"]
        given = {key: {"action": "accept", "content": {"n": "Eve"}} for key in first["inputRequests"]}
        retry = {**call, "inputResponses": given, "requestState": state}
        stolen = await client.post_modern(request("tools/call", 8, **retry), authorization=f"Bearer {OTHER_KEY}")
        changed = await client.post_modern(request("tools/call", 8, **(retry | {"arguments": {"a": 2}})))
        answer = (await client.post_modern(request("tools/call", 9, **retry))).json()
        twice = await client.post_modern(request("tools/call", 10, **retry))
    assert first["resultType"] == "input_required"
    (asked,) = first["inputRequests"].values()
    assert asked == {"method": "elicitation/create", "params": QUESTION}
    assert len(state) >= 22
    assert (answer["id"], answer["result"]["resultType"]) == (9, "complete")
    said = json.loads(answer["result"]["content"][0]["text"])
    assert said == [{"jsonrpc": "2.0", "id": "q1", "result": {"action": "accept", "content": {"n": "Eve"}}}]
    assert [one.json()["error"]["code"] for one in (stolen, changed, twice)] == [-32602] * 3
    assert methods(upstream).count("tools/call") == 1


async def test_E_05_two_questions_in_a_row_have_a_state_each() -> None:
    server = LegacyServer(**asking(request("elicitation/create", 1, **QUESTION), request("ping", 5)))
    async with wire(refusing_modern(server), mcp=BRIDGE) as (client, _upstream, _proxy):
        call = {"name": "greet", "arguments": {}}
        first = (await client.post_modern(request("tools/call", 7, **call))).json()["result"]
        retry = {**call, "inputResponses": {}, "requestState": first["requestState"]}
        answer = (await client.post_modern(request("tools/call", 8, **retry))).json()
    said = {one["id"]: one["result"] for one in json.loads(answer["result"]["content"][0]["text"])}
    assert said == {1: {"action": "decline"}, 5: {}}


async def test_E_05_what_the_client_did_not_declare_is_refused_for_it() -> None:
    question = request("sampling/createMessage", 3, messages=[], maxTokens=1)
    async with wire(refusing_modern(LegacyServer(**asking(question))), mcp=BRIDGE) as (client, _upstream, _proxy):
        answer = (await client.post_modern(request("tools/call", 7, name="x", arguments={}))).json()
    (said,) = json.loads(answer["result"]["content"][0]["text"])
    assert said["error"]["code"] == -32601


async def test_M_14_a_subscription_is_fed_from_the_session_stream() -> None:
    async def listening(_raw: RawMessage, peer: UpstreamPeer) -> None:
        told = [
            notification("notifications/tools/list_changed"),
            notification("notifications/prompts/list_changed"),
            notification("notifications/resources/updated", uri="test://a"),
        ]
        await peer.send(stream_head() + chunked(*map(event, told), last=False))
        await peer.wait_gone()

    async def initialize(raw: RawMessage, _peer: UpstreamPeer) -> bytes:
        info = {"name": "old", "version": "1"}
        members = {"protocolVersion": "2025-11-25", "capabilities": CAPABILITIES, "serverInfo": info}
        return json_answer(result(rpc(raw)["id"], **members), 200, "Mcp-Session-Id: s")

    server = LegacyServer(GET=listening, initialize=initialize)
    async with wire(refusing_modern(server), mcp=BRIDGE) as (client, upstream, _proxy):
        wanted = {"toolsListChanged": True, "promptsListChanged": True, "resourceSubscriptions": ["test://a"]}
        sent = modern(request("subscriptions/listen", "sub", notifications=wanted))
        async with client.http.stream("POST", "/mcp", **sent) as stream:
            lines = stream.aiter_lines()
            told = [await next_message(lines) for _ in range(3)]
        await upstream.wait_for_requests(6)
    honoured = {"toolsListChanged": True, "resourceSubscriptions": ["test://a"]}
    assert told[0]["params"]["notifications"] == honoured
    assert [one["method"].removeprefix("notifications/") for one in told] == [
        "subscriptions/acknowledged",
        "tools/list_changed",
        "resources/updated",
    ]
    assert {one["params"]["_meta"][SUBSCRIPTION] for one in told} == {"sub"}
    assert {"resources/subscribe", "resources/unsubscribe"} <= set(methods(upstream))


async def test_L_03_a_session_that_the_server_lost_is_opened_anew_for_the_request() -> None:
    lost = iter([True])

    async def listed(raw: RawMessage, _peer: UpstreamPeer) -> bytes:
        if next(lost, False):
            return http_response(404)
        return json_answer(result(rpc(raw)["id"], tools=[]))

    server = LegacyServer(tools_list=listed)
    async with wire(refusing_modern(server), mcp=BRIDGE) as (client, upstream, _proxy):
        answer = await client.post_modern(request("tools/list", 1))
    assert answer.json()["result"]["tools"] == []
    assert methods(upstream).count("initialize") == 2


async def test_M_13_leaving_a_bridged_call_cancels_it_at_the_server() -> None:
    async def slow(raw: RawMessage, peer: UpstreamPeer) -> None:
        token = rpc(raw)["params"]["_meta"]["progressToken"]
        await peer.send(stream_head())
        told = notification("notifications/progress", progressToken=token, progress=1)
        await peer.send(chunked(event(told), last=False))
        await peer.wait_gone()

    server = LegacyServer(tools_call=slow)
    async with wire(refusing_modern(server), mcp=BRIDGE) as (client, upstream, _proxy):
        meta = META | {"progressToken": "mine"}
        sent = modern(request("tools/call", 7, name="slow", arguments={}, _meta=meta))
        async with client.http.stream("POST", "/mcp", **sent) as stream:
            told = await next_message(stream.aiter_lines())
        await upstream.wait_for_requests(6)
        sent_there = {rpc(seen)["method"]: rpc(seen) for seen in upstream.requests if seen.body}
    assert told["params"]["progressToken"] == "mine"
    assert sent_there["notifications/cancelled"]["params"]["requestId"] == sent_there["tools/call"]["id"]


@pytest.mark.parametrize(("theirs", "ours"), [(-32002, -32602), (-32042, -32603), (-32000, -32000)])
async def test_E_05_codes_that_the_modern_era_does_not_have_are_translated(theirs: int, ours: int) -> None:
    async def refused(raw: RawMessage, _peer: UpstreamPeer) -> bytes:
        return stream_answer(rpc_error(rpc(raw)["id"], theirs, "no"))

    async with wire(refusing_modern(LegacyServer(tools_call=refused)), mcp=BRIDGE) as (client, _upstream, _proxy):
        answer = await client.post_modern(request("tools/call", 7, name="x", arguments={}))
    assert answer.json()["error"]["code"] == ours


async def test_E_05_an_upstream_status_keeps_its_meaning() -> None:
    server = LegacyServer(initialize=http_response(401))
    async with wire(refusing_modern(server), mcp=BRIDGE) as (client, _upstream, _proxy):
        answer = await client.post_modern(request("tools/list", 7))
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, -32012)


async def test_E_05_the_log_level_of_a_request_is_set_for_the_session_and_logs_of_others_do_not_pass() -> None:
    async def talkative(raw: RawMessage, _peer: UpstreamPeer) -> bytes:
        log = notification("notifications/message", level="error", data="said")
        return stream_answer(log, result(rpc(raw)["id"], content=[]))

    async def initialize(raw: RawMessage, _peer: UpstreamPeer) -> bytes:
        members = {"protocolVersion": "2025-11-25", "capabilities": CAPABILITIES, "serverInfo": {}}
        return json_answer(result(rpc(raw)["id"], **members))

    server = LegacyServer(tools_call=talkative, initialize=initialize)
    async with wire(refusing_modern(server), mcp=BRIDGE) as (client, upstream, _proxy):
        meta = META | {"io.modelcontextprotocol/logLevel": "warning"}
        call = {"name": "x", "arguments": {}}
        for id in (1, 2):
            wanted = await client.post_modern(request("tools/call", id, **call, _meta=meta))
        unwanted = await client.post_modern(request("tools/call", 3, **call))
    levels = [rpc(seen)["params"] for seen in upstream.requests if b"logging/setLevel" in seen.body]
    assert levels == [{"level": "warning"}]
    assert [message.get("method") for message in messages_of(wanted.text)] == ["notifications/message", None]
    assert "notifications/message" not in unwanted.text


async def test_M_14_the_session_stream_is_read_again_and_what_it_asks_is_answered_by_the_gateway() -> None:
    streams = iter(range(10))

    async def listening(_raw: RawMessage, peer: UpstreamPeer) -> None:
        asked = [request("ping", "p"), request("sampling/createMessage", "q", messages=[], maxTokens=1)]
        told = notification("notifications/tools/list_changed")
        first = next(streams) == 0
        await peer.send(stream_head() + chunked(*map(event, [*asked, told]), last=first))
        if not first:
            await peer.wait_gone()

    async def initialize(raw: RawMessage, _peer: UpstreamPeer) -> bytes:
        members = {"protocolVersion": "2025-11-25", "capabilities": CAPABILITIES, "serverInfo": {}}
        return json_answer(result(rpc(raw)["id"], **members), 200, "Mcp-Session-Id: s")

    server = LegacyServer(GET=listening, initialize=initialize)
    async with wire(refusing_modern(server), mcp=BRIDGE) as (client, upstream, _proxy):
        sent = modern(request("subscriptions/listen", 1, notifications={"toolsListChanged": True}))
        async with client.http.stream("POST", "/mcp", **sent) as stream:
            lines = stream.aiter_lines()
            told = [await next_message(lines) for _ in range(3)]
        replies = [rpc(seen) for seen in upstream.requests if b'"id":"p"' in seen.body or b'"id":"q"' in seen.body]
    assert [message["method"] for message in told[1:]] == ["notifications/tools/list_changed"] * 2
    assert {"jsonrpc": "2.0", "id": "p", "result": {}} in replies
    assert any(reply.get("error", {}).get("code") == -32601 for reply in replies)


async def test_M_11_a_notification_of_a_modern_client_ends_at_the_gateway() -> None:
    async with wire(refusing_modern(LegacyServer()), mcp=BRIDGE) as (client, upstream, _proxy):
        answer = await client.post_modern(notification("notifications/roots/list_changed"))
    assert answer.status_code == 202
    assert upstream.requests == []


@pytest.mark.parametrize("status", [401, 500])
async def test_E_02_a_bridge_does_not_guess_from_credentials_or_faults(status: int) -> None:
    async def troubled(_raw: RawMessage, _peer: UpstreamPeer) -> bytes:
        return http_response(status)

    async with wire(troubled, mcp=BRIDGE) as (client, upstream, _proxy):
        new = await client.post_modern(request("tools/list", 1))
        hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
        old = await client.post(request("initialize", 2, **hello))
    assert (new.status_code, old.status_code) == (502, 502)
    assert methods(upstream) == ["server/discover", "initialize"]


async def test_E_05_an_error_to_initialize_that_is_not_about_the_era_stays_the_clients() -> None:
    async def no(raw: RawMessage, _peer: UpstreamPeer) -> bytes:
        return json_answer(rpc_error(rpc(raw)["id"], -32603, "not today"))

    async with wire(refusing_modern(LegacyServer(initialize=no)), mcp=BRIDGE) as (client, _upstream, _proxy):
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

    async with wire(refusing_modern(LegacyServer(GET=listening)), mcp=BRIDGE) as (client, upstream, _proxy):
        session = await opened(client)
        stream = await client.http.get("/mcp", headers=legacy_headers(session))
        called = await client.post(request("tools/call", 3, name="x", arguments={}), session=session)
        await client.http.delete("/mcp", headers={"mcp-session-id": session})
    assert messages_of(stream.text)[0]["method"] == "notifications/tools/list_changed"
    assert called.json()["result"]["content"][0]["text"] == "ok"
    assert methods(upstream) == ["initialize", "GET", "tools/call", "DELETE"]


async def test_L_11_a_cancelled_request_of_a_bridged_session_is_left_at_the_server() -> None:
    gone = asyncio.Event()

    async def call(_raw: RawMessage, peer: UpstreamPeer) -> None:
        await peer.send(stream_head() + chunked(event(notification("notifications/progress", progress=1)), last=False))
        await peer.wait_gone()
        gone.set()

    async with wire(ModernServer(tools_call=call), mcp=BRIDGE) as (client, _upstream, _proxy):
        session = await opened(client)
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
        session = await opened(client)
        fields = legacy_headers(session)
        async with client.http.stream("GET", "/mcp", headers=fields) as first:
            told = await next_message(first.aiter_lines())
            async with client.http.stream("GET", "/mcp", headers=fields) as second:
                await next_message(second.aiter_lines())
                async with asyncio.timeout(10):
                    await first.aclose()
    assert told["params"]["_meta"] == {"own": 1}


async def test_M_13_an_answer_of_a_legacy_server_that_ends_early_is_an_error_for_its_request() -> None:
    async def ends(raw: RawMessage, _peer: UpstreamPeer) -> bytes:
        told = notification("notifications/progress", progressToken=rpc(raw)["id"], progress=1)
        return stream_answer(
            told, notification("notifications/unknown"), notification("notifications/tools/list_changed")
        )

    async def breaks(_raw: RawMessage, peer: UpstreamPeer) -> None:
        await peer.send(stream_head() + b"5\r\nabc")
        await peer.close()

    server = LegacyServer(tools_call=ends, prompts_list=breaks)
    async with wire(refusing_modern(server), mcp=BRIDGE) as (client, _upstream, _proxy):
        ended = (await client.post_modern(request("tools/call", 7, name="x", arguments={}))).json()
        broken = (await client.post_modern(request("prompts/list", 8))).json()
    assert (ended["id"], ended["error"]["code"]) == (7, -32012)
    assert (broken["id"], broken["error"]["code"]) == (8, -32012)


async def test_E_05_a_question_that_finds_no_place_to_wait_is_declined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxies.mcp.bridge.parked.MAX_PARKED", 0)
    server = LegacyServer(**asking(request("elicitation/create", 1, **QUESTION)))
    async with wire(refusing_modern(server), mcp=BRIDGE) as (client, _upstream, _proxy):
        answer = (await client.post_modern(request("tools/call", 7, name="x", arguments={}))).json()
    (said,) = json.loads(answer["result"]["content"][0]["text"])
    assert said == {"jsonrpc": "2.0", "id": 1, "result": {"action": "decline"}}


async def test_E_05_a_request_whose_client_never_comes_back_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxies.mcp.bridge.parked.PARKED_SECONDS", 0.01)
    server = LegacyServer(**asking(request("elicitation/create", 1, **QUESTION)))
    async with wire(refusing_modern(server), mcp=BRIDGE) as (client, upstream, _proxy):
        await client.post_modern(request("tools/call", 7, name="x", arguments={}))
        await upstream.wait_for_requests(6)
    assert "notifications/cancelled" in methods(upstream)
