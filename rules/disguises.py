"""Ways to write a text that a reader undoes at sight: rot13, reversed, spaced letters, digits for letters.

Nothing marks them but the words themselves, so the triggers are the words that attacks are made of, in disguise, and
the names of the disguises. Only the surroundings of the first one are read.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator

from rules.decoding import Decoder, Source
from rules.derived_view import MAX_VIEW_CHARS, Course, Piece, Segment
from rules.patterns import Find, find_with, key_of

WORDS = (
    "ignore",
    "disregard",
    "forget",
    "previous",
    "instructions",
    "system",
    "prompt",
    "password",
    "reveal",
    "override",
    "secret",
    "bypass",
    "jailbreak",
    "restrictions",
    "credentials",
    "execute",
    "delete",
)
"""Words of attacks, long enough to mean nothing else when they are written in disguise."""

_LEET = {"a": "4@", "b": "8", "e": "3", "g": "9", "i": "1!|", "l": "1|", "o": "0", "s": "5$", "t": "7"}
_FROM_LEET = str.maketrans({"4": "a", "@": "a", "8": "b", "3": "e", "9": "g", "1": "i", "|": "i", "!": "i"}) | (
    str.maketrans({"0": "o", "5": "s", "$": "s", "7": "t"})
)
_LEET_WORD = re.compile(r"[A-Za-z0-9@$|!]*[A-Za-z][A-Za-z0-9@$|!]*[A-Za-z0-9@$|]")
_SPACED = r"\b[A-Za-z](?:[ ._*-]{1,3}[A-Za-z]\b){6,}"
_WORDS = re.compile(r"(\w+)")
_SPACED_GAP = re.compile(r"[ ._*-]+")
_KNOWN_WORD = re.compile(
    "|".join((*WORDS, "instruction", "all", "the", "your", "and", "rules", "above", "prior")), re.I
)


def _leet_forms(word: str) -> Iterator[str]:
    """Patterns for every spelling of a word in which a digit or sign stands for at least one letter."""
    for index, letter in enumerate(word):
        if letter in _LEET:
            rest = "".join(f"[{char}{_LEET[char]}]" if char in _LEET else char for char in word[index + 1 :])
            yield f"{word[:index]}[{_LEET[letter]}]{rest}"


def _surroundings(source: Source, find_cue: Find) -> tuple[int, str] | None:
    """Where the text around the first cue begins, and that text."""
    found = find_cue(source.data, 0, len(source.data))
    if found is None:
        return None
    low = max(0, min(source.chars(found[0][0]) - MAX_VIEW_CHARS // 2, len(source.text) - MAX_VIEW_CHARS))
    return low, source.text[low : low + MAX_VIEW_CHARS]


def _letter_by_letter(trigger: str, undo: Callable[[str], str]) -> Callable[[Source], Iterator[Segment]]:
    """A decoder of a disguise that leaves every character in its place."""
    find_cue = find_with(key_of(trigger, "i"))

    def decode(source: Source) -> Iterator[Segment]:
        if around := _surroundings(source, find_cue):
            low, text = around
            yield Segment(undo(text), (Piece(0, low, low + len(text), Course.FORWARD),))

    return decode


def _reversed(trigger: str) -> Callable[[Source], Iterator[Segment]]:
    find_cue = find_with(key_of(trigger, "i"))

    def decode(source: Source) -> Iterator[Segment]:
        if around := _surroundings(source, find_cue):
            low, text = around
            yield Segment(text[::-1], (Piece(0, low, low + len(text), Course.BACKWARD),))
            parts = _WORDS.split(text)
            parts[1::2] = [word[::-1] for word in parts[1::2]]
            yield Segment("".join(parts), (Piece(0, low, low + len(text), Course.FORWARD),))

    return decode


def _undo_leet(text: str) -> str:
    return _LEET_WORD.sub(lambda word: word[0].translate(_FROM_LEET) if not word[0].isdigit() else word[0], text)


def _spaced(find: Find) -> Callable[[Source], Iterator[Segment]]:
    def decode(source: Source) -> Iterator[Segment]:
        for start, end in source.spans(find):
            run = source.data[start : min(end, start + 4 * MAX_VIEW_CHARS)].decode("utf-8", "replace")
            yield Segment(_joined(run), (Piece(0, source.chars(start), source.chars(end), Course.WHOLE),))

    return decode


def _joined(run: str) -> str:
    """Spaced letters as words. Where wider gaps do not part them, the words of attacks do."""
    gaps = [gap[0] for gap in _SPACED_GAP.finditer(run)]
    narrow = min(map(len, gaps))
    joined = _SPACED_GAP.sub(lambda gap: " " if len(gap[0]) > narrow else "", run)
    if " " not in joined:
        joined = " ".join(_KNOWN_WORD.sub(lambda word: f" {word[0]} ", joined).split())
    return joined


_ROT13_TRIGGER = "|".join((r"\brot-?13\b", *(codecs.encode(word, "rot13") for word in WORDS)))
_REVERSED_TRIGGER = "|".join((r"\b(?:reversed|backwards)\b", *(word[::-1] for word in WORDS)))
_LEET_TRIGGER = "|".join(form for word in WORDS for form in _leet_forms(word))

DISGUISES = (
    Decoder("spaced", key_of(_SPACED.replace("{6,}", "{6}"), ""), _spaced(find_with(key_of(_SPACED, "")))),
    Decoder(
        "rot13",
        key_of(_ROT13_TRIGGER, "i"),
        _letter_by_letter(_ROT13_TRIGGER, lambda text: codecs.encode(text, "rot13")),
    ),
    Decoder("reversed", key_of(_REVERSED_TRIGGER, "i"), _reversed(_REVERSED_TRIGGER)),
    Decoder("leet", key_of(_LEET_TRIGGER, "i"), _letter_by_letter(_LEET_TRIGGER, _undo_leet)),
)
