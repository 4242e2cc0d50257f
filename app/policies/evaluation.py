"""Judges a text or a whole message by policies, as the workers would, without a call: nothing is sent, stored or spent.

The rules come compiled from the cache: the ruleset of exactly these packs where there is one, else one a pack, so
that a draft with another choice of packs need not wait for a compiler. A draft's own detections are compiled in memory.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import msgspec

from app.errors import Unavailable, ValidationFailed
from app.fleet.rulesets import REMEDY, Rulesets, RulesetUnavailable
from app.policies import documents
from app.policies.errors import PolicyInvalid, PolicyTooSlow
from app.policies.library import PolicyLibrary
from app.policies.trial_schemas import (
    Evaluate,
    EvaluatedFinding,
    EvaluatedText,
    EvaluationView,
    TextView,
    VerdictView,
)
from app.policies.tried import Tried, context_findings, context_view, read, tried_message
from app.policies.workbench import Workbench
from proxies.reading import is_fixed, unmaskable_place
from proxies.rulesets import read_ruleset
from rules.assessment import assess
from rules.compiler import compile_ruleset
from rules.conditions import TooManyHits
from rules.context_firewall import MEMBER, ORIGIN_RULE, SCORE_RULE, across_chunks
from rules.definitions import in_definitions
from rules.encoded_values import beyond_views
from rules.engine import EngineError, Ruleset
from rules.json_path import TooManyValues
from rules.masking.session import MaskingSession
from rules.masking.spans import Span, masking_into, replace_spans, settle
from rules.model import Action, Finding, Text, Verdict
from rules.packs import Pack, PackError, Problem
from rules.policy import ContextFirewall, Policy
from rules.policy_evaluation import CompiledPolicy, PolicySet
from rules.policy_lint import lint_policy
from rules.seams import across_seams
from rules.views import views

CHUNKS = f"/{MEMBER}/chunks/"
MAX_LOADED = 48
"""Rulesets kept in memory; the least recently used one goes first."""
MAX_VIEW_CHARS = 4_000
MAX_SHOWN_TEXTS = 64
REJECTED_STATUS = 400
"""Of a request whose context is refused, whatever the policy says about its other refusals."""


class Judges(msgspec.Struct, frozen=True):
    """Policies and their rules, ready to judge."""

    policies: tuple[CompiledPolicy, ...]
    rulesets: tuple[Ruleset, ...]

    def scan(self, texts: Sequence[Text], direction: str) -> list[Finding]:
        """What the rules of all packs find, in the order of the texts."""
        found: list[Finding] = []
        for ruleset in self.rulesets:
            rules = partial(ruleset.scan, direction="response" if direction == "response" else "request")
            in_texts = rules(texts)
            in_texts += beyond_views(texts, rules, PolicySet(self.policies).masks, in_texts)
            found += in_texts + across_seams(texts, rules, in_texts)
            if direction == "request":
                found += in_definitions(texts, rules, PolicySet(self.policies).masks, in_texts)
        places = {text.path: index for index, text in enumerate(texts)}
        return sorted(found, key=lambda finding: (places.get(finding.path, 0), finding.start, finding.rule_id))


class Evaluator:
    """Evaluates on the workbench, and keeps the rulesets that it has loaded."""

    def __init__(
        self,
        *,
        library: PolicyLibrary,
        rulesets: Rulesets,
        workbench: Workbench,
        context_firewall: ContextFirewall | None = None,
    ) -> None:
        self.context_firewall = context_firewall
        """That of the settings."""
        self._library = library
        self._rulesets = rulesets
        self._workbench = workbench
        self._loaded: OrderedDict[str, Ruleset] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Evaluator {len(self._loaded)} rulesets>"

    async def evaluate(self, wanted: Evaluate) -> EvaluationView:
        """The verdict of the wanted policies on a text or message.

        Raises PolicyNotFound, PolicyInvalid, ValidationFailed, PolicyTooSlow, Unavailable.
        """
        reading = read(wanted)
        policies = self._policies(wanted, "mcp" if reading.protocol == "mcp" else "llm")
        asked = [policy for policy, _, _ in policies]
        tried = tried_message(wanted, reading, asked, self.context_firewall)
        try:
            judges = await self.judges(policies)
        except PolicyTooSlow:
            raise
        except Exception as error:
            # Broad: what is wrong with a draft breaks each part of it in its own way, and lint knows them all.
            if wanted.document is not None and (problems := await self._problems_of(asked[0])):
                raise PolicyInvalid(problems) from error
            raise
        try:
            return await self._workbench.run(lambda: _evaluated(wanted, tried, judges))
        except (EngineError, TooManyHits, TooManyValues) as error:
            member = "text" if wanted.text is not None else "request"
            reason = "It holds more than can be judged: a proxy would refuse it (inspection_failed)."
            raise ValidationFailed(fields={member: reason}) from error

    async def _problems_of(self, policy: Policy) -> list[Problem]:
        packs = self._library.shared_packs
        return await self._workbench.run(lambda: lint_policy(policy, documents.ORIGIN, packs))

    async def judges(self, policies: Sequence[tuple[Policy, int, str]]) -> Judges:
        """Judges for these policies, each with its version and the level at which it is assigned."""
        compiled = await self._workbench.run(
            lambda: tuple(CompiledPolicy(policy, version=version, level=level) for policy, version, level in policies)
        )
        rulesets = await self._rulesets_of([policy for policy, _, _ in policies])
        for ruleset in rulesets:
            ruleset.keep_values_of(PolicySet(compiled).masking_rules(ruleset.rules))
        return Judges(compiled, tuple(rulesets))

    def _policies(self, wanted: Evaluate, kind: str) -> list[tuple[Policy, int, str]]:
        if wanted.document is not None:
            policy, problems = documents.read(wanted.document)
            if policy is None or problems:
                raise PolicyInvalid(problems)
            return [(policy, 0, "draft")]
        names = wanted.policy_names or self._library.defaults(kind)
        return [(self._library.get(name), self._library.version_of(name) or 0, "") for name in names]

    async def _rulesets_of(self, policies: Sequence[Policy]) -> list[Ruleset]:
        shared: dict[str, Pack] = {}
        own: list[Pack] = []
        for policy in policies:
            for pack in self._library.packs_for(policy):
                if pack.name == policy.own_pack_name:
                    own.append(pack)
                else:
                    shared[pack.name] = pack
        packs = [shared[name] for name in sorted(shared)]
        groups = [packs] if packs and self._rulesets.is_ready(packs) else [[pack] for pack in packs]
        return [
            *[await self._from_cache(group) for group in groups],
            *[await self._in_memory(pack) for pack in own],
        ]

    async def _from_cache(self, packs: Sequence[Pack]) -> Ruleset:
        try:
            source = await self._rulesets.of_packs(packs)
        except RulesetUnavailable as error:
            raise Unavailable(str(error), remediation=REMEDY) from error
        return await self._kept(source.digest, lambda: read_ruleset(source))

    async def _in_memory(self, pack: Pack) -> Ruleset:
        def load() -> Ruleset:
            made = compile_ruleset([pack])
            return Ruleset.load(made.packs_bytes, made.database_bytes)

        try:
            return await self._kept(f"{pack.name} {pack.version}", load)
        except (PackError, EngineError) as error:
            raise Unavailable(f"The policy's own detections cannot be compiled: {error}") from error

    async def _kept(self, key: str, load: Callable[[], Ruleset]) -> Ruleset:
        ruleset = self._loaded.get(key)
        if ruleset is None:
            ruleset = self._loaded[key] = await self._workbench.run(load)
        self._loaded.move_to_end(key)
        while len(self._loaded) > MAX_LOADED:
            self._loaded.popitem(last=False)
        return ruleset


def verdict_on(judges: Judges, tried: Tried, *, log_only: bool = False) -> Verdict:
    """What the policies say about a message."""
    policies = PolicySet(judges.policies)
    findings = judges.scan(tried.texts, tried.direction)
    if policies.needs_facts:
        findings += policies.conditional_findings(tried.facts)
    if tried.context is not None:
        found = judges.scan(tried.chunks, "request")
        if tried.firewalls:
            found += across_chunks(tried.context, lambda texts: judges.scan(list(texts), "request"), found)
        findings += context_findings(tried, found)
    return policies.verdict(findings, log_only=log_only)


def _evaluated(wanted: Evaluate, tried: Tried, judges: Judges) -> EvaluationView:
    verdict_on(judges, tried)
    # The second time, and processor time: patterns that were never needed before are made once, and nobody else counts.
    began = time.thread_time()
    verdict = verdict_on(judges, tried, log_only=wanted.log_only)
    took_ms = (time.thread_time() - began) * 1_000
    unmaskable = ""
    if wanted.request is not None and tried.direction == "request" and Action.REDACT <= verdict.action < Action.BLOCK:
        to_mask = [finding for finding in verdict.findings if finding.action is Action.REDACT]
        unmaskable = unmaskable_place(wanted.request, tried.texts, to_mask)
    return EvaluationView(
        protocol=tried.protocol,
        direction=tried.direction,
        policies=[compiled.policy.name for compiled in judges.policies],
        rule_count=sum(ruleset.rule_count for ruleset in judges.rulesets),
        took_ms=round(took_ms, 3),
        verdict=verdict_view(verdict),
        assessment=assess(verdict),
        findings=[finding_view(finding) for finding in verdict.findings],
        texts=_texts([*tried.texts, *tried.chunks], verdict.findings, wanted.request),
        unmaskable=unmaskable,
        context=context_view(
            tried, [hit for hit in verdict.findings if hit.path.startswith(CHUNKS) and hit.rule_id != SCORE_RULE]
        ),
    )


def verdict_view(verdict: Verdict) -> VerdictView:
    """A verdict as the API shows it."""
    decision = verdict.decision
    return VerdictView(
        action=verdict.action.word,
        would_action=max(verdict.action, decision.would_action).word,
        score=verdict.score,
        risk=decision.risk,
        reason=verdict.reason,
        source=decision.source,
        rule_id=decision.rule_id,
        policy=decision.policy,
        policy_version=decision.policy_version,
        threshold=decision.threshold,
        tags=list(decision.tags),
        status=REJECTED_STATUS if decision.rule_id in (ORIGIN_RULE, SCORE_RULE) else decision.status,
    )


def finding_view(finding: Finding) -> EvaluatedFinding:
    """A finding as the API shows it."""
    return EvaluatedFinding(
        rule_id=finding.rule_id,
        pack=finding.pack,
        title=finding.title,
        category=finding.category,
        severity=finding.severity.word,
        confidence=finding.confidence.name.lower(),
        score=finding.score,
        action=finding.action.word,
        target=finding.target.value,
        path=finding.path,
        start=finding.start,
        end=finding.end,
        view=finding.view,
        evidence=finding.evidence,
    )


def _texts(texts: Sequence[Text], findings: Sequence[Finding], document: dict[str, Any] | None) -> list[EvaluatedText]:
    """The texts with their views and their masked form, those with findings first where there are many."""
    by_path: dict[str, list[Finding]] = {}
    for finding in findings:
        by_path.setdefault(finding.path, []).append(finding)
    session = MaskingSession(secrets.token_bytes(32))
    chosen = sorted(texts, key=lambda text: text.path not in by_path)[:MAX_SHOWN_TEXTS]
    kept = {id(text) for text in chosen}
    return [
        EvaluatedText(
            target=text.target.value,
            path=text.path,
            text=text.text,
            masked=text.text
            if document is not None and is_fixed(document, text)
            else masked(text.text, by_path.get(text.path, ()), session),
            views=[
                TextView(name=view.name, made=view.made, text=view.text[:MAX_VIEW_CHARS]) for view in views(text.text)
            ],
        )
        for text in texts
        if id(text) in kept
    ]


def masked(text: str, findings: Iterable[Finding], session: MaskingSession) -> str:
    """The text as the upstream would get it: what a `redact` found is replaced by placeholders."""
    spans = [
        Span(finding.value_start, finding.value_end, finding.label, finding.reversible, finding.rule_id, finding.score)
        for finding in findings
        if finding.action is Action.REDACT
    ]
    return replace_spans(text, settle(spans), masking_into(session)) if spans else text
