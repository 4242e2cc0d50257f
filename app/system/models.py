"""What the database knows about the installation it belongs to."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import ID_CHARACTERS, Base


class Installation(Base):
    """The single row that ties a database to its encryption key."""

    __tablename__ = "installation"

    id: Mapped[str] = mapped_column(String(ID_CHARACTERS), primary_key=True)
    key_check: Mapped[str] = mapped_column(String(64))
    """HMAC-SHA256 of the installation's id with a key derived from the encryption key."""
    created_at: Mapped[datetime]
