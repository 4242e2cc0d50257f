"""The table of alerts. One alert per call and rule, however often the batch that brought it is delivered.

What stands in a declaration of a server is found with every list and alerts once (`declarations`).
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import DEFAULT_TENANT, ID_CHARACTERS, Base, UTCDateTime


class Alert(Base):
    """What a rule found in a call and what was done about it. Outlives the call, hence no foreign key."""

    __tablename__ = "alerts"
    __table_args__ = (
        UniqueConstraint("tenant_id", "call_id", "rule_id"),
        Index("ix_alerts_tenant_created", "tenant_id", "created_at"),
        Index("ix_alerts_tenant_status_severity", "tenant_id", "status", "severity", "created_at"),
        Index("ix_alerts_tenant_proxy_created", "tenant_id", "proxy_id", "created_at"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(ID_CHARACTERS), default=DEFAULT_TENANT)
    severity: Mapped[str] = mapped_column(String(10))
    status: Mapped[str] = mapped_column(String(20))
    title: Mapped[str] = mapped_column(Text)
    description: Mapped[str] = mapped_column(Text)
    rule_id: Mapped[str] = mapped_column(String(64))
    pack: Mapped[str] = mapped_column(String(64))
    policy_name: Mapped[str] = mapped_column(String(100))
    category: Mapped[str] = mapped_column(String(100))
    action: Mapped[str] = mapped_column(String(10))
    proxy_id: Mapped[str] = mapped_column(String(40))
    proxy_name: Mapped[str] = mapped_column(String(100))
    proxy_type: Mapped[str] = mapped_column(String(10))
    call_id: Mapped[str] = mapped_column(String(64))
    evidence: Mapped[str] = mapped_column(Text)
    target: Mapped[str] = mapped_column(String(40))
    path: Mapped[str] = mapped_column(Text)
    client_ip: Mapped[str] = mapped_column(String(64))
    client_agent: Mapped[str] = mapped_column(String(200))
    principal_id: Mapped[str] = mapped_column(String(64))
    principal_name: Mapped[str] = mapped_column(String(100))
    created_at: Mapped[datetime] = mapped_column(UTCDateTime)
    updated_at: Mapped[datetime] = mapped_column(UTCDateTime)
    resolved_by: Mapped[str | None] = mapped_column(String(100))
    note: Mapped[str] = mapped_column(Text)

    def __repr__(self) -> str:
        return f"<Alert {self.id} {self.rule_id} {self.severity} {self.status}>"


class AlertedDeclaration(Base):
    """One state of a declaration that has raised its alert."""

    __tablename__ = "alerted_declarations"

    tenant_id: Mapped[str] = mapped_column(String(ID_CHARACTERS), primary_key=True, default=DEFAULT_TENANT)
    state: Mapped[str] = mapped_column(String(64), primary_key=True)
    alerted_at: Mapped[datetime] = mapped_column(UTCDateTime, index=True)

    def __repr__(self) -> str:
        return f"<AlertedDeclaration {self.state[:12]}>"
