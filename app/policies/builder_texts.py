"""How the builder's form reads and writes the values of a document as text. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

_BOUNDS = {">": "gt", ">=": "gte", "<": "lt", "<=": "lte", "=": "eq"}
_BOUND = re.compile(r"(>=|<=|>|<|=) *(\d{1,12})")


def is_untouched(given: Sequence[str], value: Any, kind: str) -> bool:
    """Whether a field still says what it shows for a value: then the value stays, whatever the text does not say of it."""
    return kind != "flag" and is_shown(given, shown_text(value, kind))


def is_shown(given: Sequence[str], shown: str) -> bool:
    """Whether a browser would send this for a field that shows that: areas end their lines with CRLF, lines have no ends."""
    text = given[0] if given else ""
    return text.replace("\r\n", "\n") == shown or text == shown.replace("\n", "")


def parsed(given: Sequence[str], kind: str) -> Any:
    """What was typed as a JSON value; text that is no number stays text, for lint to name."""
    text = given[0].strip() if given else ""
    match kind:
        case "flag":
            return bool(given)
        case "tri":
            return {"yes": True, "no": False}.get(text)
        case "number" | "scores":
            return int(text) if re.fullmatch(r"-?\d{1,12}", text) else (text or None)
        case "pattern":
            return given[0] if given else ""
        case "list":
            return entries(text)
        case "lines":
            return lines(given[0] if given else "")
        case "glob":
            found = entries(text)
            return found[0] if len(found) == 1 else found
        case "range":
            return _range(text)
        case "ranges":
            pairs = [line.partition(":") for line in text.splitlines() if line.strip()]
            return {name.strip(): _range(bounds.strip()) for name, _, bounds in pairs}
        case "headers":
            pairs = [line.partition(":") for line in text.splitlines() if line.strip()]
            return {name.strip(): glob.strip() for name, _, glob in pairs}
    return text


def shown_text(value: Any, kind: str) -> Any:
    """A JSON value as the form shows it."""
    if kind == "flag":
        return value is True
    if kind == "tri":
        return {True: "yes", False: "no"}.get(value, "") if isinstance(value, bool) else ""
    if value is None:
        return ""
    if kind == "range":
        return _range_text(value)
    if kind == "ranges":
        pairs = value.items() if isinstance(value, dict) else ()
        return "\n".join(f"{name}: {_range_text(bounds)}" for name, bounds in pairs)
    if kind == "headers":
        return "\n".join(f"{name}: {glob}" for name, glob in value.items()) if isinstance(value, dict) else ""
    if isinstance(value, list):
        return ("\n" if kind == "lines" else ", ").join(map(str, value))
    return str(value)


def entries(text: str) -> list[str]:
    """What commas and line ends part; those in brackets belong to their entry."""
    return [entry.strip() for entry in re.split(r"[\n,](?![^\[\]\n]*\])", text) if entry.strip()]


def lines(text: str) -> list[str]:
    return [line.strip("\r") for line in text.split("\n") if line.strip()]


def _range(text: str) -> Any:
    """`> 10, <= 100` as bounds by name; text that is none stays text, for lint to name."""
    found = [_BOUND.fullmatch(part) for part in entries(text)]
    bounds = {_BOUNDS[match[1]]: int(match[2]) for match in found if match}
    return bounds if len(bounds) == len(found) else text


def _range_text(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    signs = {name: sign for sign, name in _BOUNDS.items()}
    return ", ".join(f"{signs.get(name, name)} {bound}" for name, bound in value.items())
