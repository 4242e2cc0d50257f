"""What somebody typed survives the end of their session: it comes back after the login, to them and nobody else."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import BrowserContext, Page, expect

from tests.browser.conftest import Watch
from tests.browser.site import Site
from tests.support.console import PASSWORD

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(240)]


@pytest_asyncio.fixture(autouse=True, loop_scope="session")
async def logged_out(profile: BrowserContext) -> AsyncIterator[None]:
    """Nobody stays logged in in the profile that all tests share."""
    yield
    await profile.clear_cookies()


RULES = [{"id": "no-shell", "match": {"tool_name": "shell"}, "action": "deny"}]


async def end_session(site: Site, page: Page) -> None:
    """Log out in another tab of the same browser."""
    other = await page.context.new_page()
    await other.goto(site.url)
    await other.click("summary[aria-label='Account']")
    await other.click("button:has-text('Log out')")
    await other.wait_for_url(f"{site.url}/login")
    await other.close()


async def log_in_again(page: Page, username: str = "admin") -> None:
    await expect(page.locator("[data-kept]")).to_be_visible()
    await page.fill("#username", username)
    await page.fill("#password", PASSWORD)
    await page.click("button:has-text('Log in')")


async def test_what_was_typed_in_the_builder_comes_back_when_it_is_saved_after_the_session_ended(
    site: Site, page: Page
) -> None:
    await site.create("/policies", policy={"name": "kept-saved", "rules": RULES}, publish=True)
    await site.log_in(page)
    await page.goto(f"{site.url}/policies/kept-saved?tab=builder")
    await page.fill("#title", "Typed for an hour")
    await expect(page.locator("#json")).to_have_value(re.compile("Typed for an hour"))
    await end_session(site, page)
    await page.click("button:has-text('Save draft')")
    await page.wait_for_url("**/login?next=**")
    assert "Typed" not in page.url
    await log_in_again(page)
    await expect(page.locator(".note")).to_contain_text("What you typed is back.")
    await expect(page.locator("#title")).to_have_value("Typed for an hour")
    assert page.url == f"{site.url}/policies/kept-saved?tab=builder"
    await page.click("button:has-text('Save draft')")
    await expect(page.locator(".build-bar")).to_contain_text("revision 1")
    await page.goto(f"{site.url}/policies/kept-saved?tab=builder")
    await expect(page.locator(".note")).to_have_count(0)


async def test_what_was_typed_in_the_builder_comes_back_when_the_session_ends_while_typing(
    site: Site, page: Page, watch: Watch
) -> None:
    watch.allows_refusals = True
    await site.create("/policies", policy={"name": "kept-typing", "rules": RULES}, publish=True)
    await site.log_in(page)
    await page.goto(f"{site.url}/policies/kept-typing?tab=builder")
    await end_session(site, page)
    await page.fill("#title", "Typed after the end")  # No dialog asks whether to leave: the page is sent to the login.
    await page.wait_for_url("**/login?next=**")
    await log_in_again(page)
    await expect(page.locator("#title")).to_have_value("Typed after the end")


async def test_a_message_of_the_playground_comes_back_with_what_was_said_about_it(
    site: Site, page: Page, watch: Watch
) -> None:
    watch.allows_refusals = True
    await site.log_in(page)
    await page.goto(f"{site.url}/policies/playground")
    await page.fill("#message", "a text\nof two lines")
    await page.select_option("#direction", "response")
    await page.click("summary:has-text('Who, where and when')")
    await page.fill("#client", "billing")
    await end_session(site, page)
    await page.click("#playground button:has-text('Run')")
    await page.wait_for_url("**/login?next=/policies/playground")
    await log_in_again(page)
    await expect(page.locator("#message")).to_have_value("a text\nof two lines")
    await expect(page.locator("#direction")).to_have_value("response")
    await expect(page.locator("#client")).to_be_visible()
    await expect(page.locator("#client")).to_have_value("billing")


async def test_what_was_typed_goes_to_nobody_else_and_does_not_come_twice(site: Site, page: Page, watch: Watch) -> None:
    watch.allows_refusals = True
    made = await site.create("/users", username="kept-vera", role="admin")
    await site.log_in(page)
    await page.goto(f"{site.url}/policies/playground")
    await page.fill("#message", "a text that admin tries")
    await end_session(site, page)
    await page.click("#playground button:has-text('Run')")
    await page.wait_for_url("**/login?next=/policies/playground")
    await page.fill("#username", "kept-vera")
    await page.fill("#password", made["one_time_password"])
    await page.click("button:has-text('Log in')")
    await page.wait_for_url(f"{site.url}/password")
    await page.goto(f"{site.url}/login")
    for name in ("current_password", "new_password", "repeat_password"):
        if await page.locator(f"#{name}").count():
            await page.fill(f"#{name}", made["one_time_password"] if name.startswith("current") else PASSWORD)
    await page.click("button:has-text('Change password')")
    await page.wait_for_url(f"{site.url}/")
    assert await page.evaluate("sessionStorage.getItem('ostiary-typed')") is None
    await page.goto(f"{site.url}/policies/playground")
    await expect(page.locator("#message")).to_have_value("")
