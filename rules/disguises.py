"""Ways to write a text that a reader undoes at sight: rot13, reversed, spaced letters, digits for letters, accents.

Nothing marks them but the words themselves, so the triggers are the words that attacks are made of, in disguise, and
the names of the disguises. Only the surroundings of the first one are read; those of a name only where words in
the disguise stand near it.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

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

ACCENTED_WORDS = (
    "ignore",
    "disregard",
    "forget",
    "previous",
    "instructions",
    "system",
    "prompt",
    "password",
    "override",
)
"""Of those, the ones that no other language writes with accents, but where `_SPELT_WITH_ACCENT` says so."""

COMMON_WORDS = (
    "the and you your for with that this from they have what when will how all out can any use get one his her has had"
    " its them then than some into more over only also could would should about their there which please write show tell"
    " give make print output explain describe build user data file code send must never always rules text word words"
    " message answer question start und ist nicht que para pour est una dans avec sur ein eine"
).split()
"""Words one of which nearly every sentence holds, and which are no other words when they are written in disguise."""

_LEET = {"a": "4@", "b": "8", "e": "3", "g": "9", "i": "1!|", "l": "1|", "o": "0", "s": "5$", "t": "7"}
_FROM_LEET = str.maketrans({"4": "a", "@": "a", "8": "b", "3": "e", "9": "g", "1": "i", "|": "i", "!": "i"}) | (
    str.maketrans({"0": "o", "5": "s", "$": "s", "7": "t"})
)
_FROM_ACCENTED = {
    code: parts[0]
    for code in range(0xC0, 0x250)
    if len(parts := unicodedata.normalize("NFD", chr(code))) > 1 and parts[0].isascii()
}
_ACCENTS = {
    vowel: "".join(chr(code) for code, plain in _FROM_ACCENTED.items() if plain == vowel and code < 0x180)
    for vowel in "aeiouy"
}
"""By vowel: what it is with an accent in the languages of Europe."""
_SPELT_WITH_ACCENT = {("ignore", 5), ("system", 4)}
"""Words and the places at which another language does write an accent: ignoré, système."""
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


def _accented_forms(word: str) -> Iterator[str]:
    """Patterns for every spelling of a word in which at least one vowel bears an accent that no language gives it."""
    for index, letter in enumerate(word):
        if letter in _ACCENTS and (word, index) not in _SPELT_WITH_ACCENT:
            rest = "".join(f"[{char}{_ACCENTS[char]}]" if char in _ACCENTS else char for char in word[index + 1 :])
            yield f"{word[:index]}[{_ACCENTS[letter]}]{rest}"


class _Cues(NamedTuple):
    """What tells that a text holds letters in a disguise."""

    words: Find
    """Words of attacks in it."""
    name: Find | None = None
    """The name of the disguise, which alone tells little: most texts that speak of one do not use it."""
    common: Find | None = None
    """Words of any text in it: what shows that the named disguise is used."""


def _surroundings(source: Source, cues: _Cues) -> Iterator[tuple[int, str]]:
    """Where the text around the first name with words in disguise begins, and that text; the same for the first word of an
    attack, where that stands elsewhere."""
    low = -1
    if (around := _around(source, cues.name)) and _holds(around[1], cues.common, cues.words):
        low = around[0]
        yield around
    if (around := _around(source, cues.words)) and around[0] != low:
        yield around


def _around(source: Source, find: Find | None) -> tuple[int, str] | None:
    """Where the surroundings of the first match begin, and the text there."""
    found = find(source.data, 0, len(source.data)) if find else None
    if found is None:
        return None
    low = max(0, min(source.chars(found[0][0]) - MAX_VIEW_CHARS // 2, len(source.text) - MAX_VIEW_CHARS))
    return low, source.text[low : low + MAX_VIEW_CHARS]


def _holds(text: str, *finds: Find | None) -> bool:
    data = text.encode("utf-8", "replace")
    return any(find is not None and find(data, 0, len(data)) is not None for find in finds)


def _letter_by_letter(cues: _Cues, undo: Callable[[str], str]) -> Callable[[Source], Iterator[Segment]]:
    """A decoder of a disguise that leaves every character in its place."""

    def decode(source: Source) -> Iterator[Segment]:
        for low, text in _surroundings(source, cues):
            yield Segment(undo(text), (Piece(0, low, low + len(text), Course.FORWARD),))

    return decode


def _reversed(cues: _Cues) -> Callable[[Source], Iterator[Segment]]:
    """A decoder of letters in the wrong order, in all of a text or in each word, and of words in the wrong order."""
    find_plain = _find("|".join(WORDS))

    def decode(source: Source) -> Iterator[Segment]:
        for low, text in _surroundings(source, cues):
            yield Segment(text[::-1], (Piece(0, low, low + len(text), Course.BACKWARD),))
            yield Segment(_with_words_reversed(text), (Piece(0, low, low + len(text), Course.FORWARD),))
        if (around := _around(source, cues.name)) and _holds(around[1], find_plain):
            low, text = around
            yield Segment(_with_words_reversed(text[::-1]), (Piece(0, low, low + len(text), Course.BACKWARD),))

    return decode


def _with_words_reversed(text: str) -> str:
    parts = _WORDS.split(text)
    parts[1::2] = [word[::-1] for word in parts[1::2]]
    return "".join(parts)


def _undo_leet(text: str) -> str:
    return _LEET_WORD.sub(lambda word: word[0].translate(_FROM_LEET) if not word[0].isdigit() else word[0], text)


def _undo_accents(text: str) -> str:
    return text.translate(_FROM_ACCENTED)


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


def _find(pattern: str) -> Find:
    return find_with(key_of(pattern, "i"))


def _disguised(words: Iterable[str], disguise: Callable[[str], str]) -> str:
    return "|".join(map(disguise, words))


def _cues(name: str, disguise: Callable[[str], str]) -> _Cues:
    common = rf"\b(?:{_disguised(COMMON_WORDS, disguise)})\b"
    return _Cues(_find(_disguised(WORDS, disguise)), _find(name), _find(common))


def _rot13(text: str) -> str:
    return codecs.encode(text, "rot13")


def _mirrored(text: str) -> str:
    return text[::-1]


_ROT13_NAME = r"\brot-?13\b"
_REVERSED_NAME = r"\b(?:reversed|backwards)\b"
_LEET_TRIGGER = "|".join(form for word in WORDS for form in _leet_forms(word))
_ACCENT_TRIGGER = "|".join(form for word in ACCENTED_WORDS for form in _accented_forms(word))

DISGUISES = (
    Decoder("spaced", key_of(_SPACED.replace("{6,}", "{6}"), ""), _spaced(find_with(key_of(_SPACED, "")))),
    Decoder(
        "rot13",
        key_of(f"{_ROT13_NAME}|{_disguised(WORDS, _rot13)}", "i"),
        _letter_by_letter(_cues(_ROT13_NAME, _rot13), _rot13),
        is_its_own=True,
    ),
    Decoder(
        "reversed",
        key_of(f"{_REVERSED_NAME}|{_disguised(WORDS, _mirrored)}", "i"),
        _reversed(_cues(_REVERSED_NAME, _mirrored)),
        is_its_own=True,
    ),
    Decoder("leet", key_of(_LEET_TRIGGER, "i"), _letter_by_letter(_Cues(_find(_LEET_TRIGGER)), _undo_leet)),
    Decoder("accents", key_of(_ACCENT_TRIGGER, "i"), _letter_by_letter(_Cues(_find(_ACCENT_TRIGGER)), _undo_accents)),
)
