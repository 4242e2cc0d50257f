"""Replays: what would have become of recorded calls under a draft. Pure, apart from the time that it takes.

A call is judged by the policies of its proxy with the draft in the place of its namesake (or beside them). Captured texts
are masked: a mark that a rule of these policies left stands for a hit of that rule. What a record does not hold cannot be
judged: numbers in tool arguments, headers, and what found no room in the capture.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from app.policies.evaluation import Judges
from app.traffic.captured import CapturedCall
from proxies.contract import CapturedText
from proxies.reading import HOUSEKEEPING
from rules.facts import Facts, Message, ToolCall
from rules.model import Action, Confidence, Finding, Severity, Target, Text, Verdict
from rules.packs import Pack, Rule
from rules.policy_evaluation import PolicySet

COMPARABLE = frozenset({"allowed", "alerted", "blocked"})
"""Verdicts that a policy gave. A call that was refused for another reason, or failed, has none."""
_ROLES = {
    Target.SYSTEM_PROMPT: "system",
    Target.COMPLETION: "assistant",
    Target.TOOL_ARGS: "assistant",
    Target.TOOL_RESULT: "tool",
}


class Rejudged(NamedTuple):
    """A recorded call and what it would be now."""

    call: CapturedCall
    before: str
    after: str
    verdict: Verdict


class Replayer:
    """Judges recorded calls of one proxy."""

    def __init__(self, judges: Judges, packs: Sequence[Pack], *, kind: str, log_only: bool) -> None:
        self._judges = judges
        self._policies = PolicySet(judges.policies)
        self._rules = {rule.id: (pack.name, rule) for pack in packs for rule in pack.rules}
        self._kind = kind
        self._log_only = log_only

    def judge(self, call: CapturedCall) -> Rejudged | None:
        """What the call would be; None where there is no verdict to compare with."""
        if call.verdict not in COMPARABLE:
            return None
        found: list[Finding] = []
        verdict = None
        for direction in ("request", "response"):
            captured = [text for text in call.texts if text.direction == direction]
            found += self._found(captured, direction)
            if self._policies.needs_facts:
                found += self._policies.conditional_findings(facts_of(call, captured, direction, self._kind))
            verdict = self._policies.verdict(found, log_only=self._log_only)
            if verdict.action is Action.BLOCK:
                break
        assert verdict is not None  # The loop ran.
        return Rejudged(call, call.verdict, word_of(verdict), verdict)

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
                if rule is not None and text.target in rule.targets and direction in rule.direction:
                    yield _finding(pack, rule, text, mark.start, mark.end)


def word_of(verdict: Verdict) -> str:
    """The verdict in the words of the traffic log."""
    if verdict.action is Action.BLOCK:
        return "blocked"
    return "alerted" if verdict.action >= Action.ALERT else "allowed"


def facts_of(call: CapturedCall, captured: Sequence[CapturedText], direction: str, kind: str) -> Facts:
    """What a record tells about a call, as far as it does."""
    texts = [Text(text.target, text.path, text.text) for text in captured]
    is_mcp = kind == "mcp"
    method, _, tool = call.operation.partition(" ")
    if not is_mcp:
        method = tool = ""
    calls: tuple[ToolCall, ...] = ()
    if is_mcp and method == "tools/call" and direction == "request":
        name = next((text.text for text in texts if text.path == "/params/name"), tool)
        calls = (ToolCall(name, _arguments(texts), "/params"),)
    return Facts(
        phase="response" if direction == "response" else "request",
        kind="mcp" if is_mcp else "llm",
        acts=not is_mcp or method not in HOUSEKEEPING,
        model="" if is_mcp else call.operation,
        method=method,
        messages=() if is_mcp else tuple(_messages(texts)),
        tool_calls=calls,
        texts=texts,
        client_id=call.principal_id,
        ip=call.client_ip,
        now=call.started_at,
    )


def _messages(texts: Sequence[Text]) -> Iterator[Message]:
    """The messages that the texts lie in; the role follows from what kind of text the first one is."""
    seen: set[str] = set()
    for text in texts:
        parts = text.path.split("/", 3)
        if len(parts) < 3 or parts[1] not in ("messages", "input", "contents") or not parts[2].isdecimal():
            continue
        place = f"/{parts[1]}/{parts[2]}"
        if place not in seen:
            seen.add(place)
            yield Message(_ROLES.get(text.target, "user"), place)


def _arguments(texts: Sequence[Text]) -> Any:
    """The string arguments of a tool call, put together again from their places."""
    arguments: dict[str, Any] = {}
    for text in texts:
        if not text.path.startswith("/params/arguments/"):
            continue
        *parents, last = [
            part.replace("~1", "/").replace("~0", "~")
            for part in text.path.removeprefix("/params/arguments/").split("/")
        ]
        inner: Any = arguments
        for part in parents:
            inner = inner.setdefault(part, {})
            if not isinstance(inner, dict):
                break
        else:
            inner[last] = text.text
    return _with_lists(arguments)


def _with_lists(value: Any) -> Any:
    """Objects whose members are numbered from zero are lists."""
    if not isinstance(value, dict):
        return value
    made: Mapping[str, Any] = {name: _with_lists(member) for name, member in value.items()}
    if made and list(made) == [str(index) for index in range(len(made))]:
        return list(made.values())
    return made


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
