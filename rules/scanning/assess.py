"""From facts to findings: all checks over one server (detection.md §5.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from rules.model import Confidence, Finding, Severity, Target, Text
from rules.pinning.baseline import ServerDescription
from rules.pinning.canonical import NotCanonical, hash_json
from rules.pinning.visible import hidden_characters, visible
from rules.scanning.behaviour import check_active, check_errors, check_listing
from rules.scanning.checks import BY_ID, CHECK_OF_PACK, CHECKS
from rules.scanning.collector import Collector, shown
from rules.scanning.declarations import SEVERITY_OF_RULES, check_declarations
from rules.scanning.facts import NETWORK_TOPICS, ListDifference, ServerFacts, Topic, Transport
from rules.scanning.finding import Risk, ScanFinding, Summary, overall_risk, passes, risk_score, summary_of
from rules.scanning.names import check_names
from rules.scanning.reach import check_access, check_boundary, check_reach, check_sessions, check_versions
from rules.scanning.texts import description_texts

Scan = Callable[[Sequence[Text]], Iterable[Finding]]
"""The detection rules: what they find in texts."""
MAX_RESPONSE_CHARS: Final = 20_000
MANY_HIDDEN: Final = 3
"""So many hidden characters in one text are no accident."""
RESPONSE_CATEGORIES: Final = (
    "command-injection/reverse-shell",
    "command-injection/destructive",
    "command-injection/download",
)
"""Attacks on the client's machine that have no place in an answer; other commands may be what was asked for."""
_LISTS: Final = (
    ("tool", "tools", "tools", "name"),
    ("prompt", "prompts", "prompts", "name"),
    ("resource", "resources", "resources", "uri"),
    ("template", "resource_templates", "resourceTemplates", "uriTemplate"),
)


class Assessment(msgspec.Struct, frozen=True):
    """What a scan comes to."""

    findings: tuple[ScanFinding, ...]
    summary: Summary
    risk_score: int
    overall_risk: Risk
    passed: bool
    coverage_percent: int
    """How many of the checks that apply to this server could say something."""
    left_out: int = 0
    """Findings beyond the bound of a scan."""


def assess(facts: ServerFacts, scan: Scan, other_names: Mapping[str, Iterable[str]] | None = None) -> Assessment:
    """All checks. `other_names` are the tools of the other servers that the same clients see, by server."""
    found = Collector()
    check_reach(facts, found)
    check_versions(facts, found)
    check_access(facts, found)
    check_sessions(facts, found)
    check_boundary(facts, found)
    check_names(facts, other_names or {}, found)
    check_declarations(facts, found)
    check_listing(facts, found)
    check_errors(facts, found)
    check_active(facts, found)
    _check_texts(facts, scan, found)
    _check_answers(facts, scan, found)
    findings = found.findings()
    score = risk_score(findings)
    return Assessment(
        findings=findings,
        summary=summary_of(findings),
        risk_score=score,
        overall_risk=overall_risk(score),
        passed=passes(findings),
        coverage_percent=coverage(facts),
        left_out=found.left_out,
    )


def coverage(facts: ServerFacts) -> int:
    """The share of applicable checks whose facts were gathered, in percent."""
    applicable = [check for check in CHECKS if _applies(check.topic, facts.transport)]
    done = sum(check.topic in facts.gathered for check in applicable)
    return 100 * done // len(applicable)


def _applies(topic: Topic, transport: Transport) -> bool:
    """Whether a topic means something there: a process has nobody to refuse, a WebSocket no name for its session."""
    if transport == "stdio":
        return topic not in NETWORK_TOPICS
    return transport != "websocket" or topic != "sessions"


def differences(first: ServerDescription, second: ServerDescription) -> tuple[ListDifference, ...]:
    """What two descriptions of one server do not have in common, whatever the order of their lists."""
    found: list[ListDifference] = []
    for kind, attribute, wire, identity in _LISTS:
        one, other = (_by_name(getattr(side, attribute), identity) for side in (first, second))
        for name in [*one, *(name for name in other if name not in one)]:
            what = "removed" if name not in other else "added" if name not in one else "changed"
            if what != "changed" or one[name][1] != other[name][1]:
                pointer = f"/{wire}/{one[name][0]}" if name in one else ""
                found.append(ListDifference(kind, visible(name, 200), what, pointer))  # type: ignore[arg-type]
    for member in ("instructions", "serverInfo"):
        if first.initialize.get(member) != second.initialize.get(member):
            found.append(ListDifference("server", member, "changed", f"/initialize/{member}"))
    return tuple(found[:200])


def _by_name(entries: list[Any], identity: str) -> dict[str, tuple[int, str]]:
    named: dict[str, tuple[int, str]] = {}
    for index, entry in enumerate(entries):
        name = entry.get(identity) if type(entry) is dict else None
        try:
            named.setdefault(name if type(name) is str else f"entry {index}", (index, hash_json(entry)))
        except NotCanonical:
            named.setdefault(f"entry {index}", (index, "unreadable"))
    return named


def _check_texts(facts: ServerFacts, scan: Scan, found: Collector) -> None:
    texts = description_texts(facts.description)
    told: set[str] = set()
    for hit in scan(texts):
        kind, subject = _owner(facts.description, hit.path)
        told.add(hit.path)
        check_id = CHECK_OF_PACK.get(hit.pack, "MCP-META-005")
        found.add(
            check_id,
            f"{BY_ID[check_id].title}.",
            evidence=hit.evidence,
            location=hit.path.rstrip("#"),
            kind=kind,
            subject=subject,
            score=score_of(hit),
            rule_id=hit.rule_id,
            title=hit.title,
            pack=hit.pack,
        )
    for text in texts:
        hidden = hidden_characters(text.text)
        if hidden and text.path not in told:
            kind, subject = _owner(facts.description, text.path)
            found.add(
                "MCP-META-002", f"{len(hidden)} characters of it are not drawn as anything.",
                evidence=text.text, location=text.path.rstrip("#"), kind=kind, subject=subject,
                score=None if len(hidden) >= MANY_HIDDEN else 5.0,
            )  # fmt: skip


def _owner(description: ServerDescription, path: str) -> tuple[str, str]:
    """What a pointer belongs to: kind and name."""
    parts = path.split("/")
    for kind, attribute, wire, identity in _LISTS:
        if parts[1:2] == [wire]:
            entry = getattr(description, attribute)[int(parts[2].rstrip("#"))]
            name = entry.get(identity) if type(entry) is dict else None
            return kind, name if type(name) is str else ""
    return "server", ""


def _check_answers(facts: ServerFacts, scan: Scan, found: Collector) -> None:
    """Whether what tools answered is meant for the model or its machine, and not for the user (SYP-SCAN-4)."""
    indexes = {tool.get("name"): index for index, tool in enumerate(facts.description.tools) if type(tool) is dict}
    for answer in facts.tool_answers:
        where = f"/tools/{indexes[answer.tool]}" if answer.tool in indexes else "/tools"
        source = "recorded traffic" if answer.probe == "traffic" else "an active probe"
        if answer.probe == "traffic":
            found.add(
                "MCP-RESPONSE-001", f"{shown(answer.tool)} in {source}: {answer.detail}.",
                evidence=answer.text, location=where, kind="tool", subject=answer.tool, rule_id=answer.detail.split(" ")[0],
            )  # fmt: skip
            continue
        text = answer.text[:MAX_RESPONSE_CHARS]
        hits = [hit for hit in scan([Text(Target.TOOL_RESULT, "/result", text)]) if _is_attack(hit)]
        commands = scan([Text(Target.TOOL_ARGS, "/result", text)])
        hits += [hit for hit in commands if hit.category in RESPONSE_CATEGORIES]
        for hit in hits:
            found.add(
                "MCP-RESPONSE-001", f"{shown(answer.tool)} answered {source} with this.",
                evidence=hit.evidence, location=where, kind="tool", subject=answer.tool, rule_id=hit.rule_id,
                pack=hit.pack, title=f"A tool answers with: {hit.title}",
                score=9.5 if hit.severity >= Severity.HIGH else score_of(hit),
            )  # fmt: skip


def _is_attack(hit: Finding) -> bool:
    return CHECK_OF_PACK.get(hit.pack) in ("MCP-META-001", "MCP-META-002", "MCP-META-003")


def score_of(hit: Finding) -> float:
    """The score of what a detection rule found; doubt lowers it within its band."""
    score = SEVERITY_OF_RULES[hit.severity]
    return score - 0.5 if hit.confidence is Confidence.LOW and score > 0.5 else score
