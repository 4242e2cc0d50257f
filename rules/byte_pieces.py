"""Elements of patterns as they are over the bytes of a text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from math import inf, log2
from string import ascii_letters, ascii_uppercase

from rules.stretches import CAPITAL_BITS, DIGIT_BITS, FIRST_IDEOGRAPH, IDEOGRAPH_BITS, LETTER_BITS, Piece
from rules.utf8_classes import byte_sequences

TOKEN_RUN_BYTES = 128
SEPARATOR_RUN_BYTES = 48
TOKEN_BYTES = re.compile(rb"[\w+/=.~%-]", re.ASCII)
_SEPARATOR_BYTES = re.compile(rb"[^A-Za-z0-9\x80-\xff]")
WIDE_ESCAPES = frozenset("WSD")
_NON_ASCII_BYTES = r"\x80-\xff"
_GAP_CLASS = re.compile(r"\\x20-\\x7e|-\\x7e.*\\x20|\\x20.*-\\x7e")
"""A class body as `member_text` writes it, from the space to the end of ASCII, perhaps with exceptions."""


@lru_cache(maxsize=1_024)
def run_bytes(piece: Piece) -> float:
    """How long an unbounded repetition may get without being a `LONG_RUN`."""
    if piece.positions != 1 or piece.reach != 1:
        return inf
    members = re.compile(piece.text, re.ASCII)
    found = [byte for byte in (bytes([code]) for code in range(128)) if members.match(byte)]
    if all(map(TOKEN_BYTES.match, found)):
        return TOKEN_RUN_BYTES
    return SEPARATOR_RUN_BYTES if all(map(_SEPARATOR_BYTES.match, found)) else inf


CONTROL = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "v": "\v", "a": "\a"}


ESCAPE_BITS = {"b": 0.0, "B": 0.0, "w": 0.0, "W": 0.0, "s": 0.0, "S": 0.0, "d": 5.0, "D": 0.0}
"""How rare the characters of these sets are in running text."""


_SHARES = {
    **{chr(code): share / 26 for code in range(ord("a"), ord("z") + 1) for share in (0.8,)},
    **dict.fromkeys("0123456789", 0.003),
    **dict.fromkeys("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", 0.001),
    " ": 0.16,
    "\n": 0.01,
    "\t": 0.001,
}
"""Roughly how often each character occurs in running text; small letters stand for both cases where those are the same."""


_CAPITAL_SHARE = 0.03 / 26
_OF_NUMBERS = frozenset("0123456789 \t\r\n\v\f.,:;/+-()_")
"""The digits, and what stands between those of dates, times, amounts and coordinates."""
_OTHER = re.compile(r"[0-9]|\\x")


@lru_cache(maxsize=1_024)
def class_bits(body: str, *, is_caseless: bool) -> float:
    """How rare the characters of a class are; nothing is made of classes that hold a space or many letters."""
    members = re.compile(f"[{body}]", re.ASCII | (re.IGNORECASE if is_caseless else 0))
    share = sum(share for char, share in _SHARES.items() if members.match(char))
    if not is_caseless:
        share += sum(_CAPITAL_SHARE for char in ascii_uppercase if members.match(char))
    if share >= 0.1:
        return 0.0
    letters = {char.lower() for char in ascii_letters if members.match(char)}
    if len(letters) == 1 and is_caseless and _OTHER.search(body):
        return LETTER_BITS  # One letter of a word, in a spelling with digits and signs.
    return -log2(max(share, 0.001))


@lru_cache(maxsize=1_024)
def number_bits(body: str) -> float | None:
    """What a class of ASCII characters tells in a number, see `Piece.number`."""
    members = re.compile(f"[{body}]", re.ASCII)
    found = {chr(code) for code in range(128) if members.match(chr(code))}
    if not found <= _OF_NUMBERS:
        return None
    digits = found.intersection("0123456789")
    return DIGIT_BITS + log2(10 / len(digits)) if digits == found else 0.0


@lru_cache(maxsize=1_024)
def literal(char: str, *, is_caseless: bool) -> Piece:
    """One character in its UTF-8 bytes; outside ASCII in both cases, since Hyperscan folds only ASCII there."""
    if char in ("^", "$"):
        return Piece(char.encode(), 1, 0, number=0.0)
    if char.isascii():
        text = char.encode() if char.isprintable() and char not in "{}" else b"\\x%02x" % ord(char)
        if char.isalpha():
            bits = CAPITAL_BITS if char.isupper() and not is_caseless else LETTER_BITS
            return Piece(text, 1, 1, bits=bits, letter=True, reach=1)
        return Piece(text, 1, 1, bits=0.0 if char == " " else 5.0, number=number_bits(member_text(char)), reach=1)
    sequences = byte_sequences([(ord(char), ord(char))])
    assert sequences
    text = b"(?:" + b"|".join(sequences) + b")"
    if char >= FIRST_IDEOGRAPH:
        return Piece(text, 3, 2, bits=IDEOGRAPH_BITS, reach=4, foreign=True)
    return Piece(text, 3, 1, bits=LETTER_BITS, letter=True, reach=4, foreign=True)


def choice(body: str, sequences: Sequence[bytes]) -> Piece:
    """A class of ASCII characters, or none, and characters outside ASCII."""
    branches = [*([f"[{body}]".encode()] if body else []), *sequences]
    text = b"(?:" + b"|".join(branches) + b")"
    return Piece(text, 3 * len(sequences) + 1, 1, reach=4, foreign=not body)


def escape(kind: str) -> Piece:
    """An escape other than a hexadecimal one."""
    return Piece(
        f"\\{kind}".encode(),
        1,
        0 if kind in "bB" else 1,
        wide=kind in WIDE_ESCAPES,
        bits=ESCAPE_BITS.get(kind, 4.0),
        number=0.0 if kind in "bB" else None if kind in WIDE_ESCAPES else number_bits(f"\\{kind}"),
        reach=0 if kind in "bB" else 4 if kind in WIDE_ESCAPES else 1,
    )


def negated_class(body: str) -> Piece:
    """A negated class, by its ASCII body."""
    gap = r"\x20" not in body and r"\s" not in body
    return Piece((f"[^{body}]" if body else r"[\x00-\xff]").encode(), 1, 1, wide=True, gap=gap, reach=4)


def char_class(body: str, others: tuple[tuple[int, int], ...], has_wide_set: bool, *, is_caseless: bool) -> Piece:
    """A class, by its ASCII body and its ranges outside ASCII."""
    gap = bool(_GAP_CLASS.search(body))
    bits = class_bits(body, is_caseless=is_caseless) if body else 6.0
    sequences = byte_sequences(others) if others and not has_wide_set else ()
    if not others or sequences is None or has_wide_set:
        wide = has_wide_set or bool(others)
        text = f"[{body}{_NON_ASCII_BYTES if wide else ''}]"
        number = None if wide else number_bits(body)
        return Piece(text.encode(), 1, 1, wide, gap, bits=bits, number=number, reach=4 if wide else 1)
    return choice(body, sequences)._replace(gap=gap, bits=bits)


def member_text(char: str) -> str:
    """A character as a member of a class."""
    return char if char.isalnum() else f"\\x{ord(char):02x}"
