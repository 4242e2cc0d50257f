"""Gathers findings: one of each id, in bounds, with what the table says about their check."""

from __future__ import annotations

import re
from typing import Final

from rules.pinning.visible import visible
from rules.scanning.checks import BY_ID
from rules.scanning.finding import ScanFinding, finding_id, severity_of

MAX_FINDINGS: Final = 500
MAX_EVIDENCE_CHARS: Final = 400
MAX_LISTED: Final = 12

_ENTRY: Final = re.compile(r"^/(?:tools|prompts|resources|resourceTemplates)/\d+")


class Collector:
    """The findings of one scan."""

    def __init__(self) -> None:
        self._found: dict[str, ScanFinding] = {}
        self.left_out = 0
        """Findings beyond the bound."""

    def __repr__(self) -> str:
        return f"<Collector {len(self._found)}>"

    def add(
        self,
        check_id: str,
        description: str,
        *,
        evidence: str = "",
        location: str = "",
        kind: str = "server",
        subject: str = "",
        score: float | None = None,
        rule_id: str = "",
        pack: str = "",
        title: str = "",
    ) -> None:
        """Note a finding; of several with one id the first is kept."""
        check = BY_ID[check_id]
        rule = rule_id or check.id
        id = finding_id(check.id, rule, kind, subject, _ENTRY.sub("", location))
        if id in self._found:
            return
        if len(self._found) >= MAX_FINDINGS:
            self.left_out += 1
            return
        worth = check.score if score is None else score
        self._found[id] = ScanFinding(
            id=id,
            check=check.id,
            rule_id=rule,
            pack=pack,
            severity=severity_of(worth),
            score=worth,
            category=check.category,
            title=title or check.title,
            description=description,
            evidence=visible(evidence, MAX_EVIDENCE_CHARS),
            location=location,
            remediation=check.remediation,
            kind=kind,
            subject=subject,
            owasp_mcp=check.owasp_mcp,
            owasp_asi=check.owasp_asi,
            cwe=check.cwe,
        )

    def findings(self) -> tuple[ScanFinding, ...]:
        """All of them, the worst first."""
        return tuple(
            sorted(self._found.values(), key=lambda one: (-one.score, one.check, one.kind, one.subject, one.location))
        )


def shown(name: str) -> str:
    """A name of the server inside a sentence."""
    return f"“{visible(name, 120)}”"


def listed(names: list[str]) -> str:
    """Names inside a sentence, the first few of them."""
    head = ", ".join(shown(name) for name in names[:MAX_LISTED])
    return head + (f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else "")
