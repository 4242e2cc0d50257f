"""JSON values against a JSON Schema (2020-12, with the spellings of draft 7): compiled once, bounded in steps, no I/O.

For schemas and values from outside. A reference that leads out of the schema is never followed: whatever stands there
does not conform. Patterns are matched in linear time; one that the matcher does not know is left to whoever wrote it.
`format` is a note, and `unevaluatedProperties` and `unevaluatedItems` are not looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

import re2

from rules.pinning.canonical import NotCanonical, canonical_json
from rules.pinning.references import resolve
from rules.pinning.schemas import escaped

MAX_SCHEMA_NODES: Final = 20_000
MAX_SCHEMA_DEPTH: Final = 96
MAX_STEPS: Final = 50_000
"""Schemas applied to values in one validation."""
MAX_PATTERN_CHARACTERS: Final = 2_000
MAX_PATTERN_BYTES: Final = 1 << 20
"""Memory of one compiled pattern."""


class Unusable(ValueError):
    """A schema that cannot be compiled: too large, too deep, or no schema."""


class Violation(NamedTuple):
    """Where a value does not conform, and what would."""

    path: str
    """JSON pointer inside the value."""
    what: str
    """A sentence without its subject, which repeats nothing of the value."""

    def below(self, step: str) -> Violation:
        """The same, seen from one level further up."""
        return Violation(f"/{escaped(step)}{self.path}", self.what)


class _Steps:
    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = MAX_STEPS


class _TooCostly(Exception):
    pass


_Check = Callable[[Any, _Steps], Violation | None]


class Schema:
    """A compiled schema; raises `Unusable`."""

    __slots__ = ("_check",)

    def __init__(self, schema: Any) -> None:
        self._check = _Compiler(schema).compile()

    def violation(self, value: Any) -> Violation | None:
        """The first place where a value does not conform, or None."""
        try:
            return self._check(value, _Steps())
        except (_TooCostly, RecursionError):
            return Violation("", "is too complicated to be checked against its schema")


class _Compiler:
    def __init__(self, root: Any) -> None:
        self._root = root
        self._nodes = 0
        self._references: dict[tuple[int, str], list[_Check]] = {}

    def compile(self) -> _Check:
        return self.schema(self._root, 0, self._root)

    def schema(self, schema: Any, depth: int, base: Any) -> _Check:
        """The check of one schema. `base` is what its references lead into."""
        self._nodes += 1
        if self._nodes > MAX_SCHEMA_NODES or depth > MAX_SCHEMA_DEPTH:
            raise Unusable(f"more than {MAX_SCHEMA_NODES} values or {MAX_SCHEMA_DEPTH} levels")
        if schema is True:
            return _anything
        if schema is False:
            return _nothing
        if type(schema) is not dict:
            raise Unusable("a schema is an object, true or false")
        if depth and type(schema.get("$id")) is str and not schema["$id"].startswith("#"):
            base = schema
        checks: list[_Check] = []
        for keyword, make in _KEYWORDS.items():
            if keyword in schema and (check := make(self, schema, depth + 1, base)) is not None:
                checks.append(check)
        return _all_of(checks)

    def reference(self, reference: Any, depth: int, base: Any) -> _Check:
        """What a `$ref` leads to, compiled once; it may lead back to where it stands."""
        if type(reference) is not str:
            raise Unusable("$ref is a text")
        if not reference.startswith("#"):
            return _fails("refers to another document, which is not read")
        key = (id(base), reference)
        known = self._references.get(key)
        if known is None:
            known = self._references[key] = []
            known.append(self.schema(_target(base, reference), depth, base))
        target = known

        def check(value: Any, steps: _Steps) -> Violation | None:
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


# --- Checks -----------------------------------------------------------------------------------------------------------


def _anything(value: Any, steps: _Steps) -> Violation | None:
    return None


def _nothing(value: Any, steps: _Steps) -> Violation | None:
    return Violation("", "is not allowed")


def _fails(what: str) -> _Check:
    return lambda value, steps: Violation("", what)


def _all_of(checks: list[_Check]) -> _Check:
    if not checks:
        return _anything

    def check(value: Any, steps: _Steps) -> Violation | None:
        steps.left -= 1
        if steps.left < 0:
            raise _TooCostly
        for one in checks:
            if (found := one(value, steps)) is not None:
                return found
        return None

    return check


def _ref(compiler: _Compiler, schema: Mapping[str, Any], depth: int, base: Any) -> _Check:
    return compiler.reference(schema["$ref"], depth, base)


def _dynamic_ref(compiler: _Compiler, schema: Mapping[str, Any], depth: int, base: Any) -> _Check:
    return compiler.reference(schema["$dynamicRef"], depth, base)


_TYPES: Final[Mapping[str, Callable[[Any], bool]]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: type(value) is bool,
    "string": lambda value: type(value) is str,
    "integer": lambda value: type(value) is int or (type(value) is float and value.is_integer()),
    "number": lambda value: type(value) in (int, float),
    "array": lambda value: type(value) is list,
    "object": lambda value: type(value) is dict,
}


def _type(compiler: _Compiler, schema: Mapping[str, Any], depth: int, base: Any) -> _Check:
    named = schema["type"]
    names = named if type(named) is list else [named]
    if not names or not all(type(name) is str and name in _TYPES for name in names):
        raise Unusable("type names no type of JSON")
    tests = [_TYPES[name] for name in names]
    wrong = Violation("", f"must be {' or '.join(names)}")
    if len(tests) == 1:
        (test,) = tests
        return lambda value, steps: None if test(value) else wrong
    return lambda value, steps: None if any(one(value) for one in tests) else wrong


def _enum(compiler: _Compiler, schema: Mapping[str, Any], depth: int, base: Any) -> _Check:
    values = schema["enum"]
    if type(values) is not list:
        raise Unusable("enum is a list")
    allowed = frozenset(_key(value) for value in values)
    wrong = Violation("", "must be one of the values that the schema names")
    return lambda value, steps: None if _key(value) in allowed else wrong


def _const(compiler: _Compiler, schema: Mapping[str, Any], depth: int, base: Any) -> _Check:
    wanted = _key(schema["const"])
    wrong = Violation("", "must be the value that the schema names")
    return lambda value, steps: None if _key(value) == wanted else wrong


def _key(value: Any) -> Any:
    """Equal for values that are equal in JSON: 1 is 1.0 and is not true."""
    if type(value) is str or value is None:
        return value
    if type(value) is bool:
        return (bool, value)
    if type(value) in (int, float):
        return (float, value)
    try:
        return canonical_json(_integral(value))
    except NotCanonical as error:
        raise _TooCostly from error


def _integral(value: Any) -> Any:
    if type(value) is float and value.is_integer():
        return int(value)
    if type(value) is list:
        return [_integral(member) for member in value]
    return {name: _integral(member) for name, member in value.items()} if type(value) is dict else value


def _number(name: str, fits: Callable[[Any, Any], bool], words: str) -> Any:
    def make(compiler: _Compiler, schema: Mapping[str, Any], depth: int, base: Any) -> _Check | None:
        bound = schema[name]
        if type(bound) is bool:
            return None  # Draft 4, where it changes its neighbour.
        if type(bound) not in (int, float):
            raise Unusable(f"{name} is a number")
        wrong = Violation("", f"must be {words} {bound}")
        return lambda value, steps: None if type(value) not in (int, float) or fits(value, bound) else wrong

    return make


def _is_multiple(value: Any, step: Any) -> bool:
    try:
        return Decimal(str(value)) % Decimal(str(step)) == 0
    except (InvalidOperation, ZeroDivisionError):
        return True


def _size(
    name: str, kind: type[str] | type[list[Any]] | type[dict[str, Any]], fits: Callable[[int, int], bool], words: str
) -> Any:
    def make(compiler: _Compiler, schema: Mapping[str, Any], depth: int, base: Any) -> _Check:
        bound = schema[name]
        if type(bound) not in (int, float):
            raise Unusable(f"{name} is a number")
        wrong = Violation("", words.format(bound))
        return lambda value, steps: None if type(value) is not kind or fits(len(value), bound) else wrong

    return make


def _pattern(compiler: _Compiler, schema: Mapping[str, Any], depth: int, base: Any) -> _Check | None:
    expression = _expression(schema["pattern"])
    if expression is None:
        return None
    wrong = Violation("", "must match the pattern of the schema")
    return lambda value, steps: None if type(value) is not str or expression(value) else wrong


def _expression(pattern: Any) -> Callable[[str], bool] | None:
    """Whether a text holds a pattern; None for a pattern that linear time does not know."""
    if type(pattern) is not str or len(pattern) > MAX_PATTERN_CHARACTERS:
        return None
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MAX_PATTERN_BYTES
    try:
        compiled = re2.compile(pattern.encode("utf-8", "replace"), options)
    except re2.error:
        return None
    return lambda text: compiled.search(text.encode("utf-8", "replace")) is not None


def _properties(compiler: _Compiler, schema: Mapping[str, Any], depth: int, base: Any) -> _Check:
    """`properties`, `patternProperties` and `additionalProperties` together: the last depends on the others."""
    named = {name: compiler.schema(one, depth, base) for name, one in _object(schema.get("properties", {})).items()}
    patterns = [
        (expression, compiler.schema(one, depth, base))
        for pattern, one in _object(schema.get("patternProperties", {})).items()
        if (expression := _expression(pattern)) is not None
    ]
    incomplete = len(patterns) < len(_object(schema.get("patternProperties", {})))
    rest: _Check = _anything
    if "additionalProperties" in schema and not incomplete:
        rest = compiler.schema(schema["additionalProperties"], depth, base)

    def check(value: Any, steps: _Steps) -> Violation | None:
        if type(value) is not dict:
            return None
        for name, member in value.items():
            one = named.get(name)
            is_known = one is not None
            if one is not None and (found := one(member, steps)) is not None:
                return found.below(name)
            for expression, of_pattern in patterns:
                if expression(name):
                    is_known = True
                    if (found := of_pattern(member, steps)) is not None:
                        return found.below(name)
            if not is_known and rest is not _anything and (found := rest(member, steps)) is not None:
                return found.below(name)
        return None

    return check


def _unless(*others: str) -> Any:
    """The maker of a keyword that another one of the schema already stands for."""

    def make(compiler: _Compiler, schema: Mapping[str, Any], depth: int, base: Any) -> _Check | None:
        return None if any(other in schema for other in others) else _properties(compiler, schema, depth, base)

    return make


def _required(compiler: _Compiler, schema: Mapping[str, Any], depth: int, base: Any) -> _Check | None:
    names = schema["required"]
    if type(names) is bool:
        return None  # Draft 3.
    if type(names) is not list or not all(type(name) is str for name in names):
        raise Unusable("required is a list of names")

    def check(value: Any, steps: _Steps) -> Violation | None:
        if type(value) is dict:
            for name in names:
                if name not in value:
                    return Violation(f"/{escaped(name)}", "is missing")
        return None

    return check


def _property_names(compiler: _Compiler, schema: Mapping[str, Any], depth: int, base: Any) -> _Check:
    of_names = compiler.schema(schema["propertyNames"], depth, base)

    def check(value: Any, steps: _Steps) -> Violation | None:
        if type(value) is dict and any(of_names(name, steps) is not None for name in value):
            return Violation("", "has a member whose name is not allowed")
        return None

    return check


def _dependent(compiler: _Compiler, schema: Mapping[str, Any], depth: int, base: Any) -> _Check:
    """`dependentRequired`, `dependentSchemas` and the `dependencies` of draft 7."""
    checks: list[tuple[str, _Check]] = []
    for keyword in ("dependentRequired", "dependentSchemas", "dependencies"):
        for name, one in _object(schema.get(keyword, {})).items():
            wanted = {"required": one} if type(one) is list else one
            checks.append((name, compiler.schema(wanted, depth, base)))

    def check(value: Any, steps: _Steps) -> Violation | None:
        if type(value) is dict:
            for name, one in checks:
                if name in value and (found := one(value, steps)) is not None:
                    return found
        return None

    return check


def _items(compiler: _Compiler, schema: Mapping[str, Any], depth: int, base: Any) -> _Check:
    """`prefixItems` and `items`, or the list of `items` and `additionalItems` of draft 7."""
    first, rest_schema = schema.get("prefixItems", []), schema.get("items", True)
    if type(rest_schema) is list:
        first, rest_schema = rest_schema, schema.get("additionalItems", True)
    if type(first) is not list:
        raise Unusable("prefixItems is a list")
    prefix = [compiler.schema(one, depth, base) for one in first]
    rest = compiler.schema(rest_schema, depth, base)

    def check(value: Any, steps: _Steps) -> Violation | None:
        if type(value) is not list:
            return None
        for index, one in enumerate(prefix[: len(value)]):
            if (found := one(value[index], steps)) is not None:
                return found.below(str(index))
        if rest is not _anything:
            for index in range(len(prefix), len(value)):
                if (found := rest(value[index], steps)) is not None:
                    return found.below(str(index))
        return None

    return check


def _contains(compiler: _Compiler, schema: Mapping[str, Any], depth: int, base: Any) -> _Check:
    wanted = compiler.schema(schema["contains"], depth, base)
    low, high = schema.get("minContains", 1), schema.get("maxContains")
    wrong = Violation("", "does not contain what the schema wants")

    def check(value: Any, steps: _Steps) -> Violation | None:
        if type(value) is not list:
            return None
        count = sum(wanted(member, steps) is None for member in value)
        return None if count >= low and (high is None or count <= high) else wrong

    return check


def _unique(compiler: _Compiler, schema: Mapping[str, Any], depth: int, base: Any) -> _Check | None:
    if schema["uniqueItems"] is not True:
        return None
    wrong = Violation("", "must not hold a value twice")

    def check(value: Any, steps: _Steps) -> Violation | None:
        if type(value) is not list:
            return None
        return None if len({_key(member) for member in value}) == len(value) else wrong

    return check


def _several(name: str) -> Any:
    def make(compiler: _Compiler, schema: Mapping[str, Any], depth: int, base: Any) -> _Check:
        alternatives = schema[name]
        if type(alternatives) is not list or not alternatives:
            raise Unusable(f"{name} is a list of schemas")
        checks = [compiler.schema(one, depth, base) for one in alternatives]
        if name == "allOf":
            return _all_of(checks)
        if name == "anyOf":
            wrong = Violation("", "must fit at least one of the alternatives")
            return lambda value, steps: None if any(one(value, steps) is None for one in checks) else wrong
        exactly = Violation("", "must fit exactly one of the alternatives")
        return lambda value, steps: None if sum(one(value, steps) is None for one in checks) == 1 else exactly

    return make


def _not(compiler: _Compiler, schema: Mapping[str, Any], depth: int, base: Any) -> _Check:
    excluded = compiler.schema(schema["not"], depth, base)
    wrong = Violation("", "is what the schema excludes")
    return lambda value, steps: wrong if excluded(value, steps) is None else None


def _if(compiler: _Compiler, schema: Mapping[str, Any], depth: int, base: Any) -> _Check:
    condition = compiler.schema(schema["if"], depth, base)
    then = compiler.schema(schema.get("then", True), depth, base)
    otherwise = compiler.schema(schema.get("else", True), depth, base)

    def check(value: Any, steps: _Steps) -> Violation | None:
        return (then if condition(value, steps) is None else otherwise)(value, steps)

    return check


def _object(value: Any) -> Mapping[str, Any]:
    if type(value) is not dict:
        raise Unusable("a keyword for members is an object")
    return value


_KEYWORDS: Final[Mapping[str, Callable[[_Compiler, Mapping[str, Any], int, Any], _Check | None]]] = {
    "type": _type,
    "enum": _enum,
    "const": _const,
    "minimum": _number("minimum", lambda value, bound: value >= bound, "at least"),
    "maximum": _number("maximum", lambda value, bound: value <= bound, "at most"),
    "exclusiveMinimum": _number("exclusiveMinimum", lambda value, bound: value > bound, "more than"),
    "exclusiveMaximum": _number("exclusiveMaximum", lambda value, bound: value < bound, "less than"),
    "multipleOf": _number("multipleOf", _is_multiple, "a multiple of"),
    "minLength": _size("minLength", str, lambda size, bound: size >= bound, "must have at least {} characters"),
    "maxLength": _size("maxLength", str, lambda size, bound: size <= bound, "must have at most {} characters"),
    "pattern": _pattern,
    "minItems": _size("minItems", list, lambda size, bound: size >= bound, "must have at least {} items"),
    "maxItems": _size("maxItems", list, lambda size, bound: size <= bound, "must have at most {} items"),
    "uniqueItems": _unique,
    "minProperties": _size("minProperties", dict, lambda size, bound: size >= bound, "must have at least {} members"),
    "maxProperties": _size("maxProperties", dict, lambda size, bound: size <= bound, "must have at most {} members"),
    "required": _required,
    "properties": _properties,
    "patternProperties": _unless("properties"),
    "additionalProperties": _unless("properties", "patternProperties"),
    "propertyNames": _property_names,
    "dependentRequired": _dependent,
    "dependentSchemas": lambda c, s, d, b: None if "dependentRequired" in s else _dependent(c, s, d, b),
    "dependencies": lambda c, s, d, b: (
        None if "dependentRequired" in s or "dependentSchemas" in s else _dependent(c, s, d, b)
    ),
    "prefixItems": _items,
    "items": lambda c, s, d, b: None if "prefixItems" in s else _items(c, s, d, b),
    "contains": _contains,
    "allOf": _several("allOf"),
    "anyOf": _several("anyOf"),
    "oneOf": _several("oneOf"),
    "not": _not,
    "if": _if,
    "$ref": _ref,
    "$dynamicRef": _dynamic_ref,
}
"""The makers of checks, the cheap ones first."""
