"""A scan through the real console and its worker."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.browser.site import Site
from tests.support.console import ConsoleProcess
from tests.support.hostile import hostile_server
from tests.support.ports import free_port


async def ended(site: Site, scan_id: str) -> dict[str, Any]:
    async with asyncio.timeout(150):
        while True:
            scan: dict[str, Any] = (await site.api.get(f"/mcp/scan/{scan_id}")).json()["data"]
            if scan["state"] != "running":
                return scan
            await asyncio.sleep(0.1)


@pytest.mark.timeout(240)
async def test_SYP_SCAN_1_a_worker_scans_what_the_console_orders(tmp_path: Path, used_data: Path) -> None:
    with hostile_server("guarded") as guarded, hostile_server() as hostile:
        async with ConsoleProcess(tmp_path, data_from=used_data) as console:
            site = Site(console, None)  # type: ignore[arg-type]  # No upstream is needed.
            async with site.api:
                await site.sign_in()
                proxy = await site.create(
                    "/proxies",
                    name="guarded",
                    type="mcp",
                    target_url=guarded,
                    port=free_port(),
                    upstream_auth={"type": "bearer", "value": "right"},
                )
                first = (await site.api.post("/mcp/scan", json={"proxy_id": proxy["id"]})).json()["data"]
                second = (await site.api.post("/mcp/scan", json={"target_url": hostile})).json()["data"]
                third = await site.api.post("/mcp/scan", json={"target_url": hostile})
                assert third.status_code == 409
                of_proxy, of_url = await ended(site, first["id"]), await ended(site, second["id"])
                assert (of_proxy["state"], of_url["state"]) == ("done", "done"), (of_proxy, of_url)
                result = (await site.api.get(f"/mcp/scan/{first['id']}/result")).json()["data"]
                assert result["surface"]["authenticationRequired"]
                assert "TP-0001" in {one["ruleId"] for one in result["findings"]}
                assert "right" not in str(result["surface"])
                gone = (await site.api.post("/mcp/scan", json={"target_url": "http://127.0.0.1:9/mcp"})).json()["data"]
                assert "does not accept connections" in (await ended(site, gone["id"]))["error"]
                alerts = (await site.api.get("/system/alerts?severity=critical")).json()["data"]["items"]
                assert {alert["pack"] for alert in alerts} == {"mcp-scanner"}
