"""Builds detections (rules in the format of a pack) from what other products call a rule or a pattern."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from rules.importers.examples import counter_example, example_of
from rules.importers.patterns import NotCarried, convert
from rules.importers.report import Fields, Report
from rules.packs import MAX_PATTERNS_PER_LIST

MAX_TITLE_CHARS = 200
MAX_SCORE = 100
SCORES = {"critical": 50, "high": 30, "medium": 15, "low": 5, "info": 1}
"""The other products' own weights, also their default risk thresholds."""
SEVERITIES = {"moderate": "medium", "warning": "medium", "warn": "medium", "informational": "info", "severe": "high"}
ACTIONS = {
    "block": "block",
    "deny": "block",
    "reject": "block",
    "warn": "alert",
    "alert": "alert",
    "monitor": "alert",
    "flag": "alert",
    "log": "log",
    "audit": "log",
    "redact": "redact",
    "mask": "redact",
    "tag": "tag",
}

LLM_TARGETS = ("prompt", "system_prompt", "completion", "tool_args", "tool_result", "document")
MCP_TARGETS = (
    *("tool_name", "tool_description", "param_description", "schema", "server_instructions"),
    *("tool_args", "tool_result", "resource", "elicitation", "sampling", "error"),
)


class Shape:
    """What all detections of one file share: the kind of traffic and the ids that are taken."""

    def __init__(self, policy_type: str, report: Report) -> None:
        both = tuple(dict.fromkeys((*LLM_TARGETS, *MCP_TARGETS)))
        self.targets = {"llm": LLM_TARGETS, "mcp": MCP_TARGETS}.get(policy_type, both)
        self.report = report
        self.detections: list[dict[str, Any]] = []
        self.disabled: list[str] = []
        """The ids of those that are switched off."""
        self._ids: set[str] = set()

    def id_for(self, wanted: str, pointer: str, fallback: str) -> str:
        """A rule id in our spelling, distinct in this file; a change is reported."""
        made = re.sub(r"[^A-Z0-9]+", "-", wanted.upper()).strip("-")[:56].strip("-")
        if not made or not made[0].isalpha():
            made = f"{fallback}-{made}".strip("-")
        if "-" not in made:
            made = f"CUSTOM-{made}"
        distinct, number = made, 2
        while distinct in self._ids:
            distinct, number = f"{made}-{number}", number + 1
        self._ids.add(distinct)
        if wanted and wanted != distinct:
            self.report.changed(pointer, f"the id {wanted[:64]!r} became {distinct}")
        return distinct

    def add(
        self,
        *,
        id: str,
        title: str,
        category: str,
        severity: str,
        action: str,
        patterns: Sequence[tuple[str, Any, str]],
        pointer: str,
        confidence: str = "",
        score: float | None = None,
        enabled: bool = True,
        min_count: int = 1,
        capture: dict[str, Any] | None = None,
        ignore_case: bool = False,
    ) -> None:
        """Add a detection of `patterns` (pointer, text, kind), or say why none of them can be carried over."""
        carried: list[dict[str, str]] = []
        for place, text, kind in patterns:
            try:
                pattern, changes = convert(text, kind, ignore_case=ignore_case, keep_ends=action == "redact")
            except NotCarried as error:
                self.report.dropped(place, f"this pattern is left out: {error}")
                continue
            for change in changes:
                self.report.changed(place, change)
            if pattern not in carried:
                carried.append(pattern)
        if len(carried) > MAX_PATTERNS_PER_LIST:
            self.report.dropped(pointer, f"only the first {MAX_PATTERNS_PER_LIST} patterns fit into one rule")
            carried = carried[:MAX_PATTERNS_PER_LIST]
        examples = self._examples(carried, min_count, pointer) if carried else None
        if examples is None:
            self.report.dropped(pointer, "the rule is left out: none of its patterns could be carried over")
            return
        match: dict[str, Any] = {"any": carried}
        if min_count > 1:
            match["min_count"] = min_count
        detection: dict[str, Any] = {
            "id": id,
            "title": title or id,
            "category": category,
            "severity": severity,
            # A block that the other product does on one hit stays one: only a high-confidence rule may block alone.
            "confidence": confidence or ("high" if action in ("block", "redact") else "medium"),
            "score": SCORES[severity] if score is None else round(score),
            "targets": list(self.targets),
            "match": match,
            "action": action,
            "examples": examples,
        }
        if capture:
            detection |= {"capture": capture, "sensitive": True}
        self.detections.append(detection)
        if not enabled:
            self.disabled.append(id)

    def _examples(
        self, patterns: Sequence[dict[str, str]], min_count: int, pointer: str
    ) -> dict[str, list[str]] | None:
        hit, miss = example_of(patterns, min_count), counter_example(patterns)
        if hit is None:
            # Which pattern resists is not known here, so each is tried by itself.
            hit = next((text for pattern in patterns if (text := example_of([pattern], min_count))), None)
        if hit is None or miss is None:
            self.report.dropped(pointer, "no example could be made; build the rule by hand with examples of your own")
            return None
        return {"match": [hit], "no_match": [miss]}


def severity_of(fields: Fields, default: str = "medium") -> str:
    """The severity in our words; one that is not known becomes the default and is reported."""
    place = fields.place("severity")
    word = fields.text("severity")
    plain = SEVERITIES.get(word.lower(), word.lower())
    if plain in SCORES:
        return plain
    if word:
        fields.report.changed(place, f"the severity {word[:40]!r} is not known here; it became {default}")
    return default


def score_of(fields: Fields) -> float | None:
    """The score within our bounds, where there is one; a change is reported."""
    place = fields.place("score", "weight")
    score = fields.number("score", "weight")
    if score is None or 0 <= score <= MAX_SCORE:
        return score
    held, word = (MAX_SCORE, "largest") if score > MAX_SCORE else (0, "smallest")
    fields.report.changed(place, f"the score {score:g} became {held}, the {word} here")
    return held


def category_of(word: str, default: str) -> str:
    """A category in our spelling, in the family `custom`."""
    slug = re.sub(r"[^a-z0-9]+", "-", word.lower()).strip("-")[:60].strip("-")
    return f"custom/{slug or default}"


def action_of(word: str, default: str, pointer: str, report: Report) -> str:
    """An action in our words; one that is not known becomes the default and is reported."""
    plain = word.strip().lower()
    if not plain:
        return default
    if plain not in ACTIONS:
        report.changed(pointer, f"the action {word[:40]!r} is not known here; it became {default}")
        return default
    return ACTIONS[plain]
