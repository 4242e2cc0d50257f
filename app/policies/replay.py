"""Replays: what would have become of recorded calls under a draft. Pure, apart from the time that it takes.

A call is judged by the policies of its proxy with the draft in the place of its namesake (or beside them). Captured texts
are masked: a mark that a rule of these policies left stands for a hit of that rule. Where a condition asks for something
that was not recorded and nothing else decides, the call stays undecided and says what is missing. The context firewall of these
policies judges the context that was recorded. What no policy decides (canaries, the decision service) has the last word
that it had.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from app.policies.evaluation import Judges
from app.policies.recorded_context import SOURCE, RecordedContext, context_apart
from app.policies.recorded_facts import facts_of
from app.traffic.captured import CapturedCall
from proxies.contract import CapturedText
from rules.context_firewall import SETTINGS_PACK, across_chunks, rejections
from rules.definitions import DEFINITIONS, is_about_values
from rules.model import Action, Confidence, Finding, Severity, Target, Text, Verdict
from rules.packs import Pack, Rule
from rules.policy import OWN_PACK_PREFIX, ContextFirewall
from rules.policy_evaluation import PolicySet

WORDS = ("allowed", "alerted", "blocked")
"""From the weakest to the strongest."""
COMPARABLE = frozenset(WORDS)
"""Verdicts that a policy gave. A call that was refused for another reason, or failed, has none."""


class Rejudged(NamedTuple):
    """A recorded call and what it would be now."""

    call: CapturedCall
    before: str
    after: str
    """The verdict that it would have; empty where `missing` names what it depends on."""
    verdict: Verdict
    missing: tuple[str, ...] = ()
    is_partial: bool = False
    """Whether some of its texts found no room in the capture: rules could not read them."""


class Replayer:
    """Judges recorded calls of one proxy."""

    def __init__(
        self,
        judges: Judges,
        packs: Sequence[Pack],
        *,
        shared: Collection[str],
        kind: str,
        log_only: bool,
        context_firewall: ContextFirewall | None = None,
        level: str = "proxy",
    ) -> None:
        """`shared` names the packs that policies can select: findings of others are none of a policy's.
        `context_firewall` is that of the settings, for policies that have none; `level` is `key` for calls that the
        policies of a key judge."""
        self._judges = judges
        self._firewalls = [
            (compiled.policy.own_pack_name, compiled.policy.context)
            for compiled in judges.policies
            if compiled.policy.context is not None
        ] or ([(SETTINGS_PACK, context_firewall)] if context_firewall is not None else [])
        self._shared = shared
        self._policies = PolicySet(judges.policies)
        self._rules = {rule.id: (pack.name, rule) for pack in packs for rule in pack.rules}
        self._kind = kind
        self._level = level
        self._log_only = log_only

    def judge(self, call: CapturedCall) -> Rejudged | None:
        """What the call would be; None where there is no verdict to compare with."""
        if call.verdict not in COMPARABLE or (call.level == "key" and self._level != "key"):
            return None
        is_partial = bool(call.omitted) or any(text.truncated for text in call.texts)
        found: list[Finding] = []
        missing: set[str] = set()
        verdict = None
        texts, context = context_apart(call, is_checked=bool(self._firewalls))
        call = replace(call, texts=texts)
        if context is not None:
            found += self._found_in_context(context)
            missing |= self._undecided_of(context)
        for direction in ("request", "response"):
            captured = [text for text in call.texts if text.direction == direction]
            found += self._found(captured, direction)
            if self._policies.needs_facts:
                facts = facts_of(call, captured, direction, self._kind, self._policies.header_names)
                found += self._policies.conditional_findings(facts)
                missing |= self._policies.undecided(facts)
            verdict = self._policies.verdict(found, log_only=self._log_only)
            if verdict.action is Action.BLOCK:
                break
        assert verdict is not None  # The loop ran.
        after = max(word_of(verdict), self._standing(call), key=WORDS.index)
        if missing and (verdict.action is not Action.BLOCK or self._log_only):
            return Rejudged(call, call.verdict, "", verdict, tuple(sorted(missing)), is_partial)
        return Rejudged(call, call.verdict, after, verdict, (), is_partial)

    def _standing(self, call: CapturedCall) -> str:
        """What became of the call by what no policy decides."""
        actions = [
            Action.parse(finding["action"])
            for finding in call.findings
            if finding["pack"] not in self._shared and not finding["pack"].startswith((OWN_PACK_PREFIX, SETTINGS_PACK))
        ]
        return _word(max(actions, default=Action.ALLOW))

    def _found_in_context(self, context: RecordedContext) -> list[Finding]:
        """What the firewalls make of a context, and what rules find in it, which is only noted: it does not go on."""
        found = self._found(context.texts, "request")
        found += across_chunks(context.given, lambda texts: self._judges.scan(list(texts), "request"), found)
        refused = [
            finding
            for pack, firewall in self._firewalls
            for finding in rejections(pack, _known(firewall, context), context.given, found)
        ]
        return [*(replace(finding, action=Action.LOG) for finding in found), *refused]

    def _undecided_of(self, context: RecordedContext) -> set[str]:
        """What the firewalls ask for and the record does not have."""
        asks = any(firewall.allowed_origins for _, firewall in self._firewalls)
        return {SOURCE} if asks and not context.has_source else set()

    def _found(self, captured: Sequence[CapturedText], direction: str) -> list[Finding]:
        texts = [Text(text.target, text.path, text.text) for text in captured]
        found = self._judges.scan(texts, direction)
        seen = {(finding.rule_id, finding.path) for finding in found}
        return found + [
            finding for finding in self._marked(captured, direction) if (finding.rule_id, finding.path) not in seen
        ]

    def _marked(self, captured: Sequence[CapturedText], direction: str) -> Iterator[Finding]:
        """A hit for each mark of a rule that these policies hold and that reads such texts."""
        for text in captured:
            for mark in text.marks:
                pack, rule = self._rules.get(mark.rule_id, ("", None))
                if rule is not None and self._reads(pack, rule, text.target, direction):
                    yield _finding(pack, rule, text, mark.start, mark.end)

    def _reads(self, pack: str, rule: Rule, target: Target, direction: str) -> bool:
        """Whether a rule looks into such texts."""
        if direction not in rule.direction:
            return False
        if target in rule.targets:
            return True
        is_defined = direction == "request" and target in DEFINITIONS and Target.PROMPT in rule.targets
        action = Action.parse(rule.action)
        return is_defined and is_about_values(pack, rule.id, rule.category, action, self._policies.masks)


def _known(firewall: ContextFirewall, context: RecordedContext) -> ContextFirewall:
    """The firewall without the question that the record cannot answer."""
    return firewall if context.has_source else replace(firewall, allowed_origins=())


def word_of(verdict: Verdict) -> str:
    """The verdict in the words of the traffic log."""
    return _word(verdict.action)


def _word(action: Action) -> str:
    if action is Action.BLOCK:
        return "blocked"
    return "alerted" if action >= Action.ALERT else "allowed"


def _finding(pack: str, rule: Rule, text: CapturedText, start: int, end: int) -> Finding:
    return Finding(
        rule_id=rule.id,
        pack=pack,
        title=rule.title,
        category=rule.category,
        severity=Severity.parse(rule.severity),
        confidence=Confidence.parse(rule.confidence),
        score=rule.score,
        action=Action.parse(rule.action),
        target=text.target,
        path=text.path,
        start=start,
        end=end,
        view="raw",
        evidence="",
        value_start=start,
        value_end=end,
        label=rule.label,
        reversible=rule.capture.reversible,
    )
