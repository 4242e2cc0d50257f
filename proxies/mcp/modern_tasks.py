"""The tasks extension of the modern era (M-20): who may ask for a task, and what of it a listen stream may tell."""

from __future__ import annotations

from typing import Any, Final

from proxies.exchange import Exchange
from proxies.mcp.capabilities import TASKS_EXTENSION
from proxies.mcp.messages import MISSING_CAPABILITY, Message
from proxies.mcp.methods import TASK_METHODS
from proxies.mcp.refusals import RPCRefusal, upstream_invalid
from proxies.mcp.tasks import LISTEN_KEY, TASKS, BoundTask, task_not_found
from rules.masking.session import MaskingSession

MAX_LISTENED_TASKS: Final = 1_000
"""Ids of one subscription that are looked up; what comes after them is left out."""
_REQUIRED: Final[dict[str, Any]] = {"requiredCapabilities": {"extensions": {TASKS_EXTENSION: {}}}}


def admit_task_request(exchange: Exchange, message: Message, declared: frozenset[str]) -> BoundTask | None:
    """The task that a request is about, None for a request about none; raises `Refusal` where it is not the caller's.

    Values that were masked in the call which started the task can be restored in what it brings.
    """
    if message.method not in TASK_METHODS:
        return None
    if TASKS_EXTENSION not in declared:
        raise RPCRefusal(
            400,
            MISSING_CAPABILITY,
            "missing_capability",
            f"The client did not declare {TASKS_EXTENSION}.",
            data=dict(_REQUIRED),
        )
    bound = TASKS.find(exchange.proxy.config.id, (message.params or {}).get("taskId"), exchange.principal.id)
    if bound is None:
        raise task_not_found()
    exchange.masking = bound.masking
    return bound


def note_task(exchange: Exchange, request: Message, result: dict[str, Any]) -> None:
    """Bind a task that the result starts; raises `Refusal` where it tells of another task than the one asked for."""
    if result.get("resultType") == "task":
        TASKS.bind(exchange.proxy.config.id, result["taskId"], exchange.principal.id, exchange.masking)
    elif request.method == "tasks/get" and result.get("taskId") != (request.params or {}).get("taskId"):
        raise upstream_invalid("The upstream answered with another task than the one that was asked for.")


def own_tasks_only(exchange: Exchange, params: dict[str, Any]) -> dict[str, Any]:
    """The parameters of `subscriptions/listen` without the tasks that are not the caller's (M-14)."""
    wanted = params.get("notifications")
    if type(wanted) is not dict or LISTEN_KEY not in wanted:
        return params
    ids = wanted[LISTEN_KEY]
    own = [id for id in ids[:MAX_LISTENED_TASKS] if _find(exchange, id)] if type(ids) is list else []
    return {**params, "notifications": {**wanted, LISTEN_KEY: own}}


def masking_of(exchange: Exchange, document: dict[str, Any]) -> MaskingSession | None:
    """What was masked in the call that started the task which a notification is about."""
    bound = _find(exchange, (document.get("params") or {}).get("taskId"))
    return bound.masking if bound is not None else None


def _find(exchange: Exchange, id: Any) -> BoundTask | None:
    return TASKS.find(exchange.proxy.config.id, id, exchange.principal.id)
