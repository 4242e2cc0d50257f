"""Every query on API keys, narrowed by tenant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, and_, false, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.models import ApiKey
from app.database.base import DEFAULT_TENANT
from app.database.deletion import restorable
from app.http.sorting import Sort, Sorts

SORTS = Sorts(
    {
        "created_at": ApiKey.created_at,
        "name": func.lower(ApiKey.name),
        "last_used_at": ApiKey.last_used_at,
        "expires_at": ApiKey.expires_at,
    },
    default="-created_at",
    descending_first=frozenset({"created_at", "last_used_at"}),
)


def _in_state(state: str, now: datetime) -> ColumnElement[bool]:
    """The same order of states as `service.key_state`: an unknown one has no keys."""
    match state:
        case "revoked":
            return ApiKey.revoked_at.is_not(None)
        case "expired":
            return and_(ApiKey.revoked_at.is_(None), ApiKey.expires_at <= now)
        case "active":
            return and_(ApiKey.revoked_at.is_(None), or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > now))
    return false()


class ApiKeyRepository:
    """API keys of one tenant in one session."""

    def __init__(self, session: AsyncSession, tenant_id: str = DEFAULT_TENANT) -> None:
        self._session = session
        self._tenant_id = tenant_id
        self._mine = (ApiKey.tenant_id == tenant_id, ApiKey.deleted_at.is_(None))

    async def get(self, key_id: str) -> ApiKey | None:
        """The key with this id."""
        found: ApiKey | None = await self._session.scalar(select(ApiKey).where(*self._mine, ApiKey.id == key_id))
        return found

    async def policy_names(self) -> dict[str, list[str]]:
        """The policies of the keys that have their own, by id; those of deleted keys as well, whose calls are on record."""
        mine = select(ApiKey.id, ApiKey.policy_names).where(ApiKey.tenant_id == self._tenant_id)
        return {key_id: list(names) for key_id, names in (await self._session.execute(mine)).all() if names}

    async def deleted(self, key_id: str) -> ApiKey | None:
        """The key with this id that was deleted and may be restored."""
        return await restorable(self._session, ApiKey, ApiKey.tenant_id == self._tenant_id, ApiKey.id == key_id)

    async def page(
        self, now: datetime, *, limit: int, offset: int, search: str = "", state: str = "", sort: Sort | None = None
    ) -> tuple[Sequence[ApiKey], int]:
        """A page of the keys that match, newest first unless sorted otherwise, and how many there are.

        `search` is found in name, shown parts and creator.
        """
        wanted: list[ColumnElement[bool]] = [*self._mine]
        if search:
            shown = (ApiKey.name, ApiKey.prefix, ApiKey.last4, ApiKey.created_by)
            text = search.lower()
            wanted.append(or_(*(func.lower(column).contains(text, autoescape=True) for column in shown)))
        if state:
            wanted.append(_in_state(state, now))
        total = await self._session.scalar(select(func.count()).select_from(ApiKey).where(*wanted))
        page = select(ApiKey).where(*wanted).order_by(*SORTS.clauses(sort), ApiKey.id.desc())
        return (await self._session.scalars(page.limit(limit).offset(offset))).all(), total or 0

    async def usable(self, now: datetime) -> Sequence[ApiKey]:
        """Keys that are neither revoked nor expired."""
        return (await self._session.scalars(select(ApiKey).where(*self._usable(now)).order_by(ApiKey.id))).all()

    async def names_under(self, policy: str, now: datetime) -> list[str]:
        """The names of the usable keys that have this policy of their own."""
        statement = select(ApiKey.name, ApiKey.policy_names).where(*self._usable(now)).order_by(ApiKey.name)
        return [name for name, policies in (await self._session.execute(statement)).all() if policy in policies]

    def _usable(self, now: datetime) -> tuple[ColumnElement[bool], ...]:
        return (
            *self._mine,
            ApiKey.revoked_at.is_(None),
            or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > now),
        )

    async def has_active_named(self, name: str, now: datetime, *, but: str = "") -> bool:
        """Whether a usable key has this name, so that the names in traffic and alerts stay unambiguous."""
        return any(key.name == name and key.id != but for key in await self.usable(now))

    async def mark_used(self, uses: Iterable[tuple[str, datetime]]) -> None:
        """Remember the latest use of each key; an older time never replaces a newer one."""
        for key_id, used_at in uses:
            await self._session.execute(
                update(ApiKey)
                .where(
                    ApiKey.tenant_id == self._tenant_id,
                    ApiKey.id == key_id,
                    or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at < used_at),
                )
                .values(last_used_at=used_at)
                .execution_options(synchronize_session=False)
            )

    def add(self, key: ApiKey) -> None:
        """Insert with the unit of work."""
        key.tenant_id = self._tenant_id
        self._session.add(key)
