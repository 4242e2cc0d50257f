"""From a hit to the finding that is stored and shown."""

from __future__ import annotations

from collections.abc import Iterable

from rules.matching import Hit, MatchRule
from rules.model import Confidence, Finding, Text
from rules.packs import View
from rules.redact import excerpt


def make_finding(
    rule: MatchRule, source: Text, hit: Hit, *, view: View = "raw", secrets: Iterable[tuple[int, int]] = ()
) -> Finding:
    """The finding for a hit; `secrets` are further spans of the text that its evidence must not show."""
    spans = [*secrets, (hit.value_start, hit.value_end)] if rule.sensitive else secrets
    origin = hit.snippet_start
    evidence = excerpt(
        hit.snippet, hit.start - origin, hit.end - origin, [(start - origin, end - origin) for start, end in spans]
    )
    return Finding(
        rule_id=rule.id,
        pack=rule.pack,
        title=rule.title,
        category=rule.category,
        severity=rule.severity,
        confidence=Confidence.HIGH if hit.raised else rule.confidence,
        score=rule.score,
        action=rule.action,
        target=source.target,
        path=source.path,
        start=hit.start,
        end=hit.end,
        view=view,
        evidence=evidence,
        value_start=hit.value_start,
        value_end=hit.value_end,
        label=rule.label,
        reversible=rule.reversible,
        sensitive=rule.sensitive,
    )
