"""What a message of one era is in the other. Decisions without I/O."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from proxies.mcp.eras import META_CAPABILITIES, META_LOG_LEVEL, META_VERSION, MODERN_VERSIONS
from proxies.mcp.gates import SUBSCRIPTION_ID
from proxies.mcp.messages import (
    HEADER_MISMATCH,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    MISSING_CAPABILITY,
    UNSUPPORTED_VERSION,
    Message,
    MessageId,
    error_response,
    result_response,
)
from proxies.mcp.methods import CACHEABLE_METHODS, LISTEN_FILTERS

META_CLIENT: Final = "io.modelcontextprotocol/clientInfo"
META_SERVER: Final = "io.modelcontextprotocol/serverInfo"
UNKNOWN_SERVER: Final = {"name": "unknown", "version": ""}
_RESOURCE_NOT_FOUND: Final = -32002
_URL_ELICITATION: Final = -32042

_MODERN_META: Final = frozenset({META_VERSION, META_CAPABILITIES, META_LOG_LEVEL, META_CLIENT})
_MODERN_PARAMS: Final = frozenset({"inputResponses", "requestState"})
_MODERN_RESULT: Final = frozenset({"resultType", "ttlMs", "cacheScope"})
_TO_LEGACY_CODE: Final = {
    HEADER_MISMATCH: INTERNAL_ERROR,
    MISSING_CAPABILITY: INVALID_REQUEST,
    UNSUPPORTED_VERSION: INVALID_REQUEST,
}
"""Codes that a legacy client must not see: it would take them for signs of the other era (E-06)."""
_TO_MODERN_CODE: Final = {_RESOURCE_NOT_FOUND: INVALID_PARAMS, _URL_ELICITATION: INTERNAL_ERROR}
"""Codes that do not exist any more."""


_LEVELS: Final = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
_OF_ONE_ERA: Final = frozenset({"extensions", "tasks"})
"""Capabilities that mean nothing, or something else, in the other era: nobody may rely on them across the bridge."""


def shared_capabilities(declared: Any) -> dict[str, Any]:
    """What of declared capabilities both eras understand."""
    if type(declared) is not dict:
        return {}
    return {name: value for name, value in declared.items() if name not in _OF_ONE_ERA}


# --- Legacy client, modern server -------------------------------------------------------------------------------------


def initialize_result(discovered: dict[str, Any], version: str) -> dict[str, Any]:
    """What a legacy client is told of a modern server."""
    meta = discovered.get("_meta")
    server = meta.get(META_SERVER) if type(meta) is dict else None
    result: dict[str, Any] = {
        "protocolVersion": version,
        "capabilities": shared_capabilities(discovered.get("capabilities")),
        "serverInfo": server if type(server) is dict else UNKNOWN_SERVER,
    }
    if "instructions" in discovered:
        result["instructions"] = discovered["instructions"]
    return result


def to_modern_request(
    request: Message,
    *,
    id: MessageId,
    capabilities: dict[str, Any],
    client_info: dict[str, Any] | None,
    log_level: str | None,
) -> Message:
    """A request of a legacy client in the envelope of the modern era."""
    params = dict(request.params or {})
    given = params.get("_meta")
    meta = {name: value for name, value in given.items() if name not in _MODERN_META} if type(given) is dict else {}
    meta |= {META_VERSION: MODERN_VERSIONS[-1], META_CAPABILITIES: capabilities}
    if client_info is not None:
        meta[META_CLIENT] = client_info
    if log_level is not None:
        meta[META_LOG_LEVEL] = log_level
    return Message(kind="request", id=id, method=request.method, params={**params, "_meta": meta})


def to_legacy_response(response: Message, id: MessageId) -> Message:
    """A modern response as a legacy client reads it."""
    if response.error is not None:
        return _with_code(response, id, _TO_LEGACY_CODE)
    result = {name: value for name, value in (response.result or {}).items() if name not in _MODERN_RESULT}
    return result_response(id, result)


def listen_filter(capabilities: dict[str, Any], subscribed: set[str]) -> dict[str, Any]:
    """What a session's stream asks a modern server for: everything that the server says it announces."""
    wanted: dict[str, Any] = {}
    for kind in ("tools", "prompts", "resources"):
        declared = capabilities.get(kind)
        if type(declared) is dict and declared.get("listChanged") is True:
            wanted[f"{kind}ListChanged"] = True
    if subscribed:
        wanted["resourceSubscriptions"] = sorted(subscribed)
    return wanted


def from_listen(message: Message) -> Message | None:
    """A message of a subscription as it stands on a session's stream; None for what belongs to the subscription itself."""
    if message.kind != "notification" or message.method not in LISTEN_FILTERS:
        return None
    params = dict(message.params or {})
    meta = params.pop("_meta", None)
    if type(meta) is dict and (kept := {name: value for name, value in meta.items() if name != SUBSCRIPTION_ID}):
        params["_meta"] = kept
    return msgspec.structs.replace(message, params=params or None)


# --- Modern client, legacy server -------------------------------------------------------------------------------------


def discover_result(initialized: dict[str, Any]) -> dict[str, Any]:
    """What a modern client is told of a legacy server."""
    result: dict[str, Any] = {
        "supportedVersions": list(MODERN_VERSIONS),
        "capabilities": shared_capabilities(initialized.get("capabilities")),
        "_meta": {META_SERVER: initialized.get("serverInfo", UNKNOWN_SERVER)},
    }
    if "instructions" in initialized:
        result["instructions"] = initialized["instructions"]
    return to_modern_result("server/discover", result)


def to_legacy_request(request: Message, id: int) -> Message:
    """A request of a modern client without its envelope, under ids of ours."""
    params = {name: value for name, value in (request.params or {}).items() if name not in _MODERN_PARAMS}
    given = params.pop("_meta", None)
    meta = {name: value for name, value in given.items() if name not in _MODERN_META} if type(given) is dict else {}
    if "progressToken" in meta:
        meta["progressToken"] = id
    if meta:
        params["_meta"] = meta
    return Message(kind="request", id=id, method=request.method, params=params or None)


def progress_token_of(request: Message) -> MessageId | None:
    """Under which name a client wants to hear of progress."""
    token = _meta_of(request).get("progressToken")
    return token if type(token) in (int, str) else None


def log_level_of(request: Message) -> str:
    """From which level on a modern request wants to be told; empty for nothing."""
    level = _meta_of(request).get(META_LOG_LEVEL)
    return level if type(level) is str else ""


def at_least(level: str, params: dict[str, Any]) -> bool:
    """Whether what a legacy server logs is as grave as the request wants. It has one level for all requests of a session."""
    said = params.get("level")
    return level not in _LEVELS or said not in _LEVELS or _LEVELS.index(said) >= _LEVELS.index(level)


def _meta_of(request: Message) -> dict[str, Any]:
    meta = (request.params or {}).get("_meta")
    return meta if type(meta) is dict else {}


def to_modern_result(method: str, result: dict[str, Any]) -> dict[str, Any]:
    """A legacy result with what the modern era wants of every result."""
    adapted = {**result, "resultType": "complete"}
    if method in CACHEABLE_METHODS:
        adapted |= {"ttlMs": 0, "cacheScope": "private"}
    return adapted


def to_modern_response(method: str, response: Message, id: MessageId) -> Message:
    """A legacy response as a modern client reads it."""
    if response.error is not None:
        return _with_code(response, id, _TO_MODERN_CODE)
    return result_response(id, to_modern_result(method, response.result or {}))


def honoured(wanted: Any, capabilities: dict[str, Any]) -> dict[str, Any]:
    """The part of a subscription's filter that a legacy server can serve."""
    asked: dict[str, Any] = wanted if type(wanted) is dict else {}
    kept: dict[str, Any] = {}
    for kind in ("tools", "prompts", "resources"):
        declared = capabilities.get(kind)
        if asked.get(f"{kind}ListChanged") is True and type(declared) is dict and declared.get("listChanged") is True:
            kept[f"{kind}ListChanged"] = True
    uris = asked.get("resourceSubscriptions")
    resources = capabilities.get("resources")
    if type(uris) is list and type(resources) is dict and resources.get("subscribe") is True:
        kept["resourceSubscriptions"] = [uri for uri in uris if type(uri) is str]
    return kept


def for_subscription(message: Message, wanted: dict[str, Any], subscription_id: MessageId) -> Message | None:
    """A notification of a legacy server as it stands on a subscription; None where that did not ask for it."""
    asked = wanted.get(LISTEN_FILTERS.get(message.method, ""))
    if message.method == "notifications/resources/updated":
        if type(asked) is not list:
            return None
    elif asked is not True:
        return None
    return tagged(message, subscription_id)


def tagged(message: Message, subscription_id: MessageId) -> Message:
    """A notification that belongs to a subscription."""
    params = dict(message.params or {})
    meta = params.get("_meta")
    params["_meta"] = {**(meta if type(meta) is dict else {}), SUBSCRIPTION_ID: subscription_id}
    return msgspec.structs.replace(message, params=params)


def _with_code(response: Message, id: MessageId, codes: dict[int, int]) -> Message:
    error = response.error or {}
    code = codes.get(error["code"], error["code"])
    return error_response(id, code, error["message"], error.get("data"))
