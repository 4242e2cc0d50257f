"""The bench's stand: upstream, real workers under the console's Fleet, optional nginx, and the way to send a job."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from app.fleet.snapshot import Configuration
from app.fleet.supervisor import Fleet
from proxies.contract import APIKey, CallRecord, EntryRule, MCPControl, MCPSettings, ProxyConfig, RulesetSource
from rules.packs import SHIPPED, Pack, load_directory
from rules.pinning.canonical import hash_json
from rules.policy import load_policies
from rules.ruleset_cache import cached_ruleset
from tests.bench.mcp_upstream import tools

KEY = "ost_" + "b" * 43
KEY_DIGEST = hashlib.sha256(KEY.encode()).hexdigest()
TICKS = os.sysconf("SC_CLK_TCK")
LLM_PACKS = tuple(load_policies()["llm-critical-security"].packs)
MCP_PACKS = tuple(load_policies()["mcp-advanced-security"].packs)


class BenchSettings(msgspec.Struct, frozen=True):
    """What the fleet wants to know of the console's settings."""

    data_dir: Path
    workers: int = 1
    host: str = "127.0.0.1"
    port: int = 0
    drain_timeout_seconds: float = 1.0


class Stand:
    """The running processes of one bench."""

    def __init__(self, fleet: Fleet, ports: dict[str, int]) -> None:
        self.fleet = fleet
        self.ports = ports
        self.nginx_pid = 0

    @property
    def worker_pids(self) -> list[int]:
        """The workers' process ids."""
        return [report.pid for report in self.fleet.workers()]

    async def send(self, name: str, **job: Any) -> dict[str, Any]:
        """Run one job of the load generator against the port called `name`."""
        process = await start_load()
        result, _ = await process.communicate(self.encode(name, job))
        if process.returncode:
            raise RuntimeError(f"the load generator failed on {name}")
        return dict(json.loads(result.splitlines()[-1]))

    def encode(self, name: str, job: dict[str, Any]) -> bytes:
        """A job as the load generator reads it."""
        return (
            json.dumps({"port": self.ports[name], "path": "/v1/chat/completions", "key": KEY, **job}).encode() + b"\n"
        )

    async def send_measured(self, name: str, pid: int, **job: Any) -> dict[str, Any]:
        """The same, with the CPU that process `pid` used per request in microseconds."""
        before = cpu_seconds(pid)
        result = await self.send(name, **job)
        result["cpu_us"] = (cpu_seconds(pid) - before) / max(1, result["count"]) * 1e6
        return result


SETTLE_SECONDS = 60.0
REST_SECONDS = 0.5
RESTING_SHARE = 0.04
"""Of the time that a worker at rest may use at most; the clock of processes counts in steps of 10 ms."""


async def start_load() -> asyncio.subprocess.Process:
    """A load generator that waits for its job."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.load", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def pss_bytes(pid: int) -> int:
    """Proportional set size: shared pages count by share."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def rss_bytes(pid: int) -> int:
    """Resident set size."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def ignore(calls: Sequence[CallRecord]) -> None:
    """Stands for the database: the bench measures the worker."""


@asynccontextmanager
async def running_stand(workers: int = 1) -> AsyncIterator[Stand]:
    """Upstream, nginx where installed, and the proxies: `pass` without packs, `full` with all of them, `mask` with masking,
    `mcp` with the packs for MCP and its tools approved."""
    with tempfile.TemporaryDirectory(prefix="ostiary-bench-") as directory:
        root = Path(directory)
        upstreams = [await _start_upstream(f"tests.bench.{name}") for name in ("upstream", "mcp_upstream")]
        (direct, _), (mcp_direct, _) = upstreams
        ports = {"direct": direct, "mcp_direct": mcp_direct}
        ports |= {name: free_port() for name in ("pass", "full", "mask", "mcp")}
        configuration = _configuration(root, ports)

        async def load() -> Configuration:
            return configuration

        fleet = Fleet(
            settings=BenchSettings(root, workers),
            load_configuration=load,
            ingest=ignore,
            on_status=lambda status: None,
        )
        await fleet.start()
        stand = Stand(fleet, ports)
        nginx = await _start_nginx(root, stand)
        try:
            for proxy in configuration.proxies:
                await fleet.start_proxy(proxy.id)
            await _settle(stand)
            yield stand
        finally:
            await fleet.stop()
            if nginx:
                nginx.terminate()
                await nginx.wait()
            for _, upstream in upstreams:
                assert upstream.stdin
                upstream.stdin.close()
                await upstream.wait()


async def _settle(stand: Stand) -> None:
    """Wait until the workers rest: they make their rules ready behind the first calls, which no call should be charged with."""
    async with asyncio.timeout(SETTLE_SECONDS):
        for pid in stand.worker_pids:
            used, before = cpu_seconds(pid), 0.0
            while used - before > RESTING_SHARE * REST_SECONDS:
                await asyncio.sleep(REST_SECONDS)
                used, before = cpu_seconds(pid), used


async def _start_upstream(module: str) -> tuple[int, asyncio.subprocess.Process]:
    """One of the servers behind the proxies, and its port."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout
    return int(await process.stdout.readline()), process


def approved_tools() -> MCPControl:
    """The tools of the MCP server, all of them approved as they are."""
    return MCPControl(tools={tool["name"]: EntryRule((hash_json(tool),)) for tool in tools()})


def masking(pack: Pack) -> Pack:
    """The pack with personal data masked reversibly and secrets for good; any other pack as it is."""
    if pack.name not in ("pii", "secrets"):
        return pack
    rules = [
        replace(rule, action="redact", capture=replace(rule.capture, reversible=pack.name == "pii"))
        for rule in pack.rules
    ]
    return replace(pack, rules=tuple(rules))


def _configuration(root: Path, ports: dict[str, int]) -> Configuration:
    packs = load_directory(SHIPPED)
    proxies, rulesets = [], []
    choices = {
        "pass": [],
        "full": [packs[name] for name in LLM_PACKS],
        "mask": [masking(packs[name]) for name in LLM_PACKS],
        "mcp": [packs[name] for name in MCP_PACKS],
    }
    for name, chosen in choices.items():
        files = cached_ruleset(chosen, root / "cache")
        rulesets.append(
            RulesetSource(
                digest=files.digest,
                packs_path=str(files.packs_path),
                database_path=str(files.database_path),
                packs_sha256=files.packs_sha256,
                database_sha256=files.database_sha256,
            )
        )
        proxies.append(
            ProxyConfig(
                id=f"prx_{name}",
                name=name,
                type="mcp" if name == "mcp" else "llm",
                target_url=f"http://127.0.0.1:{ports['mcp_direct' if name == 'mcp' else 'direct']}",
                mcp=MCPSettings(control=approved_tools()) if name == "mcp" else None,
                host="127.0.0.1",
                port=ports[name],
                ruleset=files.digest,
            )
        )
    key = APIKey(id="key_bench", name="bench", digest=KEY_DIGEST)
    return Configuration(proxies=tuple(proxies), api_keys=(key,), rulesets=tuple(rulesets), auto_start=frozenset())


async def _start_nginx(root: Path, stand: Stand) -> asyncio.subprocess.Process | None:
    """nginx as a plain keep-alive proxy: the line that says what Python costs."""
    executable = shutil.which("nginx") or ("/usr/sbin/nginx" if os.path.exists("/usr/sbin/nginx") else None)
    if executable is None:
        return None
    port = stand.ports["nginx"] = free_port()
    configuration = root / "nginx.conf"
    configuration.write_text(
        f"""daemon off; worker_processes 1; pid {root}/nginx.pid; error_log {root}/nginx.log;
        events {{ worker_connections 4096; }}
        http {{ access_log off; client_body_temp_path {root}/body; proxy_temp_path {root}/proxy;
        fastcgi_temp_path {root}/f; uwsgi_temp_path {root}/u; scgi_temp_path {root}/s;
        client_body_buffer_size 64k; keepalive_requests 1000000000;
        upstream api {{ server 127.0.0.1:{stand.ports["direct"]}; keepalive 256; keepalive_requests 1000000000; }}
        server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ proxy_pass http://api; proxy_http_version 1.1;
        proxy_set_header Connection ""; proxy_buffering off; }} }} }}"""
    )
    process = await asyncio.create_subprocess_exec(
        executable, "-c", str(configuration), "-p", str(root), "-e", "stderr"
    )
    for _ in range(200):
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        if children.exists() and (pids := children.read_text().split()):
            stand.nginx_pid = int(pids[0])
            break
        await asyncio.sleep(0.02)
    return process
