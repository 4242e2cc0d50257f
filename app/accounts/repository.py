"""Every query of the accounts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from app.accounts.models import APIToken, LoginSession, LoginThrottle, User
from app.http.sorting import Sort, Sorts

USER_SORTS = Sorts(
    {
        "username": User.username,
        "role": User.role,
        "last_login_at": User.last_login_at,
        "created_at": User.created_at,
    },
    default="username",
    descending_first=frozenset({"last_login_at", "created_at"}),
)
TOKEN_SORTS = Sorts(
    {
        "created_at": APIToken.created_at,
        "name": func.lower(APIToken.name),
        "role": APIToken.role,
        "last_used_at": APIToken.last_used_at,
        "expires_at": APIToken.expires_at,
    },
    default="-created_at",
    descending_first=frozenset({"created_at", "last_used_at"}),
)


async def count_users(session: AsyncSession) -> int:
    """How many people there are, in all tenants."""
    return await session.scalar(select(func.count()).select_from(User)) or 0


async def user_by_name(session: AsyncSession, username: str) -> User | None:
    """Names are unique over all tenants: a login does not say which tenant it is for."""
    return await session.scalar(select(User).where(User.username == username))


async def user_by_id(session: AsyncSession, user_id: str, tenant_id: str) -> User | None:
    """A person of this tenant."""
    return await session.scalar(select(User).where(User.id == user_id, User.tenant_id == tenant_id))


async def users(
    session: AsyncSession, tenant_id: str, *, search: str = "", sort: Sort | None = None, limit: int, offset: int
) -> tuple[Sequence[User], int]:
    """A page of the people of this tenant, by name unless sorted otherwise, and how many match.

    `search` is found in name, mail address and role.
    """
    wanted = [User.tenant_id == tenant_id]
    if search:
        wanted.append(_contains(search, User.username, User.email, User.role))
    total = await session.scalar(select(func.count()).select_from(User).where(*wanted)) or 0
    page = select(User).where(*wanted).order_by(*USER_SORTS.clauses(sort), User.username)
    return (await session.scalars(page.limit(limit).offset(offset))).all(), total


async def count_active_admins(session: AsyncSession, tenant_id: str) -> int:
    """How many could still administer this tenant."""
    query = select(func.count()).where(User.tenant_id == tenant_id, User.role == "admin", User.is_active)
    return await session.scalar(query) or 0


async def session_by_digest(session: AsyncSession, digest: str) -> LoginSession | None:
    """A session with its user."""
    return await session.scalar(select(LoginSession).where(LoginSession.digest == digest))


async def touch_session(session: AsyncSession, digest: str, now: datetime) -> None:
    """Note that a session is in use."""
    await session.execute(update(LoginSession).where(LoginSession.digest == digest).values(seen_at=now))


async def delete_session(session: AsyncSession, digest: str) -> bool:
    """End one session; False when there was none."""
    ended = await session.scalar(
        delete(LoginSession).where(LoginSession.digest == digest).returning(LoginSession.digest)
    )
    return ended is not None


async def delete_sessions_of(session: AsyncSession, user_id: str) -> None:
    """End all sessions of a person."""
    await session.execute(delete(LoginSession).where(LoginSession.user_id == user_id))


async def prune_sessions(session: AsyncSession, user_id: str, keep: int, now: datetime, idle_since: datetime) -> None:
    """Forget what has expired, and the oldest of one person's sessions beyond `keep`."""
    await session.execute(
        delete(LoginSession).where(or_(LoginSession.expires_at <= now, LoginSession.seen_at <= idle_since))
    )
    surplus = (
        select(LoginSession.digest)
        .where(LoginSession.user_id == user_id)
        .order_by(LoginSession.created_at.desc())
        .offset(keep)
    )
    await session.execute(delete(LoginSession).where(LoginSession.digest.in_(surplus)))


async def token_by_digest(session: AsyncSession, digest: str) -> APIToken | None:
    """An API token with its user."""
    return await session.scalar(select(APIToken).where(APIToken.digest == digest))


async def token_by_id(session: AsyncSession, token_id: str, tenant_id: str) -> APIToken | None:
    """An API token of somebody in this tenant."""
    query = select(APIToken).join(User).where(APIToken.id == token_id, User.tenant_id == tenant_id)
    return await session.scalar(query)


async def tokens(
    session: AsyncSession, tenant_id: str, *, search: str = "", sort: Sort | None = None, limit: int, offset: int
) -> tuple[Sequence[APIToken], int]:
    """A page of the API tokens of this tenant, newest first unless sorted otherwise, and how many match.

    `search` is found in name, last characters, role and the name of the person.
    """
    wanted = [User.tenant_id == tenant_id]
    if search:
        wanted.append(_contains(search, APIToken.name, APIToken.last4, APIToken.role, User.username))
    total = await session.scalar(select(func.count()).select_from(APIToken).join(User).where(*wanted)) or 0
    page = select(APIToken).join(User).where(*wanted).order_by(*TOKEN_SORTS.clauses(sort), APIToken.id.desc())
    return (await session.scalars(page.limit(limit).offset(offset))).all(), total


async def touch_token(session: AsyncSession, token_id: str, now: datetime) -> None:
    """Note that a token is in use."""
    await session.execute(update(APIToken).where(APIToken.id == token_id).values(last_used_at=now))


async def throttle_for(session: AsyncSession, subject: str) -> LoginThrottle | None:
    """The counter of one account or address."""
    return await session.get(LoginThrottle, subject)


async def prune_throttle(session: AsyncSession, before: datetime) -> None:
    """Forget counters that nobody has touched for long."""
    await session.execute(delete(LoginThrottle).where(LoginThrottle.updated_at < before))


def _contains(text: str, *columns: InstrumentedAttribute[str]) -> ColumnElement[bool]:
    return or_(*(func.lower(column).contains(text.lower(), autoescape=True) for column in columns))
