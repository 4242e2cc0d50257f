"""The Hyperscan form of a pattern: small, over bytes, and never narrower than the pattern itself.

Hyperscan only has to say where exact matching is worth while, and its compile time and size explode on bounded gaps,
on long lists of optional words and in UTF-8 mode (minutes, or "Pattern is too large", for patterns that people do
write). So a pattern is widened: upper bounds of counts go; a wide element (`.`, a negated class, `\\W`) takes any
number of bytes instead of a number of characters; characters outside ASCII become their UTF-8 bytes in every case;
and a pattern is cut at large optional or repeated groups and at wide gaps, and only the part with the longest text
is looked for. Regular expressions without look-around only grow by this, so what the widened form does not find, the
pattern does not match. (The one exception is harmless: with `i`, RE2 lets `k` and `s` match two characters outside
ASCII, which the normalised view folds.)
"""

from __future__ import annotations

import re
from typing import NamedTuple

MAX_DEPTH = 40
MAX_POSITIONS = 200
"""A group repeated at least so often that it exceeds this is repeated at least once instead."""
MAX_MINIMUM = 128
CUT_POSITIONS = 24
"""An optional or repeated group larger than this is a place to cut."""
MIN_PART_CHARS = 3
"""A part that matches fewer characters than this would be found everywhere."""

_COUNT = re.compile(r"\{(\d{1,4})(,?)(\d{0,4})\}")
_GROUP_HEAD = re.compile(r"\((?:\?(?:P?<[A-Za-z_]\w*>|[ims]*(?:-[ims]+)?:))?")
_INLINE_FLAGS = re.compile(r"\(\?[ims-]+\)")
_NON_ASCII_BYTES = r"\x80-\xff"
_GAP_CLASS = re.compile(r"\\x20-\\x7e|-\\x7e.*\\x20|\\x20.*-\\x7e")
"""A class body as `_member_text` writes it, from the space to the end of ASCII, perhaps with exceptions."""
_WIDE_ESCAPES = frozenset("WSD")


class NotUnderstood(ValueError):
    """The pattern uses syntax that the engines do not share."""


class Piece(NamedTuple):
    """A widened element."""

    text: bytes
    positions: int
    """Its size in the automaton."""
    shortest: int
    """The fewest characters that it matches."""
    wide: bool = False
    """Whether one of its characters may be several bytes."""
    gap: bool = False
    """Whether it is a character that may be nearly any: letters and spaces included."""
    flags: bool = False
    """Whether it only changes the flags of what follows."""


def widen(pattern: str) -> bytes:
    """The widened form of a pattern that RE2 accepts; raises `NotUnderstood` for the rest and for empty matches."""
    parser = _Parser(pattern)
    piece = parser.alternation(0)
    if parser.position != len(pattern):
        raise NotUnderstood("a closing parenthesis without an opening one")
    if not piece.shortest:
        raise NotUnderstood("it can match without a character")
    return piece.text


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
        branches: list[Piece] = []
        while True:
            branches.append(self._sequence(depth))
            if self._peek() != "|":
                break
            self.position += 1
        text = b"|".join(branch.text for branch in branches)
        return Piece(text, sum(b.positions for b in branches), min(b.shortest for b in branches))

    def _sequence(self, depth: int) -> Piece:
        """One branch. At the top it is cut at large repeated groups and at gaps, and only the best part is kept."""
        parts: list[list[Piece]] = [[]]
        flags: list[Piece] = []
        while self._peek() not in ("", "|", ")"):
            is_group = self._peek() == "("
            piece = self._item(depth)
            if is_group and piece.flags:
                flags.append(piece)
            start = self.position
            repeated = self._repeated(piece)
            parts[-1].append(repeated)
            if is_group and self.position > start and piece.positions > CUT_POSITIONS and depth == 0:
                if not repeated.shortest:
                    parts[-1].pop()
                parts.append([*flags])
            elif piece.gap and self.position > start and depth == 0:
                # What lies before a gap would keep the automaton busy to the end of the line.
                parts[-1].pop()
                parts.append([*flags])
        best = max((_joined(part) for part in parts), key=lambda part: part.shortest)
        if best.shortest >= MIN_PART_CHARS or len(parts) == 1:
            return best
        return Piece(_ANYTHING.join(_joined(part).text for part in parts), best.positions, best.shortest)

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
            return Piece(b".", 1, 1, wide=True, gap=True)
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
        return Piece(opening.encode() + inner.text + b")", inner.positions, inner.shortest)

    def _escape(self) -> Piece:
        kind = self._pattern[self.position + 1 : self.position + 2]
        if kind == "x":
            return _literal(self._hexadecimal())
        if kind.isdigit() and kind != "0":
            raise NotUnderstood("back-references and octal escapes")
        if kind == "0" or (kind.isalpha() and kind not in "abBdDsSwWnrtfv") or not kind.isascii() or not kind:
            raise NotUnderstood(f"the escape \\{kind}")
        self.position += 2
        return Piece(f"\\{kind}".encode(), 1, 0 if kind in "bB" else 1, wide=kind in _WIDE_ESCAPES)

    def _hexadecimal(self) -> str:
        digits = self._pattern[self.position + 2 : self.position + 4]
        if not re.fullmatch("[0-9A-Fa-f]{2}", digits):
            raise NotUnderstood("\\x takes two hexadecimal digits")
        self.position += 4
        return chr(int(digits, 16))

    def _class(self) -> Piece:
        """A bracket class. Members outside ASCII become every byte outside ASCII, or go when the class is negated."""
        self.position += 1
        negated = self._peek() == "^"
        self.position += negated
        members: list[str] = []
        wide = negated
        first = True
        while self._peek() != "]" or first:
            first = False
            low, is_set = self._member()
            wide = wide or (is_set and low[-1:] in _WIDE_ESCAPES) or not low.isascii()
            high = low
            if (
                not is_set
                and self._peek() == "-"
                and self._pattern[self.position + 1 : self.position + 2] not in ("]", "")
            ):
                self.position += 1
                high, is_set = self._member()
                if is_set:
                    raise NotUnderstood("a class as the end of a range")
                wide = wide or not high.isascii()
            members += _byte_members(low, high, negated) if not is_set else [low]
        self.position += 1
        body = "".join(members)
        if not body:
            return Piece(b"[\\x00-\\xff]", 1, 1, wide=True)
        gap = r"\x20" not in body and r"\s" not in body if negated else bool(_GAP_CLASS.search(body))
        return Piece(f"[{'^' if negated else ''}{body}]".encode(), 1, 1, wide, gap)

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
        if minimum == 0:
            return Piece(text + (b"?" if maximum == 1 and not wide else b"*"), positions, 0)
        size = positions * minimum
        if wide or minimum == 1 or size > MAX_POSITIONS or minimum > MAX_MINIMUM:
            return Piece(text + b"+", positions, shortest * minimum)
        count = b"{%d}" % minimum if maximum == minimum else b"{%d,}" % minimum
        return Piece(text + count, size, shortest * minimum)

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


def _joined(part: list[Piece]) -> Piece:
    return Piece(b"".join(p.text for p in part), sum(p.positions for p in part), sum(p.shortest for p in part))


_ANYTHING = rb"[\x00-\xff]*"
_CONTROL = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "v": "\v", "a": "\a"}


def _literal(char: str) -> Piece:
    """One character in its UTF-8 bytes; outside ASCII in both cases, since Hyperscan folds only ASCII there."""
    if char in ("^", "$"):
        return Piece(char.encode(), 1, 0)
    if char.isascii():
        return Piece(char.encode() if char.isprintable() and char not in "{}" else b"\\x%02x" % ord(char), 1, 1)
    forms = sorted({form for form in (char, char.lower(), char.upper()) if len(form) == 1})
    encoded = [b"".join(b"\\x%02x" % byte for byte in form.encode()) for form in forms]
    return Piece(b"(?:" + b"|".join(encoded) + b")", 3, 1)


def _byte_members(low: str, high: str, negated: bool) -> list[str]:
    if low.isascii() and high.isascii():
        return [_member_text(low)] if low == high else [f"{_member_text(low)}-{_member_text(high)}"]
    if negated:
        return [f"{_member_text(low)}-\\x7f"] if low.isascii() else []
    return [*([f"{_member_text(low)}-\\x7f"] if low.isascii() else []), _NON_ASCII_BYTES]


def _member_text(char: str) -> str:
    return char if char.isalnum() else f"\\x{ord(char):02x}"
