"""Every query on scans, narrowed by tenant."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import undefer

from app.alerts.models import Alert
from app.database.base import DEFAULT_TENANT
from app.scanner.models import Scan, ScanGate
from app.traffic.models import Call

MAX_TRAFFIC_ALERTS = 100


class ScanRepository:
    """Scans and gates of one tenant in one session."""

    def __init__(self, session: AsyncSession, tenant_id: str = DEFAULT_TENANT) -> None:
        self._session = session
        self._tenant_id = tenant_id

    async def get(self, scan_id: str, *, with_result: bool = False) -> Scan | None:
        """The scan with this id."""
        statement = select(Scan).where(Scan.tenant_id == self._tenant_id, Scan.id == scan_id)
        found: Scan | None = await self._session.scalar(
            statement.options(undefer(Scan.result)) if with_result else statement
        )
        return found

    async def page(self, *, proxy_id: str, limit: int, offset: int) -> tuple[Sequence[Scan], int]:
        """A page of scans, newest first, and how many there are; an empty proxy id does not restrict."""
        conditions = [Scan.tenant_id == self._tenant_id]
        if proxy_id:
            conditions.append(Scan.proxy_id == proxy_id)
        total = await self._session.scalar(select(func.count()).select_from(Scan).where(*conditions))
        statement = select(Scan).where(*conditions).order_by(Scan.started_at.desc(), Scan.id.desc())
        return (await self._session.scalars(statement.limit(limit).offset(offset))).all(), total or 0

    async def latest(
        self, target_key: str, *, before: datetime | None = None, with_result: bool = False
    ) -> Scan | None:
        """The newest finished scan of a target, or the newest before a moment."""
        statement = select(Scan).where(
            Scan.tenant_id == self._tenant_id, Scan.target_key == target_key, Scan.state == "done"
        )
        if before is not None:
            statement = statement.where(Scan.started_at < before)
        if with_result:
            statement = statement.options(undefer(Scan.result))
        found: Scan | None = await self._session.scalar(statement.order_by(Scan.started_at.desc()).limit(1))
        return found

    async def latest_of_proxies(self) -> dict[str, Scan]:
        """By proxy its newest finished scan."""
        newest = (
            select(Scan.proxy_id, func.max(Scan.started_at).label("at"))
            .where(Scan.tenant_id == self._tenant_id, Scan.state == "done", Scan.proxy_id != "")
            .group_by(Scan.proxy_id)
            .subquery()
        )
        statement = select(Scan).join(newest, (Scan.proxy_id == newest.c.proxy_id) & (Scan.started_at == newest.c.at))
        rows = await self._session.scalars(statement.where(Scan.tenant_id == self._tenant_id, Scan.state == "done"))
        return {row.proxy_id: row for row in rows}

    async def running(self) -> Sequence[Scan]:
        """Scans that have not ended."""
        statement = select(Scan).where(Scan.tenant_id == self._tenant_id, Scan.state == "running")
        return (await self._session.scalars(statement)).all()

    def add(self, row: Scan | ScanGate) -> None:
        """Insert with the unit of work."""
        row.tenant_id = self._tenant_id
        self._session.add(row)

    async def prune(self, *, keep: int) -> None:
        """Delete all but the newest scans, and the newest of each proxy, on which its gate rests."""
        newest = select(Scan.id).where(Scan.tenant_id == self._tenant_id).order_by(Scan.started_at.desc()).limit(keep)
        needed = [scan.id for scan in (await self.latest_of_proxies()).values()]
        surplus = (Scan.tenant_id == self._tenant_id, Scan.id.not_in(newest), Scan.id.not_in(needed))
        await self._session.execute(delete(Scan).where(*surplus))

    # --- Gates ----------------------------------------------------------------------------------------------------

    async def gate(self, proxy_id: str) -> ScanGate | None:
        """What the last scan of a proxy means for its tools."""
        found: ScanGate | None = await self._session.scalar(
            select(ScanGate).where(ScanGate.tenant_id == self._tenant_id, ScanGate.proxy_id == proxy_id)
        )
        return found

    async def gates(self) -> Sequence[ScanGate]:
        """Those that refuse something."""
        statement = select(ScanGate).where(ScanGate.tenant_id == self._tenant_id, ScanGate.severity != "")
        return (await self._session.scalars(statement)).all()

    # --- Traffic --------------------------------------------------------------------------------------------------

    async def answers_with_alerts(self, proxy_id: str, since_at: datetime) -> list[tuple[str, Alert]]:
        """Alerts about results of tools, each with the operation of its call; newest first."""
        statement = (
            select(Call.operation, Alert)
            .join(Call, (Call.id == Alert.call_id) & (Call.tenant_id == Alert.tenant_id))
            .where(
                Alert.tenant_id == self._tenant_id,
                Alert.proxy_id == proxy_id,
                Alert.target == "tool_result",
                Alert.created_at >= since_at,
            )
            .order_by(Alert.created_at.desc())
            .limit(MAX_TRAFFIC_ALERTS)
        )
        return [(operation, alert) for operation, alert in await self._session.execute(statement)]
