"""What judges calls in this worker: compiled rules with the policies over them, by level.

The policies of a key apply instead of those of its proxy. Compiled policies are kept between snapshots, since most
snapshots change something else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from proxies.contract import APIKey, AppliedPolicy, ProxyType, Snapshot, encoder
from rules.engine import Ruleset
from rules.model import Target
from rules.policy_evaluation import CompiledPolicy, PolicySet
from rules.stream_modes import StreamModes

_HELD_TARGETS: Final = (Target.COMPLETION, Target.TOOL_ARGS)
"""What is held back in streams."""


class PolicyRefused(Exception):
    """Policies that cannot be put in force, with the reason."""


class Protection(msgspec.Struct, frozen=True):
    """The rules that calls are scanned with, and the policies that judge what is found."""

    ruleset: Ruleset
    policies: PolicySet
    redacting: frozenset[str]
    """Ids of the rules whose findings are masked: a stream holds back what they may still find."""
    streams: StreamModes = StreamModes()
    """What the rules ask of streamed answers."""

    @classmethod
    def of(cls, ruleset: Ruleset, policies: PolicySet, *, log_only: bool = False) -> Protection:
        """The protection of these rules and policies; `log_only` is the proxy's."""
        if log_only:
            return cls(ruleset, policies, frozenset())
        redacting = policies.masking_rules(ruleset.rules)
        ruleset.keep_values_of(redacting)
        return cls(ruleset, policies, redacting, policies.stream_modes(ruleset.streamed_rules))

    def held(self, target: Target) -> frozenset[str]:
        """Ids of the rules for which a streamed text of this kind waits where they may still hit."""
        unmasked = {rule_id for _, rule_id in self.streams.detect_only}
        masking = self.redacting - unmasked if unmasked else self.redacting
        return masking | self.streams.held if target is Target.COMPLETION else masking

    @property
    def holds_back(self) -> bool:
        """Whether texts of streamed answers may wait, or come out changed."""
        return bool(self.redacting or self.streams.held or self.streams.holds_arguments)

    @property
    def is_prepared(self) -> bool:
        """Whether a stream can begin without `prepare`."""
        return all(self.ruleset.has_unfinished(self.held(target), target) for target in _HELD_TARGETS)

    def prepare(self) -> None:
        """Make what a stream needs to hold back values, and keep it with the rules. This takes a while: not on the loop."""
        for target in _HELD_TARGETS:
            self.ruleset.unfinished(self.held(target), target)


class PolicyCache:
    """Compiled policies by their document, version and level."""

    def __init__(self) -> None:
        self._compiled: dict[tuple[bytes, str], CompiledPolicy] = {}

    def __repr__(self) -> str:
        return f"<PolicyCache {len(self._compiled)}>"

    def begin(self, snapshot: Snapshot) -> PolicyCompiler:
        """Compile for a snapshot; what it does not use is forgotten with `PolicyCompiler.finish`."""
        return PolicyCompiler(self._compiled, snapshot.policies)

    def keep(self, compiler: PolicyCompiler) -> None:
        """The snapshot is in force: forget what it does not use."""
        self._compiled = compiler.used


class PolicyCompiler:
    """The policies of one snapshot."""

    def __init__(self, compiled: Mapping[tuple[bytes, str], CompiledPolicy], policies: Iterable[AppliedPolicy]) -> None:
        self._before = compiled
        self._by_name = {policy.document.name: policy for policy in policies}
        self.used: dict[tuple[bytes, str], CompiledPolicy] = {}

    def policies(self, names: Iterable[str], level: str) -> PolicySet:
        """The policies of an assignment; raises PolicyRefused."""
        return PolicySet([self._compile(name, level) for name in names])

    def _compile(self, name: str, level: str) -> CompiledPolicy:
        applied = self._by_name.get(name)
        if applied is None:
            raise PolicyRefused(f"The snapshot lacks the policy {name}.")
        key = (encoder.encode(applied), level)
        compiled = self.used.get(key) or self._before.get(key)
        if compiled is None:
            try:
                compiled = CompiledPolicy(applied.document, version=applied.version, level=level)
            except Exception as error:  # Whatever is wrong with one policy must stay with those that it applies to.
                raise PolicyRefused(f"The policy {name} cannot be compiled: {error}") from error
        self.used[key] = compiled
        return compiled


def protections_of_keys(
    keys: Iterable[APIKey], type: ProxyType, rulesets: Mapping[str, Ruleset], compiler: PolicyCompiler
) -> dict[str, Protection | str]:
    """By id of key what applies instead of the proxy's protection, or the reason why nothing of it can pass."""
    found: dict[str, Protection | str] = {}
    for key in keys:
        assignment = key.assignments.get(type)
        if assignment is None:
            continue
        ruleset = rulesets.get(assignment.ruleset)
        if assignment.problem or ruleset is None:
            found[key.id] = assignment.problem or "The rules of the policies of this key cannot be loaded."
            continue
        try:
            found[key.id] = Protection.of(ruleset, compiler.policies(assignment.policy_names, "key"))
        except PolicyRefused as error:
            found[key.id] = str(error)
    return found
