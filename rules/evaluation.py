"""How well a ruleset does on labelled texts: what it finds, what it misses, and where it is wrong.

A row is one JSON object with `source` and `text`, and one of

- `target`: the kind of text as in `model.Target`, or `tool` when the text is the JSON of an MCP tool definition;
- `spans`: the personal data in the text, as `[type, start, end]`.

`Evaluation.add` scans rows one by one and counts; the tables are plain data. Personal data is judged by its spans
only: a hit of a `pii/…` rule neither finds an attack nor is it a false alarm, since such data in a text is real.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec

from rules.engine import Direction, Ruleset, decide
from rules.model import Action, Finding, Target, Text

Kind = Literal["attack", "benign", "pii"]
Span = tuple[str, Annotated[int, msgspec.Meta(ge=0)], Annotated[int, msgspec.Meta(ge=0)]]

ANSWERS = frozenset(Target) - {Target.PROMPT, Target.SYSTEM_PROMPT, Target.DOCUMENT, Target.TOOL_ARGS}
"""Targets that come from the upstream."""
PII_TYPES = {
    "PII-CARD-": "CREDIT_CARD",
    "PII-IBAN-": "IBAN_CODE",
    "PII-SSN-": "US_SSN",
    "PII-EMAIL-": "EMAIL_ADDRESS",
    "PII-IP-": "IP_ADDRESS",
}
"""The structured types of personal data, by the beginning of the ids of their rules. Others need no bar."""


class Row(msgspec.Struct, frozen=True):
    """One labelled text."""

    source: str
    text: str
    target: str = "prompt"
    spans: tuple[Span, ...] | None = None
    label: Literal["attack", "benign"] | None = None
    """What the text is, where the name of its file does not say so."""

    def kind(self, default: Literal["attack", "benign"]) -> Kind:
        """What the row is for."""
        return "pii" if self.spans is not None else self.label or default


class SourceCount(msgspec.Struct):
    """The rows of one source and kind."""

    source: str
    kind: Kind
    is_tool: bool
    rows: int = 0
    hit: int = 0
    """Rows with a finding of any rule, whatever its action."""
    alerted: int = 0
    """Rows with a finding that alerts or does more."""
    blocked: int = 0
    """Rows with the verdict block."""


class RuleCount(msgspec.Struct):
    """The rows that one rule hits."""

    rule_id: str
    pack: str
    action: str
    attacks: int = 0
    benign: int = 0

    @property
    def precision(self) -> float:
        """The share of the attacks among the rows that the rule hits."""
        return self.attacks / (self.attacks + self.benign)


class TypeCount(msgspec.Struct):
    """Spans of one type of personal data."""

    type: str
    right: int = 0
    wrong: int = 0
    """Findings where no such span is."""
    missed: int = 0

    @property
    def precision(self) -> float:
        """The share of the findings that are right; 1 without a finding."""
        return self.right / found if (found := self.right + self.wrong) else 1.0

    @property
    def recall(self) -> float:
        """The share of the spans that are found; 1 without a span."""
        return self.right / true if (true := self.right + self.missed) else 1.0


class Bar(msgspec.Struct, frozen=True):
    """A figure and what it must not exceed, or must reach."""

    name: str
    measured: float
    limit: float
    at_least: bool
    rows: int

    @property
    def holds(self) -> bool:
        """Whether the figure is good enough."""
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit


class Totals(msgspec.Struct, frozen=True):
    """Recall, precision and false-positive rate of an alert, over all rows."""

    recall: float
    precision: float
    false_positive_rate: float


class Evaluation:
    """Counts over rows, for one ruleset."""

    def __init__(self, ruleset: Ruleset) -> None:
        self._ruleset = ruleset
        self._sources: dict[tuple[Kind, str, bool], SourceCount] = {}
        self._rules: dict[str, RuleCount] = {}
        self._types = {name: TypeCount(name) for name in dict.fromkeys(PII_TYPES.values())}

    def add(self, row: Row, default: Literal["attack", "benign"]) -> list[Finding]:
        """Scan one row and count it; raises ValueError for a target that does not exist, a damaged tool or a span outside
        the text."""
        kind = row.kind(default)
        for _, start, end in row.spans or ():
            if not start < end <= len(row.text):
                raise ValueError(f"the span {start}-{end} is not in the text")
        findings = self._ruleset.scan(texts_of(row), direction=direction_of(row))
        others = [finding for finding in findings if not is_personal(finding)]
        count = self._sources.setdefault(
            (kind, row.source, row.target == "tool"), SourceCount(row.source, kind, row.target == "tool")
        )
        count.rows += 1
        count.hit += bool(others)
        count.alerted += any(finding.action >= Action.ALERT for finding in others)
        count.blocked += decide(others, log_only=False).action is Action.BLOCK
        if kind == "pii":
            self._count_spans(row.spans or (), findings)
        else:
            self._count_rules(others, kind)
        return findings

    def _count_rules(self, findings: list[Finding], kind: Kind) -> None:
        for finding in {finding.rule_id: finding for finding in findings}.values():
            count = self._rules.setdefault(
                finding.rule_id, RuleCount(finding.rule_id, finding.pack, finding.action.word)
            )
            count.attacks += kind == "attack"
            count.benign += kind == "benign"

    def _count_spans(self, spans: tuple[Span, ...], findings: list[Finding]) -> None:
        found = [(type_of(finding.rule_id), finding.start, finding.end) for finding in findings]
        for name, start, end in spans:
            if name in self._types:
                seen = any(kind == name and low < end and start < high for kind, low, high in found)
                self._types[name].right += seen
                self._types[name].missed += not seen
        for kind, low, high in found:
            if kind is not None and not any(kind == name and low < end and start < high for name, start, end in spans):
                self._types[kind].wrong += 1

    def sources(self) -> list[SourceCount]:
        """By kind and source."""
        return sorted(self._sources.values(), key=lambda count: (count.kind, count.source, count.is_tool))

    def rules(self) -> list[RuleCount]:
        """The rules that hit anything, those with the most harmless rows first."""
        return sorted(self._rules.values(), key=lambda count: (-count.benign, -count.attacks, count.rule_id))

    def totals(self) -> Totals:
        """The figures over all attacks and all harmless rows, counting what alerts."""
        counts = self.sources()
        attacks = [count for count in counts if count.kind == "attack"]
        benign = [count for count in counts if count.kind == "benign"]
        found, wrong = (sum(count.alerted for count in part) for part in (attacks, benign))
        return Totals(
            recall=found / max(1, sum(count.rows for count in attacks)),
            precision=found / max(1, found + wrong),
            false_positive_rate=wrong / max(1, sum(count.rows for count in benign)),
        )

    def types(self) -> list[TypeCount]:
        """The structured types of personal data."""
        return list(self._types.values())

    def bars(self) -> list[Bar]:
        """The figures that the product is held to, for what was measured."""
        sources = self.sources()
        attacks = [count for count in sources if count.kind == "attack"]
        tools = [count for count in sources if count.kind == "benign" and count.is_tool]
        prompts = [count for count in sources if count.kind == "benign" and not count.is_tool]
        hard = [count for count in prompts if count.source.startswith(("notinject", "xstest"))]
        plain = [count for count in prompts if count not in hard]
        jailbreaks = [count for count in attacks if count.source.startswith("trustair")]
        deepset = [count for count in attacks if count.source.startswith("deepset")]
        documents = [count for count in attacks if count.source.startswith("spikee")]
        bars = [
            _share("any hit on in-the-wild jailbreaks", jailbreaks, "hit", 0.75, at_least=True),
            _share("any hit on deepset injections", deepset, "hit", 0.35, at_least=True),
            _share("any hit on injected documents", documents, "hit", 0.60, at_least=True),
            _share("alerts on benign prompts", plain, "alerted", 0.005, at_least=False),
            _share("alerts on NotInject and XSTest", hard, "alerted", 0.015, at_least=False),
            _share("blocks of benign prompts", prompts, "blocked", 0.001, at_least=False),
            _share("blocks of tool definitions", tools, "blocked", 0.003, at_least=False),
        ]
        found = sum(count.right + count.wrong for count in self._types.values())
        right = sum(count.right for count in self._types.values())
        true = right + sum(count.missed for count in self._types.values())
        bars.append(Bar("precision on structured personal data", right / max(1, found), 0.98, True, found))
        bars.append(Bar("recall on structured personal data", right / max(1, true), 0.98, True, true))
        return [bar for bar in bars if bar.rows]


def _share(name: str, counts: list[SourceCount], field: str, limit: float, *, at_least: bool) -> Bar:
    rows = sum(count.rows for count in counts)
    return Bar(name, sum(getattr(count, field) for count in counts) / max(1, rows), limit, at_least, rows)


def is_personal(finding: Finding) -> bool:
    """Whether a finding is personal data and nothing else."""
    return finding.category.startswith("pii/")


def type_of(rule_id: str) -> str | None:
    """The structured type of personal data that a rule finds, if it is one of those."""
    return next((name for prefix, name in PII_TYPES.items() if rule_id.startswith(prefix)), None)


def direction_of(row: Row) -> Direction:
    """Which way such a text travels."""
    return "response" if row.target == "tool" or Target(row.target) in ANSWERS else "request"


def texts_of(row: Row) -> list[Text]:
    """One row as the texts of a message; raises ValueError for an unknown target or a tool that is not a JSON object."""
    if row.target == "tool":
        if not isinstance(tool := json.loads(row.text), dict):
            raise ValueError("a tool definition is a JSON object")
        return list(_tool_texts(tool, ""))
    return [Text(Target(row.target), "", row.text)]


def _tool_texts(value: Any, path: str, target: Target = Target.SCHEMA) -> Iterator[Text]:
    """The string leaves of a tool definition."""
    if isinstance(value, str):
        yield Text(target, path, value)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _tool_texts(item, f"{path}/{index}")
    elif isinstance(value, dict):
        for key, item in value.items():
            described = Target.PARAM_DESCRIPTION if path else Target.TOOL_DESCRIPTION
            named = {"description": described, "name": Target.SCHEMA if path else Target.TOOL_NAME}
            yield from _tool_texts(item, f"{path}/{key}", named.get(key, Target.SCHEMA))
