"""What each event of an LLM stream says: sans-I/O interpreters, one a surface (requirements a2a-and-llm §3.1.2).

An interpreter takes one decoded event and returns a `Reading`: the text pieces to inspect, which texts end with it, and
whether the event is the stream's regular end. It remembers usage and what the error form needs. Events that repeat a text
already inspected piece by piece (`….done`, `response.completed`) are recognised by digest and not scanned twice; a text
that differs from its pieces is inspected as new.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple

from proxies.answer_texts import OWN_CALLS, Mode, Piece
from proxies.contract import Usage
from proxies.json_texts import leaves, pointer
from proxies.llm.chat_shapes import nested, numbered, reasoning_delta, text_part, tool_delta
from proxies.llm.response_texts import block_texts, output_item_texts
from proxies.llm.running_texts import Reading, RunningTexts, named
from proxies.llm.tool_calls import begins_another, is_whole
from proxies.llm.tool_texts import argument_texts
from proxies.llm.usage import anthropic_usage, openai_usage
from proxies.steps.mask import SIGNED_TYPES, is_of, is_signed_detail
from proxies.strict_json import dump
from proxies.transport.sse import SSEEvent
from rules.model import Target, Text

MAX_BLOCKS: Final = 10_000
"""Bound of the blocks whose kind is remembered; calls in later ones get no values back."""


_NOT_TEXT: Final = frozenset({"id", "object", "model", "system_fingerprint"})
"""What names a chat and its chunks."""


class ChatStream:
    """Chunks of Chat Completions: `choices[].delta`, tool calls by index, usage in a chunk without choices.

    Chunks of the older completions differ in that the text stands in the choice itself.
    """

    repeats: Final = False

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.response_id = ""
        self.sequence = 0
        self._running = RunningTexts()
        self._chunk: dict[str, Any] = {}
        self._calls: dict[str, tuple[str, int]] = {}
        """By choice and index: the id of the call, and how many had the same index before."""
        self._shapes: dict[str, tuple[int, Callable[[str], dict[str, Any]]]] = {}

    def read(self, event: str | None, body: dict[str, Any]) -> Reading:
        """Interpret one chunk."""
        for key in self._running.take_ended():
            self._shapes.pop(key, None)
        reading = Reading(pieces=[], texts=[], decoded=[], reread=[], ended=[])
        if type(body.get("usage")) is dict:
            self.usage = openai_usage(body["usage"])
        choices = body.get("choices")
        if type(choices) is list:
            self._chunk = body
            for position, choice in enumerate(choices):
                if type(choice) is dict:
                    self._choice(choice, position, reading)
            reading.is_usage_only = not choices and type(body.get("usage")) is dict
        for key, value in body.items():
            if key not in _NOT_TEXT and key not in ("choices", "usage", "obfuscation"):
                leaves(value, Target.COMPLETION, pointer("", key), reading.texts)
        return reading

    def delta(self, key: str, text: str) -> SSEEvent:
        """A chunk with more of one text, in the shape of the last one."""
        index, shape = self._shapes[key]
        # Nothing else of the last chunk: it may be the one that is being read, with texts that are still to be changed.
        chunk = {
            name: value
            for name, value in self._chunk.items()
            if name in _NOT_TEXT or (name == "created" and type(value) is int)
        }
        chunk["choices"] = [{"index": index, **shape(text), "finish_reason": None}]
        return SSEEvent(event=None, data=dump(chunk).decode())

    def _choice(self, choice: dict[str, Any], position: int, reading: Reading) -> None:
        index = number if type(number := choice.get("index")) is int else 0
        path = f"/choices/{position}"
        delta = choice.get("delta")
        if type(delta) is dict:
            for key, value in delta.items():
                below = pointer(f"{path}/delta", key)
                if key == "tool_calls" and type(value) is list:
                    for number, call in enumerate(value):
                        self._tool_call(index, call, f"{below}/{number}", choice, reading)
                elif key == "function_call":
                    self._function_call(index, value, below, choice, reading)
                elif type(value) is str and key != "role":
                    self._piece(_Place(f"{index}.{key}", below, delta, key, choice), Target.COMPLETION, reading)
                    self._shapes.setdefault(f"{index}.{key}", (index, partial(nested, ("delta", key))))
                elif key == "audio" and type(value) is dict:
                    self._audio(index, value, below, choice, reading)
                elif key == "content" and type(value) is list:
                    self._parts(index, value, below, choice, reading)
                elif key == "reasoning_details" and type(value) is list:
                    for number, detail in enumerate(value):
                        self._reasoning(index, detail, f"{below}/{number}", choice, reading)
                elif key != "role":
                    leaves(value, Target.COMPLETION, below, reading.texts)
        if type(choice.get("text")) is str:
            place = _Place(f"{index}.text", f"{path}/text", choice, "text", choice)
            self._piece(place, Target.COMPLETION, reading)
            self._shapes.setdefault(place.key, (index, partial(nested, ("text",))))
        for key, value in choice.items():
            if key not in _CHOICE or (key == "text" and type(value) is not str):
                leaves(value, Target.COMPLETION, pointer(path, key), reading.texts)
        if choice.get("finish_reason"):
            prefix = f"{index}."
            for key in self._running.open_keys():
                if key.startswith(prefix):
                    self._end(key, path, reading)

    def _audio(self, index: int, audio: dict[str, Any], path: str, choice: dict[str, Any], reading: Reading) -> None:
        if type(audio.get("transcript")) is str:
            key = f"{index}.audio"
            self._piece(_Place(key, f"{path}/transcript", audio, "transcript", choice), Target.COMPLETION, reading)
            self._shapes.setdefault(key, (index, partial(nested, ("delta", "audio", "transcript"))))

    def _parts(
        self, index: int, parts: list[Any], path: str, choice: dict[str, Any], reading: Reading, mode: Mode = "text"
    ) -> None:
        """Content as Mistral's models give it that think: parts of text, and parts of thoughts with texts in them."""
        for number, part in enumerate(parts):
            if type(part) is not dict:
                leaves(part, Target.COMPLETION, f"{path}/{number}", reading.texts)
                continue
            inner: Mode = "fixed" if is_of(part, SIGNED_TYPES) else mode
            for member, value in part.items():
                below = pointer(f"{path}/{number}", member)
                if member == "text" and type(value) is str:
                    key = f"{index}.content.{inner}"
                    self._piece(_Place(key, below, part, member, choice), Target.COMPLETION, reading, mode=inner)
                    self._shapes.setdefault(key, (index, text_part))
                elif type(value) is list:
                    self._parts(index, value, below, choice, reading, inner)
                else:
                    leaves(value, Target.COMPLETION, below, reading.texts)

    def _reasoning(self, index: int, detail: Any, path: str, choice: dict[str, Any], reading: Reading) -> None:
        """Reasoning as OpenRouter gives it, in pieces by index. What is signed is read and not changed (RED-STR-11)."""
        if type(detail) is not dict:
            leaves(detail, Target.COMPLETION, path, reading.texts)
            return
        named = {name: detail[name] for name in ("type", "format", "index") if name in detail}
        mode: Mode = "fixed" if is_signed_detail(detail) else "text"
        for member, value in detail.items():
            below = pointer(path, member)
            if member in _THOUGHTS and type(value) is str:
                key = f"{index}.reasoning_details.{detail.get('index')}.{member}"
                self._piece(_Place(key, below, detail, member, choice), Target.COMPLETION, reading, mode=mode)
                self._shapes.setdefault(key, (index, partial(reasoning_delta, named, member)))
            else:
                leaves(value, Target.COMPLETION, below, reading.texts)

    def _function_call(self, index: int, call: Any, path: str, choice: dict[str, Any], reading: Reading) -> None:
        """The form before tools: one call a message."""
        if type(call) is not dict:
            leaves(call, Target.TOOL_ARGS, path, reading.texts)
            return
        leaves(call.get("name"), Target.TOOL_NAME, f"{path}/name", reading.texts)
        if type(call.get("arguments")) is str:
            key = f"{index}.function_call"
            place = _Place(key, f"{path}/arguments", call, "arguments", choice)
            self._piece(place, Target.TOOL_ARGS, reading, mode="arguments")
            self._shapes.setdefault(key, (index, partial(nested, ("delta", "function_call", "arguments"))))

    def _tool_call(self, index: int, call: Any, path: str, choice: dict[str, Any], reading: Reading) -> None:
        if type(call) is not dict:
            leaves(call, Target.TOOL_ARGS, path, reading.texts)
            return
        key = self._call_key(index, call, path, reading)
        name = "id" if call.get("index") is None else "index"
        for kind, member, mode in _CALL_KINDS:
            body = call.get(kind)
            if type(body) is not dict:
                continue
            leaves(body.get("name"), Target.TOOL_NAME, f"{path}/{kind}/name", reading.texts)
            if type(body.get(member)) is str:
                place = _Place(key, f"{path}/{kind}/{member}", body, member, choice)
                self._piece(place, Target.TOOL_ARGS, reading, mode=mode)
                self._shapes.setdefault(key, (index, partial(tool_delta, {name: call.get(name)}, kind, member)))
        if is_whole(call):
            self._end(key, path, reading)

    def _call_key(self, index: int, call: dict[str, Any], path: str, reading: Reading) -> str:
        """The key of a call, by its index; where another one has the same, that one has ended."""
        place = f"{index}.tool.{call.get('index')}"
        id, number = self._calls.get(place, ("", 0))
        if id and begins_another(call, id):
            self._end(numbered(place, number), path, reading)
            number += 1
        if type(call.get("id")) is str and call["id"]:
            self._calls[place] = (call["id"], number)
        return numbered(place, number)

    def _end(self, key: str, path: str, reading: Reading) -> None:
        reading.ended.append(key)
        self._running.end(key, path, reading)

    def _piece(self, place: _Place, target: Target, reading: Reading, *, mode: Mode = "text") -> None:
        text = place.holder[place.member]
        if text:
            piece = Piece(place.key, target, place.path, text, place.holder, place.member, place.around, mode)
            self._running.add(piece)
            reading.pieces.append(piece)


_CHOICE: Final = frozenset({"index", "delta", "text", "finish_reason", "logprobs"})
"""Members of a choice that are read apart, or are no text."""
_THOUGHTS: Final = ("text", "summary")
_CALL_KINDS: Final[tuple[tuple[str, str, Mode], ...]] = (
    ("function", "arguments", "arguments"),
    ("custom", "input", "text"),
)


class _Place(NamedTuple):
    """Where a piece stands in its event."""

    key: str
    path: str
    holder: dict[str, Any]
    member: str
    around: dict[str, Any]


_PLACES: Final = ("output_index", "item_id", "content_index", "summary_index", "command_index")
_OUTPUTS: Final = ("stdout", "stderr")
_OUTPUT: Final = "_call_output"
"""In the name of an event about what a command wrote."""


class ResponsesStream:
    """Responses events: deltas keyed by item and part, and the full text again in every `done` event."""

    repeats: Final = True

    _COMPLETIONS: Final = frozenset({"refusal", "audio.transcript", "reasoning_summary_text"})
    _ENDS: Final = frozenset({"response.completed", "response.incomplete", "response.failed"})

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.response_id = ""
        self.sequence = 0
        self._running = RunningTexts()
        self._last: dict[str, dict[str, Any]] = {}

    def read(self, event: str | None, body: dict[str, Any]) -> Reading:
        """Interpret one event by its `type`."""
        self._forget()
        reading = Reading(pieces=[], texts=[], decoded=[], reread=[], ended=[])
        kind = str(body.get("type"))
        if type(body.get("sequence_number")) is int:
            self.sequence = body["sequence_number"] + 1
        if kind.endswith(".delta") and type(text := body.get("delta")) is str:
            self._delta(kind, body, text, reading)
        elif kind.endswith(".delta") and type(parts := body.get("delta")) is dict:
            self._output(kind, body, parts, reading)
        elif kind.endswith(".done") and kind not in ("response.content_part.done", "response.output_item.done"):
            self._done(kind, body, reading)
        elif "response" in body:
            self._whole(kind, body["response"], reading)
        else:
            self._other(body, reading)
        return reading

    def unsaid(self, texts: list[Text]) -> list[Text]:
        """Those of the texts of an event that were not said in pieces."""
        return self._running.unsaid(texts)

    def _forget(self) -> None:
        """What was needed for the rest of texts that have ended."""
        for key in self._running.take_ended():
            self._last.pop(key, None)

    def _key(self, kind: str, body: dict[str, Any]) -> str:
        parts = (body.get(name) for name in _PLACES)
        return kind.rpartition(".")[0] + ":" + ":".join(str(part) for part in parts)

    def delta(self, key: str, text: str) -> SSEEvent:
        """An event with more of one text, in the shape of the last one."""
        last = self._last[key]
        member = last.get("delta")
        body = {**last, "delta": {member: text} if type(member) is str else text}
        return SSEEvent(event=str(body["type"]), data=dump(body).decode())

    def _delta(self, kind: str, body: dict[str, Any], text: str, reading: Reading) -> None:
        if kind == "response.audio.delta":
            return
        name = kind.removeprefix("response.").removesuffix(".delta")
        is_said = name.endswith("text") or name in self._COMPLETIONS
        mode: Mode = "fixed" if name.startswith("reasoning") else "arguments" if name.endswith("arguments") else "text"
        piece = Piece(
            self._key(kind, body),
            Target.COMPLETION if is_said else Target.TOOL_ARGS,
            f"/{name}",
            text,
            body,
            "delta",
            body,
            mode,
            is_said or name in OWN_CALLS,
        )
        self._last[piece.key] = named(body)
        self._running.add(piece)
        reading.pieces.append(piece)

    def _output(self, kind: str, body: dict[str, Any], parts: dict[str, Any], reading: Reading) -> None:
        """What a command writes, by the stream to which it writes."""
        for member, value in parts.items():
            path = f"/delta/{member}"
            if member not in _OUTPUTS or type(value) is not str:
                leaves(value, Target.COMPLETION, pointer("/delta", member), reading.texts)
            elif value:
                key = f"{self._key(kind, body)}#{member}"
                piece = Piece(key, Target.COMPLETION, path, value, parts, member, parts)
                self._last[key] = {**named(body), "delta": member}
                self._running.add(piece)
                reading.pieces.append(piece)

    def _done(self, kind: str, body: dict[str, Any], reading: Reading) -> None:
        key = self._key(kind, body)
        outputs = [f"{key}#{member}" for member in _OUTPUTS]
        for ended in (key, *(output for output in outputs if output in self._last)):
            reading.ended.append(ended)
            self._running.end(ended, "/" + kind, reading)
        target = Target.TOOL_ARGS if "_call" in kind and _OUTPUT not in kind else Target.COMPLETION
        self._other(body, reading, target)

    def _whole(self, kind: str, response: Any, reading: Reading) -> None:
        """`response.created` and its like carry the response; the last one carries everything again, and the usage."""
        if type(response) is not dict:
            return
        if type(response.get("id")) is str:
            self.response_id = response["id"]
        texts: list[Text] = []
        output = response.get("output")
        if type(output) is list:
            for index, item in enumerate(output):
                output_item_texts(item, f"/response/output/{index}", texts)
        leaves(response.get("error"), Target.COMPLETION, "/response/error", texts)
        if kind in self._ENDS:
            reading.is_end = True
            self.usage = openai_usage(response.get("usage"))
            for key in self._running.open_keys():
                reading.ended.append(key)
                self._running.end(key, "/response", reading)
        reading.texts += self._running.unseen(texts)

    def _other(self, body: dict[str, Any], reading: Reading, target: Target = Target.COMPLETION) -> None:
        texts: list[Text] = []
        for key, value in body.items():
            if key in ("type", "item_id", "obfuscation", "logprobs", "partial_image_b64"):
                continue
            if key == "item":
                output_item_texts(value, "/item", texts)
            elif key == "arguments":
                argument_texts(value, "/arguments", texts)
            else:
                leaves(value, target, pointer("", key), texts)
        reading.texts += self._running.unseen(texts)


class AnthropicStream:
    """Messages events: blocks by index, deltas by type, cumulative usage in `message_delta`."""

    repeats: Final = False

    _MODES: Final[dict[str, Mode]] = {"partial_json": "arguments", "thinking": "fixed"}

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.response_id = ""
        self.sequence = 0
        self._reported: dict[str, Any] = {}
        self._running = RunningTexts()
        self._blocks: dict[Any, str] = {}
        self._last: dict[str, dict[str, Any]] = {}

    def read(self, event: str | None, body: dict[str, Any]) -> Reading:
        """Interpret one event by its `type`."""
        for key in self._running.take_ended():
            self._last.pop(key, None)
        reading = Reading(pieces=[], texts=[], decoded=[], reread=[], ended=[])
        kind = body.get("type")
        index = number if type(number := body.get("index")) is int else None
        if kind == "content_block_delta":
            self._delta(index, body, reading)
        elif kind == "content_block_start":
            self._start(index, body.get("content_block"), reading)
        elif kind == "content_block_stop":
            prefix = f"{index}."
            for key in self._running.open_keys():
                if key.startswith(prefix):
                    reading.ended.append(key)
                    self._running.end(key, f"/content/{index}", reading)
        elif kind == "message_start":
            self._message_start(body.get("message"), reading)
        elif kind == "message_delta":
            self._note_usage(body.get("usage"))
            self._rest(body, reading)
        elif kind == "message_stop":
            reading.is_end = True
            self._rest(body, reading)
        elif kind != "ping":
            leaves(body, Target.COMPLETION, "", reading.texts)
        return reading

    def delta(self, key: str, text: str) -> SSEEvent:
        """An event with more of one text, in the shape of the last one."""
        body = self._last[key]
        member = key.partition(".")[2]
        body = {**body, "delta": {"type": body["delta"].get("type"), member: text}}
        return SSEEvent(event="content_block_delta", data=dump(body).decode())

    def _rest(self, body: dict[str, Any], reading: Reading) -> None:
        """What an event at the end says besides its kind and usage: the caller's own stop sequence, for one."""
        for key, value in body.items():
            if key == "delta" and type(value) is dict:
                value = {name: text for name, text in value.items() if name != "stop_reason"}
            if key not in ("type", "usage"):
                leaves(value, Target.COMPLETION, pointer("", key), reading.texts)

    def _start(self, index: Any, block: Any, reading: Reading) -> None:
        if type(block) is dict and block.get("type") == "text" and type(text := block.get("text")) is str and text:
            # What the deltas go on with, so it is read together with them.
            key = f"{index}.text"
            delta = {"type": "text_delta", "text": text}
            self._last[key] = {"type": "content_block_delta", "index": index, "delta": delta}
            piece = Piece(key, Target.COMPLETION, f"/content/{index}/text", text, block, "text", block)
            self._running.add(piece)
            reading.pieces.append(piece)
            block_texts(
                {name: value for name, value in block.items() if name != "text"}, "/content_block", reading.texts
            )
        else:
            block_texts(block, "/content_block", reading.texts)
        if type(block) is dict and len(self._blocks) < MAX_BLOCKS:
            self._blocks[index if type(index) is int else None] = str(block.get("type"))

    def _delta(self, index: Any, body: dict[str, Any], reading: Reading) -> None:
        delta = body.get("delta")
        if type(delta) is not dict:
            return
        for key, value in delta.items():
            if key in ("type", "signature"):
                continue
            is_call = key == "partial_json"
            target = Target.TOOL_ARGS if is_call else Target.COMPLETION
            if type(value) is str and value:
                own = not is_call or self._blocks.get(index if type(index) is int else None) == "tool_use"
                path = f"/content/{index}/{key}"
                mode = self._MODES.get(key, "text")
                piece = Piece(f"{index}.{key}", target, path, value, delta, key, delta, mode, own)
                self._last[piece.key] = {
                    "type": "content_block_delta",
                    "index": index,
                    "delta": {"type": delta.get("type") if type(delta.get("type")) is str else None},
                }
                self._running.add(piece)
                reading.pieces.append(piece)
            else:
                leaves(value, target, pointer("/delta", key), reading.texts)

    def _message_start(self, message: Any, reading: Reading) -> None:
        if type(message) is not dict:
            return
        self._note_usage(message.get("usage"))
        content = message.get("content")
        if type(content) is list:
            for index, block in enumerate(content):
                block_texts(block, f"/message/content/{index}", reading.texts)

    def _note_usage(self, usage: Any) -> None:
        if type(usage) is dict:
            self._reported |= {key: value for key, value in usage.items() if value is not None}
            self.usage = anthropic_usage(self._reported)
