"""Which part of a policy the builder shows: a page of each list, and the items of it that are open. Pure.

An item that is closed is one line and sends no fields, so that a policy with hundreds of rules is a small page and each of
them has its form.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from app.policies.builder import MAX_ITEMS
from app.policies.builder_fields import ITEMS

PAGE_ITEMS = 15
"""Items of each list on a page of the builder."""
MAX_OPEN = 20

_ITEM = re.compile(rf"({'|'.join(ITEMS)})\.(\d{{1,4}})")
_OPERATION = re.compile(rf"(add|remove|open|close|page)-({'|'.join(ITEMS)})(?:-(\d{{1,4}}))?")


class View(msgspec.Struct, frozen=True):
    """The items that are open (`rules.3`), and where the page of each list begins."""

    open: frozenset[str] = frozenset()
    starts: Mapping[str, int] = {}

    def page(self, document: Mapping[str, Any], name: str) -> range:
        """The indices of the items of a list that are on its page."""
        count = _count(document, name)
        start = min(max(self.starts.get(name, 0), 0), max(count - 1, 0)) // PAGE_ITEMS * PAGE_ITEMS
        return range(start, min(start + PAGE_ITEMS, count))

    def query(self, document: Mapping[str, Any]) -> str:
        """The open items for an address; empty where it is what is open anyway."""
        return "" if self.open == first_view(document).open else ",".join(sorted(self.open)[:MAX_OPEN])


def first_view(document: Mapping[str, Any], wanted: str = "") -> View:
    """What a page that is opened shows: the `wanted` items, or without any the item of each list that stands alone."""
    chosen = [item for item in wanted.split(",") if _ITEM.fullmatch(item)][:MAX_OPEN]
    if not chosen:
        chosen = [f"{name}.0" for name in ITEMS if _count(document, name) == 1]
    starts = {name: int(index) for name, _, index in (item.partition(".") for item in reversed(chosen))}
    return View(frozenset(chosen), starts)


def posted_view(values: Mapping[str, Sequence[str]]) -> View:
    """What the form showed that was sent."""
    starts = {name: values[f"at.{name}"][0] for name in ITEMS if values.get(f"at.{name}")}
    return View(
        frozenset(key for key in values if _ITEM.fullmatch(key)),
        {name: int(start) for name, start in starts.items() if re.fullmatch(r"\d{1,4}", start)},
    )


def after(view: View, operation: str, document: Mapping[str, Any]) -> View:
    """The view after a button of the form, of the document that it made."""
    if operation.startswith("override:"):
        return View(view.open, {**view.starts, "overrides": _count(document, "overrides") - 1})
    found = _OPERATION.fullmatch(operation)
    if found is None:
        return view
    verb, name, number = found[1], found[2], int(found[3] or 0)
    opened, starts = set(view.open), dict(view.starts)
    match verb:
        case "add":
            number = _count(document, name) - 1
            opened.add(f"{name}.{number}")
            starts[name] = number
        case "open":
            opened.add(f"{name}.{number}")
        case "close":
            opened.discard(f"{name}.{number}")
        case "page":
            starts[name] = number
            opened = {item for item in opened if not item.startswith(f"{name}.")}
        case "remove":
            opened = {kept for item in opened if (kept := _without(item, name, number))}
    return View(frozenset(opened), starts)


def _without(item: str, name: str, removed: int) -> str:
    """The place of an open item after the one at `removed` has gone; empty for that one."""
    own, _, index = item.partition(".")
    if own != name or int(index) < removed:
        return item
    return "" if int(index) == removed else f"{name}.{int(index) - 1}"


def _count(document: Mapping[str, Any], name: str) -> int:
    items = document.get(name)
    return min(len(items), MAX_ITEMS) if isinstance(items, list) else 0
