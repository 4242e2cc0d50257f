"""What every table shares: naming convention, UTC timestamps, the tenant."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import DateTime, Dialect, Index, MetaData, String, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

DEFAULT_TENANT = "default"
ID_CHARACTERS = 40

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class UTCDateTime(TypeDecorator[datetime]):
    """Aware UTC datetimes only.

    A naive one is a mistake and is refused. Stored without offset, so text sorts by time.
    """

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("A datetime without time zone cannot be stored.")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


class Base(DeclarativeBase):
    """Base of all tables. A `Mapped[datetime]` is a UTCDateTime without being told."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map: ClassVar[dict[Any, Any]] = {datetime: UTCDateTime()}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {getattr(self, 'id', '?')}>"


def unique_while_there(table: str, *columns: str) -> Index:
    """A unique index for what is `Deletable`: whoever is deleted keeps no name from others."""
    living = text("deleted_at IS NULL")
    name = f"uq_{table}_{'_'.join(columns)}"
    return Index(name, *columns, unique=True, sqlite_where=living, postgresql_where=living)


class Deletable:
    """Mixin for what can be deleted and restored (`app.undo`): repositories show only rows without `deleted_at`."""

    deleted_at: Mapped[datetime | None] = mapped_column(UTCDateTime)


class Tenanted:
    """Mixin for everything an operator sees: it belongs to a tenant, and repositories narrow every query by it."""

    tenant_id: Mapped[str] = mapped_column(String(ID_CHARACTERS), default=DEFAULT_TENANT, index=True)
