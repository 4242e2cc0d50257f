"""What each line of an Ollama stream says: the next piece of an answer, and its counts in the last one (§3.1.2)."""

from __future__ import annotations

from typing import Any, Final

from proxies.answer_texts import Piece
from proxies.contract import Usage
from proxies.json_edit import steps
from proxies.json_texts import pointer
from proxies.llm.ollama_texts import IMAGES, ollama_answer
from proxies.llm.running_texts import Reading
from proxies.llm.usage import ollama_usage
from proxies.strict_json import dump
from proxies.transport.sse import SSEEvent
from rules.model import Target

_NOT_SAID: Final = IMAGES | {"role", "tool_name"}
"""Members of a message that are no text in pieces."""
MAX_TEXTS: Final = 64
"""Bound of the running texts of one answer; further ones are read line by line."""
_COMPLETED: Final = ("response", "thinking")


class OllamaStream:
    """`message.content` and `message.thinking` of chats, `response` and `thinking` of completions; calls come whole."""

    repeats: Final = False

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.response_id = ""
        self.sequence = 0
        self._names: dict[str, Any] = {}
        self._open: set[str] = set()

    def read(self, event: str | None, body: dict[str, Any]) -> Reading:
        """Interpret one line."""
        reading = Reading(pieces=[], texts=[], decoded=[], reread=[], ended=[])
        self._names = {key: value for key in ("model", "created_at") if type(value := body.get(key)) is str}
        message = body.get("message")
        if type(message) is dict:
            for member in message:
                if member not in _NOT_SAID:
                    self._piece(pointer("/message", member), message, member, body, reading)
        for member in _COMPLETED:
            self._piece(f"/{member}", body, member, body, reading)
        ollama_answer(body, reading.texts)
        if reading.pieces:
            running = {piece.path for piece in reading.pieces}
            reading.texts = [text for text in reading.texts if text.path not in running]
        if body.get("done") is True:
            reading.is_end = True
            reading.ended = sorted(self._open)
            self.usage = ollama_usage(body)
        return reading

    def delta(self, key: str, text: str) -> SSEEvent:
        """A line with more of one text."""
        member = steps(key)[-1]
        line: dict[str, Any] = dict(self._names)
        if key.startswith("/message/"):
            line["message"] = {"role": "assistant", "content": "", member: text}
        else:
            line |= {"response": "", member: text}
        line["done"] = False
        return SSEEvent(event=None, data=dump(line).decode())

    def _piece(self, key: str, holder: dict[str, Any], member: str, body: dict[str, Any], reading: Reading) -> None:
        text = holder.get(member)
        if type(text) is str and text and (key in self._open or len(self._open) < MAX_TEXTS):
            self._open.add(key)
            reading.pieces.append(Piece(key, Target.COMPLETION, key, text, holder, member, body))
