"""The drawer of a call beside the list: opened by a row, walked by keys, kept in the address, gone back from."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Browser, Page, expect

from tests.browser.site import Site

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]


async def test_a_row_opens_a_drawer_and_back_closes_it(site: Site, admin: Page) -> None:
    await admin.goto(f"{site.url}/traffic?verdict=blocked")
    drawer = admin.locator("#drawer")
    await expect(drawer).to_be_hidden()
    await admin.locator("#call-rows a.name").first.click()
    await expect(drawer.locator("#side-request")).to_contain_text("user")
    await expect(admin).to_have_url(re.compile(r"verdict=blocked&call=call_"))
    await expect(drawer.locator("h2").first).to_be_focused()
    await admin.go_back()
    await expect(drawer).to_be_hidden()
    await admin.go_forward()
    await expect(drawer.locator("#findings")).to_be_visible()
    await admin.reload()
    await expect(drawer.locator("#findings")).to_be_visible()


async def test_keys_walk_through_the_calls_and_escape_closes(site: Site, admin: Page) -> None:
    await admin.goto(f"{site.url}/traffic")
    names = admin.locator("#call-rows a.name")
    await names.first.click()
    drawer = admin.locator("#drawer")
    first, second = [await names.nth(index).get_attribute("data-call") for index in (0, 1)]
    await expect(drawer).to_contain_text(str(first)[-4:])
    await admin.keyboard.press("j")
    await expect(drawer).to_contain_text(str(second)[-4:])
    await expect(admin).to_have_url(re.compile(str(second)))
    await expect(admin.locator(f"#call-{second}")).to_have_attribute("aria-current", "true")
    await admin.keyboard.press("k")
    await expect(drawer).to_contain_text(str(first)[-4:])
    await drawer.get_by_label("Next call").click()
    await expect(admin).to_have_url(re.compile(str(second)))
    await admin.keyboard.press("Escape")
    await expect(drawer).to_be_hidden()
    await expect(admin).to_have_url(f"{site.url}/traffic")
    await expect(names.nth(1)).to_be_focused()


async def test_findings_stand_in_the_text_and_the_secret_does_not(site: Site, admin: Page) -> None:
    await admin.goto(f"{site.url}/traffic?verdict=blocked")
    await admin.locator("#call-rows tr", has_text="SEC-AWS").first.locator("a.name").click()
    request = admin.locator("#drawer #side-request")
    await expect(request.locator("mark.mark-critical")).to_have_text(re.compile(r"^AKIA…\(20\)$"))
    await expect(request.locator(".margin a")).to_have_text(re.compile("SEC-AWS-001"))
    await expect(admin.locator("#drawer #side-response")).to_contain_text("The gateway answered 403")
    assert "Z7Q2M4N6" not in await admin.content()


async def test_without_scripts_a_row_leads_to_the_page(site: Site, browser: Browser) -> None:
    made = await browser.new_context(java_script_enabled=False)
    page = await made.new_page()
    await site.log_in(page)
    await page.goto(f"{site.url}/traffic")
    await page.locator("#call-rows a.name").first.click()
    await expect(page).to_have_url(re.compile(r"/traffic/call_"))
    await expect(page.locator("#facts")).to_be_visible()
    await made.close()
