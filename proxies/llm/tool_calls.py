"""The tool calls that the messages of LLM APIs hold, whole and in streams, for the conditions of policies.

The shapes are told apart by their members, so one reader serves requests, answers and every API: `tool_calls` and
`function_call` (Chat Completions), blocks and items with a type that names a call (Messages, Responses), `functionCall`
(Gemini), `toolUse` (Converse). Ollama's calls are those of Chat Completions, whole in one line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from proxies.strict_json import JSONRefused, parse
from rules.facts import ToolCall

MAX_OPEN_CALLS: Final = 256
"""Tool calls of one stream that may be open at once."""
MAX_ARGUMENTS_CHARACTERS: Final = 1024 * 1024
"""Bound of the arguments that are collected; a longer call cannot be judged."""

_CALL_TYPES: Final = frozenset(
    {"tool_use", "server_tool_use", "mcp_tool_use", "function_call", "custom_tool_call", "mcp_call"}
)
_CALL_ENDING: Final = "_call"
_ITEM_MEMBERS: Final = frozenset({"type", "id", "call_id", "status"})


class CallsNotReadable(Exception):
    """A stream opens more tool calls, or longer ones, than can be judged."""


def calls_in(value: Any, path: str) -> Iterator[ToolCall]:
    """The tool calls of one message, item, choice or candidate."""
    if type(value) is list:
        for index, item in enumerate(value):
            yield from calls_in(item, f"{path}/{index}")
        return
    if type(value) is not dict:
        return
    if type(kind := value.get("type")) is str and (kind in _CALL_TYPES or kind.endswith(_CALL_ENDING)):
        # What else the value holds is looked at all the same: clients that read `tool_calls` do not ask for a type.
        yield from _call(value, path) if kind in _CALL_TYPES else _nameless(kind, value, path)
    if type(calls := value.get("tool_calls")) is list:
        for index, call in enumerate(calls):
            yield from _chat_call(call, f"{path}/tool_calls/{index}")
    for key in ("function_call", "functionCall", "toolUse"):
        yield from _call(value.get(key), f"{path}/{key}")
    for key in ("content", "parts", "message"):
        yield from calls_in(value.get(key), f"{path}/{key}")


def _chat_call(call: Any, path: str) -> Iterator[ToolCall]:
    if type(call) is dict:
        for kind in ("function", "custom"):
            yield from _call(call.get(kind), f"{path}/{kind}")


def _call(call: Any, path: str) -> Iterator[ToolCall]:
    """A name beside its arguments, which are called `arguments`, `input` or `args`, and may be JSON in a string."""
    if type(call) is not dict or type(name := call.get("name")) is not str:
        return
    for key in ("arguments", "input", "args"):
        if key in call:
            yield from (ToolCall(name, read, path) for read in readings(call[key]))
            return
    yield ToolCall(name, None, path)


def _nameless(kind: str, item: dict[str, Any], path: str) -> Iterator[ToolCall]:
    """A tool of the API itself, called by the word before `_call`: `local_shell_call`, `web_search_call`."""
    arguments = next((item[key] for key in ("action", "operation") if type(item.get(key)) is dict), None)
    if arguments is None:
        arguments = {key: value for key, value in item.items() if key not in _ITEM_MEMBERS}
    yield ToolCall(kind.removesuffix(_CALL_ENDING), arguments, path)


def readings(arguments: Any) -> tuple[Any, ...]:
    """What clients may read in arguments; a string that is not JSON stays a string.

    A client is not strict: it takes the first or the last of a key that repeats, numbers without end, line ends in strings, and
    has members that are called like one of the API in another case. What any of them reads is judged.
    """
    if type(arguments) is not str:
        return (arguments,)
    try:
        return (parse(arguments.encode("utf-8")),)
    except (JSONRefused, UnicodeEncodeError):
        pass
    text = arguments.removeprefix("\ufeff")
    try:
        last = json.loads(text, strict=False)
        first = json.loads(text, strict=False, object_pairs_hook=_first_of_each)
    except (ValueError, RecursionError):
        return (arguments,)
    return (last,) if first == last else (last, first)


def _first_of_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return dict(reversed(pairs))


def begins_another(call: dict[str, Any], id: str) -> bool:
    """Whether a piece of a call of Chat Completions is of another one than that with this id, whose index it has: some
    hosts give all calls the same, or none. Others give each piece an id, but a name to the first only."""
    if type(call.get("id")) is not str or call["id"] in ("", id):
        return False
    return any(type(body := call.get(kind)) is dict and body.get("name") for kind in ("function", "custom"))


def is_whole(call: dict[str, Any]) -> bool:
    """Whether a piece of a call of Chat Completions is all of it: it has no index by which another could be told to go on
    with it, and arguments that are JSON."""
    body = call.get("function")
    if call.get("index") is not None or type(body) is not dict or type(arguments := body.get("arguments")) is not str:
        return False
    try:
        json.loads(arguments)
    except (ValueError, RecursionError):
        return False
    return True


class OpenCalls:
    """The tool calls of a running stream: `named` as soon as the name is known, `complete` with their arguments."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[list[str], str, list[str]]] = {}
        """By place in the stream: the names that clients may read, the path, the pieces of the arguments."""
        self._ids: dict[str, str] = {}
        self._characters = 0
        self.named: list[ToolCall] = []
        self.complete: list[ToolCall] = []

    def take(self) -> tuple[list[ToolCall], list[ToolCall]]:
        """What became known since the last time: calls that began, and calls that are complete."""
        named, complete, self.named, self.complete = self.named, self.complete, [], []
        return named, complete

    def read(self, event: dict[str, Any]) -> None:
        """Take in one decoded event of any of the APIs; raises CallsNotReadable."""
        kind = event.get("type")
        if kind == "content_block_start":
            self._block(event)
        elif kind == "content_block_delta" and type(delta := event.get("delta")) is dict:
            self._add(f"block {event.get('index')}", delta.get("partial_json"))
        elif kind == "content_block_stop":
            self._end(f"block {event.get('index')}")
        elif kind == "response.output_item.added":
            self._named_only(event.get("item"), f"/output/{event.get('output_index')}")
        elif kind == "response.output_item.done":
            self.complete += calls_in(event.get("item"), f"/output/{event.get('output_index')}")
        elif type(response := event.get("response")) is dict:
            self.complete += calls_in(response.get("output"), "/output")
        elif type(choices := event.get("choices")) is list:
            for choice in choices:
                self._choice(choice)
        elif type(candidates := event.get("candidates")) is list:
            self.complete += calls_in(candidates, "/candidates")
        elif type(index := event.get("contentBlockIndex")) is int:
            self._converse_block(index, event)
        elif type(message := event.get("message")) is dict:
            self.complete += calls_in(message, "/message")

    def close(self) -> None:
        """The stream is over: what is still open is as complete as it gets."""
        for key in list(self._open):
            self._end(key)

    def _block(self, event: dict[str, Any]) -> None:
        index, block = event.get("index"), event.get("content_block")
        if type(block) is not dict or block.get("type") not in _CALL_TYPES:
            return
        if block.get("input"):
            self.complete += calls_in(block, f"/content/{index}")
        self._begin(f"block {index}", block.get("name"), f"/content/{index}")

    def _converse_block(self, index: int, event: dict[str, Any]) -> None:
        """Converse: a block begins with its name, goes on in deltas, and ends with an event that says nothing else."""
        start, delta, key = event.get("start"), event.get("delta"), f"converse {index}"
        if type(start) is dict:
            if type(call := start.get("toolUse")) is dict:
                self._begin(key, call.get("name"), f"/output/message/content/{index}/toolUse")
        elif type(delta) is dict:
            if type(call := delta.get("toolUse")) is dict:
                self._add(key, call.get("input"))
        else:
            self._end(key)

    def _named_only(self, item: Any, path: str) -> None:
        self.named += [ToolCall(call.name, None, call.path) for call in calls_in(item, path)]

    def _choice(self, choice: Any) -> None:
        """Chat Completions: a call begins with its name and goes on by its index until the choice finishes."""
        if type(choice) is not dict:
            return
        prefix, delta = f"choice {choice.get('index')} ", choice.get("delta")
        if type(delta) is dict:
            calls = delta.get("tool_calls")
            for call in calls if type(calls) is list else ():
                if type(call) is dict:
                    key = f"{prefix}call {call.get('index')}"
                    if key in self._ids and begins_another(call, self._ids[key]):
                        self._end(key)
                    for body in (call.get("function"), call.get("custom")):
                        self._chat_piece(key, body)
                    if is_whole(call):
                        self._end(key)
                    elif key in self._open and type(id := call.get("id")) is str and id:
                        self._ids[key] = id
            self._chat_piece(f"{prefix}function_call", delta.get("function_call"))
        if choice.get("finish_reason"):
            for key in [key for key in self._open if key.startswith(prefix)]:
                self._end(key)

    def _chat_piece(self, key: str, body: Any) -> None:
        if type(body) is not dict:
            return
        if type(name := body.get("name")) is str and name:
            if key in self._open:
                # Some clients join the pieces of a name, others take the last one: both are judged.
                names, path, _ = self._open[key]
                names[:] = [names[0] + name, name]
                self.named += [ToolCall(read, None, path) for read in names]
            else:
                self._begin(key, name, f"/{key.replace(' ', '/')}")
        self._add(key, body.get("arguments"))
        self._add(key, body.get("input"))

    def _begin(self, key: str, name: Any, path: str) -> None:
        if type(name) is not str:
            return
        if len(self._open) >= MAX_OPEN_CALLS:
            raise CallsNotReadable("more tool calls at once than can be judged")
        self._open[key] = ([name], path, [])
        self.named.append(ToolCall(name, None, path))

    def _add(self, key: str, piece: Any) -> None:
        if type(piece) is str and key in self._open:
            self._characters += len(piece)
            if self._characters > MAX_ARGUMENTS_CHARACTERS:
                raise CallsNotReadable("longer tool arguments than can be judged")
            self._open[key][2].append(piece)

    def _end(self, key: str) -> None:
        self._ids.pop(key, None)
        if (call := self._open.pop(key, None)) is not None:
            names, path, pieces = call
            text = "".join(pieces)
            self._characters -= len(text)
            values = readings(text) if text else ({},)
            self.complete += [ToolCall(name, read, path) for name in names for read in values]
