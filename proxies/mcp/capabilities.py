"""What the gateway takes out of declared capabilities: what it cannot inspect must not be negotiated (L-06, M-21)."""

from __future__ import annotations

from typing import Any, Final

from proxies.mcp.eras import META_CAPABILITIES

STRIPPED: Final = frozenset({"extensions", "tasks"})
"""Extensions have an allow-list that is empty so far; tasks deliver results through calls that are not relayed yet."""


def strip(holder: dict[str, Any], member: str = "capabilities") -> dict[str, Any]:
    """A copy of what holds capabilities, without those that the gateway cannot follow."""
    capabilities = holder.get(member)
    if type(capabilities) is not dict:
        return dict(holder)
    return {**holder, member: {name: value for name, value in capabilities.items() if name not in STRIPPED}}


def strip_meta(params: dict[str, Any]) -> dict[str, Any]:
    """The parameters of a modern request with the client's declared capabilities stripped."""
    meta = params.get("_meta")
    return {**params, "_meta": strip(meta, META_CAPABILITIES)} if type(meta) is dict else params


def change_notices(capabilities: Any) -> frozenset[str]:
    """The `list_changed` notifications that a server says it sends."""
    if type(capabilities) is not dict:
        return frozenset()
    return frozenset(
        f"notifications/{name}/list_changed"
        for name in ("prompts", "resources", "tools")
        if type(one := capabilities.get(name)) is dict and one.get("listChanged") is True
    )


def declared_names(capabilities: Any) -> frozenset[str]:
    """Names of the capabilities that a client declared."""
    return frozenset(capabilities) if type(capabilities) is dict else frozenset()
