"""What the gateway takes out of declared capabilities: what it cannot inspect must not be negotiated (L-06, M-21)."""

from __future__ import annotations

from typing import Any, Final

from proxies.mcp.eras import META_CAPABILITIES

STRIPPED: Final = frozenset({"extensions", "tasks"})
"""Extensions have an allow-list that is empty so far; tasks deliver results through calls that are not relayed yet."""


def without_uninspected(capabilities: Any) -> Any:
    """The capabilities without those that the gateway cannot follow."""
    if type(capabilities) is not dict:
        return capabilities
    return {name: value for name, value in capabilities.items() if name not in STRIPPED}


def strip_declared(params: dict[str, Any]) -> dict[str, Any]:
    """Parameters of `initialize`, or of any modern request, with the client's capabilities stripped."""
    if "capabilities" in params:
        params = {**params, "capabilities": without_uninspected(params["capabilities"])}
    meta = params.get("_meta")
    if type(meta) is dict and META_CAPABILITIES in meta:
        params = {**params, "_meta": {**meta, META_CAPABILITIES: without_uninspected(meta[META_CAPABILITIES])}}
    return params


def declared_names(capabilities: Any) -> frozenset[str]:
    """Names of the capabilities that a client declared."""
    return frozenset(capabilities) if type(capabilities) is dict else frozenset()
