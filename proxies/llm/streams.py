"""What each event of an LLM stream says: sans-I/O interpreters, one a surface (requirements a2a-and-llm §3.1.2).

An interpreter takes one decoded event and returns a `Reading`: the text pieces to inspect, which texts end with it, and
whether the event is the stream's regular end. It remembers usage and what the error form needs. Events that repeat a text
already inspected piece by piece (`….done`, `response.completed`) are recognised by digest and not scanned twice; a text
that differs from its pieces is inspected as new.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

import msgspec

from proxies.contract import Usage
from proxies.json_texts import leaves
from proxies.llm.response_texts import block_texts, output_item_texts
from proxies.llm.surfaces import Surface
from proxies.llm.tool_texts import argument_texts
from proxies.llm.usage import anthropic_usage, openai_usage
from rules.model import Target, Text

MAX_ARGUMENTS_CHARACTERS: Final = 256 * 1024
"""Bound of the tool-call arguments that are kept to be read decoded; longer ones are inspected in pieces only."""


class Piece(msgspec.Struct, frozen=True, gc=False):
    """The next piece of one running text."""

    key: str
    target: Target
    path: str
    text: str


class Reading(msgspec.Struct):
    """What one event says."""

    pieces: list[Piece] = []
    texts: list[Text] = []
    """Complete texts that did not come in pieces."""
    ended: list[str] = []
    """Keys of running texts that end with this event."""
    is_end: bool = False
    is_usage_only: bool = False
    """A chunk that exists only because the gateway asked for usage; it is not forwarded."""


class _Running:
    """The running texts of a stream, to recognise repetitions and to read tool arguments once they are complete."""

    def __init__(self) -> None:
        self._digests: dict[str, Any] = {}
        self._arguments: dict[str, list[str]] = {}
        self._arguments_characters: dict[str, int] = {}
        self.seen: set[bytes] = set()

    def add(self, piece: Piece) -> None:
        digest = self._digests.get(piece.key)
        if digest is None:
            digest = self._digests[piece.key] = hashlib.blake2b(digest_size=16)
        digest.update(piece.text.encode("utf-8", "surrogatepass"))
        if piece.target is Target.TOOL_ARGS:
            size = self._arguments_characters.get(piece.key, 0) + len(piece.text)
            self._arguments_characters[piece.key] = size
            if size <= MAX_ARGUMENTS_CHARACTERS:
                self._arguments.setdefault(piece.key, []).append(piece.text)

    def end(self, key: str, path: str) -> list[Text]:
        """End one text. Arguments with escapes are read again, decoded: a backslash can hide what a pattern looks for."""
        if digest := self._digests.pop(key, None):
            self.seen.add(digest.digest())
        arguments = "".join(self._arguments.pop(key, []))
        size = self._arguments_characters.pop(key, 0)
        texts: list[Text] = []
        if size <= MAX_ARGUMENTS_CHARACTERS and "\\" in arguments:
            argument_texts(arguments, path, texts)
        return texts

    def open_keys(self) -> list[str]:
        return list(self._digests)

    def unseen(self, texts: list[Text]) -> list[Text]:
        """The texts that were not inspected in pieces."""
        return [
            text
            for text in texts
            if hashlib.blake2b(text.text.encode("utf-8", "surrogatepass"), digest_size=16).digest() not in self.seen
        ]


class ChatStream:
    """Chat Completions chunks: `choices[].delta`, tool calls by index, usage in a chunk without choices."""

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.response_id = ""
        self.sequence = 0
        self._running = _Running()

    def read(self, event: str | None, body: dict[str, Any]) -> Reading:
        """Interpret one chunk."""
        reading = Reading(pieces=[], texts=[], ended=[])
        if type(body.get("usage")) is dict:
            self.usage = openai_usage(body["usage"])
        choices = body.get("choices")
        if type(choices) is list:
            for choice in choices:
                if type(choice) is dict:
                    self._choice(choice, reading)
            reading.is_usage_only = not choices and type(body.get("usage")) is dict
        for key, value in body.items():
            if key not in ("choices", "usage", "id", "object", "model", "system_fingerprint", "obfuscation"):
                leaves(value, Target.COMPLETION, f"/{key}", reading.texts)
        return reading

    def _choice(self, choice: dict[str, Any], reading: Reading) -> None:
        index = number if type(number := choice.get("index")) is int else 0
        delta = choice.get("delta")
        if type(delta) is dict:
            for key, value in delta.items():
                path = f"/choices/{index}/delta/{key}"
                if key == "tool_calls" and type(value) is list:
                    for call in value:
                        self._tool_call(index, call, path, reading)
                elif key == "function_call":
                    self._tool_call(index, {"index": -1, "function": value}, path, reading)
                elif type(value) is str and key != "role":
                    self._piece(f"{index}.{key}", Target.COMPLETION, path, value, reading)
                elif key == "audio" and type(value) is dict:
                    if type(transcript := value.get("transcript")) is str:
                        self._piece(f"{index}.audio", Target.COMPLETION, f"{path}/transcript", transcript, reading)
                elif key != "role":
                    leaves(value, Target.COMPLETION, path, reading.texts)
        for key, value in choice.items():
            if key not in ("index", "delta", "finish_reason", "logprobs"):
                leaves(value, Target.COMPLETION, f"/choices/{index}/{key}", reading.texts)
        if choice.get("finish_reason"):
            prefix = f"{index}."
            for key in self._running.open_keys():
                if key.startswith(prefix):
                    reading.ended.append(key)
                    reading.texts += self._running.end(key, f"/choices/{index}")

    def _tool_call(self, choice: int, call: Any, path: str, reading: Reading) -> None:
        if type(call) is not dict:
            leaves(call, Target.TOOL_ARGS, path, reading.texts)
            return
        for kind in ("function", "custom"):
            body = call.get(kind)
            if type(body) is not dict:
                continue
            leaves(body.get("name"), Target.TOOL_NAME, f"{path}/{kind}/name", reading.texts)
            for member in ("arguments", "input"):
                if type(text := body.get(member)) is str:
                    key = f"{choice}.tool.{call.get('index')}"
                    self._piece(key, Target.TOOL_ARGS, f"{path}/{kind}/{member}", text, reading)

    def _piece(self, key: str, target: Target, path: str, text: str, reading: Reading) -> None:
        if text:
            piece = Piece(key, target, path, text)
            self._running.add(piece)
            reading.pieces.append(piece)


class ResponsesStream:
    """Responses events: deltas keyed by item and part, and the full text again in every `done` event."""

    _TARGETS: Final = {"function_call_arguments": Target.TOOL_ARGS, "mcp_call_arguments": Target.TOOL_ARGS}
    _ENDS: Final = frozenset({"response.completed", "response.incomplete", "response.failed"})

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.response_id = ""
        self.sequence = 0
        self._running = _Running()

    def read(self, event: str | None, body: dict[str, Any]) -> Reading:
        """Interpret one event by its `type`."""
        reading = Reading(pieces=[], texts=[], ended=[])
        kind = str(body.get("type"))
        if type(body.get("sequence_number")) is int:
            self.sequence = body["sequence_number"] + 1
        if kind.endswith(".delta") and type(text := body.get("delta")) is str:
            self._delta(kind, body, text, reading)
        elif kind.endswith(".done") and kind not in ("response.content_part.done", "response.output_item.done"):
            self._done(kind, body, reading)
        elif "response" in body:
            self._whole(kind, body["response"], reading)
        else:
            self._other(body, reading)
        return reading

    def _key(self, kind: str, body: dict[str, Any]) -> str:
        parts = (body.get(name) for name in ("output_index", "item_id", "content_index", "summary_index"))
        return kind.rpartition(".")[0] + ":" + ":".join(str(part) for part in parts)

    def _delta(self, kind: str, body: dict[str, Any], text: str, reading: Reading) -> None:
        if kind == "response.audio.delta":
            return
        name = kind.removeprefix("response.").removesuffix(".delta")
        target = Target.COMPLETION if name.endswith("text") else self._TARGETS.get(name, Target.TOOL_ARGS)
        if name in ("refusal", "audio.transcript", "reasoning_summary_text"):
            target = Target.COMPLETION
        piece = Piece(self._key(kind, body), target, f"/{name}", text)
        self._running.add(piece)
        reading.pieces.append(piece)

    def _done(self, kind: str, body: dict[str, Any], reading: Reading) -> None:
        key = self._key(kind, body)
        reading.ended.append(key)
        reading.texts += self._running.end(key, "/" + kind)
        self._other(body, reading)

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
                reading.texts += self._running.end(key, "/response")
        reading.texts += self._running.unseen(texts)

    def _other(self, body: dict[str, Any], reading: Reading) -> None:
        texts: list[Text] = []
        for key, value in body.items():
            if key in ("type", "item_id", "obfuscation", "logprobs", "partial_image_b64"):
                continue
            if key == "item":
                output_item_texts(value, "/item", texts)
            elif key == "arguments":
                leaves(value, Target.TOOL_ARGS, "/arguments", texts)
            else:
                leaves(value, Target.COMPLETION, f"/{key}", texts)
        reading.texts += self._running.unseen(texts)


class AnthropicStream:
    """Messages events: blocks by index, deltas by type, cumulative usage in `message_delta`."""

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.response_id = ""
        self.sequence = 0
        self._reported: dict[str, Any] = {}
        self._running = _Running()

    def read(self, event: str | None, body: dict[str, Any]) -> Reading:
        """Interpret one event by its `type`."""
        reading = Reading(pieces=[], texts=[], ended=[])
        kind = body.get("type")
        index = body.get("index")
        if kind == "content_block_delta":
            self._delta(index, body.get("delta"), reading)
        elif kind == "content_block_start":
            block_texts(body.get("content_block"), f"/content/{index}", reading.texts)
        elif kind == "content_block_stop":
            prefix = f"{index}."
            for key in self._running.open_keys():
                if key.startswith(prefix):
                    reading.ended.append(key)
                    reading.texts += self._running.end(key, f"/content/{index}")
        elif kind == "message_start":
            self._message_start(body.get("message"), reading)
        elif kind == "message_delta":
            self._note_usage(body.get("usage"))
        elif kind == "message_stop":
            reading.is_end = True
        elif kind != "ping":
            leaves(body, Target.COMPLETION, "", reading.texts)
        return reading

    def _delta(self, index: Any, delta: Any, reading: Reading) -> None:
        if type(delta) is not dict:
            return
        for key, value in delta.items():
            if key in ("type", "signature"):
                continue
            target = Target.TOOL_ARGS if key == "partial_json" else Target.COMPLETION
            path = f"/content/{index}/{key}"
            if type(value) is str and value:
                piece = Piece(f"{index}.{key}", target, path, value)
                self._running.add(piece)
                reading.pieces.append(piece)
            else:
                leaves(value, target, path, reading.texts)

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


Interpreter = ChatStream | ResponsesStream | AnthropicStream

_INTERPRETERS: Final[dict[Surface, type[ChatStream] | type[ResponsesStream] | type[AnthropicStream]]] = {
    Surface.OPENAI_CHAT: ChatStream,
    Surface.OPENAI_RESPONSES: ResponsesStream,
    Surface.ANTHROPIC_MESSAGES: AnthropicStream,
}


def interpreter(surface: Surface) -> Interpreter | None:
    """A fresh interpreter for one stream of the surface; None where the surface has no streams."""
    made = _INTERPRETERS.get(surface)
    return made() if made else None
