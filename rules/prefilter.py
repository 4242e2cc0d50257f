"""The Hyperscan forms of a pattern: small, over bytes, and never narrower than the pattern itself.

Hyperscan only has to say where exact matching is worth while, and its compile time and size explode on bounded gaps,
on long lists of optional words and in UTF-8 mode (minutes, or "Pattern is too large", for patterns that people do
write). So a pattern is widened: upper bounds of counts go, but for those of a few words in squeezed text; a wide element
(`.`, a negated class, `\\W`) takes any number of bytes instead of a number of characters; characters outside ASCII become
their UTF-8 bytes in every case; and a pattern is cut at large optional or repeated groups and at wide gaps, and only the
shortest stretch that is rare enough in running text is looked for: two or three neighbouring words as a rule. Regular
expressions without look-around only grow by this, so what the widened form does not find, the pattern does not match. (The
one exception is harmless: with `i`, RE2 lets `k` and `s` match two characters outside ASCII, which the normalised view
folds.)

Each branch of a pattern is looked for where that costs least (`Medium`): words in the squeezed text, where those that
stand together are one literal; what holds a byte outside ASCII only in texts that have one; the rest in the text itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from rules.byte_pieces import SEPARATOR_RUN_BYTES, TOKEN_RUN_BYTES
from rules.pattern_parser import NotUnderstood, branches_of
from rules.stretches import MIN_PART_CHARS, WORD_BITS, Element, Piece, any_of, best_stretch, cost

__all__ = ["SEPARATOR_RUN_BYTES", "TOKEN_RUN_BYTES", "NotUnderstood"]

COMMON_BITS = 9.5
"""A pattern that is rarer than once in 700 characters, by its letters, is worth looking for."""
MAX_REACH_BYTES = 1_500
"""What may match more than that is looked for in the whole text."""
MAX_EXTENT_BYTES = 8_192
REACH_MARGIN_BYTES = 16
"""For the few ASCII letters that stand for others of several bytes when case is ignored."""
SPARSE_BITS = 4.0
"""What is rarer than that, by its letters, occurs at some hundred places of a long text at most."""
LOST_COST = 3.0
"""What punctuation that a pattern names tells is not known in squeezed text: it must save more than that."""
WORDS_BITS = 6.0
"""A stretch that is less rare than that is not worth looking for in squeezed text, where its punctuation is gone."""

TOKEN_CLASS = r"[\w+/=.~%-]"  # noqa: S105
SEPARATOR_CLASS = r"[\x00-/:-@\[-`{-\x7f]"
LONG_RUN = f"{TOKEN_CLASS}{{{TOKEN_RUN_BYTES}}}|{SEPARATOR_CLASS}{{{SEPARATOR_RUN_BYTES}}}"
"""Where a text has such a run, an unbounded repetition may match more bytes than `reach` says."""

_DIGITS_AT_END = re.compile(rb"(?:\\d|\[0-9\])\{\d+\}$")


class Medium(StrEnum):
    """In what a form of a pattern is looked for."""

    BYTES = "bytes"
    """The text itself."""
    FOREIGN = "foreign"
    """The same, for what only occurs in texts that are not all ASCII."""
    WORDS = "words"
    """The squeezed text, see `rules.squeezed`."""


class Form(NamedTuple):
    """What is looked for in one medium; all forms of a pattern together miss nothing."""

    medium: Medium
    source: bytes


class Reach(NamedTuple):
    """How far a match may stretch around what the widened form finds."""

    before: int
    """In bytes: from where the match begins to where what is found ends."""
    after: int
    """The same from there to where the match ends."""
    has_runs: bool
    """Whether it may be more where there is a `LONG_RUN`."""
    in_words: bool = False
    """Whether the bytes are those of squeezed text."""


class Extent(NamedTuple):
    """How long the matches of a pattern can be where there is no `LONG_RUN`; None for no or a very high bound."""

    match: int | None
    """The most bytes of the text that one takes."""
    sought: int | None
    """The most bytes, of the text in which it is looked for, that is looked for of one."""


def forms(pattern: str, *, is_caseless: bool) -> tuple[Form, ...]:
    """The widened forms of a pattern that RE2 accepts; raises `NotUnderstood` for the rest and for empty matches."""
    return tuple(Form(medium, piece.text) for medium, piece in _pieces(pattern, is_caseless))


def widen(pattern: str, *, is_caseless: bool) -> bytes:
    """The widened form of a whole pattern over bytes."""
    return _widened(pattern, is_caseless).text


def reach(pattern: str, *, is_caseless: bool = False) -> Reach | None:
    """How far the matches of the pattern itself can stretch; None when that is too far."""
    found = _pieces(pattern, is_caseless)
    in_words = all(medium is Medium.WORDS for medium, _ in found)
    whole = any_of([piece for _, piece in found]) if in_words else _widened(pattern, is_caseless)
    if whole.reach > MAX_REACH_BYTES:
        return None
    before, after = (int(size) + REACH_MARGIN_BYTES for size in (whole.before, whole.after))
    return Reach(before, after, whole.has_runs, in_words)


def whole_reach(pattern: str, *, is_caseless: bool) -> Reach | None:
    """The same around what `widen` finds; None as well where that is in too many places."""
    whole = _widened(pattern, is_caseless)
    if whole.reach > MAX_REACH_BYTES or whole.bits < SPARSE_BITS or _ends_in_run(whole.text):
        return None
    before, after = (int(size) + REACH_MARGIN_BYTES for size in (whole.before, whole.after))
    return Reach(before, after, whole.has_runs)


def extent(pattern: str, *, is_caseless: bool, also_whole: bool) -> Extent:
    """How long the matches of a pattern can be; `also_whole` says that it is looked for as a whole over bytes as well."""
    whole = _widened(pattern, is_caseless)
    pieces = [piece for _, piece in _pieces(pattern, is_caseless)]
    return Extent(_limited(whole.reach), _limited(any_of([*pieces, whole] if also_whole else pieces).sought))


def _limited(size: float) -> int | None:
    return int(size) + REACH_MARGIN_BYTES if size <= MAX_EXTENT_BYTES else None


def is_sparse(pattern: str, *, is_caseless: bool) -> bool:
    """Whether the widened forms are found in few places of most texts, and once at each, so that all are worth knowing."""
    found = _pieces(pattern, is_caseless)
    pieces = [piece for _, piece in found]
    # Places in squeezed text are known otherwise than those in the text itself.
    return (
        len({medium is Medium.WORDS for medium, _ in found}) == 1
        and any_of(pieces).bits >= SPARSE_BITS
        and not any(_ends_in_run(piece.text) for piece in pieces)
        and reach(pattern, is_caseless=is_caseless) is not None
    )


def _ends_in_run(text: bytes) -> bool:
    return text[-1:] in (b"+", b"*", b"}") and not _DIGITS_AT_END.search(text)


def is_telling(pattern: str, *, is_caseless: bool) -> bool:
    """Whether what is looked for of a pattern is so rare that its places are worth a second look by themselves."""
    return any_of([piece for _, piece in _pieces(pattern, is_caseless)]).bits >= WORD_BITS


def is_rare(pattern: str, *, is_caseless: bool) -> bool:
    """Whether a pattern is rare by its letters and digits alone."""
    return not pattern.isascii() or _widened(pattern, is_caseless).bits >= COMMON_BITS


@lru_cache(maxsize=8_192)
def _widened(pattern: str, is_caseless: bool) -> Piece:
    """The form of the whole pattern over bytes."""
    return any_of([best_stretch(branch) for branch in branches_of(pattern, is_caseless=is_caseless)])


@lru_cache(maxsize=8_192)
def _pieces(pattern: str, is_caseless: bool) -> tuple[tuple[Medium, Piece], ...]:
    """What is looked for in each medium, of all branches for which that is the best."""
    if not _widened(pattern, is_caseless).shortest:
        raise NotUnderstood("it can match without a character")
    over_bytes = branches_of(pattern, is_caseless=is_caseless)
    # Squeezed text has no capitals: what asks for them is found far too often there.
    over_words = branches_of(pattern, is_caseless=True, words=True) if is_caseless else [()] * len(over_bytes)
    pieces: dict[Medium, list[Piece]] = {}
    for raw, words in zip(over_bytes, over_words, strict=True):
        medium, piece = _best(raw, words)
        pieces.setdefault(medium, []).append(piece)
    return tuple((medium, any_of(its)) for medium, its in pieces.items())


def _best(raw: Sequence[Element], words: Sequence[Element]) -> tuple[Medium, Piece]:
    """Where one branch is looked for, given what it is over bytes and over squeezed text."""
    piece = best_stretch(raw)
    if piece.foreign:
        return Medium.FOREIGN, piece
    if words:
        other = best_stretch(words)
        if other.shortest >= MIN_PART_CHARS and other.bits >= WORDS_BITS and cost(other) + LOST_COST < cost(piece):
            return Medium.WORDS, other
    return Medium.BYTES, piece
