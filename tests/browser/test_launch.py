"""A server that Ostiary starts, clicked together: allow its program, look at the exact command, offer it to clients."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.browser.inspection import EXTENTS, inspect_all
from tests.browser.site import Site
from tests.browser.test_rug_pull import client_of, until_offered
from tests.support.ports import free_port

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(120)]

SERVER = str(Path(__file__).resolve().parents[1] / "stdio_server_program.py")


async def test_P_05_a_program_is_offered_as_streamable_http_by_clicks_alone(own_site: Site, page: Page) -> None:
    site = own_site
    key = (await site.create("/api-keys", name="agent"))["key"]
    await site.log_in(page)
    await page.goto(f"{site.url}/settings?tab=launch")
    await page.fill("#program", sys.executable)
    await page.fill("#first_arguments", SERVER)
    await page.click("button:has-text('Allow program')")
    await expect(page.locator("main")).to_contain_text("no proxy")

    port = free_port()
    await page.goto(f"{site.url}/proxies/new")
    await page.check("[name=type][value=mcp]")
    await page.click("[data-next]")
    await page.fill("#name", "Script")
    await page.select_option("#transport", "stdio")
    await page.fill("#launch_command", f"{sys.executable}\n\n{SERVER}\nsilent")
    await page.fill("#port", str(port))
    await page.click("[data-next]")
    await page.click("[data-next]")
    review = page.locator(".step.current")
    await expect(review.locator("[data-exact]")).to_have_text(f"{sys.executable}\n{SERVER}\nsilent\n")
    await expect(review.locator("[data-review]")).to_contain_text("mcp-standard-security")
    await expect(review.locator("[data-review]")).not_to_contain_text("llm-standard-security")
    await page.check("#launch_confirmed")

    # What was confirmed is that command and no other one.
    await page.click("[data-back]")
    await page.click("[data-back]")
    await page.fill("#launch_command", f"{sys.executable}\n{SERVER}")
    await page.click("[data-next]")
    await page.click("[data-next]")
    await expect(page.locator("#launch_confirmed")).not_to_be_checked()
    await expect(review.locator("[data-exact]")).to_have_text(f"{sys.executable}\n{SERVER}\n")
    await page.check("#launch_confirmed")
    await page.click("button:has-text('Create and start')")

    await expect(page.locator(".head .sev")).to_have_text("running")
    proxy_id = page.url.partition("/proxies/")[2].partition("?")[0]
    await site.create(f"/proxies/{proxy_id}/tools/discover")
    await page.goto(f"{site.url}/approvals/servers/{proxy_id}")
    await page.click("button:has-text('Approve all clean (5)')")
    await page.click("#confirm-yes")
    await expect(page.locator("#review .empty")).to_be_visible()
    url = f"http://127.0.0.1:{port}"
    await until_offered(url, key, {"echo", "who", "descriptors", "noise", "child"})
    async with client_of(url, key) as client:
        answer = await client.call_tool("echo", {"text": "hello from a process"})
    assert answer.content[0].text == "hello from a process"

    await page.goto(f"{site.url}/proxies/{proxy_id}?tab=config")
    await expect(page.locator("#launch_confirmed")).to_be_checked()
    await page.fill("#description", "A script.")
    await page.click("#config-form button:has-text('Save')")
    await expect(page.locator("#toasts")).to_contain_text("Script is saved.")


@EXTENTS
async def test_pages_with_a_long_command_fit_a_desk_and_a_phone(own_site: Site, page: Page, both_themes: bool) -> None:
    site = own_site
    folder = "/".join(["a-folder-of-a-server-with-a-long-name"] * 4)
    await site.create("/launch-programs", program=sys.executable, first_arguments=[SERVER, f"/srv/{folder}"])
    await site.create("/tokens", name="continuous-integration-of-the-warehouse", role="admin")
    proxy = await site.create_proxy(
        "warehouse-stock-and-orders",
        type="mcp",
        transport="stdio",
        target_url="",
        launch_command=[sys.executable, SERVER, f"/srv/{folder}", "silent"],
    )
    await site.start(proxy["id"])
    await site.create(f"/proxies/{proxy['id']}/tools/discover")
    await site.api.post("/mcp/scan", json={"proxy_id": proxy["id"]})
    await site.log_in(page)
    addresses = [
        "/",
        "/proxies",
        *(f"/proxies/{proxy['id']}?tab={tab}" for tab in ("live", "tools", "config", "logs")),
        f"/approvals/servers/{proxy['id']}",
        "/inventory",
        "/scanner",
        "/settings?tab=launch",
        "/settings?tab=tokens",
    ]
    assert await inspect_all(page, site.url, addresses, both_themes=both_themes) == {}
