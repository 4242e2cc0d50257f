"""What becomes of a detection rule in each policy that brings its pack. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from rules.packs import Rule
from rules.policy import Policy
from rules.policy_evaluation import Change, CompiledOverride


class Standing(msgspec.Struct, frozen=True):
    """A rule in one policy: its action and severity there, and what else is so."""

    policy: str
    title: str
    action: str
    """`off` where the policy has switched it off."""
    severity: str
    log_only: bool
    """Whether it, or the whole policy, only logs."""
    changed: bool
    """Whether the policy has another action or severity than the pack, or lets it only log."""


def standings(rule: Rule, pack: str, policies: Iterable[Policy]) -> list[Standing]:
    """Policies that bring the pack, with the rule as it is there."""
    return [_standing(rule, pack, policy) for policy in policies if pack in policy.pack_names]


def _standing(rule: Rule, pack: str, policy: Policy) -> Standing:
    change = Change()
    for override in map(CompiledOverride, policy.overrides):
        if override.selects(pack, rule.id, rule.category):
            change = override.applied(change)
    action = rule.action if change.action is None else change.action.word
    severity = rule.severity if change.severity is None else change.severity.word
    return Standing(
        policy=policy.name,
        title=policy.title,
        action=action if change.enabled else "off",
        severity=severity,
        log_only=change.enabled and (change.log_only or policy.enforcement == "log_only"),
        changed=not change.enabled or change.log_only or (action, severity) != (rule.action, rule.severity),
    )
