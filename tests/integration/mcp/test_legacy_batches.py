"""Batches of 2025-03-26 (L-07)."""

from __future__ import annotations

from typing import Any

import pytest

from rules.model import Target
from tests.mcp_legacy_server import Server, methods
from tests.mcp_rules import BLOCKED
from tests.mcp_wire import (
    json_answer,
    messages_of,
    notification,
    request,
    result,
    rpc,
    rpc_error,
    stream_answer,
    text_result,
    wire,
)
from tests.rawpeer import http_response


def batch(*messages: dict[str, Any]) -> list[dict[str, Any]]:
    return list(messages)


MIXED = batch(
    request("tools/call", 1, name="a"),
    request("tools/call", 2, name="b", arguments={"x": BLOCKED}),
    request("unknown/method", 3),
    notification("notifications/cancelled", requestId=9),
    notification("notifications/made_up"),
    result("nobody asked"),
)


@pytest.mark.parametrize("streamed", [False, True])
async def test_L_07_elements_of_a_batch_are_judged_one_by_one(streamed: bool) -> None:
    answer = stream_answer([text_result(1, "ok")]) if streamed else json_answer([text_result(1, "ok")])
    async with wire(Server("2025-03-26", batch=answer)) as (client, upstream, proxy):
        session = await client.initialize("2025-03-26")
        given = await client.post(MIXED, session=session)
    messages = messages_of(given.text) if streamed else given.json()
    by_id = {message["id"]: message for message in messages}
    assert by_id[1] == text_result(1, "ok")
    assert by_id[2]["error"]["code"] == -32010
    assert by_id[3]["error"]["code"] == -32601
    assert len(messages) == 3
    assert [one["method"] for one in rpc(upstream.requests[-1])] == ["tools/call", "notifications/cancelled"]
    assert proxy.records[-1].operation == "batch of 6"
    assert proxy.records[-1].findings[0].target is Target.TOOL_ARGS


async def test_L_07_every_request_of_a_batch_that_the_server_refuses_is_answered() -> None:
    """Newer servers know no batches, also where they have agreed to the version that has them."""
    refused = json_answer(rpc_error(None, -32600, "Invalid Request"), 400)
    async with wire(Server("2025-03-26", batch=refused)) as (client, _upstream, proxy):
        session = await client.initialize("2025-03-26")
        given = await client.post(MIXED, session=session)
        gone = await client.post(request("ping", 5), session=session)
    by_id = {message["id"]: message["error"]["code"] for message in given.json()}
    assert (given.status_code, by_id) == (200, {1: -32012, 2: -32010, 3: -32601})
    assert proxy.records[-2].outcome == "upstream_error"
    assert gone.status_code == 200


async def test_L_07_a_batch_of_a_session_that_the_server_has_lost_is_a_lost_session() -> None:
    async with wire(Server("2025-03-26", batch=http_response(404))) as (client, _upstream, _proxy):
        session = await client.initialize("2025-03-26")
        given = await client.post(MIXED, session=session)
    assert (given.status_code, given.json()["error"]["data"]["code"]) == (404, "session_not_found")


async def test_L_07_a_batch_without_requests_is_accepted() -> None:
    async with wire(Server("2025-03-26", batch=http_response(202))) as (client, upstream, _proxy):
        session = await client.initialize("2025-03-26")
        passed = await client.post(batch(notification("notifications/cancelled", requestId=1)), session=session)
        dropped = await client.post(batch(notification("notifications/odd")), session=session)
    assert (passed.status_code, dropped.status_code) == (202, 202)
    assert len(upstream.requests) == 2


async def test_L_07_a_batch_that_is_denied_whole_never_leaves() -> None:
    async with wire(Server("2025-03-26")) as (client, upstream, proxy):
        session = await client.initialize("2025-03-26")
        answer = await client.post(batch(request("tools/call", 5, name="t", arguments={"x": BLOCKED})), session=session)
    assert [message["error"]["code"] for message in answer.json()] == [-32010]
    assert methods(upstream) == ["initialize"]
    assert proxy.records[-1].outcome == "blocked"


@pytest.mark.parametrize(
    ("version", "body"),
    [
        ("2025-06-18", batch(request("ping"))),
        ("2025-03-26", []),
        ("2025-03-26", batch(request("initialize"))),
        ("2025-03-26", batch(request("ping"), request("ping"))),
    ],
)
async def test_L_07_batches_of_other_versions_or_shapes_are_refused(version: str, body: Any) -> None:
    async with wire(Server(version)) as (client, upstream, _proxy):
        session = await client.initialize(version)
        answer = await client.post(body, session=session)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, -32600)
    assert methods(upstream) == ["initialize"]
