"""A text made from another one, and the way back to where each of its characters came from."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from enum import IntEnum
from typing import NamedTuple

from rules.packs import View

MAX_VIEW_CHARS = 4096
"""Of a decoded view."""
SEPARATOR = "\n\x00\n"
"""Between two segments of a view: no word and no phrase goes across it."""

_UNREADABLE = re.compile("[^\\x20-\\x7e\\t\\r\\n\\xa0-\\ud7ff\\ue000-\\ufffc\\U00010000-\\U000dffff]")


class Course(IntEnum):
    """How the characters of a piece lie in the base text."""

    FORWARD = 1
    """One for one."""
    BACKWARD = -1
    """One for one, the last one first."""
    WHOLE = 0
    """They came from the whole span together."""


class Piece(NamedTuple):
    """A part of a view and the span of the base text that it came from; it ends where the next one begins."""

    view_start: int
    start: int
    end: int
    course: Course


class Segment(NamedTuple):
    """A text on its way into a view; its pieces are in order and count from its own start."""

    text: str
    pieces: tuple[Piece, ...]


class Change(NamedTuple):
    """A part of a view that is not as it was in the base text: its span, which may be empty, and that of the base."""

    view_start: int
    view_end: int
    start: int
    end: int


class DerivedView(NamedTuple):
    """One view of a text. `base` is the view that it was made from, None for the raw text."""

    name: View
    made: str
    """How: `characters` (folded and stripped) or what was undone, as `base64`, `tags` or `base64+rot13`."""
    text: str
    pieces: tuple[Piece, ...]
    base: DerivedView | None = None
    changes: tuple[Change, ...] = ()
    """Of a plain view, in order: all in which it differs from the raw text."""

    @property
    def is_plain(self) -> bool:
        """Whether the text could be read as it stands, so that a hit in it is no worse than one in the raw text."""
        return self.made == PLAIN

    def raw_span(self, start: int, end: int) -> tuple[int, int]:
        """The span of the raw text from which a span of the view came, in characters."""
        low, high = self.base_span(start, end)
        return self.base.raw_span(low, high) if self.base else (low, high)

    def base_span(self, start: int, end: int) -> tuple[int, int]:
        """The same in the text that the view was made from."""
        first, last = self._origin(start), self._origin(max(start, end - 1))
        return min(first[0], last[0]), max(first[1], last[1])

    def _origin(self, position: int) -> tuple[int, int]:
        """The span of the base text from which one character came."""
        piece = self.pieces[max(0, bisect_right(self.pieces, position, key=_view_start) - 1)]
        if piece.course is Course.WHOLE:
            return piece.start, piece.end
        offset = position - piece.view_start
        at = piece.start + offset if piece.course is Course.FORWARD else piece.end - 1 - offset
        return max(piece.start, min(at, piece.end - 1)), max(piece.start, min(at + 1, piece.end))


PLAIN = "characters"


def _view_start(piece: Piece) -> int:
    return piece.view_start


def rewritten(
    text: str, origin: int, matches: Iterable[re.Match[str]], spell: Callable[[re.Match[str]], str]
) -> Segment:
    """`text`, which begins at `origin` of its base, with each match replaced by what `spell` makes of it."""
    pieces: list[Piece] = []
    out: list[str] = []
    size = position = 0
    for match in matches:
        start, end = match.span()
        if start > position:
            pieces.append(Piece(size, origin + position, origin + start, Course.FORWARD))
            out.append(text[position:start])
            size += start - position
        if spelled := spell(match):
            pieces.append(Piece(size, origin + start, origin + end, Course.WHOLE))
            out.append(spelled)
            size += len(spelled)
        position = end
    if position < len(text):
        pieces.append(Piece(size, origin + position, origin + len(text), Course.FORWARD))
        out.append(text[position:])
    return Segment("".join(out), tuple(pieces))


def packed(segments: Iterable[Segment]) -> Iterator[Segment]:
    """The segments joined to as few as fit into views of `MAX_VIEW_CHARS`; a longer one is cut."""
    texts: list[str] = []
    pieces: list[Piece] = []
    size = 0
    for text, inner in segments:
        room = min(len(text), MAX_VIEW_CHARS) + len(SEPARATOR)
        if texts and size + room > MAX_VIEW_CHARS:
            yield Segment(SEPARATOR.join(texts), tuple(pieces))
            texts, pieces, size = [], [], 0
        pieces += (piece._replace(view_start=size + piece.view_start) for piece in inner)
        texts.append(text[:MAX_VIEW_CHARS])
        size += room
    if texts:
        yield Segment(SEPARATOR.join(texts), tuple(pieces))


def is_readable(text: str) -> bool:
    """Whether at least nine in ten characters are ones that people read."""
    if not text or (text.isprintable() and "\ufffd" not in text):
        return bool(text)
    return len(_UNREADABLE.findall(text)) * 10 <= len(text)
