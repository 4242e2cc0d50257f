"""Tasks of the legacy era (L-15): requests about a task are its owner's alone, and so is everything that a server says of it."""

from __future__ import annotations

from typing import Any, Final

from proxies.mcp.messages import Message
from proxies.mcp.methods import TASK_METHODS
from proxies.mcp.refusals import invalid_params, method_not_found, upstream_invalid
from proxies.mcp.sessions import Session
from proxies.mcp.tasks import TASKS, related_task, task_not_found, usable_task_id

TASKS_SINCE: Final = "2025-11-25"


def owner_of(session: Session) -> str:
    """Whose the tasks of a session are: the principal's, or the session's own where nobody is asked who calls."""
    return session.principal_id or f"session {session.id}"


def check_task_request(session: Session, message: Message) -> None:
    """Refuse a request about a task that is not the caller's; raises `Refusal`."""
    params = message.params or {}
    if type(params.get("task", {})) is not dict:
        raise invalid_params("params.task must be an object.", status=200)
    if message.method not in TASK_METHODS:
        return
    if session.version < TASKS_SINCE:
        raise method_not_found(message.method, status=200)
    if message.method == "tasks/list":
        return
    if TASKS.find(session.proxy_id, params.get("taskId"), owner_of(session)) is None:
        raise task_not_found()


def own_result(session: Session, method: str, result: dict[str, Any]) -> dict[str, Any]:
    """A result with what concerns the session's own tasks alone; raises `Refusal` for one about another's task."""
    owner = owner_of(session)
    if method == "tools/call" and type(result.get("task")) is dict:
        id = result["task"].get("taskId")
        if not usable_task_id(id):
            raise upstream_invalid("The upstream started a task in a malformed way.")
        TASKS.bind(session.proxy_id, id, owner)
    elif method == "tasks/list":
        tasks = result.get("tasks")
        if type(tasks) is not list:
            raise upstream_invalid("The upstream's list of tasks is malformed.")
        own = [one for one in tasks if type(one) is dict and TASKS.find(session.proxy_id, one.get("taskId"), owner)]
        return {**result, "tasks": own}
    elif method in ("tasks/get", "tasks/cancel") and not TASKS.find(session.proxy_id, result.get("taskId"), owner):
        raise upstream_invalid("The upstream answered with another task than the one that was asked for.")
    return result


def is_foreign(session: Session, message: Message) -> bool:
    """Whether a server's message belongs to a task that is somebody else's."""
    return TASKS.is_foreign(session.proxy_id, related_task(message), owner_of(session))
