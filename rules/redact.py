"""Texts that are safe to store and to show: short excerpts as evidence, and whole texts with their secrets masked."""

from __future__ import annotations

import re
import string
from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple

MAX_EVIDENCE_CHARS = 160
MAX_HIT_CHARS = 100
CONTEXT_CHARS = 40
OPAQUE_MARGIN_CHARS = 64

_OPAQUE = re.compile(r"[A-Za-z0-9+/=_.~-]{20,}|\d(?:[ -]?\d){8,}")
"""Runs that could be a credential or a number of a person, whichever rules are in force."""
MIN_OPAQUE_CHARS = 9
"""Of the shortest of them."""
_LETTER = re.compile(r"[A-Za-z]")
_DIGIT = re.compile(r"\d")
_OPAQUE_BYTES = frozenset(map(ord, string.ascii_letters + string.digits + "+/=_.~-"))
_OPAQUE_CLASSES = bytes(97 if byte in _OPAQUE_BYTES else 32 for byte in range(256))
_DIGIT_CLASSES = bytes(48 if 48 <= byte <= 57 else 120 for byte in range(256))


def mask(value: str) -> str:
    """The value with only its first characters left: 4 of 12 and more, 2 of 8 and more, none of a shorter one."""
    shown = 4 if len(value) >= 12 else 2 if len(value) >= 8 else 0
    return f"{value[:shown]}…({len(value)})"


def excerpt(text: str, start: int, end: int, secrets: Iterable[tuple[int, int]]) -> str:
    """At most `MAX_EVIDENCE_CHARS` around `text[start:end]`, with every span of `secrets` masked.

    Offsets are characters of `text`. Long opaque runs are masked as well, and control and invisible characters are
    written as escapes.
    """
    low = max(0, start - CONTEXT_CHARS)
    high = min(len(text), min(end, start + MAX_HIT_CHARS) + CONTEXT_CHARS)
    pieces: list[str] = []
    position = low
    for left, right in merged_spans([*secrets, *_opaque_spans(text, low, high)]):
        if right <= low or left >= high:
            continue
        pieces.append(_plain(text[position : max(left, position)]))
        # The mask shows the beginning of the whole value, also where the excerpt cuts into it.
        pieces.append(mask(text[left:right]))
        position = max(position, right)
    if position < high:
        pieces.append(_plain(text[position:high]))
    result = "".join(pieces)
    return result if len(result) <= MAX_EVIDENCE_CHARS else result[: MAX_EVIDENCE_CHARS - 1] + "…"


class MaskedText(NamedTuple):
    """A part of a text with its secrets masked, and where everything went. Offsets are characters."""

    text: str
    start: int
    """Where the part begins in the original."""
    masks: list[tuple[int, int, int, int]]
    """For each masked span: begin and end in the original, begin and end in `text`."""

    def place(self, offset: int, *, is_end: bool = False) -> int:
        """Where a place of the original is in `text`; one inside a masked value moves to its begin or its end."""
        index = bisect_right(self.masks, offset, key=lambda mask: mask[0]) - 1
        if index < 0:
            return min(max(0, offset - self.start), len(self.text))
        left, right, masked_left, masked_right = self.masks[index]
        if is_end and offset == left:
            return masked_left
        if offset < right:
            return masked_right if is_end else masked_left
        return min(masked_right + offset - right, len(self.text))


def masked(text: str, secrets: Iterable[tuple[int, int]], start: int = 0, end: int | None = None) -> MaskedText:
    """`text[start:end]` with the given spans of `text`, and every opaque run, masked.

    A mask shows the beginning of the whole value, also where the part cuts into it.
    """
    end = len(text) if end is None else min(end, len(text))
    spans = [*secrets]
    if _may_hold_opaque(text):
        spans += _opaque_spans(text, start, end)
    if not spans:
        return MaskedText(text[start:end], start, [])
    pieces: list[str] = []
    masks: list[tuple[int, int, int, int]] = []
    position, length = start, 0
    for left, right in merged_spans(spans):
        if right <= start or left >= end:
            continue
        clear = text[position : max(left, position)]
        mask_text = mask(text[left:right])
        pieces += (clear, mask_text)
        length += len(clear) + len(mask_text)
        masks.append((left, right, length - len(mask_text), length))
        position = right
    if position < end:
        pieces.append(text[position:end])
    return MaskedText("".join(pieces), start, masks)


def _may_hold_opaque(text: str) -> bool:
    """A quick no for most texts; what it lets through is looked at closely."""
    if not text.isascii():
        return True
    if len(text) < MIN_OPAQUE_CHARS:
        return False
    data = text.encode()
    return b"a" * 20 in data.translate(_OPAQUE_CLASSES) or b"0" * 9 in data.translate(_DIGIT_CLASSES, b" -")


def merged_spans(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The spans in order, overlapping ones as one."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if end <= start:
            continue
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _opaque_spans(text: str, low: int, high: int) -> list[tuple[int, int]]:
    """The opaque runs that touch the excerpt, seen from far enough outside that a cut run is still recognised."""
    origin = max(0, low - OPAQUE_MARGIN_CHARS)
    return [
        (origin + match.start(), origin + match.end())
        for match in _OPAQUE.finditer(text[origin : high + OPAQUE_MARGIN_CHARS])
        # Two searches: one pattern for both orders would look for the other from every place, in quadratic time.
        if match[0][0].isdigit() or (_LETTER.search(match[0]) and _DIGIT.search(match[0]))
    ]


def _plain(text: str) -> str:
    return text if text.isprintable() else "".join(map(_visible, text))


def _visible(char: str) -> str:
    """The character, or its escape where it would not show as itself."""
    if char.isprintable():
        return char
    code = ord(char)
    return {9: "\\t", 10: "\\n", 13: "\\r"}.get(code) or (f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
