"""Text from outside, drawn so that it cannot deceive the reader.

Prompts, tool names, descriptions and user agents may hold characters that change how a line reads (bidirectional
controls), that nobody sees (zero-width characters, tags, variation selectors) or that a terminal would obey
(escapes). `hostile` escapes the text, isolates it from the direction of its surroundings and shows each such
character as a visible token with its name in a tooltip (INJ-01, INJ-03).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

from markupsafe import Markup, escape

TOKENS_SHOWN_ALONE = 6
"""A longer run of invisible characters becomes one token that says how many there are."""

_BLANK_LETTERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180e\u2800\u3164\uffa0")
"""Characters of a visible category that draw nothing."""

_SHORT_NAMES = {
    "\t": "TAB",
    "\n": "LF",
    "\r": "CR",
    "\x00": "NUL",
    "\x1b": "ESC",
    "\x7f": "DEL",
    "\xa0": "NBSP",
    "\xad": "SHY",
    "\u200b": "ZWSP",
    "\u200c": "ZWNJ",
    "\u200d": "ZWJ",
    "\u200e": "LRM",
    "\u200f": "RLM",
    "\u2028": "LSEP",
    "\u2029": "PSEP",
    "\u202a": "LRE",
    "\u202b": "RLE",
    "\u202c": "PDF",
    "\u202d": "LRO",
    "\u202e": "RLO",
    "\u2060": "WJ",
    "\u2066": "LRI",
    "\u2067": "RLI",
    "\u2068": "FSI",
    "\u2069": "PDI",
    "\ufeff": "BOM",
}


def is_deceptive(character: str) -> bool:
    """True for a character that a reader cannot see or that changes how its neighbours are shown."""
    if character == " ":
        return False
    category = unicodedata.category(character)
    if category in {"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp", "Zs"}:
        return True
    return character in _BLANK_LETTERS or "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef"


def token_label(character: str) -> str:
    """The word drawn in the token: a well-known abbreviation, the letter behind a tag character, or the code point."""
    if character in _SHORT_NAMES:
        return _SHORT_NAMES[character]
    code = ord(character)
    if 0xE0020 <= code <= 0xE007E:
        return f"TAG {chr(code - 0xE0000)}"
    return f"U+{code:04X}"


def _title(character: str) -> str:
    return f"U+{ord(character):04X} {unicodedata.name(character, 'control character')}"


def _runs(text: str, allowed: str) -> Iterator[tuple[bool, str]]:
    """The text in pieces: (deceptive?, piece)."""
    start = 0
    deceptive = False
    for index, character in enumerate(text):
        now = character not in allowed and is_deceptive(character)
        if now != deceptive:
            if index > start:
                yield deceptive, text[start:index]
            start, deceptive = index, now
    if start < len(text):
        yield deceptive, text[start:]


def _tokens(run: str) -> Markup:
    if len(run) <= TOKENS_SHOWN_ALONE:
        return Markup("").join(
            Markup('<span class="tok" title="{}">{}</span>').format(_title(c), token_label(c)) for c in run
        )
    hidden = "".join(chr(ord(c) - 0xE0000) for c in run if 0xE0020 <= ord(c) <= 0xE007E)
    title = f"hidden text: {hidden}" if hidden else "; ".join(_title(c) for c in run[:TOKENS_SHOWN_ALONE]) + "; …"
    return Markup('<span class="tok" title="{}">{} invisible characters</span>').format(title[:300], len(run))


def hostile(text: object, limit: int = 0, *, lines: bool = False) -> Markup:
    """`text` as safe markup in a `<bdi>`; with `limit`, at most that many characters and a note of how many follow.

    With `lines`, line breaks and tabs stay as they are (for a block with preserved white space).
    """
    whole = str(text)
    shown = whole[:limit] if limit else whole
    allowed = "\n\t" if lines else ""
    drawn = Markup("").join(_tokens(piece) if bad else escape(piece) for bad, piece in _runs(shown, allowed))
    rest = len(whole) - len(shown)
    if rest:
        drawn += Markup('<span class="tok tok-rest">… {} more characters</span>').format(rest)
    return Markup('<bdi class="hostile">{}</bdi>').format(drawn)
