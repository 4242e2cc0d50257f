"""May this entry pass? Two look-ups; what makes an entry acceptable was decided by the console (`MCPControl`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from proxies.contract import EntryKind, EntryRule, MCPControl
from proxies.mcp.control.declarations import CONTROLLED_LISTS, Declaration, Listing
from rules.pinning.canonical import sha256

_NOTHING: Final = EntryRule(enabled=False)


def rules_of(control: MCPControl, kind: EntryKind) -> Mapping[str, EntryRule]:
    """What may pass of one kind, by name."""
    if kind == "tool":
        return control.tools
    return control.prompts if kind == "prompt" else control.templates


def why_not(control: MCPControl, declaration: Declaration, key_id: str) -> str:
    """Why an entry may not pass, in one word; empty where it may."""
    if declaration.kind == "resource":
        return ""
    rule = rules_of(control, declaration.kind).get(declaration.name, _NOTHING)
    if declaration.h_raw not in rule.accepted:
        return rule.reason or ("changed" if rule.accepted else "pending")
    enabled = rule.enabled
    if declaration.kind == "tool" and (overrides := control.tool_overrides.get(key_id)):
        enabled = overrides.get(declaration.name, enabled)
    return "" if enabled else rule.reason or "disabled"


def passing(control: MCPControl, listing: Listing, key_id: str) -> list[Declaration]:
    """What one caller may see of a list, by name."""
    return [one for one in listing.entries.values() if not why_not(control, one, key_id)]


def filtered_result(control: MCPControl | None, method: str, result: dict[str, Any], key_id: str) -> dict[str, Any]:
    """One page of a list that comes where nobody waits for it, as on a resumed stream: only what may pass now (L-09)."""
    list_kind = CONTROLLED_LISTS.get(method)
    if list_kind is None or control is None:
        return result
    raw = result.get(list_kind.member)
    listing = Listing.read(list_kind.kind, raw if type(raw) is list else [])
    return {**result, list_kind.member: [one.document for one in passing(control, listing, key_id)]}


def is_accepted(control: MCPControl, listing: Listing) -> bool:
    """Whether every entry is one that was approved, enabled or not: then nobody has to judge anything."""
    if listing.kind == "resource":
        return True
    rules = rules_of(control, listing.kind)
    return all(
        (rule := rules.get(name)) is not None and one.h_raw in rule.accepted for name, one in listing.entries.items()
    )


def accepts_instructions(control: MCPControl, instructions: Any) -> bool:
    """Whether the instructions of a server, which are none where it gave none, may pass."""
    if instructions is None:
        return True
    if type(instructions) is not str:
        return False
    return sha256(instructions.encode("utf-8", "surrogatepass")) in control.instructions


def visible(control: MCPControl | None, listing: Listing, key_id: str) -> list[tuple[str, str]]:
    """What one caller sees of a list: name and hash of each entry, to be compared with what it saw before (T-08)."""
    passed = listing.entries.values() if control is None else passing(control, listing, key_id)
    return [(one.name, one.h_raw) for one in passed]
