"""What each event of a Gemini stream says: every event is a whole answer with the parts that are new (§3.1.2)."""

from __future__ import annotations

from typing import Any, Final

from proxies.answer_texts import Mode, Piece
from proxies.contract import Usage
from proxies.json_texts import leaves, pointer
from proxies.llm.gemini_texts import CALLS, gemini_part
from proxies.llm.running_texts import Reading
from proxies.llm.usage import gemini_usage
from proxies.strict_json import dump
from proxies.transport.errors import UpstreamProtocolError
from proxies.transport.sse import SSEEvent
from rules.model import Target

_NOT_TEXT: Final = frozenset({"candidates", "usageMetadata", "modelVersion", "responseId", "createTime"})
_PIECES: Final = frozenset({"partialArgs", "partial_args"})
MAX_CANDIDATES: Final = 64


class GeminiStream:
    """`candidates[].content.parts[]` by candidate, spoken and thought text apart; arguments of calls come whole."""

    repeats: Final = False

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.response_id = ""
        self.sequence = 0
        self._last: dict[str, Any] = {}
        self._open: dict[int, set[str]] = {}

    def read(self, event: str | None, body: dict[str, Any]) -> Reading:
        """Interpret one event."""
        reading = Reading(pieces=[], texts=[], decoded=[], reread=[], ended=[])
        if usage := gemini_usage(body.get("usageMetadata")):
            self.usage = usage
        candidates = body.get("candidates")
        if type(candidates) is list:
            self._last = {key: value for key, value in body.items() if key in ("modelVersion", "responseId")}
            for position, candidate in enumerate(candidates):
                if type(candidate) is dict:
                    self._candidate(candidate, position, reading)
                else:
                    leaves(candidate, Target.COMPLETION, f"/candidates/{position}", reading.texts)
            reading.is_end = bool(candidates) and not self._open
        for key, value in body.items():
            if key not in _NOT_TEXT:
                leaves(value, Target.COMPLETION, pointer("", key), reading.texts)
        return reading

    def delta(self, key: str, text: str) -> SSEEvent:
        """An event with more of one text."""
        index, _, kind = key.partition(".")
        part = {"text": text, **({"thought": True} if kind == "thought" else {})}
        candidate = {"content": {"parts": [part], "role": "model"}, "index": int(index)}
        return SSEEvent(event=None, data=dump({"candidates": [candidate], **self._last}).decode())

    def _candidate(self, candidate: dict[str, Any], position: int, reading: Reading) -> None:
        index = number if type(number := candidate.get("index")) is int else 0
        keys = self._open.setdefault(index, set()) if len(self._open) < MAX_CANDIDATES else set()
        path = f"/candidates/{position}"
        content = candidate.get("content")
        parts = content.get("parts") if type(content) is dict else None
        if type(parts) is list:
            for number, part in enumerate(parts):
                self._part(part, index, f"{path}/content/parts/{number}", candidate, keys, reading)
        else:
            leaves(content, Target.COMPLETION, f"{path}/content", reading.texts)
        for key, value in candidate.items():
            if key not in ("content", "finishReason", "index", "logprobsResult"):
                leaves(value, Target.COMPLETION, pointer(path, key), reading.texts)
        if candidate.get("finishReason"):
            reading.ended += sorted(keys)
            self._open.pop(index, None)

    def _part(
        self, part: Any, index: int, path: str, candidate: dict[str, Any], keys: set[str], reading: Reading
    ) -> None:
        if type(part) is dict and any(
            type(call := part.get(name)) is dict and not _PIECES.isdisjoint(call) for name in CALLS
        ):
            raise UpstreamProtocolError(
                "The upstream sent the arguments of a call in pieces, which cannot be inspected. "
                "Ask without 'streamFunctionCallArguments'."
            )
        if type(part) is not dict or type(part.get("text")) is not str:
            gemini_part(part, Target.COMPLETION, path, reading.texts)
            return
        is_thought = part.get("thought") is True
        key = f"{index}.{'thought' if is_thought else 'text'}"
        if part["text"]:
            keys.add(key)
            mode: Mode = "fixed" if is_thought else "text"
            reading.pieces.append(
                Piece(key, Target.COMPLETION, f"{path}/text", part["text"], part, "text", candidate, mode)
            )
        rest = {name: value for name, value in part.items() if name != "text"}
        gemini_part(rest, Target.COMPLETION, path, reading.texts)
