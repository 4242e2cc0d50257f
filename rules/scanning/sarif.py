"""A scan as SARIF 2.1.0, which development platforms show beside the code (SYP-SCAN-7)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from rules.model import Severity
from rules.pinning.visible import visible
from rules.scanning.checks import BY_ID
from rules.scanning.finding import ScanFinding

SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
LEVELS: Final = {
    Severity.CRITICAL: "error",
    Severity.HIGH: "error",
    Severity.MEDIUM: "warning",
    Severity.LOW: "note",
    Severity.INFO: "none",
}


def sarif(
    findings: Sequence[ScanFinding],
    *,
    target: str,
    version: str,
    started_at: datetime,
    finished_at: datetime,
    failure: str = "",
) -> dict[str, Any]:
    """The log of one run. A finding has the target as its file and its JSON pointer as logical location."""
    rules = _rules(findings)
    indexes = {rule["id"]: index for index, rule in enumerate(rules)}
    invocation: dict[str, Any] = {
        "executionSuccessful": not failure,
        "startTimeUtc": _utc(started_at),
        "endTimeUtc": _utc(finished_at),
    }
    if failure:
        invocation["toolExecutionNotifications"] = [{"level": "error", "message": {"text": failure}}]
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "Ostiary",
                        "semanticVersion": version,
                        "rules": rules,
                    }
                },
                "invocations": [invocation],
                "columnKind": "unicodeCodePoints",
                "results": [_result(finding, indexes[finding.rule_id], target) for finding in findings],
            }
        ],
    }


def _rules(findings: Sequence[ScanFinding]) -> list[dict[str, Any]]:
    by_id: dict[str, ScanFinding] = {}
    for finding in findings:
        by_id.setdefault(finding.rule_id, finding)
    return [
        {
            "id": rule_id,
            "name": "".join(word.capitalize() for word in rule_id.split("-")),
            "shortDescription": {"text": visible(finding.title, 300)},
            "help": {"text": finding.remediation},
            "defaultConfiguration": {"level": LEVELS[finding.severity]},
            "properties": {
                "security-severity": f"{finding.score:.1f}",
                "category": BY_ID[finding.check].category,
                "tags": ["security", *finding.owasp_mcp, *finding.owasp_asi, *finding.cwe],
            },
        }
        for rule_id, finding in sorted(by_id.items())
    ]


def _result(finding: ScanFinding, rule_index: int, target: str) -> dict[str, Any]:
    subject = visible(finding.subject, 200)
    logical = {
        "fullyQualifiedName": finding.location or "/",
        "kind": "member" if finding.subject else "module",
        **({"name": subject} if subject else {}),
    }
    text = f"{finding.description} Evidence: {finding.evidence}" if finding.evidence else finding.description
    return {
        "ruleId": finding.rule_id,
        "ruleIndex": rule_index,
        "level": LEVELS[finding.severity],
        "message": {"text": text},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": _uri(target)}}, "logicalLocations": [logical]}],
        "partialFingerprints": {"findingId/v1": finding.id},
        "properties": {
            "score": finding.score,
            "severity": finding.severity.word,
            "check": finding.check,
            "remediation": finding.remediation,
        },
    }


def _uri(target: str) -> str:
    """The target as a URI; a launch command becomes an opaque one."""
    if target.startswith(("http://", "https://", "ws://", "wss://")):
        return target
    kept = "".join(char if char.isascii() and (char.isalnum() or char in "-._/") else "_" for char in target[:200])
    return f"stdio:{kept}"


def _utc(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
