"""JSON values against a JSON Schema (2020-12, with the spellings of draft 7): compiled once, bounded in steps, no I/O.

For schemas and values from outside. A reference that leads out of the schema is never followed: whatever stands there
does not conform. Patterns are matched in linear time; one that the matcher does not know is left to whoever wrote it.
`format` is a note, and `unevaluatedProperties` and `unevaluatedItems` are not looked at.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import unquote

from rules.json_schema import members, values
from rules.json_schema.checks import (
    Check,
    Steps,
    TooCostly,
    Unusable,
    Violation,
    all_of,
    anything,
    fails,
    nothing,
)
from rules.pinning.references import resolve

MAX_SCHEMA_NODES: Final = 20_000
MAX_SCHEMA_DEPTH: Final = 96


class Schema:
    """A compiled schema; raises `Unusable`."""

    __slots__ = ("_check",)

    def __init__(self, schema: Any) -> None:
        self._check = _Compiler(schema).compile()

    def violation(self, value: Any) -> Violation | None:
        """The first place where a value does not conform, or None."""
        try:
            return self._check(value, Steps())
        except (TooCostly, RecursionError):
            return Violation("", "is too complicated to be checked against its schema")


class _Compiler:
    def __init__(self, root: Any) -> None:
        self._root = root
        self._nodes = 0
        self._references: dict[tuple[int, str], list[Check]] = {}

    def compile(self) -> Check:
        return self.schema(self._root, 0, self._root)

    def schema(self, schema: Any, depth: int, base: Any) -> Check:
        """The check of one schema. `base` is what its references lead into."""
        self._nodes += 1
        if self._nodes > MAX_SCHEMA_NODES or depth > MAX_SCHEMA_DEPTH:
            raise Unusable(f"more than {MAX_SCHEMA_NODES} values or {MAX_SCHEMA_DEPTH} levels")
        if schema is True:
            return anything
        if schema is False:
            return nothing
        if type(schema) is not dict:
            raise Unusable("a schema is an object, true or false")
        if depth and type(schema.get("$id")) is str and not schema["$id"].startswith("#"):
            base = schema
        checks: list[Check] = []
        for keyword, make in _KEYWORDS.items():
            if keyword in schema and (check := make(self, schema, depth + 1, base)) is not None:
                checks.append(check)
        return all_of(checks)

    def reference(self, reference: Any, depth: int, base: Any) -> Check:
        """What a `$ref` leads to, compiled once; it may lead back to where it stands."""
        if type(reference) is not str:
            raise Unusable("$ref is a text")
        if not reference.startswith("#"):
            return fails("refers to another document, which is not read")
        key = (id(base), reference)
        known = self._references.get(key)
        if known is None:
            known = self._references[key] = []
            known.append(self.schema(_target(base, reference), depth, base))
        target = known

        def check(value: Any, steps: Steps) -> Violation | None:
            return target[0](value, steps)

        return check


def _target(base: Any, reference: str) -> Any:
    if reference == "#":
        return base
    try:
        if reference.startswith("#/"):
            return resolve(base, reference)
    except (KeyError, ValueError):
        return False
    name = unquote(reference[1:])
    found = _anchored(base, name, 0)
    return False if found is None else found


def _anchored(schema: Any, name: str, depth: int) -> Any:
    if depth > MAX_SCHEMA_DEPTH:
        return None
    if type(schema) is dict:
        if schema.get("$anchor") == name or schema.get("$dynamicAnchor") == name or schema.get("$id") == f"#{name}":
            return schema
        schema = list(schema.values())
    if type(schema) is list:
        for member in schema:
            if type(member) in (dict, list) and (found := _anchored(member, name, depth + 1)) is not None:
                return found
    return None


def _ref(compiler: _Compiler, schema: Mapping[str, Any], depth: int, base: Any) -> Check:
    return compiler.reference(schema["$ref"], depth, base)


def _dynamic_ref(compiler: _Compiler, schema: Mapping[str, Any], depth: int, base: Any) -> Check:
    return compiler.reference(schema["$dynamicRef"], depth, base)


_KEYWORDS: Final[Mapping[str, Callable[[_Compiler, Mapping[str, Any], int, Any], Check | None]]] = {
    "type": values.type_,
    "enum": values.enum,
    "const": values.const,
    "minimum": values.number("minimum", operator.ge, "at least"),
    "maximum": values.number("maximum", operator.le, "at most"),
    "exclusiveMinimum": values.number("exclusiveMinimum", operator.gt, "more than"),
    "exclusiveMaximum": values.number("exclusiveMaximum", operator.lt, "less than"),
    "multipleOf": values.number("multipleOf", values.is_multiple, "a multiple of"),
    "minLength": values.size("minLength", str, operator.ge, "must have at least {} characters"),
    "maxLength": values.size("maxLength", str, operator.le, "must have at most {} characters"),
    "pattern": values.pattern,
    "minItems": values.size("minItems", list, operator.ge, "must have at least {} items"),
    "maxItems": values.size("maxItems", list, operator.le, "must have at most {} items"),
    "uniqueItems": values.unique,
    "minProperties": values.size("minProperties", dict, operator.ge, "must have at least {} members"),
    "maxProperties": values.size("maxProperties", dict, operator.le, "must have at most {} members"),
    "required": members.required,
    "properties": members.properties,
    "patternProperties": members.unless("properties"),
    "additionalProperties": members.unless("properties", "patternProperties"),
    "propertyNames": members.property_names,
    "dependentRequired": members.dependent,
    "dependentSchemas": lambda c, s, d, b: None if "dependentRequired" in s else members.dependent(c, s, d, b),
    "dependencies": lambda c, s, d, b: (
        None if "dependentRequired" in s or "dependentSchemas" in s else members.dependent(c, s, d, b)
    ),
    "prefixItems": members.items,
    "items": lambda c, s, d, b: None if "prefixItems" in s else members.items(c, s, d, b),
    "contains": members.contains,
    "allOf": members.several("allOf"),
    "anyOf": members.several("anyOf"),
    "oneOf": members.several("oneOf"),
    "not": members.not_,
    "if": members.if_,
    "$ref": _ref,
    "$dynamicRef": _dynamic_ref,
}
"""The makers of checks, the cheap ones first."""
