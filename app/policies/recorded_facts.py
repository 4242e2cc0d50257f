"""What conditions ask about a call, put together from its captured texts and its row in the log. Pure.

A capture holds strings by their place: the tools that were called, their string arguments and the roles of the messages
follow from the places. Numbers and headers are not recorded, so conditions on them do not hold.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from app.traffic.captured import CapturedCall
from proxies.contract import CapturedText
from proxies.reading import HOUSEKEEPING
from rules.facts import Facts, Message, ToolCall
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
_ARGUMENTS: Final = ("arguments", "input", "args")
_RESPONSES: Final = ("/functionResponse", "/function_response")


def facts_of(call: CapturedCall, captured: Sequence[CapturedText], direction: str, kind: str) -> Facts:
    """What a record tells about a call, as far as it does."""
    texts = [Text(text.target, text.path, text.text) for text in captured]
    is_mcp = kind == "mcp"
    method, _, tool = call.operation.partition(" ")
    if not is_mcp:
        method = tool = ""
    calls: tuple[ToolCall, ...] = () if is_mcp else tuple(_tool_calls(texts))
    if is_mcp and method == "tools/call" and direction == "request":
        name = next((text.text for text in texts if text.path == "/params/name"), tool)
        calls = (ToolCall(name, _below("/params/arguments/", texts), "/params"),)
    return Facts(
        phase="response" if direction == "response" else "request",
        kind="mcp" if is_mcp else "llm",
        acts=not is_mcp or method not in HOUSEKEEPING,
        model="" if is_mcp else call.operation,
        method=method,
        messages=() if is_mcp else tuple(_messages(texts)),
        tool_calls=calls,
        texts=texts,
        client_id=call.principal_id,
        client_name=call.principal_name,
        ip=call.client_ip,
        now=call.started_at,
    )


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


def _tool_calls(texts: Sequence[Text]) -> Iterator[ToolCall]:
    """The tools that were called, in a history or by an answer. A stream says its calls one after the other in the same
    place, arguments as one text: the first name belongs to the first text."""
    whole: dict[str, list[str]] = {}
    for text in texts:
        base, _, member = text.path.rpartition("/")
        if text.target is Target.TOOL_ARGS and member in (*_ARGUMENTS, "partial_json"):
            whole.setdefault("/content_block" if member == "partial_json" else base, []).append(text.text)
    for text in texts:
        base, _, member = text.path.rpartition("/")
        if text.target is not Target.TOOL_NAME or member != "name" or base.endswith(_RESPONSES):
            continue
        if base.split("/")[1:2] and base.split("/")[1] in _CALL_PLACES:
            below = next((found for word in _ARGUMENTS if (found := _below(f"{base}/{word}/", texts))), None)
            given = whole.get(base)
            yield ToolCall(text.text, _decoded(given.pop(0)) if below is None and given else below, base)


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _below(prefix: str, texts: Sequence[Text]) -> Any:
    """The strings below a place, put together again; empty where there are none."""
    arguments: dict[str, Any] = {}
    for text in texts:
        if not text.path.startswith(prefix):
            continue
        *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in text.path[len(prefix) :].split("/")]
        inner: Any = arguments
        for part in parents:
            inner = inner.setdefault(part, {})
            if not isinstance(inner, dict):
                break
        else:
            inner[last] = text.text
    return _with_lists(arguments)


def _with_lists(value: Any) -> Any:
    """Objects whose members are numbered from zero are lists."""
    if not isinstance(value, dict):
        return value
    made: Mapping[str, Any] = {name: _with_lists(member) for name, member in value.items()}
    if made and list(made) == [str(index) for index in range(len(made))]:
        return list(made.values())
    return made
