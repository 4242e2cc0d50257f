"""The policies in force and the packs: those that come with the program, read once, and those published here.

What is published here is in the database; `service.PolicyService` tells the library at the start and after every
change, so that reading it never waits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from app.errors import AppError
from app.fleet.schemas import PolicyRef
from app.policies import rule_words
from app.policies.errors import PackNotFound, PolicyNotFound
from app.policies.schemas import PackSummary, PackView, PolicyView, RuleView
from rules.model import Severity
from rules.packs import SHIPPED, Pack, Problem, Rule, read_directory
from rules.policy import OWN_PACK_PREFIX, SHIPPED_POLICIES, Policy, PolicyRule, dump_policy, read_policies

DEFAULT_POLICIES = {"llm": ["llm-standard-security"], "mcp": ["mcp-standard-security"]}


class PolicyLibrary:
    """Policies by name and packs by name. A policy whose pack is missing or damaged exists but is not active.

    The packs hold the own detections of policies too (`own-NAME`); lists of packs leave those out. A damaged file takes
    away what stands in it and nothing else: whoever names it is refused with the reason.
    """

    def __init__(
        self,
        policies: Mapping[str, Policy],
        packs: Mapping[str, Pack],
        *,
        damaged_policies: Sequence[Problem] = (),
        damaged_packs: Sequence[Problem] = (),
    ) -> None:
        self._damaged_policies = _by_name(damaged_policies)
        self._damaged_packs = _by_name(damaged_packs)
        # The name of a damaged one stays taken: when the file is repaired, it is in force again.
        self._shipped = frozenset({*policies, *self._damaged_policies})
        self._policies: dict[str, Policy] = {}
        self._versions: dict[str, int] = {}
        self._packs = dict(packs)
        self._shared = frozenset(packs)
        for name, policy in policies.items():
            self._set(name, policy)

    def __repr__(self) -> str:
        return f"<PolicyLibrary {len(self._policies)} policies, {len(self._packs)} packs>"

    @classmethod
    def shipped(cls, packs_directory: Path = SHIPPED, policies_directory: Path = SHIPPED_POLICIES) -> PolicyLibrary:
        """What comes with the program; damaged files are left out and stand in `damage`."""
        packs, damaged_packs = read_directory(packs_directory)
        policies, damaged_policies = read_policies(policies_directory)
        return cls(policies, packs, damaged_policies=damaged_policies, damaged_packs=damaged_packs)

    @property
    def damage(self) -> list[Problem]:
        """The first problem of each damaged file, and of each policy made here that this version cannot read."""
        return [*self._damaged_packs.values(), *self._damaged_policies.values()]

    @property
    def rule_count(self) -> int:
        """Rules in all packs together."""
        return sum(len(self._packs[name].rules) for name in self._shared)

    # --- What is in force ---------------------------------------------------------------------------------------------

    def put(self, name: str, policy: Policy, version: int) -> None:
        """A policy that was made here is in force from now on."""
        if name not in self._shipped:
            self._damaged_policies.pop(name, None)
            self._versions[name] = version
            self._set(name, policy)

    def put_damaged(self, name: str, problem: Problem) -> None:
        """A policy that was made here is in force and cannot be read: whoever names it hears why."""
        if name not in self._shipped:
            self._damaged_policies[name] = problem

    def remove(self, name: str) -> None:
        """A policy that was made here is gone."""
        if name not in self._shipped:
            self._damaged_policies.pop(name, None)
        if name not in self._shipped and (policy := self._policies.pop(name, None)):
            self._packs.pop(policy.own_pack_name, None)
            self._versions.pop(name, None)

    def _set(self, name: str, policy: Policy) -> None:
        self._policies[name] = policy
        self._packs.pop(policy.own_pack_name, None)
        if own := own_pack_of(policy):
            self._packs[own.name] = own

    def is_shipped(self, name: str) -> bool:
        """Whether a policy comes with the program."""
        return name in self._shipped

    def version_of(self, name: str) -> int | None:
        """The version in force of a policy that was made here."""
        return self._versions.get(name)

    def get(self, name: str) -> Policy:
        """The policy in force; raises PolicyNotFound."""
        return self._template(name)

    @property
    def shared_packs(self) -> dict[str, Pack]:
        """The packs that policies can select, by name."""
        return {name: self._packs[name] for name in sorted(self._shared)}

    def packs_for(self, policy: Policy) -> list[Pack]:
        """The packs of a policy that need not be in force, its own detections included; raises PackNotFound."""
        own = own_pack_of(policy)
        packs = [*map(self._pack, policy.packs), *([own] if own else [])]
        return sorted(packs, key=lambda pack: pack.name)

    # --- For decisions --------------------------------------------------------------------------------------------

    def why_inactive(self, name: str) -> str:
        """Why a policy cannot be put in force; empty for one that can."""
        try:
            self.packs_for(self._template(name))
        except AppError as error:
            return error.message
        return ""

    def unknown(self, names: Iterable[str]) -> list[str]:
        """The names that no policy has."""
        return [name for name in names if name not in self._policies]

    def applies_to(self, name: str, proxy_type: str) -> bool:
        """Whether a policy is meant for this type of proxy."""
        return self._policies[name].applies_to(proxy_type)

    def defaults(self, proxy_type: str) -> list[str]:
        """The policies of a proxy whose creator named none."""
        return [name for name in DEFAULT_POLICIES.get(proxy_type, []) if name in self._policies]

    def packs_of(self, names: Iterable[str]) -> list[Pack]:
        """The packs of these policies together, each once, by name; raises PolicyNotFound or PackNotFound."""
        wanted: set[str] = set()
        for name in names:
            wanted.update(self._template(name).pack_names)
        return [self._pack(name) for name in sorted(wanted)]

    def policy_by_pack(self, names: Iterable[str]) -> dict[str, str]:
        """For each pack the first of these policies that brings it."""
        by_pack: dict[str, str] = {}
        for name in names:
            if template := self._policies.get(name):
                for pack in template.pack_names:
                    by_pack.setdefault(pack, name)
        return by_pack

    def refs(self, names: Iterable[str]) -> list[PolicyRef]:
        """The assigned policies of a proxy, as the API shows them."""
        found = []
        for name in names:
            template = self._policies.get(name)
            found.append(
                PolicyRef(
                    name=name,
                    exists=template is not None,
                    active=template is not None and self._is_active(template),
                    description=template.description if template else "",
                    severity=self._worst(template) if template else "info",
                )
            )
        return found

    def rule(self, pack: str, rule_id: str) -> Rule | None:
        """A detection rule; none where it or its pack is gone."""
        rules = self._packs[pack].rules if pack in self._packs else ()
        return next((rule for rule in rules if rule.id == rule_id), None)

    def with_pack(self, name: str) -> list[Policy]:
        """The policies that bring a pack, by name."""
        return [self._policies[user] for user in self._users(name)]

    def conditional_rule(self, pack: str, rule_id: str) -> PolicyRule | None:
        """A conditional rule of a policy in force; none for a detection and for a rule that is gone."""
        policy = self._policies.get(pack.removeprefix(OWN_PACK_PREFIX)) if pack.startswith(OWN_PACK_PREFIX) else None
        return next((rule for rule in policy.rules if rule.id == rule_id), None) if policy else None

    # --- For the API ----------------------------------------------------------------------------------------------

    def policies(self, *, type_: str = "", search: str = "") -> list[PolicyView]:
        """All policies that match, by name."""
        views = [self.policy(name) for name in sorted(self._policies) if not type_ or self.applies_to(name, type_)]
        text = search.lower()
        return [view for view in views if text in f"{view.name} {view.title} {view.description}".lower()]

    def policy(self, name: str) -> PolicyView:
        """One policy; raises PolicyNotFound."""
        template = self._template(name)
        present = [self._packs[pack] for pack in template.pack_names if pack in self._packs]
        return PolicyView(
            name=template.name,
            title=template.title,
            description=template.description,
            type=template.type,
            packs=list(template.packs),
            enforcement=template.enforcement,
            severity=self._worst(template),
            rule_count=sum(len(pack.rules) for pack in present),
            condition_count=len(template.rules),
            detection_count=len(template.detections),
            active=self._is_active(template),
            shipped=name in self._shipped,
            version=self._versions.get(name),
        )

    def packs(self) -> list[PackSummary]:
        """All packs that policies can select, by name."""
        return [
            PackSummary(
                name=pack.name,
                version=pack.version,
                title=pack.title,
                description=pack.description,
                rule_count=len(pack.rules),
                policies=self._users(pack.name),
            )
            for pack in self.shared_packs.values()
        ]

    def pack(self, name: str) -> PackView:
        """One pack with its rules; raises PackNotFound."""
        pack = self._pack(name)
        return PackView(
            name=pack.name,
            version=pack.version,
            title=pack.title,
            description=pack.description,
            rule_count=len(pack.rules),
            policies=self._users(name),
            rules=[rule_view(rule) for rule in pack.rules],
        )

    def _template(self, name: str) -> Policy:
        if template := self._policies.get(name):
            return template
        if problem := self._damaged_policies.get(name):
            raise PolicyNotFound(f"The policy {name} is damaged: {problem}.")
        raise PolicyNotFound(f"There is no policy named {name}.")

    def _pack(self, name: str) -> Pack:
        if pack := self._packs.get(name):
            return pack
        if problem := self._damaged_packs.get(name):
            raise PackNotFound(f"The rule pack {name} is damaged: {problem}.")
        raise PackNotFound(f"There is no pack named {name}.")

    def _users(self, pack_name: str) -> list[str]:
        return sorted(name for name, template in self._policies.items() if pack_name in template.pack_names)

    def _is_active(self, template: Policy) -> bool:
        return all(pack in self._packs for pack in template.packs)

    def _worst(self, template: Policy) -> str:
        packs = (self._packs[name] for name in template.pack_names if name in self._packs)
        severities = [Severity.parse(rule.severity) for pack in packs for rule in pack.rules]
        # Of the conditional rules those that raise alerts have one.
        severities += [Severity.parse(rule.severity) for rule in template.rules if rule.action in ("alert", "deny")]
        return max(severities, default=Severity.INFO).word


def _by_name(problems: Iterable[Problem]) -> dict[str, Problem]:
    """The first problem of each file, by the name of what stands in it."""
    found: dict[str, Problem] = {}
    for problem in problems:
        found.setdefault(problem.file.removesuffix(".json"), problem)
    return found


def own_pack_of(policy: Policy) -> Pack | None:
    """The own detections of a policy as a pack, whose version changes whenever the policy does."""
    own = policy.own_pack()
    if own is None:
        return None
    content = int.from_bytes(hashlib.sha256(dump_policy(policy)).digest()[:4], "big")
    return msgspec.structs.replace(own, version=f"0.0.{content}")


def rule_view(rule: Rule) -> RuleView:
    """A rule as the API shows it."""
    match = rule.match
    return RuleView(
        id=rule.id,
        rev=rule.rev,
        title=rule.title,
        category=rule.category,
        severity=rule.severity,
        confidence=rule.confidence,
        score=rule.score,
        action=rule.action,
        targets=[target.value for target in rule.targets],
        direction=list(rule.direction),
        views=list(rule.views),
        validators=list(rule.validators),
        patterns=[pattern.re for pattern in (*match.all, *match.any)],
        condition=rule_words.condition(rule),
        owasp_llm=list(rule.map.owasp_llm),
        owasp_mcp=list(rule.map.owasp_mcp),
        owasp_asi=list(rule.map.owasp_asi),
        atlas=list(rule.map.atlas),
        cwe=list(rule.map.cwe),
        examples_match=list(rule.examples.match),
        examples_no_match=list(rule.examples.no_match),
        false_positives=rule.false_positives,
        references=list(rule.references),
    )
