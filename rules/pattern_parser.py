"""The parts of a pattern as Hyperscan is to look for them: over the bytes of a text, or over squeezed text.

Recursive descent over the syntax that Hyperscan, RE2 and Python share. Each element comes out widened, see `prefilter`.
"""

from __future__ import annotations

import re
from functools import lru_cache

from rules import byte_pieces, word_pieces
from rules.stretches import (
    MIN_PART_CHARS,
    REPEATED_BITS,
    RUN_BITS,
    RUN_CHARS,
    WORD_BITS,
    Element,
    Piece,
    any_of,
    best_stretch,
    joined,
)

MAX_DEPTH = 40
MAX_POSITIONS = 200
"""A group repeated at least so often that it exceeds this is repeated at least once instead."""
MAX_MINIMUM = 128
CUT_POSITIONS = 24
"""An optional or repeated group larger than this is a place to cut."""
MAX_UNROLLED_POSITIONS = 600
"""A group over squeezed text that is repeated a bounded number of times keeps its bound up to this size; no loops stand
between its words."""

_COUNT = re.compile(r"\{(\d{1,4})(,?)(\d{0,4})\}")
_GROUP_HEAD = re.compile(r"\((?:\?(?:P?<[A-Za-z_]\w*>|[ims]*(?:-[ims]+)?:))?")
_INLINE_FLAGS = re.compile(r"\(\?[ims-]+\)")


class NotUnderstood(ValueError):
    """The pattern uses syntax that the engines do not share."""


@lru_cache(maxsize=2)
def branches_of(pattern: str, *, is_caseless: bool, words: bool = False) -> list[tuple[Element, ...]]:
    """The branches of a pattern that RE2 accepts, over its bytes or over squeezed text; raises `NotUnderstood`."""
    parser = _Parser(pattern, is_caseless=is_caseless, words=words)
    branches = parser.branches(0)
    if parser.position != len(pattern):
        raise NotUnderstood("a closing parenthesis without an opening one")
    return branches


class _Parser:
    """Recursive descent over one pattern."""

    def __init__(self, pattern: str, *, is_caseless: bool, words: bool) -> None:
        self._pattern = pattern
        self._is_caseless = is_caseless
        self._words = words
        self.position = 0

    def _peek(self) -> str:
        return self._pattern[self.position : self.position + 1]

    def branches(self, depth: int) -> list[tuple[Element, ...]]:
        """What stands between the bars at this place."""
        if depth > MAX_DEPTH:
            raise NotUnderstood(f"nested deeper than {MAX_DEPTH}")
        branches: list[tuple[Element, ...]] = []
        while True:
            elements = self._sequence(depth)
            branches.append(tuple(word_pieces.spaced(elements) if self._words else elements))
            if self._peek() != "|":
                return branches
            self.position += 1

    def _alternation(self, depth: int) -> Piece:
        branches = self.branches(depth)
        whole = any_of([joined([element.piece for element in branch]) for branch in branches])
        if len(branches) == 1:
            return whole._replace(elements=branches[0])
        reduced = any_of([best_stretch(branch) for branch in branches])
        return whole._replace(reduced=reduced if reduced.shortest >= MIN_PART_CHARS else None)

    def _sequence(self, depth: int) -> list[Element]:
        """One branch: its elements, and where it may be cut: at large or empty repeated groups and at gaps."""
        elements: list[Element] = []
        while self._peek() not in ("", "|", ")"):
            is_group = self._peek() == "("
            piece = self._item(depth)
            start = self.position
            repeated = self._repeated(piece)
            is_repeated = self.position > start
            is_bounded = self._words and (not repeated.loops or repeated.loose != "")
            largest = MAX_UNROLLED_POSITIONS if is_bounded else CUT_POSITIONS
            if is_group and not is_repeated and piece.elements and not any(one.piece.flags for one in piece.elements):
                elements += piece.elements
            elif is_group and is_repeated and (piece.positions > largest or not (piece.bits or is_bounded)):
                elements.append(Element(repeated, True, bool(repeated.shortest)))
            else:
                # What lies before a gap would keep the automaton busy to the end of the line.
                is_gap = repeated.gap if self._words else piece.gap
                elements.append(Element(repeated, is_gap and (is_repeated or self._words), not is_gap))
        return elements

    def _item(self, depth: int) -> Piece:
        char = self._peek()
        if char == "(":
            return self._group(depth)
        if char == "[":
            return self._class()
        if char == "\\":
            return self._escape()
        self.position += 1
        if char == "." and self._words:
            return word_pieces.GAP
        if char == ".":
            return Piece(b".", 1, 1, wide=True, gap=True, reach=4)
        if char in "*+?":
            raise NotUnderstood("nothing to repeat")
        return self._literal(char)

    def _literal(self, char: str) -> Piece:
        if self._words and char.isascii():
            return word_pieces.NOTHING if char in ("^", "$") else word_pieces.character(char)
        return byte_pieces.literal(char, is_caseless=self._is_caseless)

    def _group(self, depth: int) -> Piece:
        if flags := _INLINE_FLAGS.match(self._pattern, self.position):
            self.position = flags.end()
            if self._words:
                return word_pieces.NOTHING
            return Piece(flags[0].encode(), 0, 0, flags=True)
        head = _GROUP_HEAD.match(self._pattern, self.position)
        if head is None or (head[0] == "(" and self._pattern.startswith("(?", self.position)):
            raise NotUnderstood("look-around and other special groups")
        self.position = head.end()
        inner = self._alternation(depth + 1)
        if self._peek() != ")":
            raise NotUnderstood("an opening parenthesis without a closing one")
        self.position += 1
        opening = "(?:" if self._words or head[0] == "(" or "<" in head[0] else head[0]
        text = opening.encode() + inner.text + b")"
        group = inner._replace(text=text, bits=min(inner.bits, WORD_BITS))
        if opening != "(?:":
            # Its flags hold for all of it.
            return group._replace(elements=(), reduced=None)
        if inner.reduced is None:
            return group
        reduced = inner.reduced._replace(
            text=b"(?:" + inner.reduced.text + b")", bits=min(inner.reduced.bits, WORD_BITS)
        )
        return group._replace(reduced=reduced)

    def _escape(self) -> Piece:
        kind = self._pattern[self.position + 1 : self.position + 2]
        if kind == "x":
            return self._literal(self._hexadecimal())
        if kind.isdigit() and kind != "0":
            raise NotUnderstood("back-references and octal escapes")
        if kind == "0" or (kind.isalpha() and kind not in "abBdDsSwWnrtfv") or not kind.isascii() or not kind:
            raise NotUnderstood(f"the escape \\{kind}")
        self.position += 2
        return word_pieces.escape(kind) if self._words else byte_pieces.escape(kind)

    def _hexadecimal(self) -> str:
        digits = self._pattern[self.position + 2 : self.position + 4]
        if not re.fullmatch("[0-9A-Fa-f]{2}", digits):
            raise NotUnderstood("\\x takes two hexadecimal digits")
        self.position += 4
        return chr(int(digits, 16))

    def _class(self) -> Piece:
        """A bracket class. Members outside ASCII become their bytes, or go when the class is negated."""
        self.position += 1
        negated = self._peek() == "^"
        self.position += negated
        members: list[str] = []
        others: list[tuple[int, int]] = []
        has_wide_set = False
        first = True
        while self._peek() != "]" or first:
            first = False
            low, is_set = self._member()
            if is_set:
                has_wide_set = has_wide_set or low[-1:] in byte_pieces.WIDE_ESCAPES
                members.append(low)
                continue
            high = self._range_end(low)
            if low.isascii():
                last = high if high.isascii() else "\x7f"
                ends = dict.fromkeys((byte_pieces.member_text(low), byte_pieces.member_text(last)))
                members.append("-".join(ends))
            if not high.isascii():
                others.append((max(0x80, ord(low)), ord(high)))
        self.position += 1
        body = "".join(members)
        if self._words:
            return word_pieces.GAP if negated else word_pieces.char_class(body, tuple(others), has_wide_set)
        if negated:
            return byte_pieces.negated_class(body)
        return byte_pieces.char_class(body, tuple(others), has_wide_set, is_caseless=self._is_caseless)

    def _range_end(self, low: str) -> str:
        """The end of the range that begins with a member just read; the member itself where there is none."""
        if self._peek() != "-" or self._pattern[self.position + 1 : self.position + 2] in ("]", ""):
            return low
        self.position += 1
        high, is_set = self._member()
        if is_set:
            raise NotUnderstood("a class as the end of a range")
        if high < low:
            raise NotUnderstood("a range that ends before it begins")
        return high

    def _member(self) -> tuple[str, bool]:
        """One member of a class as a character, or as an escape that stands for a set."""
        char = self._peek()
        if not char:
            raise NotUnderstood("a class without an end")
        if char == "[" and self._pattern[self.position + 1 : self.position + 2] in (":", "=", "."):
            raise NotUnderstood("POSIX classes")
        if char != "\\":
            self.position += 1
            return char, False
        kind = self._pattern[self.position + 1 : self.position + 2]
        if kind == "x":
            return self._hexadecimal(), False
        self.position += 2
        if kind in ("d", "D", "s", "S", "w", "W"):
            return f"\\{kind}", True
        if kind in byte_pieces.CONTROL:
            return byte_pieces.CONTROL[kind], False
        if kind and kind.isascii() and not kind.isalnum():
            return kind, False
        raise NotUnderstood(f"the escape \\{kind} in a class")

    def _repeated(self, piece: Piece) -> Piece:
        """An element with the quantifier that follows it, its upper bound taken away."""
        bounds = self._quantifier()
        if self._words and bounds is not None and (changed := word_pieces.repeated(piece, *bounds)) is not None:
            return changed
        if bounds is None:
            return piece._replace(text=piece.text + b"{1,4}") if piece.wide else piece
        minimum, maximum = bounds
        text, positions, shortest, wide, *_ = piece
        reach_bytes = byte_pieces.run_bytes(piece) if maximum is None else piece.reach * maximum
        has_runs = piece.has_runs or maximum is None
        is_unrolled = self._words and not piece.loops
        if is_unrolled and maximum is not None and 1 < maximum <= MAX_UNROLLED_POSITIONS / max(1, positions):
            return piece._replace(
                text=text + b"{%d,%d}" % (minimum, maximum),
                shortest=shortest * minimum,
                bits=piece.bits if minimum else 0.0,
                number=_repeated_number(piece, minimum),
                letter=False,
                reach=reach_bytes,
                foreign=piece.foreign and minimum > 0,
                word_start=piece.word_start and minimum > 0,
                word_end=piece.word_end and minimum > 0,
                elements=(),
                reduced=None,
            )
        if minimum == 0:
            sign = b"?" if maximum == 1 and not wide else b"*"
            loops = piece.loops + (sign == b"*")
            return Piece(
                text + sign,
                positions,
                0,
                number=_repeated_number(piece, 0),
                reach=reach_bytes,
                has_runs=has_runs,
                loops=loops,
                starts=piece.starts,
                ends=piece.ends,
            )
        size = positions * minimum
        bits = piece.bits + (minimum - 1) * min(piece.bits, REPEATED_BITS)
        if wide or minimum == 1 or size > MAX_POSITIONS or minimum > MAX_MINIMUM:
            least, repeated = text + (b"{1,4}" if wide else b""), text + b"+"
            size = positions
        else:
            least = text + b"{%d}" % minimum
            repeated = least if maximum == minimum else text + b"{%d,}" % minimum
        is_run = minimum >= RUN_CHARS and positions == 1 and not wide and not piece.gap and not re.match(text, b" ")
        return Piece(
            repeated,
            size,
            shortest * minimum,
            bits=max(bits, RUN_BITS) if is_run else bits,
            number=_repeated_number(piece, minimum),
            reach=reach_bytes,
            has_runs=has_runs,
            least=least,
            is_run=is_run,
            loops=piece.loops + (repeated != least),
            foreign=piece.foreign,
            starts=piece.starts,
            ends=piece.ends,
            word_start=piece.word_start,
            word_end=piece.word_end,
        )

    def _quantifier(self) -> tuple[int, int | None] | None:
        """The bounds of a quantifier at this place; None where there is none."""
        char = self._peek()
        if char not in ("*", "+", "?", "{"):
            return None
        if char != "{":
            self.position += 1
            bounds = (int(char == "+"), 1 if char == "?" else None)
        elif count := _COUNT.match(self._pattern, self.position):
            self.position = count.end()
            minimum = int(count[1])
            bounds = (minimum, minimum if not count[2] else int(count[3]) if count[3] else None)
        else:
            return None
        if self._peek() == "?":
            self.position += 1
        elif self._peek() in ("+", "*") or _COUNT.match(self._pattern, self.position):
            raise NotUnderstood("a quantifier of a quantifier")
        return bounds


def _repeated_number(piece: Piece, minimum: int) -> float | None:
    return None if piece.number is None else piece.number * minimum
