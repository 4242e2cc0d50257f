"""The tools that are offered, and what they answer.

The answers are read by a model, and what they are about may be hostile: they hold our own words, ids and places, never
texts of a scanned server or of a recorded call.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

from app.alerts.schemas import AlertView
from app.errors import ValidationFailed
from app.policies.trial_schemas import EvaluationView
from app.scanner.result import ScanResult
from rules.model import Severity
from rules.pinning.names import VALID

INSTRUCTIONS: Final = (
    "Ostiary is a security gateway. check_security_risk judges a text by the rules of a policy, scan_server looks for "
    "weaknesses of an MCP server, list_alerts tells what the gateway has noticed."
)
MAX_TEXT_CHARS: Final = 100_000
MAX_ALERTS: Final = 50
MAX_FINDINGS: Final = 50
SEVERITIES: Final = tuple(severity.word for severity in Severity)
_READ: Final = {"readOnlyHint": True, "destructiveHint": False, "openWorldHint": False}
TOOLS: Final[tuple[dict[str, Any], ...]] = (
    {
        "name": "check_security_risk",
        "title": "Check a text",
        "description": "Says whether a text holds an attack, a secret or personal data, and which rule found it where.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "text": {"type": "string", "maxLength": MAX_TEXT_CHARS, "description": "The text to be checked."},
                "kind": {
                    "type": "string",
                    "enum": ["prompt", "completion", "tool_description", "tool_result", "document"],
                    "default": "prompt",
                    "description": "What the text is: rules read different kinds of text.",
                },
            },
            "required": ["text"],
            "additionalProperties": False,
        },
        "annotations": _READ,
    },
    {
        "name": "scan_server",
        "title": "Scan an MCP server",
        "description": "Asks an MCP server what it declares and how it guards itself, and returns the findings. "
        "Passive: no tool is called.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "url": {
                    "type": "string",
                    "maxLength": 2_000,
                    "pattern": "^https?://",
                    "description": "Address of the server's MCP endpoint.",
                }
            },
            "required": ["url"],
            "additionalProperties": False,
        },
        "annotations": {**_READ, "openWorldHint": True},
    },
    {
        "name": "list_alerts",
        "title": "List alerts",
        "description": "The newest open alerts of the gateway.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "severity": {
                    "type": "string",
                    "enum": list(SEVERITIES),
                    "default": "info",
                    "description": "This severity or worse.",
                },
                "limit": {"type": "integer", "minimum": 1, "maximum": MAX_ALERTS, "default": 20},
            },
            "additionalProperties": False,
        },
        "annotations": _READ,
    },
)


class Backend(Protocol):
    """Who answers; every method raises AppError."""

    async def check(self, text: str, kind: str) -> EvaluationView:
        """The verdict on a text."""
        ...

    async def scan(self, url: str) -> ScanResult:
        """The result of a passive scan."""
        ...

    async def alerts(self, severities: tuple[str, ...], limit: int) -> list[AlertView]:
        """Open alerts, newest first."""
        ...


async def call(name: str, arguments: dict[str, Any], backend: Backend) -> dict[str, Any]:
    """The result of a call; raises AppError."""
    _check(name, arguments)
    if name == "check_security_risk":
        return _result(*_verdict(await backend.check(arguments["text"], arguments.get("kind", "prompt"))))
    if name == "scan_server":
        return _result(*_scan(await backend.scan(arguments["url"])))
    least = Severity.parse(arguments.get("severity", "info"))
    wanted = tuple(severity.word for severity in Severity if severity >= least)
    return _result(*_alerts(await backend.alerts(wanted, arguments.get("limit", 20))))


def _check(name: str, arguments: dict[str, Any]) -> None:
    """Hold arguments to the schema of their tool, which uses few keywords; raises ValidationFailed."""
    schema = next(tool["inputSchema"] for tool in TOOLS if tool["name"] == name)
    problems = {key: "This argument is not known." for key in arguments if key not in schema["properties"]}
    problems |= {key: "This argument is missing." for key in schema.get("required", ()) if key not in arguments}
    for key, rule in schema["properties"].items():
        if key in arguments and (problem := _problem(arguments[key], rule)):
            problems[key] = problem
    if problems:
        raise ValidationFailed(fields={key: f"{key[:60]}: {text}" for key, text in problems.items()})


def _problem(value: Any, rule: dict[str, Any]) -> str:
    if rule["type"] == "integer":
        fits = type(value) is int and rule["minimum"] <= value <= rule["maximum"]
        return "" if fits else f"Give a number from {rule['minimum']} to {rule['maximum']}."
    if type(value) is not str:
        return "Give a text."
    if "enum" in rule and value not in rule["enum"]:
        return f"Give one of {', '.join(rule['enum'])}."
    return f"Give at most {rule['maxLength']} characters." if len(value) > rule.get("maxLength", len(value)) else ""


def _result(words: str, structured: dict[str, Any]) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": words}], "structuredContent": structured, "isError": False}


def _verdict(view: EvaluationView) -> tuple[str, dict[str, Any]]:
    findings = [
        {"rule": one.rule_id, "title": one.title, "severity": one.severity, "start": one.start, "end": one.end}
        for one in view.findings[:MAX_FINDINGS]
    ]
    verdict = view.verdict
    words = f"Verdict: {verdict.action}, risk {verdict.risk}. " + (
        "Found: " + "; ".join(f"{one['title']} ({one['rule']}, {one['severity']})" for one in findings) + "."
        if findings
        else "No rule found anything."
    )
    structured = {"action": verdict.action, "risk": verdict.risk, "policies": view.policies, "findings": findings}
    return words, structured


def _scan(result: ScanResult) -> tuple[str, dict[str, Any]]:
    findings = [
        {
            "rule": one.rule_id,
            "title": one.title,
            "severity": one.severity,
            "score": one.score,
            "tool": one.subject if VALID.fullmatch(one.subject) else "",
            "place": one.location if VALID.fullmatch(one.location.replace("/", "").replace("$", "") or "-") else "",
            "remediation": one.remediation,
        }
        for one in result.findings[:MAX_FINDINGS]
    ]
    counts = result.summary
    words = (
        f"Overall risk {result.overall_risk} ({result.risk_score} of 100), {'passed' if result.passed else 'not passed'}: "
        f"{counts.critical} critical, {counts.high} high, {counts.medium} medium, {counts.low} low. "
        + " ".join(f"[{one['severity']}] {one['title']} ({one['rule']})." for one in findings[:20])
    )
    structured = {
        "overall_risk": result.overall_risk,
        "risk_score": result.risk_score,
        "passed": result.passed,
        "coverage_percent": result.coverage_percent,
        "findings": findings,
    }
    return words.strip(), structured


def _alerts(views: list[AlertView]) -> tuple[str, dict[str, Any]]:
    alerts = [
        {
            "id": one.id,
            "severity": one.severity,
            "title": one.title,
            "rule": one.rule_id,
            "proxy": one.proxy_name,
            "action": one.action,
            "created_at": one.created_at.isoformat(),
        }
        for one in views
    ]
    words = (
        f"{len(alerts)} open alerts. "
        + " ".join(f"[{one['severity']}] {one['title']} at {one['proxy']} ({one['rule']})." for one in alerts)
        if alerts
        else "There is no open alert."
    )
    return words, {"alerts": alerts}
