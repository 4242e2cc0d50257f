"""What a result must look like to pass, and what is changed in it on the way: decisions without I/O."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from proxies.mcp.capabilities import TASKS_EXTENSION, may_ask, strip
from proxies.mcp.eras import LEGACY_VERSIONS, SUPPORTED_VERSIONS
from proxies.mcp.methods import CACHEABLE_METHODS, INPUT_METHODS, INPUT_REQUESTS
from proxies.mcp.param_headers import InvalidAnnotation, ParamHeader, header_annotations
from proxies.mcp.refusals import printable, upstream_invalid
from proxies.mcp.tasks import usable_task_id

logger = logging.getLogger(__name__)

MAX_TTL_MS: Final = 60_000
"""Bound of a client's cache, so that a revocation takes effect within a minute (M-17)."""
MAX_REQUEST_STATE_CHARACTERS: Final = 256 * 1024


def initialize_result(result: dict[str, Any]) -> dict[str, Any]:
    """An `InitializeResult` that the gateway understands (L-05, L-06); raises `Refusal` for an unknown version."""
    if result.get("protocolVersion") not in LEGACY_VERSIONS:
        raise upstream_invalid("The upstream chose a protocol version that this gateway does not understand.")
    return strip(result, era="legacy")


class Adapted(NamedTuple):
    """A result as it may pass, before its inspection."""

    result: dict[str, Any]
    annotations: Mapping[str, tuple[ParamHeader, ...]]
    """By the name of every tool that a list offers, the arguments that its calls repeat in their headers."""


def modern_result(method: str, result: dict[str, Any], *, declared: frozenset[str]) -> Adapted:
    """A modern result, checked and adapted (M-05, M-15..M-17, M-19, M-20); raises `Refusal` for one that must not pass."""
    annotations: dict[str, tuple[ParamHeader, ...]] = {}
    kind = result.get("resultType", "complete")
    if kind == "input_required":
        _check_input_required(method, result, declared)
        return Adapted(result, annotations)
    if kind == "task":
        _check_created_task(method, result, declared)
        return Adapted(result, annotations)
    if kind != "complete":
        raise upstream_invalid("The upstream sent a result of an unknown type.")
    if method == "server/discover":
        result = _discover(result)
    elif method == "tasks/get":
        check_input_requests(result.get("inputRequests", {}), declared)
    elif method == "tools/list":
        result, annotations = _tools(result)
    if method in CACHEABLE_METHODS:
        ttl = result.get("ttlMs")
        capped = min(ttl, MAX_TTL_MS) if type(ttl) is int and ttl > 0 else 0
        # The credential decides who may see a result, so no cache between client and gateway may share it.
        result = {**result, "ttlMs": capped, "cacheScope": "private"}
    return Adapted(result, annotations)


def _check_input_required(method: str, result: dict[str, Any], declared: frozenset[str]) -> None:
    state = result.get("requestState", "")
    if method not in INPUT_METHODS:
        raise upstream_invalid("The upstream asked for input where the protocol does not allow it.")
    if type(state) is not str or len(state) > MAX_REQUEST_STATE_CHARACTERS:
        raise upstream_invalid("The upstream asked for input in a malformed way.")
    check_input_requests(result.get("inputRequests", {}), declared)


def check_input_requests(requests: Any, declared: frozenset[str]) -> None:
    """Refuse what the client did not say that it can answer (M-15); raises `Refusal`."""
    if type(requests) is not dict:
        raise upstream_invalid("The upstream asked for input in a malformed way.")
    for request in requests.values():
        method = request.get("method") if type(request) is dict else None
        if (
            type(method) is not str
            or method not in INPUT_REQUESTS
            or not may_ask(method, request.get("params"), declared)
        ):
            raise upstream_invalid("The upstream asked for input of a kind that the client did not declare.")


def _check_created_task(method: str, result: dict[str, Any], declared: frozenset[str]) -> None:
    """A task instead of a result: only for a tool, only for a client that knows tasks (M-20)."""
    if method != "tools/call" or TASKS_EXTENSION not in declared:
        raise upstream_invalid("The upstream started a task where the client did not declare the tasks extension.")
    if not usable_task_id(result.get("taskId")) or "result" in result:
        raise upstream_invalid("The upstream started a task in a malformed way.")


def _discover(result: dict[str, Any]) -> dict[str, Any]:
    versions = result.get("supportedVersions")
    if type(versions) is not list:
        raise upstream_invalid("The upstream's discover result does not list its versions.")
    return strip({**result, "supportedVersions": [one for one in versions if one in SUPPORTED_VERSIONS]}, era="modern")


def _tools(result: dict[str, Any]) -> tuple[dict[str, Any], dict[str, tuple[ParamHeader, ...]]]:
    """The list without tools whose header annotations are invalid (M-05), and the annotations of the others."""
    tools = result.get("tools")
    if type(tools) is not list or not all(type(tool) is dict and type(tool.get("name")) is str for tool in tools):
        raise upstream_invalid("The upstream's list of tools is malformed.")
    offered = []
    annotations = {}
    for tool in tools:
        try:
            annotations[tool["name"]] = header_annotations(tool.get("inputSchema"))
        except InvalidAnnotation as error:
            logger.warning("tool %s is not offered: %s", printable(tool["name"]), error)
        else:
            offered.append(tool)
    return {**result, "tools": offered}, annotations
