"""Tables of the accounts. Tokens and session ids are stored only as SHA-256, passwords only as argon2id."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.database.base import ID_CHARACTERS, Base, Tenanted

DIGEST_CHARACTERS = 64


class User(Tenanted, Base):
    """A person with a role."""

    __tablename__ = "users"

    id: Mapped[str] = mapped_column(String(ID_CHARACTERS), primary_key=True)
    username: Mapped[str] = mapped_column(String(64), unique=True)
    """Lower case."""
    email: Mapped[str] = mapped_column(String(254), default="")
    role: Mapped[str] = mapped_column(String(16))
    password_hash: Mapped[str] = mapped_column(String(255))
    must_change_password: Mapped[bool] = mapped_column(default=True)
    is_active: Mapped[bool] = mapped_column(default=True)
    last_login_at: Mapped[datetime | None]
    last_login_ip: Mapped[str] = mapped_column(String(64), default="")
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class LoginSession(Base):
    """A login. The digest of the token is the key; deleting the row is what ends the session."""

    __tablename__ = "sessions"

    digest: Mapped[str] = mapped_column(String(DIGEST_CHARACTERS), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    ip: Mapped[str] = mapped_column(String(64))
    user_agent: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    """Absolute end; the idle end moves with `seen_at`."""

    user: Mapped[User] = relationship(lazy="joined", innerjoin=True)


class APIToken(Base):
    """A long-lived credential of a user for scripts. It acts with its own role, but never above its user's."""

    __tablename__ = "api_tokens"

    id: Mapped[str] = mapped_column(String(ID_CHARACTERS), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(100))
    role: Mapped[str] = mapped_column(String(16))
    digest: Mapped[str] = mapped_column(String(DIGEST_CHARACTERS), unique=True)
    last4: Mapped[str] = mapped_column(String(4))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]

    user: Mapped[User] = relationship(lazy="joined", innerjoin=True)


class LoginThrottle(Base):
    """How often a login failed, for one account or one address (`account:alice`, `address:192.0.2.7`)."""

    __tablename__ = "login_throttle"

    subject: Mapped[str] = mapped_column(String(120), primary_key=True)
    failures: Mapped[int]
    blocked_until: Mapped[datetime]
    updated_at: Mapped[datetime] = mapped_column(index=True)
