"""The builder's form and the document it stands for. Pure.

The document is what counts. The form shows the fields that it knows and writes those back that were changed (`merged`), so that
whatever else a document holds (a `near` pattern, a second argument condition, a text that looks like a number) survives
every change in the form.
Fields are named by their place: `rules.0.match.model`. Buttons that add or remove items are operations (`operated`).
"""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from app.policies.builder_fields import DEFAULTS, HEAD, ITEMS, KEPT_EMPTY, RARE, SEVERITY_DEFAULT, Field
from app.policies.builder_texts import entries, is_shown, is_untouched, lines, parsed, shown_text

Values = Mapping[str, Sequence[str]]
"""Submitted values by field name."""

MAX_ITEMS = 500
CONTEXT_SWITCH = "context.checked"
"""Whether a policy has a context firewall: a field of the form that is no member of the document."""
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
_WORDS = {"true": True, "false": False, "null": None}
_FLOAT = re.compile(r"-?\d{1,12}(?:\.\d{1,12})?(?:[eE][+-]?\d{1,3})?")
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
        values[field.path] = shown_text(found, field.kind)
    values[CONTEXT_SWITCH] = "yes" if document.get("context") is not None else "no"
    values["packs"] = [name for name in _list(document.get("packs")) if isinstance(name, str)]
    for name, fields in ITEMS.items():
        values[name] = [
            _item_values(name, item, fields) if isinstance(item, dict) else None
            for item in _list(document.get(name))[:MAX_ITEMS]
        ]
    return values


def has_rare(document: Mapping[str, Any]) -> bool:
    """Whether a document sets one of the members that the form keeps folded."""
    return any(document.get(name) is not None for name in RARE)


def _item_values(name: str, item: dict[str, Any], fields: Sequence[Field]) -> dict[str, Any]:
    values = {field.path: shown_text(_at(item, field.path, None), field.kind) for field in fields}
    if name == "rules":
        values["severity"] = values["severity"] or SEVERITY_DEFAULT[name]
        values |= _argument_values(item)
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
    found = [str(pattern.get("re", "")) for pattern in patterns if isinstance(pattern, dict)]
    return {
        "patterns": "\n".join(found),
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
    return {
        "argument.path": str(first.get("path", "")),
        "argument.operator": operator,
        "argument.value": ", ".join(map(_scalar_text, value))
        if isinstance(value, list)
        else _shown_value(operator, value),
        "argument.more": max(0, len(arguments) - 1),
    }


def _shown_value(operator: str, value: Any) -> str:
    return str(value) if operator == "matches" else _scalar_text(value)


def _scalar_text(value: Any) -> str:
    """A value as `_scalar` reads it back: JSON, but words without quotes where nobody takes them for anything else."""
    if isinstance(value, str):
        return value if _scalar(value) == value else f'"{value}"'
    return json.dumps(value)


# --- From the form to the document --------------------------------------------------------------------------------------


def merged(document: Mapping[str, Any], values: Values) -> dict[str, Any]:
    """The document with every field that the form brought written into it."""
    result = copy.deepcopy(dict(document))
    for field in HEAD:
        if field.path in values:
            if is_untouched(values[field.path], _at(result, field.path, DEFAULTS[field.path]), field.kind):
                continue
            value = parsed(values[field.path], field.kind)
            if value == DEFAULTS[field.path] or (value is None and field.kind != "scores"):
                _remove(result, field.path)
            else:
                _put(result, field.path, value)
    _merge_context(result, values)
    if "packs.shown" in values:
        _merge_packs(result, values)
    for name, fields in ITEMS.items():
        items = result.get(name)
        for index, item in enumerate(items if isinstance(items, list) else []):
            if isinstance(item, dict) and f"{name}.{index}" in values:
                _merge_item(name, item, fields, values, f"{name}.{index}.")
    return result


def _merge_context(result: dict[str, Any], values: Values) -> None:
    """The context firewall is there as soon as somebody wants it, even when all its fields have their defaults."""
    wanted = _first(values, CONTEXT_SWITCH)
    if wanted == "yes":
        result.setdefault("context", {})
    elif wanted == "no":
        result.pop("context", None)


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
        if field.kind != "flag" and (given is None or is_untouched(given, _at(item, field.path, None), field.kind)):
            continue
        value = parsed(given or [], field.kind)
        if field.path == "severity" and value == SEVERITY_DEFAULT.get(name):
            value = None
        is_empty = value in ("", [], {}) and (name == "overrides" or field.path not in KEPT_EMPTY)
        if value is None or is_empty or (field.kind == "flag" and not value):
            _remove(item, field.path)
        else:
            _put(item, field.path, value)
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
    raw = values.get(f"{prefix}argument.value", [""])[0]
    shown_now = _argument_values(item)
    if (path, operator, raw) == tuple(shown_now[f"argument.{part}"] for part in ("path", "operator", "value")):
        return
    first = [{"path": path, operator: _argument_value(operator, raw)}] if path else []
    if rest := [*first, *arguments[1:]]:
        _put(item, "match.tool_arguments", rest)
    else:
        _remove(item, "match.tool_arguments")


def _argument_value(operator: str, text: str) -> Any:
    if operator == "exists":
        return text.strip().lower() not in ("false", "no", "0")
    if operator == "in":
        return [_scalar(part) for part in entries(text)]
    if operator in ("gt", "lt"):
        number = _scalar(text)
        return number if isinstance(number, (int, float)) else text
    return _scalar(text) if operator == "equals" else text


def _scalar(text: str) -> Any:
    """A number where the text is one, `true`, `false` and `null` as such, else the text; quotes keep it text."""
    plain = text.strip()
    if len(plain) >= 2 and plain[0] == plain[-1] == '"':
        return plain[1:-1]
    if plain in _WORDS:
        return _WORDS[plain]
    if re.fullmatch(r"-?\d{1,15}", plain):
        return int(plain)
    return float(plain) if _FLOAT.fullmatch(plain) and math.isfinite(float(plain)) else plain


def _merge_patterns(item: dict[str, Any], values: Values, prefix: str) -> None:
    typed = values.get(f"{prefix}patterns", [None])[0]
    if typed is None:
        return
    shown_now = _pattern_values(item)
    same_count = _first(values, f"{prefix}min_count") in (None, shown_now["min_count"])
    same_case = bool(values.get(f"{prefix}ignore_case")) is shown_now["ignore_case"]
    if (
        shown_now["editable"]
        and same_count
        and same_case
        and is_shown(values[f"{prefix}patterns"], shown_now["patterns"])
    ):
        return
    flags = {"flags": "i"} if values.get(f"{prefix}ignore_case") else {}
    match: dict[str, Any] = {"any": [{"re": line, **flags} for line in lines(typed)]}
    count = parsed(values.get(f"{prefix}min_count", ()), "number")
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
