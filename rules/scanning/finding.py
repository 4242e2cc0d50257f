"""A finding of a scan, its score bands, and the overall risk (SYP-SCAN-5, SYP-SCAN-7)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from rules.model import Severity

Category = Literal[
    "input validation",
    "authentication and authorization",
    "data exposure",
    "configuration",
    "transport",
    "resource management",
]
Risk = Literal["Critical", "High", "Medium", "Low", "Minimal"]

BANDS: Final = ((9.0, Severity.CRITICAL), (7.0, Severity.HIGH), (4.0, Severity.MEDIUM), (0.1, Severity.LOW))
"""The lowest score of each severity, on a scale of 10."""
WEIGHTS: Final = {Severity.CRITICAL: 10, Severity.HIGH: 7, Severity.MEDIUM: 4, Severity.LOW: 1, Severity.INFO: 0}
"""What one finding adds to the risk score."""
MAX_RISK_SCORE: Final = 100
RISKS: Final[tuple[tuple[int, Risk], ...]] = ((50, "Critical"), (30, "High"), (15, "Medium"), (1, "Low"))
"""The lowest risk score of each overall risk."""
FAILS_FROM: Final = Severity.HIGH
"""A server with a finding of this severity or worse does not pass."""


class ScanFinding(msgspec.Struct, frozen=True, kw_only=True):
    """One weakness. Safe to store and show: evidence is short, hidden characters in it are visible."""

    id: str
    """The same in every scan that finds the same thing in the same place."""
    check: str
    """The row of the table of checks."""
    rule_id: str
    """The detection rule, where one found it; otherwise the check."""
    pack: str = ""
    """The pack of that rule; empty for a check."""
    severity: Severity
    score: float
    category: Category
    title: str
    description: str
    evidence: str = ""
    location: str = ""
    """RFC 6901 inside the server's description (`/tools/3/description`); empty for the server as such."""
    remediation: str = ""
    kind: str = "server"
    """What it concerns: `server`, `tool`, `prompt`, `resource` or `template`."""
    subject: str = ""
    """The name of what it concerns, exactly as the server spells it; empty for the server."""
    owasp_mcp: tuple[str, ...] = ()
    owasp_asi: tuple[str, ...] = ()
    cwe: tuple[str, ...] = ()


class Summary(msgspec.Struct, frozen=True):
    """How many findings there are of each severity."""

    total: int = 0
    critical: int = 0
    high: int = 0
    medium: int = 0
    low: int = 0
    info: int = 0


def severity_of(score: float) -> Severity:
    """The severity of a score from 0 to 10."""
    return next((severity for lowest, severity in BANDS if score >= lowest), Severity.INFO)


def finding_id(check: str, rule_id: str, kind: str, subject: str, place: str) -> str:
    """The id of a finding. `place` is its pointer inside what it concerns, so that a tool may move in its list."""
    parts = "\0".join((check, rule_id, kind, subject, place))
    return "fnd_" + hashlib.sha256(parts.encode("utf-8", "surrogatepass")).hexdigest()[:20]


def summary_of(findings: Iterable[ScanFinding]) -> Summary:
    """The counts."""
    counts = dict.fromkeys(Severity, 0)
    for finding in findings:
        counts[finding.severity] += 1
    return Summary(
        total=sum(counts.values()),
        critical=counts[Severity.CRITICAL],
        high=counts[Severity.HIGH],
        medium=counts[Severity.MEDIUM],
        low=counts[Severity.LOW],
        info=counts[Severity.INFO],
    )


def risk_score(findings: Iterable[ScanFinding]) -> int:
    """The sum of the weights, at most `MAX_RISK_SCORE`."""
    return min(MAX_RISK_SCORE, sum(WEIGHTS[finding.severity] for finding in findings))


def overall_risk(score: int) -> Risk:
    """The word for a risk score."""
    return next((risk for lowest, risk in RISKS if score >= lowest), "Minimal")


def passes(findings: Iterable[ScanFinding]) -> bool:
    """Whether nothing of the severity `FAILS_FROM` or worse was found."""
    return all(finding.severity < FAILS_FROM for finding in findings)
