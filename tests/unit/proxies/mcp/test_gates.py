"""What of an upstream's messages passes, and when a stream is done (L-08, L-12, M-12, M-14, D-03, I-30)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proxies.mcp.gates import ACKNOWLEDGED, SUBSCRIPTION_ID, LegacyGate, ListenGate, ModernGate, SessionGate
from proxies.mcp.inspection import Texts
from proxies.mcp.messages import Message
from proxies.mcp.refusals import RPCRefusal
from proxies.mcp.sessions import Session, remember
from proxies.refusal import Refusal

BLOCKED = "blocked"


async def inspect(texts: Texts, _method: str, _document: dict[str, Any], _size: int) -> None:
    if any(BLOCKED in text.text for text in texts()):
        raise Refusal(403, "blocked_by_policy", "Blocked.", outcome="blocked")


def session(*capabilities: str, version: str = "2025-11-25") -> Session:
    return Session(
        proxy_id="p",
        principal_id="a",
        upstream_id=None,
        version=version,
        capabilities=frozenset(capabilities),
        used_at=0,
    )


def legacy_gate(owner: Session, *ids: int | str) -> LegacyGate:
    awaited: dict[Any, str] = {}
    for id in ids:
        remember(awaited, id, "tools/call")
        remember(owner.client_requests, id, "tools/call")
    return LegacyGate(owner, awaited, inspect)


def notification(method: str, **params: Any) -> Message:
    return Message(kind="notification", method=method, params=params)


def request(method: str, id: int | str = 9, **params: Any) -> Message:
    return Message(kind="request", id=id, method=method, params=params)


def result(id: int | str | None, **members: Any) -> Message:
    return Message(kind="response", id=id, result=members)


def error(id: int | str | None, message: str = "no") -> Message:
    return Message(kind="response", id=id, error={"code": -1, "message": message})


# --- Legacy -----------------------------------------------------------------------------------------------------------


async def test_a_legacy_stream_is_done_when_every_awaited_response_has_passed() -> None:
    owner = session()
    gate = legacy_gate(owner, 1, "1")
    assert gate.unanswered() == [1, "1"]
    assert await gate.take(result(1)) == result(1)
    assert not gate.done
    assert await gate.take(error("1")) == error("1")
    assert gate.done
    assert owner.client_requests == {}


async def test_a_response_that_was_not_awaited_or_came_twice_is_dropped() -> None:
    gate = legacy_gate(session(), 1, 2)
    assert await gate.take(result(7)) is None
    assert await gate.take(result("1")) is None
    assert await gate.take(error(None)) is None
    assert await gate.take(result(1)) is not None
    assert await gate.take(result(1)) is None
    assert not gate.done


@pytest.mark.parametrize("response", [result(1, content=[{"text": BLOCKED}]), error(1, BLOCKED)])
async def test_a_blocked_response_leaves_its_request_open_for_the_refusal(response: Message) -> None:
    gate = legacy_gate(session(), 1)
    with pytest.raises(Refusal):
        await gate.take(response)
    assert gate.unanswered() == [1]


async def test_I_30_unknown_notifications_are_dropped_and_known_ones_inspected() -> None:
    gate = legacy_gate(session(), 1)
    assert await gate.take(notification("notifications/progress", message="m")) is not None
    assert await gate.take(notification("notifications/tools/list_changed")) is not None
    assert await gate.take(notification("notifications/unknown")) is None
    assert gate.dropped == 1
    with pytest.raises(Refusal):
        await gate.take(notification("notifications/message", data=BLOCKED))


async def test_L_12_only_requests_that_the_client_declared_reach_it() -> None:
    owner = session("elicitation")
    gate = legacy_gate(owner, 1)
    assert await gate.take(request("elicitation/create", message="m")) is not None
    assert await gate.take(request("ping", id=10)) is not None
    assert await gate.take(request("sampling/createMessage", id=11)) is None
    assert await gate.take(request("unknown/method", id=12)) is None
    assert [(reply.id, (reply.error or {})["code"]) for reply in gate.replies] == [(11, -32601), (12, -32601)]
    assert owner.server_requests == {(int, 9): "elicitation/create", (int, 10): "ping"}


async def test_D_03_a_blocked_server_request_is_answered_for_the_client() -> None:
    owner = session("elicitation", "sampling")
    gate = legacy_gate(owner, 1)
    assert await gate.take(request("elicitation/create", message=BLOCKED)) is None
    assert await gate.take(request("sampling/createMessage", id="s", systemPrompt=BLOCKED)) is None
    elicitation, sampling = gate.replies
    assert elicitation.body() == {"jsonrpc": "2.0", "id": 9, "result": {"action": "decline"}}
    assert (sampling.id, (sampling.error or {})["code"]) == ("s", -1)
    assert owner.server_requests == {}
    assert not gate.done


async def test_an_inspection_that_fails_is_not_taken_for_a_block() -> None:
    async def failing(_texts: Texts, _method: str, _document: dict[str, Any], _size: int) -> None:
        raise Refusal(500, "inspection_failed", "Failed.", outcome="failed")

    for gate in (LegacyGate(session("roots"), {}, failing), SessionGate(session("roots"), {}, failing, ref="r")):
        with pytest.raises(Refusal):
            await gate.take(request("roots/list"))


async def test_L_08_a_session_stream_carries_no_response_and_never_ends_by_itself() -> None:
    gate = SessionGate(session(), {}, inspect, ref="r")
    assert await gate.take(result(1)) is None
    assert await gate.take(notification("notifications/tools/list_changed")) is not None
    assert await gate.take(notification("notifications/message", data=BLOCKED)) is None
    assert not gate.done
    assert gate.unanswered() == []


async def test_L_09_a_resumed_stream_carries_the_open_response_under_the_policy_in_force_now() -> None:
    owner = session()
    for id in (1, 2):
        remember(owner.client_requests, id, "tools/call")
    gate = SessionGate(owner, owner.client_requests, inspect, ref="call_1")
    assert await gate.take(result(1)) == result(1)
    blocked = await gate.take(result(2, content=[{"text": BLOCKED}]))
    assert blocked is not None
    assert blocked.error == {"code": -32010, "message": "Blocked by gateway policy", "data": {"ref": "call_1"}}
    assert owner.client_requests == {}


def test_L_07_batches_belong_to_one_version() -> None:
    assert LegacyGate(session(version="2025-03-26"), {}, inspect).allow_batches
    assert not LegacyGate(session(version="2025-06-18"), {}, inspect).allow_batches


async def test_L_09_a_response_that_two_resumed_streams_bring_at_the_same_time_passes_once() -> None:
    async def slowly(_texts: Texts, _method: str, _document: dict[str, Any], _size: int) -> None:
        await asyncio.sleep(0)

    owner = session()
    remember(owner.client_requests, 1, "tools/call")
    gates = [SessionGate(owner, owner.client_requests, slowly, ref="call_1") for _ in range(2)]
    passed = await asyncio.gather(*(gate.take(result(1)) for gate in gates))
    assert passed == [result(1), None]
    assert [gate.dropped for gate in gates] == [0, 1]


# --- Modern -----------------------------------------------------------------------------------------------------------


async def adapt(method: str, one: dict[str, Any], _size: int) -> dict[str, Any]:
    return {**one, "adapted": method}


def modern_gate(*, wants_log: bool = False) -> ModernGate:
    return ModernGate(request("tools/call", id=1), wants_log=wants_log, inspect=inspect, adapt=adapt)


async def test_M_12_one_response_ends_a_modern_stream() -> None:
    gate = modern_gate()
    assert gate.unanswered() == [1]
    passed = await gate.take(result(1, content=[]))
    assert passed is not None
    assert passed.result == {"content": [], "adapted": "tools/call"}
    assert gate.done
    assert gate.unanswered() == []


async def test_M_12_an_error_ends_it_too_and_is_inspected() -> None:
    assert await modern_gate().take(error(1)) == error(1)
    gate = modern_gate()
    with pytest.raises(Refusal):
        await gate.take(error(1, BLOCKED))
    assert gate.unanswered() == [1]


@pytest.mark.parametrize("message", [request("sampling/createMessage"), result(2), result("1"), error(None)])
async def test_M_12_requests_and_foreign_responses_fail_the_call(message: Message) -> None:
    with pytest.raises(RPCRefusal) as refused:
        await modern_gate().take(message)
    assert refused.value.outcome == "upstream_error"


async def test_M_12_log_messages_pass_only_where_they_were_asked_for() -> None:
    log = notification("notifications/message", data="m")
    assert await modern_gate().take(log) is None
    assert await modern_gate(wants_log=True).take(log) == log
    assert await modern_gate().take(notification("notifications/progress", message="m")) is not None
    assert await modern_gate().take(notification("notifications/tools/list_changed")) is None


# --- Listening --------------------------------------------------------------------------------------------------------


def listen_gate(**wanted: Any) -> ListenGate:
    return ListenGate(request("subscriptions/listen", id=5, notifications=wanted), inspect=inspect, adapt=adapt)


def tagged(method: str, id: int | str = 5, **params: Any) -> Message:
    return notification(method, _meta={SUBSCRIPTION_ID: id}, **params)


async def test_M_14_what_was_asked_for_passes_after_the_acknowledgement() -> None:
    gate = listen_gate(toolsListChanged=True, resourceSubscriptions=["test://a"])
    for message in (
        tagged(ACKNOWLEDGED),
        tagged("notifications/tools/list_changed"),
        tagged("notifications/resources/updated", uri="test://a"),
        tagged("notifications/resources/updated", uri="test://a/part"),
        notification("notifications/cancelled", requestId=5),
    ):
        assert await gate.take(message) == message
    assert await gate.take(result(5)) is not None
    assert gate.done


@pytest.mark.parametrize(
    "message",
    [
        tagged("notifications/prompts/list_changed"),
        tagged("notifications/resources/list_changed"),
        tagged("notifications/resources/updated", uri="test://ab"),
        tagged("notifications/resources/updated", uri=None),
        tagged("notifications/message", data="m"),
        tagged("notifications/tools/list_changed", id="5"),
        notification("notifications/tools/list_changed"),
        notification("notifications/cancelled", requestId=6),
    ],
)
async def test_M_14_what_was_not_asked_for_or_is_not_tagged_is_dropped(message: Message) -> None:
    gate = listen_gate(toolsListChanged=True, resourcesListChanged="yes", resourceSubscriptions=["test://a"])
    await gate.take(tagged(ACKNOWLEDGED))
    assert await gate.take(message) is None


async def test_M_14_a_subscription_that_was_not_acknowledged_fails() -> None:
    with pytest.raises(RPCRefusal):
        await listen_gate(toolsListChanged=True).take(tagged("notifications/tools/list_changed"))


async def test_M_14_a_malformed_filter_asks_for_nothing() -> None:
    gate = ListenGate(request("subscriptions/listen", id=5, notifications=["x"]), inspect=inspect, adapt=adapt)
    await gate.take(tagged(ACKNOWLEDGED))
    assert await gate.take(tagged("notifications/tools/list_changed")) is None
