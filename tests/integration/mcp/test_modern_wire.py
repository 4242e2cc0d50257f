"""The modern era between a plain HTTP client and a scripted upstream (M-01..M-17, E-02)."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from rules.model import Action
from tests.mcp_rules import ALERTED, BLOCKED, RESPONSE_BLOCKED
from tests.mcp_wire import (
    META,
    MODERN,
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
    text_result,
    wire,
)
from tests.rawpeer import RawMessage, UpstreamPeer, chunked, http_response


def server(**answers: Any) -> Any:
    """Answers by JSON-RPC method; anything else gets a text."""

    async def respond(raw: RawMessage, peer: UpstreamPeer) -> bytes | None:
        message = rpc(raw)
        answer = answers.get(message["method"].replace("/", "_"), json_answer(text_result(message.get("id"), "ok")))
        return await answer(raw, peer) if callable(answer) else answer

    return respond


async def test_M_06_and_M_08_a_modern_request_passes_with_headers_made_anew() -> None:
    async with wire(server()) as (client, upstream, proxy):
        answer = await client.post_modern(
            request("tools/call", "c-7", name="café"),
            mcp_name="=?base64?Y2Fmw6k=?=",
            mcp_param_unknown="=?base64?x?=",
            mcp_session_id="ignored",
            last_event_id="ignored",
        )
        (seen,) = upstream.requests
    assert (answer.status_code, answer.json()) == (200, text_result("c-7", "ok"))
    assert "mcp-session-id" not in answer.headers
    assert seen.header("mcp-protocol-version") == MODERN
    assert seen.header("mcp-method") == "tools/call"
    assert seen.header("mcp-name") == "=?base64?Y2Fmw6k=?="
    assert seen.header("mcp-param-unknown") == "=?base64?x?="
    assert seen.header("mcp-session-id") is None
    assert seen.header("last-event-id") is None
    assert (proxy.records[0].protocol, proxy.records[0].operation) == ("mcp.modern", "tools/call café")


@pytest.mark.parametrize(
    ("headers", "body", "code"),
    [
        ({"mcp_protocol_version": "2025-11-25"}, request("tools/list", 4), -32020),
        ({"mcp_method": "tools/call"}, request("tools/list", 4), -32020),
        ({"mcp_name": "other"}, request("tools/call", 4, name="t"), -32020),
        ({"mcp_protocol_version": "2027-01-01"}, request("tools/list", 4), -32020),
        ({}, request("tools/list", 4, _meta={}), -32602),
        ({}, request("initialize", 4, _meta={}), -32020),
        ({}, request("tools/call", 4, name="t", arguments="x"), -32602),
    ],
)
async def test_M_01_contradictory_evidence_is_a_400_with_the_id(headers: Any, body: Any, code: int) -> None:
    async with wire(server()) as (client, upstream, proxy):
        answer = await client.post_modern(body, **headers)
    assert (answer.status_code, answer.json()["id"], answer.json()["error"]["code"]) == (400, 4, code)
    assert upstream.requests == []
    assert proxy.records[0].protocol == "mcp.modern"


async def test_M_01_and_M_07_a_modern_body_without_headers_is_not_taken_for_legacy() -> None:
    async with wire(server()) as (client, upstream, _proxy):
        answer = await client.post({**request("tools/list", 4), "params": {"_meta": META}})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, -32020)
    assert upstream.requests == []


async def test_an_unsupported_version_names_the_supported_ones() -> None:
    meta = {**META, "io.modelcontextprotocol/protocolVersion": "2027-01-01"}
    async with wire(server()) as (client, upstream, _proxy):
        answer = await client.post_modern(
            {**request("tools/list", 4), "params": {"_meta": meta}}, mcp_protocol_version="2027-01-01"
        )
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == -32022
    assert answer.json()["error"]["data"]["requested"] == "2027-01-01"
    assert MODERN in answer.json()["error"]["data"]["supported"]
    assert upstream.requests == []


async def test_G_06_a_repeated_routing_field_is_refused() -> None:
    async with wire(server()) as (client, upstream, _proxy):
        prepared = modern(request("tools/call", 4, name="t"))
        headers = [*prepared["headers"].items(), ("mcp-name", "t")]
        answer = await client.http.post("/mcp", content=prepared["content"], headers=headers)
    assert answer.status_code == 400
    assert upstream.requests == []


async def test_M_02_an_unknown_method_is_a_404() -> None:
    async with wire(server()) as (client, upstream, _proxy):
        answer = await client.post_modern(request("ping", 4))
    assert (answer.status_code, answer.json()["id"], answer.json()["error"]["code"]) == (404, 4, -32601)
    assert upstream.requests == []


async def test_M_03_learned_annotations_are_enforced() -> None:
    schema = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}
    tools = [{"name": "lookup", "inputSchema": schema}]
    listing = json_answer(result(1, resultType="complete", tools=tools, ttlMs=5, cacheScope="public"))
    call = request("tools/call", 2, name="lookup", arguments={"region": "eu-1"})
    async with wire(server(tools_list=listing), id="prx_annotations") as (client, upstream, _proxy):
        before = await client.post_modern(call)
        await client.post_modern(request("tools/list"))
        missing = await client.post_modern(call)
        other = await client.post_modern(call, mcp_param_region="eu-2")
        right = await client.post_modern(call, mcp_param_region="eu-1")
    assert [answer.status_code for answer in (before, missing, other, right)] == [200, 400, 400, 200]
    assert other.json()["error"]["code"] == -32020
    assert len(upstream.requests) == 3
    assert upstream.requests[-1].header("mcp-param-region") == "eu-1"


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_M_09_only_post_exists(method: str) -> None:
    async with wire(server()) as (client, upstream, _proxy):
        headers = legacy_headers("any", mcp_protocol_version=MODERN)
        answer = await client.http.request(method, "/mcp", headers=headers)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert upstream.requests == []


@pytest.mark.parametrize("body", [result(1), rpc_error(1, -1), [request("tools/list")]])
async def test_M_10_responses_and_batches_are_refused(body: Any) -> None:
    async with wire(server()) as (client, upstream, _proxy):
        answer = await client.post(body, mcp_protocol_version=MODERN)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, -32600)
    assert upstream.requests == []


async def test_M_11_notifications_are_accepted_and_dropped() -> None:
    body = notification("notifications/cancelled", requestId=1, _meta=META)
    async with wire(server()) as (client, upstream, _proxy):
        accepted = await client.post(body, mcp_protocol_version=MODERN)
        missing = await client.post(body)
        unknown = await client.post(body, mcp_protocol_version="2027-01-01")
    assert (accepted.status_code, accepted.content) == (202, b"")
    assert missing.json()["error"]["code"] == -32020
    assert unknown.json()["error"]["code"] == -32022
    assert upstream.requests == []


async def test_D_01_a_blocked_call_is_an_error_on_200() -> None:
    async with wire(server()) as (client, upstream, proxy):
        answer = await client.post_modern(request("tools/call", 4, name="t", arguments={"x": BLOCKED}))
        record = proxy.records[0]
    assert (answer.status_code, answer.json()) == (
        200,
        rpc_error(4, -32010, "Blocked by gateway policy", ref=record.id),
    )
    assert record.outcome == "blocked"
    assert upstream.requests == []


async def test_I_24_unknown_mirrored_headers_are_inspected() -> None:
    async with wire(server()) as (client, upstream, _proxy):
        answer = await client.post_modern(request("tools/list", 4), mcp_param_note=BLOCKED)
    assert answer.json()["error"]["code"] == -32010
    assert upstream.requests == []


async def test_M_12_only_related_notifications_come_before_the_response() -> None:
    stream = stream_answer(
        notification("notifications/progress", progressToken="p", progress=1),
        notification("notifications/message", level="info", data="not asked for"),
        notification("notifications/tools/list_changed"),
        text_result(1, "ok"),
    )
    async with wire(server(tools_call=stream)) as (client, _upstream, proxy):
        answer = await client.post_modern(request("tools/call", name="t"))
        meta = {**META, "io.modelcontextprotocol/logLevel": "info"}
        logged = await client.post_modern(request("tools/call", name="t", _meta=meta))
    assert [message.get("method") for message in messages_of(answer.text)] == ["notifications/progress", None]
    assert len(messages_of(logged.text)) == 3
    assert proxy.records[0].streamed


@pytest.mark.parametrize(
    "broken",
    [
        request("sampling/createMessage", 1, messages=[]),
        text_result(2, "foreign"),
        result(1, resultType="task", taskId="t"),
        result(1, resultType="input_required", inputRequests={"s": {"method": "sampling/createMessage"}}),
    ],
    ids=["server request", "foreign response", "unknown type", "undeclared input"],
)
async def test_M_12_violations_of_the_protocol_fail_the_call(broken: dict[str, Any]) -> None:
    async with wire(server(tools_call=stream_answer(broken))) as (client, _upstream, proxy):
        answer = await client.post_modern(request("tools/call", 1, name="t"))
    (message,) = messages_of(answer.text)
    assert (message["id"], message["error"]["code"]) == (1, -32012)
    assert proxy.records[0].outcome == "upstream_error"


async def test_M_13_a_client_that_leaves_has_cancelled() -> None:
    cancelled = asyncio.Event()

    async def patient(_raw: RawMessage, peer: UpstreamPeer) -> bytes | None:
        await peer.send(stream_head() + chunked(event(notification("notifications/progress", progress=1)), last=False))
        await peer.wait_gone()
        cancelled.set()
        return None

    async with wire(server(tools_call=patient)) as (client, upstream, proxy):
        prepared = modern(request("tools/call", name="t"))
        async with client.http.stream("POST", "/mcp", **prepared) as stream:
            async for line in stream.aiter_lines():
                if line.startswith("data: {"):
                    break
        await asyncio.wait_for(cancelled.wait(), 10)
        (record,) = await proxy.wait_for_records(1)
    assert (record.outcome, record.truncated) == ("client_closed", True)
    assert len(upstream.requests) == 1


async def test_M_13_a_broken_stream_ends_with_an_error_and_is_not_retried() -> None:
    async def breaking(_raw: RawMessage, peer: UpstreamPeer) -> bytes | None:
        await peer.send(stream_head() + chunked(event(notification("notifications/progress", progress=1)), last=False))
        await peer.close()
        return None

    async with wire(server(tools_call=breaking)) as (client, upstream, _proxy):
        answer = await client.post_modern(request("tools/call", "c", name="t"))
    last = messages_of(answer.text)[-1]
    assert (last["id"], last["error"]["code"]) == ("c", -32012)
    assert len(upstream.requests) == 1


async def test_M_14_what_a_listener_hears_is_filtered_and_recorded_at_once() -> None:
    tag = {"io.modelcontextprotocol/subscriptionId": "sub"}
    acknowledged = notification("notifications/subscriptions/acknowledged", notifications={}, _meta=tag)
    updated = notification("notifications/resources/updated", uri=f"test://{ALERTED}", _meta=tag)
    stream = stream_answer(
        acknowledged,
        notification("notifications/tools/list_changed", _meta=tag),
        updated,
        result("sub", resultType="complete", _meta=tag),
    )
    listen = request("subscriptions/listen", "sub", notifications={"resourceSubscriptions": [f"test://{ALERTED}"]})
    async with wire(server(subscriptions_listen=stream)) as (client, _upstream, proxy):
        answer = await client.post_modern(listen)
    assert [message.get("method", "result") for message in messages_of(answer.text)] == [
        "notifications/subscriptions/acknowledged",
        "notifications/resources/updated",
        "result",
    ]
    heard = next(record for record in proxy.records if record.operation == "notifications/resources/updated")
    assert (heard.action, heard.outcome) == (Action.ALERT, "allowed")


async def test_M_14_a_drain_ends_a_subscription_with_its_result() -> None:
    tag = {"io.modelcontextprotocol/subscriptionId": "sub"}

    async def open_stream(_raw: RawMessage, peer: UpstreamPeer) -> bytes | None:
        acknowledged = notification("notifications/subscriptions/acknowledged", notifications={}, _meta=tag)
        await peer.send(stream_head() + chunked(event(acknowledged), last=False))
        await peer.wait_gone()
        return None

    async with wire(server(subscriptions_listen=open_stream)) as (client, _upstream, proxy):
        prepared = modern(request("subscriptions/listen", "sub", notifications={}))
        async with client.http.stream("POST", "/mcp", **prepared) as stream:
            lines = stream.aiter_lines()
            async for line in lines:
                if line.startswith("data: {"):
                    break
            await proxy.listener.drain(1000)
            rest = "\n".join([line async for line in lines])
    assert messages_of(rest) == [result("sub", resultType="complete", _meta=tag)]
    assert proxy.records[-1].outcome == "allowed"


async def test_M_14_a_block_ends_the_subscription() -> None:
    tag = {"io.modelcontextprotocol/subscriptionId": "sub"}
    stream = stream_answer(
        notification("notifications/subscriptions/acknowledged", notifications={"x": RESPONSE_BLOCKED}, _meta=tag)
    )
    async with wire(server(subscriptions_listen=stream)) as (client, *_):
        answer = await client.post_modern(request("subscriptions/listen", "sub", notifications={}))
    (message,) = messages_of(answer.text)
    assert (message["id"], message["error"]["code"]) == ("sub", -32010)


async def test_M_15_a_question_and_its_answer_are_inspected_and_the_state_is_untouched() -> None:
    asked = result(
        1,
        resultType="input_required",
        inputRequests={"q": {"method": "elicitation/create", "params": {"message": "which?"}}},
        requestState=f"signed:{RESPONSE_BLOCKED}",
    )
    poisoned = json.loads(json.dumps(asked).replace("which?", RESPONSE_BLOCKED))
    async with wire(server(tools_call=json_answer(asked), prompts_get=json_answer(poisoned))) as (client, upstream, _):
        passed = await client.post_modern(request("tools/call", name="t"))
        blocked = await client.post_modern(request("prompts/get", name="t"))
        denied = await client.post_modern(
            request("tools/call", 2, name="t", inputResponses={"q": {"action": "accept", "content": {"a": BLOCKED}}})
        )
    assert passed.json() == asked
    assert blocked.json()["error"]["code"] == -32010
    assert denied.json()["error"]["code"] == -32010
    assert len(upstream.requests) == 2


async def test_M_21_unknown_extensions_are_not_negotiated() -> None:
    discovered = result(
        1,
        resultType="complete",
        supportedVersions=[MODERN, "2030-01-01"],
        capabilities={"tools": {}, "extensions": {"io.modelcontextprotocol/ui": {}}},
        ttlMs=10**9,
        cacheScope="public",
    )
    meta = {**META, "io.modelcontextprotocol/clientCapabilities": {"extensions": {"x/y": {}}, "roots": {}}}
    async with wire(server(server_discover=json_answer(discovered))) as (client, upstream, _proxy):
        answer = await client.post_modern(request("server/discover", _meta=meta))
    assert answer.json()["result"] == {
        "resultType": "complete",
        "supportedVersions": [MODERN],
        "capabilities": {"tools": {}},
        "ttlMs": 60_000,
        "cacheScope": "private",
    }
    sent = rpc(upstream.requests[0])["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"]
    assert sent == {"roots": {}}


@pytest.mark.parametrize(
    ("status", "body", "given_status", "given"),
    [
        (
            400,
            rpc_error(4, -32022, "Unsupported", supported=["2025-11-25"]),
            400,
            rpc_error(4, -32022, "Unsupported", supported=["2025-11-25"]),
        ),
        (400, rpc_error(None, -32020, "mismatch"), 400, rpc_error(4, -32020, "mismatch")),
        (404, rpc_error(4, -32601, "no such method"), 404, rpc_error(4, -32601, "no such method")),
        (400, rpc_error("server-error", -32600, "Bad Request: Missing session ID"), 400, -32600),
        (400, {"error": "internal secret"}, 400, -32600),
        (404, "internal secret", 400, -32600),
        (405, {}, 400, -32600),
        (401, rpc_error(4, -32001, "internal secret"), 502, -32012),
        (500, rpc_error(4, -32603, "internal secret"), 502, -32012),
    ],
)
async def test_E_02_what_the_upstreams_refusal_means(status: int, body: Any, given_status: int, given: Any) -> None:
    async with wire(server(tools_list=json_answer(body, status))) as (client, _upstream, proxy):
        answer = await client.post_modern(request("tools/list", 4))
    assert answer.status_code == given_status
    if isinstance(given, dict):
        assert answer.json() == given
    else:
        assert (answer.json()["id"], answer.json()["error"]["code"]) == (4, given)
        assert proxy.records[0].outcome == "upstream_error"
    assert "secret" not in answer.text


async def test_I_11_the_upstreams_error_is_inspected_before_it_passes() -> None:
    body = rpc_error(4, -32022, "Unsupported", supported=[RESPONSE_BLOCKED])
    async with wire(server(tools_list=json_answer(body, 400))) as (client, *_):
        answer = await client.post_modern(request("tools/list", 4))
    assert (answer.status_code, answer.json()["error"]["code"]) == (200, -32010)


async def test_a_non_json_refusal_is_replaced() -> None:
    async with wire(server(tools_list=http_response(404, b"<html>", headers=("Content-Type: text/html",)))) as (
        client,
        *_,
    ):
        answer = await client.post_modern(request("tools/list", 4))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, -32600)
