"""The pages of policies: library, builder, playground, replay, versions, import, false positives."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import msgspec
import pytest

from rules.model import Action, Decision
from tests.support.console import PASSWORD, Console
from tests.support.records import finding
from tests.support.tab import Tab, blocked, ingest, make_proxy, tab_of
from tests.unit.app.policies.test_policy_service import detection, document

HTMX = {"HX-Request": "true"}


async def make(console: Console, publish: bool = True, **fields: Any) -> None:
    body = {"policy": document(**fields), "publish": publish}
    answer = await console.client.post("/api/v1/policies", headers=console.admin, json=body)
    assert answer.status_code == 201, answer.text


def text_of(answer: httpx.Response) -> str:
    """The words of a page, without its markup."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.text))


def json_in(answer: httpx.Response) -> dict[str, Any]:
    """The document in the builder's JSON side."""
    from html import unescape

    found = re.search(r'<textarea[^>]*id="json"[^>]*>(.*?)</textarea>', answer.text, re.DOTALL)
    assert found is not None
    value: dict[str, Any] = json.loads(unescape(found[1]))
    return value


async def test_the_library_tells_own_from_shipped_and_counts_hits_of_its_proxies(console: Console, tab: Tab) -> None:
    await make(console, title="Our rules")
    await make(console, publish=False, name="later")
    proxy_id = await make_proxy(console, policy_names=["ours"])
    await ingest(console, blocked(proxy_id, 1), blocked(proxy_id, 2))
    page = await tab.get("/policies")
    assert "Our rules" in page.text
    assert "draft by" in page.text
    row = re.search(r"<tr[^>]*>\s*<td[^>]*><a class=\"name\" href=\"/policies/ours\".*?</tr>", page.text, re.DOTALL)
    assert row is not None
    assert 'data-label="Proxies">1<' in row[0]
    assert 'data-label="Hits 24 h">2<' in row[0]
    assert 'class="name" href="/policies/ours"' not in (await tab.get("/policies?search=later")).text
    assert "later" not in text_of(await tab.get("/policies?type=mcp")).split("Your policies")[1].split("Shipped")[0]
    overview = text_of(await tab.get("/policies/ours"))
    assert "Detections that hit" in overview
    assert "PI-0001" in overview


def counted(answer: httpx.Response, name: str) -> list[str]:
    """The figures in the row of a conditional rule."""
    rows = answer.text.split('id="conditions"')[1].split("</table>")[0].split("<tr>")
    (row,) = [row for row in rows if f'<b class="mono">{name}</b>' in row or f"<b>{name}</b>" in row]
    return re.findall(r'class="n" data-label="[^"]*">([0-9]+)<', row)


async def test_conditional_rules_show_their_own_hits_and_marks(console: Console, tab: Tab) -> None:
    """Two policies of a proxy may call their rules alike."""
    rules = [{"id": "models", "action": "allow", "match": {"model": "gpt-*"}}, {"id": "shell", "action": "deny"}]
    await make(console, rules=rules, default_action="deny")
    await make(console, name="theirs", rules=rules)
    proxy_id = await make_proxy(console, policy_names=["ours", "theirs"])
    ours = finding(pack="own-ours", rule_id="shell", evidence="tool sh")
    theirs, default = finding(pack="own-theirs", rule_id="shell"), finding(pack="own-ours", rule_id="default-action")
    calls = [blocked(proxy_id, number) for number in range(1, 5)]
    found = [(ours, theirs), (theirs,), (ours,), (default,)]
    await ingest(
        console, *(msgspec.structs.replace(one, findings=these) for one, these in zip(calls, found, strict=True))
    )
    mark = {"rule_id": "shell", "pack": "own-ours", "call_id": "call_1", "evidence": "tool sh"}
    assert (
        await console.client.post("/api/v1/feedback/false-positives", headers=console.admin, json=mark)
    ).status_code == 201

    page = await tab.get("/policies/ours")

    assert counted(page, "models") == [], "what only allows leaves no trace"
    assert text_of(page).count("not counted") == 1
    assert counted(page, "shell") == ["2", "2", "2", "1"]
    assert counted(page, "Default action") == ["1", "1", "1", "0"]
    assert counted(await tab.get("/policies/theirs"), "shell") == ["2", "2", "2", "0"]


async def test_a_change_in_the_form_comes_back_as_json_with_what_lint_says(console: Console, tab: Tab) -> None:
    await make(console, publish=False)
    start = json_in(await tab.get("/policies/ours?tab=builder"))
    fields = {
        "json": json.dumps(start),
        "side": "form",
        "title": "New title",
        "packs.shown": "secrets",
        "packs": "secrets",
    }
    answer = await tab.post("/policies/ours/build", fields, **HTMX)
    assert answer.status_code == 200
    changed = json_in(answer)
    assert (changed["title"], changed["packs"]) == ("New title", ["prompt-injection", "secrets"])
    assert "No problems" in answer.text
    added = await tab.post("/policies/ours/build", {"json": json.dumps(changed), "do": "add-detections"}, **HTMX)
    assert json_in(added)["detections"][0]["id"] == "OWN-RULE-1"
    assert 'id="detections.0.patterns"' in added.text
    assert "it cannot be published yet" in added.text
    broken = await tab.post("/policies/ours/build", {"json": "{", "side": "json"}, **HTMX)
    assert "not valid JSON" in broken.text
    redrawn = await tab.post(
        "/policies/ours/build", {"json": json.dumps({**changed, "rules": [{"id": "x"}]}), "side": "json"}, **HTMX
    )
    assert 'id="err-rules-0"' in redrawn.text
    assert "/action is missing" in text_of(redrawn)
    named = await tab.post(
        "/policies/ours/build",
        {"json": json.dumps({**changed, "rate_limits": [{"id": "r"}]}), "side": "form", "rate_limits.0": "1"},
        **HTMX,
    )
    assert '<hx-partial hx-target="#err-rate_limits-0"' in named.text


async def test_rules_are_found_and_overridden(console: Console, tab: Tab) -> None:
    await make(console, publish=False)
    found = await tab.get("/policies/ours/rules?q=pi-0", **HTMX)
    assert "override:PI-0001" in found.text
    assert "No rule" in (await tab.get("/policies/ours/rules?q=zzz", **HTMX)).text
    fields = {"json": json.dumps(document()), "do": "override:PI-0001"}
    answer = await tab.post("/policies/ours/build", fields, **HTMX)
    assert json_in(answer)["overrides"] == [{"rules": "PI-0001", "log_only": True}]


async def test_a_replay_is_started_watched_and_cancelled(console: Console, tab: Tab) -> None:
    await make(console, publish=False)
    started = await tab.post("/policies/ours/replay", {"source": "draft", "days": "7", "proxy_ids": ""})
    url = started.headers["location"]
    assert url.startswith("/policies/ours?tab=replay&replay=rpl_")
    replay_id = url.rpartition("=")[2]
    assert "Replay of the draft" in (await tab.get(url)).text
    part = await tab.get(f"/policies/ours/replays/{replay_id}", **HTMX)
    assert 'id="replay"' in part.text
    cancelled = await tab.post(f"/policies/ours/replays/{replay_id}/cancel")
    assert cancelled.headers["location"] == url
    wrong = await tab.post("/policies/ours/replay", {"source": "published"})
    assert wrong.status_code == 303
    assert (await tab.post("/policies/nowhere/replay", {"days": "many"})).status_code == 303


async def test_an_import_shows_its_report_before_it_is_kept(tab: Tab) -> None:
    text = json.dumps({"policyName": "Old Rules", "rules": [{"id": "A_1", "name": "a", "patterns": ["abc", "(?=x)y"]}]})
    report = await tab.post("/policies/import", {"policy_text": text})
    assert "look-ahead and look-behind" in report.text
    assert 'value="old-rules"' in report.text
    assert "1 detection; 1 place of the file dropped, 1 place changed." in text_of(report)
    whole = {"name": "mine", "rules": [{"id": "a", "action": "deny", "match": {"tool_name": "x"}}], "unknown": 1}
    only_dropped = await tab.post("/policies/import", {"policy_text": json.dumps(whole)})
    assert "1 conditional rule; 1 place of the file dropped." in text_of(only_dropped)
    kept = await tab.post("/policies/import", {"policy_text": text, "name": "old", "save": "yes"})
    assert kept.headers["location"] == "/policies/old?tab=builder"
    taken = await tab.post("/policies/import", {"policy_text": text, "name": "old", "save": "yes"})
    assert taken.status_code == 409
    assert "There is a policy named old." in taken.text
    assert 'name="name"' in taken.text, "the report stays, with the field that is to be changed"
    refused = await tab.post("/policies/import", {"policy_text": "{"})
    assert refused.status_code == 422
    assert "not valid JSON" in refused.text


async def test_a_file_is_uploaded(console: Console, tab: Tab) -> None:
    files = {"file": ("guard.yaml", b"default_action: deny\nrules:\n  - {id: a, action: allow}\n", "text/yaml")}
    answer = await console.client.post(
        "/policies/import", data={"_csrf_token": tab.token}, files=files, headers=tab.headers
    )
    assert answer.status_code == 200, answer.text
    assert "conditional rules" in answer.text
    assert 'value="guard"' in answer.text
    binary = {"file": ("x.bin", b"\xff\xfe", "application/octet-stream")}
    answer = await console.client.post(
        "/policies/import", data={"_csrf_token": tab.token}, files=binary, headers=tab.headers
    )
    assert answer.status_code == 422
    assert "The file is not UTF-8 text." in answer.text
    assert 'name="policy_text"' in answer.text, "the form stays"
    nothing = await tab.post("/policies/import", {"policy_text": " "})
    assert "Choose a file, or paste its text." in nothing.text


async def test_a_file_that_is_far_too_large_is_called_so(console: Console, tab: Tab) -> None:
    files = {"file": ("big.json", b"x" * (5 << 20), "application/json")}
    answer = await console.client.post(
        "/policies/import", data={"_csrf_token": tab.token}, files=files, headers=tab.headers
    )
    assert answer.status_code == 413
    assert "The request is larger than 2,048 KiB." in answer.text
    assert "no setting changes this limit" in answer.text
    assert "MAX_REQUEST_SIZE_MB" not in answer.text


async def test_a_false_positive_is_marked_and_one_click_makes_the_rule_quiet(console: Console, tab: Tab) -> None:
    hit = {
        "rule_id": "PI-0001",
        "pack": "prompt-injection",
        "call_id": "call_1",
        "evidence": "x",
        "back": "/alerts?x=1",
    }
    marked = await tab.post("/feedback/false-positive", hit)
    assert marked.headers["location"] == "/alerts?x=1"
    assert (await tab.post("/feedback/false-positive", {**hit, "back": "//evil"})).headers["location"] == "/alerts"
    assert "Make the draft" in (await tab.get("/packs/prompt-injection/PI-0001")).text
    copied = await tab.post("/rules/PI-0001/quieten", {"policy": "llm-standard-security"})
    assert copied.headers["location"] == "/policies/llm-standard-security-own?tab=builder"
    overrides = json_in(await tab.get(copied.headers["location"]))["overrides"]
    assert [(item["rules"], item["log_only"]) for item in overrides] == [("PI-0001", True)]
    again = await tab.post("/rules/SEC-0001/quieten", {"policy": "llm-standard-security"})
    assert len(json_in(await tab.get(again.headers["location"]))["overrides"]) == 2
    assert (await tab.post("/rules/PI-0001/quieten", {"policy": "nowhere"})).status_code == 404


async def test_a_policy_that_only_a_key_has_is_not_shown_as_unused(console: Console, tab: Tab) -> None:
    await make(console)
    assert "No proxy uses this policy." in text_of(await tab.get("/policies/ours"))
    body = {"name": "finance", "policy_names": ["ours"]}
    assert (await console.client.post("/api/v1/api-keys", json=body, headers=console.admin)).status_code == 201
    page = text_of(await tab.get("/policies/ours"))
    assert "No proxy uses this policy." not in page
    assert "finance key with policies of its own" in page


@pytest.mark.parametrize("tab_name", ["overview", "builder", "test", "replay", "versions", "nonsense"])
async def test_every_tab_of_a_shipped_policy_answers(tab: Tab, tab_name: str) -> None:
    answer = await tab.get(f"/policies/llm-standard-security?tab={tab_name}")
    assert answer.status_code == 200
    assert len(answer.content) < 60 * 1024


async def test_an_alert_says_why_and_calling_it_false_is_feedback_about_its_rule(console: Console, tab: Tab) -> None:
    proxy_id = await make_proxy(console)
    await ingest(console, blocked(proxy_id, 1))
    alert = (await console.client.get("/api/v1/system/alerts", headers=console.admin)).json()["data"]["items"][0]
    page = text_of(await tab.get(f"/alerts/{alert['id']}"))
    for words in (
        "The text holds this. Each place where it does is a match",
        "forbidden incantation",
        "Policy llm-standard-security",
        "over all findings of the call",
    ):
        assert words in page

    async def marks() -> int:
        answer = await console.client.get("/api/v1/rules/PI-0001/false-positives", headers=console.admin)
        return len(answer.json()["data"])

    await tab.post(f"/alerts/{alert['id']}/false-positive", {"note": "a poem"})
    assert await marks() == 1
    await tab.post(f"/alerts/{alert['id']}/reopen")
    assert await marks() == 0
    call = await tab.get(f"/traffic/{alert['call_id']}")
    assert 'action="/feedback/false-positive"' in call.text


async def test_the_policies_of_proxies_that_name_none_are_chosen_on_the_page(console: Console, tab: Tab) -> None:
    assert "pass uninspected" in (await tab.get("/policies")).text
    saved = await tab.post("/policies/everywhere", {"policy_names": ["monitor-only", "llm-standard-security"]})
    assert saved.headers["location"] == "/policies"
    view = await console.client.get("/api/v1/policies/global", headers=console.admin)
    assert view.json()["data"]["policy_names"] == ["monitor-only", "llm-standard-security"]
    wrong = await tab.post("/policies/everywhere", {"policy_names": ["nowhere"]})
    assert wrong.status_code == 303
    assert "monitor-only</a>" in (await tab.get("/policies")).text


async def test_why_names_policy_version_level_and_threshold(console: Console, tab: Tab) -> None:
    proxy_id = await make_proxy(console)
    decision = Decision(
        source="detection",
        rule_id="PI-0001",
        policy="llm-standard-security",
        policy_version=3,
        level="key",
        would_action=Action.BLOCK,
        threshold=100,
        risk="high",
    )
    await ingest(console, msgspec.structs.replace(blocked(proxy_id, 1), decision=decision))
    alert = (await console.client.get("/api/v1/system/alerts", headers=console.admin)).json()["data"]["items"][0]
    page = text_of(await tab.get(f"/alerts/{alert['id']}"))
    for words in (
        "version 3",
        "assigned to the API key",
        "100 was reached by two or more signals together",
        "Risk high",
    ):
        assert words in page


async def test_a_viewer_who_follows_a_link_to_the_test_tab_is_told_and_offered_no_button(
    console: Console, tab: Tab
) -> None:
    await make(console)
    await console.create_person("vera", "viewer")
    viewer = await tab_of(console, "vera", f"{PASSWORD} too")
    overview = (await viewer.get("/policies/ours")).text
    assert ("/api/v1/policies/ours/export" in overview, "/policies/ours/delete" in overview) == (True, False)
    answer = await viewer.get("/policies/ours?tab=test")
    assert "An administrator can try this policy." in answer.text
    assert 'id="playground"' not in answer.text
    assert 'id="playground"' in (await tab.get("/policies/ours?tab=test")).text


async def test_the_pages_of_many_policies_and_rules_are_small_and_lead_to_all_of_them(
    console: Console, tab: Tab
) -> None:
    rules = [{"id": f"r{number}", "action": "deny", "match": {"tool_name": f"t{number}"}} for number in range(150)]
    big = document(name="big", title="Big", rules=rules, detections=[detection(id=f"OWN-{n}") for n in range(40)])
    made = await console.client.post("/api/v1/policies", headers=console.admin, json={"policy": big, "publish": True})
    assert made.status_code == 201, made.text
    for number in range(30):
        await make(console, publish=False, name=f"more-{number:02}", description=f"More {number:02}")
    first = await tab.get("/policies")
    assert "1–25 of 31" in text_of(first)
    assert "more-29" not in text_of(first)
    assert "more-29" in text_of(await tab.get("/policies?offset=25"))
    assert "more-29" in text_of(await tab.get("/policies?search=more-29"))
    overview = await tab.get("/policies/big")
    assert ("r24 tool t24" in text_of(overview), "r25 tool t25" in text_of(overview)) == (True, False)
    assert "r149 tool t149" in text_of(await tab.get("/policies/big?rules_offset=125"))
    assert "OWN-39" in text_of(await tab.get("/policies/big?detections_offset=25"))
    everywhere = await tab.get("/policies?change=everywhere")
    assert ('action="/policies/everywhere"' in first.text, 'action="/policies/everywhere"' in everywhere.text) == (
        False,
        True,
    )
    assert {len(page.content) < 60_000 for page in (first, overview)} == {True}


async def test_INJ_01_the_json_of_a_policy_shows_characters_that_nobody_sees(console: Console, tab: Tab) -> None:
    hidden = "a\u202eb\u200bc\U000e0041d\u00e9\U0001f600"
    await make(console, title=hidden, publish=False)
    page = await tab.get("/policies/ours?tab=builder")
    assert "a\\u202eb\\u200bc\\udb40\\udc41d\u00e9\U0001f600" in page.text
    assert json_in(page)["title"] == hidden
    exported = await console.client.get("/api/v1/policies/ours/export", headers=console.admin)
    assert exported.json()["title"] == hidden
    assert "\u202e" not in exported.text
    again = {"content": exported.text, "save": True, "save_as": "again"}
    assert (await console.client.post("/api/v1/policies/import", headers=console.admin, json=again)).status_code == 200
    second = await console.client.get("/api/v1/policies/again/export", headers=console.admin)
    assert second.text == exported.text.replace('"ours"', '"again"')


async def test_an_import_that_brings_nothing_says_so(tab: Tab) -> None:
    broken = json.dumps({"policyName": "x", "rules": [{"id": 5, "patterns": "none"}, None]})
    report = text_of(await tab.post("/policies/import", {"policy_text": broken}))
    assert "Nothing that decides; 3 places of the file dropped, 1 place changed." in report
    assert "decides nothing" in report, "lint says it as well"
    refused = await tab.post("/policies/import", {"policy_text": "{"})
    assert text_of(refused).count("The file is not valid JSON") == 2, "once at the top, once at the field"


async def test_a_policy_of_many_versions_shows_them_a_page_at_a_time_and_compares_any_two(
    console: Console, tab: Tab
) -> None:
    await make(console)
    for number in range(2, 31):
        changed = {"policy": document(description=f"Number {number}"), "publish": True}
        assert (await console.client.put("/api/v1/policies/ours", headers=console.admin, json=changed)).is_success
    newest = await tab.get("/policies/ours?tab=versions")
    assert "1–25 of 30" in text_of(newest)
    assert "From version 29 to version 30" in text_of(newest)
    assert 'aria-label="From version 1"' not in newest.text
    oldest = await tab.get("/policies/ours?tab=versions&before=1&after=30&versions_offset=25")
    assert "From version 1 to version 30" in text_of(oldest)
    assert 'aria-label="From version 1" checked' in oldest.text
    assert 'aria-label="To version 30" checked' in oldest.text, "what is compared stays chosen, on whichever page it is"
