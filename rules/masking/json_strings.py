"""Applies a transformer to every string of a JSON text that arrives in pieces (requirements a2a-and-llm §5.4).

The arguments of a tool call are JSON inside a string of JSON. A value to find or a placeholder to restore may be
written with escapes there, and what is put in its place must be escaped. So strings are decoded, transformed one by one
(a match never crosses the end of a string) and encoded again. A string that was not changed keeps its spelling. A whole
number that is as long as those of payment cards is read like a string of its digits, and becomes one where that is changed.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

_PLAIN: Final = re.compile(r'[^"\\]+')
_ESCAPE: Final = re.compile(r'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})')
_INCOMPLETE: Final = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?\Z")
_OUTSIDE: Final = re.compile(r"[\s{}\[\]:,+.eEtrufalsn]*")
"""What JSON has outside of strings and numbers; anything else shows that the text is not JSON."""
_NUMBER: Final = re.compile(r"[-0-9][-+.0-9eE]*")
LEAST_NUMBER: Final = 10**12
MOST_NUMBER: Final = 10**16 - 1
"""Of 13 and of 16 digits, as the numbers of payment cards have."""
_SHORTEST_NUMBER: Final = 4
"""`4e12`."""
MAX_NUMBER_CHARACTERS: Final = 1024
"""A longer number does not wait for its end."""
_SHORT: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


class Transformer(Protocol):
    """Changes a text that arrives in pieces."""

    def feed(self, text: str) -> str:
        """What can go out after the next piece."""

    def close(self) -> str:
        """The rest, at the end of the text."""


class JSONStrings:
    """Transforms the strings of one JSON text, each with a transformer of its own.

    A text that turns out not to be JSON goes to `otherwise` from there on.
    """

    __slots__ = ("_inner", "_make", "_otherwise", "_plain", "_raw", "_string")

    def __init__(self, make: Callable[[], Transformer], otherwise: Callable[[], Transformer]) -> None:
        self._make = make
        self._otherwise = otherwise
        self._raw = ""
        self._string: _String | None = None
        self._plain: Transformer | None = None

    @property
    def is_json(self) -> bool:
        """Whether all of the text so far could be JSON."""
        return self._plain is None

    def feed(self, text: str) -> str:
        """What can go out after the next piece."""
        if self._plain is not None:
            return self._plain.feed(text)
        self._raw += text
        pieces: list[str] = []
        while self._raw and (self._inside(pieces) if self._string else self._outside(pieces)):
            pass
        return "".join(pieces)

    def close(self) -> str:
        """The rest, at the end of the text, which may lie within a string."""
        if self._plain is not None:
            return self._plain.close()
        if self._string is None:
            number, self._raw = self._raw, ""
            return self._number(number)
        rest = self._string.feed(self._raw, self._raw) + self._string.close()
        self._raw = ""
        self._string = None
        return rest

    def _outside(self, pieces: list[str]) -> bool:
        """Pass what lies before the next string; False when there is no more."""
        match = _OUTSIDE.match(self._raw)
        assert match is not None  # It matches the empty string.
        pieces.append(match[0])
        self._raw = self._raw[match.end() :]
        if not self._raw:
            return False
        if number := _NUMBER.match(self._raw):
            if number.end() == len(self._raw) <= MAX_NUMBER_CHARACTERS:
                return False  # It may go on.
            pieces.append(self._number(number[0]))
            self._raw = self._raw[number.end() :]
            return True
        if self._raw[0] != '"':
            self._plain = self._otherwise()
            rest, self._raw = self._raw, ""
            pieces.append(self._plain.feed(rest))
            return False
        pieces.append('"')
        self._raw = self._raw[1:]
        self._string = _String(self._make())
        return True

    def _number(self, spelt: str) -> str:
        """A number, or the string that takes its place."""
        digits = _digits(spelt)
        if not digits:
            return spelt
        transformer = self._make()
        text = transformer.feed(digits) + transformer.close()
        return spelt if text == digits else json.dumps(text, ensure_ascii=False)

    def _inside(self, pieces: list[str]) -> bool:
        """Take the next piece of the open string; False when more of the text is needed."""
        string = self._string
        assert string is not None  # The caller has looked.
        if self._raw[0] == '"':
            pieces.append(string.close() + '"')
            self._raw = self._raw[1:]
            self._string = None
            return True
        if plain := _PLAIN.match(self._raw):
            pieces.append(string.feed(plain[0], plain[0]))
            self._raw = self._raw[plain.end() :]
            return True
        escape = _escape(self._raw)
        if escape is None:
            return False
        decoded, size = escape
        pieces.append(string.feed(decoded, self._raw[:size]))
        self._raw = self._raw[size:]
        return True


def _digits(spelt: str) -> str:
    """The digits of a number that may be that of a payment card, however it is written; nothing for any other."""
    if len(spelt) < _SHORTEST_NUMBER:
        return ""
    try:
        number = json.loads(spelt)
    except ValueError:
        return ""
    return str(int(number)) if LEAST_NUMBER <= number <= MOST_NUMBER and number == int(number) else ""


def _escape(raw: str) -> tuple[str, int] | None:
    """The character of the escape at the beginning and the length of the escape; None where more is needed."""
    match = _ESCAPE.match(raw)
    if match is None:
        # An invalid escape stands for itself; models write them.
        return None if _INCOMPLETE.match(raw) else (raw[:1], 1)
    kind = match[0][1]
    if kind != "u":
        return _SHORT.get(kind, kind), match.end()
    code = int(match[0][2:], 16)
    if not 0xD800 <= code < 0xE000:
        return chr(code), match.end()
    if code < 0xDC00:
        rest = raw[match.end() :]
        low = _ESCAPE.match(rest)
        if low and low[0][1] == "u" and 0xDC00 <= (second := int(low[0][2:], 16)) < 0xE000:
            return chr(0x10000 + ((code - 0xD800) << 10) + second - 0xDC00), match.end() + low.end()
        if not rest or (low is None and _INCOMPLETE.match(rest)):
            return None
    # Half a character has no meaning of its own.
    return "\ufffd", match.end()


class _String:
    """One string: remembers the spelling of what the transformer holds, to give it back unchanged."""

    __slots__ = ("_changed", "_held", "_transformer")

    def __init__(self, transformer: Transformer) -> None:
        self._transformer = transformer
        self._held: deque[tuple[str, str]] = deque()
        self._changed = False

    def feed(self, decoded: str, raw: str) -> str:
        if not self._changed and decoded:
            self._held.append((decoded, raw))
        return self._spell(self._transformer.feed(decoded))

    def close(self) -> str:
        return self._spell(self._transformer.close())

    def _spell(self, text: str) -> str:
        if not text:
            return ""
        if not self._changed and "".join(decoded for decoded, _ in self._held).startswith(text):
            return self._original(len(text))
        self._changed = True
        self._held.clear()
        return json.dumps(text, ensure_ascii=False)[1:-1]

    def _original(self, size: int) -> str:
        """The spelling of the next `size` characters."""
        pieces: list[str] = []
        while size:
            decoded, raw = self._held.popleft()
            if len(decoded) > size:
                # Only a run without escapes is longer than one character, and it is spelt as it reads.
                self._held.appendleft((decoded[size:], raw[size:]))
                decoded, raw = decoded[:size], raw[:size]
            pieces.append(raw)
            size -= len(decoded)
        return "".join(pieces)
