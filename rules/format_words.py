"""What msgspec says about a document that is not of the expected form, in the words of whoever writes the document.

The converter speaks of types, enums and regular expressions; a person wants to know which member is wrong and what
belongs there. What is not recognised stays as it was said. Pure.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec.inspect

_LENGTH: Final = re.compile(r"Expected `(str|array|object)` of length (>=|<=) (\d+)")
_BOUND: Final = re.compile(r"Expected `(?:int|float)` (>=|<=|>|<) (\S+)")
_TYPE: Final = re.compile(r"Expected `([^`]+)`, got `(\w+)`")
_REGEX: Final = re.compile(r"Expected `str` matching regex '(.*)'", re.DOTALL)
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING: Final = re.compile(r"Object missing required field `(.*)`", re.DOTALL)
_ENUM: Final = re.compile(r"Invalid enum value (.*)", re.DOTALL)

_BOUNDS: Final = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}
_TYPES: Final = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}
_FOUND: Final = {**_TYPES, "int": "a number", "bool": "true or false"}
_FORMS: Final = {
    "^[a-z0-9]+(-[a-z0-9]+)*$": "small letters, digits and hyphens, such as support-bot",
    "^[A-Z][A-Z0-9]*(-[A-Z0-9]+)+$": "capital letters and digits in parts joined by hyphens, such as OWN-EMP-1",
    "^[A-Za-z0-9][A-Za-z0-9_.:-]*$": "letters, digits, dots, colons, hyphens and underscores, such as no-shell",
    "^[A-Z][A-Z0-9_]{1,23}$": "2 to 24 capital letters, digits and underscores, such as EMPLOYEE",
    "^(i?m?s?|i?s?m?|m?i?s?|m?s?i?|s?i?m?|s?m?i?)$": "of the letters i, m and s, such as i",
    "^[1-9][0-9]{0,4}[smhd]$": "a number and s, m, h or d, such as 1m",
}
"""What the expressions of the fields ask for, where it can be said shorter than by the expression."""


def in_words(reason: str, steps: Sequence[str], expected: type) -> tuple[list[str], str]:
    """(the steps to what is wrong, why) for what the converter says about the place `steps` of an `expected` document."""
    if found := _UNKNOWN.fullmatch(reason):
        near = difflib.get_close_matches(found[1], _members(expected, steps), n=1)
        return [*steps, found[1]], "there is no such member here" + (f"; is `{near[0]}` meant?" if near else "")
    if found := _MISSING.fullmatch(reason):
        return [*steps, found[1]], "is missing"
    return list(steps), _said(reason, steps, expected)


def _said(reason: str, steps: Sequence[str], expected: type) -> str:
    if found := _LENGTH.fullmatch(reason):
        kind, bound, number = found.groups()
        unit = "character" if kind == "str" else "entry"
        if number != "1":
            unit = "characters" if kind == "str" else "entries"
        return f"needs at least {number} {unit}" if bound == ">=" else f"has more than {number} {unit}"
    if found := _BOUND.fullmatch(reason):
        return f"must be {_BOUNDS[found[1]]} {found[2].removesuffix('.0')}"
    if found := _TYPE.fullmatch(reason):
        wanted = _listed(
            [_TYPES.get(name.strip(), name.strip()) for name in found[1].split("|") if name.strip() != "null"]
        )
        return f"is {_FOUND.get(found[2], found[2])} where {wanted or 'null'} belongs"
    if found := _REGEX.fullmatch(reason):
        return f"must be {_FORMS.get(found[1], f'text of the form {found[1]}')}"
    if found := _ENUM.fullmatch(reason):
        known = [str(value) for value in _values(expected, steps)]
        return f"{found[1]} is not known here" + (f": use {_listed(known)}" if known else "")
    return reason


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + f" or {words[-1]}" if words else ""


def _members(expected: type, steps: Sequence[str]) -> list[str]:
    return [
        field.encode_name
        for kind in _kinds_at(expected, steps)
        if isinstance(kind, msgspec.inspect.StructType)
        for field in kind.fields
    ]


def _values(expected: type, steps: Sequence[str]) -> list[Any]:
    found: list[Any] = []
    for kind in _kinds_at(expected, steps):
        if isinstance(kind, msgspec.inspect.EnumType):
            found += [member.value for member in kind.cls]
        elif isinstance(kind, msgspec.inspect.LiteralType):
            found += kind.values
    return found


def _kinds_at(expected: type, steps: Sequence[str]) -> list[Any]:
    """The types that may stand at a place of the document."""
    kinds = _parted(msgspec.inspect.type_info(expected))
    for step in steps:
        kinds = [part for kind in kinds for inner in _inside(kind, step) for part in _parted(inner)]
    return kinds


def _inside(kind: Any, step: str) -> list[Any]:
    if isinstance(kind, msgspec.inspect.StructType):
        return [field.type for field in kind.fields if field.encode_name == step]
    if isinstance(kind, msgspec.inspect.DictType):
        return [kind.value_type]
    if isinstance(kind, msgspec.inspect.TupleType):
        return list(kind.item_types)
    return [kind.item_type] if isinstance(kind, msgspec.inspect.CollectionType) else []


def _parted(kind: Any) -> list[Any]:
    if isinstance(kind, msgspec.inspect.Metadata):
        return _parted(kind.type)
    return (
        [part for one in kind.types for part in _parted(one)] if isinstance(kind, msgspec.inspect.UnionType) else [kind]
    )
