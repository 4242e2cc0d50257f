"""Foreign MCP clients see the same of our fixture server through the gateway as directly: every SDK that people use.

Each lists, calls, follows progress, answers an elicitation and a sampling request, reads 900 KiB (some clients refuse an event
above 1 MiB), gives up a slow call and goes on. The programs in `programs/` are the clients, each in its own environment
(`scripts/peers`).
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.conformance.tools import NODE, PACKAGES, need, python_of
from tests.mcp_fixture.process import running_fixture
from tests.proxy_harness import RunningProxy, running_proxy

pytestmark = [pytest.mark.peers, pytest.mark.timeout(180)]

KEY = "ost_" + "p" * 43
PROGRAMS = Path(__file__).with_name("programs")
RUN_SECONDS = 120.0


class Peer(NamedTuple):
    """A client as a command; URL and key are put in, and the era comes last."""

    name: str
    interpreter: Path
    before: tuple[str, ...]
    mode: str


PEERS = [
    Peer("mcp 1.30", python_of("mcp1"), (str(PROGRAMS / "mcp1.py"),), "legacy"),
    Peer("mcp 2.3 legacy", Path(sys.executable), (str(PROGRAMS / "mcp2.py"),), "legacy"),
    Peer("mcp 2.3 modern", Path(sys.executable), (str(PROGRAMS / "mcp2.py"),), "2026-07-28"),
    Peer("mcp 2.3 auto", Path(sys.executable), (str(PROGRAMS / "mcp2.py"),), "auto"),
    Peer("fastmcp legacy", python_of("fastmcp"), (str(PROGRAMS / "fastmcp4.py"),), "legacy"),
    Peer("fastmcp auto", python_of("fastmcp"), (str(PROGRAMS / "fastmcp4.py"),), "auto"),
    Peer("typescript sdk 1", NODE, (str(PROGRAMS / "typescript.mjs"), str(PACKAGES), "1"), "legacy"),
    Peer("typescript client 2 legacy", NODE, (str(PROGRAMS / "typescript.mjs"), str(PACKAGES), "2"), "legacy"),
    Peer("typescript client 2 modern", NODE, (str(PROGRAMS / "typescript.mjs"), str(PACKAGES), "2"), "2026-07-28"),
    Peer("typescript client 2 auto", NODE, (str(PROGRAMS / "typescript.mjs"), str(PACKAGES), "2"), "auto"),
]


@pytest.fixture(scope="module")
def server_url() -> Iterator[str]:
    with running_fixture() as url:
        yield url


@pytest.fixture
async def proxy(server_url: str) -> AsyncIterator[RunningProxy]:
    async with running_proxy(type="mcp", target_url=server_url, client_key=KEY) as running:
        yield running


async def run(peer: Peer, url: str) -> dict[str, Any]:
    """What the client saw."""
    need(peer.interpreter)
    return json.loads(await output_of(str(peer.interpreter), *peer.before, url, KEY, peer.mode))


async def output_of(*command: str) -> str:
    """The standard output of a command that must end well."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(RUN_SECONDS):
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, errors.decode(errors="replace")[-3000:] + output.decode(errors="replace")[-500:]
    return output.decode()


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name.replace(" ", "-"))
async def test_a_foreign_client_sees_the_same_through_the_gateway(
    server_url: str, proxy: RunningProxy, peer: Peer
) -> None:
    direct, through = await asyncio.gather(run(peer, server_url), run(peer, f"{proxy.url}/mcp"))
    assert through == direct
    assert (through["text"], through["after"]) == ("This is a simple text response for testing.",) * 2
    assert through["progress"] == [0, 50, 100]
    assert "zoe" in through["elicited"]
    assert "Paris" in through["sampled"]
    assert (through["large"], through["gave_up"]) == (900 * 1024, True)
    called = [one for one in proxy.records if one.operation == "tools/call test_simple_text"]
    assert [(one.outcome, one.principal_id) for one in called] == [("allowed", "key_test")] * 2


INSPECTOR = PACKAGES / "@modelcontextprotocol" / "inspector" / "clients" / "launcher" / "build" / "index.js"


@pytest.mark.parametrize("era", ["legacy", "modern", "auto"])
async def test_the_inspector_lists_and_calls_through_the_gateway(
    proxy: RunningProxy, era: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need(INSPECTOR)
    monkeypatch.setenv("HOME", str(tmp_path))
    command = (str(NODE), str(INSPECTOR), "--cli", f"{proxy.url}/mcp", "--protocol-era", era)
    command += ("--header", f"Authorization: Bearer {KEY}", "--format", "json")
    listed = await output_of(*command, "--method", "tools/list")
    called = await output_of(*command, "--method", "tools/call", "--tool-name", "greet", "--tool-arg", "name=Zoe")
    assert '"test_simple_text"' in listed
    assert "Hello, Zoe!" in called
