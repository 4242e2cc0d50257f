"""Working through alerts: keyboard, bulk, undo, filters in the address; and forms that say what is wrong."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import Watch
from tests.browser.site import INJECTION, Site

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(120)]


async def fresh_alert(site: Site) -> str:
    """Raise one more alert; returns its id."""
    known = {alert["id"] for alert in (await site.api.get("/system/alerts?limit=500")).json()["data"]["items"]}
    await site.call(INJECTION)
    alerts = await site.wait_for_alerts(len(known) + 1)
    return str(next(alert["id"] for alert in alerts if alert["id"] not in known))


async def test_an_alert_is_acknowledged_and_resolved_by_keyboard(site: Site, admin: Page) -> None:
    alert_id = await fresh_alert(site)
    await admin.goto(f"{site.url}/alerts")
    row = admin.locator(f"#alert-{alert_id}")
    await admin.keyboard.press("j")
    await expect(row).to_be_focused()
    await admin.keyboard.press("a")
    await expect(row).to_contain_text("acknowledged")
    await expect(row).to_be_focused()
    await admin.keyboard.press("r")
    await expect(row).to_contain_text("resolved")


async def test_an_action_can_be_undone(site: Site, admin: Page) -> None:
    alert_id = await fresh_alert(site)
    await admin.goto(f"{site.url}/alerts")
    row = admin.locator(f"#alert-{alert_id}")
    await row.get_by_role("button", name="False positive").click()
    await expect(row).to_contain_text("false positive")
    await admin.locator("#toasts").get_by_role("button", name="Undo").click()
    await expect(row).to_contain_text("open")


async def test_many_alerts_are_changed_at_once_and_undone(site: Site, admin: Page) -> None:
    await fresh_alert(site)
    await fresh_alert(site)
    await admin.goto(f"{site.url}/alerts")
    count = await admin.locator("#alert-rows tr").count()
    assert count >= 2
    resolve = admin.locator("button[data-bulk-action][value=resolve]")
    await expect(resolve).to_be_disabled()
    await admin.check("[data-all]")
    await expect(admin.locator("[data-chosen]")).to_have_text(f"{count} selected")
    await resolve.click()
    await expect(admin.locator("#toasts")).to_contain_text(f"{count} alerts resolved.")
    await expect(admin.locator("#alert-rows tr")).to_have_count(0)
    await admin.locator("#toasts").get_by_role("button", name="Undo").click()
    await expect(admin.locator("#alert-rows tr")).to_have_count(count)


async def test_the_address_holds_the_filter(site: Site, admin: Page) -> None:
    await fresh_alert(site)
    await admin.goto(f"{site.url}/alerts")
    await admin.select_option("select[name=severity]", "critical")
    await admin.wait_for_url("**/alerts?*severity=critical*")
    await expect(admin.locator("select[name=severity]")).to_have_value("critical")
    await admin.fill("input[name=search]", "no alert has this text")
    await admin.keyboard.press("Enter")
    await expect(admin.locator("main")).to_contain_text("No alert matches the filter.")
    await admin.click("a:has-text('Clear')")
    await admin.locator("#alert-groups a").first.click()
    await expect(admin.locator("#alert-groups a[aria-current]")).to_have_count(1)


async def test_the_detail_page_takes_a_note_with_the_action(site: Site, admin: Page) -> None:
    alert_id = await fresh_alert(site)
    await admin.goto(f"{site.url}/alerts/{alert_id}")
    await expect(admin.locator(".quote mark")).to_contain_text("previous instructions")
    await admin.fill("#note", "Test of a colleague <b>")
    await admin.get_by_role("button", name="Resolve").click()
    await expect(admin.locator("main")).to_contain_text("Test of a colleague <b>")
    await expect(admin.locator(".head")).to_contain_text("resolved")


async def test_a_form_shows_what_is_wrong_and_keeps_what_was_typed(site: Site, admin: Page, watch: Watch) -> None:
    watch.allows_refusals = True
    await admin.goto(f"{site.url}/proxies/new")
    await admin.click("[data-next]")
    await admin.fill("#name", "openai-prod")
    await admin.fill("#target_url", site.upstream.url)
    await admin.select_option("#auth_type", "none")
    await admin.click("[data-next]")
    await admin.click("[data-next]")
    await admin.get_by_role("button", name="Create", exact=True).click()
    await expect(admin.locator("#name-error")).to_contain_text("taken")
    await expect(admin.locator("#name")).to_be_focused()
    await expect(admin.locator("#name")).to_have_value("openai-prod")
    await expect(admin.locator("#target_url")).to_have_value(site.upstream.url)


async def test_a_key_is_revoked_after_a_dialog_that_names_it(site: Site, admin: Page) -> None:
    await site.create("/api-keys", name="laptop-of-eve")
    await admin.goto(f"{site.url}/access")
    row = admin.locator("tr", has_text="laptop-of-eve")
    await row.get_by_role("button", name="Revoke").click()
    await expect(admin.locator("#confirm-title")).to_have_text("Revoke key “laptop-of-eve”?")
    await admin.get_by_role("button", name="Cancel").click()
    await expect(row).to_contain_text("active")
    await row.get_by_role("button", name="Revoke").click()
    await admin.click("#confirm-yes")
    await expect(row).to_contain_text("revoked")


async def test_saving_the_configuration_changes_the_running_proxy(site: Site, admin: Page) -> None:
    created = await site.create_proxy("config-test")
    await admin.goto(f"{site.url}/proxies/{created['id']}?tab=config")
    await admin.fill("#description", "Team growth")
    await admin.check("input[name=enforcement][value=log_only]")
    await admin.get_by_role("button", name="Save").click()
    await expect(admin.locator("#toasts")).to_contain_text("config-test is saved.")
    await expect(admin.locator(".head")).to_contain_text("log only")
    answer = (await site.api.get(f"/proxies/{created['id']}")).json()["data"]
    assert (answer["description"], answer["enforcement"]) == ("Team growth", "log_only")
