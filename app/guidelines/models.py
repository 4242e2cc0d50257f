"""The table of guidelines: documents as they were uploaded. Passages are made of them whenever they are asked."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base, Deletable, Tenanted, UTCDateTime, unique_while_there


class Guideline(Deletable, Tenanted, Base):
    """One document."""

    __tablename__ = "guidelines"
    __table_args__ = (unique_while_there("guidelines", "tenant_id", "name"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    content: Mapped[str] = mapped_column(Text)
    characters: Mapped[int] = mapped_column(Integer)
    passages: Mapped[int] = mapped_column(Integer)
    sha256: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(UTCDateTime)
    created_by: Mapped[str] = mapped_column(String(100))

    def __repr__(self) -> str:
        return f"<Guideline {self.id} {self.name!r}>"
