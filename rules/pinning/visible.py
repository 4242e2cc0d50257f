"""Texts for a person who compares them: hidden characters shown, and how alike two texts are.

Hidden are characters that are drawn as nothing or steer the drawing of others: control and format characters, tags,
variation selectors, fillers and private characters.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

MAX_SHOWN_CHARS: Final = 20_000
MAX_TOKENS: Final = 20_000

_TAG_BASE: Final = 0xE0000
_FILLERS: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
_LINE_ENDS: Final = frozenset("\t\n\r")
_TAGS: Final = re.compile("[\U000e0020-\U000e007e]+")
_PICTURE_JOINERS: Final = re.compile("(?<=[\u2000-\u33ff\U0001f000-\U0001faff])[\u200d\ufe0f]")
"""What ordinary pictures are made of."""
_TOKEN: Final = re.compile(r"\w+|[^\w\s]")


def is_hidden(char: str) -> bool:
    """Whether a character is not drawn as itself."""
    if char < "\x7f":
        return char < " " and char not in _LINE_ENDS
    code = ord(char)
    if 0xFE00 <= code <= 0xFE0F or 0xE0100 <= code <= 0xE01EF or char in _FILLERS:
        return True
    return unicodedata.category(char) in ("Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp")


def hidden_characters(text: str) -> list[str]:
    """The hidden characters of a text in their order, but not those that join pictures."""
    if text.isascii() and text.isprintable():
        return []
    return [char for char in _PICTURE_JOINERS.sub("", text) if is_hidden(char)]


def visible(text: str, max_chars: int = MAX_SHOWN_CHARS) -> str:
    """The text with each hidden character as `⟨U+200B⟩` and a run of tag characters as `⟨tags: what they spell⟩`."""
    shown = text[:max_chars]
    if shown.isascii() and shown.isprintable():
        result = shown
    else:
        spelled = _TAGS.sub(lambda run: f"⟨tags: {''.join(chr(ord(c) - _TAG_BASE) for c in run[0])}⟩", shown)
        result = "".join(f"⟨U+{ord(char):04X}⟩" if is_hidden(char) else char for char in spelled)
    return result + (f"… ({len(text)} characters)" if len(text) > max_chars else "")


def tokens(text: str) -> set[str]:
    """The words and signs of a text, without regard to case; at most `MAX_TOKENS` of them."""
    found: set[str] = set()
    for match in _TOKEN.finditer(text):
        found.add(match[0].casefold())
        if len(found) >= MAX_TOKENS:
            break
    return found


def similarity(before: str, after: str) -> float:
    """Jaccard similarity of the words of two texts: 1.0 for the same words, 0.0 for none in common."""
    left, right = tokens(before), tokens(after)
    return len(left & right) / len(left | right) if left | right else 1.0
