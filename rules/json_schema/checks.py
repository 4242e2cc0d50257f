"""What a compiled schema is made of: checks, the violations that they find, and the steps that they may take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, Protocol

from rules.pinning.canonical import NotCanonical, canonical_json
from rules.pinning.schemas import escaped

MAX_STEPS: Final = 50_000
"""Schemas applied to values in one validation."""


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


class Steps:
    """What one validation may still take."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = MAX_STEPS


class TooCostly(Exception):
    """A validation took more steps than it may."""


Check = Callable[[Any, Steps], Violation | None]


class Compiler(Protocol):
    """What a keyword needs to be compiled."""

    def schema(self, schema: Any, depth: int, base: Any) -> Check:
        """The check of one schema. `base` is what its references lead into."""

    def reference(self, reference: Any, depth: int, base: Any) -> Check:
        """What a `$ref` leads to, compiled once; it may lead back to where it stands."""


def anything(value: Any, steps: Steps) -> Violation | None:
    """The check of the schema `true`."""
    return None


def nothing(value: Any, steps: Steps) -> Violation | None:
    """The check of the schema `false`."""
    return Violation("", "is not allowed")


def fails(what: str) -> Check:
    """A check to which nothing conforms, for this reason."""
    return lambda value, steps: Violation("", what)


def all_of(checks: list[Check]) -> Check:
    """One check for several; it counts as a step."""
    if not checks:
        return anything

    def check(value: Any, steps: Steps) -> Violation | None:
        steps.left -= 1
        if steps.left < 0:
            raise TooCostly
        for one in checks:
            if (found := one(value, steps)) is not None:
                return found
        return None

    return check


def key_of(value: Any) -> Any:
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
        raise TooCostly from error


def _integral(value: Any) -> Any:
    if type(value) is float and value.is_integer():
        return int(value)
    if type(value) is list:
        return [_integral(member) for member in value]
    return {name: _integral(member) for name, member in value.items()} if type(value) is dict else value


def object_of(value: Any) -> Mapping[str, Any]:
    if type(value) is not dict:
        raise Unusable("a keyword for members is an object")
    return value
