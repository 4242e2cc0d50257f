"""Bytes to plain values: strict JSON, or the harmless part of YAML."""

from __future__ import annotations

import re
from typing import Any

from rules.importers.report import ImportRefused
from rules.packs import parse_json

MAX_IMPORT_BYTES = 1024 * 1024
MAX_DEPTH = 32
_HALF = re.compile("[\ud800-\udfff]")


def read_document(data: bytes) -> dict[str, Any]:
    """The object in the bytes; raises `ImportRefused` for what is too large, too deep, or neither JSON nor YAML."""
    if len(data) > MAX_IMPORT_BYTES:
        raise ImportRefused(f"The file is larger than {MAX_IMPORT_BYTES // 1024} KiB.")
    text = data.lstrip(b"\xef\xbb\xbf \t\r\n")
    value = _json(text) if text[:1] in (b"{", b"[") else _yaml(text)
    if not isinstance(value, dict):
        raise ImportRefused("The file holds no object at its top.")
    _check_depth(value, 0)
    return value


def _json(data: bytes) -> Any:
    try:
        return parse_json(data)
    except ValueError as error:
        raise ImportRefused(f"The file is not valid JSON: {error}.") from error


def _yaml(data: bytes) -> Any:
    import yaml

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        """Without anchors, which can make a small file enormous, and without repeated keys, of which one would vanish."""

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.events.AliasEvent):
                raise ImportRefused("The file uses YAML aliases. Write the values out.")
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            made = super().construct_mapping(node, deep)
            if len(made) != len(node.value):
                keys = [key.value for key, _ in node.value]
                # One that is repeated in another spelling is told by the line of its mapping.
                again = (key for index, (key, _) in enumerate(node.value) if key.value in keys[:index])
                raise ImportRefused(f"Line {next(again, node).start_mark.line + 1} repeats a key, or merges with `<<`.")
            return made

    # The C loader's `timestamp` and `binary` make values that JSON does not have; here they stay text.
    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    try:
        return yaml.load(data.decode("utf-8"), Loader=Loader)  # noqa: S506 - a SafeLoader.
    except UnicodeDecodeError as error:
        raise ImportRefused("The file is not UTF-8 text.") from error
    except RecursionError as error:
        raise ImportRefused("The file is nested too deeply.") from error
    except (yaml.YAMLError, ValueError) as error:
        if isinstance(error, ImportRefused):
            raise
        place = getattr(error, "problem_mark", None)
        where = f" in line {place.line + 1}" if place is not None else ""
        problem = getattr(error, "problem", None)
        why = f": {problem[:120]}" if problem else ""
        raise ImportRefused(f"The file is neither JSON nor YAML{where}{why}.") from error


def _check_depth(value: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ImportRefused("The file is nested too deeply.")
    if isinstance(value, dict):
        for name, member in value.items():
            if not isinstance(name, str):
                raise ImportRefused(f"The key {name!r} is not text; put it in quotes.")
            _check_text(name)
            _check_depth(member, depth + 1)
    elif isinstance(value, list):
        for member in value:
            _check_depth(member, depth + 1)
    elif isinstance(value, str):
        _check_text(value)
    elif not isinstance(value, (int, float, bool, type(None))):
        raise ImportRefused(f"The file holds a value of the type {type(value).__name__}, which JSON does not know.")


def _check_text(text: str) -> None:
    """JSON can spell halves of characters, which can be neither stored nor shown."""
    if not text.isascii() and not text.isprintable() and _HALF.search(text):
        raise ImportRefused("The file holds half a character (a lone surrogate, \\ud800 to \\udfff).")
