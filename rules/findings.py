"""From a hit to the finding that is stored and shown."""

from __future__ import annotations

from collections.abc import Sequence

from rules.matching import Hit, MatchRule
from rules.model import Confidence, Finding, Text
from rules.packs import View
from rules.redact import excerpt


def make_finding(
    rule: MatchRule, source: Text, hit: Hit, *, view: View = "raw", secrets: Sequence[tuple[int, int]] = ()
) -> Finding:
    """The finding for a hit; `secrets` are all spans of the text that its evidence must not show, where more than its own
    value is known."""
    if not secrets and rule.sensitive:
        secrets = ((hit.value_start, hit.value_end),)
    origin = hit.snippet_start
    spans = [(start - origin, end - origin) for start, end in secrets]
    evidence = excerpt(hit.snippet, hit.start - origin, hit.end - origin, spans)
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
