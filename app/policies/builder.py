"""The builder's form and the document it stands for. Pure.

The document is what counts. The form shows the fields that it knows and writes exactly those back (`merged`), so that
whatever else a document holds (a `near` pattern, a second argument condition) survives every change in the form.
Fields are named by their place: `rules.0.match.model`. Buttons that add or remove items are operations (`operated`).
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Values = Mapping[str, Sequence[str]]
"""Submitted values by field name."""

MAX_ITEMS = 500


class Field(NamedTuple):
    """One field of the form: its place in the document (or in an item of a list) and how its text is read."""

    path: str
    kind: str
    """text, choice, flag, number, scores (a number or off), list (commas or lines), glob (one or several), tri (yes, no,
    unchanged), headers."""


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
}
"""What a field of the head means when it is absent; a field with that value is left out."""

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
        Field("match.message_content.pattern", "text"),
        Field("match.message_content.roles", "list"),
        Field("match.message_count.gt", "number"),
        Field("match.token_estimate.gt", "number"),
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
        Field("capture.redact_as", "text"),
        Field("capture.reversible", "flag"),
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

_NEW: dict[str, dict[str, Any]] = {
    "overrides": {"rules": "", "log_only": True},
    "rules": {"id": "new-rule", "match": {}, "action": "deny", "reason": ""},
    "detections": {
        "id": "OWN-RULE",
        "title": "",
        "category": "custom/own",
        "severity": "high",
        "confidence": "high",
        "score": 60,
        "targets": ["prompt", "tool_args"],
        "match": {"any": [{"re": ""}]},
        "action": "block",
        "examples": {"match": [], "no_match": []},
    },
    "rate_limits": {"id": "per-client", "scope": "client", "limit": 60, "window": "1m"},
}
_OPERATION = re.compile(r"(add|remove)-(overrides|rules|detections|rate_limits)(?:-(\d{1,4}))?")
_RULE_ID = re.compile(r"override:([A-Z0-9-]{1,64})")
BOTH_TARGETS = {
    "llm": ("prompt", "system_prompt", "completion", "tool_args", "tool_result", "document"),
    "mcp": ("tool_name", "tool_description", "tool_args", "tool_result", "resource"),
}


# --- From the document to the form --------------------------------------------------------------------------------------


def shown(document: Mapping[str, Any]) -> dict[str, Any]:
    """What the form shows: the head by field name, the packs, and the items of each list by field name."""
    values: dict[str, Any] = {}
    for field in HEAD:
        found = _at(document, field.path, DEFAULTS[field.path])
        values[field.path] = _text(found, field.kind)
    values["packs"] = [name for name in _list(document.get("packs")) if isinstance(name, str)]
    for name, fields in ITEMS.items():
        values[name] = [
            _item_values(name, item, fields) if isinstance(item, dict) else None
            for item in _list(document.get(name))[:MAX_ITEMS]
        ]
    return values


def _item_values(name: str, item: dict[str, Any], fields: Sequence[Field]) -> dict[str, Any]:
    values = {field.path: _text(_at(item, field.path, None), field.kind) for field in fields}
    if name == "rules":
        values["severity"] = values["severity"] or SEVERITY_DEFAULT[name]
        values |= _argument_values(item)
        values["more"] = _unshown_conditions(item)
    if name == "detections":
        values |= _pattern_values(item)
    return values


def _pattern_values(item: Mapping[str, Any]) -> dict[str, Any]:
    """The patterns as lines, where the form can write them back: `any` alone, with the same flags."""
    match = item.get("match")
    match = {key: value for key, value in match.items() if value} if isinstance(match, dict) else {}
    patterns = _list(match.get("any"))
    flags = {pattern.get("flags", "") for pattern in patterns if isinstance(pattern, dict)}
    plain = all(isinstance(pattern, dict) and set(pattern) <= {"re", "flags"} for pattern in patterns)
    editable = plain and len(flags) <= 1 and flags <= {"", "i"} and not set(match) - {"any", "min_count"}
    lines = [str(pattern.get("re", "")) for pattern in patterns if isinstance(pattern, dict)]
    return {
        "patterns": "\n".join(lines),
        "ignore_case": flags == {"i"},
        "min_count": str(match.get("min_count", 1)),
        "editable": editable,
    }


_OPERATORS = ("matches", "equals", "in", "gt", "lt", "exists")


def _argument_values(item: Mapping[str, Any]) -> dict[str, Any]:
    """The first argument condition; others are kept and counted."""
    arguments = _list(_at(item, "match.tool_arguments", []))
    first = arguments[0] if arguments and isinstance(arguments[0], dict) else {}
    operator = next((name for name in _OPERATORS if name in first), "matches")
    value = first.get(operator, "")
    if isinstance(value, bool):
        value = "true" if value else "false"
    return {
        "argument.path": str(first.get("path", "")),
        "argument.operator": operator,
        "argument.value": ", ".join(map(str, value)) if isinstance(value, list) else str(value),
        "argument.more": max(0, len(arguments) - 1),
    }


def _unshown_conditions(item: Mapping[str, Any]) -> list[str]:
    """Conditions that the form has no field for."""
    match = item.get("match")
    if not isinstance(match, dict):
        return []
    found = [name for name in ("role_count",) if match.get(name)]
    for name in ("message_count", "token_estimate"):
        bounds = match.get(name)
        if isinstance(bounds, dict) and set(bounds) - {"gt"}:
            found.append(name)
    return found


# --- From the form to the document --------------------------------------------------------------------------------------


def merged(document: Mapping[str, Any], values: Values) -> dict[str, Any]:
    """The document with every field that the form brought written into it."""
    result = copy.deepcopy(dict(document))
    for field in HEAD:
        if field.path in values:
            parsed = _parsed(values[field.path], field.kind)
            if parsed == DEFAULTS[field.path] or (parsed is None and field.kind != "scores"):
                _remove(result, field.path)
            else:
                _put(result, field.path, parsed)
    if "packs.shown" in values:
        _merge_packs(result, values)
    for name, fields in ITEMS.items():
        items = result.get(name)
        for index, item in enumerate(items if isinstance(items, list) else []):
            if isinstance(item, dict) and f"{name}.{index}" in values:
                _merge_item(name, item, fields, values, f"{name}.{index}.")
    return result


def _merge_packs(result: dict[str, Any], values: Values) -> None:
    """Ticked packs, in the order that the document had them; names that the form did not show stay."""
    ticked, shown_names = set(values.get("packs", ())), set(values["packs.shown"])
    before = [name for name in _list(result.get("packs")) if isinstance(name, str)]
    kept = [name for name in before if name in ticked or name not in shown_names]
    result["packs"] = [*kept, *(name for name in values.get("packs", ()) if name not in kept)]
    if not result["packs"]:
        del result["packs"]


def _merge_item(name: str, item: dict[str, Any], fields: Sequence[Field], values: Values, prefix: str) -> None:
    for field in fields:
        given = values.get(prefix + field.path)
        if given is None and field.kind != "flag":
            continue
        parsed = _parsed(given or [], field.kind)
        if field.path == "severity" and parsed == SEVERITY_DEFAULT.get(name):
            parsed = None
        is_empty = parsed in ("", [], {}) and (name == "overrides" or field.path not in KEPT_EMPTY)
        if parsed is None or is_empty or (field.kind == "flag" and not parsed):
            _remove(item, field.path)
        else:
            _put(item, field.path, parsed)
    if name == "rules":
        _merge_argument(item, values, prefix)
        item.setdefault("match", {})
    if name == "detections":
        _merge_patterns(item, values, prefix)
        examples = item.setdefault("examples", {})
        if isinstance(examples, dict):
            examples.setdefault("match", [])
            examples.setdefault("no_match", [])


def _merge_argument(item: dict[str, Any], values: Values, prefix: str) -> None:
    path = _first(values, f"{prefix}argument.path")
    if path is None:
        return
    arguments = _list(_at(item, "match.tool_arguments", []))
    operator = _first(values, f"{prefix}argument.operator") or "matches"
    raw = _first(values, f"{prefix}argument.value") or ""
    first = [{"path": path, operator: _argument_value(operator, raw)}] if path else []
    if rest := [*first, *arguments[1:]]:
        _put(item, "match.tool_arguments", rest)
    else:
        _remove(item, "match.tool_arguments")


def _argument_value(operator: str, text: str) -> Any:
    if operator == "exists":
        return text.strip().lower() not in ("false", "no", "0")
    if operator == "in":
        return [_scalar(part) for part in _entries(text)]
    if operator in ("gt", "lt"):
        number = _scalar(text)
        return number if isinstance(number, (int, float)) else text
    return _scalar(text) if operator == "equals" else text


def _scalar(text: str) -> Any:
    """A number where the text is one, `true` and `false` as such, else the text; quotes keep it text."""
    plain = text.strip()
    if len(plain) >= 2 and plain[0] == plain[-1] == '"':
        return plain[1:-1]
    if plain in ("true", "false"):
        return plain == "true"
    if re.fullmatch(r"-?\d{1,15}", plain):
        return int(plain)
    return float(plain) if re.fullmatch(r"-?\d{1,12}\.\d{1,12}", plain) else plain


def _merge_patterns(item: dict[str, Any], values: Values, prefix: str) -> None:
    lines = _first(values, f"{prefix}patterns")
    if lines is None:
        return
    flags = {"flags": "i"} if values.get(f"{prefix}ignore_case") else {}
    match: dict[str, Any] = {"any": [{"re": line, **flags} for line in _lines(lines)]}
    count = _parsed(values.get(f"{prefix}min_count", ()), "number")
    if count not in (None, 1):
        match["min_count"] = count
    item["match"] = match


# --- Adding and removing ------------------------------------------------------------------------------------------------


def operated(document: dict[str, Any], operation: str) -> dict[str, Any]:
    """The document after a button: `add-rules`, `remove-rules-2`, `override:RULE-ID`; unchanged for anything else."""
    if found := _RULE_ID.fullmatch(operation):
        return with_override(document, found[1])
    found = _OPERATION.fullmatch(operation)
    if not found:
        return document
    verb, name, index = found.groups()
    items = _list(document.get(name))
    if verb == "add" and len(items) < MAX_ITEMS:
        items = [*items, _fresh(name, items, document)]
    elif verb == "remove" and index is not None:
        items = [item for number, item in enumerate(items) if number != int(index)]
    result = {**document, name: items}
    if not items:
        del result[name]
    return result


def with_override(document: dict[str, Any], rule_id: str, reason: str = "", **changes: Any) -> dict[str, Any]:
    """The document with an override for one rule, by default one that only logs."""
    made = {"rules": rule_id, **(changes or {"log_only": True})}
    if reason:
        made["reason"] = reason[:500]
    return {**document, "overrides": [*_list(document.get("overrides")), made]}


def _fresh(name: str, items: Sequence[Any], document: Mapping[str, Any]) -> dict[str, Any]:
    made = copy.deepcopy(_NEW[name])
    taken = {item.get("id") for item in items if isinstance(item, dict)}
    if "id" in made:
        base, number = made["id"], 1
        while f"{base}-{number}" in taken:
            number += 1
        made["id"] = f"{base}-{number}"
    if name == "detections" and document.get("type") == "mcp":
        made["targets"] = list(BOTH_TARGETS["mcp"])
    return made


# --- Small parts --------------------------------------------------------------------------------------------------------


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _at(value: Any, path: str, default: Any) -> Any:
    for name in path.split("."):
        if not isinstance(value, dict) or name not in value:
            return default
        value = value[name]
    return value


def _put(target: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for name in parents:
        inner = target.get(name)
        if not isinstance(inner, dict):
            inner = target[name] = {}
        target = inner
    target[last] = value


def _remove(target: dict[str, Any], path: str) -> None:
    """Remove a member, and the objects around it that become empty."""
    name, _, rest = path.partition(".")
    inner = target.get(name)
    if not rest:
        target.pop(name, None)
    elif isinstance(inner, dict):
        _remove(inner, rest)
        if not inner:
            del target[name]


def _first(values: Values, name: str) -> str | None:
    found = values.get(name)
    return found[0].strip() if found else None


def _parsed(given: Sequence[str], kind: str) -> Any:
    """What was typed as a JSON value; text that is no number stays text, for lint to name."""
    text = given[0].strip() if given else ""
    match kind:
        case "flag":
            return bool(given)
        case "tri":
            return {"yes": True, "no": False}.get(text)
        case "number" | "scores":
            return int(text) if re.fullmatch(r"-?\d{1,12}", text) else (text or None)
        case "list":
            return _entries(text)
        case "lines":
            return _lines(given[0] if given else "")
        case "glob":
            entries = _entries(text)
            return entries[0] if len(entries) == 1 else entries
        case "headers":
            pairs = (line.partition(":") for line in text.splitlines() if line.strip())
            return {name.strip(): glob.strip() for name, _, glob in pairs}
    return text


def _text(value: Any, kind: str) -> Any:
    """A JSON value as the form shows it."""
    if kind == "flag":
        return value is True
    if kind == "tri":
        return {True: "yes", False: "no"}.get(value, "") if isinstance(value, bool) else ""
    if value is None:
        return ""
    if kind == "headers":
        return "\n".join(f"{name}: {glob}" for name, glob in value.items()) if isinstance(value, dict) else ""
    if isinstance(value, list):
        return ("\n" if kind == "lines" else ", ").join(map(str, value))
    return str(value)


def _entries(text: str) -> list[str]:
    return [entry.strip() for entry in re.split(r"[\n,]", text) if entry.strip()]


def _lines(text: str) -> list[str]:
    return [line.strip("\r") for line in text.split("\n") if line.strip()]
