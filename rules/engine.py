"""A loaded set of rules, ready to inspect messages.

`Ruleset.scan` is synchronous and thread-safe. It raises `EngineError` when it could not do its work; the caller
must then treat the message as not inspected and fail closed.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Literal

import msgspec

from rules.compiler import GROUP_OF, STREAMED, load_database, pattern_keys, ruleset_digest
from rules.findings import make_finding
from rules.hyperscan_database import BlockDatabase, EngineError, Hits
from rules.masking.pending import Pending
from rules.matching import Hit, MatchRule, Part, RuleScan
from rules.model import Action, Finding, Target, Text
from rules.normalize import BASE64_TRIGGER, DerivedView, derive
from rules.packs import View, read_packs
from rules.patterns import Locators, PatternRefused, Regexp, Regexps
from rules.stream import StreamScan
from rules.verdicts import decide

__all__ = ["Direction", "EngineError", "Ruleset", "StreamScan", "decide"]

MAX_FINDINGS = 200
"""Per message; blocking rules are evaluated first, so a flood of others cannot hide them. Hits of sensitive rules do not
count: each is a value that masking may have to replace."""
MAX_VALUES = 20_000
"""Hits of sensitive rules per message; one with more is not inspected but refused."""
SEPARATOR = b"\n\x00\n"
"""Between two texts in the buffer: a line end on both sides and a character that no word holds."""

Direction = Literal["request", "response"]


class Ruleset:
    """The rules of a set of packs and their pattern database."""

    def __init__(self, packs_bytes: bytes, database_bytes: bytes) -> None:
        try:
            packs = read_packs(packs_bytes)
        except msgspec.DecodeError:
            raise EngineError("not a file of packs") from None
        self.digest = ruleset_digest(packs_bytes)
        keys = pattern_keys(packs)
        numbers = {key: number for number, key in enumerate(keys)}
        databases = load_database(database_bytes, self.digest)
        self._blocks = databases.blocks
        self._streams = databases.streams
        rules = [MatchRule(rule, pack.name, numbers) for pack in packs for rule in pack.rules]
        self._rules = sorted(rules, key=lambda rule: (-rule.action, -rule.confidence))
        self.rule_count = len(rules)
        self.pattern_count = len(keys)
        self._keys = keys
        self._pending: dict[tuple[int, ...], Pending] = {}
        self._regexps = Regexps(keys)
        self._locators = Locators(keys, self._regexps)
        self.redacting = frozenset(rule.id for rule in rules if rule.action is Action.REDACT)
        """The rules that mask what they find, as long as no policy says otherwise."""
        self._targets = frozenset(target for rule in rules for target in rule.targets)
        self._by_anchor: dict[int, list[int]] = {}
        self._watched: dict[int, list[MatchRule]] = {}
        for index, rule in enumerate(self._rules):
            for number in rule.anchors:
                self._by_anchor.setdefault(number, []).append(index)
            for number in rule.watched:
                self._watched.setdefault(number, []).append(rule)

    @classmethod
    def load(cls, packs_bytes: bytes, database_bytes: bytes) -> Ruleset:
        """The ruleset in the two files of `rules.compiler`; raises `EngineError` when they do not belong together."""
        return cls(packs_bytes, database_bytes)

    def scan(self, texts: Iterable[Text], *, direction: Direction) -> list[Finding]:
        """All findings in the texts of one message, in the order of the texts and of the places in them."""
        # A text that no rule reads costs nothing.
        known = self._targets
        sources = [text for text in texts if text.target in known and text.text]
        if not sources:
            return []
        try:
            raw = _Buffer(sources)
            hits = raw.scan(self._blocks)
            if not hits and raw.is_ascii:
                return []
            found = self._evaluate(raw, hits, "raw", direction)
            findings = _findings(found, raw) if found else []
            derived = self._derive(raw, hits)
            if derived:
                findings += self._scan_views(derived, direction, MAX_FINDINGS - len(findings))
        except PatternRefused as error:
            raise EngineError(str(error)) from None
        return findings

    def stream(self, target: Target, path: str, *, direction: Direction = "response") -> StreamScan:
        """A scan of one text that arrives in pieces; `path` is its JSON pointer.

        Raises `EngineError` for a target that rules read and that is not one of `compiler.STREAMED`.
        """
        if target in self._targets and target not in STREAMED:
            raise EngineError(f"{target.value} is not inspected in pieces")
        database = self._streams.get(target)
        stream = database.open_stream() if database else None
        return StreamScan(stream, self._watched, self._regexps, target, path, direction)

    def unfinished(self, rule_ids: Collection[str], target: Target, *, direction: Direction = "response") -> Pending:
        """Recognises where a text of this target may end inside a match of one of these rules. Kept once made."""
        anchors = {
            number
            for rule in self._rules
            if rule.id in rule_ids and target in rule.targets and direction in rule.directions
            for number in rule.anchors
        }
        numbers = tuple(sorted(anchors))
        if numbers not in self._pending:
            self._pending[numbers] = Pending(self._keys[number] for number in numbers)
        return self._pending[numbers]

    def _derive(self, raw: _Buffer, hits: Hits) -> list[tuple[Text, DerivedView]]:
        """The further views of the texts that call for them, in the order of the texts."""
        first_end = hits.get(BASE64_TRIGGER)
        if first_end is None and raw.is_ascii:
            return []
        encoded = set(raw.occurrences(self._locators[BASE64_TRIGGER], first_end))
        chosen = encoded if raw.is_ascii else range(len(raw.sources))
        return [
            (raw.sources[index], view)
            for index in sorted(chosen)
            for view in derive(raw.sources[index].text, may_hold_base64=index in encoded)
        ]

    def _scan_views(
        self, derived: Sequence[tuple[Text, DerivedView]], direction: Direction, limit: int
    ) -> list[Finding]:
        findings: list[Finding] = []
        for name in ("normalized", "decoded"):
            chosen = [(source, view) for source, view in derived if view.name == name]
            if not chosen:
                continue
            buffer = _Buffer([Text(source.target, source.path, view.text) for source, view in chosen])
            hits = buffer.scan(self._blocks)
            for index, rule, hit in self._evaluate(buffer, hits, name, direction):
                finding = make_finding(rule, buffer.sources[index], hit, view=name)
                raw_span = chosen[buffer.origin[index]][1].raw_span
                start, end = raw_span(hit.start, hit.end)
                value_start, value_end = raw_span(hit.value_start, hit.value_end)
                findings.append(
                    msgspec.structs.replace(finding, start=start, end=end, value_start=value_start, value_end=value_end)
                )
        return findings[: max(0, limit)]

    def _evaluate(
        self, buffer: _Buffer, hits: Hits, view: View, direction: Direction
    ) -> list[tuple[int, MatchRule, Hit]]:
        """The hits of every rule that the patterns make possible: (index of the text, rule, hit)."""
        indexes = {index for number in hits for index in self._by_anchor.get(number, ())}
        if not indexes:
            return []
        found: list[tuple[int, MatchRule, Hit]] = []
        plain = 0
        for index in sorted(indexes):
            rule = self._rules[index]
            if plain >= MAX_FINDINGS and not rule.sensitive:
                continue
            if rule.targets.isdisjoint(buffer.targets) or not rule.possible(hits):
                continue
            if direction not in rule.directions or view not in rule.views:
                continue
            for text_index in buffer.candidates(rule, hits, self._locators):
                scan = RuleScan(rule, self._regexps)
                fresh = scan.advance(buffer.part(text_index), hits)
                if not rule.sensitive:
                    fresh = fresh[: MAX_FINDINGS - plain]
                    plain += len(fresh)
                found += ((text_index, rule, hit) for hit in fresh)
            if len(found) > MAX_VALUES:
                raise EngineError("the message holds more values than can be masked")
        return sorted(found, key=_place)


class _Buffer:
    """Several texts as one buffer for Hyperscan, in the order of their groups."""

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


def _place(found: tuple[int, MatchRule, Hit]) -> tuple[int, int, int, str]:
    index, rule, hit = found
    return index, hit.start, hit.end, rule.id


def _findings(found: Sequence[tuple[int, MatchRule, Hit]], buffer: _Buffer) -> list[Finding]:
    secrets: dict[int, list[tuple[int, int]]] = {}
    for index, rule, hit in found:
        if rule.sensitive:
            secrets.setdefault(index, []).append((hit.value_start, hit.value_end))
    findings = [
        (buffer.origin[index], make_finding(rule, buffer.sources[index], hit, secrets=secrets.get(index, ())))
        for index, rule, hit in found
    ]
    return [finding for _, finding in sorted(findings, key=lambda item: item[0])]
