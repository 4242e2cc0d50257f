"""What the console costs: how soon a worker runs, and how long a page takes with many calls logged."""

from __future__ import annotations

import asyncio
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path

import httpx

from app.fleet.snapshot import Configuration
from app.fleet.supervisor import Fleet
from app.settings import Settings
from scripts.screenshots import PASSWORD, run_console, write_history
from tests.bench.stand import BenchSettings, free_port, ignore
from tests.bench.table import Table

PAGES = ("/", "/proxies", "/traffic", "/traffic?verdict=blocked", "/alerts", "/policies", "/access", "/audit")
PATIENCE_SECONDS = 300


async def measure_worker_start(table: Table, runs: int) -> None:
    """From the start of a worker's process until it runs, without rules."""
    seconds: list[float] = []

    async def load() -> Configuration:
        return Configuration(proxies=(), api_keys=(), rulesets=(), auto_start=frozenset())

    for _ in range(runs):
        with tempfile.TemporaryDirectory(prefix="ostiary-bench-") as directory:
            settings = BenchSettings(Path(directory))
            fleet = Fleet(settings=settings, load_configuration=load, ingest=ignore, on_status=lambda status: None)
            begin = time.perf_counter()
            await fleet.start()
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    while [worker.state for worker in fleet.workers()] != ["running"]:
                        await asyncio.sleep(0.002)
                seconds.append(time.perf_counter() - begin)
            finally:
                await fleet.stop()
    table.add("start of a worker", f"{statistics.median(seconds):.2f} s", "0.3 s", "0.1 s")


async def measure_pages(table: Table, calls: int, runs: int) -> None:
    """Time and size of the pages that people open most, with so many calls of one day logged."""
    with tempfile.TemporaryDirectory(prefix="ostiary-bench-") as directory:
        root = Path(directory)
        settings = Settings(data_dir=root / "data", port=free_port(), admin_password_file=root / "password")
        await write_history(settings, free_port())
        logged = multiply_calls(settings.data_dir / "ostiary.db", calls)
        process = await run_console(settings)
        assert process.stdout is not None
        reading = asyncio.create_task(process.stdout.read())
        try:
            found = await _visit(f"http://127.0.0.1:{settings.port}", runs)
        finally:
            process.terminate()
            await process.wait()
            await reading
    times = sorted(milliseconds for milliseconds, _ in found)
    p95, largest = times[int(len(times) * 0.95)], max(size for _, size in found)
    figure = f"p95 {p95:.0f} ms, p50 {statistics.median(times):.0f} ms; the largest {largest / 1024:.0f} KB"
    table.add(f"console page, {logged:,} calls logged", figure, "60 KB, p95 100 ms")


def multiply_calls(database: Path, wanted: int) -> int:
    """Repeat the logged calls under other ids until there are about so many; returns how many there are."""
    with sqlite3.connect(database) as connection:
        names = [row[1] for row in connection.execute("PRAGMA table_info(calls)")]
        (there,) = connection.execute("SELECT count(*) FROM calls").fetchone()
        others = ", ".join(f'"{name}"' for name in names if name != "id")
        connection.execute(
            "WITH RECURSIVE copies(number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM copies WHERE number < ?) "
            f"INSERT INTO calls (id, {others}) SELECT calls.id || number, {others} FROM calls, copies",
            (max(1, wanted // there - 1),),
        )
        (logged,) = connection.execute("SELECT count(*) FROM calls").fetchone()
    connection.close()
    return int(logged)


async def _visit(base: str, runs: int) -> list[tuple[float, int]]:
    """Milliseconds and bytes of each visit, once no proxy waits for its rules any more."""
    async with httpx.AsyncClient(base_url=base, timeout=PATIENCE_SECONDS) as client:
        login = await client.post("/api/v1/auth/login", json={"username": "admin", "password": PASSWORD})
        client.headers["Authorization"] = f"Bearer {login.json()['data']['token']}"
        async with asyncio.timeout(PATIENCE_SECONDS):
            while "starting" in (await client.get("/api/v1/proxies/status")).text:
                await asyncio.sleep(0.5)
        found = []
        for address in PAGES * runs:
            begin = time.perf_counter()
            page = await client.get(address)
            found.append(((time.perf_counter() - begin) * 1000, len(page.content)))
            assert page.status_code == 200, address
    return found
