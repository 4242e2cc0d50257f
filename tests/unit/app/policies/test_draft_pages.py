"""Drafts in the browser: saved, published, discarded, and never lost to a refusal."""

from __future__ import annotations

import html
import json
import re

import httpx
import pytest

from tests.support.console import Console
from tests.support.tab import Tab, make_proxy, toasts_of
from tests.unit.app.policies.test_policy_pages import json_in, make, text_of
from tests.unit.app.policies.test_policy_service import detection, document


async def test_a_template_becomes_a_draft_in_the_builder(tab: Tab) -> None:
    page = await tab.get("/policies/llm-standard-security")
    assert "/policies/new?template=llm-standard-security" in page.text
    assert "stays as it is" in (await tab.get("/policies/llm-standard-security?tab=builder")).text
    form = await tab.get("/policies/new?template=llm-standard-security")
    assert 'value="llm-standard-security-own"' in form.text
    made = await tab.post("/policies/new", {"template": "llm-standard-security", "name": "mine", "title": "Mine"})
    assert (made.status_code, made.headers["location"]) == (303, "/policies/mine?tab=builder")
    builder = await tab.get("/policies/mine?tab=builder")
    assert json_in(builder)["packs"] == ["prompt-injection", "secrets"]
    assert "No problems" in builder.text
    taken = await tab.post("/policies/new", {"name": "mine"})
    assert taken.status_code == 409
    assert "There is a policy named mine" in taken.text


async def test_a_draft_is_saved_published_compared_and_rolled_back(console: Console, tab: Tab) -> None:
    await make(console)
    second = json.dumps(document(detections=[detection()]))
    saved = await tab.post("/policies/ours/draft", {"json": second, "side": "json", "revision": "0", "then": "save"})
    assert saved.headers["location"] == "/policies/ours?tab=builder"
    stale = await tab.post("/policies/ours/draft", {"json": second, "side": "json", "revision": "0"})
    assert stale.status_code == 409
    assert "The draft was changed by admin meanwhile (revision 1)." in text_of(stale)
    assert "It says the same as the draft that is saved." in text_of(stale)
    assert json_in(stale)["detections"][0]["id"] == "OWN-EMP-1"
    bad = json.dumps(document(packs=["nowhere"]))
    refused = await tab.post("/policies/ours/draft", {"json": bad, "side": "json", "revision": "1", "then": "publish"})
    assert refused.status_code == 422
    assert "there is no pack named nowhere" in refused.text
    # Without scripts a page asks; the draft is saved by then.
    publish = {"json": second, "side": "json", "revision": "2", "then": "publish"}
    asked = await tab.post("/policies/ours/draft", publish)
    assert "Publish ours?" in asked.text
    assert 'action="/policies/ours/publish"' in asked.text
    assert 'name="revision" value="3"' in asked.text
    outdated = await tab.post("/policies/ours/publish", {"confirmed": "yes", "revision": "2"})
    assert "The draft was" in str(toasts_of(outdated)[0])
    done = await tab.post("/policies/ours/draft", {**publish, "revision": "3", "confirmed": "yes"})
    assert done.headers["location"] == "/policies/ours"
    versions = text_of(await tab.get("/policies/ours?tab=versions"))
    assert "From version 1 to version 2" in versions
    assert "Detection OWN-EMP-1 added" in versions
    question = await tab.post("/policies/ours/rollback", {"version": "1"})
    assert "Put version 1 of ours in force again?" in question.text
    back = await tab.post("/policies/ours/rollback", {"version": "1", "confirmed": "yes"})
    assert back.headers["location"] == "/policies/ours?tab=versions"
    assert "version 3" in text_of(await tab.get("/policies/ours"))
    assert (await tab.post("/policies/ours/rollback", {"version": "x"})).status_code == 422


async def test_without_scripts_buttons_of_the_builder_work_and_the_side_that_was_changed_is_saved(
    console: Console, tab: Tab
) -> None:
    many = document(rules=[{"id": f"r{number}", "action": "deny"} for number in range(3)])
    await console.client.post("/api/v1/policies", headers=console.admin, json={"policy": many})
    page = await tab.get("/policies/ours?tab=builder")
    shown = {"json": text_in(page), "json.was": hidden(page, "json.was"), "side": hidden(page, "side"), "revision": "1"}
    assert shown["side"] == ""
    assert 'name="do" value="open-rules-1" formaction="/policies/ours/draft#item-rules-1"' in page.text

    typed = {**shown, "json": shown["json"].replace("\n", "\r\n"), "title": "Typed", "at.rules": "0"}
    opened = await tab.post("/policies/ours/draft", {**typed, "do": "open-rules-1"})
    assert 'name="rules.1.id" value="r1"' in opened.text
    assert json_in(opened)["title"] == "Typed"
    assert "They are not saved yet." in text_of(opened)
    added = await tab.post("/policies/ours/draft", {**typed, "do": "add-rules"})
    assert len(json_in(added)["rules"]) == 4
    assert "Typed" not in (await tab.get("/policies/ours?tab=builder")).text, "nothing is saved by such a button"

    assert (await tab.post("/policies/ours/draft", {**typed, "then": "save"})).status_code == 303
    saved = await tab.get("/policies/ours?tab=builder")
    assert json_in(saved)["title"] == "Typed"
    text = text_in(saved).replace("Typed", "Written")
    written = {"json": text, "json.was": hidden(saved, "json.was"), "side": "", "revision": "2", "title": "Typed"}
    assert (await tab.post("/policies/ours/draft", written)).status_code == 303
    assert json_in(await tab.get("/policies/ours?tab=builder"))["title"] == "Written", "the JSON was changed"


def hidden(page: httpx.Response, name: str) -> str:
    found = re.search(rf'name="{re.escape(name)}" value="([^"]*)"', page.text)
    assert found
    return found[1]


def text_in(page: httpx.Response) -> str:
    found = re.search(r'<textarea[^>]* id="json"[^>]*>(.*?)</textarea>', page.text, re.DOTALL)
    assert found
    return html.unescape(found[1])


async def test_somebody_elses_draft_is_shown_beside_mine_and_replaced_only_knowingly(
    console: Console, tab: Tab
) -> None:
    await make(console)
    theirs, mine = (json.dumps(document(title=title)) for title in ("Theirs", "Mine"))
    await tab.post("/policies/ours/draft", {"json": theirs, "side": "json", "revision": "0"})
    refused = await tab.post("/policies/ours/draft", {"json": mine, "side": "json", "revision": "0"})
    assert refused.status_code == 409
    assert re.search(r"Title changed /title \S*Theirs\S* \S*Mine", text_of(refused))
    assert 'name="over" value="1"' in refused.text
    assert 'data-dirty="1"' in refused.text, "leaving the page would lose what was typed"
    fields = {"json": mine, "side": "json", "revision": "0", "over": "1"}
    assert (await tab.post("/policies/ours/draft", fields)).status_code == 303
    assert (await tab.post("/policies/ours/draft", fields)).status_code == 409, "meanwhile it is another one"
    await tab.post("/policies/ours/discard", {"confirmed": "yes"})
    gone = await tab.post("/policies/ours/draft", {**fields, "over": "", "revision": "2"})
    assert "The draft was published or discarded meanwhile." in text_of(gone)
    assert 'name="over" value="0"' in gone.text


@pytest.mark.parametrize("publish", [True, False])
async def test_a_policy_that_was_deleted_in_another_tab_is_made_again_from_what_was_typed(
    console: Console, tab: Tab, publish: bool
) -> None:
    await make(console, publish=publish)
    fields = {"json": json.dumps(document(title="Typed for long")), "side": "json", "revision": "0" if publish else "1"}
    await tab.post("/policies/ours/delete" if publish else "/policies/ours/discard", {"confirmed": "yes"})
    gone = await tab.post("/policies/ours/draft", fields)
    assert gone.status_code == 404
    assert json_in(gone)["title"] == "Typed for long"
    assert 'name="then" value="create"' in gone.text
    unnamed = {**fields, "json": json.dumps({"name": "Not Good", "title": "Typed"}), "then": "create"}
    wrong = await tab.post("/policies/ours/draft", unnamed)
    assert (wrong.status_code, json_in(wrong)["title"]) == (422, "Typed")
    assert "Use small letters, digits and hyphens" in text_of(wrong)
    again = await tab.post("/policies/ours/draft", {**fields, "then": "create"})
    assert again.headers["location"] == "/policies/ours?tab=builder"
    assert json_in(await tab.get("/policies/ours?tab=builder"))["title"] == "Typed for long"
    taken = await tab.post("/policies/ours/draft", {**fields, "then": "create"})
    assert (taken.status_code, json_in(taken)["title"]) == (409, "Typed for long")


async def test_what_was_typed_before_the_session_ended_is_shown_and_not_saved(console: Console, tab: Tab) -> None:
    await make(console)
    fields = {"json": json.dumps(document()), "side": "form", "title": "Typed", "revision": "0", "then": "show"}
    shown = await tab.post("/policies/ours/draft", fields)
    assert (shown.status_code, json_in(shown)["title"]) == (200, "Typed")
    assert "What you typed is back." in text_of(shown)
    assert "title" not in json_in(await tab.get("/policies/ours?tab=builder"))
    broken = await tab.post("/policies/ours/draft", {**fields, "json": "{", "side": "json"})
    assert "not valid JSON" in broken.text


async def test_discarding_and_deleting_ask_first(console: Console, tab: Tab) -> None:
    await make(console)
    await make_proxy(console, policy_names=["ours"])
    in_use = await tab.post("/policies/ours/delete", {"confirmed": "yes"})
    assert in_use.headers["location"] == "/policies/ours"
    await make(console, publish=False, name="later")
    assert "Discard the draft of later?" in (await tab.post("/policies/later/discard")).text
    gone = await tab.post("/policies/later/discard", {"confirmed": "yes"})
    assert gone.headers["location"] == "/policies"
    await make(console, name="spare")
    assert "Delete the policy spare?" in (await tab.post("/policies/spare/delete")).text
    assert (await tab.post("/policies/spare/delete", {"confirmed": "yes"})).headers["location"] == "/policies"
    assert (await tab.get("/policies/spare")).status_code == 404


@pytest.mark.parametrize("revision", ["abc", "9" * 5000, "-1", ""])
async def test_an_odd_revision_is_a_refusal_and_no_failure(console: Console, tab: Tab, revision: str) -> None:
    await make(console, publish=False)
    answer = await tab.post("/policies/ours/draft", {"json": "{}", "side": "json", "revision": revision})
    assert answer.status_code in (409, 422)


async def test_a_draft_that_was_never_published_is_listed_under_its_title(console: Console, tab: Tab) -> None:
    await make(console, publish=False, title="Ward", description="For the ward")
    listed = text_of(await tab.get("/policies?search=ward"))
    assert "Ward draft by admin For the ward" in listed
    assert "<h2><bdi" in (await tab.get("/policies/ours?tab=builder")).text
    await tab.post(
        "/policies/ours/draft", {"json": json.dumps({"name": "ours", "title": 7}), "side": "json", "revision": "1"}
    )
    assert "ours draft by admin" in text_of(await tab.get("/policies"))
