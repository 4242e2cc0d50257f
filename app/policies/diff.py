"""What differs between two documents, field by field, in an order and words that a person can read. Pure.

Objects are compared member by member. Lists of objects with an `id` (rules, detections, rate limits) are compared by
that id, so that moving one is not a rewrite of all; lists of plain values are compared as sets; any other list is
compared by position.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

MAX_CHANGES = 1_000
MAX_VALUE_CHARS = 2_000

Kind = Literal["added", "removed", "changed", "moved"]


class Change(msgspec.Struct, frozen=True):
    """One difference. `pointer` is the JSON pointer in the newer document (of a removed value, in the older one)."""

    kind: Kind
    pointer: str
    label: str
    """The place in words: `Rule deny-shell · action`."""
    before: str
    """The value as compact JSON; empty for an added one."""
    after: str


_HEADS = {"rules": "Rule", "detections": "Detection", "rate_limits": "Rate limit", "overrides": "Override"}


def diff(before: Any, after: Any) -> list[Change]:
    """The differences from one JSON document to another, at most `MAX_CHANGES`."""
    changes: list[Change] = []
    for change in _walk(before, after, "", ""):
        changes.append(change)
        if len(changes) >= MAX_CHANGES:
            break
    return changes


def _walk(before: Any, after: Any, pointer: str, label: str) -> Iterator[Change]:
    # As JSON: Python takes true for 1.
    if before == after and msgspec.json.encode(before) == msgspec.json.encode(after):
        return
    if isinstance(before, dict) and isinstance(after, dict):
        yield from _members(before, after, pointer, label)
    elif isinstance(before, list) and isinstance(after, list):
        yield from _items(before, after, pointer, label)
    else:
        yield Change("changed", pointer, label, _shown(before), _shown(after))


def _members(before: dict[str, Any], after: dict[str, Any], pointer: str, label: str) -> Iterator[Change]:
    names = [*after, *(name for name in before if name not in after)]
    for name in names:
        place, words = f"{pointer}/{_escaped(name)}", _joined(label, _words(name))
        if isinstance(before.get(name, []), list) and isinstance(after.get(name, []), list):
            # A list that is not there is an empty one: what was added to it is named item by item.
            yield from _walk(before.get(name, []), after.get(name, []), place, words)
        elif name not in before:
            yield Change("added", place, words, "", _shown(after[name]))
        elif name not in after:
            yield Change("removed", place, words, _shown(before[name]), "")
        else:
            yield from _walk(before[name], after[name], place, words)


def _items(before: list[Any], after: list[Any], pointer: str, label: str) -> Iterator[Change]:
    old, new = _by_id(before), _by_id(after)
    if old is not None and new is not None:
        yield from _by_identity(old, new, pointer, label)
    elif not any(isinstance(item, (dict, list)) for item in (*before, *after)):
        yield from _as_sets(before, after, pointer, label)
    else:
        yield from _by_position(before, after, pointer, label)


def _by_identity(
    old: dict[str, tuple[int, Any]], new: dict[str, tuple[int, Any]], pointer: str, label: str
) -> Iterator[Change]:
    for key, (index, item) in new.items():
        words = _item_words(label, key)
        if key not in old:
            yield Change("added", f"{pointer}/{index}", words, "", _shown(item))
        else:
            yield from _walk(old[key][1], item, f"{pointer}/{index}", words)
    for key, (index, item) in old.items():
        if key not in new:
            yield Change("removed", f"{pointer}/{index}", _item_words(label, key), _shown(item), "")
    kept_before = [key for key in old if key in new]
    kept_after = [key for key in new if key in old]
    if kept_before != kept_after:
        yield Change("moved", pointer, f"{label}: order", ", ".join(kept_before), ", ".join(kept_after))


def _as_sets(before: list[Any], after: list[Any], pointer: str, label: str) -> Iterator[Change]:
    added = [(index, item) for index, item in enumerate(after) if item not in before]
    removed = [(index, item) for index, item in enumerate(before) if item not in after]
    yield from (Change("added", f"{pointer}/{index}", label, "", _shown(item)) for index, item in added)
    yield from (Change("removed", f"{pointer}/{index}", label, _shown(item), "") for index, item in removed)
    if not added and not removed:
        yield Change("moved", pointer, label, _shown(before), _shown(after))


def _by_position(before: list[Any], after: list[Any], pointer: str, label: str) -> Iterator[Change]:
    for index in range(max(len(before), len(after))):
        place, words = f"{pointer}/{index}", _item_words(label, str(index + 1))
        if index >= len(before):
            yield Change("added", place, words, "", _shown(after[index]))
        elif index >= len(after):
            yield Change("removed", place, words, _shown(before[index]), "")
        else:
            yield from _walk(before[index], after[index], place, words)


def _by_id(items: list[Any]) -> dict[str, tuple[int, Any]] | None:
    """The items by id with their positions; None unless each is an object with an id of its own."""
    found: dict[str, tuple[int, Any]] = {}
    for index, item in enumerate(items):
        key = item.get("id") if isinstance(item, dict) else None
        if not isinstance(key, str) or key in found:
            return None
        found[key] = (index, item)
    return found


def _shown(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= MAX_VALUE_CHARS else text[: MAX_VALUE_CHARS - 1] + "…"


def _item_words(label: str, key: str) -> str:
    head, separator, last = label.rpartition(" · ")
    name = _HEADS.get(last.lower().replace(" ", "_"), last)
    return f"{head}{separator}{name} {key}"


def _joined(label: str, word: str) -> str:
    return f"{label} · {word}" if label else word


def _words(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
