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


def _joined(folded: bytes) -> bytes:
    """Every run of spaces as one. Most are of two; each pass halves them, which costs half of what an expression does."""
    while b"  " in folded:
        folded = folded.replace(b"  ", b" ")
    return folded


class Squeezed:
    """A squeezed text, and the way back to the places in the text itself."""

    __slots__ = ("_lost", "_origins", "_size", "_starts", "data")

    def __init__(self, text: bytes, starts: Sequence[int] = (0,)) -> None:
        """`starts` are places, ascending, at which parts of the text begin: no place is taken for one in another part."""
        folded = text.translate(FOLDED)
        self._size = len(text)
        self._origins: list[int] = []
        self._starts: list[int] = []
        self._lost: list[int] = []
        pieces: list[bytes] = []
        size = 0
        after_separator = False
        for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
            for low in range(start, end, BLOCK_BYTES):
                high = min(end, low + BLOCK_BYTES)
                piece = _joined(folded[low:high])
                if after_separator and piece[:1] == b" ":
                    piece = piece[1:]
                if not piece:
                    continue
                after_separator = piece[-1] == 32
                self._origins.append(low)
                self._starts.append(size)
                self._lost.append(high - low - len(piece))
                pieces.append(piece)
                size += len(piece)
        self.data = b"".join(pieces)

    def place(self, end: int) -> int:
        """The place in the text at which something that ends at `end` here ends at the earliest, in the part where it does."""
        block = bisect_right(self._starts, end - 1) - 1
        return self._origins[block] + end - self._starts[block] if block >= 0 else 0

    def span(self, low: int, high: int) -> tuple[int, int]:
        """A span of the text that holds whatever the span from `low` to `high` here was made of."""
        if low > 0:
            block = bisect_right(self._starts, low) - 1
            low = self._origins[block] + low - self._starts[block]
        if high >= len(self.data):
            return max(0, low), self._size
        block = bisect_right(self._starts, high) - 1
        return max(0, low), self._origins[block] + high - self._starts[block] + self._lost[block]


class Squeezer:
    """Squeezes a text that arrives in pieces."""

    __slots__ = ("_after_separator",)

    def __init__(self) -> None:
        self._after_separator = False

    def feed(self, text: bytes) -> bytes:
        """What the next bytes add to the squeezed text."""
        piece = _joined(text.translate(FOLDED))
        if self._after_separator and piece[:1] == b" ":
            piece = piece[1:]
        if piece:
            self._after_separator = piece[-1] == 32
        return piece
