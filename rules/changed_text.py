"""A normalised text that differs from the raw one in few places, and what has to be looked at because of that.

A rule can only hit anew where a match, or what stands near it, touches such a place. Which patterns occur there is known
from the surroundings of the places and from what was found in the raw text. Where they match, RE2 says in the normalised
text itself, no further from a place than the pattern and the distances of the rule reach.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from rules.buffer import SEPARATOR, TextBuffer
from rules.compiler import LONG_RUN_NUMBER
from rules.derived_view import DerivedView
from rules.hyperscan_database import Hits
from rules.matching import MatchRule
from rules.model import Text
from rules.packs import MAX_WITHIN_CHARS
from rules.patterns import SURROUNDING_BYTES, Regexps
from rules.squeezed import FOLDED
from rules.text_part import boundary
from rules.windows import Windows, close, joined, long_runs, stretched

MAX_CHANGES = 256
"""So many places are looked at one by one; most of many stand side by side."""
MIN_CHARS = 1024
"""A shorter text is not worth it."""
MARGIN_BYTES = 16
"""Characters beside a match may decide on it, and may be of several bytes."""
APART_BYTES = 64
"""Places that are nearer are one: what stands between them is read in any case."""
MAX_DISTANCE_BYTES = 4 * MAX_WITHIN_CHARS
_SEPARATORS = bytes(code for code, folded in enumerate(FOLDED) if folded == 32)


class ChangedText:
    """One normalised text and the places that matter in it."""

    def __init__(self, raw: TextBuffer, index: int, raw_hits: Hits, view: DerivedView, regexps: Regexps) -> None:
        """The text came from that with this index in a buffer in which `raw_hits` were found."""
        self._raw, self._index, self._raw_hits, self._regexps = raw, index, raw_hits, regexps
        source = raw.sources[index]
        self.buffer = TextBuffer([Text(source.target, source.path, view.text)])
        self._places = _in_bytes(view.text, [(change.view_start, change.view_end) for change in view.changes])
        self._raw_places = _in_bytes(source.text, [(change.start, change.end) for change in view.changes])
        self._found: Collection[int] = ()
        self._runs: Windows | None = ()
        self.hits = Hits()
        """What may occur in the text; where it does is not known."""

    def search(self, scan: Callable[[TextBuffer], Hits]) -> bool:
        """Search the surroundings of the places; False where reading the whole text is no more work, or safer."""
        data, source = self.buffer.data, self.buffer.sources[0]
        spans = joined([(_before(data, low), _behind(data, high)) for low, high in self._places], len(data))
        if 2 * sum(high - low for low, high in spans) > len(data):
            return False
        text = SEPARATOR.join([data[low:high] for low, high in spans]).decode("utf-8", "replace")
        found = scan(TextBuffer([Text(source.target, source.path, text)]))
        if LONG_RUN_NUMBER in found:
            return False
        if LONG_RUN_NUMBER in self._raw_hits:
            self._runs = long_runs(data)
        self._found = found.keys()
        # What is longer than the surroundings may occur as well.
        self.hits.update(dict.fromkeys([*self._raw_hits, *found, *self._regexps.long], 0))
        return self._runs is not None

    def occurs(self, number: int) -> bool:
        """Whether a pattern that is not long occurs at one of the places."""
        return number in self._found

    def anchors(self, numbers: Collection[int]) -> list[int]:
        """Those of some patterns that may match at one of the places, or near one."""
        return [number for number in self.hits if number in numbers and self._matters(number, MAX_DISTANCE_BYTES)]

    def windows(self, rule: MatchRule, number: int) -> Windows | None:
        """Where in the text an anchor of a rule may be one that the raw text does not show; None for anywhere."""
        length = self._regexps.extents[number].match
        if length is None or not rule.is_local:
            return None
        distance = rule.widest if self.buffer.is_ascii else 4 * rule.widest
        if not self._matters(number, distance):
            return ()
        size = length + distance + MARGIN_BYTES
        spans = [(low - size, high + size) for low, high in self._places]
        if self._runs:
            spans = sorted(stretched(low, high, size, self._runs) for low, high in spans)
        return joined(spans, len(self.buffer.data))

    def _matters(self, number: int, distance: int) -> bool:
        """Whether a match of a pattern may have a place in it, or lie so near to one."""
        if number in self._found or number in self._regexps.long:
            return True
        if number not in self._raw_hits:
            return False
        windows = self._raw.windows(self._index, self._raw_hits, self._regexps, number)
        return windows is None or bool(close(windows, self._raw_places, distance + MARGIN_BYTES))


def _in_bytes(text: str, spans: Sequence[tuple[int, int]]) -> Windows:
    """Spans of characters of a text as spans of its bytes, in order; those that are close are one."""
    places: dict[int, int] = {}
    char = size = 0
    for position in sorted({position for span in spans for position in span}):
        size += len(text[char:position].encode("utf-8", "replace"))
        char = position
        places[position] = size
    return joined(sorted((places[low], places[high]) for low, high in spans), size, apart=APART_BYTES)


def _before(data: bytes, position: int) -> int:
    """Where enough letters and digits before a place begin."""
    size = SURROUNDING_BYTES
    while size < position and len(data[position - size : position].translate(None, _SEPARATORS)) < SURROUNDING_BYTES:
        size = size * 5 // 4
    return boundary(data, max(0, position - size))


def _behind(data: bytes, position: int) -> int:
    """Where enough of them behind it end."""
    size = SURROUNDING_BYTES
    end = len(data)
    while (
        position + size < end and len(data[position : position + size].translate(None, _SEPARATORS)) < SURROUNDING_BYTES
    ):
        size = size * 5 // 4
    return boundary(data, min(end, position + size))
