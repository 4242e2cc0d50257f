"""What was masked for one caller in one conversation: values and their placeholders."""

from __future__ import annotations

import re
import threading
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from rules.masking.placeholders import MAX_CHARACTERS, SUFFIX_CHARACTERS, make_placeholder

MAX_VALUES: Final = 10_000
MAX_VALUE_CHARACTERS: Final = 4 * 1024 * 1024
"""Bounds of one session, in values and in the characters of all of them."""

_SUFFIX: Final = re.compile(rf"_([a-km-np-z2-9]{{{SUFFIX_CHARACTERS}}})", re.IGNORECASE | re.ASCII)
_BEGINNING: Final = re.compile(r"\[|(?<![A-Za-z0-9_])[A-Za-z]")


class MaskingFull(Exception):
    """A session holds as many values as it may; the message must not pass unmasked."""


class Masked(NamedTuple):
    """One masked value."""

    placeholder: str
    label: str
    value: str
    rule_id: str


class Occurrence(NamedTuple):
    """A placeholder of the session in a text."""

    start: int
    end: int
    masked: Masked


class MaskingSession:
    """The map between values and placeholders. It lives in memory only and never shows a value.

    The calls of one conversation share it, also where their messages are large and handled in threads.
    """

    __slots__ = ("_adding", "_by_suffix", "_by_value", "_characters", "_cores", "_key")

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._adding = threading.Lock()
        self._by_value: dict[tuple[str, str], Masked] = {}
        self._by_suffix: dict[str, Masked] = {}
        self._cores: list[str] = []
        self._characters = 0

    def __repr__(self) -> str:
        return f"<MaskingSession {len(self._by_value)}>"

    def __len__(self) -> int:
        return len(self._by_value)

    def copy(self) -> MaskingSession:
        """The same session for another call, which may add to it without changing this one."""
        other = MaskingSession(self._key)
        other._by_value = self._by_value.copy()
        other._by_suffix = self._by_suffix.copy()
        other._cores = self._cores.copy()
        other._characters = self._characters
        return other

    @classmethod
    def of(cls, key: bytes, masked: Iterable[Masked]) -> MaskingSession:
        """The session with this key that has masked these values before."""
        session = cls(key)
        session.take_in(masked)
        return session

    @property
    def key(self) -> bytes:
        """What the placeholders are made with."""
        return self._key

    def take_in(self, masked: Iterable[Masked]) -> None:
        """Know what was masked elsewhere with the same key, as far as there is room; what is known already stays as it is."""
        with self._adding:
            for one in masked:
                if (one.label, one.value) in self._by_value or one.placeholder[
                    -SUFFIX_CHARACTERS - 1 : -1
                ] in self._by_suffix:
                    continue
                if self._is_full(one.value):
                    return
                self._enter(one)

    @property
    def characters(self) -> int:
        """The size of all values."""
        return self._characters

    def values(self) -> Iterator[Masked]:
        """Everything masked so far, as it stands now."""
        return iter(tuple(self._by_value.values()))

    def mask(self, label: str, value: str, rule_id: str = "") -> str:
        """The placeholder for a value; the same value of the same type has one only. Raises `MaskingFull`."""
        masked = self._by_value.get((label, value))
        if masked is None:
            with self._adding:
                masked = self._by_value.get((label, value)) or self._add(label, value, rule_id)
        return masked.placeholder

    def _add(self, label: str, value: str, rule_id: str) -> Masked:
        if self._is_full(value):
            raise MaskingFull(f"a session masks at most {MAX_VALUES} values")
        attempt = 0
        placeholder = make_placeholder(self._key, label, value)
        while placeholder[-SUFFIX_CHARACTERS - 1 : -1] in self._by_suffix:
            attempt += 1
            placeholder = make_placeholder(self._key, label, value, attempt)
        masked = Masked(placeholder, label, value, rule_id)
        self._enter(masked)
        return masked

    def _is_full(self, value: str) -> bool:
        return len(self._by_value) >= MAX_VALUES or self._characters + len(value) > MAX_VALUE_CHARACTERS

    def _enter(self, masked: Masked) -> None:
        placeholder = masked.placeholder
        self._by_value[masked.label, masked.value] = masked
        self._by_suffix[placeholder[-SUFFIX_CHARACTERS - 1 : -1]] = masked
        self._characters += len(masked.value)
        insort(self._cores, placeholder[1:-1].lower())

    def find(self, text: str, before: str = "") -> Iterator[Occurrence]:
        """The placeholders of this session in a text, in order (RED-PH-6).

        Also without brackets, where a word begins, and in any case; never an incomplete one. `before` is the character
        before the text.
        """
        for match in _SUFFIX.finditer(text):
            masked = self._by_suffix.get(match[1].lower())
            if masked is None:
                continue
            start = match.start() - len(masked.label)
            if start < 0 or text[start : match.start()].upper() != masked.label:
                continue
            opened = text[start - 1] if start else before
            if start and opened == "[" and text[match.end() : match.end() + 1] == "]":
                yield Occurrence(start - 1, match.end() + 1, masked)
            elif not _is_word(opened):
                yield Occurrence(start, match.end(), masked)

    def undecided_from(self, text: str, before: str = "") -> int:
        """Where the text ends with what may become a placeholder; its length where it does not."""
        size = len(text)
        for match in _BEGINNING.finditer(text, max(0, size - MAX_CHARACTERS + 1)):
            start = match.start()
            if text[start] == "[":
                if self._begins_one(text[start + 1 :], complete_too=True):
                    return start
            elif (start or not _is_word(before)) and self._begins_one(text[start:], complete_too=False):
                return start
        return size

    def _begins_one(self, text: str, *, complete_too: bool) -> bool:
        if not text.isascii():
            return False
        text = text.lower()
        index = bisect_left(self._cores, text)
        if index < len(self._cores) and self._cores[index].startswith(text):
            return complete_too or self._cores[index] != text
        return False


def _is_word(char: str) -> bool:
    return char.isascii() and (char.isalnum() or char == "_")
