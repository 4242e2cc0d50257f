"""`python -m tests.bench.console [--calls N]`: how fast the console's pages are over a long log, and how large.

A month of calls is made once: a few thousand go through the real ingestion, the database then multiplies them into the
past. The pages are asked for in this process, so that CPU time means something on a busy machine; wall time is shown beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import text

from app import clock
from app.database.engine import Database
from proxies.contract import CallRecord, CapturedText, TextMark
from rules.model import Action, Severity, Target
from tests.support.console import PASSWORD, Console, console_app
from tests.support.library import small_library
from tests.support.memory_fleet import MemoryFleet
from tests.support.records import blocked_call, call, finding
from tests.support.tab import Tab, make_proxy, tab_of

SEED_CALLS = 5_000
WINDOW_HOURS = 3
REPEATS = 40
ROUNDS_WARM = 3
RULES = tuple((f"PI-{number:04}", Severity(number % 5)) for number in range(25))
TEXTS = (
    CapturedText(
        direction="request",
        target=Target.PROMPT,
        path="/messages/0/content",
        text="Please help. " * 60,
        marks=(TextMark(0, 6, "PI-0001"),),
    ),
    CapturedText("response", Target.COMPLETION, "/choices/0/message/content", "Of course. " * 40),
)
LOGS = ("calls", "call_texts", "alerts")
ROLL_UPS = ("traffic_minutes", "traffic_hours", "rule_hours", "client_hours")
PAGES = (
    "/",
    "/traffic",
    "/traffic?verdict=blocked",
    "/traffic?search=gpt",
    "/traffic?search=nothing-like-it",
    "/traffic?hours=24&offset=3000",
    "/traffic?sort=-duration_ms",
    "/traffic?proxy_id={proxy}&sort=operation",
    "/traffic/{call}",
    "/traffic?call={call}",
    "/proxies",
    "/proxies/{proxy}",
    "/alerts",
    "/alerts?sort=-severity",
    "/alerts?status=any&search=key",
    "/audit",
)


def seed_records(proxy_ids: list[str], randomness: random.Random) -> list[CallRecord]:
    """Calls of the last hours, every eighth with findings."""
    now = time.time()
    made = []
    for _ in range(SEED_CALLS):
        shared: dict[str, Any] = {
            "proxy_id": randomness.choice(proxy_ids),
            "started_at": now - randomness.random() * WINDOW_HOURS * 3600,
            "duration_ms": randomness.lognormvariate(6, 0.6),
            "client_ip": f"10.0.{randomness.randint(0, 9)}.{randomness.randint(1, 250)}",
            "principal_name": f"team-{randomness.randint(1, 30)}",
            "operation": randomness.choice(("gpt-5.1", "gpt-4o", "claude-sonnet-4-5", "tools/call run")),
            "texts": (
                CapturedText(
                    "request",
                    Target.PROMPT,
                    "/messages/0/content",
                    "Please help. " * 60,
                    marks=(TextMark(0, 6, "PI-0001"),),
                ),
                CapturedText("response", Target.COMPLETION, "/choices/0/message/content", "Of course. " * 40),
            ),
        }
        if randomness.random() < 0.125:
            rule_id, severity = randomness.choice(RULES)
            found = finding(rule_id=rule_id, severity=severity)
            blocked = randomness.random() < 0.5
            made.append(
                blocked_call(found, **shared) if blocked else call(findings=(found,), action=Action.ALERT, **shared)
            )
        else:
            made.append(call(**shared))
    return made


async def multiply(database: Database, calls: int) -> None:
    """Repeat what is there into the past until the log holds so many calls; a transaction a repetition."""
    columns: dict[str, list[str]] = {}
    async with database.writer() as session:
        for table in (*LOGS, *ROLL_UPS):
            rows = await session.execute(text(f"PRAGMA table_info({table})"))
            columns[table] = [row[1] for row in rows]
            await session.execute(text(f"CREATE TABLE seed_{table} AS SELECT * FROM {table}"))
    for copy in range(1, calls // SEED_CALLS):
        async with database.writer() as session:
            for table, names in columns.items():
                taken = ", ".join(_shifted(name, copy) for name in names)
                listed = ", ".join(names)
                await session.execute(
                    text(f"INSERT OR IGNORE INTO {table} ({listed}) SELECT {taken} FROM seed_{table}")
                )


def _shifted(name: str, copy: int) -> str:
    hours = copy * WINDOW_HOURS
    if name in ("started_at", "created_at", "updated_at"):
        return f"strftime('%Y-%m-%d %H:%M:%f000', {name}, '-{hours} hours')"
    if name in ("id", "call_id"):
        return f"'copy{copy}_' || {name}"
    return f"{name} - {hours}" if name == "hour" else f"{name} - {hours * 60}" if name == "minute" else name


async def measure(tab: Tab, address: str) -> tuple[int, list[float], list[float]]:
    """(bytes, CPU ms, wall ms) of a page; the first rounds warm it up."""
    size, spent, waited = 0, [], []
    for number in range(ROUNDS_WARM + REPEATS):
        cpu, wall = time.process_time(), time.perf_counter()
        answer = await tab.get(address)
        assert answer.status_code == 200, (address, answer.status_code)
        if number >= ROUNDS_WARM:
            spent.append((time.process_time() - cpu) * 1000)
            waited.append((time.perf_counter() - wall) * 1000)
        size = len(answer.content)
    return size, spent, waited


def quantile(values: list[float], fraction: float) -> float:
    """The value below which this fraction lies."""
    return sorted(values)[min(len(values) - 1, int(len(values) * fraction))]


async def main(calls: int) -> None:
    """Make the log, ask for the pages, print the table."""
    with tempfile.TemporaryDirectory() as scratch:
        console: Console
        async with console_app(Path(scratch), make_fleet=MemoryFleet, library=small_library()) as console:
            proxy_ids = [await make_proxy(console, f"proxy-{number}", 4000 + number) for number in range(8)]
            records = seed_records(proxy_ids, random.Random(7))
            console.client.blocking_portal.call(console.app.state.ingest, records)
            started = clock.utcnow()
            console.client.blocking_portal.call(multiply, console.app.state.database, calls)
            print(f"{calls:,} calls in {(clock.utcnow() - started) / timedelta(seconds=1):.0f} s")
            tab = await tab_of(console, "admin", PASSWORD)
            print(f"{'page':44} {'KB':>6} {'CPU p50':>9} {'CPU p95':>9} {'wall p95':>9}  ms")
            for page in PAGES:
                address = page.format(proxy=proxy_ids[0], call=records[0].id)
                size, spent, waited = await measure(tab, address)
                figures = (quantile(spent, 0.5), quantile(spent, 0.95), quantile(waited, 0.95))
                print(f"{page:44} {size / 1024:6.1f} " + " ".join(f"{figure:9.1f}" for figure in figures))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1_000_000)
    asyncio.run(main(parser.parse_args().calls))
