"""Approvals and changes of one entry in one list, newest first. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from app.tools.schemas import ChangeView, DeclarationFinding, VersionView
from rules.model import Severity

MAX_ROWS = 40
MAX_WORDS = 3


class HistoryRow(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the history; `status` of a change, else the `decision` of an approval."""

    version: int
    at: datetime
    words: str
    decision: str = ""
    status: str = ""
    by: str = ""
    comment: str = ""
    change_id: str = ""
    is_shown: bool = False


def history_rows(
    versions: Sequence[VersionView], changes: Sequence[ChangeView], *, shown: str = ""
) -> list[HistoryRow]:
    """The lines; an approval that a change of the list led to is told with the change."""
    known = {change.id for change in changes}
    by_change = {version.change_id: version.version for version in versions if version.change_id}
    rows = [
        HistoryRow(
            version=by_change.get(change.id, 0) if change.status == "approved" else 0,
            at=change.detected_at,
            words=words_of(change),
            status=change.status,
            by=change.decided_by,
            comment=change.comment,
            change_id=change.id,
            is_shown=change.id == shown,
        )
        for change in changes
    ]
    rows += [
        HistoryRow(
            version=version.version,
            at=version.approved_at,
            words={"first": "first description", "reverted": "back to an older version"}.get(
                version.decision, "definition"
            ),
            decision="approved by the settings" if version.decision == "auto_approved" else version.decision,
            by=version.approved_by,
            comment=version.comment,
        )
        for version in versions
        if version.change_id not in known or version.decision == "reverted"
    ]
    return sorted(rows, key=lambda row: row.at, reverse=True)[:MAX_ROWS]


def grouped(findings: Sequence[DeclarationFinding]) -> list[tuple[DeclarationFinding, int]]:
    """Each rule and place once, with how often it hit, the worst first."""
    counts: dict[tuple[str, str], int] = {}
    first: dict[tuple[str, str], DeclarationFinding] = {}
    for finding in findings:
        key = finding.rule_id, finding.pointer
        counts[key] = counts.get(key, 0) + 1
        first.setdefault(key, finding)
    found = [(finding, counts[key]) for key, finding in first.items()]
    return sorted(found, key=lambda pair: -Severity.parse(pair[0].severity))


def words_of(change: ChangeView) -> str:
    """What a change is, in a few words."""
    codes = list(dict.fromkeys(reason.code for reason in change.reasons))
    text = ", ".join(code.replace("_", " ") for code in codes[:MAX_WORDS])
    return text + (f" and {len(codes) - MAX_WORDS} more" if len(codes) > MAX_WORDS else "")
