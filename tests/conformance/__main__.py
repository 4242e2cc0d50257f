"""See `scripts/conformance`: both totals of every scenario; exit status 0 only where they are the same and nothing failed."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Mapping

import uvloop

import tests.conftest  # noqa: F401 - It says where compiled rules are kept.
from tests.conformance.client import CLIENT_SCENARIOS, run_client_suite
from tests.conformance.suite import REVISIONS, Total, run_server_suite
from tests.mcp_fixture.process import running_fixture
from tests.proxy_harness import running_proxy

SHORT = ("2025-11-25", "2026-07-28")
"""The newest revision of each era: what the older ones ask for is a part of it."""
AT_THE_GATEWAY = ("--scenario", "dns-rebinding-protection")


async def compare(revisions: Mapping[str, tuple[str, ...]]) -> bool:
    """Run every revision directly and through a gateway with the shipped rules; whether all is well."""
    well = True
    with running_fixture() as url:
        async with running_proxy(type="mcp", target_url=url) as proxy:
            for revision, selection in revisions.items():
                began = time.monotonic()
                direct, through = await asyncio.gather(
                    run_server_suite(url, selection), run_server_suite(f"{proxy.url}/mcp", selection)
                )
                well &= report(revision, direct, through)
                print(f"  {time.monotonic() - began:.0f} s\n")
            rebinding = await run_server_suite(f"{proxy.url}/mcp", AT_THE_GATEWAY)
            print(f"dns-rebinding-protection at the gateway: {', '.join(map(str, rebinding.values()))}")
            well &= all(total.passed and not total.failed for total in rebinding.values())
    return well


async def compare_clients() -> bool:
    """Run the client scenarios without and with a gateway between the client and the suite's server."""
    totals = {
        f"{name} {revision}": both for (name, revision), both in (await run_client_suite(CLIENT_SCENARIOS)).items()
    }
    direct = {name: both[0] for name, both in totals.items()}
    return report("client scenarios", direct, {name: both[1] for name, both in totals.items()})


def report(name: str, direct: Mapping[str, Total], through: Mapping[str, Total]) -> bool:
    """Print both totals side by side; whether they are the same, and nothing failed."""
    print(f"{name:52} direct  gateway")
    well = True
    for scenario in sorted(direct.keys() | through.keys()):
        left, right = direct.get(scenario), through.get(scenario)
        same = str(left) == str(right) and left is not None and not left.failed
        print(f"  {scenario:50} {left or '-'!s:>6}  {right or '-'!s:>6}{'' if same else '  DIFFERS OR FAILS'}")
        for complaint in (*(left.complaints if left else ()), *(right.complaints if right else ())) if not same else ():
            print(f"      {complaint}")
        well &= same
    print(f"  {'total':50} {_sum(direct):>6}  {_sum(through):>6}")
    return well


def _sum(totals: Mapping[str, Total]) -> str:
    return f"{sum(one.passed for one in totals.values())}/{sum(one.failed for one in totals.values())}"


async def main() -> int:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(prog="scripts/conformance", description=__doc__)
    parser.add_argument("--short", action="store_true", help=f"only {' and '.join(SHORT)}")
    parser.add_argument("--client", action="store_true", help="only the client scenarios, through the gateway")
    arguments = parser.parse_args()
    if arguments.client:
        return 0 if await compare_clients() else 1
    chosen = {name: tuple(selection) for name, selection in REVISIONS.items() if name in SHORT or not arguments.short}
    return 0 if await compare(chosen) else 1


if __name__ == "__main__":
    sys.exit(uvloop.run(main()))
