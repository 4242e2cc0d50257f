"""A console in this process, on its own copy of a data directory that is made once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.console import Console, console_app, used_data_directory


@pytest.fixture(scope="session")
def used_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory after the first password change."""
    return asyncio.run(used_data_directory(tmp_path_factory.mktemp("used")))


@pytest.fixture
async def console(tmp_path: Path, used_data: Path) -> AsyncIterator[Console]:
    async with console_app(tmp_path, data_from=used_data) as running:
        yield running
