"""A console in this process, on its own copy of a data directory that is made once.

It has small rule packs and a fleet in memory, so that no test waits for a compiler or a worker.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from unittest import mock

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from tests.support.console import Console, console_app, shared_console
from tests.support.features import Bench, features_on
from tests.support.kept_rules import compile_kept
from tests.support.library import small_library
from tests.support.memory_fleet import MemoryFleet
from tests.support.tab import Tab, tab_of


@pytest.fixture(autouse=True)
def kept_rules() -> Iterator[None]:
    """Consoles, drafts and lint ask for small rulesets anew in each test; what they compile to is kept between them."""
    with (
        mock.patch("rules.ruleset_cache.compile_ruleset", compile_kept),
        mock.patch("rules.lint.compile_ruleset", compile_kept),
        mock.patch("app.policies.evaluation.compile_ruleset", compile_kept),
    ):
        yield


@pytest.fixture
async def console(tmp_path: Path, used_data: Path) -> AsyncIterator[Console]:
    async with console_app(tmp_path, data_from=used_data, make_fleet=MemoryFleet, library=small_library()) as running:
        yield running


@pytest.fixture
async def tab(console: Console) -> Tab:
    """The administrator's tab."""
    return await tab_of(console)


@pytest.fixture
def fleet(console: Console) -> MemoryFleet:
    """The fleet of `console`."""
    found: MemoryFleet = console.app.state.fleet
    return found


@pytest.fixture
async def bench(tmp_path: Path, used_data: Path) -> AsyncIterator[Bench]:
    """The features without the web server, in the test's own loop."""
    async with features_on(tmp_path, used_data) as running:
        yield running


@pytest.fixture(scope="module")
def shared(
    used_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[TestClient[Litestar], dict[str, str]]]:
    """One console for all tests of a module that change nothing: its client and the administrator's headers."""
    with shared_console(tmp_path_factory.mktemp("shared"), used_data) as running:
        yield running
