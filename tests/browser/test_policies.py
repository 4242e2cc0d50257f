"""A policy made by hand: built in the builder, tried in the playground, published, assigned, and a real call is blocked."""

from __future__ import annotations

import asyncio
import re

import pytest
from playwright.async_api import Browser, Cookie, Page, Route, expect

from tests.browser.inspection import DESK, EXTENTS, inspect_all
from tests.browser.site import Site

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(240)]

NUMBER = "EMP-123456"


async def test_SYP_POL_6_a_policy_is_built_tried_published_assigned_and_blocks(site: Site, admin: Page) -> None:
    page = admin
    proxy = await site.create_proxy("ward-desk", policy_names=[])
    await site.start(proxy["id"])
    question = f"Where does {NUMBER} work?"
    assert await site.call(question, url=proxy["listen_url"]) == 200

    await page.goto(f"{site.url}/policies")
    await page.click("a:has-text('New policy') >> nth=0")
    await page.fill("#name", "ward")
    await page.fill("#title", "Ward")
    await page.select_option("#type", "llm")
    await page.click("button:has-text('Make the draft')")

    await expect(page.locator("#lint")).to_contain_text("decides nothing")
    await page.click("button:has-text('Add detection')")
    await expect(page.locator("[id='detections.0.patterns']")).to_be_visible()
    await expect(page.locator("#lint")).to_have_attribute("data-state", "bad")
    await page.fill("[id='detections.0.title']", "Employee number")
    await page.fill("[id='detections.0.patterns']", r"\bEMP-\d{6}\b")
    await page.fill("[id='detections.0.examples.match']", f"ask {NUMBER}")
    await page.fill("[id='detections.0.examples.no_match']", "ask EMP-1")
    await expect(page.locator("#lint")).to_have_attribute("data-state", "good")
    await expect(page.locator("#json")).to_have_value(re.compile("Employee number"))

    await page.locator("[id='detections.0.title']").evaluate("field => field.scrollIntoView({ block: 'center' })")
    place = await page.evaluate("scrollY")
    assert place > 500
    await page.click("button:has-text('Save draft')")
    await expect(page.locator(".build-bar")).to_contain_text("revision 2")
    await expect(page.locator("button:has-text('Save draft')")).to_be_focused()
    assert await page.evaluate("scrollY") == place, "saving leaves the reader where he was"

    written = await page.input_value("#json")
    await page.fill("#json", written.replace('"Employee number"', '"Number of an employee"'))
    await expect(page.locator("[id='detections.0.title']")).to_have_value("Number of an employee")
    await page.click("button:has-text('Save draft')")
    await expect(page.locator(".build-bar")).to_contain_text("revision 3")

    await page.click(".tabs a:has-text('Test')")
    await page.fill("#message", question + "\u200b")
    await page.keyboard.press("Control+Enter")
    await expect(page.locator(".verdict")).to_contain_text("Blocked: Number of an employee in prompt")
    await expect(page.locator("#outcome mark")).to_have_text(NUMBER)
    await expect(page.locator("#outcome .tok")).to_have_text("ZWSP")

    await page.click(".tabs a:has-text('Builder')")
    await page.click("button:has-text('Save and publish')")
    await page.click("#confirm-yes")
    await expect(page.locator(".head .tag").first).to_have_text("version 1")

    await page.goto(f"{site.url}/proxies/{proxy['id']}?tab=config")
    await page.check("#policy-ward")
    await page.click("#config-form button:has-text('Save')")
    await expect(page.locator("#toasts")).to_contain_text("saved")
    arrived = len(site.upstream.seen)
    assert await site.call(question, url=proxy["listen_url"]) == 403
    assert len(site.upstream.seen) == arrived, "the upstream never sees a blocked prompt"
    assert await site.call("Where does nobody work?", url=proxy["listen_url"]) == 200

    async with asyncio.timeout(30):  # What was committed after the page was made would come to an unfiltered list only.
        while not (await site.api.get("/system/alerts?search=ward-desk")).json()["data"]["items"]:
            await asyncio.sleep(0.05)
    await page.goto(f"{site.url}/alerts?search=ward-desk")
    await expect(page.locator("#alert-rows tr")).to_have_count(1)
    await page.click("#alert-rows a.name")
    await expect(page.locator("section[aria-labelledby='why']")).to_contain_text("ward")

    await page.goto(f"{site.url}/policies/ward?tab=replay")
    await page.click("button:has-text('Replay')")
    await expect(page.locator("#replay header")).to_contain_text("done")
    await expect(page.locator(".replay-sentence")).to_contain_text("It would have blocked 1 of 2 requests")


@EXTENTS
async def test_the_pages_of_policies_are_accessible_and_fit_a_phone(site: Site, admin: Page, both_themes: bool) -> None:
    match = {"tool_name": "read_file", "tool_arguments": [{"path": "$.path", "matches": "^/etc/" + "long-" * 9}]}
    rules = [{"id": one, "match": match, "action": "deny"} for one in ("no-shell", "no-etc")]
    name = "long-rounds" if both_themes else "rounds"
    await site.create("/policies", policy={"name": name, "packs": ["secrets"], "rules": rules}, publish=True)
    changed = {"policy": {"name": name, "overrides": [{"rules": "SEC-*", "log_only": True}], "rules": rules}}
    assert (await site.api.put(f"/policies/{name}", json=changed)).is_success
    addresses = [
        "/policies",
        "/policies/new",
        "/policies/import",
        "/policies/playground",
        *(f"/policies/{name}?tab={tab}" for tab in ("overview", "builder", "test", "replay", "versions")),
        f"/policies/{name}?tab=builder&open=rules.1",
        "/policies?change=everywhere",
    ]
    assert await inspect_all(admin, site.url, addresses, both_themes=both_themes) == {}


async def test_without_scripts_a_policy_is_changed_item_by_item_and_published_after_a_question(
    site: Site, browser: Browser, signed_in: list[Cookie]
) -> None:
    rules = [{"id": name, "action": "deny", "match": {"tool_name": name}} for name in ("one", "two", "three")]
    await site.create("/policies", policy={"name": "scriptless", "rules": rules}, publish=True)
    plain = await browser.new_context(java_script_enabled=False, viewport=DESK)  # type: ignore[arg-type]
    await plain.add_cookies(signed_in)  # type: ignore[arg-type]
    page = await plain.new_page()
    page.set_default_timeout(30_000)
    await page.goto(f"{site.url}/policies/scriptless?tab=builder")
    await page.fill("#title", "By hand")
    await page.click("#item-rules-1 button[aria-label='Open rule two']")
    await expect(page.locator("#title")).to_have_value("By hand")
    await page.fill("[id='rules.1.match.tool_name']", "shell_*")
    await page.click("button:has-text('Add rule')")
    await expect(page.locator("[id^='item-rules-']")).to_have_count(4)
    await page.click("button[value='remove-rules-3']")
    await expect(page.locator("[id^='item-rules-']")).to_have_count(3)
    await page.click("button:has-text('Save and publish')")
    await expect(page.locator(".error-page h2")).to_have_text("Publish scriptless?")
    versions = await site.api.get("/policies/scriptless/versions")
    assert [one["status"] for one in versions.json()["data"]] == ["draft", "published"], "nothing is in force yet"
    await page.click("button:has-text('Publish')")
    await expect(page.locator(".head h2")).to_have_text("By hand")
    document = (await site.api.get("/policies/scriptless/versions/2")).json()["data"]["policy"]
    assert document["rules"][1]["match"] == {"tool_name": "shell_*"}
    await plain.close()


async def test_a_page_of_rules_is_turned_with_the_keyboard_and_the_focus_stays_there(site: Site, admin: Page) -> None:
    rules = [{"id": f"rule-{number}", "action": "deny"} for number in range(40)]
    await site.create("/policies", policy={"name": "forty", "rules": rules})
    await admin.goto(f"{site.url}/policies/forty?tab=builder")
    await admin.locator("button[value='page-rules-15']").focus()
    await admin.keyboard.press("Enter")
    await expect(admin.locator("#item-rules-15")).to_be_visible()
    await expect(admin.locator("button[value='page-rules-30']")).to_be_focused()
    await admin.keyboard.press("Enter")
    await expect(admin.locator("#item-rules-39")).to_be_visible()
    await expect(admin.locator("button[value='page-rules-15']")).to_be_focused()


async def test_nothing_typed_in_the_builder_is_lost_while_a_slow_answer_is_awaited(site: Site, admin: Page) -> None:
    await site.create("/policies", policy={"name": "slow-ward", "rules": [{"id": "a", "action": "deny"}]})
    go_on = asyncio.Event()
    sent: list[str] = []

    async def wait(route: Route) -> None:
        sent.append(route.request.post_data or "")
        await go_on.wait()
        await route.continue_()

    await admin.goto(f"{site.url}/policies/slow-ward?tab=builder")
    await admin.route("**/policies/slow-ward/build", wait)
    form, written = admin.locator("#build-form"), admin.locator("#json")
    await admin.fill("#title", "First")
    await expect(written).not_to_be_editable()
    await admin.click("button:has-text('Add rule')")
    await expect(form).to_have_attribute("inert", "")
    go_on.set()
    await expect(admin.locator("#item-rules-1")).to_be_visible()
    await expect(admin.locator("[id='rules.1.id']")).to_be_focused()
    await expect(form).not_to_have_attribute("inert", "")
    await expect(written).to_be_editable()
    await expect(written).to_have_value(re.compile('"title": "First"(.|\n)*"new-rule-1"'))
    [button] = [index for index, body in enumerate(sent) if "do=add-rules" in body]
    assert all("new-rule-1" in body for body in sent[button + 1 :]), "nothing older goes out behind the button"

    go_on.clear()
    await written.fill((await written.input_value()).replace('"First"', '"Second"'))
    await expect(form).to_have_attribute("inert", "")
    go_on.set()
    await expect(admin.locator("#title")).to_have_value("Second")
    await expect(form).not_to_have_attribute("inert", "")
    await admin.unroute("**/policies/slow-ward/build")
