"""Clients of the 1.x line of the official SDK, one transport each, in front of servers of either era.

Their environment is made outside the repository; `OSTIARY_TEST_MCP1_PYTHON` names its interpreter
(`python -m venv DIR && DIR/bin/pip install 'mcp[ws]==1.30.0'`).
"""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import pytest

from proxies.contract import MCPSettings
from tests.mcp_rules import small_ruleset
from tests.mcp_server import running_mcp_server
from tests.mcp_wire import CLIENT_KEY
from tests.proxy_harness import running_proxy

INTERPRETER = os.environ.get("OSTIARY_TEST_MCP1_PYTHON", "")
PROGRAM = "tests/mcp1_client_program.py"
pytestmark = pytest.mark.skipif(not INTERPRETER, reason="OSTIARY_TEST_MCP1_PYTHON names no interpreter with mcp 1.x")


@pytest.mark.parametrize("transport", ["http", "sse", "websocket"])
@pytest.mark.parametrize("mode", ["legacy_only", "modern_only"])
async def test_W_01_the_1_x_client_works_over_each_of_its_transports(transport: str, mode: Any) -> None:
    # Its WebSocket client can send neither headers nor a second sub-protocol: the proxy asks for no key then.
    key = "" if transport == "websocket" else CLIENT_KEY
    with running_mcp_server(mode) as server:
        async with running_proxy(
            type="mcp",
            target_url=server.url,
            client_key=key,
            ruleset=small_ruleset(),
            mcp=MCPSettings(era="bridge"),
        ) as proxy:
            environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
            process = await asyncio.create_subprocess_exec(
                INTERPRETER, PROGRAM, transport, proxy.url, key, stdout=asyncio.subprocess.PIPE, env=environment
            )
            output, _ = await asyncio.wait_for(process.communicate(), 60)
    seen = json.loads(output)
    assert seen["texts"] == ["5", "counted", "peace"]
    assert seen["progress"] == [1, 2, 3]
    assert {"echo", "add"} <= set(seen["tools"])
