"""Checks of what tools take and can do: schemas, capability classes, hints, and what flows together (SYP-SCAN-2)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from rules.model import Severity
from rules.pinning.canonical import NotCanonical, canonical_json
from rules.pinning.capabilities import (
    DESTRUCTIVE,
    EGRESS,
    PRIVATE,
    UNTRUSTED,
    Capability,
    capabilities_of,
)
from rules.pinning.references import NotExpandable, expanded
from rules.pinning.schemas import dangers, escaped, is_free_text
from rules.scanning.collector import Collector, listed, shown
from rules.scanning.facts import ServerFacts

MAX_SCHEMA_BYTES: Final = 65_536
MAX_SCHEMA_DEPTH: Final = 12
MAX_PARAMETERS: Final = 500
SCORES: Final = {
    Capability.EXECUTE: 7.0,
    Capability.CREDENTIALS: 6.5,
    Capability.DELETE: 5.5,
    Capability.PAYMENT: 5.5,
    Capability.WRITE_FILES: 5.0,
    Capability.SEND: 4.5,
    Capability.NETWORK: 4.0,
    Capability.READ_FILES: 3.0,
    Capability.DATABASE: 3.0,
    Capability.PERSONAL_DATA: 3.0,
}
"""How far each class of effect reaches; reading what strangers wrote is judged with the others alone."""
_INTERPRETED: Final = re.compile(
    r"(?:^|[_\-\s])(?:command|cmd|shell|script|code|sql|query|expression|template)s?(?:$|[_\-\s\d])", re.IGNORECASE
)
_SENSITIVE: Final = re.compile(
    r"pass(?:word|wd|phrase)?|secret|token|api[_-]?key|credential|private|authorization|cookie|session", re.IGNORECASE
)
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_UNBOUNDED: Final = {"string": ("maxLength", "enum", "const", "pattern", "format"), "array": ("maxItems",)}

Tool = tuple[int, str, dict[str, Any]]


def check_declarations(facts: ServerFacts, found: Collector) -> None:
    """Everything about single tools, and about all of them together."""
    tools = list(_tools(facts))
    for tool in tools:
        _check_schema(tool, found)
        _check_capabilities(tool, found)
    _check_hygiene(tools, found)
    _check_flow(tools, found)


def _tools(facts: ServerFacts) -> Iterator[Tool]:
    for index, tool in enumerate(facts.description.tools):
        if type(tool) is dict and type(tool.get("name")) is str:
            yield index, tool["name"], tool


def _check_schema(tool: Tool, found: Collector) -> None:
    index, name, value = tool
    for member in ("inputSchema", "outputSchema"):
        schema = value.get(member)
        base = f"/tools/{index}/{member}"
        for reason in dangers(schema, base):
            where = {"location": reason.pointer, "kind": "tool", "subject": name, "evidence": reason.detail}
            if reason.code == "remote_reference_added":
                found.add("MCP-SCHEMA-004", f"The schema of {shown(name)} is not all there.", **where)  # type: ignore[arg-type]
            elif reason.code == "header_argument_added":
                parameter = reason.pointer.rsplit("/", 2)[-2]
                if _SENSITIVE.search(parameter):
                    found.add("MCP-SCHEMA-005", f"{shown(parameter)} of {shown(name)} goes into a header.", **where)  # type: ignore[arg-type]
            elif reason.code == "address_added" and member == "inputSchema":
                found.add("MCP-SCHEMA-008", f"{shown(name)} brings an address of its own.", **where)  # type: ignore[arg-type]
        _check_size(schema, base, name, found)
    for parameter, schema in _properties(value.get("inputSchema")):
        if not is_free_text(parameter, schema):
            continue
        interpreted = _INTERPRETED.search(_CAMEL.sub("_", parameter)) is not None
        found.add(
            "MCP-SCHEMA-001" if interpreted else "MCP-SCHEMA-002",
            f"{shown(name)} takes any text as {shown(parameter)}.",
            location=f"/tools/{index}/inputSchema/properties/{escaped(parameter)}", kind="tool", subject=name,
        )  # fmt: skip


def _check_size(schema: Any, base: str, name: str, found: Collector) -> None:
    try:
        size, depth = len(canonical_json(schema)), _depth(schema)
        expanded(schema)
    except (NotCanonical, NotExpandable) as error:
        found.add(
            "MCP-SCHEMA-006",
            f"The schema of {shown(name)} cannot be read in full.",
            evidence=str(error),
            location=base,
            kind="tool",
            subject=name,
        )
        return
    if size > MAX_SCHEMA_BYTES or depth > MAX_SCHEMA_DEPTH:
        found.add(
            "MCP-SCHEMA-006", f"The schema of {shown(name)} is more than anybody reads.",
            evidence=f"{size} bytes, {depth} levels", location=base, kind="tool", subject=name,
        )  # fmt: skip


def _check_capabilities(tool: Tool, found: Collector) -> None:
    index, name, value = tool
    classes = [one for one in capabilities_of(value) if one in SCORES]
    if classes:
        found.add(
            "MCP-CAPABILITY-001",
            f"By its name, description or parameters {shown(name)} can: {_words(classes)}.",
            evidence=", ".join(classes), location=f"/tools/{index}", kind="tool", subject=name,
            score=max(SCORES[one] for one in classes),
        )  # fmt: skip
    annotations = value.get("annotations")
    hints = annotations if type(annotations) is dict else {}
    dangerous = [one for one in classes if one in DESTRUCTIVE]
    claims = [key for key, claim in (("readOnlyHint", True), ("destructiveHint", False)) if hints.get(key) is claim]
    if claims == ["destructiveHint"]:
        # Writing a new file destroys nothing; deleting, running and paying do.
        dangerous = [one for one in dangerous if one is not Capability.WRITE_FILES]
    if dangerous and claims:
        found.add(
            "MCP-CAPABILITY-002",
f"{shown(name)} says {' and '.join(claims)}, yet can: {_words(dangerous)}.",
            evidence=", ".join(f"{claim}: {str(hints[claim]).lower()}" for claim in claims),
            location=f"/tools/{index}/annotations/{claims[0]}", kind="tool", subject=name,
        )  # fmt: skip


def _check_hygiene(tools: list[Tool], found: Collector) -> None:
    """What nearly every server leaves out: one finding for all tools together."""
    loose: list[tuple[str, str]] = []
    open_ones: list[tuple[str, str]] = []
    for index, name, value in tools:
        schema = value.get("inputSchema")
        if type(schema) is not dict or schema.get("type") != "object":
            open_ones.append((name, f"/tools/{index}/inputSchema"))
        for parameter, member in _properties(schema):
            if _is_unbounded(member):
                loose.append((f"{name}.{parameter}", f"/tools/{index}/inputSchema/properties/{escaped(parameter)}"))
    if open_ones:
        found.add(
            "MCP-SCHEMA-007",
            f"Without an object schema: {listed([name for name, _ in open_ones])}.",
            location=open_ones[0][1],
        )
    if loose:
        names = [name for name, _ in loose]
        count = "One parameter" if len(names) == 1 else f"{len(names)} parameters"
        found.add("MCP-SCHEMA-003", f"{count} without: {listed(names)}.", location=loose[0][1])


def _check_flow(tools: list[Tool], found: Collector) -> None:
    """Foreign content that steers the model, private data it can read, and a way out or a way to destroy."""
    sides: dict[str, list[str]] = {"foreign content": [], "private data": [], "a way out or to destroy": []}
    whole: list[Tool] = []
    for tool in tools:
        classes = set(capabilities_of(tool[2]))
        parts = (classes & UNTRUSTED, classes & PRIVATE, classes & (EGRESS | DESTRUCTIVE))
        for names, part in zip(sides.values(), parts, strict=True):
            if part:
                names.append(tool[1])
        if all(parts):
            whole.append(tool)
    if not all(sides.values()):
        return
    said = "; ".join(f"{side}: {listed(names)}" for side, names in sides.items())
    found.add(
        "MCP-FLOW-001",
        f"An agent with these tools can be told by foreign content to send private data away. {said}.",
        evidence=f"all three in {listed([name for _, name, _ in whole])}" if whole else "",
        location=f"/tools/{whole[0][0]}" if whole else "/tools",
    )


def _words(classes: list[Capability]) -> str:
    return ", ".join(one.replace("_", " ") for one in classes)


def _properties(schema: Any) -> Iterator[tuple[str, Any]]:
    properties = schema.get("properties") if type(schema) is dict else None
    if type(properties) is dict:
        yield from list(properties.items())[:MAX_PARAMETERS]


def _is_unbounded(schema: Any) -> bool:
    if type(schema) is not dict:
        return True
    type_ = schema.get("type")
    if type(type_) is not str:
        return not schema.keys() & {"enum", "const", "$ref", "anyOf", "oneOf", "allOf", "type"}
    limits = _UNBOUNDED.get(type_)
    return limits is not None and not schema.keys() & set(limits)


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level := [
        child for one in level if type(one) in (dict, list) for child in (one.values() if type(one) is dict else one)
    ]:
        depth += 1
    return depth


SEVERITY_OF_RULES: Final = {
    Severity.CRITICAL: 9.5,
    Severity.HIGH: 8.0,
    Severity.MEDIUM: 5.5,
    Severity.LOW: 2.0,
    Severity.INFO: 0.0,
}
"""The score of a finding of a detection rule."""
