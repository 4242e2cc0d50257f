"""A scan, clicked: confirmed, watched, read, taken home as files, and turned into a refusal that can be lifted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import Watch
from tests.browser.inspection import EXTENTS, inspect_all
from tests.browser.site import Site
from tests.browser.test_rug_pull import names
from tests.support.hostile import hostile_server

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(240)]


async def until(url: str, key: str, holds: Callable[[set[str]], bool]) -> None:
    """Decisions reach the workers with the next snapshot; a client asks until it sees them."""
    for _ in range(50):
        if holds(found := await names(url, key)):
            return
    raise AssertionError(f"clients are offered {found}")


async def test_SYP_SCAN_1_and_SYP_SCAN_6_a_scan_is_confirmed_watched_read_and_enforced(
    own_site: Site, page: Page, watch: Watch, tmp_path: Path
) -> None:
    site = own_site
    key = (await site.create("/api-keys", name="agent"))["key"]
    with hostile_server() as target:
        proxy = await site.create_proxy("tricks", type="mcp", target_url=target, auto_approve="all", policy_names=[])
        await site.start(proxy["id"])
        url = proxy["listen_url"]
        offered = await names(url, key)
        await site.log_in(page)

        # Tools are called only once somebody has typed whose.
        await page.goto(f"{site.url}/scanner")
        await page.select_option("[name=proxy_id]", label="tricks")
        await page.check("[name=active]")
        watch.allows_refusals = True
        await page.click("button:has-text('Start scan')")
        await expect(page.locator("main")).to_contain_text("Give “tricks” to confirm.")
        await page.fill("[name=confirmation]", "tricks")
        await page.click("button:has-text('Start scan')")
        await expect(page.locator("progress, #findings").first).to_be_visible()
        await expect(page.locator("#findings")).to_be_visible(timeout=120_000)
        await expect(page.locator("#scan .head")).to_contain_text("not passed")
        await expect(page.locator("#scan .head")).to_contain_text("with active probes")
        finding = page.locator(".finding-critical").first
        await expect(finding).to_contain_text("What to do.")
        await expect(finding.locator(".finding-facts")).to_contain_text(":2025 · ASI")
        await expect(finding.locator(".finding-facts")).to_contain_text("/tools/")

        for word, check in (("HTML", "<!DOCTYPE html>"), ("JSON", '"riskScore"'), ("SARIF", "2.1.0")):
            async with page.expect_download() as downloading:
                await page.click(f"#scan .head a:has-text('{word}')")
            file = tmp_path / word
            await (await downloading.value).save_as(file)
            assert check in file.read_text()

        await page.select_option("select[name=severity]", "critical")
        await page.click("button:has-text('Apply')")
        await expect(page.locator("#toasts")).to_contain_text("are refused")
        gate = (await site.api.get(f"/proxies/{proxy['id']}/scan-gate")).json()["data"]
        refused = {one["name"] for one in gate["tools"]} & offered
        assert refused
        await expect(page.locator(".scan-tools li").first).to_contain_text("refused")
        await until(url, key, lambda found: not found & refused)

        lifted = sorted(refused)[0]
        await page.locator(".scan-tools li", has_text=lifted).first.get_by_role("button", name="Let it pass").click()
        await expect(page.locator("dialog[open]")).to_contain_text(lifted)
        await page.click("#confirm-yes")
        await expect(page.locator(".scan-tools li", has_text=lifted).first).to_contain_text("lifted: it passes")
        await until(url, key, lambda found: found & refused == {lifted})
    audit = json.dumps((await site.api.get("/audit?event_type=mcp.scan")).json()["data"])
    for event in ("mcp.scan.started", "mcp.scan.finished", "mcp.scan.gate.changed", "mcp.scan.gate.lifted"):
        assert event in audit


@EXTENTS
async def test_pages_of_the_scanner_are_accessible_small_and_fit_a_phone(
    own_site: Site, page: Page, both_themes: bool
) -> None:
    site = own_site
    with hostile_server() as target:
        scan = (await site.api.post("/mcp/scan", json={"target_url": target})).json()["data"]
        await site.log_in(page)
        await page.goto(f"{site.url}/scanner/{scan['id']}")
        await expect(page.locator("#findings")).to_be_visible(timeout=120_000)
    pages = ["/scanner", f"/scanner/{scan['id']}", f"/scanner/{scan['id']}?severity=low"]
    assert await inspect_all(page, site.url, pages, both_themes=both_themes) == {}
