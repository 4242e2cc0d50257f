"""Which conditional rules of a policy a call fulfils, as findings: from there on they are judged like detections.

Deny is looked at before allow, whatever the order in the document: a call that a rule denies is refused even if
another one allows it. The default action counts where no rule allows a call that does something, and in an answer for
tool calls where the policy lists the tools that it allows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from rules.conditions import CompiledConditions, ContentHit
from rules.facts import Facts, ToolCall
from rules.model import Action, Confidence, Finding, Severity, Target
from rules.policy import DEFAULT_ACTION_ID, Policy, PolicyRule
from rules.redact import excerpt, spans_near

MAX_EVIDENCE_NAME_CHARACTERS = 100
REDACTED_LABEL = "VALUE"
"""The word in the placeholder of what a `redact` rule found."""

_ACTIONS = {
    "allow": Action.TAG,
    "deny": Action.BLOCK,
    "alert": Action.ALERT,
    "tag": Action.TAG,
    "log": Action.LOG,
    "redact": Action.REDACT,
    "hold": Action.HOLD,
}


class ConditionalRules:
    """The conditional rules of one policy, ready to be asked."""

    def __init__(self, policy: Policy) -> None:
        """Compile; raises ValueError for a policy that lint refuses."""
        self._policy = policy
        self._rules = [(rule, CompiledConditions(rule.match, exact=rule.action == "allow")) for rule in policy.rules]
        self._denies_by_default = policy.default_action == "deny"
        self._lists_tools = any(rule.action == "allow" and compiled.about_tools for rule, compiled in self._rules)
        self.about_tools = any(conditions.about_tools for _, conditions in self._rules)
        """Whether tool calls of an answer concern any rule."""
        self.reads_views = any(conditions.reads_views for _, conditions in self._rules)
        """Whether they look into texts also as normalisation makes them."""
        self.reading_count = sum(
            (rule.match.message_content is not None) + len(rule.match.tool_arguments) for rule in policy.rules
        )
        """How many conditions look into every text or the arguments of every call: what they cost grows with both."""
        self.by_id = {rule.id: rule for rule in policy.rules}
        self.header_names = frozenset(name for _, compiled in self._rules for name in compiled.header_names)

    def __bool__(self) -> bool:
        return bool(self._rules) or self._denies_by_default

    def findings(self, facts: Facts) -> Iterator[Finding]:
        """A finding for every rule that applies, and one for a refusal by the default action."""
        if facts.phase == "request":
            yield from self._of_request(facts)
            return
        for call in facts.tool_calls:
            yield from self._of_proposed(replace(facts, tool_calls=(call,)), call)

    def undecided(self, facts: Facts) -> frozenset[str]:
        """The facts that are not known of a recorded call and on which it depends which of these rules apply to it."""
        asked = [conditions for _, conditions in self._rules if facts.phase == "request" or conditions.about_tools]
        return frozenset(fact for conditions in asked for fact in conditions.undecided(facts))

    def _of_request(self, facts: Facts) -> Iterator[Finding]:
        allowed = False
        for rule, conditions in self._rules:
            if (rule.action == "hold" and facts.kind != "mcp") or not conditions.hold(facts):
                continue
            allowed |= rule.action == "allow"
            if rule.action == "redact":
                hits = conditions.content_hits(facts)
                spans: dict[int, list[tuple[int, int]]] = {}
                for hit in hits:
                    spans.setdefault(id(hit.text), []).append((hit.start, hit.end))
                for hit in hits:
                    secrets = spans_near(spans[id(hit.text)], hit.start, hit.end)
                    yield self._finding(rule, facts, None, hit, secrets)
            elif rule.action != "allow" or rule.tags:
                yield self._finding(rule, facts, conditions.fitting_call(facts), conditions.content_hit(facts))
        if self._denies_by_default and facts.acts and not allowed:
            yield self._default(facts, None)

    def _of_proposed(self, facts: Facts, call: ToolCall) -> Iterator[Finding]:
        """One tool call that a model proposes: only rules about tools are asked, and of a call of which no more than
        the name is known only those that its name decides."""
        allowed = named = facts.phase == "named"
        for rule, conditions in self._rules:
            if not conditions.about_tools or rule.action in ("redact", "hold"):
                continue
            if named and (rule.action == "allow" or conditions.about_arguments):
                continue
            if not conditions.hold(facts):
                continue
            allowed |= rule.action == "allow"
            if rule.action != "allow" or rule.tags:
                yield self._finding(rule, facts, call, None)
        if self._denies_by_default and self._lists_tools and not allowed:
            yield self._default(facts, call)

    def _finding(
        self,
        rule: PolicyRule,
        facts: Facts,
        call: ToolCall | None,
        hit: ContentHit | None,
        secrets: Sequence[tuple[int, int]] = (),
    ) -> Finding:
        path, start, end = ("", 0, 0) if call is None else (call.path, 0, 0)
        target, evidence = _place(facts, call)
        if hit is not None:
            target, path, start, end = hit.text.target, hit.text.path, hit.start, hit.end
            evidence = excerpt(hit.text.text, start, end, secrets or [(start, end)])
        return Finding(
            rule_id=rule.id,
            pack=self._policy.own_pack_name,
            title=rule.reason or rule.description[:200] or f"The conditions of {rule.id} hold",
            category=f"policy/{rule.action}",
            severity=Severity.parse(rule.severity),
            confidence=Confidence.HIGH,
            score=0,
            action=_ACTIONS[rule.action],
            target=target,
            path=path,
            start=start,
            end=end,
            view="raw",
            evidence=evidence,
            value_start=start,
            value_end=end,
            label=REDACTED_LABEL if rule.action == "redact" else "",
            reversible=rule.action == "redact",
        )

    def _default(self, facts: Facts, call: ToolCall | None) -> Finding:
        target, evidence = _place(facts, call)
        return Finding(
            rule_id=DEFAULT_ACTION_ID,
            pack=self._policy.own_pack_name,
            title="No rule allows this tool" if call else "No rule allows this call",
            category=f"policy/{DEFAULT_ACTION_ID}",
            severity=Severity.MEDIUM,
            confidence=Confidence.HIGH,
            score=0,
            action=Action.BLOCK,
            target=target,
            path=call.path if call else "",
            start=0,
            end=0,
            view="raw",
            evidence=evidence,
        )


def _place(facts: Facts, call: ToolCall | None) -> tuple[Target, str]:
    """What kind of text a finding without text belongs to, and what the call is in a few words."""
    if call is None and facts.kind == "llm":
        return Target.PROMPT, f"model {_name(facts.model)}"
    if call is None and not facts.tool_calls:
        return Target.TOOL_ARGS, f"method {_name(facts.method)}"
    name = call.name if call is not None else facts.tool_calls[0].name
    return Target.TOOL_ARGS, f"tool {_name(name)}"


def _name(text: str) -> str:
    """A name from outside, short and printable."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text[:MAX_EVIDENCE_NAME_CHARACTERS])
