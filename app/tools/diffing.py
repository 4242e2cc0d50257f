"""Two definitions side by side for a person: line by line, with the changed words marked. Pure and bounded.

Prose is compared by its lines and words, everything else as laid-out JSON by its lines and the values in them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from itertools import pairwise
from typing import Any, Final, Literal

import msgspec

from rules.pinning.visible import hidden_characters, similarity

MAX_LINES: Final = 600
MAX_LINE_CHARS: Final = 4_000
MAX_WORDS: Final = 1_500
CONTEXT_LINES: Final = 3
_ORDER: Final = ("origin", "serverInfo", "name", "title", "description", "instructions", "annotations", "inputSchema")
_WORD: Final = re.compile(r"\w+|\s+|[^\w\s]")
_TAG_BASE: Final = 0xE0000

LineKind = Literal["same", "removed", "added", "fold"]


class Piece(msgspec.Struct, frozen=True):
    """Part of a line; `marked` where it is what changed, `rule_id` where a rule found something in it."""

    text: str
    marked: bool = False
    rule_id: str = ""
    severity: str = ""


class Line(msgspec.Struct, frozen=True):
    """One line; a `fold` stands for unchanged ones, whose number is its text."""

    kind: LineKind
    pieces: tuple[Piece, ...]


class FieldDiff(msgspec.Struct, frozen=True):
    """One member of the definition."""

    name: str
    kind: Literal["changed", "added", "removed"]
    lines: tuple[Line, ...]
    is_cut: bool
    similarity: float | None
    hidden: str
    """What invisible characters that came new spell, where they spell something."""


class Mark(msgspec.Struct, frozen=True):
    """A finding in a text of the new definition."""

    pointer: str
    start: int
    end: int
    rule_id: str
    severity: str


def field_diffs(
    before: Mapping[str, Any] | None, after: Mapping[str, Any] | None, marks: Sequence[Mark] = ()
) -> list[FieldDiff]:
    """The members that differ, the telling ones first."""
    old, new = before or {}, after or {}
    names = sorted(old.keys() | new.keys(), key=lambda name: (_rank(name), name))
    return [
        _field(name, old.get(name, _NONE), new.get(name, _NONE), [mark for mark in marks if mark.pointer == f"/{name}"])
        for name in names
        if name not in old or name not in new or _json(old[name]) != _json(new[name])
    ]


def laid_out(value: Any) -> str:
    """A value as text: prose as it is, everything else as indented JSON."""
    return value if type(value) is str else json.dumps(value, indent=2, ensure_ascii=False)


class _Nothing:
    pass


_NONE = _Nothing()


def _field(name: str, before: Any, after: Any, marks: Sequence[Mark]) -> FieldDiff:
    old = "" if isinstance(before, _Nothing) else laid_out(before)
    new = "" if isinstance(after, _Nothing) else laid_out(after)
    kind: Literal["changed", "added", "removed"] = (
        "added" if isinstance(before, _Nothing) else "removed" if isinstance(after, _Nothing) else "changed"
    )
    is_prose = type(after) is str or (isinstance(after, _Nothing) and type(before) is str)
    lines = list(_lines(old, new, marks if is_prose else ()))
    return FieldDiff(
        name=name,
        kind=kind,
        lines=tuple(lines[:MAX_LINES]),
        is_cut=len(lines) > MAX_LINES,
        similarity=round(similarity(old, new), 2) if kind == "changed" and is_prose else None,
        hidden=_spelled(new) if hidden_characters(new) else "",
    )


def _lines(old: str, new: str, marks: Sequence[Mark]) -> Iterator[Line]:
    """The lines of both texts in their order, long stretches of unchanged ones folded."""
    left, right = _split(old), _split(new)
    starts = _starts(right)
    matcher = SequenceMatcher(None, left, right, autojunk=False)
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        if tag == "equal":
            yield from _unchanged(right, j1, j2, starts, marks, is_first=i1 == 0, is_last=j2 == len(right))
            continue
        pairs = list(zip(range(i1, i2), range(j1, j2), strict=False)) if tag == "replace" else []
        partner = {j: i for i, j in pairs}
        for i in range(i1, i2):
            mate = next((j for a, j in pairs if a == i), None)
            words = _words(left[i], right[mate])[0] if mate is not None else (Piece(left[i], marked=True),)
            yield Line("removed", words)
        for j in range(j1, j2):
            words = _words(left[partner[j]], right[j])[1] if j in partner else (Piece(right[j], marked=True),)
            yield Line("added", _marked(words, starts[j], marks))


def _unchanged(
    lines: Sequence[str],
    start: int,
    end: int,
    starts: Sequence[int],
    marks: Sequence[Mark],
    *,
    is_first: bool,
    is_last: bool,
) -> Iterator[Line]:
    head = 0 if is_first else CONTEXT_LINES
    tail = 0 if is_last else CONTEXT_LINES
    if end - start <= head + tail + 1:
        head, tail = end - start, 0
    for index in range(start, start + head):
        yield Line("same", _marked((Piece(lines[index]),), starts[index], marks))
    if hidden := end - start - head - tail:
        yield Line("fold", (Piece(str(hidden)),))
    for index in range(end - tail, end):
        yield Line("same", _marked((Piece(lines[index]),), starts[index], marks))


def _words(old: str, new: str) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
    """Two lines with the words marked in which they differ; lines that have little in common are marked whole."""
    left, right = _WORD.findall(old), _WORD.findall(new)
    if len(left) > MAX_WORDS or len(right) > MAX_WORDS:
        return (Piece(old, marked=True),), (Piece(new, marked=True),)
    matcher = SequenceMatcher(None, left, right, autojunk=False)
    if matcher.ratio() < 0.25:
        return (Piece(old, marked=True),), (Piece(new, marked=True),)
    before: list[Piece] = []
    after: list[Piece] = []
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        if i2 > i1:
            before.append(Piece("".join(left[i1:i2]), marked=tag != "equal"))
        if j2 > j1:
            after.append(Piece("".join(right[j1:j2]), marked=tag != "equal"))
    return tuple(before), tuple(after)


def _marked(pieces: Sequence[Piece], start: int, marks: Sequence[Mark]) -> tuple[Piece, ...]:
    """The pieces of a line that begins at `start` of its text, cut where findings begin and end."""
    found: list[Piece] = []
    for piece in pieces:
        end = start + len(piece.text)
        edges = sorted({start, end, *(edge for mark in marks for edge in (mark.start, mark.end) if start < edge < end)})
        for a, b in pairwise(edges):
            hit = next((mark for mark in marks if mark.start <= a and b <= mark.end), None)
            text = piece.text[a - start : b - start]
            found.append(Piece(text, piece.marked, hit.rule_id if hit else "", hit.severity if hit else ""))
        start = end
    return tuple(found) or (Piece(""),)


def _split(text: str) -> list[str]:
    return [line[:MAX_LINE_CHARS] for line in text.split("\n")][: 4 * MAX_LINES] if text else []


def _starts(lines: Sequence[str]) -> list[int]:
    starts, position = [], 0
    for line in lines:
        starts.append(position)
        position += len(line) + 1
    return starts


def _spelled(text: str) -> str:
    """What tag characters spell: text for a model that nobody sees."""
    return "".join(chr(ord(char) - _TAG_BASE) for char in text if 0xE0020 <= ord(char) <= 0xE007E)[:500]


def _rank(name: str) -> int:
    return _ORDER.index(name) if name in _ORDER else len(_ORDER)


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
