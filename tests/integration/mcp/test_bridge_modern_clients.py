"""What the bridge says on the wire when a modern client meets a legacy server (E-05)."""

from __future__ import annotations

import json

import pytest

from tests.mcp_legacy_server import Server, asking, legacy_only, methods, next_message
from tests.mcp_modern_server import BRIDGE, CAPABILITIES, QUESTION, SUBSCRIPTION
from tests.mcp_wire import (
    META,
    MODERN,
    OTHER_KEY,
    event,
    json_answer,
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


async def test_E_05_discover_is_answered_from_initialize() -> None:
    async def no_tools(raw: RawMessage, _peer: UpstreamPeer) -> bytes:
        return json_answer(result(rpc(raw)["id"], tools=[]))

    server = Server(tools_list=no_tools)
    async with wire(legacy_only(server), mcp=BRIDGE) as (client, upstream, _proxy):
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
    async with wire(legacy_only(Server()), mcp=BRIDGE) as (client, upstream, _proxy):
        await client.post_modern(request("tools/list", 1))
        await client.post_modern(request("tools/list", 2))
        await client.post_modern(request("tools/list", 3), authorization=f"Bearer {OTHER_KEY}")
        await client.post_modern(request("tools/list", 4, _meta=other_meta))
    declared = [rpc(seen)["params"]["capabilities"] for seen in upstream.requests if b'"initialize"' in seen.body]
    assert declared == [{"elicitation": {}}, {"elicitation": {}}, {}]


async def test_E_05_a_server_request_becomes_required_input_and_the_retry_its_answer() -> None:
    question = request("elicitation/create", "q1", **QUESTION)
    server = Server(**asking(question))
    async with wire(legacy_only(server), mcp=BRIDGE) as (client, upstream, _proxy):
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
    server = Server(**asking(request("elicitation/create", 1, **QUESTION), request("ping", 5)))
    async with wire(legacy_only(server), mcp=BRIDGE) as (client, _upstream, _proxy):
        call = {"name": "greet", "arguments": {}}
        first = (await client.post_modern(request("tools/call", 7, **call))).json()["result"]
        retry = {**call, "inputResponses": {}, "requestState": first["requestState"]}
        answer = (await client.post_modern(request("tools/call", 8, **retry))).json()
    declined, pong = json.loads(answer["result"]["content"][0]["text"])
    assert declined == {"jsonrpc": "2.0", "id": 1, "result": {"action": "decline"}}
    assert pong == {"jsonrpc": "2.0", "id": 5, "result": {}}


async def test_E_05_what_the_client_did_not_declare_is_refused_for_it() -> None:
    question = request("sampling/createMessage", 3, messages=[], maxTokens=1)
    async with wire(legacy_only(Server(**asking(question))), mcp=BRIDGE) as (client, _upstream, _proxy):
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

    server = Server(GET=listening, initialize=initialize)
    async with wire(legacy_only(server), mcp=BRIDGE) as (client, upstream, _proxy):
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

    server = Server(tools_list=listed)
    async with wire(legacy_only(server), mcp=BRIDGE) as (client, upstream, _proxy):
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

    server = Server(tools_call=slow)
    async with wire(legacy_only(server), mcp=BRIDGE) as (client, upstream, _proxy):
        meta = META | {"progressToken": "mine"}
        sent = modern(request("tools/call", 7, name="slow", arguments={}, _meta=meta))
        async with client.http.stream("POST", "/mcp", **sent) as stream:
            told = await next_message(stream.aiter_lines())
        await upstream.wait_for_requests(5)
        sent_there = {rpc(seen)["method"]: rpc(seen) for seen in upstream.requests}
    assert told["params"]["progressToken"] == "mine"
    assert sent_there["notifications/cancelled"]["params"]["requestId"] == sent_there["tools/call"]["id"]


@pytest.mark.parametrize(("theirs", "ours"), [(-32002, -32602), (-32042, -32603), (-32000, -32000)])
async def test_E_05_codes_that_the_modern_era_does_not_have_are_translated(theirs: int, ours: int) -> None:
    async def refused(raw: RawMessage, _peer: UpstreamPeer) -> bytes:
        return stream_answer(rpc_error(rpc(raw)["id"], theirs, "no"))

    async with wire(legacy_only(Server(tools_call=refused)), mcp=BRIDGE) as (client, _upstream, _proxy):
        answer = await client.post_modern(request("tools/call", 7, name="x", arguments={}))
    assert answer.json()["error"]["code"] == ours


async def test_E_05_an_upstream_status_keeps_its_meaning() -> None:
    server = Server(initialize=http_response(401))
    async with wire(legacy_only(server), mcp=BRIDGE) as (client, _upstream, _proxy):
        answer = await client.post_modern(request("tools/list", 7))
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, -32012)


async def test_E_05_the_log_level_of_a_request_is_set_for_the_session_and_logs_of_others_do_not_pass() -> None:
    async def talkative(raw: RawMessage, _peer: UpstreamPeer) -> bytes:
        log = notification("notifications/message", level="error", data="said")
        return stream_answer(log, result(rpc(raw)["id"], content=[]))

    async def initialize(raw: RawMessage, _peer: UpstreamPeer) -> bytes:
        members = {"protocolVersion": "2025-11-25", "capabilities": CAPABILITIES, "serverInfo": {}}
        return json_answer(result(rpc(raw)["id"], **members))

    server = Server(tools_call=talkative, initialize=initialize)
    async with wire(legacy_only(server), mcp=BRIDGE) as (client, upstream, _proxy):
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

    server = Server(GET=listening, initialize=initialize)
    async with wire(legacy_only(server), mcp=BRIDGE) as (client, upstream, _proxy):
        sent = modern(request("subscriptions/listen", 1, notifications={"toolsListChanged": True}))
        async with client.http.stream("POST", "/mcp", **sent) as stream:
            lines = stream.aiter_lines()
            told = [await next_message(lines) for _ in range(3)]
        replies = [rpc(seen) for seen in upstream.requests if b'"id":"p"' in seen.body or b'"id":"q"' in seen.body]
    assert [message["method"] for message in told[1:]] == ["notifications/tools/list_changed"] * 2
    assert {"jsonrpc": "2.0", "id": "p", "result": {}} in replies
    assert any(reply.get("error", {}).get("code") == -32601 for reply in replies)


async def test_M_11_a_notification_of_a_modern_client_ends_at_the_gateway() -> None:
    async with wire(legacy_only(Server()), mcp=BRIDGE) as (client, upstream, _proxy):
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


async def test_M_13_an_answer_of_a_legacy_server_that_ends_early_is_an_error_for_its_request() -> None:
    async def ends(raw: RawMessage, _peer: UpstreamPeer) -> bytes:
        told = notification("notifications/progress", progressToken=rpc(raw)["id"], progress=1)
        return stream_answer(
            told, notification("notifications/unknown"), notification("notifications/tools/list_changed")
        )

    async def breaks(_raw: RawMessage, peer: UpstreamPeer) -> None:
        await peer.send(stream_head() + b"5\r\nabc")
        await peer.close()

    server = Server(tools_call=ends, prompts_list=breaks)
    async with wire(legacy_only(server), mcp=BRIDGE) as (client, _upstream, _proxy):
        ended = (await client.post_modern(request("tools/call", 7, name="x", arguments={}))).json()
        broken = (await client.post_modern(request("prompts/list", 8))).json()
    assert (ended["id"], ended["error"]["code"]) == (7, -32012)
    assert (broken["id"], broken["error"]["code"]) == (8, -32012)


async def test_E_05_a_question_that_finds_no_place_to_wait_is_declined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxies.mcp.bridge.parked.MAX_PARKED", 0)
    server = Server(**asking(request("elicitation/create", 1, **QUESTION)))
    async with wire(legacy_only(server), mcp=BRIDGE) as (client, _upstream, _proxy):
        answer = (await client.post_modern(request("tools/call", 7, name="x", arguments={}))).json()
    (said,) = json.loads(answer["result"]["content"][0]["text"])
    assert said == {"jsonrpc": "2.0", "id": 1, "result": {"action": "decline"}}


async def test_E_05_a_request_whose_client_never_comes_back_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxies.mcp.bridge.parked.PARKED_SECONDS", 0.01)
    server = Server(**asking(request("elicitation/create", 1, **QUESTION)))
    async with wire(legacy_only(server), mcp=BRIDGE) as (client, upstream, _proxy):
        await client.post_modern(request("tools/call", 7, name="x", arguments={}))
        await upstream.wait_for_requests(5)
    assert "notifications/cancelled" in methods(upstream)
