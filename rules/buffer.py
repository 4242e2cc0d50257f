"""The texts of one message, or of one level of views, as one buffer that Hyperscan reads at once."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Sequence
from itertools import accumulate

from rules.compiler import GROUP_OF
from rules.hyperscan_database import BlockDatabase, Hits
from rules.matching import MatchRule, Part
from rules.model import Target, Text
from rules.patterns import Locators, Regexp

SEPARATOR = b"\n\x00\n"
"""Between two texts in the buffer: a line end on both sides and a character that no word holds."""


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
        self._parts: dict[int, Part] = {}

    def scan(self, blocks: Sequence[BlockDatabase]) -> Hits:
        """Which patterns occur, each looked for in the texts of the groups that it matters to."""
        groups = self._groups
        if groups[0] == groups[-1]:
            return blocks[groups[0]].scan(self.data)
        hits: Hits = {}
        for group in dict.fromkeys(groups):
            low, high = bisect_left(groups, group), bisect_right(groups, group)
            start = self.starts[low]
            end = self.starts[high] if high < len(groups) else len(self.data)
            for number, place in blocks[group].scan(self.data[start:end]).items():
                hits.setdefault(number, start + place)
        return hits

    def part(self, index: int) -> Part:
        """One text as a finished part."""
        if index not in self._parts:
            data = self._encoded[index]
            self._parts[index] = Part(data, 0, 0, 0, closed=True, ascii=self.is_ascii or data.isascii())
        return self._parts[index]

    def candidates(self, rule: MatchRule, hits: Hits, locators: Locators) -> list[int]:
        """The texts in which an anchor of the rule may occur, ascending."""
        if len(self.sources) == 1:
            return [0] if self.sources[0].target in rule.targets else []
        found: set[int] = set()
        for number in rule.anchors:
            found.update(self.occurrences(locators[number], hits.get(number), rule.targets))
        return sorted(found)

    def occurrences(
        self, locator: Regexp, first_end: int | None, targets: Collection[Target] | None = None
    ) -> Iterator[int]:
        """Texts of these targets in which a pattern occurs that Hyperscan first saw at `first_end` (None: nowhere).

        A match may reach into the next text here; matching decides exactly.
        """
        if first_end is None:
            return
        starts = self.starts
        index = bisect_right(starts, first_end - 1) - 1
        while index < len(starts):
            if targets is not None and self.sources[index].target not in targets:
                index += 1
                continue
            match = locator.search(self.data, starts[index])
            if match is None:
                return
            index = max(index, bisect_right(starts, match.start()) - 1)
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
