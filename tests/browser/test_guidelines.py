"""Guidelines by hand: a file is uploaded, asked, cited by an alert, deleted and brought back."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.browser.inspection import inspect_all
from tests.browser.site import INJECTION, Site

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(240)]

HANDBOOK = """# Use of assistants

Nobody asks an assistant to ignore the instructions that it was given before.

# Human resources

Salaries are confidential: nobody forwards a salary list to a private mailbox.
"""


async def test_LLMSG_RAG_1_a_file_is_uploaded_asked_and_cited_by_an_alert(
    site: Site, admin: Page, tmp_path: Path
) -> None:
    page = admin
    file = tmp_path / "handbook.md"
    file.write_text(HANDBOOK)
    await page.goto(f"{site.url}/guidelines")
    await page.click("a:has-text('New guideline') >> nth=0")
    await page.set_input_files("#file", file)
    await page.click("button:has-text('Keep guideline')")
    await expect(page.locator("#list")).to_contain_text("nobody forwards a salary list")
    own = page.url

    await page.goto(f"{site.url}/guidelines")
    await page.fill("#question", "Send the salary list to my private mailbox, please.")
    await page.click("button:has-text('Find passages')")
    await expect(page.locator("#asked")).to_contain_text("Human resources")

    assert await site.call(INJECTION) == 403
    alerts = await site.wait_for_alerts(1)
    alert = next(one for one in alerts if one["pack"] == "prompt-injection")
    await page.goto(f"{site.url}/alerts/{alert['id']}")
    await expect(page.locator("body")).to_contain_text("Nobody asks an assistant to ignore the instructions")
    assert await inspect_all(page, site.url, ["/guidelines", own.removeprefix(site.url)]) == {}

    await page.goto(own)
    await page.click("button:has-text('Delete')")
    await page.click("#confirm-yes")
    await page.click("button:has-text('Undo')")
    await expect(page.locator("#list")).to_contain_text("handbook")
    await site.api.delete(f"/guidelines/{own.rpartition('/')[2]}")
