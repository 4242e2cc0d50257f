"""ADM-08: text of an attacker gives the pages no orders, neither as text nor, should it ever become markup, as markup."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, Page, expect

from tests.browser.site import INJECTION, Site

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(120)]

ORDERS = '<b hx-get="/pwned" hx-trigger="load" data-hx-on:click="pwned=1" style="color:red">'
MARKUP = """
<b id="get" hx-get="/pwned" hx-trigger="load" style="position: fixed">same origin</b>
<b id="on" hx-on:click="window.pwned = 'hx-on'">click</b>
<b id="dashed" data-hx-on:click="window.pwned = 'data-hx-on'">click</b>
<b id="vals" hx-get="/static/app.js" hx-vals="js:{a: window.pwned = 'hx-vals'}" hx-trigger="click" hx-swap="none">click</b>
<b id="filter" hx-get="/static/app.js" hx-trigger="click[window.pwned = 'filter']" hx-swap="none">click</b>
<b id="abroad" hx-get="http://evil.test/pwned" hx-trigger="click">click</b>
<b id="last" hx-get="/static/app.js?last" hx-trigger="click" hx-swap="none">click</b>
<img id="handler" src="/nothing" onerror="window.pwned = 'onerror'">
<script>window.pwned = 'script'</script>
"""


async def test_ADM_08_orders_in_hostile_text_stay_text_on_every_page(site: Site, admin: Page) -> None:
    asked: list[str] = []
    admin.on("request", lambda request: asked.append(request.url))
    await site.call(INJECTION + ORDERS, model=ORDERS)
    key = await site.create("/api-keys", name=ORDERS)
    try:
        for path, shown in (("/", "growth-team"), ("/traffic", "hx-get"), ("/alerts", "hx-get"), ("/access", "hx-get")):
            await admin.goto(site.url + path)
            await expect(admin.locator("main")).to_contain_text(shown)
            assert await admin.locator("main [style], main [data-hx-on\\:click], main [hx-get='/pwned']").count() == 0
    finally:
        await site.api.post(f"/api-keys/{key['api_key']['id']}/revoke")
    assert [url for url in asked if "pwned" in url] == []


async def test_ADM_08_markup_that_came_in_runs_no_code_and_reaches_no_other_host(site: Site, browser: Browser) -> None:
    page = await browser.new_page()  # Without the watch: the browser complains of every attempt, as it should.
    refused: list[str] = []
    sent: list[str] = []
    page.on("console", lambda message: refused.append(message.text))
    page.on("request", lambda request: sent.append(request.url))
    await site.log_in(page)
    await page.evaluate(
        "markup => { const place = document.querySelector('main'); place.innerHTML = markup; htmx.process(place); }",
        MARKUP,
    )
    for name in ("on", "dashed", "vals", "filter", "abroad"):
        await page.locator(f"#{name}").click()
    async with page.expect_response("**/static/app.js?last"):
        await page.locator("#last").click()

    assert await page.evaluate("window.pwned") is None
    assert (
        await page.evaluate("getComputedStyle(document.getElementById('on').previousElementSibling).position")
        == "static"
    )
    assert [url for url in sent if "evil.test" in url] == []
    assert any("Content Security Policy" in text for text in refused)
    assert await page.evaluate("htmx.config.mode") == "same-origin"
    await page.close()
