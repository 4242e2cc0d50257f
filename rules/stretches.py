"""Which stretch of a pattern is looked for: the one that costs least, by how rare it is in running text. See `prefilter`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from math import inf, log2
from typing import Literal, NamedTuple

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
CAPITAL_BITS = 7.0
"""The same of a capital for which no small letter may stand."""
NAME_BITS = 18.0
"""No single name, which is a word that begins with such a capital, counts as rarer than that."""
FIRST_IDEOGRAPH = "\u2e80"
IDEOGRAPH_BITS = 8.0
"""How much one character of a script tells that writes words with one or two."""
REPEATED_BITS = 1.0
"""How much one more of the same tells: digits stand in numbers."""
NUMBER_BITS = 1.0
"""How much it tells that a number stands there. Prose has few, but tables, logs and coordinates consist of them."""
DIGIT_BITS = 0.5
"""How much each digit of one tells, whichever it is; what stands between its digits tells nothing."""
RUN_CHARS = 12
RUN_BITS = 6.0
"""How much so many characters without a space tell, whichever they are."""
MAX_BITS = 60.0
PAGES_CHARS = 20_000
KNOWN_BITS = 3.0
"""By how much the words of rules are rarer than their letters tell."""
LOOP_COST = 12.0
"""An unbounded repetition is an automaton of its own that runs from the first word of it to the end."""
MORE_LOOPS_COST = 1.0
POSITION_COST = 0.03
FOUND_COST = 8.0
"""A place that is found is looked at again by RE2."""
ANCHOR_BITS = 0.05
"""How much an anchor at an end of a stretch tells: enough to choose it of two alike. Short words stand in longer ones, and
digits in longer numbers."""

_DIGITS = re.compile(rb"(\\d|\[[0-9-]+\]|[0-9])(?:\{\d+,?\}|\+)?")
ANYTHING = rb"[\x00-\xff]*"


class Piece(NamedTuple):
    """A widened element."""

    text: bytes
    positions: int
    """Its size in the automaton."""
    shortest: int
    """The fewest characters that it matches; one of a script that writes words with one or two counts as two."""
    wide: bool = False
    """Whether one of its characters may be several bytes."""
    gap: bool = False
    """Whether it is a character that may be nearly any: letters and spaces included."""
    flags: bool = False
    """Whether it only changes the flags of what follows."""
    bits: float = 0.0
    """How rare it is in running text, as a binary logarithm."""
    number: float | None = None
    """What it tells in a number: nothing where it holds no digit; None where it cannot be a part of one."""
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
    unbounded: float = inf
    """Over squeezed text: the most bytes of an unbounded repetition where there is no `LONG_RUN`."""
    foreign: bool = False
    """Whether everything that it matches holds a byte outside ASCII."""
    separator: bool = False
    """Over squeezed text: whether it is one separator and nothing else."""
    starts: bool = False
    """Over squeezed text: whether a match may begin with a separator that it asks for."""
    ends: bool = False
    """The same for its end."""
    word_start: bool = False
    """Over squeezed text: whether every match begins with an ASCII letter or digit."""
    word_end: bool = False
    """The same for its end."""
    loose: str = ""
    """Over squeezed text: the characters of which it matches any few or none, where no others can stand in it."""
    before: float = 0.0
    """Of what is looked for in place of a branch: the most bytes from where a match of the branch begins to where this ends."""
    after: float = 0.0
    """The same from where this ends to where the match does."""
    sought: float = 0.0
    """The most bytes that this itself takes."""

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
        number=_number(branches, min),
        reach=max(branch.reach for branch in branches),
        has_runs=any(branch.has_runs for branch in branches),
        loops=sum(branch.loops for branch in branches),
        foreign=all(branch.foreign for branch in branches),
        separator=all(branch.separator for branch in branches),
        starts=any(branch.starts for branch in branches),
        ends=any(branch.ends for branch in branches),
        word_start=all(branch.word_start for branch in branches),
        word_end=all(branch.word_end for branch in branches),
        loose=_loose(branches),
        before=max(branch.before for branch in branches),
        after=max(branch.after for branch in branches),
        sought=max(branch.sought for branch in branches),
    )


def joined(part: Sequence[Piece]) -> Piece:
    """A sequence as one piece."""
    if len(part) == 1:
        return part[0]._replace(
            bits=min(_bits(part), MAX_BITS),
            letter=False,
            gap=False,
            wide=False,
            flags=False,
            is_run=False,
            least=b"",
            elements=(),
            reduced=None,
        )
    positions = shortest = loops = 0
    reach = 0.0
    has_runs = foreign = False
    for piece in part:
        positions += piece.positions
        shortest += piece.shortest
        loops += piece.loops
        reach += piece.reach
        has_runs = has_runs or piece.has_runs
        foreign = foreign or piece.foreign
    inner = [piece for piece in part if piece.positions and not piece.is_anchor]
    return Piece(
        text=b"".join([piece.text for piece in part]),
        positions=positions,
        shortest=shortest,
        bits=min(_bits(part), MAX_BITS),
        number=_number(part, sum),
        reach=reach,
        has_runs=has_runs,
        loops=loops,
        foreign=foreign,
        starts=_asks_first(part, "starts"),
        ends=_asks_first(reversed(part), "ends"),
        word_start=bool(inner) and inner[0].word_start,
        word_end=bool(inner) and inner[-1].word_end,
        loose=_loose(part),
    )


def _number(pieces: Sequence[Piece], of_all: Callable[[Iterable[float]], float]) -> float | None:
    """What the pieces tell in a number, where each of them may be a part of one."""
    told = [piece.number for piece in pieces if not piece.flags]
    return None if None in told else of_all(number for number in told if number is not None)


def _loose(pieces: Sequence[Piece]) -> str:
    """The characters of all pieces, where each of them is loose."""
    found = {piece.loose for piece in pieces}
    return "" if "" in found else "".join(sorted(set("".join(found))))


def _asks_first(part: Iterable[Piece], name: Literal["starts", "ends"]) -> bool:
    """Whether a separator may stand first: in the first piece, or in one before which all may be empty."""
    for piece in part:
        if getattr(piece, name) or piece.shortest:
            return bool(getattr(piece, name))
    return False


class _Rarity:
    """How rare a sequence is, piece by piece. A word tells only so much, however long it is, and one that every text has next to
    nothing."""

    __slots__ = ("_bits", "_in_number", "_letters", "_most", "_number", "_word")

    def __init__(self) -> None:
        self._bits = 0.0
        """Of all before the word at the end."""
        self._word = 0.0
        self._letters = b""
        self._most = WORD_BITS
        """What the word tells with its first letters; further ones add little."""
        self._in_number = False
        self._number: float | None = 0.0
        """What all of it tells as a number."""

    def add(self, piece: Piece) -> None:
        """The next piece of the sequence."""
        if not piece.flags:
            self._number = None if self._number is None or piece.number is None else self._number + piece.number
        if piece.letter:
            if not self._letters:
                self._most = NAME_BITS if piece.bits == CAPITAL_BITS else WORD_BITS
            self._word += piece.bits if self._word < self._most else LONG_WORD_BITS
            self._letters += piece.text
            self._in_number = False
            return
        told = _bits_in_number(piece.text)
        self._bits = self.bits + (min(piece.bits, told) if self._in_number and told else piece.bits)
        self._word, self._letters = 0.0, b""
        self._in_number = told > 0 or (self._in_number and not piece.shortest)

    @property
    def bits(self) -> float:
        """Of everything so far."""
        bits = self._bits + _word_bits(self._letters, self._word)
        return min(bits, NUMBER_BITS + self._number) if self._number else bits


def _bits(part: Sequence[Piece]) -> float:
    rarity = _Rarity()
    for piece in part:
        rarity.add(piece)
    return rarity.bits


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
    whole = joined([element.piece for element in branch])
    whole = whole._replace(before=whole.reach, sought=whole.reach)
    if all(element.piece.letter for element in branch):
        return whole  # One word.
    parts = _parts(branch)
    found = [stretch for part in parts for stretch in _stretches(part) if stretch.shortest >= MIN_PART_CHARS]
    if whole.foreign:
        # In texts that are all ASCII that need not be looked for.
        found = [stretch for stretch in found if stretch.foreign] or found
    if found:
        best = min(found, key=_stretch_cost)
        before, after = best.distances(branch)
        piece = best.piece()._replace(before=before, after=after, sought=best.sought)
        return piece._replace(reach=whole.reach, has_runs=whole.has_runs)
    if len(parts) == 1:
        # Where it begins with a repetition, an automaton would follow every word of the text.
        if len(branch) > 1:
            trimmed = joined([_least(branch[0].piece), *(element.piece for element in branch[1:])])
            whole = whole._replace(text=trimmed.text, loops=trimmed.loops)
        return whole
    kept = [joined(part.pieces).text for part in parts if any(not piece.flags for piece in part.pieces)]
    return whole._replace(text=ANYTHING.join(kept), after=whole.reach)


class _Part(NamedTuple):
    """What stands between two places at which a branch is cut, behind the flags that are in force there."""

    pieces: list[Piece]
    places: list[int]
    """Of each piece in the branch."""


def _parts(branch: Sequence[Element]) -> list[_Part]:
    flags = [(element.piece, place) for place, element in enumerate(branch) if element.piece.flags]
    parts: list[list[tuple[Piece, int]]] = [[]]
    for place, (piece, cuts, kept) in enumerate(branch):
        parts[-1].append((piece, place))
        if cuts:
            if not kept:
                parts[-1].pop()
            parts.append([*flags])
    return [_Part([piece for piece, _ in part], [place for _, place in part]) for part in parts]


class _Stretch(NamedTuple):
    """Neighbouring pieces that may be looked for, and what that takes."""

    cost: float
    shortest: int
    foreign: bool
    part: Sequence[Piece]
    start: int
    end: int
    last: int
    """The place in the branch of its last piece."""

    def piece(self) -> Piece:
        """The stretch as one piece."""
        return _trimmed(self.part, self.start, self.end)

    @property
    def sought(self) -> float:
        """The most bytes that it takes."""
        pieces = self.part[self.start : self.end]
        return pieces[0].sought or sum(piece.reach for piece in pieces)

    def distances(self, branch: Sequence[Element]) -> tuple[float, float]:
        """The most bytes of the branch before the end of this, and behind it."""
        inner = self.part[self.end - 1]
        before = sum(element.piece.reach for element in branch[: self.last])
        after = sum(element.piece.reach for element in branch[self.last + 1 :])
        if inner.before:  # It stands somewhere in a group.
            return before + inner.before, inner.after + after
        last = branch[self.last].piece
        # More repetitions may follow those that suffice.
        return before + last.reach, after + (last.reach if _spared(last) else 0)


def _stretch_cost(stretch: _Stretch) -> float:
    return stretch.cost


def _stretches(part: _Part) -> Iterator[_Stretch]:
    """The stretches of a sequence that may be worth looking for; the flags before them stay in force."""
    pieces, places = part
    for start, first in enumerate(pieces):
        if first.reduced is not None and not any(piece.flags for piece in pieces[:start]):
            reduced = first.reduced
            yield _Stretch(cost(reduced), reduced.shortest, reduced.foreign, [reduced], 0, 1, places[start])
        if (first.bits or first.letter) and not (first.letter and start and pieces[start - 1].letter):
            yield from _stretches_from(part, start)
    plain = [(piece, place) for piece, place in zip(pieces, places, strict=True) if not piece.is_anchor]
    if plain and not any(piece.bits or piece.letter for piece, _ in plain):
        piece = _trimmed([piece for piece, _ in plain], 0, len(plain))
        yield _Stretch(cost(piece), piece.shortest, piece.foreign, [piece], 0, 1, plain[-1][1])


def _stretches_from(part: _Part, start: int) -> Iterator[_Stretch]:
    """Those that begin at a place, shortest first, until one is rare enough; each is `joined` only when it is chosen."""
    pieces, places = part
    shortest = positions = loops = 0
    # Of a repetition at one of the ends, as few as suffice are looked for.
    spared = 0 if _begins_anchored(pieces, start) else _spared(pieces[start])
    so_far = _Rarity()
    foreign = False
    for end in range(start + 1, len(pieces) + 1):
        last = pieces[end - 1]
        positions += last.positions
        shortest += last.shortest
        foreign = foreign or last.foreign
        so_far.add(last)
        loops += last.loops
        if not (last.bits or last.letter or _ends_anchored(pieces, end)):
            continue
        if last.letter and end < len(pieces) and pieces[end].letter:
            continue
        rarity = min(so_far.bits, MAX_BITS)
        spared_here = spared if spared and end == start + 1 else spared + _spared(last)
        anchors = _begins_anchored(pieces, start) + _ends_anchored(pieces, end)
        cost_here = _cost(rarity + ANCHOR_BITS * anchors, loops - spared_here, positions)
        yield _Stretch(cost_here, shortest, foreign, pieces, start, end, places[end - 1])
        if rarity >= ENOUGH_BITS:
            return


def _begins_anchored(part: Sequence[Piece], start: int) -> bool:
    """Whether the anchors before a stretch are looked for with it: they cost nothing where there is a word, and tell much."""
    first = part[start]
    return start > 0 and part[start - 1].is_anchor and first.bits > 0 and not first.is_run


def _ends_anchored(part: Sequence[Piece], end: int) -> bool:
    """The same for those behind it."""
    last = part[end - 1]
    is_told = last.bits > 0 or (last.positions == last.shortest == 1 and not last.gap and not last.is_anchor)
    return end < len(part) and part[end].is_anchor and is_told and not last.is_run


def _trimmed(part: Sequence[Piece], start: int, end: int) -> Piece:
    """The stretch from `start` to `end`, with the anchors that tell something at its ends, and of a repetition at one of its
    ends only as much as must be there."""
    first = start
    if _begins_anchored(part, start):
        while first and part[first - 1].is_anchor:
            first -= 1
    last = end
    if _ends_anchored(part, end):
        while last < len(part) and part[last].is_anchor:
            last += 1
    stretch = [*(piece for piece in part[:first] if piece.flags), *part[first:last]]
    if first == start:
        stretch[-(last - first)] = _least(stretch[-(last - first)])
    if last == end:
        stretch[-1] = _least(stretch[-1])
    return joined(stretch)


def _least(piece: Piece) -> Piece:
    """As few repetitions as suffice."""
    return piece._replace(text=piece.least, loops=piece.loops - _spared(piece)) if piece.least else piece


def _spared(piece: Piece) -> int:
    """How many loops fewer repetitions save."""
    return int(piece.least not in (b"", piece.text))


def cost(piece: Piece) -> float:
    """What looking for a stretch takes, in microseconds for some pages of text: to find it, and to look at what is found."""
    return _cost(piece.bits, piece.loops, piece.positions)


def _cost(bits: float, loops: int, positions: int) -> float:
    found: float = PAGES_CHARS * 2.0 ** -(bits + KNOWN_BITS)
    loop_cost = LOOP_COST + MORE_LOOPS_COST * loops if loops else 0
    return loop_cost + POSITION_COST * positions + FOUND_COST * found
