"""Ids of tasks on their way between a process and its clients: one name for one task (P-04)."""

from __future__ import annotations

from typing import Any

import pytest

from proxies.mcp.messages import Message
from proxies.mcp.upstreams.multiplexer import Multiplexer
from proxies.mcp.upstreams.task_ids import TaskIds

RELATED = "io.modelcontextprotocol/related-task"


def response(**result: Any) -> Message:
    return Message(kind="response", id=1, result=result)


def notification(method: str, **params: Any) -> Message:
    return Message(kind="notification", method=method, params=params)


def request(method: str, **params: Any) -> Message:
    return Message(kind="request", id=1, method=method, params=params)


def ids_in(value: Any) -> list[str]:
    """Every string that stands where an id of a task may stand."""
    if type(value) is list:
        return [id for one in value for id in ids_in(one)]
    if type(value) is not dict:
        return []
    own = [value["taskId"]] if "taskId" in value else []
    return own + value.get("taskIds", []) + [id for one in value.values() for id in ids_in(one)]


@pytest.mark.parametrize(
    ("message", "method"),
    [
        (response(task={"taskId": "1", "status": "working"}), "tools/call"),
        (response(resultType="task", taskId="1"), "tools/call"),
        (response(taskId="1", status="working"), "tasks/get"),
        (response(taskId="1"), "tasks/cancel"),
        (response(tasks=[{"taskId": "1"}, {"taskId": "2"}]), "tasks/list"),
        (response(content=[], _meta={RELATED: {"taskId": "1"}}), "tasks/result"),
        (notification("notifications/tasks/status", taskId="1"), ""),
        (notification("notifications/tasks", taskId="1"), ""),
        (notification("notifications/subscriptions/acknowledged", notifications={"taskIds": ["1", "2"]}), ""),
        (request("elicitation/create", message="?", _meta={RELATED: {"taskId": "1"}}), ""),
    ],
)
def test_P_04_two_processes_that_count_alike_name_their_tasks_apart(message: Message, method: str) -> None:
    first, second = TaskIds(), TaskIds()
    ones = ids_in(first.to_client(message, method).result or first.to_client(message, method).params)
    others = ids_in(second.to_client(message, method).result or second.to_client(message, method).params)
    assert set(ones).isdisjoint(others)
    assert len(ones) == len(ids_in(message.result or message.params)) > 0
    # And back: what a client sends is what the process said.
    asked = [first.to_server(request("tasks/get", taskId=id)).params["taskId"] for id in ones]  # type: ignore[index]
    assert asked == ids_in(message.result or message.params)


def test_P_04_what_a_client_says_of_a_task_is_said_with_the_id_of_the_process() -> None:
    ids = TaskIds()
    marked = ids.to_client(response(task={"taskId": "7"}), "tools/call").result["task"]["taskId"]  # type: ignore[index]
    listening = request(
        "subscriptions/listen", notifications={"taskIds": [marked, "foreign"], "toolsListChanged": True}
    )
    assert ids.to_server(listening).params == {"notifications": {"taskIds": ["7", "foreign"], "toolsListChanged": True}}
    answer = response(action="accept", _meta={RELATED: {"taskId": marked}})
    assert ids.to_server(answer).result == {"action": "accept", "_meta": {RELATED: {"taskId": "7"}}}
    for method in ("tasks/result", "tasks/cancel", "tasks/update"):
        assert ids.to_server(request(method, taskId=marked)).params == {"taskId": "7"}


@pytest.mark.parametrize(
    "message",
    [
        request("tasks/get", taskId="of the client"),
        request("sampling/createMessage", task={"ttl": 1}),
        response(content=[]),
        Message(kind="notification", method="notifications/tools/list_changed"),
    ],
)
def test_P_04_what_is_not_about_a_task_of_the_process_stays_as_it_is(message: Message) -> None:
    assert TaskIds().to_client(message, "tools/list") is message


def test_P_04_the_multiplexer_of_a_process_marks_its_tasks_and_that_of_a_server_in_the_network_does_not() -> None:
    for task_ids in (TaskIds(), None):
        multiplexer: Multiplexer[str] = Multiplexer(modern=False, task_ids=task_ids)
        opened, _ = multiplexer.open(request("tools/call", name="x"), "owner")
        found = multiplexer.response(Message(kind="response", id=opened.wire_id, result={"task": {"taskId": "1"}}))
        assert found is not None
        id = found[1].result["task"]["taskId"]  # type: ignore[index]
        assert (id == "1") is (task_ids is None)
        _, sent = multiplexer.open(request("tasks/result", taskId=id), "owner")
        assert sent.params == {"taskId": "1"}
