"""What MCP costs: calls and lists of a server under control, and what waits in silence."""

from __future__ import annotations

import json
from typing import Any

from tests.bench.distinct import MARK
from tests.bench.mcp_upstream import LEGACY, MODERN, REQUEST_ID, TOOL_COUNT
from tests.bench.stand import Stand, rss_bytes, start_load
from tests.bench.table import Table, median_of

ARGUMENT_BYTES = 1024
SUBJECT = "Please summarise the changes of the quarterly report for the finance team, and keep it short and friendly. "


def modern_job(method: str, params: dict[str, Any]) -> dict[str, Any]:
    """What the load generator sends for one request of the modern era."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
    }
    body = {"jsonrpc": "2.0", "id": REQUEST_ID, "method": method, "params": {**params, "_meta": meta}}
    headers = {"mcp-protocol-version": MODERN, "mcp-method": method}
    if "name" in params:
        headers["mcp-name"] = params["name"]
    return {"path": "/mcp", "body": json.dumps(body, separators=(",", ":")), "headers": headers}


def call_job() -> dict[str, Any]:
    """One `tools/call` with arguments of about `ARGUMENT_BYTES`."""
    subject = (f"{MARK}: " + SUBJECT * (ARGUMENT_BYTES // len(SUBJECT) + 1))[: ARGUMENT_BYTES - 40]
    return modern_job("tools/call", {"name": "report_007", "arguments": {"subject": subject, "rows": 20}})


async def measure_mcp(stand: Stand, table: Table, count: int, runs: int) -> None:
    """CPU of calls and lists, closed loop with 32 connections."""
    worker = stand.worker_pids[0]
    cases = (
        ("MCP tools/call, 1 KB arguments, everything on", call_job(), count, "250 µs"),
        (f"MCP tools/list, {TOOL_COUNT} approved tools", modern_job("tools/list", {}), count // 10, "2 ms"),
    )
    for what, job, number, bar in cases:
        job |= {"mode": "closed", "connections": 32}
        await stand.send("mcp", **job, count=max(64, number // 10))
        results = [await stand.send_measured("mcp", worker, **job, count=number) for _ in range(runs)]
        failed = sum(run["failures"] for run in results)
        rate = number / median_of(results, "seconds")
        figure = (
            f"{median_of(results, 'cpu_us'):,.0f} µs CPU; {rate:,.0f}/s seen, p99 {median_of(results, 'p99_ms'):.2f} ms"
        )
        table.add(what, f"{figure}, {failed} failed", bar)


async def measure_silent_mcp(stand: Stand, table: Table, streams: int, sessions: int, sockets: int) -> None:
    """Memory of open, silent subscriptions, of legacy sessions with their streams, and of WebSockets."""
    listen = modern_job("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
    params = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}
    opening = {"jsonrpc": "2.0", "id": REQUEST_ID, "method": "initialize", "params": params}
    cases = (
        ("idle MCP subscriptions", streams, {"mode": "idle", **listen}, "40 KB"),
        (
            "idle legacy MCP sessions with their streams",
            sessions,
            {"mode": "sessions", "path": "/mcp", "body": json.dumps(opening)},
            "",
        ),
        ("idle WebSockets of MCP clients", sockets, {"mode": "websockets", "path": "/ws", "body": ""}, "35 KB"),
    )
    for what, count, job, bar in cases:
        grown, held = await grown_by(stand, {**job, "connections": count})
        table.add(what, f"{grown / count / 1024:.1f} KB each ({count:,} opened, {held:,} held)", bar)


async def grown_by(stand: Stand, job: dict[str, Any]) -> tuple[int, int]:
    """By how many bytes the worker grew while the job held its streams, and how many were held."""
    worker = stand.worker_pids[0]
    before = rss_bytes(worker)
    process = await start_load()
    assert process.stdin
    assert process.stdout
    process.stdin.write(stand.encode("mcp", job))
    await process.stdin.drain()
    if not await process.stdout.readline():
        raise RuntimeError(f"the streams of {job['mode']} could not be opened")
    grown = rss_bytes(worker) - before
    held, _ = await process.communicate(b"enough\n")
    return grown, json.loads(held)["held"]
