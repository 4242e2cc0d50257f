"""Bedrock behind AWS credentials, clicked together: what the proxy sends is signed with them, and the page forgets them."""

from __future__ import annotations

import httpx
import pytest
from playwright.async_api import Page, expect

from tests.aws_signatures import ACCESS_KEY_ID, SECRET_ACCESS_KEY, signed_by
from tests.bedrock_replies import converse_body
from tests.browser.conftest import Watch
from tests.browser.site import Site
from tests.scripted_upstream import running_scripted_upstream
from tests.support.ports import free_port

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(120)]


async def test_LLM_BDR_1_a_proxy_that_signs_for_aws_is_made_by_clicks_alone(
    own_site: Site, page: Page, watch: Watch
) -> None:
    watch.allows_refusals = True
    site, port = own_site, free_port()
    key = (await site.create("/api-keys", name="agent"))["key"]
    await site.log_in(page)
    async with running_scripted_upstream() as upstream:
        upstream.reply = lambda body: converse_body({"text": "hello"})
        await page.goto(f"{site.url}/proxies/new")
        await page.click("[data-next]")
        await page.fill("#name", "Bedrock")
        await page.fill("#target_url", upstream.url)
        await page.fill("#port", str(port))
        await page.select_option("#auth_type", "aws")
        await expect(page.locator("#auth_value")).to_be_hidden()
        await page.fill("#auth_access_key_id", ACCESS_KEY_ID)
        await page.fill("#auth_secret_access_key", SECRET_ACCESS_KEY)
        await page.click("[data-next]")
        await page.click("[data-next]")
        review = page.locator(".step.current [data-review]")
        await expect(review).to_contain_text(ACCESS_KEY_ID)
        await expect(review).not_to_contain_text(SECRET_ACCESS_KEY)
        await page.click("button:has-text('Create and start')")

        # The address of the target does not name a region: the form says so and keeps what is no secret.
        await expect(page.locator("#auth_region-error")).to_contain_text("Give the region")
        await expect(page.locator("#auth_access_key_id")).to_have_value(ACCESS_KEY_ID)
        await expect(page.locator("#auth_secret_access_key")).to_have_value("")
        await page.fill("#auth_secret_access_key", SECRET_ACCESS_KEY)
        await page.fill("#auth_region", "eu-west-1")
        await page.click("[data-next]")
        await page.click("[data-next]")
        await page.click("button:has-text('Create and start')")
        await expect(page.locator(".head .sev")).to_have_text("running")

        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.post(
                f"http://127.0.0.1:{port}/model/m%3A0/converse",
                json={"messages": [{"role": "user", "content": [{"text": "hello"}]}]},
                headers={"authorization": f"Bearer {key}"},
            )
        assert answer.status_code == 200, answer.text
        assert signed_by(upstream)[:2] == (ACCESS_KEY_ID, "eu-west-1")

        proxy_id = page.url.partition("/proxies/")[2].partition("?")[0]
        await page.goto(f"{site.url}/proxies/{proxy_id}?tab=config")
        await expect(page.locator("#auth_region")).to_have_value("eu-west-1")
        assert SECRET_ACCESS_KEY not in await page.content()
        await page.fill("#description", "Models of the team.")
        await page.click("#config-form button:has-text('Save')")
        await expect(page.locator("#toasts")).to_contain_text("Bedrock is saved.")


async def test_the_wizard_offers_aws_credentials_for_language_models_only(site: Site, admin: Page) -> None:
    await admin.goto(f"{site.url}/proxies/new")
    await admin.click("[data-next]")
    aws = admin.locator("#auth_type option[value=aws]")
    await admin.select_option("#auth_type", "aws")
    await admin.click("[data-back]")
    await admin.check("input[value=mcp]")
    await admin.click("[data-next]")
    await expect(aws).to_be_disabled()
    await expect(admin.locator("#auth_type")).to_have_value("none")
    await expect(admin.locator("#auth_access_key_id")).to_be_hidden()
    await admin.click("[data-back]")
    await admin.check("input[value=llm]")
    await admin.click("[data-next]")
    await expect(aws).to_be_enabled()
