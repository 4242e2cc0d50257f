"""The Hyperscan form of a pattern: small, over bytes, and never narrower than the pattern itself.

Hyperscan only has to say where exact matching is worth while, and its compile time and size explode on bounded gaps,
on long lists of optional words and in UTF-8 mode (minutes, or "Pattern is too large", for patterns that people do
write). So a pattern is widened: upper bounds of counts go; a wide element (`.`, a negated class, `\\W`) takes any
number of bytes instead of a number of characters; characters outside ASCII become their UTF-8 bytes in every case; and a
pattern is cut at large optional or repeated groups and at wide gaps, and only the shortest stretch that is rare enough
in running text is looked for: two or three neighbouring words as a rule. Regular expressions without look-around only
grow by this, so what the widened form does not find, the pattern does not match. (The one exception is harmless: with
`i`, RE2 lets `k` and `s` match two characters outside ASCII, which the normalised view folds.)
"""

from __future__ import annotations

import re
from functools import lru_cache
from math import inf, log2
from typing import NamedTuple

from rules.stretches import (
    FIRST_IDEOGRAPH,
    IDEOGRAPH_BITS,
    LETTER_BITS,
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
from rules.utf8_classes import byte_sequences

MAX_DEPTH = 40
MAX_POSITIONS = 200
"""A group repeated at least so often that it exceeds this is repeated at least once instead."""
MAX_MINIMUM = 128
CUT_POSITIONS = 24
"""An optional or repeated group larger than this is a place to cut."""
COMMON_BITS = 9.5
"""A pattern that is rarer than once in 700 characters, by its letters, is worth looking for."""
MAX_REACH_BYTES = 1_500
"""What may match more than that is looked for in the whole text."""
REACH_MARGIN_BYTES = 16
"""For the few ASCII letters that stand for others of several bytes when case is ignored."""
SPARSE_BITS = 7.0

TOKEN_RUN_BYTES = 128
SEPARATOR_RUN_BYTES = 48
TOKEN_CLASS = r"[\w+/=.~%-]"  # noqa: S105
SEPARATOR_CLASS = r"[\x00-/:-@\[-`{-\x7f]"
LONG_RUN = f"{TOKEN_CLASS}{{{TOKEN_RUN_BYTES}}}|{SEPARATOR_CLASS}{{{SEPARATOR_RUN_BYTES}}}"
"""Where a text has such a run, an unbounded repetition may match more bytes than `reach` says."""
_TOKEN_BYTES = re.compile(rb"[\w+/=.~%-]", re.ASCII)
_SEPARATOR_BYTES = re.compile(rb"[^A-Za-z0-9\x80-\xff]")

_COUNT = re.compile(r"\{(\d{1,4})(,?)(\d{0,4})\}")
_DIGITS_AT_END = re.compile(rb"\\d\{\d+\}$")
_GROUP_HEAD = re.compile(r"\((?:\?(?:P?<[A-Za-z_]\w*>|[ims]*(?:-[ims]+)?:))?")
_INLINE_FLAGS = re.compile(r"\(\?[ims-]+\)")
_NON_ASCII_BYTES = r"\x80-\xff"
_GAP_CLASS = re.compile(r"\\x20-\\x7e|-\\x7e.*\\x20|\\x20.*-\\x7e")
"""A class body as `_member_text` writes it, from the space to the end of ASCII, perhaps with exceptions."""
_WIDE_ESCAPES = frozenset("WSD")


class NotUnderstood(ValueError):
    """The pattern uses syntax that the engines do not share."""


def widen(pattern: str) -> bytes:
    """The widened form of a pattern that RE2 accepts; raises `NotUnderstood` for the rest and for empty matches."""
    return _widened(pattern).text


class Reach(NamedTuple):
    """How far a match may stretch around what the widened form finds."""

    size: int
    """In bytes."""
    has_runs: bool
    """Whether it may be more where there is a `LONG_RUN`."""


def reach(pattern: str) -> Reach | None:
    """The most bytes that the pattern itself can match; None when that is too many."""
    widened = _widened(pattern)
    if widened.reach > MAX_REACH_BYTES:
        return None
    return Reach(int(widened.reach) + REACH_MARGIN_BYTES, widened.has_runs)


def is_sparse(pattern: str) -> bool:
    """Whether the widened form is found in few places of most texts, and once at each, so that all are worth knowing."""
    widened = _widened(pattern)
    ends_in_run = widened.text[-1:] in (b"+", b"*", b"}") and not _DIGITS_AT_END.search(widened.text)
    return widened.bits >= SPARSE_BITS and not ends_in_run and reach(pattern) is not None


def is_rare(pattern: str) -> bool:
    """Whether a pattern is rare by its letters and digits alone."""
    return not pattern.isascii() or _widened(pattern).bits >= COMMON_BITS


@lru_cache(maxsize=8_192)
def _widened(pattern: str) -> Piece:
    parser = _Parser(pattern)
    piece = parser.alternation(0)
    if parser.position != len(pattern):
        raise NotUnderstood("a closing parenthesis without an opening one")
    if not piece.shortest:
        raise NotUnderstood("it can match without a character")
    return piece


class _Parser:
    """Recursive descent over one pattern."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self.position = 0

    def _peek(self) -> str:
        return self._pattern[self.position : self.position + 1]

    def alternation(self, depth: int) -> Piece:
        if depth > MAX_DEPTH:
            raise NotUnderstood(f"nested deeper than {MAX_DEPTH}")
        branches: list[tuple[Element, ...]] = []
        while True:
            branches.append(tuple(self._sequence(depth)))
            if self._peek() != "|":
                break
            self.position += 1
        if not depth:
            return any_of([best_stretch(branch) for branch in branches])
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
            if is_group and not is_repeated and piece.elements and not any(one.piece.flags for one in piece.elements):
                elements += piece.elements
            elif is_group and is_repeated and (piece.positions > CUT_POSITIONS or not piece.bits):
                elements.append(Element(repeated, True, bool(repeated.shortest)))
            else:
                # What lies before a gap would keep the automaton busy to the end of the line.
                elements.append(Element(repeated, piece.gap and is_repeated, not piece.gap))
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
        if char == ".":
            return Piece(b".", 1, 1, wide=True, gap=True, reach=4)
        if char in "*+?":
            raise NotUnderstood("nothing to repeat")
        return _literal(char)

    def _group(self, depth: int) -> Piece:
        if flags := _INLINE_FLAGS.match(self._pattern, self.position):
            self.position = flags.end()
            return Piece(flags[0].encode(), 0, 0, flags=True)
        head = _GROUP_HEAD.match(self._pattern, self.position)
        if head is None or (head[0] == "(" and self._pattern.startswith("(?", self.position)):
            raise NotUnderstood("look-around and other special groups")
        self.position = head.end()
        inner = self.alternation(depth + 1)
        if self._peek() != ")":
            raise NotUnderstood("an opening parenthesis without a closing one")
        self.position += 1
        opening = "(?:" if head[0] == "(" or "<" in head[0] else head[0]
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
            return _literal(self._hexadecimal())
        if kind.isdigit() and kind != "0":
            raise NotUnderstood("back-references and octal escapes")
        if kind == "0" or (kind.isalpha() and kind not in "abBdDsSwWnrtfv") or not kind.isascii() or not kind:
            raise NotUnderstood(f"the escape \\{kind}")
        self.position += 2
        return Piece(
            f"\\{kind}".encode(),
            1,
            0 if kind in "bB" else 1,
            wide=kind in _WIDE_ESCAPES,
            bits=_ESCAPE_BITS.get(kind, 4.0),
            reach=0 if kind in "bB" else 4 if kind in _WIDE_ESCAPES else 1,
        )

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
                has_wide_set = has_wide_set or low[-1:] in _WIDE_ESCAPES
                members.append(low)
                continue
            high = self._range_end(low)
            if low.isascii():
                last = high if high.isascii() else "\x7f"
                members.append(_member_text(low) if low == last else f"{_member_text(low)}-{_member_text(last)}")
            if not high.isascii():
                others.append((max(0x80, ord(low)), ord(high)))
        self.position += 1
        body = "".join(members)
        if negated:
            gap = r"\x20" not in body and r"\s" not in body
            text = f"[^{body}]" if body else r"[\x00-\xff]"
            return Piece(text.encode(), 1, 1, wide=True, gap=gap, reach=4)
        gap = bool(_GAP_CLASS.search(body))
        bits = _class_bits(body) if body else 6.0
        sequences = byte_sequences(others) if others and not has_wide_set else ()
        if not others or sequences is None or has_wide_set:
            wide = has_wide_set or bool(others)
            text = f"[{body}{_NON_ASCII_BYTES if wide else ''}]"
            return Piece(text.encode(), 1, 1, wide, gap, bits=bits, reach=4 if wide else 1)
        branches = [*([f"[{body}]".encode()] if body else []), *sequences]
        return Piece(b"(?:" + b"|".join(branches) + b")", 3 * len(sequences) + 1, 1, gap=gap, bits=bits, reach=4)

    def _range_end(self, low: str) -> str:
        """The end of the range that begins with a member just read; the member itself where there is none."""
        if self._peek() != "-" or self._pattern[self.position + 1 : self.position + 2] in ("]", ""):
            return low
        self.position += 1
        high, is_set = self._member()
        if is_set:
            raise NotUnderstood("a class as the end of a range")
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
        if kind in _CONTROL:
            return _CONTROL[kind], False
        if kind and kind.isascii() and not kind.isalnum():
            return kind, False
        raise NotUnderstood(f"the escape \\{kind} in a class")

    def _repeated(self, piece: Piece) -> Piece:
        """An element with the quantifier that follows it, its upper bound taken away."""
        bounds = self._quantifier()
        if bounds is None:
            return piece._replace(text=piece.text + b"{1,4}") if piece.wide else piece
        minimum, maximum = bounds
        text, positions, shortest, wide, *_ = piece
        reach_bytes = _run_bytes(piece) if maximum is None else piece.reach * maximum
        has_runs = piece.has_runs or maximum is None
        if minimum == 0:
            sign = b"?" if maximum == 1 and not wide else b"*"
            loops = piece.loops + (sign == b"*")
            return Piece(text + sign, positions, 0, reach=reach_bytes, has_runs=has_runs, loops=loops)
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
            reach=reach_bytes,
            has_runs=has_runs,
            least=least,
            is_run=is_run,
            loops=piece.loops + (repeated != least),
        )

    def _quantifier(self) -> tuple[int, int | None] | None:
        """The bounds of a quantifier at this place; None where there is none."""
        char = self._peek()
        if char and char in "*+?":
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


def _run_bytes(piece: Piece) -> float:
    """How long an unbounded repetition may get without being a `LONG_RUN`."""
    if piece.positions != 1 or piece.reach != 1:
        return inf
    members = re.compile(piece.text, re.ASCII)
    found = [byte for byte in (bytes([code]) for code in range(128)) if members.match(byte)]
    if all(map(_TOKEN_BYTES.match, found)):
        return TOKEN_RUN_BYTES
    return SEPARATOR_RUN_BYTES if all(map(_SEPARATOR_BYTES.match, found)) else inf


_CONTROL = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "v": "\v", "a": "\a"}


_ESCAPE_BITS = {"b": 0.0, "B": 0.0, "w": 0.0, "W": 0.0, "s": 0.0, "S": 0.0, "d": 5.0, "D": 0.0}
"""How rare the characters of these sets are in running text."""


_SHARES = {
    **{chr(code): share / 26 for code in range(ord("a"), ord("z") + 1) for share in (0.8,)},
    **dict.fromkeys("0123456789", 0.001),
    **dict.fromkeys("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", 0.001),
    " ": 0.16,
    "\n": 0.01,
    "\t": 0.001,
}
"""Roughly how often each character occurs in running text; small letters stand for both cases."""


def _class_bits(body: str) -> float:
    """How rare the characters of a class are; nothing is made of classes that hold a space or many letters."""
    members = re.compile(f"[{body}]", re.ASCII | re.IGNORECASE)
    share = sum(share for char, share in _SHARES.items() if members.match(char))
    return -log2(max(share, 0.001)) if share < 0.1 else 0.0


def _literal(char: str) -> Piece:
    """One character in its UTF-8 bytes; outside ASCII in both cases, since Hyperscan folds only ASCII there."""
    if char in ("^", "$"):
        return Piece(char.encode(), 1, 0)
    if char.isascii():
        text = char.encode() if char.isprintable() and char not in "{}" else b"\\x%02x" % ord(char)
        if char.isalpha():
            return Piece(text, 1, 1, bits=LETTER_BITS, letter=True, reach=1)
        return Piece(text, 1, 1, bits=0.0 if char == " " else 5.0, reach=1)
    sequences = byte_sequences([(ord(char), ord(char))])
    assert sequences
    text = b"(?:" + b"|".join(sequences) + b")"
    if char >= FIRST_IDEOGRAPH:
        return Piece(text, 3, 1, bits=IDEOGRAPH_BITS, reach=4)
    return Piece(text, 3, 1, bits=LETTER_BITS, letter=True, reach=4)


def _member_text(char: str) -> str:
    return char if char.isalnum() else f"\\x{ord(char):02x}"
