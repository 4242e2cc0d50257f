"""`scripts/bench [--quick] [--json FILE]`: run every measurement, print the table of DESIGN §11."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from functools import cache
from pathlib import Path
from typing import Any

from rules import engine
from rules.compiler import compile_ruleset
from rules.engine import Ruleset, decide
from rules.model import Target, Text
from rules.packs import SHIPPED, load_directory
from tests.bench.console import measure_pages, measure_worker_start
from tests.bench.distinct import MARK
from tests.bench.load import percentiles
from tests.bench.mcp import measure_mcp, measure_silent_mcp
from tests.bench.stand import LLM_PACKS, Stand, free_port, pss_bytes, rss_bytes, running_stand, start_load
from tests.bench.table import Table, median_of

PROSE = (
    "Please summarise the quarterly report for the finance team, list the three largest changes against last year, and "
    "say which of them need a decision before the end of the month. Keep the tone friendly and plain; avoid jargon. "
)


VALUES = "Write to zoe.ohara@example.com and ann.lee@example.org, card 4111 1111 1111 1111. "
"""Values to mask; they belong to nobody."""


def chat_body(size_bytes: int, *, values: bool = False, turns: int = 1, **more: Any) -> str:
    """A chat request of about this size, as text; with `values` it holds three to mask. Of several turns only the last is new."""
    content = f"{MARK}: " + (VALUES if values else "") + (PROSE * (size_bytes // len(PROSE) + 1))[: size_bytes - 170]
    messages = [{"role": "system", "content": "You are a careful assistant."}, {"role": "user", "content": content}]
    if turns > 1:
        size = len(content) // turns
        said = [content[at : at + size] for at in range(0, size * turns, size)]
        parts = [*said[1:], said[0]]
        messages[1:] = [{"role": "assistant" if at % 2 else "user", "content": part} for at, part in enumerate(parts)]
    return json.dumps({"model": "bench", "messages": messages, **more}, separators=(",", ":"))


async def measure_calls(stand: Stand, table: Table, count: int, runs: int) -> None:
    """CPU and throughput, closed loop with 32 connections."""
    worker = stand.worker_pids[0]
    cases: list[tuple[str, str, int, int, str, str]] = [
        ("direct to the upstream, 2 KB", "direct", 0, 2048, "", ""),
        ("nginx as a plain proxy, 2 KB", "nginx", stand.nginx_pid, 2048, "", ""),
        ("pass-through with a key, 2 KB", "pass", worker, 2048, "80 µs", "50 µs"),
        ("everything on, 2 KB", "full", worker, 2048, "150 µs, 6,000/s", "100 µs, 10,000/s"),
        ("everything on, 20 KB", "full", worker, 20480, "", ""),
        ("everything on, 20 KB, the 21st turn of a conversation", "full", worker, 20480, "", ""),
        ("masking on, nothing to mask, 2 KB", "mask", worker, 2048, "", ""),
        ("masking on, three values, 2 KB", "mask", worker, 2048, "", ""),
    ]
    for what, port, pid, size, bar, reach in cases:
        if port not in stand.ports:
            table.add(what, "not installed", bar, reach)
            continue
        body = chat_body(size, values="values" in what, turns=21 if "turn" in what else 1)
        job = {"mode": "closed", "connections": 32, "body": body}
        await stand.send(port, **job, count=count // 10)
        if not pid:
            results = [await stand.send(port, **job, count=count) for _ in range(runs)]
            figure = ""
        else:
            results = [await stand.send_measured(port, pid, **job, count=count) for _ in range(runs)]
            cpu = median_of(results, "cpu_us")
            figure = f"{cpu:.0f} µs CPU, one core full at {1e6 / cpu:,.0f}/s; "
        rate = count / median_of(results, "seconds")
        failed = sum(run["failures"] for run in results)
        table.add(
            what, f"{figure}{rate:,.0f}/s seen, p99 {median_of(results, 'p99_ms'):.2f} ms, {failed} failed", bar, reach
        )


async def measure_latency(stand: Stand, table: Table, seconds: int, runs: int) -> None:
    """Added latency at a fixed 1,000 requests a second."""
    job = {"mode": "rate", "connections": 64, "rate": 1000, "seconds": seconds, "body": chat_body(2048)}
    direct = [await stand.send("direct", **job) for _ in range(runs)]
    full = [await stand.send("full", **job) for _ in range(runs)]
    added = {name: median_of(full, name) - median_of(direct, name) for name in ("p50_ms", "p99_ms")}
    figure = (
        f"p50 {added['p50_ms']:.2f} ms, p99 {added['p99_ms']:.2f} ms (direct p99 {median_of(direct, 'p99_ms'):.2f} ms)"
    )
    table.add("added latency at 1,000/s, everything on, 2 KB", figure, "p50 1 ms, p99 10 ms", "p99 2 ms")


async def measure_streams(stand: Stand, table: Table, chunks: int) -> None:
    """The delay that the gateway adds to a streamed event."""
    settings = json.dumps({"chunks": chunks, "interval_ms": 10})
    job = {"mode": "streams", "connections": 10, "body": chat_body(2048, stream=True, user=settings)}
    direct = await stand.send("direct", **job)
    full = await stand.send("full", **job)
    p50, p99 = full["p50_ms"] - direct["p50_ms"], full["p99_ms"] - direct["p99_ms"]
    figure = f"p50 {p50:.2f} ms, p99 {p99:.2f} ms over {full['count']:,} events (10 streams × 100/s)"
    table.add("streamed chunk, added delay", figure, "p99 2 ms", "0.5 ms")
    job["body"] = chat_body(2048, values=True, stream=True, user=settings)
    masked = await stand.send("mask", **job)
    p50, p99 = masked["p50_ms"] - direct["p50_ms"], masked["p99_ms"] - direct["p99_ms"]
    figure = f"p50 {p50:.2f} ms, p99 {p99:.2f} ms over {masked['count']:,} events, redacting and restoring"
    table.add("streamed chunk, added delay, masking on", figure, "p99 2 ms", "0.5 ms")


async def measure_idle_streams(stand: Stand, table: Table, count: int) -> None:
    """Memory of open, silent streams."""
    worker = stand.worker_pids[0]
    before = rss_bytes(worker)
    settings = json.dumps({"chunks": 0, "interval_ms": 0})
    job = {"mode": "idle", "connections": count, "body": chat_body(2048, stream=True, user=settings)}
    process = await start_load()
    assert process.stdin
    assert process.stdout
    process.stdin.write(stand.encode("full", job))
    await process.stdin.drain()
    if not await process.stdout.readline():
        raise RuntimeError(f"{count} streams could not be opened")
    grown = rss_bytes(worker) - before
    held, _ = await process.communicate(b"enough\n")
    figure = f"{grown / count / 1024:.1f} KB each ({count:,} streams, {json.loads(held)['held']:,} held)"
    table.add("idle SSE streams", figure, "40 KB", "25 KB")


def repeated_prose(size_chars: int, number: int) -> str:
    """One paragraph again and again: hardly a word of it occurs in any rule."""
    return f"{number} " + (PROSE * (size_chars // len(PROSE) + 1))[number % 50 : size_chars]


@cache
def written_text() -> str:
    """What people wrote: the documentation, which speaks of the very things that rules look for, and some source code."""
    root = Path(__file__).resolve().parents[2]
    return "\n\n".join(path.read_text() for path in (*sorted(root.glob("docs/*.md")), *sorted(root.glob("rules/*.py"))))


def real_text(size_chars: int, number: int) -> str:
    """A piece of `written_text`; consecutive numbers give pieces from all over it."""
    text = written_text()
    start = number * 104_729 % (len(text) - size_chars)
    return text[start : start + size_chars]


def table_of_numbers(size_chars: int, number: int) -> str:
    """Dates, amounts and prices, as agents read them all day."""
    rows = range(number, number + size_chars // 16)
    lines = (
        f"2024-{row % 12 + 1:02}-{row % 28 + 1:02},{row * 7919 % 100_000},{row % 997}.{row % 100:02}" for row in rows
    )
    return "\n".join(lines)[:size_chars]


def measure_policy(table: Table, count: int) -> None:
    """Evaluation alone: all LLM packs over one message."""
    packs = load_directory(SHIPPED)
    begin = time.process_time()
    compiled = compile_ruleset([packs[name] for name in LLM_PACKS])
    table.add("compiling the rules, CPU", f"{time.process_time() - begin:.1f} s", "", "")
    ruleset = Ruleset.load(compiled.packs_bytes, compiled.database_bytes)
    for _ in ruleset.prepare():
        pass  # As a worker does behind its first calls.
    for name, make in (("prose", repeated_prose), ("real text", real_text), ("numbers", table_of_numbers)):
        for size, bar, reach in ((2048, "p99 0.5 ms", "0.15 ms"), (20480, "p99 2 ms", "1 ms")):
            times: list[float] = []
            for number in range(count):
                text = Text(Target.PROMPT, "/messages/0/content", make(size, number))
                # Processor time: evaluation waits for nothing, and what else the machine does is not its doing.
                begin = time.thread_time()
                decide(ruleset.scan([text], direction="request"), log_only=False)
                times.append((time.thread_time() - begin) * 1000)
            seen = percentiles(times)
            what = f"policy evaluation, {size // 1024} KB of {name}, {ruleset.rule_count} rules, CPU"
            table.add(what, f"p50 {seen['p50_ms']:.3f} ms, p99 {seen['p99_ms']:.3f} ms", bar, reach)


async def measure_second_worker(table: Table) -> None:
    """What one more worker costs."""
    async with running_stand(workers=2) as stand:
        pids = stand.worker_pids
        table.add("second worker's memory", f"{pss_bytes(pids[1]) / 2**20:.0f} MB (PSS)", "60 MB", "40 MB")


def measure_console_start(table: Table, runs: int) -> None:
    """From the command to the first page, on an existing database."""
    seconds: list[float] = []
    with tempfile.TemporaryDirectory(prefix="ostiary-bench-") as directory:
        password_file = str(Path(directory) / "password")
        for run in range(runs + 1):
            port = free_port()
            command = [sys.executable, "-m", "app", "serve", "--port", str(port), "--data-dir", f"{directory}/data"]
            command += ["--admin-password-file", password_file]
            begin = time.perf_counter()
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                _wait_for_page(f"http://127.0.0.1:{port}/login", begin + 30)
                if run:
                    seconds.append(time.perf_counter() - begin)
            finally:
                process.terminate()
                process.wait(30)
    table.add("start to the first page (existing database)", f"{statistics.median(seconds):.2f} s", "1.5 s", "0.8 s")


def _wait_for_page(url: str, give_up_at: float) -> None:
    while time.perf_counter() < give_up_at:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.01)
    raise RuntimeError("the console did not answer within 30 s")


async def run(arguments: argparse.Namespace) -> None:
    """Every measurement, in the order of the table."""
    quick = arguments.quick
    count, runs = (3000, 1) if quick else (20_000, 5)
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    table = Table()
    kind = "machine code" if engine.__file__.endswith(".so") else "interpreted"
    print(
        f"Hot path: {kind}. {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, medians of {runs} runs of {count:,} requests\n"
    )
    table.head()
    async with running_stand() as stand:
        await measure_calls(stand, table, count, runs)
        await measure_latency(stand, table, 3 if quick else 10, runs if quick else 3)
        await measure_streams(stand, table, 100 if quick else 500)
        await measure_idle_streams(stand, table, 200 if quick else 5000)
        await measure_mcp(stand, table, count, runs)
        await measure_silent_mcp(stand, table, 100 if quick else 1000, 20 if quick else 200, 200 if quick else 2000)
    measure_policy(table, 300 if quick else 3000)
    await measure_second_worker(table)
    await measure_worker_start(table, 1 if quick else 5)
    measure_console_start(table, 1 if quick else 5)
    await measure_pages(table, 20_000 if quick else 1_000_000, 2 if quick else 20)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(table.rows, indent=2, ensure_ascii=False) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="small counts: shows that the bench works, not how fast we are"
    )
    parser.add_argument("--interpreted", action="store_true", help="bench the sources as they are")
    parser.add_argument("--json", metavar="FILE", help="write the rows there too")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
