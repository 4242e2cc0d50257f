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
from tests.conformance.gateway import running_gateway
from tests.conformance.suite import REVISIONS, Total, differing, run_server_suite
from tests.mcp_fixture.process import running_fixture

NEWEST = ("2025-11-25", "2026-07-28")
"""The newest revision of each era."""
AT_THE_GATEWAY = ("--scenario", "dns-rebinding-protection")


async def compare() -> bool:
    """Run every revision directly and through a gateway; whether all is well."""
    well = True
    with running_fixture() as url:
        async with running_gateway(url) as gateway:
            for revision, selection in REVISIONS.items():
                began = time.monotonic()
                direct, through = await asyncio.gather(
                    run_server_suite(url, selection), run_server_suite(gateway, selection)
                )
                well &= report(revision, direct, through)
                print(f"  {time.monotonic() - began:.0f} s\n")
            rebinding = await run_server_suite(gateway, AT_THE_GATEWAY)
            print(f"dns-rebinding-protection at the gateway: {', '.join(map(str, rebinding.values()))}")
            well &= all(total.passed and not total.failed for total in rebinding.values())
    return well


async def withhold(tool: str) -> bool:
    """Say which scenarios of the newest revision of each era need a tool; false where none does."""
    found = False
    with running_fixture() as url:
        async with running_gateway(url, unapproved={tool}) as gateway:
            for revision in NEWEST:
                direct = await run_server_suite(url, REVISIONS[revision])
                lost = differing(direct, await run_server_suite(gateway, REVISIONS[revision]))
                print(f"{revision}: {', '.join(sorted(lost)) or 'nothing'} needs {tool}")
                found |= bool(lost)
    return found


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
    parser.add_argument("--client", action="store_true", help="the client scenarios, through the gateway")
    parser.add_argument("--without", metavar="TOOL", help="say which scenarios fail when TOOL is not approved")
    arguments = parser.parse_args()
    if arguments.without:
        well = await withhold(arguments.without)
    else:
        well = await (compare_clients() if arguments.client else compare())
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(uvloop.run(main()))
