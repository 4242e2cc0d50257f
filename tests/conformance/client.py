"""The suite's client scenarios: the suite plays the server, the official client is the client, the gateway stands between.

Every scenario is run twice, without the gateway and with it, because some ask more of the client than the client can do.
"""

from __future__ import annotations

import asyncio
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.conformance.suite import Total, read_totals, run
from tests.conformance.tools import ROOT

CLIENT_SCENARIOS = (
    ("initialize", "2025-11-25"),
    ("tools_call", "2025-06-18"),
    ("tools_call", "2025-11-25"),
    ("tools_call", "2026-07-28"),
    ("elicitation-sep1034-client-defaults", "2025-11-25"),
    ("sse-retry", "2025-11-25"),
    ("json-schema-2020-12-preservation", "2025-11-25"),
    ("json-schema-2020-12-preservation", "2026-07-28"),
    ("request-metadata", "2026-07-28"),
    ("http-standard-headers", "2026-07-28"),
    ("http-custom-headers", "2026-07-28"),
    ("http-invalid-tool-headers", "2026-07-28"),
    ("json-schema-ref-no-deref", "2026-07-28"),
    ("sep-2322-client-request-state", "2026-07-28"),
)
"""Scenario and the revision that its client speaks."""
MAX_AT_A_TIME = 2
"""Each starts two Python processes."""

PROGRAM = Path(__file__).with_name("client_program.py")


async def run_client_suite(scenarios: Sequence[tuple[str, str]]) -> dict[tuple[str, str], tuple[Total, Total]]:
    """The totals of every scenario, direct and through the gateway."""
    places = asyncio.Semaphore(MAX_AT_A_TIME)

    async def both(scenario: str, revision: str) -> tuple[Total, Total]:
        async with places:
            return (
                await run_client_scenario(scenario, revision, "direct"),
                await run_client_scenario(scenario, revision, "gateway"),
            )

    totals = await asyncio.gather(*[both(*one) for one in scenarios])
    return dict(zip(scenarios, totals, strict=True))


async def run_client_scenario(scenario: str, revision: str, way: str) -> Total:
    """The totals of one scenario."""
    command = shlex.join(["env", f"PYTHONPATH={ROOT}", sys.executable, str(PROGRAM), way])
    with TemporaryDirectory() as directory:
        output = await run(
            *("client", "--command", command, "--scenario", scenario, "--spec-version", revision, "-o", directory)
        )
        totals = read_totals(Path(directory))
    if len(totals) != 1:
        raise RuntimeError(f"the suite reported nothing about {scenario}:\n{output}")
    (total,) = totals.values()
    return total if total.passed else Total(0, max(total.failed, 1), (*total.complaints, output[-2000:]))
