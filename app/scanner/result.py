"""The result of a scan as reports and the API show it (inventory b.9)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from app.version import __version__
from rules.pinning.capabilities import capabilities_of
from rules.pinning.visible import visible
from rules.scanning.assess import Assessment
from rules.scanning.facts import ServerFacts
from rules.scanning.finding import ScanFinding, Summary

MAX_LISTED = 500


class FindingView(msgspec.Struct, frozen=True, rename="camel"):
    """One finding. `lineNumber`, `codeLine` and `codeContext` are empty: a server at run time has no lines."""

    id: str
    rule_id: str
    check: str
    severity: str
    score: float
    category: str
    title: str
    description: str
    evidence: str
    location: str
    remediation: str
    timestamp: datetime
    kind: str = "server"
    subject: str = ""
    pack: str = ""
    owasp_mcp: tuple[str, ...] = ()
    owasp_asi: tuple[str, ...] = ()
    cwe: tuple[str, ...] = ()
    line_number: int | None = None
    code_line: str = ""
    code_context: str = ""


class ToolView(msgspec.Struct, frozen=True, rename="camel"):
    """One tool with its capability classes."""

    name: str
    description: str
    capabilities: tuple[str, ...]


class ServerView(msgspec.Struct, frozen=True, rename="camel"):
    """The server as it describes itself."""

    name: str
    version: str
    protocol: str
    capabilities: list[str]
    tools: list[ToolView]
    resources: list[str]


class SurfaceView(msgspec.Struct, frozen=True, rename="camel"):
    """What is reachable, and for whom (SYP-SCAN-3)."""

    transport: str
    tls: bool
    loopback: bool
    protocol_versions: tuple[str, ...]
    methods: tuple[str, ...]
    anonymous_methods: tuple[str, ...]
    authentication_required: bool
    tool_count: int
    prompt_count: int
    resource_count: int
    template_count: int
    requests: int


class ScanResult(msgspec.Struct, frozen=True, rename="camel"):
    """Everything that a scan came to."""

    timestamp: datetime
    target: str
    policy_used: str
    overall_risk: str
    risk_score: int
    passed: bool
    findings: list[FindingView]
    mcp_server: ServerView
    summary: Summary
    surface: SurfaceView
    active: bool
    probed_tools: tuple[str, ...]
    skipped_tools: tuple[str, ...]
    coverage_percent: int
    duration_ms: int
    scanner_version: str
    notes: list[str]
    """What kept the scan from seeing everything."""


def build_result(
    facts: ServerFacts,
    assessment: Assessment,
    *,
    policy: str,
    active: bool,
    started_at: datetime,
    finished_at: datetime,
) -> ScanResult:
    """The result for facts and their assessment; all texts of the server are fit to be shown."""
    return ScanResult(
        timestamp=finished_at,
        target=visible(facts.target, 2_000),
        policy_used=policy,
        overall_risk=assessment.overall_risk,
        risk_score=assessment.risk_score,
        passed=assessment.passed,
        findings=[_finding(one, finished_at) for one in assessment.findings],
        mcp_server=_server(facts),
        summary=assessment.summary,
        surface=_surface(facts),
        active=active,
        probed_tools=facts.probed_tools,
        skipped_tools=facts.skipped_tools,
        coverage_percent=assessment.coverage_percent,
        duration_ms=round((finished_at - started_at).total_seconds() * 1000),
        scanner_version=__version__,
        notes=_notes(facts, assessment),
    )


def _finding(finding: ScanFinding, at: datetime) -> FindingView:
    values = {name: getattr(finding, name) for name in ScanFinding.__struct_fields__}
    return FindingView(**{**values, "severity": finding.severity.word}, timestamp=at)


def _server(facts: ServerFacts) -> ServerView:
    opening = facts.description.initialize
    info = opening.get("serverInfo")
    named: dict[str, Any] = info if type(info) is dict else {}
    capabilities = opening.get("capabilities")
    return ServerView(
        name=_text(named.get("name"), 200),
        version=_text(named.get("version"), 100),
        protocol=facts.versions[0] if facts.versions else "",
        capabilities=sorted(visible(key, 100) for key in capabilities)[:100] if type(capabilities) is dict else [],
        tools=[
            ToolView(_text(tool.get("name"), 200), _text(tool.get("description"), 300), tuple(capabilities_of(tool)))
            for tool in facts.description.tools[:MAX_LISTED]
            if type(tool) is dict
        ],
        resources=[_text(one.get("uri"), 500) for one in facts.description.resources[:MAX_LISTED] if type(one) is dict],
    )


def _surface(facts: ServerFacts) -> SurfaceView:
    description = facts.description
    return SurfaceView(
        transport=facts.transport,
        tls=facts.is_tls,
        loopback=facts.is_loopback,
        protocol_versions=facts.versions,
        methods=facts.methods,
        anonymous_methods=facts.access.anonymous_methods,
        authentication_required=bool(facts.access.refused_status),
        tool_count=len(description.tools),
        prompt_count=len(description.prompts),
        resource_count=len(description.resources),
        template_count=len(description.resource_templates),
        requests=facts.requests,
    )


def _notes(facts: ServerFacts, assessment: Assessment) -> list[str]:
    notes = []
    if facts.access.refused_status and "lists" not in facts.gathered:
        given = (
            "refuses the credential" if facts.access.credential_given else "asks for a credential, and there was none"
        )
        notes.append(f"The server {given}: only what stands before the login was scanned.")
    if facts.tls_problem:
        notes.append("The certificate is not accepted: nothing was sent.")
    elif "errors" not in facts.gathered and "lists" in facts.gathered:
        notes.append("The scan ran into its deadline: what is missing was not looked at.")
    if assessment.left_out:
        notes.append(f"{assessment.left_out} further findings are left out.")
    return notes


def _text(value: Any, max_chars: int) -> str:
    return visible(value, max_chars) if type(value) is str else ""
