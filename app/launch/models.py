"""The table of programs that may be started."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base, Deletable, Tenanted, UTCDateTime


class LaunchProgram(Deletable, Tenanted, Base):
    """One program, with the arguments that a command must begin with."""

    __tablename__ = "launch_programs"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    program: Mapped[str] = mapped_column(Text)
    first_arguments: Mapped[list[str]] = mapped_column(JSON)
    note: Mapped[str] = mapped_column(Text)
    max_memory_mb: Mapped[int] = mapped_column(Integer)
    """What one process of it may allocate; 0 for no limit."""
    max_cpu_seconds: Mapped[int] = mapped_column(Integer)
    """Processor time that one process of it may use; 0 for no limit."""
    run_as: Mapped[str] = mapped_column(String(40), default="")
    """The user whose rights it has; empty for the one of Ostiary."""
    created_at: Mapped[datetime] = mapped_column(UTCDateTime)
    created_by: Mapped[str] = mapped_column(String(100))

    def __repr__(self) -> str:
        return f"<LaunchProgram {self.id} {self.program!r}>"
