"""Reports of masked values as CSV, for spreadsheets and other programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import datetime

from app.traffic.redaction_report import RedactionEntry, RedactionReport

TOTAL_COLUMNS = ("type", "direction", "policy", "rule_id", "proxy_id", "proxy_name", "calls", "count", "restored")
ENTRY_COLUMNS = (
    *("started_at", "call_id", "proxy_id", "proxy_name", "client"),
    *("type", "direction", "policy", "rule_id", "count", "restored"),
)
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def totals_csv(report: RedactionReport) -> str:
    """The rows of a report; a name that begins like a formula is quoted as text."""
    return _csv(TOTAL_COLUMNS, ([getattr(row, name) for name in TOTAL_COLUMNS] for row in report.rows))


def entries_csv(entries: Sequence[RedactionEntry]) -> str:
    """What was masked call by call; a name that begins like a formula is quoted as text."""
    return _csv(ENTRY_COLUMNS, ([getattr(entry, name) for name in ENTRY_COLUMNS] for entry in entries))


def _csv(columns: Sequence[str], rows: Iterable[Sequence[str | int | datetime]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return out.getvalue()


def _cell(value: str | int | datetime) -> str | int:
    if isinstance(value, datetime):
        return value.isoformat()
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value
