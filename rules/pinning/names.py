"""Names that pretend to be other names (T-05): alike to the eye, or alike across servers.

Two names clash when they are the same on two servers, when only case and separators part them, or when they are drawn
alike. Models choose tools by name, so the second one is called in place of the first.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final, Literal

from rules.confusables import LOOK_ALIKES
from rules.pinning.visible import is_hidden

MAX_NAME_CHARS: Final = 256
VALID: Final = re.compile(r"[A-Za-z0-9_.\-]{1,128}")
"""What the specification says that tool names should be."""
_SEPARATORS: Final = re.compile(r"[\s_.\-/]+")
_DIGITS: Final = str.maketrans({"0": "o", "1": "l"})
_STROKES: Final = re.compile("[1I]")
"""What is drawn like an l as well as like an i."""

ClashKind = Literal["same", "spelling", "look_alike"]


def spelling(name: str) -> str:
    """The name without case and separators: `read_file`, `readFile` and `READ-FILE` have the same."""
    return _SEPARATORS.sub("", name[:MAX_NAME_CHARS]).casefold()


def skeleton(name: str) -> str:
    """What the name is drawn as: compatibility forms, look-alikes and hidden characters undone. Every i is an l here, since
    one stroke may stand for either; `clash_kind` says whether one does."""
    return _letters(name).replace("i", "l")


def _letters(name: str) -> str:
    shown = "".join(char for char in name[:MAX_NAME_CHARS] if not is_hidden(char))
    plain = unicodedata.normalize("NFKC", shown).translate(LOOK_ALIKES)
    return spelling(plain).translate(_DIGITS).replace("rn", "m")


def clash_kind(name: str, other: str) -> ClashKind | None:
    """In what way two names can be taken for each other; None if they cannot."""
    if name == other:
        return "same"
    if spelling(name) == spelling(other):
        return "spelling"
    if skeleton(name) != skeleton(other):
        return None
    is_stroke = _STROKES.search(name + other) is not None
    return "look_alike" if is_stroke or _letters(name) == _letters(other) else None


def is_one_edit_apart(name: str, other: str) -> bool:
    """Whether one inserted, removed, replaced or swapped character parts two names."""
    if name == other or abs(len(name) - len(other)) > 1 or max(len(name), len(other)) > MAX_NAME_CHARS:
        return False
    start = 0
    while start < min(len(name), len(other)) and name[start] == other[start]:
        start += 1
    left, right = name[start:], other[start:]
    swapped = len(left) > 1 and left[:2] == right[1::-1] and left[2:] == right[2:]
    return swapped or left[1:] == right[1:] or left[1:] == right or left == right[1:]
