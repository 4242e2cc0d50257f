"""The fixture server for all tests of this directory, and what happens where the suite is not installed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.tools import SUITE, need
from tests.mcp_fixture.process import running_fixture


@pytest.fixture(scope="session")
def fixture_url() -> Iterator[str]:
    need(SUITE)
    with running_fixture() as url:
        yield url
