"""Lists and tabs that change in place: sorted by their headers, kept in the address, retried when they fail."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import BrowserContext, Dialog, Page, Route, expect

from tests.browser.conftest import Watch
from tests.browser.site import Site

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]


async def test_a_header_sorts_in_place_and_the_address_remembers(site: Site, admin: Page) -> None:
    await admin.goto(f"{site.url}/traffic")
    await admin.evaluate("window.stays = true")
    header = admin.locator("th", has=admin.get_by_role("link", name="Status"))
    await header.get_by_role("link").click()
    await expect(header).to_have_attribute("aria-sort", "descending")
    await expect(admin).to_have_url(f"{site.url}/traffic?sort=-status")
    assert await admin.evaluate("window.stays"), "the page was not loaded anew"
    cells = await admin.locator("#call-rows td[data-label=Status]").all_inner_texts()
    assert cells == sorted(cells, reverse=True)
    await header.get_by_role("link").click()
    await expect(header).to_have_attribute("aria-sort", "ascending")
    assert await admin.locator("#stream").get_attribute("hx-sse:connect") == "/events"
    await admin.go_back()
    await expect(header).to_have_attribute("aria-sort", "descending")
    await admin.goto(f"{site.url}/traffic?sort=nonsense")
    await expect(admin.locator("th[aria-sort=descending]")).to_have_text("When")


async def test_calls_still_arrive_after_the_list_was_sorted_back(site: Site, admin: Page) -> None:
    await admin.goto(f"{site.url}/traffic?sort=-status")
    await admin.get_by_role("link", name="When").click()
    await expect(admin).to_have_url(f"{site.url}/traffic")
    await expect(admin.locator("#live")).to_have_attribute("data-state", "live")
    first = await admin.locator("#call-rows tr").first.get_attribute("id")
    assert await site.call("One more for the list") == 200
    await expect(admin.locator("#call-rows tr").first).not_to_have_attribute("id", str(first))


async def test_a_tab_changes_in_place_and_its_form_works(site: Site, admin: Page) -> None:
    await admin.goto(f"{site.url}/proxies/{site.proxy['id']}")
    await admin.evaluate("window.stays = true")
    await admin.locator(".tabs").get_by_role("link", name="Config").click()
    await expect(admin).to_have_url(re.compile(r"tab=config$"))
    await expect(admin.locator(".tabs [aria-current]")).to_have_text("Config")
    assert await admin.evaluate("window.stays")
    await admin.select_option("#auth_type", "header")
    await expect(admin.locator("#auth_name")).to_be_visible()


async def test_a_list_that_cannot_be_loaded_says_so_and_is_tried_again(site: Site, admin: Page, watch: Watch) -> None:
    watch.allows_refusals = True
    await admin.goto(f"{site.url}/alerts")

    async def refuse(route: Route) -> None:
        await route.fulfill(status=400, body="")

    await admin.route("**/alerts?sort=*", refuse, times=1)
    await admin.get_by_role("link", name="Severity").click()
    note = admin.locator("#list .failed-load")
    await expect(note).to_contain_text("could not be loaded")
    await note.get_by_role("button", name="Try again").click()
    await expect(admin.locator("th[aria-sort=descending]")).to_have_text("Severity")
    await expect(note).to_have_count(0)


async def test_unsaved_changes_are_asked_about_before_a_tab_takes_their_place(
    site: Site, context: BrowserContext
) -> None:
    page = await context.new_page()
    await site.log_in(page)
    await page.goto(f"{site.url}/proxies/{site.proxy['id']}?tab=config")
    await page.locator("#description").press_sequentially("not saved")
    asked = []

    async def stay(dialog: Dialog) -> None:
        asked.append(dialog.type)
        await dialog.dismiss()

    page.on("dialog", stay)
    await page.locator(".tabs").get_by_role("link", name="Logs").click()
    await expect(page.locator(".tabs [aria-current]")).to_have_text("Config")
    assert asked == ["beforeunload"]
    await expect(page.locator("#description")).to_have_value("not saved")
    await page.close()
