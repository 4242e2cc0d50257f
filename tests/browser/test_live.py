"""What changes while a page is open: rows, badges, the honest indicator, and no row twice."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import Watch
from tests.browser.site import INJECTION, Site

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(120)]


async def live(page: Page) -> None:
    """Wait until the page's stream is connected."""
    await expect(page.locator("#live")).to_have_attribute("data-state", "live")


async def test_calls_appear_by_themselves_and_wait_while_paused(site: Site, admin: Page) -> None:
    await admin.goto(f"{site.url}/proxies/{site.proxy['id']}")
    await live(admin)
    rows = admin.locator("#call-rows tr")
    before = await rows.count()
    await site.call("Hello from the live test")
    await expect(rows).to_have_count(before + 1)
    await admin.click("[data-pause]")
    await site.call("Hello while paused")
    pill = admin.locator("[data-pill-for=call-rows]")
    await expect(pill).to_have_text("1 new")
    await expect(rows).to_have_count(before + 1)
    await pill.locator("button").click()
    await expect(rows).to_have_count(before + 2)
    await expect(pill).to_be_hidden()


async def test_a_row_is_not_shown_twice_after_a_reconnect(site: Site, admin: Page, watch: Watch) -> None:
    await admin.goto(f"{site.url}/alerts?status=any")
    await live(admin)
    rows = admin.locator("#alert-rows tr")
    before = await rows.count()
    await site.call(INJECTION)
    await expect(rows).to_have_count(before + 1)
    await admin.evaluate("document.querySelector('#stream')._htmx.sse.reader.cancel()")
    await expect(admin.locator("#live")).to_have_attribute("data-state", "reconnecting")
    await site.call(INJECTION)
    await live(admin)
    await expect(rows).to_have_count(before + 2)
    ids = await rows.evaluate_all("rows => rows.map(row => row.id)")
    assert len(ids) == len(set(ids))


async def test_the_indicator_admits_that_the_console_is_gone(own_site: Site, page: Page, watch: Watch) -> None:
    await own_site.log_in(page)
    await live(page)
    await own_site.console.stop()
    await expect(page.locator("#live")).to_have_attribute("data-state", "reconnecting")
    watch.complaints.clear()


async def test_a_state_changes_in_the_list_without_a_reload(site: Site, admin: Page) -> None:
    created = await site.create_proxy("live-state")
    await admin.goto(f"{site.url}/proxies")
    await live(admin)
    row = admin.locator(f"#proxy-{created['id']}")
    await expect(row).to_contain_text("stopped")
    await site.start(created["id"])
    await expect(row).to_contain_text("running")
    await row.get_by_role("button", name="Stop live-state").click()
    await expect(admin.locator("#confirm-title")).to_have_text("Stop live-state?")
    await admin.click("#confirm-yes")
    await expect(row).to_contain_text("stopped")
    await expect(admin.locator("#toasts")).to_contain_text("live-state is stopped.")


async def test_a_failed_start_says_why_where_it_was_asked_for(site: Site, admin: Page, watch: Watch) -> None:
    watch.allows_refusals = True
    taken = int(site.upstream.url.rpartition(":")[2])
    proxies = (await site.api.get("/proxies")).json()["data"]["items"]
    jira = next(proxy for proxy in proxies if proxy["port"] == taken)
    await admin.goto(f"{site.url}/proxies/{jira['id']}")
    await admin.get_by_role("button", name="Start").click()
    await expect(admin.locator("#toasts [data-kind=error]")).to_contain_text(str(taken))
    await expect(admin.locator(".head .sev")).to_have_text("failed")
    await expect(admin.locator("#proxy-reason")).to_contain_text(str(taken))
    await expect(admin.locator("#badge-proxies")).to_have_text("1")


MORPH = """() => {
  const make = (html) => {
    const part = document.createElement("div");
    part.innerHTML = html;
    return part;
  };
  const form = (note) => `<form id="m-f"><input name="c" value="">${note}<button>go</button></form>`;
  const details = (text) => `<details id="m-d"><summary>s</summary><p>${text}</p></details>`;
  const part = make(`<p id="m-a">gone</p><div class="note">old</div>${form("")}${details("old")}<ul><li>1</li></ul>`);
  document.querySelector("main").append(part);
  const input = part.querySelector("input");
  input.focus();
  input.value = "typed";
  input.setSelectionRange(1, 3);
  part.querySelector("details").open = true;
  const kept = [input, part.querySelector("button"), part.querySelector("summary").firstChild];
  become(part, make(`<div class="news">decided</div>${form("<b>now</b> ")}${details("new")}<ul><li>1</li><li>2</li></ul>`));
  const found = {
    text: part.innerText.replace(/\\s+/g, " ").trim(),
    value: input.value,
    selected: [input.selectionStart, input.selectionEnd],
    focused: document.activeElement === input,
    open: part.querySelector("details").open,
    kept: kept.every((node) => node.isConnected),
    unsent: typed(part).map(({ text }) => text),
  };
  part.remove();
  return found;
}"""


async def test_a_part_that_changes_keeps_what_a_person_does_in_it(site: Site, admin: Page) -> None:
    await admin.goto(f"{site.url}/approvals")
    found = await admin.evaluate(MORPH)
    assert found == {
        "text": "decided now go s new 1 2",
        "value": "typed",
        "selected": [1, 3],
        "focused": True,
        "open": True,
        "kept": True,
        "unsent": ["typed"],
    }
