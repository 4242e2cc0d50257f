"""The story of the first hour, clicked: log in, change the password, make a proxy, start it, make a key, see an alert."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Page, expect

from tests.browser.site import SECRET, Site
from tests.support.console import PASSWORD
from tests.support.ports import free_port

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(120)]

ALERT_MS = 2000
"""A blocked call is in the open Alerts page within two seconds."""


async def test_STORY_2_and_3_from_the_first_login_to_a_live_alert(fresh_site: Site, page: Page) -> None:
    site = fresh_site
    await page.goto(site.url)
    await page.fill("#username", "admin")
    await page.fill("#password", site.one_time_password)
    await page.click("button:has-text('Log in')")

    await expect(page).to_have_url(f"{site.url}/password")
    await page.fill("#current_password", site.one_time_password)
    await page.fill("#new_password", PASSWORD)
    await expect(page.locator("#strength-word")).to_have_text("Strong.")
    await page.fill("#repeat_password", PASSWORD)
    await page.click("button:has-text('Change password')")
    await expect(page.locator("h1")).to_have_text("Overview")
    await expect(page.locator("#start")).to_have_text("Get started")

    port = await _make_proxy(page, site)
    badge = page.locator(".head .sev")
    await expect(badge).to_have_text("stopped")
    await page.evaluate("window.sameDocument = true")
    await page.click("#proxy-actions button:has-text('Start')")
    await expect(badge).to_have_text("running")
    assert await page.evaluate("window.sameDocument") is True, "the badge turned to running without a reload"

    key = await _make_key(page, site)

    await page.goto(f"{site.url}/alerts")
    await expect(page.locator("#live")).to_have_attribute("data-state", "live")
    await expect(page.locator("#alert-rows tr")).to_have_count(0)
    address = f"http://127.0.0.1:{port}"
    assert await site.call("Hello", url=address, key=key) == 200
    arrived = len(site.upstream.seen)
    assert await site.call(f"My key is {SECRET}", url=address, key=key) == 403
    assert len(site.upstream.seen) == arrived, "the upstream never sees a blocked prompt"

    row = page.locator("#alert-rows tr")
    await expect(row).to_have_count(1, timeout=ALERT_MS)
    text = await row.inner_text()
    assert "critical" in text
    assert "openai" in text
    assert "laptop" in text
    assert SECRET not in await page.content(), "evidence is masked"
    await expect(page.locator("#badge-alerts")).to_have_text("1")

    await row.locator("a.name").click()
    await expect(page.locator("main")).to_contain_text("127.0.0.1")
    await expect(page.locator(".quote mark")).to_have_count(1)
    await expect(page.locator("[data-copy^='call_'], [data-copy^='req_']").first).to_be_visible()
    assert SECRET not in await page.content()


async def _make_proxy(page: Page, site: Site) -> int:
    """Walk through the wizard; returns the port."""
    port = free_port()
    await page.click("a:has-text('New proxy') >> nth=0")
    await page.click("[data-next]")
    await page.fill("#name", "openai")
    await page.fill("#target_url", site.upstream.url)
    await page.click("button:has-text('Test connection')")
    await expect(page.locator("#probe")).to_contain_text("accepts connections")
    await page.fill("#port", str(port))
    await page.select_option("#auth_type", "bearer")
    await page.fill("#auth_value", "sk-upstream-of-the-test")
    await page.click("[data-next]")
    await expect(page.locator("#policy-llm-standard-security")).to_be_checked()
    await expect(page.locator("#policy-mcp-standard-security")).to_be_hidden()
    await page.click("[data-next]")
    review = page.locator("[data-review]")
    await expect(review).to_contain_text(site.upstream.url)
    await expect(review).to_contain_text("llm-standard-security")
    await expect(review).not_to_contain_text("sk-upstream")
    await page.get_by_role("button", name="Create", exact=True).click()
    await expect(page).to_have_url(re.compile("/proxies/prx_"))
    await expect(page.locator("h1")).to_contain_text("openai")
    return port


async def _make_key(page: Page, site: Site) -> str:
    """Create a key through the page; returns it, and checks that it is shown once."""
    await page.goto(f"{site.url}/access/new")
    await page.fill("#name", "laptop")
    await page.click("button:has-text('Create key')")
    key = await page.locator("#new-key").inner_text()
    assert re.fullmatch(r"ost_[0-9A-Za-z]{43}", key)
    await page.click("button:has-text('Copy key')")
    assert await page.evaluate("navigator.clipboard.readText()") == key
    await page.reload()
    assert key not in await page.content(), "the key is shown once"
    await expect(page.locator("tbody.rows")).to_contain_text("laptop")
    return key
