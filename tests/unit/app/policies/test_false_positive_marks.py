"""Marks of false positives: what a call shows of them, and what takes one back."""

from __future__ import annotations

import re

from rules.model import Decision
from tests.support.console import Console
from tests.support.tab import Tab, blocked, ingest, make_proxy, toasts_of
from tests.unit.app.policies.test_policy_pages import text_of
from tests.unit.app.policies.test_policy_service import document


async def test_a_hit_that_is_marked_says_so_and_marking_it_again_takes_no_mark_back(console: Console, tab: Tab) -> None:
    proxy_id = await make_proxy(console)
    decision = Decision(source="detection", rule_id="PI-0001", policy="llm-standard-security")
    await ingest(console, blocked(proxy_id, 1, decision=decision))
    alert = (await console.client.get("/api/v1/system/alerts", headers=console.admin)).json()["data"]["items"][0]
    call = f"/traffic/{alert['call_id']}"
    page = await tab.get(call)
    assert 'action="/feedback/false-positive"' in page.text
    assert '<input type="hidden" name="policy_name" value="llm-standard-security">' in page.text
    await tab.post(f"/alerts/{alert['id']}/false-positive", {"note": "a poem"})
    page = await tab.get(call)
    assert "Called a false positive by admin : a poem" in text_of(page)
    assert 'action="/feedback/false-positive"' not in page.text
    hit = {"rule_id": "PI-0001", "call_id": alert["call_id"], "evidence": alert["evidence"], "back": call}
    again = toasts_of(await tab.post("/feedback/false-positive", hit))  # From a page that was opened before.
    assert [(toast.text, toast.undo_url) for toast in again] == [
        ("It was marked as a false positive of PI-0001 already.", "")
    ]


async def test_closing_an_alert_leaves_the_mark_that_somebody_set_on_its_hit(console: Console, tab: Tab) -> None:
    proxy_id = await make_proxy(console)
    await ingest(console, blocked(proxy_id, 1))
    alert = (await console.client.get("/api/v1/system/alerts", headers=console.admin)).json()["data"]["items"][0]
    hit = {"rule_id": "PI-0001", "call_id": alert["call_id"], "evidence": alert["evidence"]}
    await tab.post("/feedback/false-positive", hit)

    async def marks() -> int:
        answer = await console.client.get("/api/v1/rules/PI-0001/false-positives", headers=console.admin)
        return len(answer.json()["data"])

    for verb in ("acknowledge", "resolve", "reopen"):
        assert (await tab.post(f"/alerts/{alert['id']}/{verb}")).status_code == 303
        assert await marks() == 1, verb
    many = {"alert_ids": [alert["id"]], "action": "resolve"}
    done = await console.client.post("/api/v1/system/alerts/bulk", json=many, headers=console.admin)
    assert done.json()["data"]["changed"] == 1
    assert await marks() == 1


async def test_reopening_an_alert_takes_back_the_mark_that_it_made_and_no_other(console: Console, tab: Tab) -> None:
    proxy_id = await make_proxy(console)
    await ingest(console, blocked(proxy_id, 1))
    alert = (await console.client.get("/api/v1/system/alerts", headers=console.admin)).json()["data"]["items"][0]
    hit = {"rule_id": "PI-0001", "call_id": alert["call_id"], "evidence": alert["evidence"], "note": "by hand"}

    async def notes() -> list[str]:
        answer = await console.client.get("/api/v1/rules/PI-0001/false-positives", headers=console.admin)
        return [mark["note"] for mark in answer.json()["data"]]

    for verb, left in (("false-positive", [""]), ("reopen", [])):
        assert (await tab.post(f"/alerts/{alert['id']}/{verb}")).status_code == 303
        assert await notes() == left, verb
    await console.client.post("/api/v1/feedback/false-positives", headers=console.admin, json=hit)
    for verb in ("false-positive", "reopen"):
        assert (await tab.post(f"/alerts/{alert['id']}/{verb}")).status_code == 303
        assert await notes() == ["by hand"], verb
    await tab.post(f"/alerts/{alert['id']}/false-positive")
    marks = await console.client.get("/api/v1/rules/PI-0001/false-positives", headers=console.admin)
    await console.client.delete(
        f"/api/v1/feedback/false-positives/{marks.json()['data'][0]['id']}", headers=console.admin
    )
    for verb in ("reopen", "false-positive"):
        assert (await tab.post(f"/alerts/{alert['id']}/{verb}")).status_code == 303
    await console.client.post("/api/v1/feedback/false-positives", headers=console.admin, json=hit)
    await tab.post(f"/alerts/{alert['id']}/reopen")
    assert await notes() == ["by hand"], "what somebody confirmed by hand is a mark of its own"


async def test_the_draft_that_is_offered_is_of_the_policy_under_which_the_hit_was_called_false(
    console: Console, tab: Tab
) -> None:
    await console.client.post(
        "/api/v1/policies", headers=console.admin, json={"policy": document(name="earlier"), "publish": True}
    )
    hit = {"rule_id": "PI-0001", "pack": "prompt-injection", "call_id": "call_1", "evidence": "x"}
    await tab.post("/feedback/false-positive", {**hit, "policy_name": "llm-standard-security"})
    page = (await tab.get("/packs/prompt-injection/PI-0001")).text
    assert re.findall(r'<option value="([^"]*)" selected', page) == ["llm-standard-security"]
    assert '<option value="earlier">' in page


async def test_a_rule_counts_all_its_marks_and_lists_the_newest(console: Console, tab: Tab) -> None:
    for number in range(53):
        hit = {"rule_id": "PI-0001", "pack": "prompt-injection", "call_id": f"call_{number}", "evidence": "x"}
        made = await console.client.post("/api/v1/feedback/false-positives", headers=console.admin, json=hit)
        assert made.status_code == 201
    assert "Called false 53" in text_of(await tab.get("/packs/prompt-injection/PI-0001"))
