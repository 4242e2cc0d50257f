"""The official MCP conformance suite says the same of our fixture server directly and through the gateway.

The gateway applies the shipped rules and has every tool of the server approved. `scripts/conformance` prints the totals.
"""

from __future__ import annotations

import pytest

from tests.conformance.client import CLIENT_SCENARIOS, run_client_scenario
from tests.conformance.conftest import Direct
from tests.conformance.gateway import running_gateway
from tests.conformance.suite import REVISIONS, differing, run_server_suite
from tests.conformance.tools import SUITE, need

pytestmark = [pytest.mark.peers, pytest.mark.timeout(300)]

SCORED = {"2025-03-26": 3, "2025-06-18": 56, "2025-11-25": 84, "2026-07-28": 196}
"""Checks of the suite that our server passes: fewer would mean that something was not tried."""


@pytest.mark.parametrize("revision", REVISIONS)
async def test_the_suite_says_the_same_directly_and_through_the_gateway(direct: Direct, revision: str) -> None:
    async with running_gateway(direct.url) as gateway:
        through = await run_server_suite(gateway, REVISIONS[revision])
    assert {name: (str(one), one.complaints) for name, one in through.items()} == {
        name: (str(one), one.complaints) for name, one in (await direct.totals(revision)).items()
    }
    assert sum(one.failed for one in through.values()) == 0
    assert sum(one.passed for one in through.values()) == SCORED[revision]


async def test_G_01_rebinding_of_a_name_is_refused_by_the_gateway_itself(fixture_url: str) -> None:
    async with running_gateway(fixture_url) as gateway:
        (total,) = (await run_server_suite(gateway, ("--scenario", "dns-rebinding-protection"))).values()
    assert (total.passed, total.failed) == (2, 0)


@pytest.mark.parametrize(
    ("tool", "revision", "lost"),
    [
        ("test_simple_text", "2025-11-25", {"tools-call-simple-text"}),
        ("test_sampling", "2025-11-25", {"tools-call-sampling"}),
        ("greet", "2026-07-28", {"tasks-dispatch-and-envelope", "tasks-lifecycle", "tasks-request-headers"}),
        ("test_x_mcp_header", "2026-07-28", {"http-custom-header-server-validation"}),
        ("test_simple_prompt", "2025-11-25", {"prompts-get-simple"}),
    ],
)
async def test_T_03_without_one_approval_exactly_its_scenarios_fail(
    direct: Direct, tool: str, revision: str, lost: set[str]
) -> None:
    async with running_gateway(direct.url, unapproved={tool}) as gateway:
        through = await run_server_suite(gateway, REVISIONS[revision])
    assert differing(await direct.totals(revision), through) == lost


@pytest.mark.parametrize(("scenario", "revision"), CLIENT_SCENARIOS)
async def test_a_client_scenario_passes_through_the_gateway(scenario: str, revision: str) -> None:
    need(SUITE)
    total = await run_client_scenario(scenario, revision, "gateway")
    assert (total.failed, total.complaints) == (0, ())
    assert total.passed > 0
