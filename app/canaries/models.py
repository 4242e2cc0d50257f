"""The table of canaries. Their values are sealed: a canary that everybody can read warns nobody."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base, Deletable, Tenanted, UTCDateTime, unique_while_there


class Canary(Deletable, Tenanted, Base):
    """One planted text. Empty lists name no place or caller in particular."""

    __tablename__ = "canaries"
    __table_args__ = (unique_while_there("canaries", "tenant_id", "name"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    note: Mapped[str] = mapped_column(Text)
    sealed_value: Mapped[str] = mapped_column(Text)
    action: Mapped[str] = mapped_column(String(10))
    direction: Mapped[str] = mapped_column(String(10))
    proxy_ids: Mapped[list[str]] = mapped_column(JSON)
    key_ids: Mapped[list[str]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime)
    created_by: Mapped[str] = mapped_column(String(100))

    def __repr__(self) -> str:
        return f"<Canary {self.id} {self.name!r}>"
