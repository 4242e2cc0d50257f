"""Texts that a widened form matches, to see whether Hyperscan finds them.

Vectorscan 5.4.12 overlooks matches of some patterns, by how they begin and where in a text they stand (its accelerated
search for pairs of characters). Nobody can tell from a pattern whether it is one of them, so every compiled part is tried
on samples of each of its forms, and a form that is overlooked once is looked for in another way.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterator, Sequence
from itertools import zip_longest
from math import prod

from rules.patterns import Expression, found_by_form

MAX_SAMPLES = 48
"""Of one form; as many of its alternatives stand at the beginning of one."""
MAX_REPEATED = 64
WIDE, MAX_WIDE = 8, 128
"""What may be repeated more often than that is repeated as often as it may be as well, up to so many times."""
SHORTEST = 6
BEFORE = b"lorem ipsum dolor sit amet consectetur adipiscing elit sed eiusmod "
AFTER = b" tempor incididunt labore et dolore magna aliqua enim minim veniam"
"""What stands around a sample: long enough for the engine to search for where a match may begin, of no rule's words."""

_COUNT = re.compile(rb"\{(\d+)(?:,(\d*))?\}")
_GROUP_HEAD = re.compile(rb"\((?:\?[a-z-]*:)?")
_INLINE_FLAGS = re.compile(rb"\(\?[a-z-]+\)")
_CLASS = re.compile(rb"\[(\^?)((?:\\x[0-9a-f]{2}|\\.|[^\]\\])*)\]", re.DOTALL)
_SETS = {b"d": (b"0", b"7"), b"w": (b"a", b"Z"), b"s": (b" ", b"\n"), b"D": (b"x",), b"W": (b" ", b"-"), b"S": (b"x",)}
_PRINTABLE = bytes([*range(0x21, 0x7F), 0x20, *range(0x80, 0xFF), *range(0x20)])


def overlooked(wanted: Sequence[Expression], scan: Callable[[bytes], Container[int]]) -> tuple[int, ...]:
    """The positions of those forms of which `scan`, which gives positions, overlooks a sample."""
    found: list[int] = []
    for position, form in enumerate(wanted):
        for sample in samples(form.source):
            text = BEFORE + sample + AFTER
            if position not in scan(text) and found_by_form(form, text):
                found.append(position)
                break
    return tuple(found)


def samples(source: bytes) -> list[bytes]:
    """Texts that a form matches, but for the boundaries in it."""
    return _Sampler(source).alternation()[: 2 * MAX_SAMPLES]


class _Sampler:
    """Recursive descent over a form, which is sound syntax."""

    def __init__(self, source: bytes) -> None:
        self._source = source
        self._position = 0

    def _peek(self) -> bytes:
        return self._source[self._position : self._position + 1]

    def alternation(self) -> list[bytes]:
        branches = [self._sequence()]
        while self._peek() == b"|":
            self._position += 1
            branches.append(self._sequence())
        turns = (sample for turn in zip_longest(*branches) for sample in turn if sample is not None)
        return list(dict.fromkeys(turns))

    def _sequence(self) -> list[bytes]:
        items: list[list[bytes]] = []
        while self._peek() not in (b"", b"|", b")"):
            items.append(self._repeated(self._item()))
        # Short matches are overlooked most often.
        shortest = [sorted(item, key=len)[:SHORTEST] for item in items]
        found = [b"".join(_chosen(these, number)) for these in (items, shortest) for number in range(_count(these))]
        return list(dict.fromkeys(found))

    def _item(self) -> list[bytes]:
        char = self._peek()
        if char == b"(":
            if flags := _INLINE_FLAGS.match(self._source, self._position):
                self._position = flags.end()
                return [b""]
            head = _GROUP_HEAD.match(self._source, self._position)
            assert head
            self._position = head.end()
            inner = self.alternation()
            self._position += 1
            return inner
        if char == b"[":
            return self._class()
        if char == b"\\":
            return self._escape()
        self._position += 1
        return [b"", b"\n"] if char in (b"^", b"$") else [b"k"] if char == b"." else [char]

    def _escape(self) -> list[bytes]:
        kind = self._source[self._position + 1 : self._position + 2]
        if kind == b"x":
            self._position += 4
            return [bytes([int(self._source[self._position - 2 : self._position], 16)])]
        self._position += 2
        if kind in (b"b", b"B"):
            return [b""]
        return list(_SETS.get(kind) or [{b"n": b"\n", b"r": b"\r", b"t": b"\t", b"f": b"\f"}.get(kind, kind)])

    def _class(self) -> list[bytes]:
        match = _CLASS.match(self._source, self._position)
        assert match
        self._position = match.end()
        members = re.compile(match[0])
        found = [bytes([code]) for code in _PRINTABLE if members.match(bytes([code]))]
        chosen = [found[0], found[len(found) // 2]]
        # A gap between words may need one for the boundaries beside it.
        return [*chosen, b" "] if b" " in found else chosen

    def _repeated(self, item: list[bytes]) -> list[bytes]:
        least, most = 1, 1
        char = self._peek()
        if char in (b"?", b"*", b"+"):
            self._position += 1
            least, most = int(char == b"+"), 1 if char == b"?" else 2
        elif count := _COUNT.match(self._source, self._position):
            self._position = count.end()
            least = most = int(count[1])
            if count[2] is not None:
                most = int(count[2]) if count[2] else least + 1
        else:
            return item
        if self._peek() == b"?":
            self._position += 1
        widest = [item[0] * most] if WIDE < most <= MAX_WIDE else []
        least, most = min(least, MAX_REPEATED), min(most, least + 2)
        return list(dict.fromkeys([*(one * most for one in item), *(one * least for one in item), *widest]))


def _count(items: Sequence[Sequence[bytes]]) -> int:
    return min(MAX_SAMPLES, prod(map(len, items)))


def _chosen(items: Sequence[Sequence[bytes]], number: int) -> Iterator[bytes]:
    """One sample of each item: of the first with a choice each in its turn, of the others in ever new combinations."""
    turn = number
    for at, item in enumerate(items):
        yield item[turn % len(item)]
        if len(item) > 1:
            turn = (number * (2 * at + 3) + number // len(item)) % 1009
