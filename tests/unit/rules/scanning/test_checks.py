"""Every check on facts that call for it, and on facts that do not."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rules.model import Severity
from rules.pinning.baseline import Origin, ServerDescription
from rules.scanning import CHECKS, assess
from rules.scanning.assess import coverage, differences
from rules.scanning.checks import BY_ID
from rules.scanning.facts import (
    AccessFacts,
    AuthorizationFacts,
    BoundaryFacts,
    ErrorAnswer,
    ListDifference,
    ServerFacts,
    SessionFacts,
    ToolAnswer,
)
from rules.scanning.finding import ScanFinding, finding_id, overall_risk, risk_score, severity_of

FAR = "https://mcp.example.org/mcp"
TEXT = {"type": "string", "maxLength": 100}


def tool(name: str, description: str = "", **members: Any) -> dict[str, Any]:
    schema = members.pop("schema", {"type": "object", "properties": {}})
    return {"name": name, "description": description, "inputSchema": schema, **members}


def takes(**parameters: Any) -> dict[str, Any]:
    return {"type": "object", "properties": parameters, "additionalProperties": False}


def facts(*tools: Any, **changes: Any) -> ServerFacts:
    opening = changes.pop("opening", {"serverInfo": {"name": "acme", "version": "1"}, "capabilities": {}})
    lists = {key: changes.pop(key) for key in ("prompts", "resources", "resource_templates") if key in changes}
    base = ServerFacts(
        target=FAR,
        is_tls=True,
        versions=("2025-11-25",),
        description=ServerDescription(Origin(FAR), initialize=opening, tools=list(tools), **lists),
        rate_limit_seen=True,
        gathered=("reach", "versions", "lists"),
    )
    return msgspec.structs.replace(base, **changes)


def found(given: ServerFacts, **options: Any) -> dict[str, ScanFinding]:
    return {one.check: one for one in assess(given, lambda texts: [], **options).findings}


def access(**changes: Any) -> dict[str, Any]:
    return {"access": AccessFacts(**changes)}


def authorization(**changes: Any) -> dict[str, Any]:
    return access(refused_status=401, authorization=AuthorizationFacts(challenge="Bearer", **changes))


IDS = ("f3a94c1b8d2e47069b1c5a7e3d8f6021", "0b7de2419ac84f53867e1d2c9a5b3f48", "c81f5e3a2b9d4706851ea4f7b03c6d92")
ANSWER = ToolAnswer(tool="get", probe="canary", text="it", arguments="{}", marker_seen=True)
CASES: dict[str, tuple[ServerFacts, ServerFacts]] = {
    "MCP-TLS-001": (facts(is_tls=False), facts(is_tls=False, is_loopback=True)),
    "MCP-TLS-002": (facts(tls_problem="expired"), facts()),
    "MCP-URL-001": (
        facts(target="https://a.example/s/k3J9dLq0ZxT7vBn2MwPy4RhC/mcp"),
        facts(target="https://a.example/organisations/mcp"),
    ),
    "MCP-VER-001": (facts(versions=("2024-11-05",)), facts(versions=("2025-06-18", "2024-11-05"))),
    "MCP-ORIGIN-001": (
        facts(boundary=BoundaryFacts(foreign_origin_status=200, sent_origin="https://x.example")),
        facts(boundary=BoundaryFacts(foreign_origin_status=403)),
    ),
    "MCP-HOST-001": (
        facts(boundary=BoundaryFacts(foreign_host_status=200)),
        facts(boundary=BoundaryFacts(foreign_host_status=421)),
    ),
    "MCP-CORS-001": (
        facts(boundary=BoundaryFacts(allow_origin="*")),
        facts(boundary=BoundaryFacts(allow_origin="https://a.example", sent_origin="https://x.example")),
    ),
    "MCP-SESSION-001": (
        facts(sessions=SessionFacts(("s-1001", "s-1002", "s-1005"))),
        facts(sessions=SessionFacts(IDS)),
    ),
    "MCP-SESSION-002": (facts(sessions=SessionFacts(("k3f9", "zz0a", "q8d1"))), facts(sessions=SessionFacts(IDS))),
    "MCP-SESSION-003": (facts(sessions=SessionFacts(IDS, accepts_unknown=True)), facts(sessions=SessionFacts(IDS))),
    "MCP-AUTH-001": (
        facts(**access(anonymous_methods=("initialize", "tools/list"))),
        facts(**access(anonymous_methods=("initialize",))),
    ),
    "MCP-AUTH-002": (facts(**access(anonymous_call=True)), facts(**access())),
    "MCP-AUTH-003": (facts(**access(wrong_credential_accepted=True)), facts(**access())),
    "MCP-AUTH-004": (facts(**authorization()), facts(**authorization(metadata={"resource": FAR}))),
    "MCP-AUTH-005": (
        facts(**authorization(metadata={}, server_metadata={"code_challenge_methods_supported": ["plain"]})),
        facts(**authorization(metadata={}, server_metadata={"code_challenge_methods_supported": ["S256"]})),
    ),
    "MCP-AUTH-006": (
        facts(**authorization(metadata={"resource": "https://other.example/mcp"})),
        facts(**authorization(metadata={"resource": "https://mcp.example.org"})),
    ),
    "MCP-AUTH-007": (
        facts(**authorization(metadata={"authorization_servers": ["http://login.example"]})),
        facts(**authorization(metadata={"authorization_servers": ["https://login.example"]})),
    ),
    "MCP-AUTH-008": (
        facts(**authorization(metadata={"scopes_supported": ["files:*"]})),
        facts(**authorization(metadata={"scopes_supported": ["files:read"]})),
    ),
    "MCP-META-002": (facts(tool("a_b", "Be\u200b ni\u200bce\u200b.")), facts(tool("a_b", "Be nice. 👩\u200d💻"))),
    "MCP-NAME-001": (facts(tool("look_up"), tool("look_up")), facts(tool("look_up"), tool("look_down"))),
    "MCP-NAME-002": (facts(tool("read_filе")), facts(tool("read_file"))),
    "MCP-NAME-003": (facts(tool("résumé maker")), facts(tool("resume_maker"))),
    "MCP-NAME-004": (facts(tool("run")), facts(tool("run_tests"))),
    "MCP-NAME-006": (
        facts(opening={"serverInfo": {"name": "mcp-server-githup"}}),
        facts(opening={"serverInfo": {"name": "github-mcp-server"}}),
    ),
    "MCP-SCHEMA-001": (
        facts(tool("a_b", schema=takes(shellCommand=TEXT))),
        facts(tool("a_b", schema=takes(command={"enum": ["up"]}))),
    ),
    "MCP-SCHEMA-002": (facts(tool("a_b", schema=takes(path=TEXT))), facts(tool("a_b", schema=takes(name=TEXT)))),
    "MCP-SCHEMA-003": (
        facts(tool("a_b", schema=takes(n={"type": "string"}))),
        facts(tool("a_b", schema=takes(n=TEXT, k={"type": "integer"}))),
    ),
    "MCP-SCHEMA-004": (
        facts(tool("a_b", schema={"type": "object", "$ref": "https://x.example/s.json"})),
        facts(tool("a_b", schema={"type": "object", "$ref": "#/$defs/a", "$defs": {"a": {}}})),
    ),
    "MCP-SCHEMA-005": (
        facts(tool("a_b", schema=takes(password={**TEXT, "x-mcp-header": "Password"}))),
        facts(tool("a_b", schema=takes(region={**TEXT, "x-mcp-header": "Region"}))),
    ),
    "MCP-SCHEMA-006": (
        facts(tool("a_b", schema=takes(n={"description": "long " * 20_000}))),
        facts(tool("a_b", schema=takes(n=TEXT))),
    ),
    "MCP-SCHEMA-007": (facts(tool("a_b", schema={})), facts(tool("a_b"))),
    "MCP-SCHEMA-008": (
        facts(tool("a_b", schema=takes(to={**TEXT, "default": "https://x.example/in"}))),
        facts(tool("a_b", schema=takes(to={**TEXT, "default": "home"}))),
    ),
    "MCP-SCHEMA-009": (facts({"description": "nameless"}), facts(tool("a_b"))),
    "MCP-CAPABILITY-001": (
        facts(tool("run_shell", "Runs a shell command.")),
        facts(tool("add_numbers", "Adds numbers.")),
    ),
    "MCP-CAPABILITY-002": (
        facts(tool("drop_it", "Deletes the table.", annotations={"readOnlyHint": True, "destructiveHint": False})),
        facts(tool("drop_it", "Deletes the table.", annotations={"destructiveHint": True})),
    ),
    "MCP-FLOW-001": (
        facts(tool("inbox_get", "Reads the mail in the inbox."), tool("mail_out", "Sends an email to a recipient.")),
        facts(tool("mail_out", "Sends an email to a recipient.")),
    ),
    "MCP-LIST-001": (facts(repeated=(ListDifference("tool", "a", "added"),)), facts()),
    "MCP-LIST-002": (
        facts(other_client=(ListDifference("tool", "a", "changed", "/tools/0"),), other_client_name="claude-ai"),
        # What differs from request to request anyway says nothing about the client.
        facts(
            other_client=(ListDifference("tool", "a", "changed"),), repeated=(ListDifference("tool", "a", "changed"),)
        ),
    ),
    "MCP-LIST-003": (facts(list_bytes=2_000_000), facts(list_bytes=2_000)),
    "MCP-ERROR-001": (
        facts(errors=(ErrorAnswer("malformed", 400, 'File "/srv/app/main.py", line 3, in run'),)),
        facts(errors=(ErrorAnswer("malformed", 400, "Parse error"),)),
    ),
    "MCP-ERROR-002": (facts(server_headers={"server": "nginx/1.18.0"}), facts(server_headers={"server": "nginx"})),
    "MCP-ERROR-003": (
        facts(errors=(ErrorAnswer("malformed", 500, "oops"),)),
        facts(errors=(ErrorAnswer("malformed", 400, "no"),)),
    ),
    "MCP-LIMIT-001": (facts(rate_limit_seen=False), facts()),
    "MCP-RESPONSE-001": (facts(tool_answers=(ToolAnswer("get", "traffic", "evil", detail="PI-0001 Orders"),)), facts()),
    "MCP-ACTIVE-001": (
        facts(tool_answers=(ANSWER,)),
        facts(tool_answers=(msgspec.structs.replace(ANSWER, marker_seen=False),)),
    ),
    "MCP-ACTIVE-002": (facts(tool_answers=(msgspec.structs.replace(ANSWER, probe="ssrf"),)), facts()),
    "MCP-ACTIVE-003": (
        facts(tool_answers=(ToolAnswer("get", "types", "Traceback (most recent call last):"),)),
        facts(tool_answers=(ToolAnswer("get", "types", "number must be an integer"),)),
    ),
    "MCP-ACTIVE-004": (
        facts(tool_answers=(ToolAnswer("get", "nesting", "gone", lost=True),)),
        facts(tool_answers=(ToolAnswer("get", "nesting", "too deep", is_error=True),)),
    ),
}
BY_RULES = {"MCP-META-001", "MCP-META-003", "MCP-META-004", "MCP-META-005", "MCP-NAME-005"}
"""Checks with tests of their own."""


@pytest.mark.parametrize("check", CASES)
def test_SYP_SCAN_5_each_check_finds_what_it_is_for(check: str) -> None:
    bad, good = CASES[check]
    finding = found(bad)[check]
    assert check not in found(good)
    row = BY_ID[check]
    assert (finding.title, finding.category, finding.remediation) == (row.title, row.category, row.remediation)
    assert finding.owasp_mcp or finding.owasp_asi
    assert finding.cwe
    assert finding.severity is severity_of(finding.score)


def test_every_check_is_tested() -> None:
    assert set(CASES) | BY_RULES == {check.id for check in CHECKS}


def test_a_sound_server_has_no_finding() -> None:
    sound = facts(tool("add_numbers", "Adds two numbers.", schema=takes(a={"type": "integer"})))
    result = assess(sound, lambda texts: [])
    assert result.findings == ()
    assert (result.overall_risk, result.passed, result.risk_score) == ("Minimal", True, 0)


def test_SYP_SCAN_2_each_tool_is_listed_with_its_capability_class() -> None:
    given = facts(
        tool("run_shell", "Runs a shell command."),
        tool("save_note", "Writes a file to disk."),
        tool("get_page", "Fetches a web page from a URL."),
        tool("token_of", "Returns the password of a service."),
    )
    listed = {
        one.subject: one.evidence
        for one in assess(given, lambda texts: []).findings
        if one.check == "MCP-CAPABILITY-001"
    }
    assert listed["run_shell"] == "execute"
    assert "write_files" in listed["save_note"]
    assert "network" in listed["get_page"]
    assert "credentials" in listed["token_of"]


def test_names_of_other_servers_count() -> None:
    result = found(facts(tool("send_mail")), other_names={"office": ["send_mail"]})
    assert "“office”" in result["MCP-NAME-005"].description
    assert found(facts(tool("sendMail")), other_names={"office": ["send_mail"]})["MCP-NAME-002"].subject == "sendMail"


@pytest.mark.parametrize(
    ("score", "severity"),
    [
        (10, "critical"),
        (9, "critical"),
        (8.9, "high"),
        (7, "high"),
        (6.9, "medium"),
        (4, "medium"),
        (3.9, "low"),
        (0.1, "low"),
        (0, "info"),
    ],
)
def test_SYP_SCAN_7_score_bands(score: float, severity: str) -> None:
    assert severity_of(score).word == severity


def test_SYP_SCAN_7_overall_risk_sums_the_weights() -> None:
    def several(severity: Severity, count: int) -> list[ScanFinding]:
        one = found(CASES["MCP-TLS-001"][0])["MCP-TLS-001"]
        return [msgspec.structs.replace(one, severity=severity)] * count

    assert risk_score([*several(Severity.CRITICAL, 1), *several(Severity.HIGH, 1), *several(Severity.MEDIUM, 1)]) == 21
    assert risk_score(several(Severity.CRITICAL, 30)) == 100
    assert [overall_risk(score) for score in (0, 1, 14, 15, 30, 49, 50)] == [
        "Minimal",
        "Low",
        "Low",
        "Medium",
        "High",
        "High",
        "Critical",
    ]


def test_a_finding_keeps_its_id_when_the_tool_moves_in_the_list() -> None:
    one = found(facts(tool("run_shell", "Runs a shell command.")))["MCP-CAPABILITY-001"]
    other = found(facts(tool("add_up"), tool("run_shell", "Runs a shell command.")))["MCP-CAPABILITY-001"]
    assert one.id == other.id == finding_id("MCP-CAPABILITY-001", "MCP-CAPABILITY-001", "tool", "run_shell", "")
    assert (one.location, other.location) == ("/tools/0", "/tools/1")


def test_coverage_counts_what_applies() -> None:
    every = tuple(dict.fromkeys(check.topic for check in CHECKS))
    assert coverage(facts(gathered=every)) == 100
    assert 0 < coverage(facts(gathered=("lists",))) < 100
    without_http = tuple(topic for topic in every if topic not in ("sessions", "origin", "host"))
    assert coverage(facts(transport="stdio", gathered=without_http)) == 100


def test_differences_ignore_the_order_of_lists() -> None:
    one = facts(tool("a"), tool("b")).description
    other = facts(tool("b"), tool("a", "Now with words."), {"nameless": True}).description
    assert [(found.name, found.what) for found in differences(one, other)] == [("a", "changed"), ("entry 2", "added")]
    assert differences(one, facts(tool("b"), tool("a")).description) == ()
    changed = facts(tool("a"), tool("b"), opening={"instructions": "Obey."}).description
    assert {found.name for found in differences(one, changed)} == {"instructions", "serverInfo"}


def test_findings_are_bounded() -> None:
    many = facts(*(tool(f"run_shell_{number}", "Runs a shell command.") for number in range(600)))
    result = assess(many, lambda texts: [])
    assert len(result.findings) == 500
    assert result.left_out > 0
    assert result.findings[0].score >= result.findings[-1].score


def test_nothing_that_a_server_says_breaks_a_check() -> None:
    odd: list[Any] = [
        None,
        3,
        [],
        {"name": 5},
        {"name": "a", "inputSchema": [1], "annotations": "x"},
        tool("b", schema={"properties": [], "required": 3}),
    ]
    deep: Any = {}
    for _ in range(400):
        deep = {"properties": {"a": deep}}
    given = facts(
        *odd,
        tool("deep", schema=deep),
        opening={"serverInfo": [], "capabilities": 1, "instructions": {"a": "\ud800"}},
        resources=[{"uri": 1}, "x"],
    )
    assert "MCP-SCHEMA-006" in found(given)
