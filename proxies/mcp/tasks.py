"""Tasks: whose they are, in both eras (L-15, M-20). In worker memory, bounded.

A task outlives the call that started it, and its id is all that is needed to read its result. So the id is bound to the
principal whose call started the task, and for everybody else the task does not exist. Where a proxy asks for no credential
a legacy task belongs to its session; modern clients without credentials cannot be told apart. When the worker is replaced
the bindings are gone, and with them the way to the results.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final, TypeGuard

from proxies.mcp.messages import Message
from proxies.mcp.refusals import RPCRefusal, invalid_params, upstream_invalid
from rules.masking.session import MaskingSession

MAX_TASKS: Final = 50_000
MAX_TASK_ID_CHARACTERS: Final = 1024
RELATED_TASK: Final = "io.modelcontextprotocol/related-task"
"""Names, in the metadata of a legacy message, the task that it belongs to."""
LISTEN_KEY: Final = "taskIds"


class BoundTask:
    """Whose a task is, and what was masked towards the server in the call that started it."""

    __slots__ = ("masking", "owner")

    def __init__(self, owner: str, masking: MaskingSession | None) -> None:
        self.owner = owner
        self.masking = masking


class TaskTable:
    """The tasks that were started through this worker, by proxy and id; the least recently used go first."""

    def __init__(self, max_tasks: int = MAX_TASKS) -> None:
        self._max_tasks = max_tasks
        self._tasks: OrderedDict[tuple[str, str], BoundTask] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tasks)

    def bind(self, proxy_id: str, task_id: str, owner: str, masking: MaskingSession | None = None) -> None:
        """Note who started a task; raises `Refusal` for an id that is somebody else's already."""
        bound = self._tasks.setdefault((proxy_id, task_id), BoundTask(owner, masking))
        if bound.owner != owner:
            raise upstream_invalid("The upstream started a task under the id of another one.")
        if len(self._tasks) > self._max_tasks:
            self._tasks.popitem(last=False)

    def find(self, proxy_id: str, task_id: Any, owner: str) -> BoundTask | None:
        """The task if it is this owner's, else None without saying why."""
        bound = self._tasks.get((proxy_id, task_id)) if type(task_id) is str else None
        if bound is None or bound.owner != owner:
            return None
        self._tasks.move_to_end((proxy_id, task_id))
        return bound

    def is_foreign(self, proxy_id: str, task_id: Any, owner: str) -> bool:
        """Whether a task is known to be somebody else's."""
        bound = self._tasks.get((proxy_id, task_id)) if type(task_id) is str else None
        return bound is not None and bound.owner != owner


TASKS: Final = TaskTable()
"""Those of this worker."""


def usable_task_id(id: Any) -> TypeGuard[str]:
    """Whether a value can name a task."""
    return type(id) is str and 0 < len(id) <= MAX_TASK_ID_CHARACTERS


def task_not_found() -> RPCRefusal:
    """The answer for a task that does not exist, or not for this caller."""
    return invalid_params("Unknown task", status=200)


def related_task(message: Message) -> Any:
    """The id of the task that a server's legacy message is about, or None."""
    part = message.params if message.kind != "response" else message.result
    if part is None:
        return None
    if message.method == "notifications/tasks/status":
        return part.get("taskId")
    meta = part.get("_meta")
    related = meta.get(RELATED_TASK) if type(meta) is dict else None
    return related.get("taskId") if type(related) is dict else None
