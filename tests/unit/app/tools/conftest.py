"""Tests of tools use the shipped rules: what they find is what this feature is about."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conftest import RULESET_CACHE
from tests.support.console import Console, console_app
from tests.support.features import Bench, features_on
from tests.support.made_once import shipped_library
from tests.support.memory_fleet import MemoryFleet


@pytest.fixture
async def bench(tmp_path: Path, used_data: Path) -> AsyncIterator[Bench]:
    library = shipped_library()
    async with features_on(tmp_path, used_data, library=library, cache_dir=RULESET_CACHE) as running:
        yield running


@pytest.fixture
async def console(tmp_path: Path, used_data: Path) -> AsyncIterator[Console]:
    library = shipped_library()
    async with console_app(
        tmp_path, data_from=used_data, make_fleet=MemoryFleet, library=library, cache_dir=RULESET_CACHE
    ) as running:
        yield running
