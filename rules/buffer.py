"""The texts of one message, or of one level of views, as one buffer that Hyperscan reads at once."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from itertools import accumulate

from rules.compiler import GROUP_OF, LONG_RUN_NUMBER
from rules.hyperscan_database import MAX_ENDS, BlockDatabase, Hits
from rules.matching import MatchRule
from rules.model import Target, Text
from rules.patterns import Find, Locators, Regexps
from rules.prefilter import Reach
from rules.text_part import Part
from rules.windows import Windows, close, joined, long_runs, stretched

SEPARATOR = b"\n\x00\n"
"""Between two texts in the buffer: a line end on both sides and a character that no word holds."""
APART_BYTES = 256
"""Two windows that are nearer are one: to read so much takes no longer than to begin anew."""


def _clusters(ends: Sequence[int], size: int) -> list[tuple[int, int]]:
    """The first and the last of the places, ascending, the windows of `size` of which are one."""
    found: list[tuple[int, int]] = []
    if not ends:
        return found
    first = last = ends[0]
    for end in ends:
        if end - last > size + APART_BYTES:
            found.append((first, last))
            first = end
        last = end
    found.append((first, last))
    return found


class TextBuffer:
    """Several texts, in the order of their groups."""

    def __init__(self, sources: Sequence[Text]) -> None:
        targets = [source.target for source in sources]
        self.targets = frozenset(targets)
        groups = [GROUP_OF[target] for target in targets]
        self.origin: Sequence[int] = range(len(sources))
        """The index in the given sequence of each text."""
        self.sources = sources
        if len(set(groups)) > 1:
            self.origin = sorted(self.origin, key=groups.__getitem__)
            self.sources = [sources[index] for index in self.origin]
            groups.sort()
        self._groups = groups
        self._encoded = [source.text.encode("utf-8", "replace") for source in self.sources]
        self.data = SEPARATOR.join(self._encoded)
        self.is_ascii = self.data.isascii()
        self._starts: list[int] = []
        self._runs: dict[int, Windows | None] = {}
        self._windows: dict[tuple[int, int], Windows | None] = {}
        self._texts: dict[int, Collection[int] | None] = {}
        self._ends: dict[int, list[int]] = {}
        """By pattern: the places of its matches, in order."""

    def scan(self, blocks: Sequence[BlockDatabase]) -> Hits:
        """Which patterns occur, each looked for in the texts of the groups that it matters to."""
        groups = self._groups
        if groups[0] == groups[-1]:
            return blocks[groups[0]].scan(self.data, self.starts)
        hits = Hits()
        for group in dict.fromkeys(groups):
            low, high = bisect_left(groups, group), bisect_right(groups, group)
            start = self.starts[low]
            end = self.starts[high] if high < len(groups) else len(self.data)
            found = blocks[group].scan(self.data[start:end], [place - start for place in self.starts[low:high]])
            hits.words += (words._replace(base=words.base + start) for words in found.words)
            for number, place in found.items():
                hits.setdefault(number, start + place)
            for number, ends in found.ends.items():
                hits.ends.setdefault(number, []).extend(start + place for place in ends)
        return hits

    def encoded(self, index: int) -> bytes:
        """One text in UTF-8."""
        return self._encoded[index]

    def part(self, index: int, hits: Hits, regexps: Regexps) -> Part:
        """One text as a finished part, which knows by the hits where in it to look for a pattern.

        It holds the buffer, which therefore does not hold it: what refers to itself would wait for the garbage collector.
        """
        windows = partial(self.windows, index, hits, regexps)
        return Part(self._encoded[index], 0, 0, 0, closed=True, windows=windows)

    def windows(self, index: int, hits: Hits, regexps: Regexps, number: int) -> Windows | None:
        """The spans of a text in which every match of a pattern lies; None when it may be anywhere."""
        key = index, number
        if key not in self._windows:
            self._windows[key] = self._found_windows(index, hits, regexps, number)
        return self._windows[key]

    def _found_windows(self, index: int, hits: Hits, regexps: Regexps, number: int) -> Windows | None:
        reach = regexps.reaches[number]
        ends = hits.ends.get(number)
        if reach is None or not ends or len(ends) >= MAX_ENDS:
            return None
        has_runs = reach.has_runs and LONG_RUN_NUMBER in hits
        if reach.in_words:
            return None if has_runs else self._word_windows(index, hits, number, reach)
        runs = self._long_runs(index) if has_runs else ()
        if runs is None:
            return None
        origin, length = self.starts[index], len(self._encoded[index])
        before, after = reach.before, reach.after
        if number not in self._ends:
            self._ends[number] = sorted(ends)
        ends = self._ends[number]
        # Only those in this text: a conversation has many texts, and each of them its places.
        ends = ends[bisect_right(ends, origin) : bisect_right(ends, origin + length)]
        spans = [(low - origin - before, high - origin + after) for low, high in _clusters(ends, before + after)]
        if runs:
            spans = sorted(stretched(low, high, before + after, runs) for low, high in spans)
        return joined(spans, length)

    def _word_windows(self, index: int, hits: Hits, number: int, reach: Reach) -> Windows | None:
        """The same for a pattern that is found in squeezed text, where no run of separators is long."""
        origin, length = self.starts[index], len(self._encoded[index])
        spans: list[tuple[int, int]] = []
        for base, squeezed, places in hits.words:
            ends = sorted(places.get(number, ()))
            if len(ends) >= MAX_ENDS:
                return None
            if len(self.sources) > 1:
                ends = [end for end in ends if origin < base + squeezed.place(end) <= origin + length]
            for first, last in _clusters(ends, reach.before + reach.after):
                low, high = squeezed.span(first - reach.before, last + reach.after)
                spans.append((base + low - origin, base + high - origin))
        return joined(spans, length)

    def anchor_windows(self, index: int, hits: Hits, regexps: Regexps, rule: MatchRule) -> dict[int, Windows | None]:
        """Those of `windows` that are near enough to what the rule asks to be near its anchors, by anchor; empty where there
        are none."""
        found: dict[int, Windows | None] = {}
        is_anywhere = False
        for number in rule.anchors:
            if number not in hits:
                continue
            windows = self.windows(index, hits, regexps, number)
            for near, within in rule.near:
                if windows is not None and not windows:
                    break
                places = self.windows(index, hits, regexps, near) if near not in rule.common else None
                if places is not None:
                    distance = within if self.is_ascii else 4 * within
                    windows = (
                        self._around(index, hits, regexps, number, places, distance)
                        if windows is None
                        else close(windows, places, distance)
                    )
            found[number] = windows
            is_anywhere = is_anywhere or windows is None or bool(windows)
        return found if is_anywhere else {}

    def _around(
        self, index: int, hits: Hits, regexps: Regexps, number: int, places: Windows, distance: int
    ) -> Windows | None:
        """Where the matches of a pattern are that have one of the places so near; None when they may be anywhere."""
        length = regexps.extents[number].match
        runs = self._long_runs(index) if LONG_RUN_NUMBER in hits else ()
        if length is None or runs is None:
            return None
        size = length + distance
        spans = [(low - size, high + size) for low, high in places]
        if runs:
            spans = sorted(stretched(low, high, size, runs) for low, high in spans)
        return joined(spans, len(self._encoded[index]))

    def _long_runs(self, index: int) -> Windows | None:
        """The runs of a text over which an unbounded repetition may stretch; None when there are too many."""
        if index not in self._runs:
            self._runs[index] = long_runs(self._encoded[index])
        return self._runs[index]

    def candidates(self, rule: MatchRule, hits: Hits, regexps: Regexps, locators: Locators) -> list[int]:
        """The texts in which an anchor of the rule may occur, ascending."""
        if len(self.sources) == 1:
            return [0] if self.sources[0].target in rule.targets else []
        sources, targets = self.sources, rule.targets
        found: set[int] = set()
        for number in rule.anchors:
            if (first_end := hits.get(number)) is None:
                continue
            if (known := self._known_texts(hits, regexps, number)) is not None:
                found.update([index for index in known if sources[index].target in targets])
            else:
                found.update(self.occurrences(locators[number], first_end, targets))
        return sorted(found)

    def _known_texts(self, hits: Hits, regexps: Regexps, number: int) -> Collection[int] | None:
        """The texts in which a pattern may occur of which every place is known: each lies in the text of its match."""
        if number not in self._texts:
            ends = hits.ends.get(number)
            known: Collection[int] | None = None
            if ends and len(ends) < MAX_ENDS and regexps.reaches[number] is not None:
                starts = self.starts
                first, last = bisect_right(starts, min(ends) - 1) - 1, bisect_right(starts, max(ends) - 1) - 1
                # Many places are mostly in one text.
                known = (first,) if first == last else {bisect_right(starts, end - 1) - 1 for end in ends}
            self._texts[number] = known
        return self._texts[number]

    def occurrences(self, locator: Find, first_end: int, targets: Collection[Target] | None = None) -> Iterator[int]:
        """Texts of these targets in which a pattern occurs that Hyperscan first saw at `first_end`.

        A match may reach into the next text here; matching decides exactly.
        """
        starts = self.starts
        index = bisect_right(starts, first_end - 1) - 1
        while index < len(starts):
            if targets is not None and self.sources[index].target not in targets:
                index += 1
                continue
            spans = locator(self.data, starts[index], len(self.data))
            if spans is None:
                return
            index = max(index, bisect_right(starts, spans[0][0]) - 1)
            if targets is None or self.sources[index].target in targets:
                yield index
            index += 1

    @property
    def starts(self) -> list[int]:
        """The offset of each text in the buffer."""
        if not self._starts:
            sizes = (len(data) + len(SEPARATOR) for data in self._encoded[:-1])
            self._starts = list(accumulate(sizes, initial=0))
        return self._starts
