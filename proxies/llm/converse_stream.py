"""What each event of a Converse stream says: blocks by index, each event with a name of its own (§3.1.2)."""

from __future__ import annotations

from typing import Any, Final

from proxies.answer_texts import Mode, Piece
from proxies.contract import Usage
from proxies.json_texts import leaves, pointer
from proxies.llm.converse_texts import block_texts, file_texts, tool_use_texts
from proxies.llm.running_texts import Reading, RunningTexts
from proxies.llm.usage import converse_usage
from proxies.strict_json import dump
from proxies.transport.sse import SSEEvent
from rules.model import Target

MAX_BLOCKS: Final = 10_000
"""Bound of the blocks of which it is remembered that the provider carries out their call."""
_DELTA: Final = "contentBlockDelta"
_PADDING: Final = "p"
_NOT_SAID: Final = frozenset(
    {"contentBlockIndex", "stopReason", "usage", "metrics", "performanceConfig", "serviceTier"}
)


class ConverseStream:
    """`contentBlockDelta` with text, arguments of a call or reasoning; usage in `metadata`, behind the end."""

    repeats: Final = False

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.response_id = ""
        self.sequence = 0
        self._running = RunningTexts()
        self._hosted: set[int] = set()

    def read(self, event: str | None, body: dict[str, Any]) -> Reading:
        """Interpret one event by its name."""
        self._running.take_ended()  # Nothing else is kept of them.
        reading = Reading(pieces=[], texts=[], decoded=[], reread=[], ended=[])
        index = number if type(number := body.get("contentBlockIndex")) is int else 0
        if event == "contentBlockStop":
            self._end(f"{index}.", reading)
        elif event == "messageStop":
            self._end("", reading)
            reading.is_end = True
        elif event == "metadata":
            self.usage = converse_usage(body.get("usage")) or self.usage
        for key, value in body.items():
            below = pointer("", key)
            if event == _DELTA and key == "delta" and type(value) is dict:
                self._delta(index, value, reading)
            elif event == "contentBlockStart" and key == "start" and type(value) is dict:
                self._start(index, value, reading)
            elif key not in _NOT_SAID and not (key == _PADDING and type(value) is str and value.isalnum()):
                leaves(value, Target.COMPLETION, below, reading.texts)
        return reading

    def delta(self, key: str, text: str) -> SSEEvent:
        """An event with more of one text."""
        index, _, kind = key.partition(".")
        delta: dict[str, Any] = {"toolUse": {"input": text}} if kind == "toolUse" else {"text": text}
        return SSEEvent(event=_DELTA, data=dump({"contentBlockIndex": int(index), "delta": delta}).decode())

    def _start(self, index: int, start: dict[str, Any], reading: Reading) -> None:
        for kind, value in start.items():
            if kind == "toolUse" and type(value) is dict:
                tool_use_texts(value, "/start/toolUse", reading.texts)
                if "type" in value and len(self._hosted) < MAX_BLOCKS:
                    self._hosted.add(index)
            else:
                block_texts({kind: value}, Target.COMPLETION, "/start", reading.texts)

    def _delta(self, index: int, delta: dict[str, Any], reading: Reading) -> None:
        for kind, value in delta.items():
            path = pointer("/delta", kind)
            if kind == "text" and type(value) is str:
                self._piece(f"{index}.text", path, delta, "text", reading)
            elif kind == "toolUse" and type(value) is dict:
                self._call(index, value, path, reading)
            elif kind == "reasoningContent" and type(value) is dict:
                self._reasoning(index, value, path, reading)
            elif kind == "toolResult":
                file_texts(value, Target.TOOL_RESULT, path, reading.texts)
            else:
                file_texts(value, Target.COMPLETION, path, reading.texts)

    def _call(self, index: int, call: dict[str, Any], path: str, reading: Reading) -> None:
        for key, value in call.items():
            if key == "input" and type(value) is str:
                self._piece(f"{index}.toolUse", f"{path}/input", call, "input", reading, mode="arguments")
            else:
                leaves(value, Target.TOOL_ARGS, pointer(path, key), reading.texts)

    def _reasoning(self, index: int, thought: dict[str, Any], path: str, reading: Reading) -> None:
        """It will be signed, so it is read and not changed (RED-STR-11)."""
        for key, value in thought.items():
            if key == "text" and type(value) is str:
                self._piece(f"{index}.reasoningContent", f"{path}/text", thought, "text", reading, mode="fixed")
            elif key not in ("signature", "redactedContent"):
                leaves(value, Target.COMPLETION, pointer(path, key), reading.texts)

    def _piece(
        self, key: str, path: str, holder: dict[str, Any], member: str, reading: Reading, *, mode: Mode = "text"
    ) -> None:
        if not (text := holder[member]):
            return
        is_call = mode == "arguments"
        target = Target.TOOL_ARGS if is_call else Target.COMPLETION
        own = not is_call or int(key.partition(".")[0]) not in self._hosted
        piece = Piece(key, target, path, text, holder, member, holder, mode, own)
        self._running.add(piece)
        reading.pieces.append(piece)

    def _end(self, prefix: str, reading: Reading) -> None:
        for key in self._running.open_keys():
            if key.startswith(prefix):
                reading.ended.append(key)
                self._running.end(key, "/delta", reading)
