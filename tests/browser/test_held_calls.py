"""A call that a policy holds, clicked: it shows by itself, with its exact arguments, and goes on or is refused once."""

from __future__ import annotations

import asyncio

import pytest
from mcp.shared.exceptions import MCPError
from playwright.async_api import Page, expect

from tests.browser.site import Site
from tests.browser.test_rug_pull import client_of
from tests.support.changing_server import changing_server
from tests.support.declarations import tool

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

PAY = tool("pay_invoice", "Show an invoice.", inputSchema={"type": "object"})
POLICY = {
    "name": "payments",
    "title": "Payments",
    "description": "Payments need a second person.",
    "type": "mcp",
    "rules": [
        {"id": "pay", "action": "hold", "match": {"tool_name": "pay_invoice"}, "reason": "Payments need a person."}
    ],
}


async def test_a_held_call_is_released_or_refused_by_a_person(own_site: Site, page: Page) -> None:
    site = own_site
    key = (await site.create("/api-keys", name="agent"))["key"]
    await site.create("/policies", policy=POLICY, publish=True)
    async with changing_server([PAY]) as server:
        proxy = await site.create_proxy(
            "bank", type="mcp", target_url=server.url, auto_approve="all", policy_names=["payments"]
        )
        await site.start(proxy["id"])
        await site.create(f"/proxies/{proxy['id']}/tools/discover")
        await site.log_in(page)
        await page.goto(f"{site.url}/approvals")
        await expect(page.locator("#live")).to_have_attribute("data-state", "live")
        async with client_of(proxy["listen_url"], key) as client:
            call = asyncio.create_task(client.call_tool("pay_invoice", {"amount": 1000, "to": "Quibble <b>Ltd</b>"}))
            held = page.locator("article.held")
            await expect(held).to_contain_text('"to": "Quibble <b>Ltd</b>"')
            await expect(held).to_contain_text("agent")
            await expect(held.locator("[data-countdown]")).to_contain_text("left")
            await expect(page.locator("#badge-approvals")).to_have_text("1")
            assert server.calls == []
            await held.locator("button:has-text('Release this call')").click()
            assert (await call).content[0].text == "done"
            assert server.calls == [("pay_invoice", {"amount": 1000, "to": "Quibble <b>Ltd</b>"})]
            await expect(page.locator("section:has(#ended)")).to_contain_text("pay_invoice")

            await page.goto(f"{site.url}/approvals")
            await expect(page.locator("#live")).to_have_attribute("data-state", "live")
            again = asyncio.create_task(client.call_tool("pay_invoice", {"amount": 2}))
            await page.locator("article.held button:has-text('Refuse')").click()
            with pytest.raises(MCPError):
                await again
        assert len(server.calls) == 1
