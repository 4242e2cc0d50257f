"""The tables of the scanner: what was scanned with what result, and which proxies refuse tools because of it."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, Boolean, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import DEFAULT_TENANT, ID_CHARACTERS, Base, UTCDateTime


class Scan(Base):
    """One scan. It outlives its proxy, hence no foreign key."""

    __tablename__ = "scans"
    __table_args__ = (
        Index("ix_scans_tenant_started", "tenant_id", "started_at"),
        Index("ix_scans_tenant_target_started", "tenant_id", "target_key", "started_at"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(ID_CHARACTERS), default=DEFAULT_TENANT)
    proxy_id: Mapped[str] = mapped_column(String(40))
    """Empty for a scan of a URL."""
    target_key: Mapped[str] = mapped_column(String(64))
    """The proxy's id, or a digest of the URL: what scans of the same thing have in common."""
    name: Mapped[str] = mapped_column(String(200))
    """The proxy's name, or the URL's host."""
    target: Mapped[str] = mapped_column(Text)
    policy_name: Mapped[str] = mapped_column(String(100))
    active: Mapped[bool] = mapped_column(Boolean)
    state: Mapped[str] = mapped_column(String(10))
    """`running`, `done`, `failed` or `cancelled`."""
    error: Mapped[str] = mapped_column(Text, default="")
    overall_risk: Mapped[str] = mapped_column(String(10), default="")
    risk_score: Mapped[int] = mapped_column(Integer, default=0)
    passed: Mapped[bool] = mapped_column(Boolean, default=False)
    counts: Mapped[dict[str, int]] = mapped_column(JSON, default=dict)
    """Findings by severity."""
    tool_severities: Mapped[dict[str, str]] = mapped_column(JSON, default=dict)
    """The worst severity of each tool that something was found in."""
    tool_names: Mapped[list[str]] = mapped_column(JSON, default=list)
    result: Mapped[str] = mapped_column(Text, default="", deferred=True)
    """The result as JSON; empty until it is there. It is large, and read only where it is asked for."""
    started_at: Mapped[datetime] = mapped_column(UTCDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    started_by: Mapped[str] = mapped_column(String(100))

    def __repr__(self) -> str:
        return f"<Scan {self.id} {self.name!r} {self.state}>"


class ScanGate(Base):
    """What the last scan of a proxy means for its tools: those with a finding this bad are refused."""

    __tablename__ = "scan_gates"

    proxy_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(ID_CHARACTERS), default=DEFAULT_TENANT)
    severity: Mapped[str] = mapped_column(String(10))
    """`low` to `critical`; empty where nothing is refused."""
    lifted: Mapped[list[str]] = mapped_column(JSON)
    """Tools that pass although they would be refused."""
    changed_at: Mapped[datetime] = mapped_column(UTCDateTime)
    changed_by: Mapped[str] = mapped_column(String(100))

    def __repr__(self) -> str:
        return f"<ScanGate {self.proxy_id} {self.severity or 'open'}>"
