"""All rules over one buffer: which can hit, where they do, and the findings of that."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import product
from typing import Literal

from rules.buffer import TextBuffer
from rules.changed_text import ChangedText
from rules.findings import make_finding
from rules.hyperscan_database import BlockDatabase, EngineError, Hits
from rules.long_values import whole_value
from rules.matching import Hit, MatchRule, RuleScan, has_anchor
from rules.model import Finding, Target
from rules.packs import View
from rules.patterns import Locators, Regexps
from rules.redact import merged_spans, spans_near
from rules.text_part import Part
from rules.windows import Windows

MAX_FINDINGS = 200
"""Per message; blocking rules are evaluated first, so a flood of others cannot hide them. Of each rule after it one more is
reported, so that no flood hides what a policy would act on behind what it would not. Hits of sensitive rules do not count:
each is a value that masking may have to replace."""
MAX_VALUES = 20_000
"""Hits of sensitive rules per message; one with more is not inspected but refused."""

Direction = Literal["request", "response"]


class TooMuchToMask(EngineError):
    """A message holds more values than can be masked; the search stopped there."""


Found = tuple[int, MatchRule, Hit]
"""The index of a text in its buffer, and what hit there."""


class Evaluator:
    """The rules of a ruleset with their patterns in both engines."""

    def __init__(
        self, rules: Sequence[MatchRule], regexps: Regexps, locators: Locators, blocks: Sequence[BlockDatabase]
    ) -> None:
        self._rules = sorted(rules, key=lambda rule: (-rule.action, -rule.confidence))
        self._blocks = blocks
        self.regexps = regexps
        self.locators = locators
        self.views: dict[Target, frozenset[View]] = {
            target: frozenset(view for rule in rules if target in rule.targets for view in rule.views)
            for target in {target for rule in rules for target in rule.targets}
        }
        """By target that a rule reads: the views in which rules read it."""
        self._by_anchor: dict[tuple[View, str], dict[int, list[tuple[int, int]]]] = {}
        """By view and direction: the rules, by their place, that an anchor may belong to, each with another pattern that
        it cannot do without, where it has one."""
        for index, rule in enumerate(self._rules):
            for reading in product(rule.views, rule.directions):
                places = self._by_anchor.setdefault(reading, {})
                for number in rule.anchors:
                    places.setdefault(number, []).append((index, rule.must[0] if rule.must else number))

        self._anchors_anywhere = frozenset(
            number for rule in self._rules if not rule.is_local for number in rule.anchors
        )
        """Those of rules that what stands elsewhere decides on."""

    def hits(self, buffer: TextBuffer) -> Hits:
        """Which patterns occur in the buffer, too many rather than too few."""
        return buffer.scan(self._blocks)

    def evaluate(
        self, buffer: TextBuffer, hits: Hits, view: View, direction: Direction, changed: ChangedText | None = None
    ) -> list[Found]:
        """The hits of every rule that the patterns make possible, in the order of the buffer.

        `changed` is what the one text of the buffer is: only those hits matter then that the raw text may not show.
        Raises `TooMuchToMask`.
        """
        by_anchor = self._by_anchor.get((view, direction))
        if by_anchor is None or by_anchor.keys().isdisjoint(hits):
            return []
        anchors: Iterable[int] = hits
        if changed is not None:
            anchors = {*changed.anchors(by_anchor), *self._anchors_anywhere.intersection(hits)}
        indexes = {index for number in anchors for index, other in by_anchor.get(number, ()) if other in hits}
        found: list[Found] = []
        parts: dict[int, Part] = {}
        plain = 0
        for index in sorted(indexes):
            rule = self._rules[index]
            if not rule.possible(hits) or rule.targets.isdisjoint(buffer.targets):
                continue
            room = max(MAX_FINDINGS - plain, 1)
            for text_index in buffer.candidates(rule, hits, self.regexps, self.locators):
                part = parts.get(text_index)
                if part is None:
                    part = parts[text_index] = buffer.part(text_index, hits, self.regexps)
                narrowed: Callable[[int], Windows | None] | None = None
                if changed is not None:
                    narrowed = partial(changed.windows, rule)
                elif rule.near:
                    near = buffer.anchor_windows(text_index, hits, self.regexps, rule)
                    if not near:
                        continue
                    narrowed = near.get
                elif not has_anchor(rule, part, hits, self.regexps):
                    continue
                fresh = RuleScan(rule, self.regexps, narrowed).advance(part, hits)
                if not rule.sensitive:
                    fresh = fresh[:room]
                    plain += len(fresh)
                    room -= len(fresh)
                found += ((text_index, rule, hit) for hit in fresh)
                if not room:
                    break
                if len(found) > MAX_VALUES:
                    raise TooMuchToMask(f"the message holds more than {MAX_VALUES:,} values")
        return sorted(found, key=_place)


def _place(found: Found) -> tuple[int, int, int, str]:
    index, rule, hit = found
    return index, hit.start, hit.end, rule.id


def findings_of(found: Sequence[Found], buffer: TextBuffer, view: View = "raw") -> list[Finding]:
    """The findings for hits, in their order; what any of them must hide, no other's evidence shows."""
    found = [(index, rule, whole_value(rule, hit, buffer.sources[index].text)) for index, rule, hit in found]
    secrets: dict[int, list[tuple[int, int]]] = {}
    for index, rule, hit in found:
        if rule.sensitive:
            secrets.setdefault(index, []).append((hit.value_start, hit.value_end))
    apart = {index: merged_spans(spans) for index, spans in secrets.items()}
    return [
        make_finding(
            rule, buffer.sources[index], hit, view=view, secrets=spans_near(apart.get(index, ()), hit.start, hit.end)
        )
        for index, rule, hit in found
    ]
