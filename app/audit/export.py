"""The audit log as a file, newest first, read a portion at a time so that its size does not matter."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Sequence
from typing import Literal

import msgspec

from app.audit import repository
from app.audit.models import AuditEntry
from app.audit.repository import AuditFilter
from app.audit.schemas import audit_entry_view
from app.database.engine import Database

Format = Literal["csv", "jsonl"]
MEDIA_TYPES: dict[Format, str] = {"csv": "text/csv; charset=utf-8", "jsonl": "application/jsonl"}
PORTION_ROWS = 500
COLUMNS = (
    "sequence",
    "at",
    "event_type",
    "severity",
    "result",
    "actor_name",
    "actor_role",
    "actor_type",
    "resource_type",
    "resource_id",
    "resource_name",
    "source_ip",
    "request_id",
    "details",
    "mac",
)


async def exported(database: Database, wanted: AuditFilter, format: Format) -> AsyncIterator[bytes]:
    """The entries that match, in pieces. What is added meanwhile is not in it."""
    if format == "csv":
        yield _csv_lines([COLUMNS])
    before: int | None = None
    while True:
        async with database.reader() as session:
            rows = await repository.portion(session, wanted, before=before, limit=PORTION_ROWS)
        if not rows:
            return
        yield _as_csv(rows) if format == "csv" else _as_jsonl(rows)
        before = rows[-1].sequence


def _as_jsonl(rows: Sequence[AuditEntry]) -> bytes:
    return b"".join(msgspec.json.encode(audit_entry_view(row)) + b"\n" for row in rows)


def _as_csv(rows: Sequence[AuditEntry]) -> bytes:
    return _csv_lines([[_cell(_text(row, name)) for name in COLUMNS] for row in rows])


def _csv_lines(rows: Sequence[Sequence[str]]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue().encode("utf-8", "replace")


def _text(row: AuditEntry, name: str) -> str:
    return row.at.isoformat() if name == "at" else str(getattr(row, name))


def _cell(value: str) -> str:
    """A text that begins like a formula is quoted, so that a spreadsheet does not run what somebody typed."""
    return f"'{value}" if value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
