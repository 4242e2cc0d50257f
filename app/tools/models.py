"""What MCP servers declare, what was approved of it, and how it came to be so.

The server itself is an entry too (kind `server`, no name): its identity, origin and instructions are approved, changed and
reverted like a tool. Everything goes with its proxy; the audit log outlives it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import DEFAULT_TENANT, ID_CHARACTERS, Base, UTCDateTime


def _proxy() -> ForeignKey:
    return ForeignKey("proxies.id", ondelete="CASCADE")


class MCPServer(Base):
    """One server behind one proxy: when it was observed, and what came of it."""

    __tablename__ = "mcp_servers"

    proxy_id: Mapped[str] = mapped_column(String(40), _proxy(), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(ID_CHARACTERS), default=DEFAULT_TENANT)
    first_seen_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    """When it was observed for the first time; null while every attempt failed."""
    last_seen_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    last_trigger: Mapped[str] = mapped_column(String(20), default="")
    problems: Mapped[list[str]] = mapped_column(JSON, default=list)
    failure: Mapped[str] = mapped_column(Text, default="")
    """Why the last attempt failed; empty when it did not."""
    discovered_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    """When the console itself asked for everything last."""
    next_discovery_at: Mapped[datetime | None] = mapped_column(UTCDateTime)


class MCPEntry(Base):
    """One declared tool, prompt, resource or template, or the server itself."""

    __tablename__ = "mcp_entries"
    __table_args__ = (
        UniqueConstraint("proxy_id", "kind", "name_key"),
        Index("ix_mcp_entries_tenant_state", "tenant_id", "state"),
        Index("ix_mcp_entries_tenant_kind", "tenant_id", "kind"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(ID_CHARACTERS), default=DEFAULT_TENANT)
    proxy_id: Mapped[str] = mapped_column(String(40), _proxy())
    kind: Mapped[str] = mapped_column(String(10))
    name: Mapped[str] = mapped_column(Text)
    name_key: Mapped[str] = mapped_column(String(64))
    """SHA-256 of the name: names may be longer than an index takes."""
    state: Mapped[str] = mapped_column(String(10))
    """`states.state_of` of the columns below, kept for filters."""
    is_disabled: Mapped[bool] = mapped_column(Boolean, default=False)
    """Whether a person took it out."""
    is_missing: Mapped[bool] = mapped_column(Boolean, default=False)
    is_blocked: Mapped[bool] = mapped_column(Boolean, default=False)
    """Whether it is declared twice, or in a form that cannot be pinned: then no hash of it is good."""
    approved_hash: Mapped[str] = mapped_column(String(64), default="")
    """`h_raw` of what was approved; empty while nothing is."""
    approved_document: Mapped[bytes | None] = mapped_column(LargeBinary, deferred=True)
    approved_findings: Mapped[list[str]] = mapped_column(JSON, default=list, deferred=True)
    """Keys of the findings that whoever approved it has seen."""
    approved_version: Mapped[int] = mapped_column(Integer, default=0)
    approved_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    approved_by: Mapped[str] = mapped_column(String(100), default="")
    tolerated: Mapped[list[str]] = mapped_column(JSON, default=list)
    """`h_raw` of changes that need no decision."""
    current_hash: Mapped[str] = mapped_column(String(64), default="")
    current_sem: Mapped[str] = mapped_column(String(64), default="")
    current_document: Mapped[bytes] = mapped_column(LargeBinary, default=b"", deferred=True)
    title: Mapped[str] = mapped_column(Text, default="")
    """The beginning of its description, for lists."""
    capabilities: Mapped[list[str]] = mapped_column(JSON, default=list)
    risk: Mapped[str] = mapped_column(String(10), default="none")
    findings: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    """What the rules find in the current document."""
    reasons: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    """What was remarkable about it when it was new."""
    first_seen_at: Mapped[datetime] = mapped_column(UTCDateTime)
    last_seen_at: Mapped[datetime] = mapped_column(UTCDateTime)
    changed_at: Mapped[datetime] = mapped_column(UTCDateTime)
    """When its definition or state changed last."""

    def __repr__(self) -> str:
        return f"<MCPEntry {self.id} {self.kind} {self.name!r} {self.state}>"


class MCPChange(Base):
    """One difference between what was approved and what a server served."""

    __tablename__ = "mcp_changes"
    __table_args__ = (
        Index("ix_mcp_changes_tenant_status", "tenant_id", "status", "detected_at"),
        Index("ix_mcp_changes_proxy_detected", "proxy_id", "detected_at"),
        Index("ix_mcp_changes_entry", "entry_id", "detected_at"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(ID_CHARACTERS), default=DEFAULT_TENANT)
    proxy_id: Mapped[str] = mapped_column(String(40), _proxy())
    entry_id: Mapped[str] = mapped_column(String(40), ForeignKey("mcp_entries.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(10))
    name: Mapped[str] = mapped_column(Text)
    code: Mapped[str] = mapped_column(String(40))
    """The reason that decided."""
    severity: Mapped[str] = mapped_column(String(10))
    status: Mapped[str] = mapped_column(String(12))
    reasons: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    findings: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    similarity: Mapped[float | None] = mapped_column(Float)
    renamed_from: Mapped[str] = mapped_column(Text, default="")
    before_hash: Mapped[str] = mapped_column(String(64), default="")
    after_hash: Mapped[str] = mapped_column(String(64), default="")
    before_document: Mapped[bytes | None] = mapped_column(LargeBinary, deferred=True)
    after_document: Mapped[bytes | None] = mapped_column(LargeBinary, deferred=True)
    version: Mapped[int] = mapped_column(Integer)
    """The approved version that it departs from."""
    trigger: Mapped[str] = mapped_column(String(20))
    detected_at: Mapped[datetime] = mapped_column(UTCDateTime)
    decided_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    decided_by: Mapped[str] = mapped_column(String(100), default="")
    comment: Mapped[str] = mapped_column(Text, default="")

    def __repr__(self) -> str:
        return f"<MCPChange {self.id} {self.kind} {self.name!r} {self.code} {self.status}>"


class MCPVersion(Base):
    """One approval: append-only."""

    __tablename__ = "mcp_versions"
    __table_args__ = (UniqueConstraint("entry_id", "version"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(ID_CHARACTERS), default=DEFAULT_TENANT)
    proxy_id: Mapped[str] = mapped_column(String(40), _proxy())
    entry_id: Mapped[str] = mapped_column(String(40), ForeignKey("mcp_entries.id", ondelete="CASCADE"))
    version: Mapped[int] = mapped_column(Integer)
    decision: Mapped[str] = mapped_column(String(20))
    """`approved`, `auto_approved`, `first` or `reverted`."""
    h_raw: Mapped[str] = mapped_column(String(64))
    document: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)
    findings: Mapped[list[str]] = mapped_column(JSON, deferred=True)
    change_id: Mapped[str] = mapped_column(String(40), default="")
    approved_at: Mapped[datetime] = mapped_column(UTCDateTime)
    approved_by: Mapped[str] = mapped_column(String(100))
    comment: Mapped[str] = mapped_column(Text, default="")


class MCPOverride(Base):
    """A tool that is enabled or disabled for one API key alone."""

    __tablename__ = "mcp_overrides"

    entry_id: Mapped[str] = mapped_column(
        String(40), ForeignKey("mcp_entries.id", ondelete="CASCADE"), primary_key=True
    )
    key_id: Mapped[str] = mapped_column(String(40), ForeignKey("api_keys.id", ondelete="CASCADE"), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(ID_CHARACTERS), default=DEFAULT_TENANT)
    proxy_id: Mapped[str] = mapped_column(String(40), _proxy(), index=True)
    enabled: Mapped[bool] = mapped_column(Boolean)
    set_at: Mapped[datetime] = mapped_column(UTCDateTime)
    set_by: Mapped[str] = mapped_column(String(100))


class MCPUndo(Base):
    """How everything was before one decision, for the time in which it can be taken back."""

    __tablename__ = "mcp_undos"
    __table_args__ = (Index("ix_mcp_undos_tenant_user", "tenant_id", "user_id", "made_at"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(ID_CHARACTERS), default=DEFAULT_TENANT)
    proxy_id: Mapped[str] = mapped_column(String(40), _proxy())
    user_id: Mapped[str] = mapped_column(String(40))
    made_at: Mapped[datetime] = mapped_column(UTCDateTime)
    entries: Mapped[int] = mapped_column(Integer)
    kept: Mapped[bytes] = mapped_column(LargeBinary)
    """`memory.Kept` as JSON."""

    def __repr__(self) -> str:
        return f"<MCPUndo {self.id} {self.entries} entries>"


class MCPHeldCall(Base):
    """One call that waits, or waited, for a person."""

    __tablename__ = "mcp_held_calls"
    __table_args__ = (Index("ix_mcp_held_calls_tenant_status", "tenant_id", "status", "held_at"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(ID_CHARACTERS), default=DEFAULT_TENANT)
    proxy_id: Mapped[str] = mapped_column(String(40), _proxy())
    snapshot_version: Mapped[int] = mapped_column(Integer)
    principal_id: Mapped[str] = mapped_column(String(64))
    principal_name: Mapped[str] = mapped_column(String(100))
    tool: Mapped[str] = mapped_column(Text)
    h_raw: Mapped[str] = mapped_column(String(64))
    sealed_arguments: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)
    digest: Mapped[str] = mapped_column(String(64))
    policy: Mapped[str] = mapped_column(Text)
    policy_version: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    reason: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(String(20))
    """`waiting`, `releasing` and `refusing` once decided, then the outcome that the worker reports."""
    held_at: Mapped[datetime] = mapped_column(UTCDateTime)
    expires_at: Mapped[datetime] = mapped_column(UTCDateTime)
    decided_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    decided_by: Mapped[str] = mapped_column(String(100), default="")
    comment: Mapped[str] = mapped_column(Text, default="")

    def __repr__(self) -> str:
        return f"<MCPHeldCall {self.id} {self.tool!r} {self.status}>"


tool_hours = Table(
    "mcp_tool_hours",
    Base.metadata,
    Column("tenant_id", String(40), primary_key=True),
    Column("proxy_id", String(40), primary_key=True),
    Column("hour", Integer, primary_key=True),
    Column("tool", String(200), primary_key=True),
    Column("calls", Integer, nullable=False),
    Column("errors", Integer, nullable=False),
    Column("blocked", Integer, nullable=False),
    Column("duration_ms", Float, nullable=False),
    Column("result_bytes", BigInteger, nullable=False),
    Column("log_ms", Float),
    Index("ix_mcp_tool_hours_hour", "tenant_id", "hour"),
)
"""Sums by tool and hour since 1970. A call that the gateway refused counts as blocked and in no other sum. `log_ms`, the sum
of the logarithms of the durations, is null for hours in which nobody counted it yet."""

tool_keys = Table(
    "mcp_tool_keys",
    Base.metadata,
    Column("tenant_id", String(40), primary_key=True),
    Column("proxy_id", String(40), primary_key=True),
    Column("tool", String(200), primary_key=True),
    Column("key", String(100), primary_key=True),
    Column("calls", Integer, nullable=False),
    Column("first_seen_at", UTCDateTime(), nullable=False),
    Index("ix_mcp_tool_keys_first_seen", "tenant_id", "first_seen_at"),
)
"""Which top-level arguments each tool was given, and since when."""
