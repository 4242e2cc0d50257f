"""What an item of a policy says, in a few words for a line of a list. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from app.policies import builder
from rules.policy import PolicyRule

MAX_VALUE_CHARS = 120

_CONDITIONS = (
    ("match.model", "model"),
    ("match.tool_name", "tool"),
    ("argument", "argument"),
    ("match.message_content.pattern", "message matches"),
    ("match.message_content.roles", "of"),
    ("match.message_count", "messages"),
    ("match.role_count", "messages of"),
    ("match.token_estimate", "tokens"),
    ("match.schedule", "time"),
    ("match.client", "key"),
    ("match.group", "group"),
    ("match.ip", "address"),
    ("match.header", "header"),
    ("match.method", "method"),
)
_OPERATORS = {"equals": "is", "in": "is one of", "gt": ">", "lt": "<", "matches": "matches"}
_CHANGES = (("enabled", {"yes": "on", "no": "off"}), ("log_only", {"yes": "log only", "no": "not log only"}))

Words = list[tuple[str, str]]
"""Pairs of what and its value; one of the two may be empty."""


def words_of(kind: str, values: Mapping[str, Any]) -> Words:
    """The words of an item of the list `kind`, as the form shows it."""
    match kind:
        case "rules":
            found = conditions(values)
        case "overrides":
            found = _changes(values)
        case "detections":
            found = _detection(values)
        case _:
            found = [(f"{values['limit']} calls in {values['window']} for each {values['scope']}", "")]
    return [(label, _short(value)) for label, value in found]


def when(rule: PolicyRule) -> Words:
    """When a conditional rule applies."""
    [values] = builder.shown({"rules": [msgspec.to_builtins(rule)]})["rules"]
    return [(label, _short(value)) for label, value in conditions(values)]


def conditions(values: Mapping[str, Any]) -> Words:
    """When a conditional rule applies; `every call` where nothing is asked."""
    made = {**values, "argument": _argument(values), "match.schedule": _schedule(values)}
    found = [(label, str(made[name]).replace("\n", ", ")) for name, label in _CONDITIONS if made.get(name)]
    return found or [("every call", "")]


def _argument(values: Mapping[str, Any]) -> str:
    path, operator = values.get("argument.path", ""), values.get("argument.operator", "")
    if not path:
        return ""
    value = values.get("argument.value", "")
    if operator == "exists":
        said = f"{path} is {'missing' if value == 'false' else 'there'}"
    else:
        said = f"{path} {_OPERATORS.get(operator, operator)} {value}"
    return said + (f" and {values['argument.more']} more" if values.get("argument.more") else "")


def _schedule(values: Mapping[str, Any]) -> str:
    if not (cron := values.get("match.schedule.cron")):
        return ""
    outside = "outside " if values.get("match.schedule.outside") else ""
    return f"{outside}{cron} {values.get('match.schedule.time_zone') or 'UTC'}"


def _changes(values: Mapping[str, Any]) -> Words:
    found = [(words[values[name]], "") for name, words in _CHANGES if values.get(name) in words]
    found += [(name, values[name]) for name in ("action", "severity", "streams") if values.get(name)]
    if values.get("reason"):
        found.append(("because", values["reason"]))
    return found or [("changes nothing", "")]


def _detection(values: Mapping[str, Any]) -> Words:
    patterns = str(values.get("patterns", "")).split("\n")
    first = [("matches", patterns[0])] if patterns[0] else []
    more = [(f"and {len(patterns) - 1} more", "")] if len(patterns) > 1 else []
    if not values.get("editable", True):
        return [*first, *more, ("with further conditions" if first else "patterns that work together", "")]
    return [*first, *more] or [("no pattern", "")]


def _short(text: Any) -> str:
    shown = str(text)
    return shown if len(shown) <= MAX_VALUE_CHARS else shown[: MAX_VALUE_CHARS - 1] + "…"
