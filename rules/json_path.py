"""The part of JSONPath (RFC 9535) that policies use, in time linear in the document for every path.

`$` is the root; `.name` and `['name']` a member; `[n]` an array item, from the end with a negative n; `.*` and `[*]`
every child; `..name`, `..*` and `..[n]` the same at any depth. Filters, slices and unions are not part of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

MAX_STEPS = 20
MAX_SELECTED = 10_000
"""Values that a path selects at most; the rest of a larger selection is not looked at by a condition, see `select`."""

_STEP = re.compile(
    r"""(?P<deep>\.\.)?(?:
        (?P<dot>\.)?(?P<name>[A-Za-z_\u0080-\U0010ffff][A-Za-z0-9_\-\u0080-\U0010ffff]*)
      | (?P<dotstar>\.)?(?P<star>\*)
      | \[(?:(?P<every>\*)|(?P<index>-?(?:0|[1-9][0-9]{0,8}))|'(?P<single>[^'\\]*)'|"(?P<double>[^"\\]*)")\]
    )""",
    re.VERBOSE,
)


class PathRefused(ValueError):
    """Not a path of the subset; the message says why."""


class TooManyValues(Exception):
    """A path selects more than `MAX_SELECTED` values: a condition on it cannot be judged."""


class Step(NamedTuple):
    """One step of a path. `key` is a member name, an array index or None for every child."""

    key: str | int | None
    deep: bool


def parse(path: str) -> tuple[Step, ...]:
    """The steps of a path; raises `PathRefused`."""
    if not path.startswith("$"):
        raise PathRefused("a path begins with $")
    steps: list[Step] = []
    position = 1
    while position < len(path):
        step = _STEP.match(path, position)
        if step is None or not _is_joined(step):
            raise PathRefused(f"not understood from character {position + 1} on: {path[position : position + 20]!r}")
        steps.append(Step(_key(step), step["deep"] is not None))
        position = step.end()
    if len(steps) > MAX_STEPS:
        raise PathRefused(f"has more than {MAX_STEPS} steps")
    return tuple(steps)


def _is_joined(step: re.Match[str]) -> bool:
    """Whether the dots before a name or a star are right: one of `.` and `..` exactly."""
    deep = step["deep"] is not None
    if step["name"] is not None:
        return deep is not (step["dot"] is not None)
    if step["star"] is not None:
        return deep is not (step["dotstar"] is not None)
    return True


def _key(step: re.Match[str]) -> str | int | None:
    if step["index"] is not None:
        return int(step["index"])
    for group in ("name", "single", "double"):
        if step[group] is not None:
            return step[group]
    return None


def select(steps: tuple[Step, ...], document: Any) -> list[Any]:
    """The values that a path selects in a JSON value; raises `TooManyValues` when there are more than is allowed.

    A container counts once for each step, whatever the number of ways to it; so the work is at most the size of the
    document times the number of steps.
    """
    nodes = [document]
    for step in steps:
        found: list[Any] = []
        for node in _unique(_descend(nodes) if step.deep else nodes):
            found += _children(node, step.key)
        nodes = found
        if not nodes:
            break
    if len(nodes) > MAX_SELECTED:
        raise TooManyValues
    return nodes


def _children(node: Any, key: str | int | None) -> list[Any]:
    if isinstance(node, dict):
        if key is None:
            return list(node.values())
        return [node[key]] if isinstance(key, str) and key in node else []
    if isinstance(node, list):
        if key is None:
            return node
        if isinstance(key, int) and -len(node) <= key < len(node):
            return [node[key]]
    return []


def _descend(nodes: list[Any]) -> Iterator[Any]:
    """Every container at or below the nodes, each once."""
    waiting, seen = list(nodes), set[int]()
    while waiting:
        node = waiting.pop()
        if not isinstance(node, (dict, list)) or id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        waiting += node.values() if isinstance(node, dict) else node


def _unique(nodes: Any) -> Iterator[Any]:
    seen: set[int] = set()
    for node in nodes:
        if isinstance(node, (dict, list)) and id(node) not in seen:
            seen.add(id(node))
            yield node
