"""Texts that are safe to store and to show: short excerpts as evidence, and whole texts with their secrets masked."""

from __future__ import annotations

import re
import string
import sys
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from operator import itemgetter
from typing import NamedTuple

MAX_EVIDENCE_CHARS = 160
MAX_HIT_CHARS = 100
CONTEXT_CHARS = 40
OPAQUE_MARGIN_CHARS = 64
EVIDENCE_REACH_CHARS = CONTEXT_CHARS + OPAQUE_MARGIN_CHARS
"""How far from a hit a span may lie that has to do with its evidence."""
FEW_SPANS = 4
"""So many are not worth a search for those that matter."""

MASK_OF_RUN = re.compile(r"([A-Za-z0-9+/_-]{4})…\((\d{4,9})\)")
"""What `mask` leaves of a run of a thousand characters and more: its beginning and its length."""
MIN_DIGITS = 9
"""Of a number that may be one of a person."""
MIN_RUN_CHARS = 20
"""Of a run of letters and digits that may be a credential."""
MIN_CHANGES = 3
"""Between letters and digits, in a run that may be a credential although it stands where a name is expected."""
_UNJOINED = re.compile(rf"[A-Za-z0-9]{{{MIN_RUN_CHARS},}}")
_LETTER = re.compile(r"[A-Za-z]")
_DIGIT = re.compile(r"\d")
_NUMBER = re.compile(rf"\d(?:[ -]?\d){{{MIN_DIGITS - 1},}}")
_RUN_BYTES = frozenset(map(ord, string.ascii_letters + string.digits + "+/=_.~-"))
_RUN_CLASSES = bytes(97 if byte in _RUN_BYTES else 32 for byte in range(256))
_RUN = b"a" * MIN_RUN_CHARS
_DIGITS = string.digits.encode()
_NUMBER_CLASSES = bytes(48 if 48 <= byte <= 57 else 32 if byte in b" -" else 120 for byte in range(256))
_ESCAPES = {9: "\\t", 10: "\\n", 13: "\\r"}
_NUMBER_OF_CLASSES = re.compile(rb"0(?: ?0){%d,}" % (MIN_DIGITS - 1))


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
    spans = _opaque_spans(text, low, high)
    spans += secrets
    for left, right in merged_spans(spans):
        if right <= low:
            continue
        if left >= high:
            break
        if left > position:
            pieces.append(_plain(text[position:left]))
        # The mask shows the beginning of the whole value, also where the excerpt cuts into it.
        pieces.append(mask(text[left:right]))
        position = right
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
        index = bisect_right(self.masks, (offset, sys.maxsize, 0, 0)) - 1
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
    spans = _opaque_spans(text, start, end)
    spans += secrets
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


def masked_name(text: str) -> str:
    """A name, an address or a sentence with every run masked that is neither: letters and digits mixed without a joint.

    Names with dates and versions (`gpt-4o-2024-08-06`, `getUsersV2`) stay as they are.
    """
    return _UNJOINED.sub(_masked_if_mixed, text)


def _masked_if_mixed(found: re.Match[str]) -> str:
    changes = sum(left.isdigit() is not right.isdigit() for left, right in pairwise(found[0]))
    return mask(found[0]) if changes >= MIN_CHANGES else found[0]


def may_hold_opaque(texts: Iterable[str]) -> bool:
    """Whether `masked` may change one of these texts: a quick no for most of them, all at once."""
    joined = "\n".join(texts)  # What stands between two texts is part of no run.
    if not joined.isascii():
        return True
    data = joined.encode()
    return _RUN in data.translate(_RUN_CLASSES) or len(data) - len(data.translate(None, _DIGITS)) >= MIN_DIGITS


def spans_near(spans: Sequence[tuple[int, int]], start: int, end: int) -> Sequence[tuple[int, int]]:
    """Those of many spans, in order and apart, that matter to the evidence of a hit."""
    if len(spans) <= FEW_SPANS:
        return spans
    low, high = start - EVIDENCE_REACH_CHARS, min(end, start + MAX_HIT_CHARS) + EVIDENCE_REACH_CHARS
    first = bisect_left(spans, low, key=_end)
    return spans[first : bisect_left(spans, high, lo=first, key=_start)]


_start, _end = itemgetter(0), itemgetter(1)


def merged_spans(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The spans in order, overlapping ones as one."""
    merged: list[tuple[int, int]] = []
    for span in sorted(spans):
        start, end = span
        if end <= start:
            continue
        if merged:
            last_start, last_end = merged[-1]
            if start < last_end:
                if end > last_end:
                    merged[-1] = (last_start, end)
                continue
        merged.append(span)
    return merged


def _opaque_spans(text: str, low: int, high: int) -> list[tuple[int, int]]:
    """The runs that touch a part of the text and could be a credential or a number of a person, whichever rules are in
    force; seen from far enough outside that a cut run is still recognised.

    Most texts hold none, so a text is first reduced to its kinds of characters, in which a run is found as fast as memory
    is read. Neither a character that is not ASCII nor its stand-in is part of a run.
    """
    origin = max(0, low - OPAQUE_MARGIN_CHARS)
    part = text[origin : high + OPAQUE_MARGIN_CHARS]
    if len(part) < MIN_DIGITS:
        return []
    data = part.encode("ascii", "replace")
    numbers = data.translate(_NUMBER_CLASSES)
    is_ascii = part.isascii()
    if b"0" not in numbers and is_ascii:
        return []
    spans: list[tuple[int, int]] = []
    kinds = data.translate(_RUN_CLASSES)
    end = -1
    while (start := kinds.find(_RUN, end + 1)) >= 0:
        end = kinds.find(b" ", start)
        end = len(kinds) if end < 0 else end
        run = part[start:end]
        # Two searches: one pattern for both orders would look for the other from every place, in quadratic time.
        if run[0].isdigit() or (_LETTER.search(run) and _DIGIT.search(run)):
            spans.append((origin + start, origin + end))
    # Other scripts have digits too.
    found: Iterator[re.Match[str]] | Iterator[re.Match[bytes]] = (
        _NUMBER_OF_CLASSES.finditer(numbers) if is_ascii else _NUMBER.finditer(part)
    )
    for match in found:
        spans.append((origin + match.start(), origin + match.end()))
    return spans


def _plain(text: str) -> str:
    """The text with every character escaped that would not show as itself."""
    if text.isprintable():
        return text
    # Line ends are all that most texts have of these.
    escaped = text.translate(_ESCAPES)
    return escaped if escaped.isprintable() else "".join(map(_visible, escaped))


def _visible(char: str) -> str:
    if char.isprintable():
        return char
    code = ord(char)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
