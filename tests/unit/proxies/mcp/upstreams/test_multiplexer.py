"""Correlators of several clients on one channel: what goes out, what comes back to whom."""

from __future__ import annotations

from typing import Any

import pytest

from proxies.mcp.messages import Message, error_response, result_response
from proxies.mcp.upstreams.multiplexer import Multiplexer

SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"


def request(id: int | str, method: str = "tools/call", **meta: Any) -> Message:
    return Message(kind="request", id=id, method=method, params={"name": "t", **({"_meta": meta} if meta else {})})


def notification(method: str, **params: Any) -> Message:
    return Message(kind="notification", method=method, params=params)


@pytest.fixture
def modern() -> Multiplexer[str]:
    return Multiplexer(modern=True)


def test_P_04_equal_ids_become_different_ones_and_come_back_as_they_were(modern) -> None:
    _, first = modern.open(request("a"), "one")
    _, second = modern.open(request("a"), "two")
    assert first.id != second.id
    opened, answer = modern.response(result_response(second.id, {"x": 1}))
    assert (opened.owner, answer.id, answer.result) == ("two", "a", {"x": 1})
    opened, answer = modern.response(error_response(first.id, -1, "no"))
    assert (opened.owner, answer.id) == ("one", "a")
    assert len(modern) == 0


def test_P_04_a_second_answer_is_nobodys(modern) -> None:
    _, sent = modern.open(request(1), "one")
    assert modern.response(result_response(sent.id, {})) is not None
    assert modern.response(result_response(sent.id, {})) is None
    assert modern.was_issued(sent.id)
    assert not modern.was_issued(99)
    assert not modern.was_issued("1")
    assert modern.response(result_response("text", {})) is None


def test_P_04_progress_is_told_by_its_token_and_late_progress_is_nobodys(modern) -> None:
    _, sent = modern.open(request(7, progressToken="t", other=1), "one")
    token = sent.params["_meta"]["progressToken"]
    assert sent.params["_meta"]["other"] == 1
    progress = notification("notifications/progress", progressToken=token, progress=1)
    opened, passed = modern.notification(progress)
    assert (opened.owner, passed.params) == ("one", {"progressToken": "t", "progress": 1})
    modern.close(opened)
    assert modern.notification(progress) is None
    assert modern.names_a_request(progress)


def test_P_04_progress_that_nobody_asked_for_is_nobodys(modern) -> None:
    _, sent = modern.open(request(7), "one")
    assert modern.notification(notification("notifications/progress", progressToken=sent.id)) is None
    _, malformed = modern.open(request(8, progressToken=[1]), "one")
    assert modern.notification(notification("notifications/progress", progressToken=malformed.id)) is None


def test_P_04_a_cancellation_names_the_wire_id_and_ids_keep_their_type(modern) -> None:
    modern.open(request("1"), "text")
    opened, sent = modern.open(request(1), "number")
    cancelled, passed = modern.to_server(notification("notifications/cancelled", requestId=1, reason="r"))
    assert (cancelled, passed.params) == (opened, {"requestId": sent.id, "reason": "r"})
    assert modern.to_server(notification("notifications/cancelled", requestId=5)) == (None, None)
    other = notification("notifications/initialized")
    assert modern.to_server(other) == (None, other)
    assert modern.cancellation(opened, "why").params == {"requestId": sent.id, "reason": "why"}


def test_P_04_subscription_ids_are_those_of_the_client_in_notifications_and_in_the_result(modern) -> None:
    _, sent = modern.open(request("sub", "subscriptions/listen"), "one")
    changed = notification("notifications/tools/list_changed", _meta={SUBSCRIPTION: sent.id, "x": 1})
    opened, passed = modern.notification(changed)
    assert passed.params["_meta"] == {SUBSCRIPTION: "sub", "x": 1}
    _, ended = modern.response(result_response(sent.id, {"_meta": {SUBSCRIPTION: sent.id}}))
    assert ended.result["_meta"] == {SUBSCRIPTION: "sub"}
    assert modern.notification(changed) is None
    assert modern.names_a_request(changed)
    assert not modern.close(opened)


def test_P_04_a_servers_cancellation_ends_a_subscription_in_the_modern_era_only(modern) -> None:
    _, sent = modern.open(request("sub", "subscriptions/listen"), "one")
    cancelled = notification("notifications/cancelled", requestId=sent.id)
    _, passed = modern.notification(cancelled)
    assert passed.params == {"requestId": "sub"}
    legacy: Multiplexer[str] = Multiplexer(modern=False)
    _, sent = legacy.open(request("a"), "one")
    assert legacy.notification(notification("notifications/cancelled", requestId=sent.id)) is None
    assert not legacy.names_a_request(notification("notifications/cancelled", requestId=sent.id))


def test_P_04_what_names_no_request_is_left_to_others(modern) -> None:
    message = notification("notifications/message", data="x")
    assert modern.notification(message) is None
    assert not modern.names_a_request(message)
    assert modern.notification(notification("notifications/message", _meta=3)) is None
    assert modern.notification(Message(kind="notification", method="x")) is None
