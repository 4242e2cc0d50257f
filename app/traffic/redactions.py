"""What was masked in each call: kept with it and deleted with it (SLG-ROAD-4). Never a value, only its type and its rule.

`records -> redaction_rows -> Redactions.add` in the transaction of the calls; `of_call` reads them again, and
`redaction_report.py` adds them up.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.database.base import DEFAULT_TENANT
from app.traffic.models import CallRedaction
from app.traffic.rollup import client_of
from proxies.contract import CallRecord


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
    """How often such values were put back into the answer, those too that an earlier call of the conversation masked."""


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
            "client": client_of(record),
        }
        for one in record.redactions
    ]


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
        rows = await self._session.scalars(statement)
        return [msgspec.convert(row, RedactionView, from_attributes=True) for row in rows]
