"""Several clients, or one that repeats itself, on one channel: every correlator is rewritten (P-04). No I/O.

A request gets an id and a progress token of ours; what comes back is found by them and gets the client's own again:
responses, progress, cancellations and the notifications of a subscription. What belongs to no open request is nobody's: an
answer that comes twice or too late must not reach whoever uses the same id now.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

import msgspec

from proxies.mcp.gates import SUBSCRIPTION_ID
from proxies.mcp.messages import Message, MessageId
from proxies.mcp.upstreams.task_ids import TaskIds

CANCELLED: Final = "notifications/cancelled"
PROGRESS: Final = "notifications/progress"

T = TypeVar("T")


class OpenRequest(msgspec.Struct, Generic[T], frozen=True):
    """A request without a response."""

    owner: T
    wire_id: int
    id: MessageId
    """The client's."""
    method: str
    token: MessageId | None
    """The client's progress token."""


class Multiplexer(Generic[T]):
    """The open requests of one channel; `T` is what answers are for. Only in the modern era a server's cancellation concerns
    a request of the client's; in the legacy eras it takes back a request of its own."""

    def __init__(self, *, modern: bool, task_ids: TaskIds | None = None) -> None:
        """`task_ids` where what is on the other end numbers its tasks for itself alone."""
        self._modern = modern
        self._task_ids = task_ids
        self._open: dict[int, OpenRequest[T]] = {}
        self._last_id = 0

    def __len__(self) -> int:
        return len(self._open)

    @property
    def open_requests(self) -> list[OpenRequest[T]]:
        """Oldest first."""
        return list(self._open.values())

    def was_issued(self, id: MessageId | None) -> bool:
        """Whether a request with this id was ever sent: an answer to it is late at worst, not made up."""
        return type(id) is int and 0 < id <= self._last_id

    def open(self, request: Message, owner: T) -> tuple[OpenRequest[T], Message]:
        """Note a request of a client; what is sent instead."""
        assert request.id is not None  # A request has an id.
        self._last_id += 1
        wire_id = self._last_id
        meta = _meta(request)
        token = meta.get("progressToken")
        opened = OpenRequest(owner, wire_id, request.id, request.method, token if _is_token(token) else None)
        self._open[wire_id] = opened
        sent = _replace(request, id=wire_id)
        if "progressToken" in meta:
            sent = _with_meta(sent, {"progressToken": wire_id})
        return opened, self.told(sent)

    def unowned(self, method: str, params: dict[str, Any]) -> Message:
        """A request of the gateway's own, whose answer nobody waits for."""
        self._last_id += 1
        return Message(kind="request", id=self._last_id, method=method, params=params)

    def told(self, message: Message) -> Message:
        """A message of the client with the ids of tasks that the server knows."""
        return message if self._task_ids is None else self._task_ids.to_server(message)

    def said(self, message: Message, method: str = "") -> Message:
        """A message of the server with the ids of tasks that the client knows; `method` is that of the request it answers."""
        return message if self._task_ids is None else self._task_ids.to_client(message, method)

    def close(self, request: OpenRequest[T]) -> bool:
        """Forget a request; False when it was not open any more."""
        return self._open.pop(request.wire_id, None) is not None

    def cancellation(self, request: OpenRequest[T], reason: str) -> Message:
        """What tells the server that nobody waits for this request any more."""
        return Message(kind="notification", method=CANCELLED, params={"requestId": request.wire_id, "reason": reason})

    def to_server(
        self, notification: Message, is_own: Callable[[T], bool] = lambda owner: True
    ) -> tuple[OpenRequest[T] | None, Message | None]:
        """A client's notification as the server must see it, and the request that it cancels. None instead of the message
        where it cancels a request that is not open, or not its own."""
        if notification.method != CANCELLED:
            return None, notification
        params = notification.params or {}
        named = params.get("requestId")
        for request in reversed(self._open.values()):
            if (type(request.id), request.id) == (type(named), named) and is_own(request.owner):
                return request, _replace(notification, params={**params, "requestId": request.wire_id})
        return None, None

    def response(self, message: Message) -> tuple[OpenRequest[T], Message] | None:
        """The request that a response answers, closed now, and the response for its client; None for nobody's."""
        request = self._open.pop(message.id, None) if type(message.id) is int else None
        if request is None:
            return None
        answer = self.said(_replace(message, id=request.id), request.method)
        if request.method == "subscriptions/listen" and message.result is not None:
            answer = _with_meta(answer, {SUBSCRIPTION_ID: request.id})
        return request, answer

    def notification(self, message: Message) -> tuple[OpenRequest[T], Message] | None:
        """The open request that a server's notification names, and the notification for its client; None where it names
        none that is open."""
        params = message.params or {}
        if message.method == PROGRESS:
            request = self._named(params.get("progressToken"))
            if request is None or request.token is None:
                return None
            return request, _replace(message, params={**params, "progressToken": request.token})
        if message.method == CANCELLED and self._modern:
            request = self._named(params.get("requestId"))
            return None if request is None else (request, _replace(message, params={**params, "requestId": request.id}))
        request = self._named(_meta(message).get(SUBSCRIPTION_ID))
        return None if request is None else (request, _with_meta(message, {SUBSCRIPTION_ID: request.id}))

    def names_a_request(self, message: Message) -> bool:
        """Whether a server's notification belongs to one request, open or not: it must not go to anybody else."""
        return (
            message.method == PROGRESS
            or (message.method == CANCELLED and self._modern)
            or SUBSCRIPTION_ID in _meta(message)
        )

    def _named(self, id: Any) -> OpenRequest[T] | None:
        return self._open.get(id) if type(id) is int else None


def _is_token(token: Any) -> bool:
    return type(token) in (int, str)


def _meta(message: Message) -> dict[str, Any]:
    meta = (message.params or {}).get("_meta")
    return meta if type(meta) is dict else {}


def _replace(message: Message, **changes: Any) -> Message:
    return msgspec.structs.replace(message, **changes)


def _with_meta(message: Message, changes: dict[str, Any]) -> Message:
    """The message with other members of the `_meta` of its params or result."""
    holder = message.result if message.kind == "response" else message.params
    holder = dict(holder or {})
    meta = holder.get("_meta")
    holder["_meta"] = {**(meta if type(meta) is dict else {}), **changes}
    return _replace(message, **{"result" if message.kind == "response" else "params": holder})
