"""The order of a list: `?sort=name` ascending, `?sort=-name` descending, by the names that the list allows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec
from sqlalchemy import ColumnElement

from app.errors import ValidationFailed

Item = TypeVar("Item")


class Sort(msgspec.Struct, frozen=True):
    """By what, and in which direction."""

    name: str
    descending: bool = False

    def __str__(self) -> str:
        return f"-{self.name}" if self.descending else self.name

    @classmethod
    def parse(cls, text: str) -> Sort:
        """The order that a query parameter names, whatever the list."""
        return cls(text.removeprefix("-"), text.startswith("-"))


class Order(msgspec.Struct, frozen=True):
    """The order of one list as asked for, and what its headers link to."""

    sort: Sort
    default: Sort
    descending_first: frozenset[str]
    """Names that begin with the largest or newest when their header is clicked."""

    @property
    def param(self) -> str | None:
        """The query parameter; None for the usual order."""
        return None if self.sort == self.default else str(self.sort)

    def after(self, name: str) -> str | None:
        """The query parameter once this header is clicked."""
        descending = not self.sort.descending if self.sort.name == name else name in self.descending_first
        wanted = Sort(name, descending)
        return None if wanted == self.default else str(wanted)

    def direction(self, name: str) -> str:
        """The value of `aria-sort` for this column."""
        if self.sort.name != name:
            return ""
        return "descending" if self.sort.descending else "ascending"


class Sorts(msgspec.Struct, frozen=True):
    """What a list can be sorted by."""

    columns: dict[str, Any]
    """The columns by their names in the API; for a list in memory what gives the value of an item (`arranged`)."""
    default: str
    descending_first: frozenset[str] = frozenset()

    def asked(self, text: str) -> Sort:
        """The order that the API was asked for; raises ValidationFailed for a name that the list does not allow."""
        sort = Sort.parse(text or self.default)
        if sort.name not in self.columns:
            names = ", ".join(self.columns)
            raise ValidationFailed(fields={"sort": f"Sort by one of {names}; a leading - turns the order around."})
        return sort

    def order(self, text: str) -> Order:
        """The order that a page was asked for; words that are none mean the usual one."""
        sort, usual = Sort.parse(text or self.default), Sort.parse(self.default)
        return Order(sort if sort.name in self.columns else usual, usual, self.descending_first)

    def clauses(self, sort: Sort | None) -> list[ColumnElement[Any]]:
        """For ORDER BY; what has no value comes last in either direction."""
        wanted = sort or Sort.parse(self.default)
        column = self.columns[wanted.name]
        clause: ColumnElement[Any] = column.desc() if wanted.descending else column.asc()
        return [clause.nulls_last() if getattr(column, "nullable", False) else clause]

    def arranged(self, items: Iterable[Item], sort: Sort | None) -> list[Item]:
        """The items of a list in memory in this order; what has no value comes last in either direction."""
        wanted = sort or Sort.parse(self.default)
        value: Callable[[Item], Any] = self.columns[wanted.name]
        every = list(items)
        known = sorted((item for item in every if value(item) is not None), key=value, reverse=wanted.descending)
        return known + [item for item in every if value(item) is None]
