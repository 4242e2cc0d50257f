"""Elements of patterns as they are over squeezed text (`rules.squeezed`): never narrower than over the text itself.

What may match a separator may find it joined to one beside it. So a class that holds separators and other characters may
match nothing at all; of two separators that may meet the second is optional; and where that does not help, an element
stands for anything.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from math import inf

from rules.byte_pieces import TOKEN_BYTES, TOKEN_RUN_BYTES, WIDE_ESCAPES, choice, class_bits, number_bits
from rules.squeezed import FOLDED
from rules.stretches import ANYTHING, LETTER_BITS, Element, Piece
from rules.utf8_classes import byte_sequences

_ASCII = [chr(code) for code in range(128)]

NOTHING = Piece(b"", 0, 0, number=0.0)
"""Where a match may stand, of which the squeezed text does not tell."""
BOUNDARY = Piece(rb"\b", 1, 0, number=0.0)
MAX_LOOSE_BYTES = 128
"""So many characters of a class that holds separators and others keep their bound; more of them are anything."""
FEW_LOOSE_BYTES = 8
SPACE = Piece(b" ", 1, 1, number=0.0, reach=1, separator=True, starts=True, ends=True, loose=" ")
MAYBE_SPACE = Piece(b" ?", 1, 0, number=0.0, reach=1, separator=True, starts=True, ends=True, loose=" ")
GAP = Piece(ANYTHING, 1, 0, gap=True, reach=4, loops=1)


@lru_cache(maxsize=128)
def character(char: str) -> Piece:
    """An ASCII character."""
    folded = chr(FOLDED[ord(char)])
    if folded == " ":
        return SPACE
    bits, is_letter = (LETTER_BITS, True) if folded.isalpha() else (5.0, False)
    number = number_bits(folded)
    return Piece(
        folded.encode(), 1, 1, bits=bits, number=number, letter=is_letter, reach=1, word_start=True, word_end=True
    )


def folded_members(chars: Sequence[str]) -> str:
    """The characters of a class, as they are in squeezed text, as one string in order."""
    return "".join(sorted({chr(FOLDED[ord(char)]) for char in chars}))


def mixed(folded: str, unbounded: float) -> Piece:
    """A class that holds separators and other ASCII characters."""
    return Piece(f"[{folded}]*".encode(), 1, 0, gap=True, reach=1, loops=1, unbounded=unbounded, loose=folded)


def escape(kind: str) -> Piece:
    """An escape over squeezed text."""
    if kind in WIDE_ESCAPES:
        return GAP
    if kind == "b":
        return BOUNDARY
    if kind == "B":
        return NOTHING
    return char_class(f"\\{kind}", (), False)


@lru_cache(maxsize=1_024)
def char_class(body: str, others: tuple[tuple[int, int], ...], has_wide_set: bool) -> Piece:
    """A class over squeezed text, by its ASCII body and its ranges outside ASCII."""
    folded, unbounded = "", inf
    if body:
        members = re.compile(f"[{body}]", re.ASCII)
        chars = [char for char in _ASCII if members.match(char)]
        folded = folded_members(chars)
        if all(TOKEN_BYTES.match(char.encode()) for char in chars):
            unbounded = TOKEN_RUN_BYTES
    sequences = byte_sequences(others) if others and not has_wide_set else ()
    if has_wide_set or sequences is None:
        return GAP
    if " " in folded:
        if not others:
            return SPACE if folded == " " else mixed(folded, unbounded)
        return GAP
    bits = class_bits(folded, is_caseless=True) if folded else 6.0
    if sequences:
        return choice(folded, sequences)._replace(bits=bits)
    number = number_bits(folded) if folded else None
    return Piece(f"[{folded}]".encode(), 1, 1, bits=bits, number=number, reach=1, word_start=True, word_end=True)


def repeated(piece: Piece, minimum: int, maximum: int | None) -> Piece | None:
    """A repeated element where squeezing changes what that means; None for one that is repeated as everywhere."""
    if piece.separator:
        return SPACE if minimum and piece.shortest else MAYBE_SPACE
    has_runs = piece.has_runs or maximum is None
    if piece.loose and maximum is not None and piece.reach * maximum <= MAX_LOOSE_BYTES:
        return _loosely(piece, int(piece.reach * maximum))
    if piece.gap and not piece.shortest:
        reach = piece.unbounded if maximum is None else piece.reach * maximum
        return piece._replace(reach=reach, has_runs=has_runs, unbounded=inf)
    if maximum == 1 or not (piece.starts and piece.ends):
        return None
    reach = inf if maximum is None else piece.reach * maximum
    if not minimum:
        return GAP._replace(reach=reach, has_runs=has_runs)
    return piece._replace(
        text=piece.text + ANYTHING,
        reach=reach,
        has_runs=has_runs,
        loops=piece.loops + 1,
        elements=(),
        reduced=None,
        word_end=False,
    )


def _loosely(piece: Piece, maximum: int) -> Piece:
    """At most so many of the characters of a loose piece. An automaton runs over them, but not to the end of the text."""
    text = f"[{piece.loose}]{{0,{maximum}}}".encode()
    loops = int(maximum > FEW_LOOSE_BYTES)
    return Piece(text, maximum, 0, reach=maximum, has_runs=piece.has_runs, loops=loops, loose=piece.loose)


def spaced(elements: Sequence[Element]) -> list[Element]:
    """A sequence in which no two separators are asked for that squeezing may have joined, and no boundary that it may have
    taken away."""
    out: list[Element] = []
    ends = fixed = False
    """Whether what stands before may end with a separator, and with one of an element that is more than that."""
    optional: int | None = None
    """The place of a separator that can be made optional, when only what may be empty has followed."""
    for element in _with_sure_boundaries(elements):
        piece = element.piece
        if piece.separator:
            if ends or not piece.shortest:
                piece = MAYBE_SPACE
            else:
                optional, fixed = len(out), False
            ends = True
            out.append(element._replace(piece=piece))
            continue
        if piece.starts and ends:
            if optional is not None:
                out[optional] = out[optional]._replace(piece=MAYBE_SPACE)
                optional = None
            if fixed:
                gap = GAP._replace(reach=piece.reach, has_runs=piece.has_runs)
                out.append(Element(gap, True, False))
                continue
        if piece.shortest:
            ends, fixed, optional = piece.ends, piece.ends, None
        else:
            ends, fixed = ends or piece.ends, fixed or piece.ends
        out.append(element)
    return out


def _with_sure_boundaries(elements: Sequence[Element]) -> list[Element]:
    """Without the boundaries beside which no letter or digit stands for certain."""
    kept: list[Element] = []
    for index, element in enumerate(elements):
        if element.piece is BOUNDARY:
            after = elements[index + 1].piece if index + 1 < len(elements) else NOTHING
            before = elements[index - 1].piece if index else NOTHING
            if not after.word_start and not before.word_end:
                continue
        kept.append(element)
    return kept
