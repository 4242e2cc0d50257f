"""Texts that a pattern hits, made from the pattern: an imported detection needs examples, and files bring none."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

from rules.patterns import key_of, regexp

HARMLESS = (
    "Please summarise the meeting notes and list three open questions.",
    "The train to the coast leaves at noon from platform two.",
    "",
)
MAX_CHARS = 2_000
_CANDIDATES = "a0 A_-.:/@é"


def example_of(patterns: Sequence[dict[str, str]], count: int = 1) -> str | None:
    """A text in which at least `count` matches of these patterns lie; None when none can be made."""
    found: list[str] = []
    for pattern in list(patterns) * (count if len(patterns) < count else 1):
        if text := _hit(pattern):
            found.append(text)
        if len(found) >= count:
            return "\n".join(found)[:MAX_CHARS]
    return None


def counter_example(patterns: Sequence[dict[str, str]]) -> str | None:
    """A text that none of the patterns hits."""
    for text in HARMLESS:
        if not any(_hits(pattern, text) for pattern in patterns):
            return text
    return None


def _hit(pattern: dict[str, str]) -> str | None:
    flags = sum(getattr(re, letter.upper()) for letter in pattern.get("flags", ""))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = re._parser.parse(pattern["re"], flags)  # type: ignore[attr-defined]
    except (re.error, RecursionError):
        return None
    for optional in (0, 1):
        made = _sequence(tree, optional)
        for text in (made, f" {made} ", f"a{made}", f"{made}a", f"a{made}a", f"\n{made}\n"):
            if made and len(text) <= MAX_CHARS and _hits(pattern, text):
                return text
    return None


def _hits(pattern: dict[str, str], text: str) -> bool:
    return regexp(key_of(pattern["re"], pattern.get("flags", ""))).search(text.encode()) is not None


def _sequence(tree: Iterable[tuple[Any, Any]], optional: int) -> str:
    return "".join(_node(str(operation), value, optional) for operation, value in tree)


def _node(operation: str, value: Any, optional: int) -> str:
    match operation:
        case "LITERAL":
            return chr(int(value))
        case "NOT_LITERAL":
            return next(char for char in _CANDIDATES if ord(char) != value)
        case "ANY":
            return "a"
        case "IN":
            return _member(value)
        case "BRANCH":
            return min((_sequence(branch, optional) for branch in value[1]), key=lambda text: (not text, len(text)))
        case "SUBPATTERN":
            return _sequence(value[3], optional)
        case "MAX_REPEAT" | "MIN_REPEAT":
            least, most, inner = value
            count: int = min(max(int(least), optional if most else 0), MAX_CHARS)
            return _sequence(inner, optional) * count
    return ""


def _member(items: Sequence[tuple[Any, Any]]) -> str:
    """A character of a class, one that reads well where there is a choice."""
    negated = str(items[0][0]) == "NEGATE"
    tests = [item for item in items if str(item[0]) != "NEGATE"]
    for char in _CANDIDATES:
        if any(_is_in(char, item) for item in tests) != negated:
            return char
    for operation, value in tests:
        if str(operation) == "LITERAL":
            return chr(value)
        if str(operation) == "RANGE":
            return chr(value[0])
    return " "


def _is_in(char: str, item: tuple[Any, Any]) -> bool:
    operation, value = str(item[0]), item[1]
    if operation == "LITERAL":
        return ord(char) == int(value)
    if operation == "RANGE":
        return bool(value[0] <= ord(char) <= value[1])
    kind = str(value)
    plain = {
        "CATEGORY_DIGIT": char.isdigit(),
        "CATEGORY_SPACE": char.isspace(),
        "CATEGORY_WORD": char.isascii() and (char.isalnum() or char == "_"),
    }
    is_member = plain.get(kind.replace("NOT_", ""), False)
    return not is_member if "NOT_" in kind else is_member
