"""A console in this process, on a fresh data directory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.console import Console, console_app


@pytest.fixture
async def console(tmp_path: Path) -> AsyncIterator[Console]:
    async with console_app(tmp_path) as running:
        yield running
