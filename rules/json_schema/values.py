"""Keywords about a value by itself: its type, its size, its text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import re2

from rules.json_schema.checks import Check, Compiler, Steps, Unusable, Violation, key_of

MAX_PATTERN_CHARACTERS: Final = 2_000
MAX_PATTERN_BYTES: Final = 1 << 20
"""Memory of one compiled pattern."""


_TYPES: Final[Mapping[str, Callable[[Any], bool]]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: type(value) is bool,
    "string": lambda value: type(value) is str,
    "integer": lambda value: type(value) is int or (type(value) is float and value.is_integer()),
    "number": lambda value: type(value) in (int, float),
    "array": lambda value: type(value) is list,
    "object": lambda value: type(value) is dict,
}
_EXACT_TYPES: Final = {"boolean": bool, "string": str, "array": list, "object": dict}
"""Those that are one type here as well."""


def type_(compiler: Compiler, schema: Mapping[str, Any], depth: int, base: Any) -> Check:
    """`type`, one or several."""
    named = schema["type"]
    names = named if type(named) is list else [named]
    if not names or not all(type(name) is str and name in _TYPES for name in names):
        raise Unusable("type names no type of JSON")
    tests = [_TYPES[name] for name in names]
    wrong = Violation("", f"must be {' or '.join(names)}")
    if len(tests) == 1:
        exact = _EXACT_TYPES.get(names[0])
        if exact is not None:
            return lambda value, steps: None if type(value) is exact else wrong
        (test,) = tests
        return lambda value, steps: None if test(value) else wrong
    return lambda value, steps: None if any(one(value) for one in tests) else wrong


def enum(compiler: Compiler, schema: Mapping[str, Any], depth: int, base: Any) -> Check:
    """`enum`."""
    values = schema["enum"]
    if type(values) is not list:
        raise Unusable("enum is a list")
    allowed = frozenset(key_of(value) for value in values)
    wrong = Violation("", "must be one of the values that the schema names")
    return lambda value, steps: None if key_of(value) in allowed else wrong


def const(compiler: Compiler, schema: Mapping[str, Any], depth: int, base: Any) -> Check:
    """`const`."""
    wanted = key_of(schema["const"])
    wrong = Violation("", "must be the value that the schema names")
    return lambda value, steps: None if key_of(value) == wanted else wrong


def number(name: str, fits: Callable[[Any, Any], bool], words: str) -> Any:
    """A bound of a number."""

    def make(compiler: Compiler, schema: Mapping[str, Any], depth: int, base: Any) -> Check | None:
        bound = schema[name]
        if type(bound) is bool:
            return None  # Draft 4, where it changes its neighbour.
        if type(bound) not in (int, float):
            raise Unusable(f"{name} is a number")
        wrong = Violation("", f"must be {words} {bound}")
        return lambda value, steps: None if type(value) not in (int, float) or fits(value, bound) else wrong

    return make


def is_multiple(value: Any, step: Any) -> bool:
    """Whether a number is a multiple of another, exactly as both are written."""
    try:
        return Decimal(str(value)) % Decimal(str(step)) == 0
    except (InvalidOperation, ZeroDivisionError):
        return True


def size(
    name: str, kind: type[str] | type[list[Any]] | type[dict[str, Any]], fits: Callable[[int, int], bool], words: str
) -> Any:
    def make(compiler: Compiler, schema: Mapping[str, Any], depth: int, base: Any) -> Check:
        bound = schema[name]
        if type(bound) not in (int, float):
            raise Unusable(f"{name} is a number")
        wrong = Violation("", words.format(bound))
        return lambda value, steps: None if type(value) is not kind or fits(len(value), bound) else wrong

    return make


def pattern(compiler: Compiler, schema: Mapping[str, Any], depth: int, base: Any) -> Check | None:
    """`pattern`."""
    expression = expression_of(schema["pattern"])
    if expression is None:
        return None
    wrong = Violation("", "must match the pattern of the schema")
    return lambda value, steps: None if type(value) is not str or expression(value) else wrong


def expression_of(pattern: Any) -> Callable[[str], bool] | None:
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


def unique(compiler: Compiler, schema: Mapping[str, Any], depth: int, base: Any) -> Check | None:
    """`uniqueItems`."""
    if schema["uniqueItems"] is not True:
        return None
    wrong = Violation("", "must not hold a value twice")

    def check(value: Any, steps: Steps) -> Violation | None:
        if type(value) is not list:
            return None
        return None if len({key_of(member) for member in value}) == len(value) else wrong

    return check
