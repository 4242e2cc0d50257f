"""Further views of a text, made only where something in the raw text calls for them.

`normalized` takes out invisible characters, spells out hidden tag characters and replaces compatibility forms (NFKC)
such as full-width or mathematical letters. `decoded` is the text inside a base64 run, and inside that once more.
Every view maps its offsets back to the raw text. Plain ASCII without a base64 run costs nothing: the engine's
trigger patterns tell.
"""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from rules.packs import View
from rules.patterns import key_of

BASE64_TRIGGER = 0
"""Number of the pattern that says that a text may hold base64."""
TRIGGERS = (key_of("[A-Za-z0-9+/_-]{24}", ""),)
"""Patterns that the engine adds to every ruleset, in the order of their numbers."""

MAX_DECODED_VIEWS = 32
"""Per text; further runs stay encoded."""
MAX_RUNS = 2_000
"""Base64-like runs of one text that are looked at."""
MAX_DECODED_BYTES = 4096
"""Of one run; the rest of a longer one stays encoded."""
MAX_DEPTH = 2

_BASE64_RUN = re.compile(r"[A-Za-z0-9+/_-]{24,}={0,2}")
_TO_STANDARD_ALPHABET = str.maketrans("-_", "+/")
_TAG_BASE = 0xE0000
_INVISIBLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\U0001d173-\U0001d17a\U000e0100-\U000e01ef"
)
_TAGS = "\U000e0000-\U000e007f"
_SPACES = "\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_COMPATIBLE = (
    "\u00aa\u00b2\u00b3\u00b9\u00ba\u017f\u1d2c-\u1d6a\u2070-\u209f\u2100-\u214f\u2460-\u24ff\u3200-\u33ff"
    "\ufb00-\ufb06\uff10-\uff19\uff21-\uff3a\uff41-\uff5a\U0001d400-\U0001d7ff\U0001f100-\U0001f1ff"
)
_SUSPICIOUS = re.compile(f"(?P<tags>[{_TAGS}]+)|(?P<folded>[{_SPACES}{_COMPATIBLE}]+)|[{_INVISIBLE}]+")


class DerivedView(NamedTuple):
    """One view and the way back. `offsets` are (view start, raw start, raw end, copied) of consecutive pieces."""

    name: View
    text: str
    pieces: tuple[tuple[int, int, int, bool], ...]

    def raw_span(self, start: int, end: int) -> tuple[int, int]:
        """The span of the raw text from which a span of the view came, in characters."""
        return self._raw(start, at_end=False), self._raw(max(start, end - 1), at_end=True)

    def _raw(self, position: int, *, at_end: bool) -> int:
        view_start, raw_start, raw_end, copied = self.pieces[
            max(0, bisect_right(self.pieces, position, key=lambda piece: piece[0]) - 1)
        ]
        if not copied:
            return raw_end if at_end else raw_start
        return min(raw_end, raw_start + position - view_start + (1 if at_end else 0))


def derive(text: str, *, may_hold_base64: bool) -> Iterator[DerivedView]:
    """The views of a text besides the raw one."""
    if not text.isascii() and _SUSPICIOUS.search(text):
        yield _normalized(text)
    if may_hold_base64:
        yield from _decoded(text)


def _normalized(text: str) -> DerivedView:
    pieces: list[tuple[int, int, int, bool]] = []
    out: list[str] = []
    size = position = 0
    for match in _SUSPICIOUS.finditer(text):
        start, end = match.span()
        for piece, low, high, copied in (
            (text[position:start], position, start, True),
            (_spell(match), start, end, False),
        ):
            if piece:
                pieces.append((size, low, high, copied))
                out.append(piece)
                size += len(piece)
        position = end
    pieces.append((size, position, len(text), True))
    out.append(text[position:])
    return DerivedView("normalized", "".join(out), tuple(pieces))


def _spell(match: re.Match[str]) -> str:
    """What a run of suspicious characters reads as: nothing, for invisible ones."""
    if tags := match["tags"]:
        return "".join(chr(ord(char) - _TAG_BASE) for char in tags if 0x20 <= ord(char) - _TAG_BASE < 0x7F)
    if folded := match["folded"]:
        return unicodedata.normalize("NFKC", folded).replace("\u2028", "\n").replace("\u2029", "\n")
    return ""


def _decoded(text: str) -> Iterator[DerivedView]:
    count = 0
    for match in islice(_BASE64_RUN.finditer(text), MAX_RUNS):
        inner: str | None = match[0]
        for _ in range(MAX_DEPTH):
            inner = _decode(inner) if inner else None
            if inner is None:
                break
            yield DerivedView("decoded", inner, ((0, match.start(), match.end(), False),))
            count += 1
            deeper = _BASE64_RUN.search(inner)
            inner = deeper[0] if deeper else None
        if count >= MAX_DECODED_VIEWS:
            return


def _decode(run: str) -> str | None:
    """The text inside a base64 run; None when it does not hold readable text."""
    compact = run.rstrip("=")[: MAX_DECODED_BYTES * 4 // 3].translate(_TO_STANDARD_ALPHABET)
    compact = compact[: len(compact) - (len(compact) % 4 == 1)]
    try:
        raw = base64.b64decode(compact + "=" * (-len(compact) % 4))
    except (binascii.Error, ValueError):
        return None
    text = raw.decode("utf-8", "replace")
    readable = sum((char.isprintable() and char != "\ufffd") or char in "\t\r\n" for char in text)
    return text if readable * 10 >= len(text) * 9 else None
