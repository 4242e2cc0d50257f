"""Whose a task is, and what of a server's messages about tasks passes (L-15, M-14, M-20)."""

from __future__ import annotations

from typing import Any

import pytest

from proxies.mcp import legacy_tasks
from proxies.mcp.capabilities import TASKS_EXTENSION, URL_ELICITATION, may_ask
from proxies.mcp.gates import ACKNOWLEDGED, SUBSCRIPTION_ID, LegacyGate, ListenGate
from proxies.mcp.inspection import Texts
from proxies.mcp.messages import Message
from proxies.mcp.refusals import RPCRefusal
from proxies.mcp.results import modern_result
from proxies.mcp.sessions import Session, remember
from proxies.mcp.tasks import RELATED_TASK, TASKS, TaskTable, usable_task_id
from proxies.mcp.texts import result_texts, server_message_texts
from rules.model import Target


def session(principal: str, *capabilities: str, version: str = "2025-11-25") -> Session:
    return Session(
        proxy_id="p-tasks",
        principal_id=principal,
        upstream_id=None,
        version=version,
        capabilities=frozenset(capabilities),
        used_at=0,
    )


async def ignore(_texts: Texts, _method: str, _document: dict[str, Any], _size: int) -> None:
    return None


async def unchanged(_method: str, result: dict[str, Any], _size: int) -> dict[str, Any]:
    return result


async def answered(owner: Session, method: str, **result: Any) -> dict[str, Any] | None:
    """What of a result passes the gate of a stream on which its method was asked."""
    awaited: dict[Any, str] = {}
    remember(awaited, 1, method)
    passed = await LegacyGate(owner, awaited, ignore).take(Message(kind="response", id=1, result=result))
    return passed.result if passed is not None else None


def asked(owner: Session, method: str, **params: Any) -> None:
    legacy_tasks.check_task_request(owner, Message(kind="request", id=1, method=method, params=params))


def test_a_task_is_its_owners_alone_and_an_id_is_bound_once() -> None:
    table = TaskTable(max_tasks=2)
    table.bind("p", "t1", "a")
    table.bind("p", "t1", "a")
    assert table.find("p", "t1", "a") is not None
    assert table.find("p", "t1", "b") is None
    assert table.find("q", "t1", "a") is None
    assert table.find("p", ["t1"], "a") is None
    assert table.is_foreign("p", "t1", "b")
    assert not table.is_foreign("p", "t2", "b")
    assert not table.is_foreign("p", {"t": 1}, "b")
    with pytest.raises(RPCRefusal):
        table.bind("p", "t1", "b")
    table.bind("p", "t2", "b")
    table.find("p", "t1", "a")
    table.bind("p", "t3", "b")
    assert (len(table), table.find("p", "t2", "b")) == (2, None)
    assert table.find("p", "t1", "a") is not None
    assert [usable_task_id(id) for id in ("t", "", 7, "t" * 1025)] == [True, False, False, False]


async def test_L_15_a_started_task_can_be_asked_for_by_its_principal_in_any_session() -> None:
    alice, again, bob = session("alice"), session("alice"), session("bob")
    assert await answered(alice, "tools/call", task={"taskId": "L15-1", "status": "working"}) is not None
    for method in ("tasks/get", "tasks/result", "tasks/cancel"):
        asked(alice, method, taskId="L15-1")
        asked(again, method, taskId="L15-1")
        for stranger, id in ((bob, "L15-1"), (alice, "L15-2"), (alice, 7)):
            with pytest.raises(RPCRefusal) as refused:
                asked(stranger, method, taskId=id)
            assert (refused.value.status, refused.value.rpc_code) == (200, -32602)
    asked(bob, "tasks/list")
    asked(bob, "tools/list")


async def test_L_15_without_credentials_a_task_belongs_to_its_session() -> None:
    first, second = session(""), session("")
    await answered(first, "tools/call", task={"taskId": "L15-3", "status": "working"})
    asked(first, "tasks/get", taskId="L15-3")
    with pytest.raises(RPCRefusal):
        asked(second, "tasks/get", taskId="L15-3")


def test_L_15_tasks_exist_since_2025_11_25() -> None:
    with pytest.raises(RPCRefusal) as refused:
        asked(session("alice", version="2025-06-18"), "tasks/list")
    assert refused.value.rpc_code == -32601
    with pytest.raises(RPCRefusal) as refused:
        asked(session("alice"), "tools/call", name="t", task=7)
    assert refused.value.rpc_code == -32602


async def test_L_15_a_list_of_tasks_holds_the_callers_own() -> None:
    alice, bob = session("alice"), session("bob")
    for owner, id in ((alice, "L15-4"), (bob, "L15-5")):
        await answered(owner, "tools/call", task={"taskId": id, "status": "working"})
    everything = [{"taskId": "L15-4"}, {"taskId": "L15-5"}, {"taskId": "unknown"}, {"taskId": 7}, "odd"]
    assert await answered(alice, "tasks/list", tasks=everything, nextCursor="c") == {
        "tasks": [{"taskId": "L15-4"}],
        "nextCursor": "c",
    }
    assert await answered(bob, "tasks/list", tasks=everything) == {"tasks": [{"taskId": "L15-5"}]}


@pytest.mark.parametrize(
    ("method", "result"),
    [
        ("tasks/list", {"tasks": "odd"}),
        ("tasks/get", {"taskId": "L15-7", "status": "working"}),
        ("tasks/cancel", {"status": "cancelled"}),
        ("tools/call", {"task": {"status": "working"}}),
        ("tools/call", {"task": {"taskId": "L15-7", "status": "working"}}),
        ("tasks/result", {"content": [], "_meta": {RELATED_TASK: {"taskId": "L15-7"}}}),
    ],
)
async def test_L_15_a_result_about_another_task_does_not_pass(method: str, result: dict[str, Any]) -> None:
    TASKS.bind("p-tasks", "L15-7", "bob")
    with pytest.raises(RPCRefusal):
        await answered(session("alice"), method, **result)


async def test_L_15_what_a_server_says_of_another_task_is_dropped() -> None:
    TASKS.bind("p-tasks", "L15-8", "bob")
    for owner, passes in (("alice", False), ("bob", True)):
        gate = LegacyGate(session(owner, "elicitation"), {}, ignore)
        status = Message(
            kind="notification", method="notifications/tasks/status", params={"taskId": "L15-8", "status": "working"}
        )
        progress = Message(
            kind="notification", method="notifications/progress", params={"_meta": {RELATED_TASK: {"taskId": "L15-8"}}}
        )
        question = Message(
            kind="request",
            id=4,
            method="elicitation/create",
            params={"message": "?", "_meta": {RELATED_TASK: {"taskId": "L15-8"}}},
        )
        assert [await gate.take(one) is not None for one in (status, progress, question)] == [passes] * 3
        assert len(gate.replies) == (0 if passes else 1)


def test_L_15_and_L_12_a_server_may_ask_about_tasks_only_where_the_client_has_them() -> None:
    assert may_ask("tasks/result", {"taskId": "t"}, frozenset({"tasks"}))
    assert not may_ask("tasks/result", {"taskId": "t"}, frozenset({"sampling"}))
    assert may_ask("sampling/createMessage", {"task": {}}, frozenset({"sampling", "tasks"}))
    assert not may_ask("sampling/createMessage", {"task": {}}, frozenset({"sampling"}))
    assert may_ask("ping", None, frozenset())


def test_L_14_only_a_client_that_can_open_pages_is_asked_to() -> None:
    params = {"mode": "url", "url": "https://example.com/"}
    assert not may_ask("elicitation/create", params, frozenset({"elicitation"}))
    assert may_ask("elicitation/create", params, frozenset({"elicitation", URL_ELICITATION}))


def adapted(method: str, result: dict[str, Any], *declared: str) -> dict[str, Any]:
    return modern_result(method, result, declared=frozenset(declared)).result


def test_M_20_a_task_may_be_started_for_a_tool_and_a_client_that_declared_it() -> None:
    started = {"resultType": "task", "taskId": "t", "status": "working"}
    assert adapted("tools/call", started, TASKS_EXTENSION) == started
    for method, result, declared in (
        ("tools/call", started, "sampling"),
        ("prompts/get", started, TASKS_EXTENSION),
        ("tools/call", {**started, "taskId": 7}, TASKS_EXTENSION),
        ("tools/call", {**started, "result": {"content": []}}, TASKS_EXTENSION),
    ):
        with pytest.raises(RPCRefusal):
            adapted(method, result, declared)


def test_M_20_a_task_asks_only_what_the_client_can_answer() -> None:
    question = {"method": "elicitation/create", "params": {"message": "?"}}
    waiting = {"taskId": "t", "status": "input_required", "inputRequests": {"q": question}}
    assert adapted("tasks/get", waiting, TASKS_EXTENSION, "elicitation") == waiting
    for asked in ({"q": question}, {"q": {"method": "tasks/get"}}, {"q": 7}, "odd"):
        with pytest.raises(RPCRefusal):
            adapted("tasks/get", {**waiting, "inputRequests": asked}, TASKS_EXTENSION, "tasks")


def test_M_20_and_I_10_results_errors_and_questions_of_a_task_are_texts_wherever_they_are_told() -> None:
    task = {
        "taskId": "t",
        "result": {"content": [{"type": "text", "text": "told"}]},
        "error": {"code": -1, "message": "broken"},
        "inputRequests": {"q": {"method": "sampling/createMessage", "params": {"systemPrompt": "be good"}}},
    }
    told = Message(kind="notification", method="notifications/tasks", params=task)
    for prefix, texts in (("/result", result_texts("tasks/get", task)), ("/params", server_message_texts(told))):
        found = {(text.target, text.path, text.text) for text in texts}
        assert (Target.TOOL_RESULT, f"{prefix}/result/content/0/text", "told") in found
        assert (Target.ERROR, f"{prefix}/error/message", "broken") in found
        assert (Target.SAMPLING, f"{prefix}/inputRequests/q/params/systemPrompt", "be good") in found


async def test_M_14_a_listen_stream_tells_of_the_tasks_that_were_asked_for() -> None:
    tag = {"_meta": {SUBSCRIPTION_ID: "s"}}
    request = Message(
        kind="request", id="s", method="subscriptions/listen", params={"notifications": {"taskIds": ["t"]}}
    )
    gate = ListenGate(request, inspect=ignore, adapt=unchanged, noticed=lambda _method: None)
    assert await gate.take(Message(kind="notification", method=ACKNOWLEDGED, params=dict(tag)))
    for id, passes in (("t", True), ("u", False), (None, False)):
        told = Message(kind="notification", method="notifications/tasks", params={"taskId": id, **tag})
        assert (await gate.take(told) is not None) is passes
