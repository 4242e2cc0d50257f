"""What of the declared capabilities goes on, and what a client must have declared for what comes (L-06, L-12, M-15, M-21).

What the gateway cannot inspect must not be negotiated.
"""

from __future__ import annotations

from typing import Any, Final

from proxies.mcp.eras import META_CAPABILITIES
from proxies.mcp.methods import SERVER_REQUESTS, Era

TASKS_EXTENSION: Final = "io.modelcontextprotocol/tasks"
EXTENSIONS: Final = frozenset({TASKS_EXTENSION})
"""Extensions of the modern era that the gateway can inspect; all others are taken out."""
URL_ELICITATION: Final = "elicitation.url"
"""Stands among the declared names for a client that can send its user to a page."""


def strip(holder: dict[str, Any], member: str = "capabilities", *, era: Era) -> dict[str, Any]:
    """A copy of what holds capabilities, without those that the gateway cannot follow in this era.

    Tasks are a capability of the legacy era and an extension of the modern one, never the other way round.
    """
    capabilities = holder.get(member)
    if type(capabilities) is not dict:
        return dict(holder)
    removed = {"extensions"} if era == "legacy" else {"extensions", "tasks"}
    kept = {name: value for name, value in capabilities.items() if name not in removed}
    extensions = _known(capabilities.get("extensions"))
    if era == "modern" and extensions:
        kept["extensions"] = extensions
    return {**holder, member: kept}


def strip_meta(params: dict[str, Any]) -> dict[str, Any]:
    """The parameters of a modern request with the client's declared capabilities stripped."""
    meta = params.get("_meta")
    if type(meta) is not dict or not meta.get(META_CAPABILITIES):
        return params
    return {**params, "_meta": strip(meta, META_CAPABILITIES, era="modern")}


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
    """Names of the capabilities that a client declared, the identifiers of its extensions, and `elicitation.url`."""
    if type(capabilities) is not dict or not capabilities:
        return frozenset()
    names = {*capabilities, *_known(capabilities.get("extensions"))}
    elicitation = capabilities.get("elicitation")
    if type(elicitation) is dict and "url" in elicitation:
        names.add(URL_ELICITATION)
    return frozenset(names)


def may_ask(method: str, params: Any, declared: frozenset[str]) -> bool:
    """Whether a server may ask this of a client with these capabilities: only what the client said that it can do."""
    needed = SERVER_REQUESTS.get(method)
    if needed is None or (needed and needed not in declared):
        return False
    if type(params) is not dict:
        return True
    if "task" in params and "tasks" not in declared:
        return False
    return method != "elicitation/create" or params.get("mode") != "url" or URL_ELICITATION in declared


def _known(extensions: Any) -> dict[str, Any]:
    return {key: value for key, value in extensions.items() if key in EXTENSIONS} if type(extensions) is dict else {}
