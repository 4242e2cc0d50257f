"""Which stretch of a pattern is looked for: the one that costs least, by how rare it is in running text. See `prefilter`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from math import log2
from typing import NamedTuple

MIN_PART_CHARS = 3
"""A part that matches fewer characters than this would be found everywhere."""
ENOUGH_BITS = 16.0
"""A stretch that is expected once in 65,000 characters or less is rare enough; more of it would only cost time."""
WORD_BITS = 11.0
"""No single word or choice of words counts as rarer than that: a text that has it once may well be about it."""
COMMON_WORD_BITS = 3.0
_COMMON_WORDS = frozenset(
    b"""a all an and any are as at be but by can do each for from had has have he his how i if in into is it its like me
    more my no not of on one only or other our out she so some than that the their them then these they this to up us
    was we what when which who will with would you your""".split()
)
"""Words that nearly every English text has; others of the same length are rarer."""
LETTER_BITS = 2.2
"""How much one letter of a short word tells in running text."""
LONG_WORD_BITS = 0.3
"""How much one more letter tells of a word that is long already."""
FIRST_IDEOGRAPH = "\u2e80"
IDEOGRAPH_BITS = 8.0
"""How much one character of a script tells that writes words with one or two."""
REPEATED_BITS = 1.0
"""How much one more of the same tells: digits stand in numbers."""
RUN_CHARS = 12
RUN_BITS = 6.0
"""How much so many characters without a space tell, whichever they are."""
MAX_BITS = 60.0
PAGES_CHARS = 20_000
KNOWN_BITS = 1.5
"""By how much the words of rules are rarer than their letters tell."""
LOOP_COST = 12.0
"""An unbounded repetition is an automaton of its own that runs from the first word of it to the end."""
MORE_LOOPS_COST = 1.0
POSITION_COST = 0.03
FOUND_COST = 8.0
"""A place that is found is looked at again by RE2."""

_DIGITS = re.compile(rb"(\\d|\[[0-9-]+\]|[0-9])(?:\{\d+,?\}|\+)?")
_ANYTHING = rb"[\x00-\xff]*"


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
    bits: float = 0.0
    """How rare it is in running text, as a binary logarithm."""
    letter: bool = False
    """Whether it is a single letter, the neighbours of which say less than it does."""
    reach: float = 0.0
    """The most bytes that it can match, infinite when there is no saying; of runs, see `LONG_RUN`."""

    has_runs: bool = False
    """Whether `reach` counts on there being no `LONG_RUN`."""
    least: bytes = b""
    """Where it is repeated: the text of as few repetitions as suffice, for the end of a stretch."""
    is_run: bool = False
    """Whether it is a long run of characters without a space, as only tokens are."""
    loops: int = 0
    """How many repetitions without an upper bound it holds, for which an automaton has to run over the text."""
    elements: tuple[Element, ...] = ()
    """What a group of one branch consists of, for a group that nothing repeats."""
    reduced: Piece | None = None
    """A wider form of a group of several branches that is cheaper to look for, when nothing beside it is."""

    @property
    def is_anchor(self) -> bool:
        """Whether it only says where a match may stand."""
        return self.text in (rb"\b", b"^", b"$")


class Element(NamedTuple):
    """A piece of a branch, and whether the branch may be cut behind it."""

    piece: Piece
    cuts: bool = False
    kept: bool = True
    """Where the branch is cut: whether the piece belongs to what stands before."""


def any_of(branches: Sequence[Piece]) -> Piece:
    """The branches as one piece."""
    return Piece(
        text=b"|".join(branch.text for branch in branches),
        positions=sum(branch.positions for branch in branches),
        shortest=min(branch.shortest for branch in branches),
        bits=max(0.0, -log2(sum(2.0**-branch.bits for branch in branches))),
        reach=max(branch.reach for branch in branches),
        has_runs=any(branch.has_runs for branch in branches),
        loops=sum(branch.loops for branch in branches),
    )


def joined(part: Sequence[Piece]) -> Piece:
    """A sequence as one piece."""
    return Piece(
        text=b"".join(piece.text for piece in part),
        positions=sum(piece.positions for piece in part),
        shortest=sum(piece.shortest for piece in part),
        bits=min(_bits(part), MAX_BITS),
        reach=sum(piece.reach for piece in part),
        has_runs=any(piece.has_runs for piece in part),
        loops=sum(piece.loops for piece in part),
    )


def _bits(part: Sequence[Piece]) -> float:
    """How rare a sequence is. A word tells only so much, however long it is, and one that every text has next to nothing."""
    bits = word = 0.0
    letters = b""
    in_number = False
    for piece in part:
        if piece.letter:
            word += LETTER_BITS if word < WORD_BITS else LONG_WORD_BITS
            letters += piece.text
            in_number = False
        else:
            told = _bits_in_number(piece.text)
            bits += _word_bits(letters, word) + (min(piece.bits, told) if in_number and told else piece.bits)
            word, letters = 0.0, b""
            in_number = told > 0 or (in_number and not piece.shortest)
    return bits + _word_bits(letters, word)


@lru_cache(maxsize=1024)
def _bits_in_number(text: bytes) -> float:
    """How much digits tell beside another digit, which is less than the first one tells; 0 for anything else."""
    match = _DIGITS.fullmatch(text)
    if match is None:
        return 0.0
    allowed = sum(re.fullmatch(match[1], b"%d" % digit) is not None for digit in range(10))
    return REPEATED_BITS + log2(10 / max(1, allowed))


def _word_bits(letters: bytes, bits: float) -> float:
    return min(bits, COMMON_WORD_BITS) if letters.lower() in _COMMON_WORDS else bits


def best_stretch(branch: Sequence[Element]) -> Piece:
    """What is looked for in place of a branch: the stretch of it that costs least."""
    flags = [element.piece for element in branch if element.piece.flags]
    parts: list[list[Piece]] = [[]]
    for piece, cuts, kept in branch:
        parts[-1].append(piece)
        if cuts:
            if not kept:
                parts[-1].pop()
            parts.append([*flags])
    whole = joined([element.piece for element in branch])
    found = [stretch for part in parts for stretch in _stretches(part) if stretch.shortest >= MIN_PART_CHARS]
    if found:
        return min(found, key=_cost)._replace(reach=whole.reach, has_runs=whole.has_runs)
    if len(parts) == 1:
        return whole
    return whole._replace(text=_ANYTHING.join(joined(part).text for part in parts))


def _stretches(part: list[Piece]) -> Iterator[Piece]:
    """The stretches of a sequence that may be worth looking for; the flags before them stay in force."""
    for start, first in enumerate(part):
        if first.reduced is not None and not any(piece.flags for piece in part[:start]):
            yield first.reduced
        if not (first.bits or first.letter) or (first.letter and start and part[start - 1].letter):
            continue
        for end in range(start + 1, len(part) + 1):
            last = part[end - 1]
            if not (last.bits or last.letter) or (last.letter and end < len(part) and part[end].letter):
                continue
            stretch = _trimmed(part, start, end)
            yield stretch
            if stretch.bits >= ENOUGH_BITS:
                break
    plain = [piece for piece in part if not piece.is_anchor]
    if plain and not any(piece.bits or piece.letter for piece in plain):
        yield _trimmed(plain, 0, len(plain))


def _trimmed(part: list[Piece], start: int, end: int) -> Piece:
    """The stretch from `start` to `end`, with the anchors that tell something at its ends."""
    # Word boundaries and anchors cost nothing where there is a word, and tell much.
    if part[start].bits and not part[start].is_run:
        while start and part[start - 1].is_anchor:
            start -= 1
    if part[end - 1].bits and not part[end - 1].is_run:
        while end < len(part) and part[end].is_anchor:
            end += 1
    stretch = [*(piece for piece in part[:start] if piece.flags), *part[start:end]]
    if stretch and stretch[-1].least:
        stretch[-1] = stretch[-1]._replace(text=stretch[-1].least, loops=0)
    return joined(stretch)


def _cost(piece: Piece) -> float:
    """What looking for a stretch takes, in microseconds for some pages of text: to find it, and to look at what is found."""
    found: float = PAGES_CHARS * 2.0 ** -(piece.bits + KNOWN_BITS)
    return (
        (LOOP_COST if piece.loops else 0)
        + MORE_LOOPS_COST * piece.loops
        + POSITION_COST * piece.positions
        + FOUND_COST * found
    )
