"""Descriptions of small servers."""

from __future__ import annotations

import copy
from typing import Any

from rules.model import Action, Confidence, Finding, Severity, Target
from rules.pinning import Origin, ServerDescription

ORIGIN = Origin(url="https://mail.example/mcp", tls_key_sha256="a" * 64, authenticated=True)
INITIALIZE = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"tools": {"listChanged": True}},
    "serverInfo": {"name": "mail", "version": "1.0.0", "title": "Mail"},
    "instructions": "Look up messages by subject.",
}
TOOL: dict[str, Any] = {
    "name": "find_note",
    "title": "Find a note",
    "description": "Finds a note in the notebook by its subject and gives back the best one.",
    "inputSchema": {
        "type": "object",
        "properties": {"subject": {"type": "string", "description": "Words of the subject.", "maxLength": 80}},
        "required": ["subject"],
        "additionalProperties": False,
    },
    "annotations": {"readOnlyHint": False, "destructiveHint": True},
}


def tool(**members: Any) -> dict[str, Any]:
    """The tool with other members; None takes one away."""
    made = copy.deepcopy(TOOL) | members
    return {key: value for key, value in made.items() if value is not None}


def with_schema(**keywords: Any) -> dict[str, Any]:
    """The tool with other keywords in its parameters."""
    return tool(inputSchema=copy.deepcopy(TOOL["inputSchema"]) | keywords)


def with_parameter(name: str, schema: Any, *, required: bool = False) -> dict[str, Any]:
    """The tool with one more parameter, or another one of the same name."""
    changed = copy.deepcopy(TOOL)
    changed["inputSchema"]["properties"][name] = schema
    if required:
        changed["inputSchema"]["required"].append(name)
    return changed


def server(*tools: Any, origin: Origin = ORIGIN, initialize: dict[str, Any] | None = None, **lists: Any) -> Any:
    """A server with these tools."""
    return ServerDescription(origin=origin, initialize={**INITIALIZE, **(initialize or {})}, tools=[*tools], **lists)


def finding(
    path: str, *, pack: str = "tool-poisoning", evidence: str = "do not tell", rule: str = "TP-0002"
) -> Finding:
    """A finding of a rule at this place."""
    return Finding(
        rule_id=rule,
        pack=pack,
        title="Order to hide something",
        category="tool-poisoning/concealment",
        severity=Severity.CRITICAL,
        confidence=Confidence.HIGH,
        score=80,
        action=Action.BLOCK,
        target=Target.TOOL_DESCRIPTION,
        path=path,
        start=0,
        end=4,
        view="raw",
        evidence=evidence,
    )
