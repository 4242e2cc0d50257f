"""Where the keyboard goes on after a part of the page was swapped, and that the page stays where it was."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from tests.browser.site import Site

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(120)]


async def test_a_tab_keeps_the_page_where_it_is_and_the_focus_on_it(site: Site, admin: Page) -> None:
    await admin.goto(f"{site.url}/proxies/{site.proxy['id']}")
    await admin.locator(".tabs a:has-text('Config')").focus()
    await admin.keyboard.press("Enter")
    await expect(admin.locator("#config-form")).to_be_visible()
    await expect(admin.locator(".tabs a:has-text('Config')")).to_be_focused()
    assert await admin.evaluate("document.documentElement.scrollHeight > innerHeight"), (
        "there is somewhere to scroll to"
    )
    assert await admin.evaluate("scrollY") == 0
    # A row of tabs that fits scrolls in no direction, whatever scroll bars the system has.
    assert await admin.evaluate("getComputedStyle(document.querySelector('.tabs')).overflowY") == "hidden"


async def test_the_header_that_sorts_keeps_the_focus(site: Site, admin: Page) -> None:
    await admin.goto(f"{site.url}/access")
    for direction in ("ascending", "descending"):
        header = admin.locator("th:has(.sort:has-text('Name'))")
        await header.locator("a").focus()
        await admin.keyboard.press("Enter")
        await expect(header).to_have_attribute("aria-sort", direction)
        await expect(header.locator("a")).to_be_focused()


async def test_a_step_of_the_wizard_begins_at_its_top(site: Site, admin: Page) -> None:
    await admin.goto(f"{site.url}/proxies/new")
    await admin.check("input[value=mcp]")
    await admin.click("[data-next]")
    await admin.fill("#name", "steps")
    await admin.fill("#target_url", "https://mcp.example.com/mcp")
    await expect(admin.locator("#auth_type")).to_have_value("none")
    await admin.locator("[data-next]").scroll_into_view_if_needed()
    await admin.click("[data-next]")
    await expect(admin.locator("legend:has-text('How is it protected?')")).to_be_focused()
    assert await admin.evaluate("scrollY") == 0


async def test_a_new_item_of_the_builder_takes_the_focus_and_its_head_follows_what_is_typed(
    site: Site, admin: Page
) -> None:
    await site.create("/policies", policy={"name": "focus", "packs": ["secrets"]})
    await admin.goto(f"{site.url}/policies/focus?tab=builder")
    await admin.click("button:has-text('Add rule')")
    await expect(admin.locator("[id='rules.0.id']")).to_be_focused()
    await admin.keyboard.press("Control+A")
    await admin.keyboard.type("no-shell")
    await admin.select_option("[id='rules.0.action']", "hold")
    head = admin.locator("section[aria-labelledby='b-rules'] .item-head")
    await expect(head).to_contain_text("hold")
    await expect(head.locator("b")).to_have_text("no-shell")
    await admin.fill("[id='rules.0.match.tool_name']", "shell")
    await admin.click("button[aria-label^='Remove rule']")
    await expect(admin.locator("button:has-text('Add rule')")).to_be_focused()
    await admin.click("button:has-text('Save draft')")
    await expect(admin.locator(".build-bar")).to_contain_text("revision 2")
