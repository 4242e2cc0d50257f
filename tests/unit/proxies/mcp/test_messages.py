"""JSON-RPC messages: what is parsed, what is refused, what is sent on (G-04, L-07)."""

from __future__ import annotations

from typing import Any

import pytest

from proxies.mcp.messages import (
    MAX_BATCH_MESSAGES,
    Message,
    MessageRefused,
    error_response,
    parse_batch,
    parse_message,
    result_response,
)


def call(**members: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/list", **members}


def test_request_notification_and_responses_are_told_apart() -> None:
    assert parse_message(call()).kind == "request"
    assert parse_message({"jsonrpc": "2.0", "method": "notifications/initialized"}).kind == "notification"
    assert parse_message({"jsonrpc": "2.0", "id": "a", "result": {}}).result == {}
    assert parse_message({"jsonrpc": "2.0", "id": None, "error": {"code": 1, "message": "m"}}).id is None


@pytest.mark.parametrize("id", [0, -7, 2**70, "c-7", "", "1"])
def test_G_04_ids_round_trip_unchanged(id: int | str) -> None:
    assert parse_message(call(id=id)).body()["id"] == id
    assert type(parse_message(call(id=id)).id) is type(id)


@pytest.mark.parametrize(
    "value",
    [
        None,
        "text",
        [],
        [call()],
        {},
        {"id": 1, "method": "ping"},
        call(jsonrpc="1.0"),
        call(jsonrpc=2.0),
        call(id=None),
        call(id=1.5),
        call(id=True),
        call(id={}),
        call(id="x" * 1025),
        call(method=7),
        call(method=""),
        call(method="m" * 257),
        call(params=None),
        call(params=[1]),
        call(result={}),
        call(error={"code": 1, "message": "m"}),
        {"jsonrpc": "2.0", "id": 1},
        {"jsonrpc": "2.0", "id": 1, "result": {}, "error": {"code": 1, "message": "m"}},
        {"jsonrpc": "2.0", "result": {}},
        {"jsonrpc": "2.0", "id": None, "result": {}},
        {"jsonrpc": "2.0", "id": 1, "result": []},
        {"jsonrpc": "2.0", "id": 1, "error": "no"},
        {"jsonrpc": "2.0", "id": 1, "error": {"code": "1", "message": "m"}},
        {"jsonrpc": "2.0", "id": 1, "error": {"code": True, "message": "m"}},
        {"jsonrpc": "2.0", "id": 1, "error": {"code": 1}},
        call(Method="tools/call"),
        call(params={"name": "a", "Name": "b"}),
        call(params={"Arguments": {}}),
    ],
)
def test_G_04_malformed_messages_are_refused(value: Any) -> None:
    with pytest.raises(MessageRefused):
        parse_message(value)


def test_G_04_the_id_of_a_refused_message_is_kept_where_it_is_usable() -> None:
    with pytest.raises(MessageRefused) as refused:
        parse_message(call(id="c-7", params=[]))
    assert refused.value.id == "c-7"
    with pytest.raises(MessageRefused) as refused:
        parse_message(call(id=1.5, params=[]))
    assert refused.value.id is None


def test_D1_only_members_that_were_parsed_are_sent_on() -> None:
    sent = parse_message(call(params={"cursor": "x"}, extra="not inspected")).body()
    assert sent == {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"cursor": "x"}}
    error = {"code": -1, "message": "m", "data": 1, "extra": "not inspected"}
    assert "extra" not in parse_message({"jsonrpc": "2.0", "id": 1, "error": error}).body()["error"]


def test_own_responses_have_the_shape_of_json_rpc() -> None:
    assert error_response(None, -32600, "no").body() == {
        "jsonrpc": "2.0",
        "id": None,
        "error": {"code": -32600, "message": "no"},
    }
    assert error_response(7, -32010, "no", {"ref": "x"}).body()["error"]["data"] == {"ref": "x"}
    assert result_response("a", {"ok": True}).body() == {"jsonrpc": "2.0", "id": "a", "result": {"ok": True}}
    assert Message(kind="notification", method="n").body() == {"jsonrpc": "2.0", "method": "n"}


def test_L_07_a_batch_keeps_order_and_kinds() -> None:
    messages = parse_batch([call(id=1), call(id="1"), {"jsonrpc": "2.0", "method": "notifications/initialized"}])
    assert [message.id for message in messages] == [1, "1", None]


@pytest.mark.parametrize(
    "batch",
    [
        [],
        [call(method="initialize")],
        [call(id=1), call(id=1)],
        [call(id=index) for index in range(MAX_BATCH_MESSAGES + 1)],
        [call(), "no message"],
    ],
)
def test_L_07_malformed_batches_are_refused(batch: list[Any]) -> None:
    with pytest.raises(MessageRefused):
        parse_batch(batch)
