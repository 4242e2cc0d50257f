"""Pages and endpoints of the scanner over HTTP; the worker is played."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from proxies.contract import ScanFinished, ScanProgress
from rules.scanning import ServerFacts
from tests.support.console import Console
from tests.support.memory_fleet import MemoryFleet
from tests.support.tab import HTMX, Tab, make_proxy, toast_follows
from tests.unit.rules.scanning.test_checks import facts, tool

HOSTILE = "<b>run</b>\u202eshell"


def fleet_of(console: Console) -> MemoryFleet:
    made: MemoryFleet = console.app.state.fleet
    return made


async def api(console: Console, method: str, path: str, body: Any = None) -> Any:
    answer = await console.client.request(method, f"/api/v1/{path}", headers=console.admin, json=body)
    return answer.status_code, answer.json()


async def end(console: Console, scan_id: str, found: ServerFacts | None, failure: str = "") -> None:
    fleet_of(console).report(ScanFinished(scan_id, found, failure))
    async with asyncio.timeout(10):
        while (await api(console, "GET", f"mcp/scan/{scan_id}"))[1]["data"]["state"] == "running":
            await asyncio.sleep(0.01)


async def scanned(console: Console, proxy_id: str, *tools: Any) -> str:
    status, body = await api(console, "POST", "mcp/scan", {"proxy_id": proxy_id})
    assert status == 202, body
    scan_id = str(body["data"]["scan_id"])
    await end(console, scan_id, facts(*tools))
    return scan_id


async def test_SYP_SCAN_1_the_documented_endpoints(console: Console) -> None:
    proxy_id = await make_proxy(console, "tools", 4100, type="mcp")
    scan_id = await scanned(console, proxy_id, tool("run_shell", "Runs a shell command."))
    assert (await api(console, "GET", f"mcp/scan/latest?proxy_id={proxy_id}"))[1]["data"]["id"] == scan_id
    assert (await api(console, "GET", "mcp/scan"))[1]["data"]["total"] == 1
    status, body = await api(console, "GET", f"mcp/scan/{scan_id}/result")
    assert (status, body["data"]["overallRisk"], body["data"]["summary"]["high"]) == (200, "Low", 1)
    assert (await api(console, "GET", f"mcp/scan/{scan_id}/comparison"))[1]["data"] is None
    for wanted, start in (("html", b"<!DOCTYPE html>"), ("json", b"{"), ("sarif", b"{")):
        answer = await console.client.get(f"/api/v1/mcp/scan/{scan_id}/report?format={wanted}", headers=console.admin)
        assert answer.content.startswith(start)
        assert answer.headers["content-disposition"] == f'attachment; filename="{scan_id}.{wanted}"'
    assert json.loads(answer.content)["version"] == "2.1.0"
    status, body = await api(console, "PUT", f"proxies/{proxy_id}/scan-gate", {"severity": "high"})
    assert (status, body["data"]["tools"][0]["name"]) == (200, "run_shell")
    status, body = await api(console, "POST", f"proxies/{proxy_id}/scan-gate/lift", {"tool": "run_shell"})
    assert body["data"]["tools"][0]["lifted"]
    assert (await api(console, "GET", f"proxies/{proxy_id}/scan-gate"))[1]["data"]["severity"] == "high"
    assert (await api(console, "GET", "mcp/scan/scn_none"))[0] == 404
    assert (await api(console, "POST", "mcp/scan", {"proxy_id": proxy_id, "active": True}))[1]["error_code"] == (
        "scan_not_confirmed"
    )


async def test_viewers_read_and_do_not_scan(console: Console) -> None:
    viewer = await console.create_person("vera", "viewer")
    assert (await console.client.get("/api/v1/mcp/scan", headers=viewer)).status_code == 200
    answer = await console.client.post("/api/v1/mcp/scan", headers=viewer, json={"target_url": "https://a.example"})
    assert answer.status_code == 403


async def test_a_scan_is_started_watched_and_read_in_the_browser(console: Console, tab: Tab) -> None:
    assert "No scan yet." in (await tab.get("/scanner")).text
    proxy_id = await make_proxy(console, "tools", 4100, type="mcp")
    started = await tab.post("/scanner", {"proxy_id": proxy_id, "policy": "mcp-standard-security"})
    place = started.headers["location"]
    scan_id = place.rpartition("/")[2]
    fleet_of(console).report(ScanProgress(scan_id, 60, "asking without a credential"))
    async with asyncio.timeout(10):
        while "Asking" not in (page := (await tab.get(place)).text):
            await asyncio.sleep(0.01)
    assert "Asking without a credential." in page
    assert f'hx-get="/scanner/{scan_id}/progress"' in page
    await end(console, scan_id, facts(tool(HOSTILE, "Runs a shell command."), tool("add_up")))
    part = (await tab.get(f"/scanner/{scan_id}/progress", **HTMX)).text
    assert "hx-get" not in part
    assert "<b>run</b>" not in part
    assert "RLO" in part
    assert "MCP-CAPABILITY-001" in part
    assert "Nothing of this severity" in (await tab.get(f"/scanner/{scan_id}?severity=critical")).text
    assert "tools" in (await tab.get("/scanner")).text
    report = await tab.get(f"/scanner/{scan_id}/report?format=sarif")
    assert report.headers["content-type"].startswith("application/sarif+json")


async def test_tools_are_refused_and_let_pass_from_the_page(console: Console, tab: Tab) -> None:
    proxy_id = await make_proxy(console, "tools", 4100, type="mcp")
    scan_id = await scanned(console, proxy_id, tool("run_shell", "Runs a shell command."))
    assert toast_follows(await tab.post(f"/scanner/{scan_id}/gate", {"severity": "high"}))
    page = (await tab.get(f"/scanner/{scan_id}")).text
    assert "Let “run_shell” pass?" in page
    assert toast_follows(await tab.post(f"/scanner/{scan_id}/lift", {"tool": "run_shell", "lifted": "yes"}))
    assert "lifted: it passes" in (await tab.get(f"/scanner/{scan_id}")).text
    assert toast_follows(await tab.post(f"/scanner/{scan_id}/lift", {"tool": "run_shell", "lifted": ""}))
    assert toast_follows(await tab.post(f"/scanner/{scan_id}/gate", {"severity": ""}))


async def test_a_second_scan_shows_what_is_new(console: Console, tab: Tab) -> None:
    proxy_id = await make_proxy(console, "tools", 4100, type="mcp")
    await scanned(console, proxy_id, tool("run_shell", "Runs a shell command."))
    second = await scanned(console, proxy_id, tool("drop_table", "Deletes a table."))
    page = (await tab.get(f"/scanner/{second}")).text
    assert "Since the scan before" in page
    assert '<span class="tag">new</span>' in page


async def test_mistakes_in_the_form_are_shown_in_it(tab: Tab) -> None:
    answer = await tab.post("/scanner", {"target_url": "file:///etc/passwd"})
    assert answer.status_code == 422
    assert 'aria-invalid="true"' in answer.text
    answer = await tab.post("/scanner", {"target_url": "https://a.example/mcp", "active": "on"})
    assert answer.status_code == 422
    assert "a.example" in answer.text


async def test_failed_and_cancelled_scans_say_so(console: Console, tab: Tab) -> None:
    started = await tab.post("/scanner", {"target_url": "https://a.example/mcp"})
    place = started.headers["location"]
    await end(console, place.rpartition("/")[2], None, "The upstream does not accept connections.")
    assert "does not accept connections" in (await tab.get(place)).text
    again = (await tab.post("/scanner", {"target_url": "https://a.example/mcp"})).headers["location"]
    assert toast_follows(await tab.post(f"{again}/cancel"))
    assert "cancelled before it had a result" in (await tab.get(again)).text


async def test_odd_addresses_and_forms_do_no_harm(console: Console, tab: Tab) -> None:
    proxy_id = await make_proxy(console, "tools", 4100, type="mcp")
    scan_id = await scanned(console, proxy_id, tool("run_shell", "Runs a shell command."))
    assert "MCP-CAPABILITY-001" in (await tab.get(f"/scanner/{scan_id}?severity=bogus")).text
    page = (await tab.get(f"/scanner?proxy_id={proxy_id}%26offset%3D9")).text
    assert f"proxy_id={proxy_id}&amp;offset=9" not in page
    refused = await tab.post(f"/scanner/{scan_id}/lift", {"tool": "x" * 5_000, "lifted": "yes"})
    assert refused.status_code == 422
