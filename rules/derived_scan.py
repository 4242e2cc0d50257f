"""The rules over the further views of the texts of a message, level by level.

First what normalisation makes of them; then what decoding makes of those, and of that once more. The scan of each
level tells by the triggers in which texts there is anything to decode for the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import NamedTuple

import msgspec

from rules.buffer import TextBuffer
from rules.changed_text import MAX_CHANGES, MIN_CHARS, ChangedText
from rules.decoding import Source
from rules.derived_view import DerivedView
from rules.evaluator import MAX_FINDINGS, Direction, Evaluator, Found, findings_of
from rules.hyperscan_database import Hits
from rules.model import Action, Finding, Severity, Text
from rules.normalize import may_normalize, normalized
from rules.views import DECODERS, MAX_DEPTH, MAX_MESSAGE_VIEWS, ViewBudget, base_of, decoded

STRETCH_CHARS = 256
"""Hits are remembered by stretches of their text, so that each is compared with its neighbours only."""


class _Item(NamedTuple):
    """A view of one of the texts of a message; the raw text itself has none."""

    number: int
    """Of the text in the raw buffer."""
    text: str
    view: DerivedView | None


def _stretches(start: int, end: int) -> range:
    return range(start // STRETCH_CHARS, end // STRETCH_CHARS + 1)


class DerivedScan:
    """One message. `found` are the hits in its raw texts: a view that repeats one of them adds nothing."""

    def __init__(self, evaluator: Evaluator, raw: TextBuffer, direction: Direction, found: Sequence[Found]) -> None:
        self._evaluator = evaluator
        self._raw = raw
        self._direction = direction
        self._spans: dict[tuple[int, str, int], list[tuple[int, int]]] = {}
        """Where rules hit, by text, rule and stretch of the text: a text may hold thousands of values."""
        for index, rule, hit in found:
            self._note(index, rule.id, hit.start, hit.end)
        self._left = MAX_FINDINGS
        self._told: set[str] = set()
        """The rules with a finding: of every other one the first is kept, however many there are."""
        self.is_cut = False
        """Whether there may be more than was looked at, because the message as a whole is too much."""
        self._findings: list[tuple[int, Finding]] = []

    def run(self, hits: Hits, *, is_searched: bool) -> list[tuple[int, Finding]]:
        """The findings of all views, each with the index of its text, in the order of the texts; `hits` are the patterns that
        occur in the raw texts: all of them where those were searched, otherwise the triggers."""
        present = self._present(self._raw, hits)
        views = [self._normalized(index) for index in range(len(self._raw.sources))]
        items: list[_Item] = []
        bases = [
            (_Item(index, self._raw.sources[index].text, None), numbers)
            for index, numbers in present.items()
            if base_of(views[index]) is None and "decoded" in self._wanted(index)
        ]
        for item in (_Item(index, view.text, view) for index, found in enumerate(views) for view in found):
            triggers = self._unchanged(item, hits) if is_searched else None
            if triggers is None:
                items.append(item)
            elif numbers := sorted({*present.get(item.number, ()), *triggers}):
                bases.append((item, numbers))
        bases += self._scan(items)
        budgets: dict[int, ViewBudget] = {}
        left = MAX_MESSAGE_VIEWS
        for _ in range(MAX_DEPTH):
            level: list[_Item] = []
            # The newest texts of a conversation stand last, and they are what a cap must not hide.
            for item, numbers in sorted(bases, key=lambda base: self._raw.origin[base[0].number], reverse=True):
                budget = budgets.setdefault(item.number, ViewBudget())
                raw = self._raw.sources[item.number].text
                for view in decoded(Source(item.text), item.view, numbers, budget, raw):
                    level.append(_Item(item.number, view.text, view))
                if len(level) >= left:
                    break
            del level[left:]
            left -= len(level)
            bases = self._scan(level)
        self.is_cut = self.is_cut or left <= 0 or self._left <= 0
        return sorted(self._findings, key=itemgetter(0))

    def _wanted(self, index: int) -> frozenset[str]:
        return self._evaluator.views.get(self._raw.sources[index].target, frozenset())

    def _normalized(self, index: int) -> list[DerivedView]:
        data = self._raw.encoded(index)
        if data.isascii() or self._wanted(index) <= {"raw"} or not may_normalize(data):
            return []
        return normalized(self._raw.sources[index].text, data)

    def _unchanged(self, item: _Item, hits: Hits) -> list[int] | None:
        """The triggers at the places of a normalised text that differ from the raw one, in which `hits` were found, where it is
        sure that no rule hits anything else because of them; None otherwise."""
        view = item.view
        if view is None or not 0 < len(view.changes) <= MAX_CHANGES or len(item.text) < MIN_CHARS:
            return None
        changed = ChangedText(self._raw, item.number, hits, view, self._evaluator.regexps)
        if not changed.search(self._evaluator.hits):
            return None
        found = self._evaluator.evaluate(changed.buffer, changed.hits, "normalized", self._direction, changed)
        if not all(
            self._is_known(
                item,
                rule.id,
                *view.raw_span(hit.start, hit.end),
                is_whole=rule.sensitive or rule.action is Action.REDACT,
            )
            for _, rule, hit in found
        ):
            return None
        return [number for number in range(len(DECODERS)) if changed.occurs(number)]

    def _is_known(self, item: _Item, rule_id: str, start: int, end: int, *, is_whole: bool) -> bool:
        """Whether the rule hits there in the raw text, or in another view of it.

        Of what may be masked a part is not enough: an invisible character in an address leaves a shorter one behind it.
        """
        if is_whole:
            near = self._spans.get((item.number, rule_id, start // STRETCH_CHARS), ())
            return any(low <= start and end <= high for low, high in near)
        return any(
            low < end and start < high
            for stretch in _stretches(start, end)
            for low, high in self._spans.get((item.number, rule_id, stretch), ())
        )

    def _note(self, index: int, rule_id: str, start: int, end: int) -> None:
        for stretch in _stretches(start, end):
            self._spans.setdefault((index, rule_id, stretch), []).append((start, end))

    def _present(self, buffer: TextBuffer, hits: Hits) -> dict[int, list[int]]:
        """By text of a buffer in which there is something to decode: the numbers of the triggers that occur."""
        if len(buffer.sources) == 1:
            # Decoding looks for the place itself.
            numbers = [number for number in range(len(DECODERS)) if number in hits]
            return {0: numbers} if numbers else {}
        present: dict[int, list[int]] = {}
        for number in range(len(DECODERS)):
            if number in hits:
                for index in buffer.occurrences(self._evaluator.locators[number], hits[number]):
                    present.setdefault(index, []).append(number)
        return present

    def _scan(self, items: Sequence[_Item]) -> list[tuple[_Item, list[int]]]:
        """Look at the views of one level; returns those in which there is something to decode."""
        bases: list[tuple[_Item, list[int]]] = []
        for name in ("normalized", "decoded"):
            chosen = [item for item in items if item.view and item.view.name == name]
            if not chosen:
                continue
            sources = [self._raw.sources[item.number] for item in chosen]
            buffer = TextBuffer(
                [Text(source.target, source.path, item.text) for source, item in zip(sources, chosen, strict=True)]
            )
            hits = self._evaluator.hits(buffer)
            found = self._evaluator.evaluate(buffer, hits, name, self._direction)
            self.is_cut = self.is_cut or len(found) >= MAX_FINDINGS
            for (index, rule, _), finding in zip(found, findings_of(found, buffer, name), strict=True):
                item = chosen[buffer.origin[index]]
                if "raw" in rule.views or self._is_hidden(item, finding):
                    self._keep(item, finding)
            bases += ((chosen[buffer.origin[index]], numbers) for index, numbers in self._present(buffer, hits).items())
        return bases

    def _is_hidden(self, item: _Item, finding: Finding) -> bool:
        """Whether what was found reads otherwise in the raw text. A view of a page with an entity or two holds all of its plain
        text as well, which a rule about encoded texts has nothing to say about."""
        assert item.view is not None
        start, end = item.view.raw_span(finding.start, finding.end)
        return self._raw.sources[item.number].text[start:end] != item.text[finding.start : finding.end]

    def _keep(self, item: _Item, finding: Finding) -> None:
        """Add a finding with its place in the raw text, unless the rule already has one there."""
        assert item.view is not None
        start, end = item.view.raw_span(finding.start, finding.end)
        is_whole = finding.sensitive or finding.action is Action.REDACT
        counts = not finding.sensitive
        is_flood = counts and not self._left and finding.rule_id in self._told
        if is_flood or self._is_known(item, finding.rule_id, start, end, is_whole=is_whole):
            return
        self._note(item.number, finding.rule_id, start, end)
        self._told.add(finding.rule_id)
        self._left = max(0, self._left - counts)
        value_start, value_end = item.view.raw_span(finding.value_start, finding.value_end)
        severity = finding.severity if item.view.is_plain else min(finding.severity + 1, Severity.CRITICAL)
        placed = msgspec.structs.replace(
            finding,
            start=start,
            end=end,
            value_start=value_start,
            value_end=value_end,
            made=item.view.made,
            severity=Severity(severity),
        )
        self._findings.append((self._raw.origin[item.number], placed))
