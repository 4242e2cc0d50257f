"""What every console in this process would make alike, made once: it is most of the time that a short test takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from unittest import mock

import jinja2
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.util import LRUCache

from app.http import page
from app.http.assets import Assets
from app.policies.library import PolicyLibrary
from rules.packs import SHIPPED, load_directory
from rules.policy import load_policies

_assets = cache(Assets)
_shipped_policies = cache(load_policies)
_shipped_packs = cache(lambda: load_directory(SHIPPED))
_make_environment = page.environment
_dialects: list[Dialect] = []
_statements: LRUCache[Any, Any] = LRUCache(4000)


def shipped_library() -> PolicyLibrary:
    """A library of its own with the shipped policies and packs, which are read once."""
    return PolicyLibrary(_shipped_policies(), _shipped_packs())


@cache
def _environment(assets: Assets) -> jinja2.Environment:
    """The template environment; what a template compiles to stays in it."""
    return _make_environment(assets)


def _engine(*given: Any, **options: Any) -> AsyncEngine:
    """An engine. SQLAlchemy keeps what a statement compiles to in its engine and by its dialect: all have the same."""
    engine = create_async_engine(*given, **options)
    own = engine.sync_engine
    _dialects.append(own.dialect)
    own.dialect = own.pool._dialect = _dialects[0]
    own._compiled_cache = _statements
    return engine


@contextmanager
def made_once() -> Iterator[None]:
    """What is put together in this block shares templates, static files and compiled statements with what was before."""
    with (
        mock.patch("app.application.Assets", _assets),
        mock.patch("app.http.page.environment", _environment),
        mock.patch("app.database.engine.create_async_engine", _engine),
    ):
        yield
