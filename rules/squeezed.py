"""A text as most patterns of words see it: letters small, and every run of separators one space.

Nearly all patterns that speak of words allow any run of spaces and punctuation between them. Over the text itself each
such place is a loop of an automaton; over the squeezed text it is one character, and words that stand together are one
literal. Bytes outside ASCII stay as they are.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

BLOCK_BYTES = 1024
"""Places are known this roughly: exactly as far as nothing was squeezed in their block."""
SEPARATORS = frozenset(chr(code) for code in range(128) if not chr(code).isalnum())
FOLDED = bytes(32 if chr(code) in SEPARATORS else ord(chr(code).lower()) if code < 128 else code for code in range(256))
"""By byte: what becomes of it before runs of separators are joined."""


_IS_SEPARATOR = bytes(int(code == 32) for code in FOLDED)
_SPARE = b"!"
"""What marks a separator behind another one: the byte of a space with its lowest bit set, which no folded text holds."""


def _marked(text: bytes) -> bytes:
    """The text folded, with every separator behind another one marked. Two long numbers do in a moment what a loop over the
    bytes, or an expression that looks at each run, takes long for."""
    separators = int.from_bytes(text.translate(_IS_SEPARATOR), "little")
    behind_another = separators & separators << 8
    return (int.from_bytes(text.translate(FOLDED), "little") | behind_another).to_bytes(len(text), "little")


class Squeezed:
    """A squeezed text, and the way back to the places in the text itself."""

    __slots__ = ("_lost", "_marked", "_origins", "_parts", "_starts", "data")

    def __init__(self, text: bytes, starts: Sequence[int] = (0,)) -> None:
        """`starts` are places, ascending, at which parts of the text begin: no place is taken for one in another part."""
        self._marked = _marked(text)
        self._parts = starts
        self._origins: list[int] = []
        self._starts: list[int] = []
        self._lost: list[int] = []
        self.data = self._marked.translate(None, _SPARE)

    def _find_blocks(self) -> None:
        """Find out what was lost in each block. Most texts hold nothing of which the place is asked."""
        marked = self._marked
        size = 0
        for start, end in zip(self._parts, [*self._parts[1:], len(marked)], strict=True):
            for low in range(start, end, BLOCK_BYTES):
                high = min(end, low + BLOCK_BYTES)
                lost = marked.count(_SPARE, low, high)
                if lost < high - low:
                    self._origins.append(low)
                    self._starts.append(size)
                    self._lost.append(lost)
                    size += high - low - lost

    def place(self, end: int) -> int:
        """The place in the text at which something that ends at `end` here ends at the earliest, in the part where it does."""
        if not self._starts:
            self._find_blocks()
        block = bisect_right(self._starts, end - 1) - 1
        return self._origins[block] + end - self._starts[block] if block >= 0 else 0

    def span(self, low: int, high: int) -> tuple[int, int]:
        """A span of the text that holds whatever the span from `low` to `high` here was made of."""
        if not self._starts:
            self._find_blocks()
        if low > 0:
            block = bisect_right(self._starts, low) - 1
            low = self._origins[block] + low - self._starts[block]
        if high >= len(self.data):
            return max(0, low), len(self._marked)
        block = bisect_right(self._starts, high) - 1
        return max(0, low), self._origins[block] + high - self._starts[block] + self._lost[block]


class Squeezer:
    """Squeezes a text that arrives in pieces."""

    __slots__ = ("_after_separator",)

    def __init__(self) -> None:
        self._after_separator = False

    def feed(self, text: bytes) -> bytes:
        """What the next bytes add to the squeezed text."""
        piece = _marked(text).translate(None, _SPARE)
        if self._after_separator and piece[:1] == b" ":
            piece = piece[1:]
        if piece:
            self._after_separator = piece[-1] == 32
        return piece
