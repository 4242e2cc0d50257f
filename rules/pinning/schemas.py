"""What changed between two JSON Schemas of parameters, as rows of the classification.

Both have been expanded. Anything that no row knows is `schema_changed`: nothing passes because it was not thought of.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from rules.pinning.canonical import canonical_json
from rules.pinning.classification import Reason
from rules.pinning.references import DATA, NAME_MAPS
from rules.pinning.texts import text_reasons
from rules.pinning.visible import visible

MAX_REASONS: Final = 500
MAX_DETAIL_CHARS: Final = 200

FREE_NAMES: Final = re.compile(
    r"(?:^|[_\-\s])(?:command|cmd|shell|script|code|url|uri|link|endpoint|host|path|file|filename|dir|directory|"
    r"query|sql|callback|webhook|redirect|template|expression|prompt)s?(?:$|[_\-\s\d])",
    re.IGNORECASE,
)
"""Names of parameters whose free text reaches an interpreter, a file system or a network."""
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_ADDRESS: Final = re.compile(r"^(?:[a-z][a-z0-9+.-]{1,15}://|//|~?/|\.{1,2}/|[A-Za-z]:[\\/]|\\\\|file:|data:)|/\.\w+")

_TEXTS: Final = frozenset({"description", "$comment"})
_NOTES: Final = frozenset({"examples", "example", "deprecated"})
_LOOSENED_BY_MORE: Final = frozenset({"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"})
_LOOSENED_BY_LESS: Final = frozenset({"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"})
_LIMITS: Final = frozenset({"pattern", "format", "multipleOf", "uniqueItems", "not", "propertyNames", "contains"})
_ALTERNATIVES: Final = frozenset({"anyOf", "oneOf"})


def schema_reasons(before: Any, after: Any, pointer: str) -> list[Reason]:
    """The rows that apply between two expanded schemas; `pointer` is that of the schema. At most `MAX_REASONS`."""
    reasons: list[Reason] = []
    known = set(_dangers(before, ""))
    for code, where, detail in _dangers(after, ""):
        if (code, where, detail) not in known:
            reasons.append(Reason(code, pointer + where, detail))
    _compare(before, after, pointer, reasons)
    return reasons[:MAX_REASONS]


def dangers(schema: Any, pointer: str) -> list[Reason]:
    """The critical parts of one schema by itself: header arguments, addresses as values, references that lead out."""
    return [Reason(code, pointer + where, detail) for code, where, detail in _dangers(schema, "")][:MAX_REASONS]


def is_free_text(name: str, schema: Any) -> bool:
    """Whether a parameter takes any text and its name says that the text reaches something dangerous."""
    if not FREE_NAMES.search(_CAMEL.sub("_", name)):
        return False
    if type(schema) is not dict:
        return schema is True
    return "string" in _types(schema) and not schema.keys() & {"enum", "const", "pattern"}


def _dangers(value: Any, pointer: str, *, names: bool = False) -> Iterator[tuple[str, str, str]]:
    if type(value) is list:
        for index, member in enumerate(value):
            yield from _dangers(member, f"{pointer}/{index}")
    if type(value) is not dict:
        return
    for key, member in value.items():
        below = f"{pointer}/{escaped(key)}"
        if names:
            yield from _dangers(member, below)
        elif key == "x-mcp-header":
            yield "header_argument_added", below, visible(str(member), MAX_DETAIL_CHARS)
        elif key == "$ref" and type(member) is str:
            if not member.startswith("#"):
                yield "remote_reference_added", below, visible(member, MAX_DETAIL_CHARS)
        elif key in DATA:
            if key not in _NOTES:
                for text in _strings(member):
                    if _ADDRESS.search(text):
                        yield "address_added", below, visible(text, MAX_DETAIL_CHARS)
        else:
            yield from _dangers(member, below, names=key in NAME_MAPS)


def _compare(before: Any, after: Any, pointer: str, reasons: list[Reason]) -> None:
    if _same(before, after):
        return
    start = len(reasons)
    if type(before) is not dict or type(after) is not dict:
        widened = after is True or after == {}
        reasons.append(Reason("type_widened" if widened else "schema_changed", pointer))
        return
    if not _types(after) <= _types(before):
        reasons.append(Reason("type_widened", f"{pointer}/type", ", ".join(sorted(_types(after) - _types(before)))))
    _compare_properties(before, after, pointer, reasons)
    for key in sorted(before.keys() | after.keys()):
        if key not in ("properties", "required", "type") and not _same(before.get(key), after.get(key)):
            _compare_keyword(key, before, after, f"{pointer}/{escaped(key)}", reasons)
    if len(reasons) == start:
        reasons.append(Reason("schema_changed", pointer))


def _compare_properties(before: dict[str, Any], after: dict[str, Any], pointer: str, reasons: list[Reason]) -> None:
    left, right = _object(before, "properties"), _object(after, "properties")
    needed, needed_before = _required(after), _required(before)
    for name in sorted(needed - needed_before):
        reasons.append(Reason("required_parameter_added", f"{pointer}/properties/{escaped(name)}", visible(name, 200)))
    for name, schema in right.items():
        where = f"{pointer}/properties/{escaped(name)}"
        if name in left:
            _compare(left[name], schema, where, reasons)
            continue
        if is_free_text(name, schema):
            reasons.append(Reason("free_parameter_added", where, visible(name, 200)))
        if name not in needed:
            reasons.append(Reason("optional_parameter_added", where, visible(name, 200)))
    for name in left:
        if name not in right:
            reasons.append(Reason("parameter_removed", f"{pointer}/properties/{escaped(name)}", visible(name, 200)))
    if needed_before - needed:
        reasons.append(Reason("schema_changed", f"{pointer}/required"))


def _compare_keyword(key: str, left: dict[str, Any], right: dict[str, Any], where: str, reasons: list[Reason]) -> None:
    before, after = left.get(key), right.get(key)
    if key in _TEXTS:
        reasons += text_reasons(_text(before), _text(after), where)
    elif key == "title":
        reasons.append(Reason("title_changed", where))
    elif key in _NOTES:
        reasons.append(Reason("examples_changed", where))
    elif key in ("additionalProperties", "unevaluatedProperties"):
        _compare_additional(left.get(key, True), right.get(key, True), where, reasons)
    elif _is_loosened(key, left, right):
        reasons.append(Reason("constraint_loosened", where))
    elif key in _ALTERNATIVES and type(before) is list and type(after) is list:
        if len(after) > len(before):
            reasons.append(Reason("type_widened", where))
        _compare_lists(before, after, where, reasons)
    elif (key in _ALTERNATIVES and after is None) or (type(before) is dict and (after is True or after == {})):
        reasons.append(Reason("type_widened", where))
    elif type(before) is list and type(after) is list and key not in DATA:
        _compare_lists(before, after, where, reasons)
    elif key in NAME_MAPS and type(before) is dict and type(after) is dict:
        for name in sorted(before.keys() | after.keys()):
            _compare(before.get(name, {}), after.get(name, {}), f"{where}/{escaped(name)}", reasons)
    elif type(before) is dict and type(after) is dict and key not in DATA:
        _compare(before, after, where, reasons)
    else:
        reasons.append(Reason("schema_changed", where))


def _compare_additional(before: Any, after: Any, where: str, reasons: list[Reason]) -> None:
    if _same(before, after):
        return
    if (before is not True and before != {} and (after is True or after == {})) or before is False:
        reasons.append(Reason("additional_properties_widened", where))
    else:
        _compare(before, after, where, reasons)


def _compare_lists(before: list[Any], after: list[Any], where: str, reasons: list[Reason]) -> None:
    for index, (one, other) in enumerate(zip(before, after, strict=False)):
        _compare(one, other, f"{where}/{index}", reasons)
    if len(before) != len(after):
        reasons.append(Reason("schema_changed", where))


def _is_loosened(key: str, left: dict[str, Any], right: dict[str, Any]) -> bool:
    before, after = left.get(key), right.get(key)
    if key not in left:
        return False
    if key in ("enum", "const"):
        return key not in right or (key == "enum" and any(not _holds(before, one) for one in _list(after)))
    if key in _LIMITS:
        return key not in right or key in ("pattern", "format")
    if key in _LOOSENED_BY_MORE or key in _LOOSENED_BY_LESS:
        if not isinstance(after, (int, float)) or not isinstance(before, (int, float)):
            return True
        return after > before if key in _LOOSENED_BY_MORE else after < before
    return key == "items" and key not in right


def _types(schema: Any) -> set[str]:
    """The types that a schema allows. Every type where it names none, and integers are numbers."""
    named = schema.get("type") if type(schema) is dict else None
    types = {named} if type(named) is str else {one for one in _list(named) if type(one) is str}
    types = types or {"string", "number", "boolean", "object", "array", "null"}
    return types | {"integer"} if "number" in types else types


def _required(schema: dict[str, Any]) -> set[str]:
    return {name for name in _list(schema.get("required")) if type(name) is str}


def _object(schema: dict[str, Any], key: str) -> dict[str, Any]:
    value = schema.get(key)
    return value if type(value) is dict else {}


def _list(value: Any) -> list[Any]:
    return value if type(value) is list else []


def _text(value: Any) -> str:
    return value if type(value) is str else ""


def _same(one: Any, other: Any) -> bool:
    """Equality of JSON values, which tells true from 1 at any depth."""
    if one != other:
        return False
    return type(one) is type(other) and (
        not isinstance(one, (dict, list)) or canonical_json(one) == canonical_json(other)
    )


def _holds(values: Any, value: Any) -> bool:
    return any(_same(one, value) for one in _list(values))


def _strings(value: Any) -> Iterator[str]:
    """The strings of a value that is data."""
    if type(value) is str:
        yield value
    elif type(value) in (list, dict):
        for member in value if type(value) is list else value.values():
            yield from _strings(member)


def escaped(key: str) -> str:
    """A key as one part of a JSON pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")
