"""A loaded set of rules, ready to inspect messages.

`Ruleset.scan` is synchronous and thread-safe. It raises `EngineError` when it could not do its work; the caller
must then treat the message as not inspected and fail closed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from functools import partial
from operator import itemgetter
from threading import Lock

import msgspec

from rules.buffer import TextBuffer
from rules.compiler import STREAMED, load_database, pattern_keys, ruleset_digest
from rules.derived_scan import DerivedScan
from rules.evaluator import MAX_FINDINGS, Direction, Evaluator, findings_of
from rules.hyperscan_database import EngineError
from rules.masking.pending import Pending
from rules.matching import MAX_VALUES_PER_RULE, MatchRule
from rules.model import Finding, Target, Text
from rules.normalize import may_normalize
from rules.packs import read_packs
from rules.patterns import Locators, PatternRefused, Regexps
from rules.seen_texts import SeenTexts, placed
from rules.stream import StreamScan
from rules.stream_modes import StreamedRule
from rules.verdicts import decide
from rules.views import DECODERS

__all__ = ["MAX_FINDINGS", "Direction", "EngineError", "Ruleset", "StreamScan", "decide"]


_DECODED = range(len(DECODERS))
"""The patterns that say that a text holds something to decode."""


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
        self._triggers = databases.triggers
        self._streams = databases.streams
        if databases.pattern_count != len(keys):
            raise EngineError(f"{databases.pattern_count} of {len(keys)} patterns were compiled")
        rules = [
            MatchRule(rule, pack.name, numbers, databases.common, databases.telling)
            for pack in packs
            for rule in pack.rules
        ]
        uses = Counter(number for rule in rules for number in rule.patterns)
        shared = frozenset(number for number, count in uses.items() if count > 1)
        regexps = Regexps(keys, databases.reaches, databases.extents, shared)
        self._evaluator = Evaluator(rules, regexps, Locators(keys, regexps), databases.blocks)
        self.rule_count = len(rules)
        self.declared_pattern_count = len(keys)
        """Distinct patterns of the packs, with the engine's own."""
        self.compiled_pattern_count = databases.pattern_count
        self.rules = tuple((rule.pack, rule.id, rule.category, rule.action) for rule in rules)
        """Pack, id, category and action of every rule, for policies that change them."""
        self.streamed_rules = tuple(
            StreamedRule(rule.pack, rule.id, rule.category, rule.action, rule.targets, rule.streams)
            for rule in rules
            if "response" in rule.directions
        )
        """The rules that read answers, which may come in pieces."""
        self._rules = rules
        self._seen = SeenTexts()
        self._keys = keys
        self._pending: dict[tuple[frozenset[str], Target, Direction], Pending] = {}
        self._pending_making = Lock()
        self._watched: dict[int, list[MatchRule]] = {}
        for rule in rules:
            for number in rule.watched:
                self._watched.setdefault(number, []).append(rule)

    @classmethod
    def load(cls, packs_bytes: bytes, database_bytes: bytes) -> Ruleset:
        """The ruleset in the two files of `rules.compiler`; raises `EngineError` when they do not belong together."""
        return cls(packs_bytes, database_bytes)

    def keep_values_of(self, rule_ids: Container[str]) -> None:
        """Have these rules report every value, as many as can be masked, because a policy masks them: of what no rule calls
        sensitive a few hits tell enough otherwise. Their evidence hides the values from then on."""
        plain = [rule for rule in self._rules if not rule.sensitive and rule.id in rule_ids]
        for rule in plain:
            rule.sensitive = True
            rule.max_findings = MAX_VALUES_PER_RULE
        if plain:
            self._seen = SeenTexts()

    def prepare(self) -> Iterator[None]:
        """Make ready what the first messages would have to wait for, in steps of at most some milliseconds."""
        return self._evaluator.regexps.prepare()

    def scan(self, texts: Iterable[Text], *, direction: Direction) -> list[Finding]:
        """All findings in the texts of one message, in the order of the texts."""
        sources = self._read(texts)
        return [finding for _, finding in self._scan(sources, direction)[0]] if sources else []

    def recall(self, texts: Iterable[Text], *, direction: Direction, whose: str) -> list[Finding]:
        """The same, without looking again at what this principal sent or received lately (`whose` is its id)."""
        sources = self._read(texts)
        seen = self._seen
        keys = [seen.key(text, direction, whose) if seen.meet(text, direction, whose) else None for text in sources]
        known = [None if key is None else seen.recall(key) for key in keys]
        fresh = [index for index, found in enumerate(known) if found is None]
        if fresh:
            indexed, is_cut = self._scan([sources[index] for index in fresh], direction)
            if len(fresh) == len(sources) and not indexed and not any(keys):
                return []
            by_text: list[list[Finding]] = [[] for _ in fresh]
            for place, finding in indexed:
                by_text[place].append(finding)
            for index, its in zip(fresh, map(tuple, by_text), strict=True):
                known[index] = its
                if not is_cut and (key := keys[index]) is not None:
                    seen.keep(key, its)
        found = [one for text, those in zip(sources, known, strict=True) if those for one in placed(those, text.path)]
        if len(fresh) < len(sources) and len(found) >= MAX_FINDINGS:
            # What a message as a whole may hold is for the search to say.
            return self.scan(sources, direction=direction)
        return found

    def _read(self, texts: Iterable[Text]) -> list[Text]:
        """The texts that a rule reads; another one costs nothing."""
        known = self._evaluator.views
        return [text for text in texts if text.target in known and text.text]

    def _scan(self, sources: Sequence[Text], direction: Direction) -> tuple[list[tuple[int, Finding]], bool]:
        """The findings, each with the index of its text, in that order; and whether there may be more, because it is a bound
        on the whole message that ended the search."""
        try:
            raw = TextBuffer(sources)
            hits = self._evaluator.hits(raw)
            if not hits and raw.is_ascii:
                return [], False
            found = self._evaluator.evaluate(raw, hits, "raw", direction)
            findings = [
                (raw.origin[index], finding)
                for (index, _, _), finding in zip(found, findings_of(found, raw), strict=True)
            ]
            is_cut = len(findings) >= MAX_FINDINGS
            if not raw.is_ascii or not hits.keys().isdisjoint(_DECODED):
                derived = DerivedScan(self._evaluator, raw, direction, found)
                findings += derived.run(hits, is_searched=True)
                is_cut = is_cut or derived.is_cut
            findings.sort(key=itemgetter(0))
            return findings, is_cut
        except PatternRefused as error:
            raise EngineError(str(error)) from None

    def stream(self, target: Target, path: str, *, direction: Direction = "response") -> StreamScan:
        """A scan of one text that arrives in pieces; `path` is its JSON pointer.

        Raises `EngineError` for a target that rules read and that is not one of `compiler.STREAMED`.
        """
        views = self._evaluator.views.get(target)
        if views and target not in STREAMED:
            raise EngineError(f"{target.value} is not inspected in pieces")
        database = self._streams.get(target)
        stream = database.open_stream() if database and views else None
        scan_views = partial(self._scan_window, target, path, direction) if views and views != {"raw"} else None
        return StreamScan(stream, self._watched, self._evaluator.regexps, target, path, direction, scan_views)

    def has_unfinished(self, rule_ids: frozenset[str], target: Target, *, direction: Direction = "response") -> bool:
        """Whether `unfinished` has its answer at hand; making it takes a while."""
        return (rule_ids, target, direction) in self._pending

    def unfinished(self, rule_ids: frozenset[str], target: Target, *, direction: Direction = "response") -> Pending:
        """Recognises where a text of this target may end inside a match of one of these rules. Kept once made.

        May be called from any thread; whoever asks for what is being made waits for it.
        """
        key = rule_ids, target, direction
        if (found := self._pending.get(key)) is not None:
            return found
        with self._pending_making:
            if key not in self._pending:
                anchors = {
                    number
                    for rule in self._rules
                    if rule.id in rule_ids and target in rule.targets and direction in rule.directions
                    for number in rule.anchors
                }
                self._pending[key] = Pending(self._keys[number] for number in sorted(anchors))
        return self._pending[key]

    def _scan_window(self, target: Target, path: str, direction: Direction, window: str) -> list[Finding]:
        """The findings in the derived views of a part of a stream; their offsets count from its start."""
        raw = TextBuffer([Text(target, path, window)])
        triggers = self._triggers.scan(raw.data)
        if not triggers and (raw.is_ascii or not may_normalize(raw.data)):
            return []
        found = DerivedScan(self._evaluator, raw, direction, ()).run(triggers, is_searched=False)
        return [finding for _, finding in found]
