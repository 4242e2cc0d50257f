"""Every query on proxies, narrowed by tenant."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, String, cast, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.database.base import DEFAULT_TENANT
from app.database.deletion import restorable
from app.fleet.models import Proxy
from app.http.sorting import Sort, Sorts

SORTS = Sorts(
    {
        "name": Proxy.name_key,
        "type": Proxy.type,
        "port": Proxy.port,
        "target_url": Proxy.target_url,
        "created_at": Proxy.created_at,
    },
    default="name",
    descending_first=frozenset({"created_at"}),
)


class ProxyRepository:
    """Proxies of one tenant in one session."""

    def __init__(self, session: AsyncSession, tenant_id: str = DEFAULT_TENANT) -> None:
        self._session = session
        self._tenant_id = tenant_id
        self._mine = (Proxy.tenant_id == tenant_id, Proxy.deleted_at.is_(None))

    async def get(self, proxy_id: str) -> Proxy | None:
        """The proxy with this id."""
        return await self._one(Proxy.id == proxy_id)

    async def deleted(self, proxy_id: str) -> Proxy | None:
        """The proxy with this id that was deleted and may be restored."""
        return await restorable(self._session, Proxy, Proxy.tenant_id == self._tenant_id, Proxy.id == proxy_id)

    async def by_name_key(self, name_key: str) -> Proxy | None:
        """The proxy whose folded name is this."""
        return await self._one(Proxy.name_key == name_key)

    async def by_port(self, port: int) -> Sequence[Proxy]:
        """Proxies that want this port, on whatever host."""
        return await self._many(Proxy.port == port)

    async def all(self) -> Sequence[Proxy]:
        """Every proxy, by name."""
        return await self._many()

    async def search(
        self,
        *,
        type_: str | None,
        enabled: bool | None,
        search: str,
        limit: int,
        offset: int,
        sort: Sort | None = None,
    ) -> tuple[Sequence[Proxy], int]:
        """A page of proxies, by name unless sorted otherwise, and how many there are.

        `search` is found in name, target, description and tags.
        """
        conditions: list[ColumnElement[bool]] = [*self._mine]
        if type_ is not None:
            conditions.append(Proxy.type == type_)
        if enabled is not None:
            conditions.append(Proxy.enabled.is_(enabled))
        if search:
            columns = (Proxy.name, Proxy.target_url, Proxy.description, cast(Proxy.tags, String))
            conditions.append(
                or_(*(func.lower(column).contains(search.lower(), autoescape=True) for column in columns))
            )
        total = await self._session.scalar(select(func.count()).select_from(Proxy).where(*conditions))
        page = select(Proxy).where(*conditions).order_by(*SORTS.clauses(sort), Proxy.name_key)
        return (await self._session.scalars(page.limit(limit).offset(offset))).all(), total or 0

    def add(self, proxy: Proxy) -> None:
        """Insert with the unit of work."""
        proxy.tenant_id = self._tenant_id
        self._session.add(proxy)

    async def _one(self, condition: ColumnElement[bool]) -> Proxy | None:
        statement = select(Proxy).where(*self._mine, condition)
        found: Proxy | None = await self._session.scalar(statement)
        return found

    async def _many(self, *conditions: ColumnElement[bool]) -> Sequence[Proxy]:
        statement = select(Proxy).where(*self._mine, *conditions).order_by(Proxy.name_key)
        return (await self._session.scalars(statement)).all()
