"""Every string leaf of what a server says about itself, as texts for the detection rules (detection.md §5.2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from rules.model import Target, Text
from rules.pinning.baseline import ServerDescription
from rules.pinning.schemas import escaped

MAX_TEXTS: Final = 50_000
MAX_DEPTH: Final = 64
_SCHEMAS: Final = frozenset({"inputSchema", "outputSchema", "arguments", "parameters"})
_TEXTS: Final = frozenset({"description", "title", "$comment"})
_LISTS: Final = (
    ("tools", "tools"),
    ("prompts", "prompts"),
    ("resources", "resources"),
    ("resource_templates", "resourceTemplates"),
)


def description_texts(description: ServerDescription) -> list[Text]:
    """The texts with their JSON pointers inside the description; at most `MAX_TEXTS`."""
    return [text for _, text in zip(range(MAX_TEXTS), _all(description), strict=False)]


def _all(description: ServerDescription) -> Iterator[Text]:
    for key in ("instructions", "serverInfo", "capabilities"):
        yield from _leaves(description.initialize.get(key), Target.SERVER_INSTRUCTIONS, f"/initialize/{key}", 0)
    for attribute, wire in _LISTS:
        for index, entry in enumerate(getattr(description, attribute)):
            yield from _entry(entry, f"/{wire}/{index}")


def _entry(entry: Any, path: str) -> Iterator[Text]:
    if type(entry) is not dict:
        yield from _leaves(entry, Target.SCHEMA, path, 0)
        return
    for key, member in entry.items():
        below = f"{path}/{escaped(key)}"
        if key == "name":
            yield from _leaves(member, Target.TOOL_NAME, below, 0)
        elif key in _SCHEMAS:
            yield from _schema(member, below, 0)
        elif key in ("uri", "uriTemplate", "mimeType"):
            yield from _leaves(member, Target.SCHEMA, below, 0)
        else:
            yield from _leaves(member, Target.TOOL_DESCRIPTION, below, 0)


def _schema(value: Any, path: str, depth: int) -> Iterator[Text]:
    if depth > MAX_DEPTH:
        return
    if type(value) is dict:
        for key, member in value.items():
            below = f"{path}/{escaped(key)}"
            yield Text(Target.SCHEMA, below + "#", key)
            if key in _TEXTS and type(member) is str:
                yield from _leaves(member, Target.PARAM_DESCRIPTION, below, depth)
            else:
                yield from _schema(member, below, depth + 1)
    elif type(value) is list:
        for index, member in enumerate(value):
            yield from _schema(member, f"{path}/{index}", depth + 1)
    else:
        yield from _leaves(value, Target.SCHEMA, path, depth)


def _leaves(value: Any, target: Target, path: str, depth: int) -> Iterator[Text]:
    """Strings and the keys above them. A key is a text too: `#` after the pointer of its value tells it apart."""
    if depth > MAX_DEPTH:
        return
    if type(value) is str:
        if value:
            yield Text(target, path, value)
    elif type(value) is dict:
        for key, member in value.items():
            below = f"{path}/{escaped(key)}"
            yield Text(target, below + "#", key)
            yield from _leaves(member, target, below, depth + 1)
    elif type(value) is list:
        for index, member in enumerate(value):
            yield from _leaves(member, target, f"{path}/{index}", depth + 1)
