"""Undo: what is deleted or revoked is gone at once, and one click within ten seconds brings it back."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from tests.browser.inspection import problems_on
from tests.browser.site import Site

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(120)]


async def test_a_deleted_proxy_comes_back_also_from_another_page(site: Site, admin: Page) -> None:
    created = await site.create_proxy("to-be-deleted")
    await admin.goto(f"{site.url}/proxies/{created['id']}?tab=config")
    await admin.get_by_role("button", name="Delete proxy").click()
    await expect(admin.locator("#confirm-title")).to_have_text("Delete to-be-deleted?")
    await expect(admin.locator("#confirm-detail")).to_contain_text("undo this for 10 seconds")
    await admin.click("#confirm-yes")
    toast = admin.locator("#toasts [data-toast]")
    await expect(toast).to_contain_text("to-be-deleted is deleted.")
    await expect(admin.locator("#proxy-rows tr", has_text="to-be-deleted")).to_have_count(0)
    assert await problems_on(admin) == []
    await admin.goto(f"{site.url}/access")
    await expect(toast).to_contain_text("to-be-deleted is deleted.")
    await toast.get_by_role("button", name="Undo").click()
    await expect(admin.locator("#toasts")).to_contain_text("to-be-deleted is restored")
    await expect(admin.locator("#proxy-rows tr", has_text="to-be-deleted")).to_contain_text("stopped")
    await expect(toast.get_by_role("button", name="Undo")).to_have_count(0)


async def test_a_revoked_key_is_refused_and_opens_again_after_undo(site: Site, admin: Page) -> None:
    key = (await site.create("/api-keys", name="undo-me"))["key"]
    await admin.goto(f"{site.url}/access?search=undo-me")
    await admin.get_by_role("button", name="Revoke").click()
    await admin.click("#confirm-yes")
    await expect(admin.locator("#toasts")).to_contain_text("Key “undo-me” is revoked.")
    assert await site.call("Hello", key=key) == 401
    await admin.locator("#toasts").get_by_role("button", name="Undo").click()
    await expect(admin.locator("#toasts")).to_contain_text("Key “undo-me” works again.")
    assert await site.call("Hello", key=key) == 200


async def test_a_dismissed_undo_stays_away_and_one_whose_time_is_over_goes(site: Site, admin: Page) -> None:
    await site.create("/canaries", name="first-canary")
    await site.create("/canaries", name="second-canary")
    await admin.clock.install()
    await admin.goto(f"{site.url}/canaries")
    for name in ("first-canary", "second-canary"):
        await admin.locator("tr", has_text=name).get_by_role("button", name="Delete").click()
        await admin.click("#confirm-yes")
        await expect(admin.locator("#toasts")).to_contain_text(name)
    await admin.locator("#toasts [data-toast]", has_text="first").get_by_role("button", name="Dismiss").click()
    await admin.reload()
    await expect(admin.locator("#toasts [data-toast]")).to_have_count(1)
    await expect(admin.locator("#toasts")).to_contain_text("second-canary")
    await admin.clock.fast_forward(11_000)
    await expect(admin.locator("#toasts [data-toast]")).to_have_count(0)
