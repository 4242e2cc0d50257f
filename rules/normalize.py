"""The normalised view: the text as a reader, or a model, takes it.

Invisible characters go (zero-width, bidirectional controls, variation selectors, soft hyphens, overlay marks), and so do
accents, lines and rings on letters that have none; accents written apart join their letter; compatibility forms such as
full-width, mathematical, raised or enclosed letters become plain ones (NFKC), as do Arabic and Persian digits; and look-alikes
become Latin letters, but only inside words that mix scripts, so that Russian, Serbian or Greek text stays as it is.
What invisible characters spell by themselves (tag characters, variation selectors, zero-width bits) is a view of its own.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence

from rules.confusables import LOOK_ALIKES
from rules.derived_view import PLAIN, Change, Course, DerivedView, Piece, Segment, is_readable, packed, rewritten
from rules.patterns import find_with, key_of, regexp

SLICE_CHARS = 65_536
MAX_SOUGHT = 256
"""So many places are sought one by one with RE2, which reads what lies between them quickly; of more, each costs less where
every character is looked at."""

_TAG_BASE = 0xE0000
_JOINERS = "\u200d\ufe0f"
_INVISIBLE_BUT_JOINERS = (
    "\u00ad\u034f\u0334-\u0338\u0489\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200c\u200e\u200f\u202a-\u202e"
    "\u2060-\u206f\u20d0-\u20f0\u3164\ufe00-\ufe0e\ufeff\uffa0\ufff9-\ufffb"
    "\U0001d173-\U0001d17a\U000e0000-\U000e007f\U000e0100-\U000e01ef"
)
_SPACES = "\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_COMPATIBLE = (
    "\u00aa\u00b2\u00b3\u00b9\u00ba\u017f\u0660-\u0669\u06f0-\u06f9\u0251\u0261\u0262\u026a\u0274\u0280\u0299\u029c\u029f\u02b0-\u02b8\u02e0-\u02e4\ua730\ua731\u1d00-\u1d6a"
    "\u1d9b-\u1dbf\u2070-\u209f\u2100-\u218b\u2460-\u24ff\u2c7c\u2c7d\u3200-\u33ff"
    "\ufb00-\ufb06\uff02-\uff07\uff0a\uff0b\uff0d-\uff19\uff1c-\uff1e\uff20-\uff3a\uff3c\uff3e-\uff5d\U0001d400-\U0001d7ff\U0001f100-\U0001f1ff"
)
_MARKS = "\u0300-\u0333\u0339-\u034e\u0350-\u036f"
"""What is drawn above, below or through the letter before it, the overlay marks excepted, which stand above."""
_OTHER_LETTER = "\u0370-\u03ff\u0400-\u052f\u0531-\u0587\u13a0-\u13f5"
_FOLDED = re.compile(
    rf"(?P<marked>[^\W_]?[{_MARKS}]+)|(?P<folded>[{_SPACES}{_COMPATIBLE}]+)|[{_INVISIBLE_BUT_JOINERS}{_JOINERS}]+"
)
_find_folded = find_with(key_of(f"[{_SPACES}{_COMPATIBLE}{_INVISIBLE_BUT_JOINERS}{_JOINERS}{_MARKS}]+", ""))
_MIXED = f"[A-Za-z][{_OTHER_LETTER}]|[{_OTHER_LETTER}][A-Za-z]"
_MIXED_SCRIPTS = re.compile(_MIXED)
_MARK = re.compile(f"[{_MARKS}]")
_find_mixed = find_with(key_of(_MIXED, ""))
_PICTURES = "\u2000-\u33ff\ufe0f\U0001f000-\U0001faff"
_SUSPICIOUS = regexp(
    key_of(
        f"[{_SPACES}{_COMPATIBLE}{_INVISIBLE_BUT_JOINERS}{_MARKS}]|(?:^|[^{_PICTURES}])[{_JOINERS}]"
        f"|[A-Za-z][{_OTHER_LETTER}]|[{_OTHER_LETTER}][A-Za-z]",
        "",
    )
)
"""What calls for the view, for RE2. Joiners between pictures do not: ordinary ones are made of them."""
_WORD = re.compile(f"[A-Za-z{_OTHER_LETTER}]+")
_LETTERS = frozenset("".join(_WORD.findall("".join(map(chr, range(0x1400))))))

_SMALL_CAPITALS = "ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡᴢ"
_PLAIN_LETTERS = str.maketrans(
    {
        **dict(zip(_SMALL_CAPITALS, "abcdefghijklmnoprstuvwz", strict=True)),
        **{chr(base + offset): chr(ord("A") + offset) for base in (0x1F150, 0x1F170, 0x1F1E6) for offset in range(26)},
        **{chr(0x249C + offset): chr(ord("a") + offset) for offset in range(26)},
        **{chr(0x1F110 + offset): chr(ord("A") + offset) for offset in range(26)},
        **{chr(base + digit): str(digit) for base in (0x0660, 0x06F0) for digit in range(10)},
        "\u0251": "a",
        "\u0261": "g",
        "\u2028": "\n",
        "\u2029": "\n",
    }
)
"""Letters and line ends that NFKC leaves as they are, or puts into brackets."""

_TAG_RUN = re.compile("[\U000e0000-\U000e007f]+")
_SELECTOR_RUN = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]{4,}")
_BIT_RUN = re.compile("[\u200b\u200c\u200d\u2060\ufeff]{32,}")
_find_smuggled = find_with(key_of("|".join(run.pattern for run in (_TAG_RUN, _SELECTOR_RUN, _BIT_RUN)), ""))


def may_normalize(data: bytes) -> bool:
    """Whether a text, given in UTF-8, has any character that calls for the normalised view."""
    return _SUSPICIOUS.search(data) is not None


def normalized(text: str, data: bytes) -> list[DerivedView]:
    """The normalised view of a text that is not all ASCII and what its invisible characters spell, where it has any.

    `data` is the text in UTF-8.
    """
    segment = rewritten(text, 0, _to_fold(text, data), _fold)
    plain, words = _unmixed(segment.text)
    views: list[DerivedView] = []
    if plain and plain != text:
        view = DerivedView("normalized", PLAIN, plain, segment.pieces)
        changes = [*_changed_pieces(segment, len(text)), *(Change(*word, *view.raw_span(*word)) for word in words)]
        views.append(view._replace(changes=tuple(sorted(changes))))
    if _find_smuggled(data, 0, len(data)) is None:
        return views
    for made, run, spell in _SMUGGLED:
        views += (
            DerivedView("normalized", made, hidden.text, hidden.pieces)
            for hidden in [*packed(_spelled(text, run, spell))][:1]
        )
    return views


def _to_fold(text: str, data: bytes) -> Iterator[re.Match[str]]:
    """What is folded or goes. No step holds the interpreter for long: each looks at a slice at most."""
    position = char = 0
    for _ in range(MAX_SOUGHT):
        spans = _find_folded(data, position, len(data))
        if spans is None:
            return
        start, end = spans[0]
        first = char + len(data[position:start].decode("utf-8", "replace"))
        # A mark is read with its letter, unless that was folded already.
        begin = max(char, first - 1) if _MARK.match(text, first) else first
        position, char = end, first + len(data[start:end].decode("utf-8", "replace"))
        yield from _FOLDED.finditer(text, begin, char)
    for at in range(char, len(text), SLICE_CHARS):
        yield from _FOLDED.finditer(text, at, at + SLICE_CHARS)


def _fold(match: re.Match[str]) -> str:
    if folded := match["folded"]:
        return _plain(folded)
    # What joins its letter is spelling; what is left then stands on a letter that has no accents.
    return _MARK.sub("", _plain(marked)) if (marked := match["marked"]) else ""


def _plain(folded: str) -> str:
    return unicodedata.normalize("NFKC", folded.translate(_PLAIN_LETTERS))


def _unmixed(text: str) -> tuple[str, Sequence[tuple[int, int]]]:
    """The text with the words that mix scripts in Latin letters, and where those are. Look-alikes go one for one, so that
    offsets stay."""
    out: list[str] = []
    words: list[tuple[int, int]] = []
    position = 0
    for start, end in _mixed_words(text):
        out += (text[position:start], text[start:end].translate(LOOK_ALIKES))
        words.append((start, end))
        position = end
    return "".join([*out, text[position:]]) if words else text, words


def _mixed_words(text: str) -> Iterator[tuple[int, int]]:
    """Where the words lie that mix scripts."""
    data = text.encode("utf-8", "replace")
    position = char = 0
    for _ in range(MAX_SOUGHT):
        spans = _find_mixed(data, position, len(data))
        if spans is None:
            return
        first = char + len(data[position : spans[0][0]].decode("utf-8", "replace"))
        while first > char and text[first - 1] in _LETTERS:
            first -= 1
        word = _WORD.match(text, first)
        assert word
        yield word.span()
        position += len(text[char : word.end()].encode("utf-8", "replace"))
        char = word.end()
    yield from (word.span() for word in _WORD.finditer(text, char) if _MIXED_SCRIPTS.search(word[0]))


def _changed_pieces(segment: Segment, size: int) -> Iterator[Change]:
    """What folding changed of a text of `size` characters: what came from another text, and where something is gone."""
    pieces = segment.pieces
    ends = [*(piece.view_start for piece in pieces[1:]), len(segment.text)]
    position = 0
    for piece, view_end in zip(pieces, ends, strict=True):
        if piece.start > position:
            yield Change(piece.view_start, piece.view_start, position, piece.start)
        if piece.course is Course.WHOLE:
            yield Change(piece.view_start, view_end, piece.start, piece.end)
        position = piece.end
    if position < size:
        yield Change(len(segment.text), len(segment.text), position, size)


def _spelled(text: str, run: re.Pattern[str], spell: Callable[[str], str]) -> Iterator[Segment]:
    """What the runs of invisible characters spell: all of them together, so that scattered ones are read as well."""
    runs = [(match.start(), match.end(), spell(match[0])) for match in run.finditer(text)]
    message = "".join(spelled for _, _, spelled in runs)
    if len(message) < 2 or not is_readable(message):
        return
    pieces: list[Piece] = []
    size = 0
    for start, end, spelled in runs:
        if spelled:
            pieces.append(Piece(size, start, end, Course.WHOLE))
            size += len(spelled)
    yield Segment(message, tuple(pieces))


def _from_tags(run: str) -> str:
    return "".join(chr(ord(char) - _TAG_BASE) for char in run if 0x20 <= ord(char) - _TAG_BASE < 0x7F)


def _from_selectors(run: str) -> str:
    """Variation selectors as bytes: the first 16 and the 240 of the supplement."""
    data = bytes(code - 0xFE00 if (code := ord(char)) < 0xFE10 else code - 0xE0100 + 16 for char in run)
    return data.decode("utf-8", "replace")


def _from_bits(run: str) -> str:
    """Two zero-width characters as bits, eight a letter; the others separate."""
    bits = "".join("0" if char == "\u200b" else "1" for char in run if char in "\u200b\u200c")
    data = bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits) - 7, 8))
    return data.decode("utf-8", "replace")


_SMUGGLED: tuple[tuple[str, re.Pattern[str], Callable[[str], str]], ...] = (
    ("tags", _TAG_RUN, _from_tags),
    ("variation-selectors", _SELECTOR_RUN, _from_selectors),
    ("zero-width", _BIT_RUN, _from_bits),
)
