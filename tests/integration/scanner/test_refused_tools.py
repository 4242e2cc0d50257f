"""SYP-SCAN-6 from end to end: a scan finds a poisoned tool, the gate is set, the tool is gone and its calls are refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

from tests.browser.site import Site
from tests.integration.scanner.test_console import ended
from tests.support.console import ConsoleProcess
from tests.support.hostile import STDIO, hostile_server
from tests.support.ports import free_port


async def until(site: Site, path: str, holds: Any) -> dict[str, Any]:
    async with asyncio.timeout(60):
        while True:
            data: dict[str, Any] = (await site.api.get(path)).json()["data"]
            if holds(data):
                return data
            await asyncio.sleep(0.1)


@pytest.mark.timeout(280)
async def test_SYP_SCAN_6_a_tool_with_a_critical_finding_is_refused_until_it_is_lifted(
    tmp_path: Path, used_data: Path
) -> None:
    with hostile_server() as hostile:
        async with ConsoleProcess(tmp_path, data_from=used_data) as console:
            site = Site(console, None)  # type: ignore[arg-type]  # No upstream is needed.
            async with site.api:
                await site.sign_in()
                site.api.timeout = 200  # Where rules are compiled first.
                proxy = await site.create(
                    "/proxies",
                    name="hostile",
                    type="mcp",
                    target_url=hostile,
                    port=free_port(),
                    require_auth=False,
                    auto_approve="all",
                )
                await site.start(proxy["id"])
                await site.api.post(f"/proxies/{proxy['id']}/tools/discover")
                await until(site, f"/proxies/{proxy['id']}/tools", lambda data: data["count"] >= 8)
                assert "add" in await tools(proxy["listen_url"])
                scan = (await site.api.post("/mcp/scan", json={"proxy_id": proxy["id"]})).json()["data"]
                assert (await ended(site, scan["id"]))["state"] == "done"
                answer = await site.api.put(f"/proxies/{proxy['id']}/scan-gate", json={"severity": "critical"})
                assert "add" in {tool["name"] for tool in answer.json()["data"]["tools"]}
                left = await tools(proxy["listen_url"])
                assert "add" not in left
                assert "weather" in left
                assert "Unknown tool: add" in await refusal(proxy["listen_url"], "add")
                blocked = await until(
                    site, f"/traffic?proxy_id={proxy['id']}&verdict=blocked", lambda data: data["total"]
                )
                assert "scan" in blocked["items"][0]["reason"]
                await site.api.post(f"/proxies/{proxy['id']}/scan-gate/lift", json={"tool": "add"})
                assert "add" in await tools(proxy["listen_url"])


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Client]:
    async with (
        httpx2.AsyncClient(timeout=30) as http,
        Client(streamable_http_client(f"{url}/mcp", http_client=http), mode="legacy") as client,
    ):
        yield client


async def tools(url: str) -> set[str]:
    async with connected(url) as client:
        return {tool.name for tool in (await client.list_tools()).tools}


async def refusal(url: str, name: str) -> str:
    """What a call of a refused tool is answered with."""
    async with connected(url) as client:
        with pytest.raises(MCPError) as refused:
            await client.call_tool(name, {"a": 1})
    return str(refused.value)


@pytest.mark.timeout(200)
async def test_a_process_behind_a_proxy_is_scanned_by_the_worker(tmp_path: Path, used_data: Path) -> None:
    async with ConsoleProcess(tmp_path, data_from=used_data) as console:
        site = Site(console, None)  # type: ignore[arg-type]  # No upstream is needed.
        async with site.api:
            await site.sign_in()
            site.api.timeout = 200  # Where rules are compiled first.
            answer = await site.api.post("/launch-programs", json={"program": STDIO[0]})
            proxy = await site.create(
                "/proxies",
                name="process",
                type="mcp",
                transport="stdio",
                launch_command=list(STDIO),
                port=free_port(),
            )
            scan = (await site.api.post("/mcp/scan", json={"proxy_id": proxy["id"]})).json()["data"]
            done = await ended(site, scan["id"])
            assert done["state"] == "done", (done, answer.text)
            result = (await site.api.get(f"/mcp/scan/{scan['id']}/result")).json()["data"]
            assert result["surface"]["transport"] == "stdio"
            assert "TP-0001" in {one["ruleId"] for one in result["findings"]}
