"""What was masked: kept with each call and added up for reports (SLG-ROAD-4). Never a value, only its type and its rule.

`records -> redaction_rows -> Redactions.add` in the transaction of the calls; `Redactions.totals` and `of_call` read.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.database.base import DEFAULT_TENANT
from app.traffic.models import CallRedaction
from proxies.contract import CallRecord

MAX_REPORT_ROWS = 10_000
COLUMNS = ("type", "direction", "policy", "rule_id", "proxy_id", "proxy_name", "calls", "count", "restored")


class RedactionView(msgspec.Struct, frozen=True, kw_only=True):
    """Values of one type that one rule masked in one direction of a call."""

    type: str
    """The word in the placeholder, as `EMAIL`."""
    direction: str
    """`request` (towards the upstream) or `response` (towards the client)."""
    policy: str
    rule_id: str
    count: int
    restored: int
    """How often such values were put back into the answer."""


class RedactionTotal(RedactionView, frozen=True, kw_only=True):
    """The same over all calls of a proxy in a time range."""

    proxy_id: str
    proxy_name: str
    calls: int


class RedactionReport(msgspec.Struct, frozen=True, kw_only=True):
    """Totals by type, direction, policy, rule and proxy, the largest first."""

    since_at: datetime
    until_at: datetime
    calls: int
    """Calls in which anything was masked."""
    count: int
    restored: int
    rows: list[RedactionTotal]
    truncated: bool
    """Whether there are more rows than a report holds."""


def redaction_rows(record: CallRecord, *, tenant_id: str, proxy_name: str) -> list[dict[str, Any]]:
    """Rows of the table for one call."""
    started_at = datetime.fromtimestamp(record.started_at, UTC)
    return [
        {
            "call_id": record.id,
            "tenant_id": tenant_id,
            "proxy_id": record.proxy_id,
            "proxy_name": proxy_name,
            "started_at": started_at,
            "type": one.type,
            "direction": one.direction,
            "policy": one.policy,
            "rule_id": one.rule_id,
            "count": one.count,
            "restored": one.restored,
        }
        for one in record.redactions
    ]


def as_csv(report: RedactionReport) -> str:
    """The rows of a report for a spreadsheet; a name that begins like a formula is quoted as text."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for row in report.rows:
        writer.writerow([_cell(getattr(row, name)) for name in COLUMNS])
    return out.getvalue()


def _cell(value: str | int) -> str | int:
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


class Redactions:
    """The table of masked values of one tenant in one session."""

    def __init__(self, session: AsyncSession, tenant_id: str = DEFAULT_TENANT) -> None:
        self._session = session
        self._tenant_id = tenant_id

    async def add(self, rows: Sequence[dict[str, Any]]) -> None:
        """Insert rows of `redaction_rows` for calls that are new."""
        if rows:
            await self._session.execute(insert(CallRedaction.__table__), rows)  # type: ignore[arg-type]

    async def of_call(self, call_id: str) -> list[RedactionView]:
        """What was masked in one call."""
        table = CallRedaction
        statement = (
            select(table)
            .where(table.tenant_id == self._tenant_id, table.call_id == call_id)
            .order_by(table.direction, table.type, table.rule_id)
        )
        return [
            RedactionView(
                type=row.type,
                direction=row.direction,
                policy=row.policy,
                rule_id=row.rule_id,
                count=row.count,
                restored=row.restored,
            )
            for row in await self._session.scalars(statement)
        ]

    async def report(self, since_at: datetime, until_at: datetime) -> RedactionReport:
        """Everything that was masked in calls that began in this range."""
        table = CallRedaction
        conditions = (table.tenant_id == self._tenant_id, table.started_at >= since_at, table.started_at < until_at)
        kinds = (table.type, table.direction, table.policy, table.rule_id, table.proxy_id)
        counted = (
            func.max(table.proxy_name).label("proxy_name"),
            func.count(table.call_id.distinct()).label("calls"),
            func.sum(table.count).label("total"),
            func.sum(table.restored).label("restored"),
        )
        statement = (
            select(*kinds, *counted)
            .where(*conditions)
            .group_by(*kinds)
            .order_by(func.sum(table.count).desc(), *kinds)
            .limit(MAX_REPORT_ROWS + 1)
        )
        rows = [
            RedactionTotal(
                type=row.type,
                direction=row.direction,
                policy=row.policy,
                rule_id=row.rule_id,
                proxy_id=row.proxy_id,
                proxy_name=row.proxy_name,
                calls=row.calls,
                count=int(row.total),
                restored=int(row.restored),
            )
            for row in (await self._session.execute(statement)).all()
        ]
        sums = select(func.count(table.call_id.distinct()), func.sum(table.count), func.sum(table.restored))
        calls, count, restored = (await self._session.execute(sums.where(*conditions))).one()
        return RedactionReport(
            since_at=since_at,
            until_at=until_at,
            calls=calls,
            count=int(count or 0),
            restored=int(restored or 0),
            rows=rows[:MAX_REPORT_ROWS],
            truncated=len(rows) > MAX_REPORT_ROWS,
        )
