"""Tools in LLM APIs: definitions, calls and their arguments. One shape for requests, answers and streams."""

from __future__ import annotations

from typing import Any, Final

from proxies.json_texts import leaves, number_leaves, pointer, schema_leaves
from proxies.strict_json import JSONRefused, parse
from rules.model import Target, Text

_SCHEMA_KEYS: Final = frozenset({"parameters", "input_schema", "format", "schema"})


def tool_texts(tool: Any, path: str, texts: list[Text]) -> None:
    """A tool definition: name, description, schema; hosted tools carry URLs and headers that are read as schema."""
    if type(tool) is not dict:
        leaves(tool, Target.TOOL_DESCRIPTION, path, texts)
        return
    for key, value in tool.items():
        below = pointer(path, key)
        if key in ("function", "custom") and type(value) is dict:
            tool_texts(value, below, texts)
        elif key == "name":
            leaves(value, Target.TOOL_NAME, below, texts)
        elif key == "description":
            leaves(value, Target.TOOL_DESCRIPTION, below, texts)
        elif key in _SCHEMA_KEYS:
            schema_leaves(value, below, texts)
        elif key not in ("type", "cache_control"):
            leaves(value, Target.SCHEMA, below, texts)


def tool_call_texts(call: Any, path: str, texts: list[Text], *, has_numbers: bool = False) -> None:
    """An assistant's tool call, in the history or in an answer: a name, and arguments as a JSON string or free text."""
    if type(call) is not dict:
        leaves(call, Target.TOOL_ARGS, path, texts)
        return
    for key, value in call.items():
        below = pointer(path, key)
        if key in ("function", "custom"):
            tool_call_texts(value, below, texts, has_numbers=has_numbers)
        elif key == "arguments":
            argument_texts(value, below, texts, has_numbers=has_numbers)
        elif key == "name":
            leaves(value, Target.TOOL_NAME, below, texts)
        elif key not in ("id", "type"):
            leaves(value, Target.TOOL_ARGS, below, texts)


def argument_texts(arguments: Any, path: str, texts: list[Text], *, has_numbers: bool = False) -> None:
    """Tool arguments: the leaves of the JSON inside the string, or the string itself where it is not JSON.

    With `has_numbers` long numbers inside the string as well, where the message can still be changed.
    """
    is_string = type(arguments) is str
    if is_string:
        try:
            arguments = parse(arguments.encode("utf-8"))
        except (JSONRefused, UnicodeEncodeError):
            texts.append(Text(Target.TOOL_ARGS, path, arguments))
            return
    leaves(arguments, Target.TOOL_ARGS, path, texts)
    if has_numbers and is_string:
        number_leaves(arguments, Target.TOOL_ARGS, path, texts)
