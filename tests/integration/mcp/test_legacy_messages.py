"""Legacy messages and answers, inspected one by one (D-01..D-03, M-13)."""

from __future__ import annotations

from typing import Any

import pytest

from rules.model import Action, Target
from tests.mcp_legacy_server import Server, methods
from tests.mcp_rules import ALERTED, BLOCKED, RESPONSE_BLOCKED
from tests.mcp_wire import (
    event,
    json_answer,
    legacy_headers,
    messages_of,
    notification,
    request,
    result,
    rpc_error,
    stream_answer,
    stream_head,
    text_result,
    wire,
)
from tests.rawpeer import RawMessage, UpstreamPeer, chunked


async def test_I_30_an_unknown_method_is_an_error_on_200_and_never_forwarded() -> None:
    async with wire(Server()) as (client, upstream, _proxy):
        session = await client.initialize()
        answer = await client.post(request("servers/list", 5), session=session)
    assert (answer.status_code, answer.json()["id"], answer.json()["error"]["code"]) == (200, 5, -32601)
    assert methods(upstream) == ["initialize"]


@pytest.mark.parametrize(
    "call",
    [
        request("tools/call", name=7),
        request("tools/call"),
        request("tools/call", name="t", arguments=[]),
        request("resources/read", uri=None),
        request("logging/setLevel"),
    ],
)
async def test_malformed_parameters_are_an_error_and_never_forwarded(call: dict[str, Any]) -> None:
    async with wire(Server()) as (client, upstream, _proxy):
        session = await client.initialize()
        answer = await client.post(call, session=session)
    assert (answer.status_code, answer.json()["error"]["code"]) == (200, -32602)
    assert methods(upstream) == ["initialize"]


async def test_D_01_a_block_is_an_error_on_200_and_the_upstream_never_sees_the_call() -> None:
    async with wire(Server()) as (client, upstream, proxy):
        session = await client.initialize()
        answer = await client.post(request("tools/call", 5, name="run", arguments={"x": [BLOCKED]}), session=session)
        record = proxy.records[-1]
    assert answer.status_code == 200
    assert answer.json() == rpc_error(5, -32010, "Blocked by gateway policy", ref=record.id)
    assert (record.operation, record.outcome, record.action) == ("tools/call run", "blocked", Action.BLOCK)
    assert record.findings[0].path == "/params/arguments/x/0"
    assert methods(upstream) == ["initialize"]


async def test_I_24_trace_headers_go_with_requests_only_and_inspected() -> None:
    async with wire(Server(GET=stream_answer())) as (client, upstream, _proxy):
        session = await client.initialize()
        answer = await client.post(request("ping"), session=session, baggage=f"k={BLOCKED}")
        await client.post(request("ping"), session=session, baggage="k=v")
        await client.post(notification("notifications/cancelled"), session=session, baggage=f"k={BLOCKED}")
        await client.http.get("/mcp", headers=legacy_headers(session, baggage=f"k={BLOCKED}"))
    assert answer.json()["error"]["code"] == -32010
    assert methods(upstream) == ["initialize", "ping", "notifications/cancelled", "GET"]
    assert [seen.header("baggage") for seen in upstream.requests] == [None, "k=v", None, None]


async def test_D_03_a_denied_notification_is_accepted_dropped_and_recorded() -> None:
    async with wire(Server()) as (client, upstream, proxy):
        session = await client.initialize()
        denied = await client.post(notification("notifications/cancelled", reason=BLOCKED), session=session)
        unknown = await client.post(notification("notifications/made_up"), session=session)
        passed = await client.post(notification("notifications/cancelled", requestId=1), session=session)
    assert [answer.status_code for answer in (denied, unknown, passed)] == [202, 202, 202]
    assert denied.content == b""
    assert methods(upstream) == ["initialize", "notifications/cancelled"]
    assert [record.outcome for record in proxy.records] == ["allowed", "blocked", "refused", "allowed"]


async def test_I_11_errors_of_the_upstream_are_inspected() -> None:
    async with wire(Server(ping=json_answer(rpc_error(1, -32000, "oops", deep=[RESPONSE_BLOCKED])))) as (client, *_):
        session = await client.initialize()
        answer = await client.post(request("ping"), session=session)
    assert answer.json()["error"]["message"] == "Blocked by gateway policy"


async def test_findings_of_request_and_answer_are_both_in_the_record() -> None:
    async with wire(Server(tools_call=json_answer(text_result(1, ALERTED)))) as (client, _upstream, proxy):
        session = await client.initialize()
        answer = await client.post(request("tools/call", name="t", arguments={"x": ALERTED}), session=session)
    assert answer.json() == text_result(1, ALERTED)
    assert [finding.target for finding in proxy.records[-1].findings] == [Target.TOOL_ARGS, Target.TOOL_RESULT]
    assert (proxy.records[-1].outcome, proxy.records[-1].action) == ("allowed", Action.ALERT)


async def test_I_12_a_stream_is_parsed_and_written_anew() -> None:
    progress = notification("notifications/progress", progressToken=1, progress=1)
    raw = (
        b"\xef\xbb\xbf: a comment\r\nevent: message\r\n"
        + b'data: {"jsonrpc": "2.0",\r\ndata:  "method": "notifications/progress",\r\n'
        + b'data: "params": {"progressToken": 1, "progress": 1}}\r\n\r\n'
        + b"event: other\rdata: {}\r\r"
        + event(text_result(1, "ok"))
    )
    pieces = [raw[index : index + 7] for index in range(0, len(raw), 7)]
    async with wire(Server(tools_call=stream_head() + chunked(*pieces))) as (client, _upstream, proxy):
        session = await client.initialize()
        answer = await client.post(request("tools/call", name="t"), session=session)
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-accel-buffering"] == "no"
    assert messages_of(answer.text) == [progress, text_result(1, "ok")]
    assert proxy.bytes_sent_at_record[-1] < len(answer.content) - 10, "the record must come before the last message"
    assert "comment" not in answer.text
    assert "other" not in answer.text
    assert proxy.records[-1].streamed


@pytest.mark.parametrize(
    "poisoned",
    [text_result(1, RESPONSE_BLOCKED), notification("notifications/message", level="info", data=RESPONSE_BLOCKED)],
    ids=["result", "notification"],
)
async def test_D_02_a_block_in_a_stream_is_its_last_message(poisoned: dict[str, Any]) -> None:
    fine = notification("notifications/progress", progressToken=1, progress=1)
    stream = stream_answer(fine, poisoned, text_result(1, "too late"))
    async with wire(Server(tools_call=stream)) as (client, _upstream, proxy):
        session = await client.initialize()
        answer = await client.post(request("tools/call", name="t"), session=session)
        record = proxy.records[-1]
    assert messages_of(answer.text) == [fine, rpc_error(1, -32010, "Blocked by gateway policy", ref=record.id)]
    assert (record.outcome, record.status) == ("blocked", 200)


@pytest.mark.parametrize(
    "cut",
    [
        stream_head() + chunked(event(notification("notifications/progress", progressToken=1, progress=1))),
        stream_head() + chunked(event(notification("notifications/progress", progressToken=1, progress=1)), last=False),
        stream_head() + chunked(event(result(1))[:-20]),
        stream_head() + chunked(b"data: not json\n\n"),
        stream_head() + chunked(b'data: {"jsonrpc":"2.0"}\n\n'),
        stream_head() + b"zz\r\n",
    ],
    ids=["no response", "truncated", "cut event", "no JSON", "no message", "bad chunk"],
)
async def test_M_13_a_broken_stream_never_looks_like_an_answer(cut: bytes) -> None:
    async def breaking(_raw: RawMessage, peer: UpstreamPeer) -> bytes | None:
        await peer.send(cut)
        await peer.close()
        return None

    async with wire(Server(tools_call=breaking)) as (client, _upstream, proxy):
        session = await client.initialize()
        answer = await client.post(request("tools/call", "c-7", name="t"), session=session)
    last = messages_of(answer.text)[-1]
    assert (last["id"], last["error"]["code"]) == ("c-7", -32012)
    assert (proxy.records[-1].outcome, proxy.records[-1].truncated) == ("upstream_error", True)


async def test_an_event_beyond_the_bound_ends_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxies.mcp.upstream_events.MAX_EVENT_BYTES", 1000)
    async with wire(Server(tools_call=stream_answer(text_result(1, "x" * 2000)))) as (client, *_):
        session = await client.initialize()
        answer = await client.post(request("tools/call", name="t"), session=session)
    (message,) = messages_of(answer.text)
    assert message["error"]["code"] == -32012
