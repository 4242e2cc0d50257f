"""Where exactly one rule hits one text: anchors, distances, absences and counts on offsets.

A `RuleScan` is incremental: `advance` gets the part of the text that is still needed and reports what became certain.
A whole text is one call with `closed=True`, so whole and streamed texts follow the same code. A match at the end of an
unfinished text waits, because more text could extend or undo it.

Offsets are bytes of the UTF-8 text while matching and characters in what is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

from rules import validators
from rules.masking.pending import growth
from rules.model import Action, Confidence, Severity, Target
from rules.packs import MAX_WITHIN_CHARS, Absent, Near, Pattern, Rule
from rules.patterns import PatternKey, Regexps, is_common, is_telling, key_of
from rules.text_part import Part, boundary
from rules.windows import Windows

MAX_FINDINGS_PER_RULE = 20
"""Per rule and text; further hits change nothing."""
MAX_VALUES_PER_RULE = 5_000
"""The same for a rule that finds values which masking may replace: there every hit counts."""
WINDOW_BYTES = 1024
"""A match longer than this is cut off in a streamed text."""
KEEP_BYTES = WINDOW_BYTES + 8 * MAX_WITHIN_CHARS + 8
"""How much of a streamed text stays in reach: a match, and the distances around a pending anchor."""
SNIPPET_BYTES = 512


class Hit(NamedTuple):
    """One anchor that counts. Offsets are characters of the text."""

    start: int
    end: int
    value_start: int
    value_end: int
    raised: bool
    """Whether a checksum raised the confidence."""
    snippet: str
    """The text around the hit, at most `SNIPPET_BYTES` on each side."""
    snippet_start: int


class MatchRule:
    """A rule as matching needs it: pattern numbers instead of patterns."""

    __slots__ = (
        "action",
        "anchors",
        "category",
        "common",
        "conditions",
        "confidence",
        "directions",
        "forbidden",
        "group",
        "id",
        "is_local",
        "label",
        "max_findings",
        "min_count",
        "must",
        "near",
        "none",
        "one_of",
        "pack",
        "required",
        "reversible",
        "score",
        "sensitive",
        "severity",
        "streams",
        "targets",
        "title",
        "validators",
        "views",
        "widest",
    )

    def __init__(
        self, rule: Rule, pack: str, numbers: dict[PatternKey, int], common: Collection[int], telling: Collection[int]
    ) -> None:
        self.id = rule.id
        self.pack = pack
        self.title = rule.title
        self.category = rule.category
        self.severity = Severity.parse(rule.severity)
        self.confidence = Confidence.parse(rule.confidence)
        self.score = rule.score
        self.action = Action.parse(rule.action)
        self.targets: frozenset[Target] = frozenset(rule.targets)
        self.directions = frozenset(rule.direction)
        self.views = frozenset(rule.views)
        self.streams = rule.streams
        self.sensitive = rule.is_sensitive
        self.max_findings = MAX_VALUES_PER_RULE if self.sensitive else MAX_FINDINGS_PER_RULE
        self.group = rule.capture.group
        self.label = rule.label
        self.reversible = rule.capture.reversible
        self.min_count = rule.match.min_count
        self.validators = validators.parse(rule.validators)
        everywhere = [numbers[_key(item)] for item in rule.match.all]
        anywhere = [numbers[_key(item)] for item in rule.match.any]
        self.anchors = tuple(dict.fromkeys(everywhere[:1] or anywhere))
        self.required = tuple(dict.fromkeys(everywhere[1:]))
        self.one_of = tuple(dict.fromkeys(anywhere)) if everywhere else ()
        near = [*rule.match.near, *self.validators.context]
        self.near = tuple((numbers[_key(item)], item.within) for item in near)
        is_telling = all(number in telling for number in self.anchors)
        self.common = frozenset(number for number, _ in self.near if is_telling or number in common)
        """Patterns of `near` that are not looked for in whole texts, only near an anchor: because most texts hold them, or
        because hardly any holds the anchor."""
        self.must = (*self.required, *(number for number, _ in self.near if number not in self.common))
        """Patterns without which the rule hits nothing."""
        absent = rule.match.none
        self.none = tuple(
            (numbers[_key(item)], item.within, item.overlaps) for item in absent if item.within is not None
        )
        """Patterns that must not be near an anchor: their numbers, how near, and whether only where they share text with it."""
        self.forbidden = tuple(numbers[_key(item)] for item in absent if item.within is None)
        self.conditions = (*self.required, *self.one_of, *self.forbidden)
        """The patterns that matter wherever in the text they occur."""
        self.widest = max((within for _, within, *_ in (*self.near, *self.none)), default=0)
        """How many characters around an anchor matter."""
        self.is_local = not self.conditions and self.min_count <= 1 and "raw" in self.views
        """Whether nothing else than what stands there decides on a hit, which the raw text shows as well."""

    def possible(self, hits: Collection[int]) -> bool:
        """Whether the rule can hit a text in which only these patterns occur, one of its anchors among them."""
        for number in self.must:
            if number not in hits:
                return False
        return not self.one_of or any(number in hits for number in self.one_of)

    @property
    def patterns(self) -> frozenset[int]:
        """All that are searched for exactly."""
        return frozenset((*self.watched, *(number for number, *_ in (*self.near, *self.none))))

    @property
    def watched(self) -> tuple[int, ...]:
        """The patterns whose places or presence matter anywhere in the text."""
        return (*self.anchors, *self.conditions)


def scanned_patterns(rule: Rule) -> Iterable[PatternKey]:
    """The patterns without which the rule cannot hit, and those whose absence in the whole text matters.

    Those that its validators add are included; raises ValueError for a bad validator.
    """
    match = rule.match
    has_telling_anchors = all(map(is_telling, map(_key, match.all[:1] or match.any)))
    near = (item for item in _near(rule) if not has_telling_anchors and not is_common(_key(item)))
    forbidden = (item for item in match.none if item.within is None)
    for items in (match.all, match.any, near, forbidden):
        yield from map(_key, items)


def all_patterns(rule: Rule) -> Iterable[PatternKey]:
    """Every pattern of a rule, also those that only matter near an anchor or that too many texts hold to look for them."""
    for items in (rule.match.all, rule.match.any, _near(rule), rule.match.none):
        yield from map(_key, items)


def _near(rule: Rule) -> tuple[Near, ...]:
    return (*rule.match.near, *validators.parse(rule.validators).context)


def _key(item: Pattern | Near | Absent) -> PatternKey:
    return key_of(item.re, item.flags)


class _Anchor:
    """A match of an anchor pattern that waits until its surroundings are known. Offsets are absolute bytes."""

    __slots__ = ("end", "missing", "raised", "start", "value_end", "value_start")

    def __init__(self, start: int, end: int, value: tuple[int, int], raised: bool, missing: set[int]) -> None:
        self.start = start
        self.end = end
        self.value_start, self.value_end = value
        self.raised = raised
        self.missing = missing
        """Indexes of the `near` conditions not met yet."""


def has_anchor(rule: MatchRule, part: Part, hits: Collection[int], regexps: Regexps) -> bool:
    """Whether an anchor of the rule occurs in a whole text. Hyperscan looks for less than a pattern says, so that most of
    what it sees is none."""
    data = part.data
    for number in rule.anchors:
        if number in hits:
            find = regexps.finders[number]
            for low, high in part.windows(number):
                if find(data, low, high) is not None:
                    return True
    return False


class RuleScan:
    """One rule over one text."""

    __slots__ = (
        "_counted",
        "_cut_end",
        "_limit",
        "_pending",
        "_present",
        "_regexps",
        "_reported",
        "_resume",
        "_rule",
        "_seen",
        "_windows",
        "done",
    )

    def __init__(
        self, rule: MatchRule, regexps: Regexps, windows: Callable[[int], Windows | None] | None = None
    ) -> None:
        """`windows` says by anchor pattern where in a whole text to look; None leaves it to the text."""
        self._rule = rule
        self._regexps = regexps
        self._windows = windows
        self._resume: dict[int, int] = {}
        self._cut_end: dict[int, int] = {}
        self._present: set[int] = set()
        self._pending: list[_Anchor] = []
        self._counted: list[Hit] = []
        self._seen: set[tuple[int, int]] = set()
        self._reported = 0
        self._limit = max(rule.max_findings, rule.min_count)
        self.done = False

    def advance(self, part: Part, hits: Collection[int]) -> list[Hit]:
        """What became certain with this part; `hits` are the patterns that occur in the text so far."""
        if self.done:
            return []
        rule = self._rule
        for number in rule.conditions:
            if number in hits and number not in self._present and self._occurs(part, number):
                self._present.add(number)
        if self._pending:
            waiting, self._pending = self._pending, []
            for anchor in waiting:
                self._settle(part, anchor, hits)
        for number in rule.anchors:
            if number in hits:
                self._collect(part, number, hits)
        # A whole text is not asked again.
        return self._release(part) if self._counted or not part.closed else []

    def _first(self, part: Part, number: int) -> int:
        return max(part.first, self._resume.get(number, 0) - part.base)

    def _occurs(self, part: Part, number: int) -> bool:
        first = self._first(part, number)
        return any(self._next(part, number, max(low, first), high) for low, high in part.windows(number))

    def _next(self, part: Part, number: int, position: int, limit: int) -> tuple[int, int, int, int] | None:
        """The next certain match between `position` and `limit`: its span and that of its value, as offsets in the part."""
        spans = part.search(self._regexps, number, position, limit)
        if spans is None:
            if not part.closed:
                # What begins further back would be longer than a match may be: do not look there again.
                unseen = boundary(part.data, max(position, len(part.data) - WINDOW_BYTES))
                self._resume[number] = part.base + unseen
            return None
        start, end = spans[0]
        if not part.closed:
            if end + self._regexps.margins[number] > len(part.data):
                if end < len(part.data) or end - start < WINDOW_BYTES:
                    return None
                self._cut_end[number] = part.base + end
            elif self._may_grow(part, number, start):
                return None
        group = self._rule.group
        value_start, value_end = spans[group] if group < len(spans) else (start, end)
        if value_start < 0:
            value_start, value_end = start, end
        return start, end, value_start, value_end

    def _may_grow(self, part: Part, number: int, start: int) -> bool:
        """Whether more text could make the match of a value longer, which is masked: no end of it may be left over."""
        is_settled = not self._rule.sensitive or self._regexps.margins[number] == 1
        if is_settled or len(part.data) - start >= WINDOW_BYTES:
            return False
        return growth(self._regexps.keys_by_number[number])(part.data, start)

    def _collect(self, part: Part, number: int, hits: Collection[int]) -> None:
        """Find the anchors of one pattern and judge each at once; the undecided ones wait."""
        narrowed = self._windows(number) if self._windows else None
        first, limit = self._first(part, number), self._limit
        for low, high in part.windows(number) if narrowed is None else narrowed:
            position = max(low, first)
            while position < high and len(self._counted) < limit:
                continues = self._cut_end.get(number)
                found = self._next(part, number, position, high)
                if found is None:
                    break
                # What follows the value is only its surroundings, and may be those of the next value as well.
                position = max(found[3], found[0] + 1)
                first = position
                self._resume[number] = part.base + position
                if part.base + found[0] != continues:
                    self._weigh(part, found, hits)

    def _weigh(self, part: Part, found: tuple[int, int, int, int], hits: Collection[int]) -> None:
        """Make an anchor of a match whose value the validators accept, and settle it."""
        rule = self._rule
        start, end, value_start, value_end = found
        base, validators = part.base, rule.validators
        span = (base + start, base + end)
        if len(rule.anchors) > 1 and span in self._seen:
            return
        value = part.data[value_start:value_end].decode("utf-8", "replace")
        if not validators.accept(value):
            return
        if len(rule.anchors) > 1:
            self._seen.add(span)
        raised = bool(validators.raisers) and validators.raises_confidence(value)
        bounds = (base + value_start, base + value_end)
        self._settle(part, _Anchor(*span, bounds, raised, set(range(len(rule.near)))), hits)

    def undecided_from(self, part: Part) -> int | None:
        """Where the first value lies that may still be reported without a further match; in characters."""
        if self.done:
            return None
        starts = [part.chars(max(0, anchor.value_start - part.base)) for anchor in self._pending]
        starts += [hit.value_start for hit in self._counted[self._reported :]]
        return min(starts, default=None)

    def _settle(self, part: Part, anchor: _Anchor, hits: Collection[int]) -> None:
        """Count an anchor, drop it, or let it wait until more of its surroundings is known."""
        verdict = self._judge(part, anchor, hits)
        if verdict is None:
            self._pending.append(anchor)
        elif verdict and len(self._counted) < self._limit:
            self._counted.append(self._hit(part, anchor))

    def _judge(self, part: Part, anchor: _Anchor, hits: Collection[int]) -> bool | None:
        """Whether the anchor counts; None while that is open."""
        if not anchor.missing and not self._rule.none:
            return True
        start, end = anchor.start - part.base, anchor.end - part.base
        is_open = False
        # What must be there is missing far more often than what must not be is there.
        for index in tuple(anchor.missing):
            number, within = self._rule.near[index]
            low, high, grows = part.around(start, end, within)
            if (number in hits or number in self._rule.common) and self._inside(part, number, low, high):
                anchor.missing.discard(index)
            elif grows:
                is_open = True
            else:
                return False
        for number, within, overlaps in self._rule.none:
            low, high, grows = part.around(start, end, within)
            if (
                self._overlaps(part, number, low, high, start, end)
                if overlaps
                else self._inside(part, number, low, high)
            ):
                return False
            is_open = is_open or grows
        return None if is_open else True

    def _inside(self, part: Part, number: int, low: int, high: int) -> bool:
        spans = part.search(self._regexps, number, low, high)
        return spans is not None and (part.closed or spans[0][1] < len(part.data))

    def _overlaps(self, part: Part, number: int, low: int, high: int, start: int, end: int) -> bool:
        """Whether a match between `low` and `high` shares text with that between `start` and `end`."""
        find = self._regexps.finders[number]
        while low < end and (spans := find(part.data, low, high)) is not None:
            match_start, match_end = spans[0]
            if match_start >= end:
                return False
            if match_end > start:
                return part.closed or match_end < len(part.data)
            low = match_start + 1
        return False

    def _hit(self, part: Part, anchor: _Anchor) -> Hit:
        start, end = anchor.start - part.base, anchor.end - part.base
        if part.ascii:
            to_chars = part.base_chars - part.base
            low = max(0, start - SNIPPET_BYTES)
            return Hit(
                anchor.start + to_chars,
                anchor.end + to_chars,
                anchor.value_start + to_chars,
                anchor.value_end + to_chars,
                anchor.raised,
                part.data[low : end + SNIPPET_BYTES].decode("ascii"),
                part.base_chars + low,
            )
        low = boundary(part.data, max(0, start - SNIPPET_BYTES))
        high = boundary(part.data, min(len(part.data), end + SNIPPET_BYTES))
        chars = [part.chars(p - part.base) for p in (anchor.start, anchor.end, anchor.value_start, anchor.value_end)]
        snippet = part.data[low:high].decode("utf-8", "replace")
        return Hit(chars[0], chars[1], chars[2], chars[3], anchor.raised, snippet, part.chars(low))

    def _release(self, part: Part) -> list[Hit]:
        rule = self._rule
        if rule.forbidden:
            if any(number in self._present for number in rule.forbidden):
                self.done = True
                return []
            if not part.closed:
                return []
        if not all(number in self._present for number in rule.required):
            return []
        if rule.one_of and not any(number in self._present for number in rule.one_of):
            return []
        if len(self._counted) < rule.min_count:
            return []
        fresh = self._counted[self._reported : rule.max_findings]
        self._reported += len(fresh)
        self.done = self._reported >= rule.max_findings
        return fresh
