"""The table of the audit log."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import ID_CHARACTERS, Base, Tenanted


class AuditEntry(Tenanted, Base):
    """One thing that somebody did or tried. Rows are only ever added, or pruned from the oldest end by retention."""

    __tablename__ = "audit_entries"

    sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """Gapless, starting at 1."""
    id: Mapped[str] = mapped_column(String(ID_CHARACTERS), unique=True)
    at: Mapped[datetime] = mapped_column(index=True)
    event_type: Mapped[str] = mapped_column(String(64), index=True)
    severity: Mapped[str] = mapped_column(String(16))
    actor_id: Mapped[str] = mapped_column(String(ID_CHARACTERS))
    actor_name: Mapped[str] = mapped_column(String(64))
    actor_role: Mapped[str] = mapped_column(String(16))
    actor_type: Mapped[str] = mapped_column(String(16))
    resource_type: Mapped[str] = mapped_column(String(32))
    resource_id: Mapped[str] = mapped_column(String(ID_CHARACTERS))
    resource_name: Mapped[str] = mapped_column(String(200))
    action: Mapped[str] = mapped_column(String(32))
    result: Mapped[str] = mapped_column(String(16))
    details: Mapped[str] = mapped_column(Text)
    """JSON with sorted keys; masked before it gets here."""
    source_ip: Mapped[str] = mapped_column(String(64))
    request_id: Mapped[str] = mapped_column(String(ID_CHARACTERS))
    previous_mac: Mapped[str] = mapped_column(String(64))
    mac: Mapped[str] = mapped_column(String(64))
    """HMAC-SHA256 over `previous_mac` and the canonical encoding of the other columns."""
