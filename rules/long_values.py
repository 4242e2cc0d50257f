"""Values that are longer than a pattern reaches: private keys and signed tokens have no greatest length.

A pattern is bounded, and in a stream a match is cut off after `matching.WINDOW_BYTES`. Where the value of a sensitive rule is
about as long as that, it goes on as long as its characters do; a private key goes on over the ends of its lines too, which
may be quoted, indented, escaped or parts of a program. What comes back to its sender is never lengthened: there the
pattern says what the value is. Pure, and linear in the length of the text.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from rules.matching import Hit, MatchRule

LONG_CHARACTERS: Final = 500
"""A shorter value ends where its pattern does."""
TOLD_CHARACTERS: Final = 1024
"""In a stream so much of a value is told at once, and held until then."""
_IN_LINES: Final = "PRIVATE_KEY"
"""The label of values that stand in several lines."""
_TOKEN: Final = re.compile(r"[A-Za-z0-9+/=_-]*(?:\.[A-Za-z0-9+/=_-]+)*")
_LINE: Final = "[A-Za-z0-9+/=]"
_SEAM: Final = r"(?:\\[nrt]|[\s>|#\"',:.+\\]|-(?!-)){1,80}"
"""An indentation, quotes and signs between two lines. Two dashes begin the mark behind the last one."""
_LINES: Final = re.compile(rf"{_LINE}*(?:{_SEAM}{_LINE}{{16,}})*")
"""The rest of a line, and further ones: words that follow a key are shorter."""
_BEHIND: Final = r"(?:\\[nrt]|[\s>|#\"',:.+\\]){0,80}"
_LAST_LINE: Final = re.compile(rf"(?:{_SEAM}{_LINE}{{1,15}}(?={_BEHIND}(?:--|\Z)))?(?:{_BEHIND}(?=--))?")
_UNDECIDED_LINE: Final = re.compile(rf"(?:{_SEAM}(?:{_LINE}{{1,15}}{_BEHIND}-?)?)?\Z")
"""What may still become the next line, or the last one."""


class Told(NamedTuple):
    """The next part of a value that goes on in a stream. Offsets are characters of the text."""

    start: int
    end: int


def goes_on(rule: MatchRule, hit: Hit) -> bool:
    """Whether the value of a hit may be longer than its pattern says."""
    return rule.sensitive and not rule.reversible and hit.value_end - hit.value_start >= LONG_CHARACTERS


def whole_value(rule: MatchRule, hit: Hit, text: str) -> Hit:
    """The hit in a whole text, with all of its value."""
    if not goes_on(rule, hit):
        return hit
    end, _ = _reach(rule.label, text, hit.value_end, is_whole=True)
    return hit._replace(end=max(hit.end, end), value_end=end)


class LongValue:
    """The rest of a value in a text that arrives in pieces."""

    __slots__ = ("_label", "_rest", "_start", "end", "is_over")

    def __init__(self, label: str, position: int) -> None:
        """`position` is where it goes on."""
        self._label = label
        self._rest = ""
        self._start = position
        self.end = position
        """As far as it is known that the value reaches."""
        self.is_over = False

    @property
    def told_from(self) -> int:
        """Where that begins which has not been told."""
        return self._start

    def feed(self, text: str) -> Told | None:
        """What can be told after the next piece."""
        return self._read(text, is_whole=False)

    def take(self) -> int:
        """Tell all that is known: where the value ends so far."""
        self._start = self.end
        return self.end

    def close(self) -> Told | None:
        """The rest, at the end of the text."""
        return self._read("", is_whole=True)

    def _read(self, text: str, *, is_whole: bool) -> Told | None:
        rest = self._rest + text
        reach, is_open = _reach(self._label, rest, 0, is_whole=is_whole)
        self.end += reach
        self._rest = rest[reach:]
        self.is_over = not is_open
        if self.end == self._start or (is_open and self.end - self._start < TOLD_CHARACTERS):
            return None
        told = Told(self._start, self.end)
        self._start = self.end
        return told


def _reach(label: str, text: str, position: int, *, is_whole: bool) -> tuple[int, bool]:
    """How far a value goes on from a place, and whether more text could let it go on further."""
    is_in_lines = label == _IN_LINES
    end = _end(_LINES if is_in_lines else _TOKEN, text, position)
    if not is_whole and (_UNDECIDED_LINE.match(text, end) if is_in_lines else text[end:] in ("", ".")):
        return end, True
    return (_end(_LAST_LINE, text, end) if is_in_lines else end), False


def _end(pattern: re.Pattern[str], text: str, position: int) -> int:
    match = pattern.match(text, position)
    return match.end() if match else position
