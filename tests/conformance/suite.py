"""Runs the suite as a process and reads what it found: checks passed and failed, by scenario."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.conformance.tools import NODE, SUITE

REVISIONS: Mapping[str, Sequence[str]] = {
    "2025-03-26": ("--suite", "all", "--spec-version", "2025-03-26"),
    "2025-06-18": ("--suite", "all", "--spec-version", "2025-06-18"),
    "2025-11-25": ("--requirements", "2025-11-25"),
    "2026-07-28": ("--requirements", "2026-07-28"),
}
"""What selects the scenarios of a revision. The suite froze lists of required scenarios for the last two only."""

RUN_SECONDS = 300.0
_RESULT_DIRECTORY = re.compile(r"(?:server-)?(?P<scenario>.+)-\d{4}-\d\d-\d\dT[\d-]+Z")


@dataclass(frozen=True)
class Total:
    """Checks of one scenario."""

    passed: int
    failed: int
    complaints: tuple[str, ...] = ()
    """What the failed checks say."""

    def __str__(self) -> str:
        return f"{self.passed}/{self.failed}"


async def run_server_suite(url: str, selection: Sequence[str]) -> dict[str, Total]:
    """The totals of every scenario that was run against a server."""
    with TemporaryDirectory() as directory:
        output = await run("server", "--url", url, *selection, "-o", directory)
        totals = read_totals(Path(directory))
    if not totals:
        raise RuntimeError(f"the suite reported nothing:\n{output}")
    return totals


def differing(left: Mapping[str, Total], right: Mapping[str, Total]) -> set[str]:
    """The scenarios whose totals are not the same."""
    return {name for name in left.keys() | right.keys() if str(left.get(name)) != str(right.get(name))}


async def run(*arguments: str) -> str:
    """Run the suite; what it printed."""
    process = await asyncio.create_subprocess_exec(
        str(NODE), str(SUITE), *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(RUN_SECONDS):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return output.decode(errors="replace")


def read_totals(directory: Path) -> dict[str, Total]:
    """The totals in the suite's output directory, which holds one directory a scenario."""
    totals: dict[str, Total] = {}
    for path in sorted(directory.rglob("checks.json")):
        named = _RESULT_DIRECTORY.fullmatch(path.parent.name)
        checks = json.loads(path.read_text())
        failed = [check for check in checks if check["status"] == "FAILURE"]
        totals[named["scenario"] if named else path.parent.name] = Total(
            passed=sum(check["status"] == "SUCCESS" for check in checks),
            failed=len(failed),
            complaints=tuple(f"{check['id']}: {check.get('errorMessage', '')}" for check in failed),
        )
    return totals
