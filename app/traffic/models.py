"""The request log and its roll-ups.

`calls` keeps one row per call for the retention time, and `call_texts` what was inspected in it, sealed. The roll-ups are
small, are written in the same transaction as the calls and answer every chart and ranking, so that no page ever counts
the log: `traffic_minutes` and `traffic_hours` per proxy and time, `rule_hours` and `client_hours` per proxy and hour.
Their time columns are whole minutes or hours since 1970.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Boolean, Column, Float, Index, Integer, LargeBinary, String, Table, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import DEFAULT_TENANT, ID_CHARACTERS, Base, UTCDateTime
from app.traffic.histogram import BUCKETS

VERDICTS = ("allowed", "alerted", "blocked", "refused", "error")
"""How the charts divide calls; `verdict.py` decides which of them a call is."""


class Call(Base):
    """One finished call through a proxy, as the worker recorded it."""

    __tablename__ = "calls"
    __table_args__ = (
        Index("ix_calls_tenant_started", "tenant_id", "started_at"),
        Index("ix_calls_tenant_proxy_started", "tenant_id", "proxy_id", "started_at"),
        Index("ix_calls_tenant_verdict_started", "tenant_id", "verdict", "started_at"),
    )

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(ID_CHARACTERS), default=DEFAULT_TENANT)
    proxy_id: Mapped[str] = mapped_column(String(40))
    proxy_name: Mapped[str] = mapped_column(String(100))
    started_at: Mapped[datetime] = mapped_column(UTCDateTime)
    duration_ms: Mapped[float] = mapped_column(Float)
    added_ms: Mapped[float] = mapped_column(Float)
    method: Mapped[str] = mapped_column(String(20))
    path: Mapped[str] = mapped_column(Text)
    protocol: Mapped[str] = mapped_column(String(40))
    operation: Mapped[str] = mapped_column(Text)
    client_ip: Mapped[str] = mapped_column(String(64))
    client_agent: Mapped[str] = mapped_column(String(200))
    principal_id: Mapped[str] = mapped_column(String(64))
    principal_name: Mapped[str] = mapped_column(String(100))
    status: Mapped[int] = mapped_column(Integer)
    outcome: Mapped[str] = mapped_column(String(20))
    action: Mapped[str] = mapped_column(String(10))
    verdict: Mapped[str] = mapped_column(String(10))
    error_code: Mapped[str] = mapped_column(String(64))
    reason: Mapped[str] = mapped_column(Text)
    request_bytes: Mapped[int] = mapped_column(BigInteger)
    response_bytes: Mapped[int] = mapped_column(BigInteger)
    streamed: Mapped[bool] = mapped_column(Boolean)
    truncated: Mapped[bool] = mapped_column(Boolean)
    snapshot_version: Mapped[int] = mapped_column(Integer)
    usage: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    timings_ms: Mapped[dict[str, float]] = mapped_column(JSON)
    findings: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    decision: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    """Why the verdict is what it is; null for a call on which no policy had anything to say."""

    def __repr__(self) -> str:
        return f"<Call {self.id} {self.method} {self.path!r} {self.status} {self.verdict}>"


class CallText(Base):
    """The captured texts of one call, compressed and sealed: `captured.py` reads and writes them."""

    __tablename__ = "call_texts"
    __table_args__ = (
        Index("ix_call_texts_tenant_proxy_started", "tenant_id", "proxy_id", "started_at"),
        Index("ix_call_texts_tenant_started", "tenant_id", "started_at"),
    )

    call_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(ID_CHARACTERS), default=DEFAULT_TENANT)
    proxy_id: Mapped[str] = mapped_column(String(40))
    started_at: Mapped[datetime] = mapped_column(UTCDateTime)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)

    def __repr__(self) -> str:
        return f"<CallText {self.call_id} {len(self.sealed)} bytes>"


class CallRedaction(Base):
    """How many values of one type one rule masked in one direction of one call: `redactions.py` reads and writes them."""

    __tablename__ = "call_redactions"
    __table_args__ = (Index("ix_call_redactions_tenant_started", "tenant_id", "started_at"),)

    call_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    type: Mapped[str] = mapped_column(String(24), primary_key=True)
    direction: Mapped[str] = mapped_column(String(10), primary_key=True)
    rule_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(ID_CHARACTERS), default=DEFAULT_TENANT)
    proxy_id: Mapped[str] = mapped_column(String(40))
    proxy_name: Mapped[str] = mapped_column(String(100))
    started_at: Mapped[datetime] = mapped_column(UTCDateTime)
    policy: Mapped[str] = mapped_column(Text)
    count: Mapped[int] = mapped_column(Integer)
    restored: Mapped[int] = mapped_column(Integer)
    client: Mapped[str] = mapped_column(String(100), server_default="")
    """Name of the key, or the address of a client without one: reports need no look at the calls."""

    def __repr__(self) -> str:
        return f"<CallRedaction {self.call_id} {self.type} {self.direction} {self.count}>"


ADDED_COLUMNS = tuple(f"added_{index:02d}" for index in range(BUCKETS))
"""One counter per bucket of `histogram.BOUNDS_MS`: columns, so that the database can add them up."""


def _counters() -> list[Column[Any]]:
    """What is counted per proxy and time, in minutes and again in hours."""
    return [
        *(Column(verdict, Integer, nullable=False) for verdict in VERDICTS),
        Column("failed", Integer, nullable=False),
        Column("request_bytes", BigInteger, nullable=False),
        Column("response_bytes", BigInteger, nullable=False),
        Column("input_tokens", BigInteger, nullable=False),
        Column("output_tokens", BigInteger, nullable=False),
        Column("duration_ms", Float, nullable=False),
        *(Column(name, Integer, nullable=False) for name in ADDED_COLUMNS),
    ]


traffic_minutes = Table(
    "traffic_minutes",
    Base.metadata,
    Column("tenant_id", String(40), primary_key=True),
    Column("minute", Integer, primary_key=True),
    Column("proxy_id", String(40), primary_key=True),
    *_counters(),
    Index("ix_traffic_minutes_tenant_proxy_minute", "tenant_id", "proxy_id", "minute"),
)

traffic_hours = Table(
    "traffic_hours",
    Base.metadata,
    Column("tenant_id", String(40), primary_key=True),
    Column("hour", Integer, primary_key=True),
    Column("proxy_id", String(40), primary_key=True),
    *_counters(),
)

rule_hours = Table(
    "rule_hours",
    Base.metadata,
    Column("tenant_id", String(40), primary_key=True),
    Column("hour", Integer, primary_key=True),
    Column("proxy_id", String(40), primary_key=True),
    Column("rule_id", String(64), primary_key=True),
    Column("pack", String(64), primary_key=True),
    Column("title", Text, nullable=False),
    Column("severity", String(10), nullable=False),
    Column("hits", Integer, nullable=False),
    Column("blocked", Integer, nullable=False),
)

client_hours = Table(
    "client_hours",
    Base.metadata,
    Column("tenant_id", String(40), primary_key=True),
    Column("hour", Integer, primary_key=True),
    Column("proxy_id", String(40), primary_key=True),
    Column("client", String(100), primary_key=True),
    Column("calls", Integer, nullable=False),
    Column("blocked", Integer, nullable=False),
)
