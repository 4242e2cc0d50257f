"""Profiles by source, and the findings of all detectors."""

from __future__ import annotations

from collections import OrderedDict

from rules.model import Action, Confidence, Finding, Severity, Target
from rules.traffic.behaviour import BehaviourState
from rules.traffic.content import ENCODINGS, TARGETS, disguised, encoded
from rules.traffic.observation import Observation, Suspicion, TrafficRule
from rules.traffic.sequences import SequenceState

PACK = "traffic-analysis"
MAX_PROFILES = 10_000
"""The sources that were silent longest are forgotten first."""
QUIET_SECONDS = 3600.0
NOTE = "flagged for investigation, not a confirmed threat"
MAX_EVIDENCE_CHARS = 160

RULES: dict[str, TrafficRule] = {
    "SEQUENCE_RECONNAISSANCE_SEQUENCE": TrafficRule(
        "Repeated survey of what a server offers", f"{PACK}/sequence", Severity.MEDIUM
    ),
    "SEQUENCE_PRIVILEGE_ESCALATION": TrafficRule("Steps towards higher rights", f"{PACK}/sequence", Severity.HIGH),
    "SEQUENCE_DATA_EXFILTRATION": TrafficRule("Sensitive data, then a way out", f"{PACK}/sequence", Severity.CRITICAL),
    "BEHAVIORAL_RAPIDFIRE": TrafficRule("Calls faster than work needs", f"{PACK}/behaviour", Severity.LOW),
    "BEHAVIORAL_METHODDOMINATION": TrafficRule("One method makes nearly all calls", f"{PACK}/behaviour", Severity.LOW),
    "BEHAVIORAL_PAYLOADSIZE": TrafficRule("A request far larger than usual", f"{PACK}/behaviour", Severity.LOW),
} | {
    rule_id: TrafficRule(
        f"Text of unusually high entropy in {target.value.replace('_', ' ')}", f"{PACK}/content", Severity.MEDIUM
    )
    for target, rule_id in TARGETS.items()
}
RULES |= {
    rule_id: TrafficRule(
        f"A long run of {rule_id.rpartition('_')[2].lower()} leaves with a call", f"{PACK}/content", Severity.LOW
    )
    for rule_id in ENCODINGS
}


class _Profile:
    __slots__ = ("behaviour", "sequences", "spoke_at")

    def __init__(self) -> None:
        self.sequences = SequenceState()
        self.behaviour = BehaviourState()
        self.spoke_at: dict[str, float] = {}


class Analyst:
    """Watches the calls of all sources. Not thread-safe; nothing of it outlives the process."""

    def __init__(self) -> None:
        self._profiles: OrderedDict[str, _Profile] = OrderedDict()

    def observe(self, call: Observation) -> list[Finding]:
        """What this call gives rise to, seen together with those before it."""
        profile = self._profiles.get(call.source)
        if profile is None:
            profile = self._profiles[call.source] = _Profile()
            if len(self._profiles) > MAX_PROFILES:
                self._profiles.popitem(last=False)
        self._profiles.move_to_end(call.source)
        suspicions = [
            *profile.sequences.advance(call),
            *profile.behaviour.advance(call),
            *disguised(call),
            *encoded(call),
        ]
        findings = []
        for suspicion in suspicions:
            spoke_at = profile.spoke_at.get(suspicion.rule_id)
            if spoke_at is not None and call.at - spoke_at < QUIET_SECONDS:
                continue
            profile.spoke_at[suspicion.rule_id] = call.at
            findings.append(_finding(suspicion, call))
        return findings


def _finding(suspicion: Suspicion, call: Observation) -> Finding:
    rule = RULES[suspicion.rule_id]
    return Finding(
        rule_id=suspicion.rule_id,
        pack=PACK,
        title=f"{rule.title} ({NOTE})",
        category=rule.category,
        severity=rule.severity,
        confidence=Confidence.LOW,
        score=0,
        action=Action.ALERT,
        target=suspicion.target or (Target.TOOL_ARGS if call.is_mcp else Target.PROMPT),
        path="",
        start=0,
        end=0,
        view="raw",
        evidence=suspicion.evidence[:MAX_EVIDENCE_CHARS],
    )
