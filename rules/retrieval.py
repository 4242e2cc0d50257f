"""Which passages of written guidelines speak of the same things as a text: passages, and BM25 over their words. Pure.

The same documents and the same text always give the same passages; nothing is learned and nothing leaves the process.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

PASSAGE_CHARACTERS: Final = 800
"""About what a passage holds; a paragraph that is longer is cut between sentences, or where this ends."""
MAX_QUERY_CHARACTERS: Final = 8_000
MAX_QUERY_TERMS: Final = 200
TOP: Final = 2
"""Passages that are cited."""
MIN_TERMS: Final = 2
"""Words that a passage and a text have in common at least: one alone says little."""
MIN_SCORE: Final = 2.5
"""Words that stand in nearly every passage say nothing, however many they are."""
_FEW: Final = 0.4
"""How much of the logarithm of their number is asked of a score where there are few passages."""
_SATURATION: Final = 1.2
_LENGTH_WEIGHT: Final = 0.75
_WORD: Final = re.compile(r"[^\W_]{2,}")
_SENTENCE_END: Final = re.compile(r"(?<=[.!?])\s+")
_STOP_WORDS: Final = frozenset(
    "a about after all also an and any are as at be because been but by can could did do does for from had has have he her "
    "his how i if in into is it its just may me more most must my no not of on only or other our out over please shall she "
    "should so some such than that the their them then there these they this those to under up us was we were what when "
    "where which who will with would you your".split()
)


class Passage(NamedTuple):
    """A part of a document, with the heading under which it stands."""

    heading: str
    text: str


class Match(NamedTuple):
    """A passage that was found: its number in the index, its score, and the words in common as the text has them, the
    rarest first."""

    number: int
    score: float
    terms: tuple[str, ...]


def passages(document: str) -> list[Passage]:
    """The passages of a text or Markdown document, in its order."""
    found: list[Passage] = []
    heading, held = "", ""
    for paragraph in re.split(r"\n\s*\n", document.replace("\r\n", "\n")):
        for line in _lines(paragraph):
            if (named := _heading(line)) is not None:
                if held:
                    found.append(Passage(heading, held))
                heading, held = named, ""
                continue
            for piece in _pieces(line):
                if held and len(held) + len(piece) >= PASSAGE_CHARACTERS:
                    found.append(Passage(heading, held))
                    held = ""
                held = f"{held}\n{piece}" if held else piece
    if held:
        found.append(Passage(heading, held))
    return found


def terms(text: str) -> list[str]:
    """The words of a text that carry meaning, in small letters and without their commonest endings."""
    return [_stem(word) for word in _words(text)]


def _words(text: str) -> list[str]:
    return [word for word in _WORD.findall(text.casefold()) if word not in _STOP_WORDS]


class PassageIndex:
    """The passages of some documents, ready to be asked."""

    def __init__(self, found: Sequence[Passage]) -> None:
        self.passages = found
        self._postings: dict[str, list[tuple[int, int]]] = {}
        self._lengths: list[int] = []
        for number, passage in enumerate(found):
            counts = Counter(terms(f"{passage.heading} {passage.text}"))
            self._lengths.append(sum(counts.values()))
            for term, count in counts.items():
                self._postings.setdefault(term, []).append((number, count))
        self._average = sum(self._lengths) / len(found) if found else 1.0

    def __repr__(self) -> str:
        return f"<PassageIndex {len(self.passages)} passages, {len(self._postings)} words>"

    def search(self, text: str, *, limit: int = TOP) -> list[Match]:
        """The passages that speak of the same things as the text, the best first; none where nothing really does."""
        words = _words(text[:MAX_QUERY_CHARACTERS])
        asked = Counter(map(_stem, words))
        spelling = {_stem(word): word for word in reversed(words)}
        scores: dict[int, float] = {}
        shared: dict[int, list[tuple[float, str]]] = {}
        for term, _ in asked.most_common(MAX_QUERY_TERMS):
            postings = self._postings.get(term)
            if postings is None:
                continue
            rarity = math.log(1 + (len(self.passages) - len(postings) + 0.5) / (len(postings) + 0.5))
            for number, count in postings:
                length = 1 - _LENGTH_WEIGHT + _LENGTH_WEIGHT * self._lengths[number] / self._average
                score = rarity * count * (_SATURATION + 1) / (count + _SATURATION * length)
                scores[number] = scores.get(number, 0.0) + score
                shared.setdefault(number, []).append((-rarity, term))
        needed = min(MIN_TERMS, len(asked))
        good = [number for number in scores if len(shared[number]) >= needed and self._is_near(scores[number])]
        best = sorted(good, key=lambda number: (-scores[number], number))[:limit]
        return [
            Match(number, round(scores[number], 3), tuple(spelling[term] for _, term in sorted(shared[number])))
            for number in best
        ]

    def _is_near(self, score: float) -> bool:
        """Whether a score says something; in a handful of passages no word is rare."""
        return score >= min(MIN_SCORE, _FEW * math.log(1 + len(self.passages)))


def _heading(line: str) -> str | None:
    """What a line of Markdown says if it is a heading."""
    line = line.strip()
    marks = len(line) - len(line.lstrip("#"))
    return line.strip("#").strip() if 1 <= marks <= 6 and line[marks : marks + 1] in (" ", "\t") else None


def _lines(paragraph: str) -> Iterator[str]:
    """The headings of a paragraph, and what stands between them as one piece."""
    held: list[str] = []
    for line in paragraph.split("\n"):
        if _heading(line) is not None:
            if held:
                yield "\n".join(held)
            held = []
            yield line
        elif line.strip():
            held.append(line.strip())
    if held:
        yield "\n".join(held)


def _pieces(paragraph: str) -> Iterator[str]:
    """A paragraph in parts of at most a passage."""
    held = ""
    for sentence in _SENTENCE_END.split(paragraph):
        if held and len(held) + len(sentence) >= PASSAGE_CHARACTERS:
            yield held
            held = ""
        held = f"{held} {sentence}" if held else sentence
        while len(held) > PASSAGE_CHARACTERS:
            yield held[:PASSAGE_CHARACTERS]
            held = held[PASSAGE_CHARACTERS:]
    if held:
        yield held


def _stem(word: str) -> str:
    for ending, instead in (("ies", "y"), ("ing", ""), ("ed", ""), ("es", "e"), ("s", "")):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            return (word[: -len(ending)] + instead).removesuffix("e")
    return word.removesuffix("e") if len(word) > 3 else word
