"""What the interpreters of LLM streams make of an event, and what they remember of texts that come in pieces."""

from __future__ import annotations

import hashlib
import re
from typing import Any, Final

import msgspec

from proxies.answer_texts import Piece
from proxies.llm.tool_texts import argument_texts
from rules.model import Target, Text

MAX_ARGUMENTS_CHARACTERS: Final = 256 * 1024
"""Bound of the tool-call arguments that are kept to be read decoded; longer ones are inspected in pieces only."""
MAX_KEPT_CHARACTERS: Final = 4 * 1024 * 1024
"""The same of all arguments of a stream that are kept at once."""
MAX_SEEN: Final = 50_000
"""Texts of a stream of which it is known that they were said; what repeats a further one is read again."""

_PLACE_MEMBERS: Final = tuple(
    "type event_id response_id item_id call_id output_index content_index summary_index command_index sequence_number".split()
)
_PLACE: Final = re.compile(r"[A-Za-z0-9_.:-]{0,200}")


class Reading(msgspec.Struct):
    """What one event says."""

    pieces: list[Piece] = []
    texts: list[Text] = []
    """Complete texts that did not come in pieces; their paths lead through the event."""
    decoded: list[Text] = []
    """What ended arguments in JSON say once their escapes are read, should they have been inspected as they are written."""
    reread: list[Text] = []
    """The same of ended arguments that are any text."""
    ended: list[str] = []
    """Keys of running texts that end with this event."""
    is_end: bool = False
    is_usage_only: bool = False
    """A chunk that exists only because the gateway asked for usage; it is not forwarded."""


class RunningTexts:
    """The running texts of a stream, to recognise repetitions and to read tool arguments once they are complete."""

    def __init__(self) -> None:
        self._ended: list[str] = []
        self._digests: dict[str, Any] = {}
        self._arguments: dict[str, list[str]] = {}
        self._arguments_characters: dict[str, int] = {}
        self._kept_characters = 0
        self._json: set[str] = set()
        self._is_call: dict[str, bool] = {}
        self._seen: set[tuple[bytes, bool]] = set()
        """The texts that have ended, and whether they were parts of calls, which other rules read."""

    def add(self, piece: Piece) -> None:
        digest = self._digests.get(piece.key)
        if digest is None:
            digest = self._digests[piece.key] = hashlib.blake2b(digest_size=16)
            self._is_call[piece.key] = piece.target is Target.TOOL_ARGS
        digest.update(piece.text.encode("utf-8", "surrogatepass"))
        if piece.target is Target.TOOL_ARGS:
            size = self._arguments_characters.get(piece.key, 0) + len(piece.text)
            self._arguments_characters[piece.key] = size
            if size <= MAX_ARGUMENTS_CHARACTERS and self._kept_characters + len(piece.text) <= MAX_KEPT_CHARACTERS:
                self._arguments.setdefault(piece.key, []).append(piece.text)
                self._kept_characters += len(piece.text)
            else:
                # What is left of them could not be read as what it is.
                self._arguments_characters[piece.key] = MAX_ARGUMENTS_CHARACTERS + 1
            if piece.mode == "arguments":
                self._json.add(piece.key)

    def end(self, key: str, path: str, reading: Reading) -> None:
        """End one text. Arguments with escapes are read again, decoded: a backslash can hide what a pattern looks for."""
        self._ended.append(key)
        is_call = self._is_call.pop(key, False)
        if (digest := self._digests.pop(key, None)) and len(self._seen) < MAX_SEEN:
            self._seen.add((digest.digest(), is_call))
        arguments = "".join(self._arguments.pop(key, []))
        self._kept_characters -= len(arguments)
        size = self._arguments_characters.pop(key, 0)
        if size <= MAX_ARGUMENTS_CHARACTERS and "\\" in arguments:
            argument_texts(arguments, path, reading.decoded if key in self._json else reading.reread)

    def take_ended(self) -> list[str]:
        """The texts that have ended since the last time: nothing more will be said of them."""
        ended, self._ended = self._ended, []
        return ended

    def open_keys(self) -> list[str]:
        return list(self._digests)

    def unseen(self, texts: list[Text]) -> list[Text]:
        """The texts that were not inspected in pieces as what they are."""
        return [text for text in texts if (_digest(text.text), text.target is Target.TOOL_ARGS) not in self._seen]

    def unsaid(self, texts: list[Text]) -> list[Text]:
        """The texts that were not said in pieces, as whatever."""
        return [
            text
            for text in texts
            if (_digest(text.text), False) not in self._seen and (_digest(text.text), True) not in self._seen
        ]


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def named(body: dict[str, Any]) -> dict[str, Any]:
    """What tells of an event with a piece of a text which text that is, to tell it of the next piece; nothing else of it."""
    kept: dict[str, Any] = {}
    for name in _PLACE_MEMBERS:
        value = body.get(name)
        if type(value) is int or (type(value) is str and _PLACE.fullmatch(value) is not None):
            kept[name] = value
    if "logprobs" in body:
        kept["logprobs"] = []
    return kept
