"""Every page: accessible in both themes, free of complaints, small, and without sideways scrolling on a phone."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, Page, expect

from tests.browser.conftest import Watch
from tests.browser.inspection import DESK, MAX_PAGE_BYTES, PHONE, inspect_all, problems_on
from tests.browser.site import Site

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]


async def packs_of(site: Site) -> list[str]:
    """The names of all packs."""
    packs = (await site.api.get("/packs")).json()["data"]
    return [pack["name"] for pack in (packs["items"] if isinstance(packs, dict) else packs)]


async def pages_of(site: Site, packs: int | None = 1) -> list[str]:
    """The address of every page, with the ids that the seeded console has; the pages of so many packs or of all."""
    proxies = (await site.api.get("/proxies")).json()["data"]["items"]
    alert = (await site.api.get("/system/alerts")).json()["data"]["items"][0]
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
        "/guidelines",
        "/guidelines/new",
        "/policies/llm-standard-security",
        *(f"/packs/{name}" for name in (await packs_of(site))[:packs]),
        f"/packs/{alert['pack']}/{alert['rule_id']}",
        "/scanner",
        "/access",
        "/access/new",
        "/audit",
        *(f"/settings?tab={tab}" for tab in ("general", "users", "tokens", "about")),
        "/password",
    ]


@pytest.mark.parametrize("packs", [1, pytest.param(None, marks=pytest.mark.nightly)], ids=["one-pack", "every-pack"])
async def test_every_page_is_accessible_small_and_quiet_and_fits_a_phone(
    site: Site, admin: Page, packs: int | None
) -> None:
    assert await inspect_all(admin, site.url, await pages_of(site, packs), both_themes=packs is None) == {}


async def test_the_login_page_is_accessible(site: Site, page: Page) -> None:
    await page.goto(f"{site.url}/login")
    assert await problems_on(page) == []


async def test_the_page_of_no_pack_is_larger_than_60_KB(site: Site, admin: Page) -> None:
    sizes = {
        name: len(await (await admin.request.get(f"{site.url}/packs/{name}")).body()) for name in await packs_of(site)
    }
    assert {name: size for name, size in sizes.items() if size > MAX_PAGE_BYTES} == {}


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


async def test_on_a_phone_the_open_tab_is_seen_whole(site: Site, admin: Page) -> None:
    await admin.set_viewport_size(PHONE)
    await admin.goto(f"{site.url}/settings?tab=about")
    tab, row = await admin.locator(".tabs [aria-current]").bounding_box(), await admin.locator(".tabs").bounding_box()
    assert tab is not None
    assert row is not None
    assert row["x"] <= tab["x"]
    assert tab["x"] + tab["width"] <= row["x"] + row["width"] + 1
