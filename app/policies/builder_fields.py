"""What the builder's form has fields for, and what only the JSON has. A test compares both with the format of policies."""

from __future__ import annotations

from typing import Any, NamedTuple


class Field(NamedTuple):
    """One field of the form: its place in the document (or in an item of a list) and how its text is read."""

    path: str
    kind: str
    """text, pattern (spaces at its ends count), choice, flag, number, scores (a number or off), list (commas or lines), lines,
    glob (one or several), tri (yes, no, unchanged), headers (`name: glob` a line), range (`> 10, <= 100`), ranges (`user: > 2`
    a line)."""


HEAD = (
    Field("title", "text"),
    Field("description", "text"),
    Field("type", "choice"),
    Field("enforcement", "choice"),
    Field("default_action", "choice"),
    Field("block_status", "number"),
    Field("thresholds.message_block", "scores"),
    Field("thresholds.message_alert", "scores"),
    Field("thresholds.conversation_block", "scores"),
    Field("thresholds.risk.low", "number"),
    Field("thresholds.risk.medium", "number"),
    Field("thresholds.risk.high", "number"),
    Field("thresholds.risk.critical", "number"),
    Field("restore_tool_arguments", "tri"),
    Field("placeholder_hint", "tri"),
    Field("realtime_audio", "choice"),
    Field("realtime_close", "tri"),
    Field("tainted_arguments", "choice"),
    Field("hold_seconds", "number"),
    Field("context.allowed_origins", "lines"),
    Field("context.risk_threshold", "number"),
)
DEFAULTS: dict[str, Any] = {
    "title": "",
    "description": "",
    "type": "both",
    "enforcement": "enforce",
    "default_action": "allow",
    "block_status": 403,
    "thresholds.message_block": 100,
    "thresholds.message_alert": None,
    "thresholds.conversation_block": 100,
    "thresholds.risk.low": 5,
    "thresholds.risk.medium": 15,
    "thresholds.risk.high": 30,
    "thresholds.risk.critical": 50,
    "restore_tool_arguments": True,
    "placeholder_hint": False,
    "realtime_audio": "pass",
    "realtime_close": False,
    "tainted_arguments": "alert",
    "hold_seconds": 50,
    "context.allowed_origins": [],
    "context.risk_threshold": 50,
}
"""What a field of the head means when it is absent; a field with that value is left out."""

RARE = frozenset(
    """context hold_seconds placeholder_hint realtime_audio realtime_close restore_tool_arguments tainted_arguments""".split()
)
"""Members of the head that most policies leave as they are: their fields are folded until one is set."""

ITEMS: dict[str, tuple[Field, ...]] = {
    "overrides": (
        Field("rules", "glob"),
        Field("categories", "glob"),
        Field("packs", "list"),
        Field("enabled", "tri"),
        Field("action", "choice"),
        Field("severity", "choice"),
        Field("log_only", "tri"),
        Field("streams", "choice"),
        Field("reason", "text"),
    ),
    "rules": (
        Field("id", "text"),
        Field("action", "choice"),
        Field("reason", "text"),
        Field("description", "text"),
        Field("severity", "choice"),
        Field("tags", "list"),
        Field("log_only", "flag"),
        Field("match.model", "glob"),
        Field("match.tool_name", "glob"),
        Field("match.method", "glob"),
        Field("match.client", "glob"),
        Field("match.group", "glob"),
        Field("match.ip", "list"),
        Field("match.header", "headers"),
        Field("match.message_content.pattern", "pattern"),
        Field("match.message_content.roles", "list"),
        Field("match.message_content.flags", "choice"),
        Field("match.message_count", "range"),
        Field("match.role_count", "ranges"),
        Field("match.token_estimate", "range"),
        Field("match.schedule.cron", "text"),
        Field("match.schedule.time_zone", "text"),
        Field("match.schedule.outside", "flag"),
    ),
    "detections": (
        Field("id", "text"),
        Field("title", "text"),
        Field("category", "text"),
        Field("severity", "choice"),
        Field("confidence", "choice"),
        Field("score", "number"),
        Field("action", "choice"),
        Field("targets", "list"),
        Field("direction", "list"),
        Field("views", "list"),
        Field("validators", "list"),
        Field("streams", "choice"),
        Field("sensitive", "tri"),
        Field("capture.group", "number"),
        Field("capture.redact_as", "text"),
        Field("capture.reversible", "flag"),
        Field("false_positives", "text"),
        Field("examples.match", "lines"),
        Field("examples.no_match", "lines"),
    ),
    "rate_limits": (
        Field("id", "text"),
        Field("scope", "choice"),
        Field("limit", "number"),
        Field("window", "text"),
    ),
}
KEPT_EMPTY = frozenset({"id", "action", "title"})
"""Members of an item (but of an override) that stay there without a value, because lint should name them."""
SEVERITY_DEFAULT = {"rules": "medium"}

ELSEWHERE = {
    "name": "a policy keeps the name that it was made with",
    "packs": "ticked in the form",
    "rules.match.tool_arguments": "the first condition has three fields",
    "detections.match.any": "written as lines, with one choice of upper and lower case for all",
    "detections.match.min_count": "a field beside the patterns",
}
"""Members that the form edits in another way than by a field of their own, or not at all because nobody may."""
JSON_ONLY = {
    "rules.match.tool_arguments": "all conditions on arguments but the first",
    "detections.match.all": "patterns that must occur together",
    "detections.match.near": "patterns within a distance of the hit",
    "detections.match.none": "patterns that must be absent",
    "detections.rev": "the revision, which counts itself in shipped packs",
    "detections.map": "places in public catalogues",
    "detections.references": "sources",
}
"""Members that are changed in the JSON only, and what they are: the form says so, and keeps them."""
