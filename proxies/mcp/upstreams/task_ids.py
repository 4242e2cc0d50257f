"""The ids of a process's tasks, made unlike those of every other process (P-04, L-15, M-20). No I/O.

A server that counts its tasks counts them in each of its processes. To whoever keeps apart whose a task is, and to clients, an
id must name one task only, so it carries a mark of its process; what the client sends back loses it again. Ids of tasks
that the client itself runs pass as they are.
"""

from __future__ import annotations

import secrets
from typing import Any, Final

import msgspec

from proxies.mcp.messages import Message
from proxies.mcp.tasks import LISTEN_KEY, RELATED_TASK

MARK_BYTES: Final = 6
_ABOUT_TASKS: Final = frozenset({"tasks/get", "tasks/result", "tasks/cancel", "tasks/update"})
_TOLD_OF_TASKS: Final = frozenset({"notifications/tasks", "notifications/tasks/status"})

Part = dict[str, Any]


class TaskIds:
    """The mark of one process."""

    def __init__(self) -> None:
        self._mark = f"{secrets.token_hex(MARK_BYTES)}."

    def to_server(self, message: Message) -> Message:
        """A message of the client with the ids that the process knows."""
        name = "result" if message.kind == "response" else "params"
        part: Part | None = getattr(message, name)
        if part is None:
            return message
        changed = _with_related(part, self._unmarked)
        if message.method in _ABOUT_TASKS or message.method in _TOLD_OF_TASKS:
            changed = _with(changed, "taskId", self._unmarked)
        if message.method == "subscriptions/listen":
            changed = _with_listened(changed, self._unmarked)
        return message if changed is part else msgspec.structs.replace(message, **{name: changed})

    def to_client(self, message: Message, method: str = "") -> Message:
        """A message of the process with the ids that nobody else has; `method` is that of the request which it answers."""
        name = "result" if message.kind == "response" else "params"
        part: Part | None = getattr(message, name)
        if part is None:
            return message
        changed = _with_related(part, self._marked)
        if message.kind == "response":
            changed = self._result(changed, method)
        elif message.method in _TOLD_OF_TASKS:
            changed = _with(changed, "taskId", self._marked)
        elif message.method == "notifications/subscriptions/acknowledged":
            changed = _with_listened(changed, self._marked)
        return message if changed is part else msgspec.structs.replace(message, **{name: changed})

    def _result(self, result: Part, method: str) -> Part:
        task = result.get("task")
        if method == "tools/call" and type(task) is dict:
            return {**result, "task": _with(task, "taskId", self._marked)}
        if result.get("resultType") == "task" or method in ("tasks/get", "tasks/cancel"):
            return _with(result, "taskId", self._marked)
        tasks = result.get("tasks")
        if method == "tasks/list" and type(tasks) is list:
            kept = [_with(one, "taskId", self._marked) if type(one) is dict else one for one in tasks]
            return {**result, "tasks": kept}
        return result

    def _marked(self, id: str) -> str:
        return self._mark + id

    def _unmarked(self, id: str) -> str:
        return id.removeprefix(self._mark)


def _with(part: Part, key: str, change: Any) -> Part:
    id = part.get(key)
    return {**part, key: change(id)} if type(id) is str else part


def _with_related(part: Part, change: Any) -> Part:
    meta = part.get("_meta")
    related = meta.get(RELATED_TASK) if type(meta) is dict else None
    if type(meta) is not dict or type(related) is not dict:
        return part
    return {**part, "_meta": {**meta, RELATED_TASK: _with(related, "taskId", change)}}


def _with_listened(part: Part, change: Any) -> Part:
    wanted = part.get("notifications")
    ids = wanted.get(LISTEN_KEY) if type(wanted) is dict else None
    if type(wanted) is not dict or type(ids) is not list:
        return part
    changed = [change(id) if type(id) is str else id for id in ids]
    return {**part, "notifications": {**wanted, LISTEN_KEY: changed}}
