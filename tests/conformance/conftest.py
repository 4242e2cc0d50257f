"""The fixture server for all tests of this directory, and what happens where the suite is not installed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.suite import REVISIONS, Total, run_server_suite
from tests.conformance.tools import SUITE, need
from tests.mcp_fixture.process import running_fixture


class Direct:
    """What the suite says about the fixture server itself, asked once for each revision."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._totals: dict[str, dict[str, Total]] = {}

    async def totals(self, revision: str) -> dict[str, Total]:
        """The totals of a revision."""
        if revision not in self._totals:
            self._totals[revision] = await run_server_suite(self.url, REVISIONS[revision])
        return self._totals[revision]


@pytest.fixture(scope="session")
def direct(fixture_url: str) -> Direct:
    return Direct(fixture_url)


@pytest.fixture(scope="session")
def fixture_url() -> Iterator[str]:
    need(SUITE)
    with running_fixture() as url:
        yield url
