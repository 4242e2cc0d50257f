"""What the policies of a call say about it: pure, and the same for the same call under the same policies.

1. `PolicySet.conditional_findings` asks the conditional rules (`policy_conditions`) about the facts of a call.
2. `PolicySet.verdict` judges these and the findings of the packs. Every policy judges for itself, what belongs to its
   packs, after its overrides and by its thresholds (`verdicts.judge`); the strongest verdict wins, all findings are kept.

Log only works at each level by itself: a rule that only logs counts for no more than an alert, a policy that only logs
weakens no other, a proxy that only logs lets everything pass. `Decision.would_action` is what had happened without.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from rules.facts import Facts, with_views
from rules.globs import GlobSet
from rules.model import ALLOWED, Action, Decision, DecisionSource, Finding, Severity, Verdict
from rules.packs import StreamMode
from rules.policy import DEFAULT_ACTION_ID, Override, Policy, Thresholds
from rules.policy_conditions import ConditionalRules
from rules.stream_modes import StreamedRule, StreamModes, modes_of, strictest
from rules.verdicts import DEFAULT_THRESHOLDS, NOTHING, Judgement, in_effect, judge, risk_level, sentence, total_score


class Change(NamedTuple):
    """What a policy makes of one detection rule."""

    enabled: bool = True
    action: Action | None = None
    severity: Severity | None = None
    log_only: bool = False
    streams: StreamMode | None = None

    def of(self, finding: Finding) -> Finding:
        """The finding as the policy sees it."""
        if self.action is None and self.severity is None:
            return finding
        return replace(
            finding,
            action=finding.action if self.action is None else self.action,
            severity=finding.severity if self.severity is None else self.severity,
        )


class Outcome(NamedTuple):
    """What one policy says."""

    policy: CompiledPolicy | None
    real: Judgement
    would: Judgement
    """Without log only."""
    findings: Sequence[tuple[int, Finding]]
    """With the action in effect; the number is the place of the finding among those that came in."""


class CompiledPolicy:
    """A policy, ready to judge. `version` and `level` (key, proxy, global) are repeated in its verdicts."""

    def __init__(self, policy: Policy, *, version: int = 0, level: str = "") -> None:
        """Compile; raises ValueError for a policy that lint refuses."""
        self.policy = policy
        self.version = version
        self.level = level
        self.conditional = ConditionalRules(policy)
        self.packs = policy.pack_names | {policy.own_pack_name}
        self._overrides = [CompiledOverride(override) for override in policy.overrides]
        self._changes: dict[tuple[str, str], Change] = {}

    def __repr__(self) -> str:
        return f"<CompiledPolicy {self.policy.name} v{self.version} {self.level}>"

    def judge(
        self, findings: Sequence[Finding], earlier: Sequence[Finding], *, log_only: bool, quiet: Container[int] = ()
    ) -> Outcome:
        """What this policy says about the findings of a call; `log_only` is the proxy's, `quiet` see `PolicySet`."""
        kept = list(self._own(findings, quiet))
        if not kept:
            return Outcome(self, NOTHING, NOTHING, ())
        before = [finding for _, finding, _ in self._own(earlier)]
        return _outcome(self, kept, before, log_only=log_only or self.policy.enforcement == "log_only")

    def _own(self, findings: Sequence[Finding], quiet: Container[int] = ()) -> Iterable[tuple[int, Finding, bool]]:
        """The findings that concern this policy as it sees them, with their place and whether their rule only logs."""
        for index, finding in enumerate(findings):
            if finding.pack in self.packs:
                change = self._change(finding.pack, finding.rule_id, finding.category)
                if change.enabled:
                    yield index, change.of(finding), change.log_only or index in quiet

    def masks(self, pack: str, rule_id: str, category: str, action: Action) -> bool:
        """Whether the findings of a detection rule, whose own action is `action`, are masked by this policy."""
        if self.policy.enforcement == "log_only":
            return False
        change = self._change(pack, rule_id, category)
        effective = action if change.action is None else change.action
        return change.enabled and not change.log_only and effective is Action.REDACT

    def in_streams(self, rule: StreamedRule) -> tuple[Action, StreamMode] | None:
        """The action and the mode of a detection rule of this policy; None where it neither blocks nor masks."""
        if self.policy.enforcement == "log_only":
            return None
        change = self._change(rule.pack, rule.id, rule.category)
        action = rule.action if change.action is None else change.action
        if not change.enabled or change.log_only or action not in (Action.REDACT, Action.BLOCK):
            return None
        return action, change.streams or rule.mode

    def _change(self, pack: str, rule_id: str, category: str) -> Change:
        key = (pack, rule_id)
        change = self._changes.get(key)
        if change is None:
            change = self._changes[key] = self._changed_by_overrides(pack, rule_id, category)
        return change

    def _changed_by_overrides(self, pack: str, rule_id: str, category: str) -> Change:
        if pack == self.policy.own_pack_name:
            if rule := self.conditional.by_id.get(rule_id):
                return Change(log_only=rule.log_only)
            if rule_id == DEFAULT_ACTION_ID:
                return Change()
        change = Change()
        for override in self._overrides:
            if override.selects(pack, rule_id, category):
                change = override.applied(change)
        return change

    def source_of(self, finding: Finding) -> DecisionSource:
        """Whether a finding comes from the content, from a conditional rule or from the default action."""
        if finding.pack == self.policy.own_pack_name:
            if finding.rule_id == DEFAULT_ACTION_ID:
                return "default_action"
            if finding.rule_id in self.conditional.by_id:
                return "rule"
        return "detection"

    def tags_of(self, findings: Iterable[tuple[int, Finding]]) -> Iterable[str]:
        """The tags of the conditional rules among the findings."""
        for _, finding in findings:
            if finding.pack == self.policy.own_pack_name and (rule := self.conditional.by_id.get(finding.rule_id)):
                yield from rule.tags


class PolicySet:
    """The policies that apply to a call together."""

    def __init__(self, policies: Sequence[CompiledPolicy] = ()) -> None:
        self.policies = tuple(policies)
        self._packs = frozenset(pack for policy in self.policies for pack in policy.packs)
        self.needs_facts = any(policy.conditional for policy in self.policies)
        self._reads_views = any(policy.conditional.reads_views for policy in self.policies)
        self.reading_conditions = sum(policy.conditional.reading_count for policy in self.policies)
        """How many conditions look into every text or the arguments of every call."""
        self.needs_tool_calls = any(policy.conditional.about_tools for policy in self.policies)
        """Whether the tool calls of an answer must be known."""
        self.has_rate_limits = any(policy.policy.rate_limits for policy in self.policies)
        self.restores_tool_arguments = all(policy.policy.restore_tool_arguments for policy in self.policies)
        self.hints_at_placeholders = any(policy.policy.placeholder_hint for policy in self.policies)
        """Whether requests with placeholders get the sentence about them."""
        enforced = [policy.policy for policy in self.policies if policy.policy.enforcement == "enforce"]
        self.realtime_audio = max(
            (policy.realtime_audio for policy in enforced),
            key=("pass", "transcribed", "block").index,
            default="pass",
        )
        """When audio may pass on a Realtime connection."""
        self.closes_realtime = any(policy.realtime_close for policy in enforced)
        """Whether a block closes a Realtime connection."""
        self.tainted_arguments = max(
            (policy.policy.tainted_arguments for policy in self.policies),
            key=("log", "alert", "block").index,
            default="alert",
        )
        """What happens to arguments that hold a value from another server."""
        self.header_names = frozenset(name for policy in self.policies for name in policy.conditional.header_names)

    def __repr__(self) -> str:
        return f"<PolicySet {', '.join(policy.policy.name for policy in self.policies)}>"

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the policies."""
        return tuple(policy.policy.name for policy in self.policies)

    def masks(self, pack: str, rule_id: str, category: str, action: Action) -> bool:
        """Whether any policy masks the findings of a detection rule, whose own action is `action`."""
        return any(policy.masks(pack, rule_id, category, action) for policy in self.policies if pack in policy.packs)

    def masking_rules(self, rules: Iterable[tuple[str, str, str, Action]]) -> frozenset[str]:
        """The ids of those rules (pack, id, category, action) whose findings any policy masks; rules of packs that no
        policy names by their own action."""
        return frozenset(
            rule_id
            for pack, rule_id, category, action in rules
            if self.masks(pack, rule_id, category, action) or (action is Action.REDACT and pack not in self._packs)
        )

    def stream_modes(self, rules: Iterable[StreamedRule]) -> StreamModes:
        """What these rules ask of streams under the policies; rules of packs that no policy names by their own words."""
        return modes_of(said for rule in rules if (said := self._in_streams(rule)) is not None)

    def _in_streams(self, rule: StreamedRule) -> tuple[StreamedRule, Action, StreamMode] | None:
        if rule.pack not in self._packs:
            own = rule.action in (Action.REDACT, Action.BLOCK)
            return (rule, rule.action, rule.mode) if own else None
        said = [one for policy in self.policies if rule.pack in policy.packs and (one := policy.in_streams(rule))]
        if not said:
            return None
        return rule, max(action for action, _ in said), strictest(mode for _, mode in said)

    def hold_seconds(self, policy_name: str) -> int:
        """How long a call that this policy holds may wait."""
        return next((one.policy.hold_seconds for one in self.policies if one.policy.name == policy_name), 0)

    def conditional_findings(self, facts: Facts) -> list[Finding]:
        """The findings of the conditional rules of all policies."""
        if self._reads_views:
            facts = with_views(facts)
        return [finding for policy in self.policies for finding in policy.conditional.findings(facts)]

    def undecided(self, facts: Facts) -> frozenset[str]:
        """The facts that are not known of a recorded call and on which the conditions of these policies depend."""
        if self._reads_views:
            facts = with_views(facts)
        return frozenset(fact for policy in self.policies for fact in policy.conditional.undecided(facts))

    def verdict(
        self,
        findings: Sequence[Finding],
        *,
        earlier: Sequence[Finding] = (),
        log_only: bool = False,
        quiet: Container[int] = (),
    ) -> Verdict:
        """The verdict on a call with these findings; `earlier` are those of the messages before it in its session, and
        `quiet` the places of the findings that do no more than alert.

        Findings of packs that no policy names (canaries, traffic analysis) are judged by the default thresholds.
        """
        if not findings:
            return ALLOWED
        outcomes = [policy.judge(findings, earlier, log_only=log_only, quiet=quiet) for policy in self.policies]
        others = [
            (index, finding, index in quiet)
            for index, finding in enumerate(findings)
            if finding.pack not in self._packs
        ]
        if others:
            outcomes.append(_outcome(None, others, (), log_only=log_only))
        return _strongest(outcomes)


def _outcome(
    policy: CompiledPolicy | None,
    kept: Sequence[tuple[int, Finding, bool]],
    before: Sequence[Finding],
    *,
    log_only: bool,
) -> Outcome:
    thresholds = policy.policy.thresholds if policy else DEFAULT_THRESHOLDS
    would = judge([finding for _, finding, _ in kept], thresholds, before)
    real = _limited(would) if log_only else _without_quiet(kept, would, thresholds, before)
    findings = []
    for index, finding, quiet in kept:
        effective = in_effect(finding, real.action, log_only=log_only or quiet)
        if finding is real.deciding and effective.action < real.action:
            effective = replace(effective, action=real.action)
        findings.append((index, effective))
    return Outcome(policy, real, would, findings)


def _without_quiet(
    kept: Sequence[tuple[int, Finding, bool]], would: Judgement, thresholds: Thresholds, before: Sequence[Finding]
) -> Judgement:
    """The judgement in effect where some rules only log: they support no block."""
    quiet = [finding for _, finding, only_logs in kept if only_logs]
    if not quiet:
        return would
    loud = judge([finding for _, finding, only_logs in kept if not only_logs], thresholds, before)
    silent = _limited(judge(quiet, thresholds))
    return loud if loud.deciding is not None and loud.action >= silent.action else silent


def _limited(judgement: Judgement) -> Judgement:
    return judgement._replace(action=min(judgement.action, Action.ALERT))


def _strongest(outcomes: Sequence[Outcome]) -> Verdict:
    """The strongest outcome decides; of equal ones the first. A finding keeps the strongest action that any gives it."""
    best = max(outcomes, key=lambda outcome: (outcome.real.action, outcome.would.action))
    merged: dict[int, Finding] = {}
    for outcome in outcomes:
        for index, finding in outcome.findings:
            known = merged.get(index)
            if known is None or finding.action > known.action:
                merged[index] = finding
    if best.real.deciding is None:
        return ALLOWED
    findings = tuple(merged[index] for index in sorted(merged))
    score = total_score(findings)
    return Verdict(best.real.action, score, findings, _reason(best), _decision(best, outcomes, score))


def _reason(outcome: Outcome) -> str:
    deciding, policy = outcome.real.deciding, outcome.policy
    assert deciding is not None  # An outcome without findings never decides.
    log_only = outcome.would.action > outcome.real.action
    return sentence(deciding, policy=policy.policy.name if policy else "", log_only=log_only)


def _decision(best: Outcome, outcomes: Sequence[Outcome], score: int) -> Decision:
    policy, deciding = best.policy, best.real.deciding
    assert deciding is not None
    tags = [tag for outcome in outcomes if outcome.policy for tag in outcome.policy.tags_of(outcome.findings)]
    thresholds = policy.policy.thresholds if policy else DEFAULT_THRESHOLDS
    return Decision(
        source=policy.source_of(deciding) if policy else "detection",
        rule_id=deciding.rule_id,
        policy=policy.policy.name if policy else "",
        policy_version=policy.version if policy else 0,
        level=policy.level if policy else "",
        would_action=max(outcome.would.action for outcome in outcomes),
        threshold=best.real.threshold,
        risk=risk_level(score, thresholds.risk),
        tags=tuple(dict.fromkeys(tags)),
        status=policy.policy.block_status if policy else 403,
    )


class CompiledOverride:
    """One override, ready to be applied."""

    def __init__(self, override: Override) -> None:
        self._rules = GlobSet(override.rules) if override.rules is not None else None
        self._categories = GlobSet(override.categories) if override.categories is not None else None
        self._packs = frozenset(override.packs) if override.packs is not None else None
        self._override = override
        self._action = Action.parse(override.action) if override.action is not None else None
        self._severity = Severity.parse(override.severity) if override.severity is not None else None

    def selects(self, pack: str, rule_id: str, category: str) -> bool:
        """Whether the override applies to a detection rule."""
        return (
            (self._packs is None or pack in self._packs)
            and (self._rules is None or self._rules.matches(rule_id))
            and (self._categories is None or self._categories.matches(category))
        )

    def applied(self, change: Change) -> Change:
        """The change after this override too."""
        said = self._override
        return Change(
            enabled=change.enabled if said.enabled is None else said.enabled,
            action=change.action if self._action is None else self._action,
            severity=change.severity if self._severity is None else self._severity,
            log_only=change.log_only if said.log_only is None else said.log_only,
            streams=change.streams if said.streams is None else said.streams,
        )
