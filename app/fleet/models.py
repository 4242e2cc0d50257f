"""The table of proxies: what an operator wants, never how it currently stands (that is the supervisor's)."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, Boolean, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base, Deletable, Tenanted, UTCDateTime, unique_while_there


class Proxy(Deletable, Tenanted, Base):
    """One wanted proxy. Names collide case-insensitively and after NFKC (INJ-14), hence `name_key`."""

    __tablename__ = "proxies"
    __table_args__ = (unique_while_there("proxies", "tenant_id", "name_key"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    name_key: Mapped[str] = mapped_column(String(200))
    type: Mapped[str] = mapped_column(String(10))
    transport: Mapped[str] = mapped_column(String(20))
    description: Mapped[str] = mapped_column(Text)
    target_url: Mapped[str] = mapped_column(Text)
    host: Mapped[str] = mapped_column(String(255))
    port: Mapped[int] = mapped_column(Integer)
    enabled: Mapped[bool] = mapped_column(Boolean)
    auto_start: Mapped[bool] = mapped_column(Boolean)
    policy_names: Mapped[list[str]] = mapped_column(JSON)
    tags: Mapped[list[str]] = mapped_column(JSON)
    enforcement: Mapped[str] = mapped_column(String(10))
    require_auth: Mapped[bool] = mapped_column(Boolean)
    capture: Mapped[str] = mapped_column(String(10))
    """Which calls keep the texts that were inspected: `all`, `flagged` or `none`."""
    upstream_auth_type: Mapped[str] = mapped_column(String(10))
    upstream_auth_name: Mapped[str] = mapped_column(String(100))
    upstream_auth_reference: Mapped[str | None] = mapped_column(Text)
    """`env:NAME` or `file:PATH`, when the credential stays outside the database."""
    upstream_auth_secret: Mapped[str | None] = mapped_column(Text)
    """The credential, encrypted by the vault and bound to this row and column."""
    upstream_auth_region: Mapped[str] = mapped_column(String(40), default="", server_default="")
    """For type `aws`, as what follows; empty where the address of the target says it."""
    upstream_auth_access_key_id: Mapped[str] = mapped_column(String(2000), default="", server_default="")
    """The id or where it is found. The credential is its secret access key."""
    upstream_auth_session_reference: Mapped[str | None] = mapped_column(Text)
    upstream_auth_session_secret: Mapped[str | None] = mapped_column(Text)
    """The session token of temporary credentials, encrypted like the credential."""
    tls_cert_path: Mapped[str] = mapped_column(Text)
    tls_key_path: Mapped[str] = mapped_column(Text)
    upstream_ca_path: Mapped[str] = mapped_column(Text)
    upstream_client_cert_path: Mapped[str] = mapped_column(Text)
    upstream_client_key_path: Mapped[str] = mapped_column(Text)
    allowed_hosts: Mapped[list[str]] = mapped_column(JSON)
    allowed_origins: Mapped[list[str]] = mapped_column(JSON)
    launch_command: Mapped[list[str]] = mapped_column(JSON, default=list)
    """Program and arguments of a server that the gateway starts itself (transport `stdio`)."""
    launch_environment: Mapped[str | None] = mapped_column(Text)
    """Names and values for that process as a JSON object, encrypted by the vault and bound to this row and column."""
    launch_directory: Mapped[str] = mapped_column(Text, default="")
    launch_process: Mapped[str] = mapped_column(String(10), default="session")
    """Who shares a process: `session` (nobody), `key` or `shared`."""
    era: Mapped[str] = mapped_column(String(10), default="same")
    """For MCP: `same`, or `bridge` to translate between the eras of client and server."""
    refuse_downgrade: Mapped[bool] = mapped_column(Boolean, default=False)
    """For MCP: whether a server that falls back from the modern to a legacy version is spoken to no more (E-04)."""
    auto_approve: Mapped[str] = mapped_column(String(10), default="none")
    """Which new tools need no person: `none`, `clean` (no finding) or `all`."""
    quarantine_from: Mapped[str] = mapped_column(String(10), default="high")
    """From which severity on a change takes a tool out until somebody decides: `high`, `medium`, `low` or `info`."""
    denied_calls: Mapped[str] = mapped_column(String(10), default="error")
    """How a call that a policy denies is answered: `error`, or `result` for that of a tool that failed (D-01)."""
    egress_hosts: Mapped[list[str]] = mapped_column(JSON, default=list, server_default="[]")
    """Hosts to which tools and users may be sent; none named, all are."""
    discovery_interval_hours: Mapped[int] = mapped_column(Integer, default=6)
    """How often the server is asked for its tools without a client's doing; 0 for never."""
    created_at: Mapped[datetime] = mapped_column(UTCDateTime)
    updated_at: Mapped[datetime] = mapped_column(UTCDateTime)

    def __repr__(self) -> str:
        return f"<Proxy {self.id} {self.name!r} {self.type} {self.host}:{self.port}>"
