"""What conditions ask about a call, put together from its captured texts, the facts beside them and its row in the log. Pure.

A capture holds strings by their place: the roles of the messages and the string arguments of tools follow from the
places; counts, headers, the names of the tools and what of their arguments is no string are recorded beside them. What is
missing, because it found no room, could have been a secret or came before it was recorded, is named as unknown.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final

from app.traffic.captured import CapturedCall
from proxies.contract import CapturedText, RecordedTool
from proxies.reading import HOUSEKEEPING
from rules.facts import (
    ARGUMENTS,
    HEADER_PREFIX,
    MESSAGE_COUNT,
    ROLE_COUNT,
    TEXTS,
    TOKEN_ESTIMATE,
    TOOLS,
    Counted,
    Facts,
    Message,
    ToolCall,
)
from rules.model import Target, Text

_ROLES: Final = {
    Target.SYSTEM_PROMPT: "system",
    Target.COMPLETION: "assistant",
    Target.TOOL_NAME: "assistant",
    Target.TOOL_ARGS: "assistant",
    Target.TOOL_RESULT: "tool",
}
_MESSAGE_LISTS: Final = ("messages", "input", "contents", "prompt")
_SET_UPS: Final = ("system", "instructions", "systemInstruction", "system_instruction")
_CALL_PLACES: Final = frozenset(
    {*_MESSAGE_LISTS, "choices", "output", "content", "candidates", "content_block", "item", "message"}
)
"""Where calls of tools stand in requests, answers and events; tools that are only offered stand elsewhere."""
_ARGUMENTS: Final = ("arguments", "input", "args", "action", "operation")
_MASK: Final = re.compile(r"…\(\d+\)")
"""What is left of a value that was masked."""
_RESPONSES: Final = ("/functionResponse", "/function_response")


def facts_of(
    call: CapturedCall, captured: Sequence[CapturedText], direction: str, kind: str, asked: Collection[str] = ()
) -> Facts:
    """What a record tells about a call, as far as it does; `asked` are the headers of which somebody wants to know."""
    texts = [Text(text.target, text.path, text.text) for text in captured]
    is_mcp, recorded = kind == "mcp", call.facts
    method = call.operation.partition(" ")[0] if is_mcp else ""
    calls, missing = _tools(
        call, texts, direction, is_called=not is_mcp or (method == "tools/call" and direction == "request")
    )
    said = [text for text in call.texts if text.direction == "request"]
    if any(_MASK.search(text.text) for text in said):
        missing.add(TEXTS)
    if any(text.target is Target.TOOL_ARGS and _MASK.search(text.text) for text in texts):
        missing.add(ARGUMENTS)
    if is_cut := bool(call.omitted) or any(text.truncated for text in call.texts):
        missing |= {ARGUMENTS, TEXTS}
    if recorded is None:
        missing |= {MESSAGE_COUNT, ROLE_COUNT, TOKEN_ESTIMATE, ARGUMENTS, *([TOOLS] if is_cut else [])}
    elif not recorded.has_all_roles:
        missing.add(ROLE_COUNT)
    known_headers = recorded.header_names if recorded is not None else ()
    missing |= {HEADER_PREFIX + name for name in asked if name not in known_headers}
    return Facts(
        phase="response" if direction == "response" else "request",
        kind="mcp" if is_mcp else "llm",
        acts=not is_mcp or method not in HOUSEKEEPING,
        model="" if is_mcp else call.operation,
        method=method,
        messages=() if is_mcp else tuple(_messages([Text(text.target, text.path, text.text) for text in said])),
        tool_calls=calls,
        texts=[Text(text.target, text.path, text.text) for text in said],
        client_id=call.principal_id,
        client_name=call.principal_name,
        ip=call.client_ip,
        headers=recorded.headers if recorded is not None else {},
        now=call.started_at,
        counted=Counted(recorded.message_count, recorded.role_counts, recorded.token_estimate) if recorded else None,
        unknown=frozenset(missing),
    )


def _tools(
    call: CapturedCall, texts: Sequence[Text], direction: str, *, is_called: bool
) -> tuple[tuple[ToolCall, ...], set[str]]:
    """The tools that were called in one direction, and what is not known of them."""
    if not is_called:
        return (), set()
    recorded = call.facts
    if recorded is not None and (direction == "request" or any(tool.direction == direction for tool in recorded.tools)):
        tools = [tool for tool in recorded.tools if tool.direction == direction]
        missing = set() if recorded.has_all_tools else {TOOLS, ARGUMENTS}
        if any(not tool.is_whole for tool in tools):
            missing.add(ARGUMENTS)
        return tuple(ToolCall(tool.name, _arguments(tool, texts), tool.path) for tool in tools), missing
    if call.protocol.startswith("mcp"):
        name = next((text.text for text in texts if text.path == "/params/name"), call.operation.partition(" ")[2])
        return (ToolCall(name, _below("/params/arguments/", texts), "/params"),), {ARGUMENTS}
    found = list(_tool_calls(texts))
    return tuple(tool for tool, _ in found), {ARGUMENTS} if any(not is_whole for _, is_whole in found) else set()


def _arguments(tool: RecordedTool, texts: Sequence[Text]) -> Any:
    """The arguments of a recorded call, put together from its texts and its other values."""
    values = dict(tool.values)
    if "" in values:
        return values[""]
    for word in _ARGUMENTS:
        place = f"{tool.path}/{word}"
        whole = next((text.text for text in texts if text.path == place and text.target is Target.TOOL_ARGS), None)
        if whole is not None:
            return whole
        if below := _texts_below(f"{place}/", texts):
            return _nested(chain(values.items(), below))
    return _nested(values.items()) if values else {}


def _messages(texts: Sequence[Text]) -> Iterator[Message]:
    """The messages that the texts lie in, with the roles that follow from what kinds of text they hold."""
    kinds: dict[str, dict[str, list[str]]] = {}
    """By message each role with the places of its parts."""
    for text in texts:
        parts = text.path.split("/")
        if parts[1:2] and parts[1] in _SET_UPS:
            kinds.setdefault(f"/{parts[1]}", {"system": []})
        elif len(parts) > 2 and parts[1] in _MESSAGE_LISTS and parts[2].isdecimal():
            places = kinds.setdefault(f"/{parts[1]}/{parts[2]}", {}).setdefault(_ROLES.get(text.target, "user"), [])
            if (part := "/".join(parts[:5])) not in places:
                places.append(part)
    for path, roles in kinds.items():
        others = next((role for role in roles if role != "tool"), None)
        if others is not None:
            yield Message(others, path, counts=path.count("/") > 1)
        results = [place for place in roles.get("tool", ()) if place.rpartition("/")[2].isdecimal()]
        if others is None:
            yield Message("tool", path)
            results = results[1:]
        yield from (Message("tool", place, counts=False) for place in results)


def _tool_calls(texts: Sequence[Text]) -> Iterator[tuple[ToolCall, bool]]:
    """The tools that were called, in a history or by an answer, and whether all of their arguments are known.

    A stream says its calls one after the other in the same place. Arguments that are not JSON for whoever reads them are one
    text each, the first of them that of the first name; of all others a stream leaves only the strings, keys among them.
    """
    whole: dict[str, list[str]] = {}
    names: Counter[str] = Counter()
    for text in texts:
        base, _, member = text.path.rpartition("/")
        if text.target is Target.TOOL_ARGS and member in (*_ARGUMENTS, "partial_json"):
            whole.setdefault("/content_block" if member == "partial_json" else base, []).append(text.text)
        names[base] += text.target is Target.TOOL_NAME and member == "name"
    objects = {
        base: iter(made)
        for base, said in whole.items()
        if None not in (made := [_object(text) for text in said]) and len(made) == names[base]
    }
    for text in texts:
        base, _, member = text.path.rpartition("/")
        if text.target is not Target.TOOL_NAME or member != "name" or base.endswith(_RESPONSES):
            continue
        if base.split("/")[1:2] and base.split("/")[1] in _CALL_PLACES:
            below = next((found for word in _ARGUMENTS if (found := _below(f"{base}/{word}/", texts))), None)
            is_whole = below is None and base in objects
            yield ToolCall(text.text, next(objects[base]) if is_whole else below, base), is_whole


def _object(text: str) -> Any:
    """The JSON object in a text; None for anything else."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _below(prefix: str, texts: Sequence[Text]) -> Any:
    """The strings below a place, put together again; empty where there are none."""
    return _nested(_texts_below(prefix, texts))


def _texts_below(prefix: str, texts: Sequence[Text]) -> list[tuple[str, str]]:
    """The strings below a place, each with its pointer from there. Keys that are read as texts are none of the values."""
    return [
        (text.path[len(prefix) - 1 :], text.text)
        for text in texts
        if text.path.startswith(prefix) and not text.path.endswith("#")
    ]


def _nested(values: Iterable[tuple[str, Any]]) -> Any:
    """Values by their pointers as one value."""
    arguments: dict[str, Any] = {}
    for pointer, value in values:
        *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
        inner: Any = arguments
        for part in parents:
            inner = inner.setdefault(part, {})
            if not isinstance(inner, dict):
                break
        else:
            inner[last] = value
    return _with_lists(arguments)


def _with_lists(value: Any) -> Any:
    """Objects whose members are numbered from zero are lists."""
    if not isinstance(value, dict):
        return value
    made: Mapping[str, Any] = {name: _with_lists(member) for name, member in value.items()}
    if made and set(made) == {str(index) for index in range(len(made))}:
        return [made[str(index)] for index in range(len(made))]
    return made
