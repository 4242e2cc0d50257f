"""From what workers report and what is stored to the descriptions that `rules.pinning` compares. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from proxies.contract import Observation
from rules.pinning import Origin, ServerDescription
from rules.pinning.canonical import NotCanonical, canonical_json

IDENTITY: Final = {"tool": "name", "prompt": "name", "resource": "uri", "template": "uriTemplate"}
WIRE_LISTS: Final = {"tool": "tools", "prompt": "prompts", "resource": "resources", "template": "resourceTemplates"}
TITLE_CHARS: Final = 300
_ONE_LINE: Final = {0: "\ufffd", **dict.fromkeys(b"\t\r\n", " ")}
_ATTRIBUTES: Final = {"tool": "tools", "prompt": "prompts", "resource": "resources", "template": "resource_templates"}
_SERVER_MEMBERS: Final = ("serverInfo", "protocolVersion", "capabilities", "instructions")


class Declared(msgspec.Struct, frozen=True):
    """One entry of a kind with the object that declares it."""

    kind: str
    name: str
    value: dict[str, Any]


def parsed(document: bytes) -> dict[str, Any]:
    """A stored document; integers of any size survive."""
    value: dict[str, Any] = json.loads(document)
    return value


def server_document(observation: Observation, known: bytes | None) -> bytes | None:
    """What is pinned of the server itself, canonical; None where it cannot be read.

    What the worker did not ask for, or could not see, stays as it is `known`.
    """
    before = parsed(known) if known else {}
    if observation.server:
        try:
            told = json.loads(observation.server)
        except (ValueError, RecursionError):
            return None
        members = {key: told[key] for key in _SERVER_MEMBERS if key in told} if type(told) is dict else {}
    else:
        members = {key: before[key] for key in _SERVER_MEMBERS if key in before}
    origin_before = before.get("origin", {})
    url, command = _address(observation.origin)
    if not observation.origin:
        url, command = origin_before.get("url", ""), origin_before.get("command", [])
    origin = {
        "url": url,
        "command": command,
        "tlsKeySha256": observation.tls_key_sha256 or (origin_before.get("tlsKeySha256", "") if url else ""),
        "authenticated": observation.authenticated,
    }
    try:
        return canonical_json({"origin": origin, **members})
    except NotCanonical:
        return None


def description(server: bytes | None, entries: Iterable[Declared]) -> ServerDescription:
    """The description that these documents make."""
    value = parsed(server) if server else {}
    lists: dict[str, list[Any]] = {attribute: [] for attribute in _ATTRIBUTES.values()}
    for entry in entries:
        lists[_ATTRIBUTES[entry.kind]].append(entry.value)
    return ServerDescription(origin=origin_of(value), initialize=value, **lists)


def origin_of(server: dict[str, Any]) -> Origin:
    """How the server of this document is reached."""
    origin = server.get("origin", {})
    return Origin(
        url=origin.get("url", ""),
        command=tuple(origin.get("command", ())),
        tls_key_sha256=origin.get("tlsKeySha256", ""),
        authenticated=bool(origin.get("authenticated")),
    )


def title_of(kind: str, value: dict[str, Any]) -> str:
    """What a list says about an entry: the beginning of its description."""
    if kind == "server":
        info = value.get("serverInfo")
        info = info if type(info) is dict else {}
        shown = " ".join(str(info[key]) for key in ("name", "version") if type(info.get(key)) is str)
        return shown[:TITLE_CHARS].replace("\x00", "\ufffd")
    text = value.get("description") or value.get("title") or ""
    if type(text) is not str:
        return ""
    shown = text if len(text) <= TITLE_CHARS else text[: TITLE_CHARS - 1] + "…"
    return shown.translate(_ONE_LINE)


def _address(origin: str) -> tuple[str, list[str]]:
    """URL and command of an observation's origin."""
    if origin.startswith("["):
        try:
            command = json.loads(origin)
        except ValueError:
            return origin, []
        return "", [str(part) for part in command]
    return origin, []
