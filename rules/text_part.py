"""The part of a text that is in reach: patterns are searched in it, and offsets in bytes become characters."""

from __future__ import annotations

from collections.abc import Callable

from rules.patterns import Regexps, Spans
from rules.windows import Windows

COUNTED_BYTES = 256
"""Characters are counted once for every so many bytes of a text."""
_CONTINUATIONS = bytes(range(0x80, 0xC0))
"""The bytes of UTF-8 with which no character begins."""


class Part:
    """The part of a text that is in reach."""

    __slots__ = ("_counts", "_found", "_windows", "ascii", "base", "base_chars", "closed", "data", "first")

    def __init__(
        self,
        data: bytes,
        base: int,
        base_chars: int,
        first: int,
        *,
        closed: bool,
        windows: Callable[[int], Windows | None] | None = None,
    ) -> None:
        self.data = data
        self.base = base
        """Offset of `data[0]` in the text, in bytes."""
        self.base_chars = base_chars
        self.first = first
        """The offset in `data` at which a match may begin; what lies before is only context."""
        self.closed = closed
        """Whether the text ends with `data`."""
        self.ascii = data.isascii()
        self._counts = [0]
        self._windows = windows
        self._found: dict[tuple[int, int, int], Spans | None] = {}

    def search(self, regexps: Regexps, number: int, position: int, limit: int) -> Spans | None:
        """The spans of the first match of a pattern between two offsets; rules that share a pattern share the search."""
        if number not in regexps.shared:
            return regexps.finders[number](self.data, position, limit)
        key = number, position, limit
        try:
            return self._found[key]
        except KeyError:
            found = self._found[key] = regexps.finders[number](self.data, position, limit)
            return found

    def windows(self, number: int) -> Windows:
        """The spans of `data` in which every match of a pattern lies, ascending."""
        found = self._windows(number) if self._windows else None
        return [(0, len(self.data))] if found is None else found

    def chars(self, position: int) -> int:
        """The character offset in the text of a byte offset in `data`."""
        if self.ascii:
            return self.base_chars + position
        counts = self._counts
        block = position // COUNTED_BYTES
        while len(counts) <= block:
            at = (len(counts) - 1) * COUNTED_BYTES
            counts.append(counts[-1] + _char_count(self.data[at : at + COUNTED_BYTES]))
        return self.base_chars + counts[block] + _char_count(self.data[block * COUNTED_BYTES : position])

    def around(self, start: int, end: int, within: int) -> tuple[int, int, bool]:
        """The bounds of the region `within` characters around a span, and whether it can still grow."""
        if self.ascii:
            low, high = start - within, end + within
        else:
            before = self.data[max(0, start - 4 * within) : start].decode("utf-8", "ignore")[-within:]
            after = self.data[end : end + 4 * within].decode("utf-8", "ignore")
            low = start - len(before.encode())
            high = end + (len(after[:within].encode()) if len(after) >= within else 4 * within)
        grows = not self.closed and high >= len(self.data)
        return max(0, low), min(len(self.data), high), grows


def _char_count(data: bytes) -> int:
    return len(data.translate(None, _CONTINUATIONS))


def boundary(data: bytes, position: int) -> int:
    """The first character boundary of UTF-8 `data` at or after `position`."""
    while position < len(data) and data[position] & 0xC0 == 0x80:
        position += 1
    return position
