"""Findings in what a server declares: they come with every client's list, and are news once.

Each is marked with the digest of the declaration in which it stands, so that the console can tell one that it has alerted
about from one in a declaration that has changed. The call's record keeps all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec.structs import replace

from proxies.mcp.control.declarations import LIST_KINDS
from proxies.strict_json import dump
from rules.model import Finding
from rules.pinning.canonical import NotCanonical, canonical_json, sha256

_LISTS: Final = {one.method: one.member for one in LIST_KINDS.values()}
_INTRODUCTIONS: Final = frozenset({"initialize", "server/discover"})


def mark(findings: list[Finding], start: int, operation: str, document: Any) -> None:
    """Mark those from `start` on, found in this answer to the request of this method, where that is one that declares."""
    result = document.get("result") if type(document) is dict else None
    if type(result) is not dict:
        return
    member = _LISTS.get(operation)
    if member is not None:
        _mark_each(findings, start, lambda path: _entry(path, member), result)
    elif operation in _INTRODUCTIONS:
        _mark_each(findings, start, _member, result)


def mark_as_before(findings: list[Finding], start: int, declarations: Mapping[str, str]) -> None:
    """Mark those from `start` on as they were marked when the same was found at the same places before."""
    for index in range(start, len(findings)):
        findings[index] = replace(findings[index], declaration=declarations.get(findings[index].path, ""))


def _mark_each(
    findings: list[Finding], start: int, place_of: Callable[[str], tuple[str, int] | None], result: dict[str, Any]
) -> None:
    digests: dict[tuple[str, int], str] = {}
    for index in range(start, len(findings)):
        place = place_of(findings[index].path)
        if place is None:
            continue
        if place not in digests:
            digests[place] = _digest(result, *place)
        if digests[place]:
            findings[index] = replace(findings[index], declaration=digests[place])


def _entry(path: str, member: str) -> tuple[str, int] | None:
    """The entry of the list in which this place is."""
    head, _, rest = path.removeprefix("/result/").partition("/")
    number = rest.partition("/")[0]
    return (member, int(number)) if head == member and number.isascii() and number.isdecimal() else None


def _member(path: str) -> tuple[str, int] | None:
    """The part of the server's introduction in which this place is."""
    name = path.removeprefix("/result/").partition("/")[0]
    return (name, -1) if name != path and name.isidentifier() else None


def _digest(result: dict[str, Any], member: str, index: int) -> str:
    """Of the whole declaration as it came; empty where there is none at this place."""
    value = result.get(member)
    if index >= 0:
        if type(value) is not list or index >= len(value):
            return ""
        value = value[index]
    try:
        written = canonical_json(value)
    except NotCanonical:
        written = dump(value)
    return sha256(member.encode() + b"\0" + written)
