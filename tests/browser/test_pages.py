"""Every page: accessible in both themes, free of complaints, small, and without sideways scrolling on a phone."""

from __future__ import annotations

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, expect

from tests.browser.conftest import Watch
from tests.browser.site import Site

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]

MAX_PAGE_BYTES = 60 * 1024
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 860}


async def pages_of(site: Site) -> list[str]:
    """The address of every page, with the ids that the seeded console has."""
    proxies = (await site.api.get("/proxies")).json()["data"]["items"]
    alert = (await site.api.get("/system/alerts")).json()["data"]["items"][0]
    packs = (await site.api.get("/packs")).json()["data"]
    names = [pack["name"] for pack in (packs["items"] if isinstance(packs, dict) else packs)]
    llm, mcp = site.proxy["id"], next(proxy["id"] for proxy in proxies if proxy["name"] == "github-tools")
    failed = next(proxy["id"] for proxy in proxies if proxy["name"] == "jira")
    return [
        "/",
        "/proxies",
        "/proxies?search=nothing-like-it",
        "/proxies/new",
        *(f"/proxies/{llm}?tab={tab}" for tab in ("live", "policy", "connect", "config", "logs")),
        f"/proxies/{mcp}?tab=connect",
        f"/proxies/{failed}",
        "/traffic",
        "/traffic?verdict=blocked",
        f"/traffic?call={alert['call_id']}",
        f"/traffic/{alert['call_id']}",
        f"/traffic/{alert['call_id']}/texts/request",
        "/redactions",
        "/alerts",
        "/alerts?status=resolved",
        f"/alerts/{alert['id']}",
        "/policies",
        "/policies/playground",
        "/canaries",
        "/canaries/new",
        "/policies/llm-standard-security",
        *(f"/packs/{name}" for name in names),
        f"/packs/{alert['pack']}/{alert['rule_id']}",
        "/scanner",
        "/access",
        "/access/new",
        "/audit",
        *(f"/settings?tab={tab}" for tab in ("general", "users", "tokens", "about")),
        "/password",
    ]


async def problems_on(page: Page) -> list[str]:
    """What axe finds, one line a violation."""
    found = await Axe().run(page)
    return [f"{violation['id']}: {violation['nodes'][0]['html'][:160]}" for violation in found.response["violations"]]


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_every_page_is_accessible_and_quiet(site: Site, browser: Browser, watch: Watch, theme: str) -> None:
    context = await browser.new_context(viewport=DESK, color_scheme=theme)
    page = await context.new_page()
    page.on("console", watch.note_message)
    await page.goto(f"{site.url}/login")
    assert await problems_on(page) == []
    await site.log_in(page)
    problems = {}
    for address in await pages_of(site):
        answer = await page.goto(site.url + address)
        assert answer is not None
        assert answer.status == 200, address
        if found := await problems_on(page):
            problems[address] = found
    await context.close()
    assert problems == {}
    assert watch.verdict() == []


async def test_no_page_scrolls_sideways_on_a_phone_or_is_larger_than_60_KB(
    site: Site, browser: Browser, watch: Watch
) -> None:
    context = await browser.new_context(viewport=PHONE)
    page = await context.new_page()
    page.on("console", watch.note_message)
    await site.log_in(page)
    too_wide, too_large = {}, {}
    for address in await pages_of(site):
        answer = await page.goto(site.url + address)
        assert answer is not None
        width = await page.evaluate("document.documentElement.scrollWidth")
        if width > PHONE["width"]:
            too_wide[address] = width
        size = len(await answer.body())
        if size > MAX_PAGE_BYTES:
            too_large[address] = size
    await context.close()
    assert too_wide == {}
    assert too_large == {}
    assert watch.verdict() == []


async def test_on_a_phone_the_rail_is_a_sheet(site: Site, admin: Page) -> None:
    await admin.set_viewport_size(PHONE)
    await expect(admin.locator("#rail")).to_be_hidden()
    await admin.click("[popovertarget=rail]")
    await admin.click("#rail a:has-text('Alerts')")
    await expect(admin.locator("h1")).to_have_text("Alerts")


async def test_pages_read_and_forms_post_without_scripts(site: Site, browser: Browser) -> None:
    context = await browser.new_context(java_script_enabled=False, viewport=DESK)
    page = await context.new_page()
    await site.log_in(page)
    for address in await pages_of(site):
        await page.goto(site.url + address)
        await expect(page.locator("main")).to_be_visible()
    await page.goto(f"{site.url}/proxies/new")
    await expect(page.locator(".step")).to_have_count(4)
    for step in range(4):
        await expect(page.locator(".step").nth(step)).to_be_visible()
    await page.goto(f"{site.url}/access/new")
    await page.fill("#name", "without scripts")
    await page.click("button:has-text('Create key')")
    await expect(page.locator("#new-key")).to_contain_text("ost_")
    await page.goto(f"{site.url}/access")
    await page.locator("tr", has_text="without scripts").get_by_role("button").click()
    await expect(page.locator("main h2")).to_have_text("Revoke key “without scripts”?")
    await page.get_by_role("button", name="Revoke key").click()
    await expect(page.locator("tr", has_text="without scripts")).to_contain_text("revoked")
    await context.close()


async def test_INJ_01_hostile_names_stay_text_on_every_page_that_shows_them(site: Site, admin: Page) -> None:
    for address in ("/traffic", f"/proxies/{site.proxy['id']}"):
        await admin.goto(site.url + address)
        row = admin.locator("tr", has_text="<img src=x onerror=alert(1)>").first
        await expect(row).to_be_visible()
        await expect(row.locator(".tok").first).to_have_text("RLO")
        await expect(row.locator("img")).to_have_count(0)


async def test_the_theme_is_kept_and_the_rail_folds(site: Site, admin: Page) -> None:
    await admin.click("[aria-label=Theme]")
    await admin.click("[data-theme=dark]")
    await expect(admin.locator("html")).to_have_attribute("data-bs-theme", "dark")
    await admin.goto(f"{site.url}/alerts")
    await expect(admin.locator("html")).to_have_attribute("data-bs-theme", "dark")
    await admin.click("[data-rail-toggle]")
    await admin.reload()
    await expect(admin.locator("html")).to_have_attribute("data-rail", "narrow")
    assert await problems_on(admin) == []


async def test_go_to_finds_a_proxy_by_name(site: Site, admin: Page) -> None:
    await admin.keyboard.press("Control+k")
    await admin.locator("#goto input").fill("github")
    await expect(admin.locator("#goto-list li:visible")).to_have_count(1)
    assert await problems_on(admin) == []
    await admin.keyboard.press("Enter")
    await expect(admin.locator("h1")).to_contain_text("github-tools")


async def test_an_unknown_page_says_so_inside_the_console(site: Site, admin: Page, watch: Watch) -> None:
    watch.allows_refusals = True
    answer = await admin.goto(f"{site.url}/proxies/prx_unknown")
    assert answer is not None
    assert answer.status == 404
    await expect(admin.locator("main")).to_contain_text("There is no such proxy")
    await expect(admin.locator("#rail")).to_be_visible()
    assert await problems_on(admin) == []


async def test_the_chart_of_the_overview_zooms(site: Site, admin: Page) -> None:
    await expect(admin.locator("#traffic-chart svg.bars rect").first).to_be_attached()
    await admin.click("[data-zoom]")
    await expect(admin.locator("#traffic-chart .uplot canvas")).to_be_visible()
    await expect(admin.locator("#traffic-chart svg.bars")).to_be_hidden()
