"""`x-mcp-header` annotations of tool schemas and the `Mcp-Param-*` headers that they ask for (M-03..M-06).

The gateway learns the annotations from every `tools/list` that it relays (`control.catalogue`) and checks calls against
them. A tool that it has not seen listed is checked by the upstream alone; unknown `Mcp-Param-*` headers are always
forwarded (M-06).
"""

from __future__ import annotations

import re
from typing import Any, Final

from proxies.frozen import Frozen
from proxies.mcp.header_values import decode_value, encode_value
from proxies.transport.headers import Headers

PREFIX: Final = "mcp-param-"
KEYWORD: Final = "x-mcp-header"

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_DECIMAL: Final = re.compile(r"(-?\d{1,32})(?:\.0{1,32})?")
_PRIMITIVES: Final = ("string", "integer", "boolean")
_DATA_KEYWORDS: Final = frozenset({"const", "default", "enum", "examples"})
"""Keywords whose values are data, not schemas: an annotation look-alike in there means nothing."""
MAX_SAFE_INTEGER: Final = 2**53 - 1


class ParamHeader(Frozen, frozen=True):
    """One annotated property."""

    header: str
    """Lower-case header name."""
    path: tuple[str, ...]
    """Property names from the arguments object down."""
    type: str


class InvalidAnnotation(ValueError):
    """The schema's annotations are not valid; `str()` says why. The tool must not be offered (M-05)."""


def header_annotations(schema: Any) -> tuple[ParamHeader, ...]:
    """The annotated properties of an input schema; raises `InvalidAnnotation`."""
    found: list[ParamHeader] = []
    _collect(schema, (), static=True, found=found)
    names = [one.header for one in found]
    if len(set(names)) != len(names):
        raise InvalidAnnotation("two properties ask for the same header")
    return tuple(found)


def mismatch(wanted: tuple[ParamHeader, ...], arguments: Any, headers: Headers) -> str:
    """Why the headers of a call do not match its arguments, or an empty string."""
    for one in wanted:
        raw = headers.get(one.header)
        value = value_at(arguments, one.path)
        if value is None:
            if raw is not None:
                return f"The {one.header} header is present, but its argument is not."
        elif raw is None:
            return f"The {one.header} header is missing."
        elif not _matches(one.type, value, decode_value(raw)):
            return f"The {one.header} header does not match its argument."
    return ""


def mirrored(wanted: tuple[ParamHeader, ...], arguments: Any) -> list[tuple[str, str]]:
    """The fields that the arguments of a call imply (M-03)."""
    fields = []
    for one in wanted:
        value = value_at(arguments, one.path)
        if type(value) is bool:
            fields.append((one.header, "true" if value else "false"))
        elif value is not None:
            fields.append((one.header, encode_value(value if type(value) is str else str(value))))
    return fields


def _collect(schema: Any, path: tuple[str, ...], *, static: bool, found: list[ParamHeader]) -> None:
    """Walk every schema position. `static` is lost as soon as anything but `properties` leads to a position."""
    if type(schema) is list:
        for member in schema:
            _collect(member, path, static=False, found=found)
        return
    if type(schema) is not dict:
        return
    if KEYWORD in schema:
        found.append(_annotation(schema, path, static=static))
    for keyword, child in schema.items():
        if keyword == "properties" and type(child) is dict:
            for name, subschema in child.items():
                _collect(subschema, (*path, name), static=static, found=found)
        elif keyword not in _DATA_KEYWORDS and keyword != KEYWORD:
            _collect(child, path, static=False, found=found)


def _annotation(schema: dict[str, Any], path: tuple[str, ...], *, static: bool) -> ParamHeader:
    name = schema[KEYWORD]
    if not static or not path:
        raise InvalidAnnotation("an annotation is not on a plain property")
    if type(name) is not str or _TOKEN.fullmatch(name) is None:
        raise InvalidAnnotation("an annotation is not a header name")
    if schema.get("type") not in _PRIMITIVES:
        raise InvalidAnnotation("an annotation is not on a string, integer or boolean")
    return ParamHeader(header=PREFIX + name.lower(), path=path, type=schema["type"])


def value_at(arguments: Any, path: tuple[str, ...]) -> Any:
    """The value of an annotated property in the arguments of a call; None where there is none."""
    for name in path:
        if type(arguments) is not dict:
            return None
        arguments = arguments.get(name)
    return arguments


def _matches(declared_type: str, value: Any, text: str | None) -> bool:
    if text is None:
        return False
    if type(value) is bool:
        return text == ("true" if value else "false")
    if declared_type == "integer" and type(value) in (int, float) and value == int(value):
        # Integers compare as numbers (42.0 equals 42), other spellings such as +7 or 4e1 do not match.
        decimal = _DECIMAL.fullmatch(text)
        return decimal is not None and int(decimal[1]) == int(value) and abs(int(value)) <= MAX_SAFE_INTEGER
    if type(value) is str:
        return text == value
    return type(value) in (int, float) and text == str(value)
