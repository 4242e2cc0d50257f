"""Scanning a text that arrives in pieces.

Hyperscan's stream mode says when a pattern first occurs; from then on the exact matching of the rules that need it
runs over the part of the text that is still in reach. A finding is reported as soon as no further text could undo
it: when a character follows the match and, for rules with distances, when the surroundings are known. The pieces
may be cut anywhere between characters; the findings are those of the whole text (raw view), with two exceptions that
no pack should rely on: a match longer than `matching.WINDOW_BYTES` may be cut off or missed, and a pattern with an optional
tail of several characters may be reported without the tail.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence

import msgspec

from rules.findings import make_finding
from rules.hyperscan_database import EngineError, Stream
from rules.long_values import LongValue, goes_on
from rules.matching import KEEP_BYTES, Hit, MatchRule, RuleScan
from rules.model import Finding, Target, Text
from rules.patterns import PatternRefused, Regexps
from rules.text_part import Part, boundary

MAX_FINDINGS = 200
"""Per stream, beside the hits of sensitive rules: each of those is a value that masking may have to replace."""
VIEW_WINDOW_CHARS = 4096
"""How much of the latest text is read again in its derived views."""
VIEW_STEP_CHARS = 1024
"""After how much new text that happens; a hit in a view is found at most so late, or at the end."""


class StreamScan:
    """One text in pieces; without a stream no rule reads it.

    `feed` and `close` return what is new; `close` must be called, once is enough.
    """

    def __init__(
        self,
        stream: Stream | None,
        watched: Mapping[int, Sequence[MatchRule]],
        regexps: Regexps,
        target: Target,
        path: str,
        direction: str,
        scan_views: Callable[[str], list[Finding]] | None,
    ) -> None:
        self._stream = stream
        self._hits = stream.hits if stream else {}
        self._watched = watched
        self._regexps = regexps
        self._source = Text(target, path, "")
        self._direction = direction
        self._active: dict[str, RuleScan] = {}
        self._rules: dict[str, MatchRule] = {}
        self._patterns_seen = 0
        self._data = b""
        self._base = 0
        self._base_chars = 0
        self._first = 0
        self._reported = 0
        self._closed = False
        self._scan_views = scan_views
        self._window = ""
        self._unseen = 0
        self._chars = 0
        self._spans: dict[str, list[tuple[int, int]]] = {}
        self._going_on: list[tuple[Finding, LongValue]] = []

    def feed(self, chunk: str) -> list[Finding]:
        """The findings that became certain with the next characters; raises `EngineError`, also after `close`."""
        if self._closed:
            raise EngineError("the stream is closed")
        if not chunk or self._stream is None:
            return []
        data = chunk.encode("utf-8", "replace")
        self._data += data
        self._stream.feed(data)
        findings = self._go_on(chunk) + self._evaluate() + self._evaluate_views(chunk)
        self._trim()
        return findings

    def close(self) -> list[Finding]:
        """The findings that the end of the text makes certain; nothing when it is already closed."""
        if self._closed:
            return []
        self._closed = True
        if self._stream is None:
            return []
        self._stream.close()
        findings = self._go_on("") + self._evaluate() + self._evaluate_views("")
        self._active.clear()
        self._data = b""
        self._window = ""
        return findings

    def undecided_from(self, rule_ids: Container[str]) -> int | None:
        """Where the first value lies, in characters, that one of these rules may report although more text has come."""
        part = self._part()
        starts = (
            scan.undecided_from(part) for rule_id, scan in self._active.items() if rule_id in rule_ids and not scan.done
        )
        rests = (value.told_from for finding, value in self._going_on if finding.rule_id in rule_ids)
        return min((start for start in (*starts, *rests) if start is not None), default=None)

    def _go_on(self, chunk: str) -> list[Finding]:
        """What the next piece has of values that are longer than a match."""
        findings = []
        for finding, value in self._going_on:
            told = value.close() if self._closed else value.feed(chunk)
            if told is not None:
                findings.append(_at(finding, told.start, told.end))
        self._going_on = [(finding, value) for finding, value in self._going_on if not value.is_over]
        return findings

    def _whole(self, part: Part, rule: MatchRule, hit: Hit) -> tuple[Hit, LongValue | None]:
        """A hit with what the text so far has of its value, and what follows where it may go on with the next piece."""
        if not goes_on(rule, hit):
            return hit, None
        value = LongValue(rule.label, hit.value_end)
        value.feed(part.data.decode("utf-8", "replace")[hit.value_end - part.base_chars :])
        if self._closed:
            value.close()
        end = value.take()
        return hit._replace(end=max(hit.end, end), value_end=end), value if not value.is_over else None

    def _part(self) -> Part:
        return Part(self._data, self._base, self._base_chars, self._first, closed=self._closed)

    def _evaluate(self) -> list[Finding]:
        hits = self._hits
        if len(hits) > self._patterns_seen:
            self._patterns_seen = len(hits)
            self._activate()
        if not self._active:
            return []
        part = self._part()
        findings: list[Finding] = []
        try:
            for rule_id, scan in self._active.items():
                rule = self._rules[rule_id]
                fresh = scan.advance(part, hits)
                if not rule.sensitive:
                    fresh = fresh[: MAX_FINDINGS - self._reported]
                    self._reported += len(fresh)
                for hit in fresh:
                    hit, value = self._whole(part, rule, hit)
                    findings.append(make_finding(rule, self._source, hit))
                    if value is not None:
                        self._going_on.append((findings[-1], value))
        except PatternRefused as error:
            raise EngineError(str(error)) from None
        self._remember(findings)
        return findings

    def _evaluate_views(self, chunk: str) -> list[Finding]:
        """What the derived views of the latest text show, as soon as enough of it is new; a long piece goes in steps."""
        if self._scan_views is None:
            return []
        findings: list[Finding] = []
        for at in range(0, len(chunk), VIEW_STEP_CHARS):
            piece = chunk[at : at + VIEW_STEP_CHARS]
            self._window = (self._window + piece)[-VIEW_WINDOW_CHARS:]
            self._chars += len(piece)
            self._unseen += len(piece)
            if self._unseen >= VIEW_STEP_CHARS:
                findings += self._scan_window()
        return findings if not self._closed else [*findings, *self._scan_window()]

    def _scan_window(self) -> list[Finding]:
        if not self._unseen or self._scan_views is None:
            return []
        self._unseen = 0
        offset = self._chars - len(self._window)
        try:
            found = [_moved(finding, offset) for finding in self._scan_views(self._window)]
        except PatternRefused as error:
            raise EngineError(str(error)) from None
        # The windows overlap, and what a rule finds in a view it may have found in the raw text as well.
        fresh = []
        for finding in found:
            if self._is_known(finding) or (not finding.sensitive and self._reported >= MAX_FINDINGS):
                continue
            self._reported += not finding.sensitive
            fresh.append(finding)
        self._remember(fresh)
        return fresh

    def _is_known(self, finding: Finding) -> bool:
        spans = self._spans.get(finding.rule_id, ())
        return any(low < finding.end and finding.start < high for low, high in spans)

    def _remember(self, findings: Sequence[Finding]) -> None:
        """Keep the places of the latest findings, as far back as a window reaches."""
        if self._scan_views is None:
            return
        horizon = self._chars - 2 * VIEW_WINDOW_CHARS
        for finding in findings:
            spans = self._spans.setdefault(finding.rule_id, [])
            if spans and spans[0][1] < horizon:
                spans[:] = [span for span in spans if span[1] >= horizon]
            spans.append((finding.start, finding.end))

    def _activate(self) -> None:
        """Start the rules of which a pattern that matters has just occurred."""
        for number in self._hits:
            for rule in self._watched.get(number, ()):
                if rule.id in self._active or "raw" not in rule.views:
                    continue
                if self._source.target in rule.targets and self._direction in rule.directions:
                    self._active[rule.id] = RuleScan(rule, self._regexps)
                    self._rules[rule.id] = rule

    def _trim(self) -> None:
        """Forget what no match and no distance can reach any more; one character stays as context."""
        if len(self._data) < 2 * KEEP_BYTES:
            return
        cut = boundary(self._data, len(self._data) - KEEP_BYTES)
        dropped = self._data[:cut]
        self._data = self._data[cut:]
        self._base += cut
        self._base_chars += len(dropped.decode("utf-8", "replace"))
        self._first = boundary(self._data, 1)


def _at(finding: Finding, start: int, end: int) -> Finding:
    """The same finding for another part of the value."""
    return msgspec.structs.replace(finding, start=start, end=end, value_start=start, value_end=end)


def _moved(finding: Finding, offset: int) -> Finding:
    return msgspec.structs.replace(
        finding,
        start=finding.start + offset,
        end=finding.end + offset,
        value_start=finding.value_start + offset,
        value_end=finding.value_end + offset,
    )
