"""A JSON Schema without notation: local `$ref`s replaced by what they refer to, sets in one order, nothing dropped.

Two schemas with the same expansion mean the same, so a difference that disappears here is one of notation only. What
cannot be expanded safely stays as it was written, and then every difference counts.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import unquote

MAX_NODES: Final = 20_000
MAX_DEPTH: Final = 64
MAX_NAME_CHARS: Final = 64

NAME_MAPS: Final = frozenset({"properties", "$defs", "definitions", "patternProperties", "dependentSchemas"})
"""Keywords whose members have names that the author chose; a member called `default` there is a schema."""
DATA: Final = frozenset({"const", "default", "enum", "examples", "example"})
"""Keywords whose value is data: a `$ref` inside is no reference."""
ANNOTATIONS: Final = frozenset({"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"})
_DEFINITIONS: Final = ("$defs", "definitions")


class NotExpandable(ValueError):
    """The schema is too large once expanded, too deep, or changes the base of its references."""


def expanded(schema: Any) -> Any:
    """The schema with its local references replaced; raises `NotExpandable`.

    A definition that was put in everywhere it is used is left out of `$defs`: its text stands where it is used. It
    stays where nothing uses it, where it refers to itself, and where its name could itself be a message.
    """
    return _Expansion(schema).run()


def resolve(root: Any, reference: str) -> Any:
    """The value at a local reference (`#/$defs/A`); raises KeyError where there is none."""
    if not reference.startswith("#/"):
        raise KeyError(reference)
    value = root
    for part in unquote(reference[2:]).split("/"):
        key = part.replace("~1", "/").replace("~0", "~")
        if type(value) is dict:
            value = value[key]
        elif type(value) is list and key.isdigit() and len(key) < 6 and int(key) < len(value):
            value = value[int(key)]
        else:
            raise KeyError(reference)
    return value


class _Expansion:
    def __init__(self, schema: Any) -> None:
        self._root = schema
        self._nodes = 0
        self._used: set[str] = set()
        self._kept: set[str] = set()

    def run(self) -> Any:
        if type(self._root) is not dict:
            return self._root
        body = {key: member for key, member in self._root.items() if key not in _DEFINITIONS}
        result = self._schema(body, 0, ())
        for keyword in _DEFINITIONS:
            if keyword in self._root:
                rest = self._rest(keyword, self._root[keyword])
                if rest != {}:
                    result[keyword] = rest
        return result

    def _rest(self, keyword: str, definitions: Any) -> Any:
        """The definitions that the expansion does not already show."""
        if type(definitions) is not dict:
            return definitions
        rest = {}
        for name, definition in definitions.items():
            reference = f"#/{keyword}/{name}"
            if reference not in self._used or reference in self._kept or not _is_plain(name):
                rest[name] = self._schema(definition, 1, (reference,))
        return rest

    def _schema(self, value: Any, depth: int, active: tuple[str, ...]) -> Any:
        self._count(depth)
        if type(value) is list:
            return [self._schema(member, depth + 1, active) for member in value]
        if type(value) is not dict:
            return value
        if depth and "$id" in value:
            raise NotExpandable("a schema inside has a base of its own")
        reference = value.get("$ref")
        if type(reference) is str:
            return self._reference(reference, value, depth, active)
        return {key: self._member(key, member, depth + 1, active) for key, member in value.items()}

    def _member(self, key: str, member: Any, depth: int, active: tuple[str, ...]) -> Any:
        if key in DATA:
            return member
        if key in NAME_MAPS and type(member) is dict:
            self._count(depth)
            return {name: self._schema(schema, depth + 1, active) for name, schema in member.items()}
        if key == "required" and type(member) is list and all(type(name) is str for name in member):
            return sorted(member)
        return self._schema(member, depth, active)

    def _reference(self, reference: str, value: dict[str, Any], depth: int, active: tuple[str, ...]) -> Any:
        beside = {k: self._member(k, member, depth + 1, active) for k, member in value.items() if k != "$ref"}
        try:
            target = None if reference in active else resolve(self._root, reference)
        except KeyError:
            target = None
        if target is None:
            self._kept.add(reference)
            return {"$ref": reference, **beside}
        self._used.add(reference)
        inner = self._schema(target, depth + 1, (*active, reference))
        if not beside:
            return inner
        if type(inner) is dict and beside.keys() <= ANNOTATIONS - inner.keys():
            return {**inner, **beside}
        return {"$ref": inner, **beside}

    def _count(self, depth: int) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES or depth > MAX_DEPTH:
            raise NotExpandable(f"more than {MAX_NODES} values or {MAX_DEPTH} levels once expanded")


def _is_plain(name: str) -> bool:
    """Whether a definition's name is only a name."""
    return len(name) <= MAX_NAME_CHARS and name.replace("-", "_").replace(".", "_").isidentifier() and name.isascii()
