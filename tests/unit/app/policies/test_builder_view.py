"""Which items the builder shows open, which page of a list, and what a closed item says of itself."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.policies.builder import shown
from app.policies.builder_view import PAGE_ITEMS, View, after, first_view, posted_view
from app.policies.item_words import words_of
from tests.support.console import Console
from tests.support.tab import HTMX, Tab
from tests.unit.app.policies.test_policy_pages import text_of
from tests.unit.app.policies.test_policy_service import detection, document

MAX_PAGE_BYTES = 60_000


def rules(count: int) -> list[dict[str, Any]]:
    return [{"id": f"r{number}", "action": "deny", "match": {"model": f"m{number}-*"}} for number in range(count)]


def test_an_item_that_stands_alone_is_open_at_first_and_others_where_the_address_names_them() -> None:
    assert first_view({"rules": rules(1), "detections": [{}, {}]}).open == {"rules.0"}
    view = first_view({"rules": rules(50)}, "rules.41,nonsense,detections.x")
    assert (view.open, view.page({"rules": rules(50)}, "rules")) == ({"rules.41"}, range(30, 45))
    assert view.query({"rules": rules(50)}) == "rules.41"
    assert View(frozenset({"rules.0"})).query({"rules": rules(1)}) == ""


def test_buttons_open_close_turn_and_keep_what_is_open_in_its_place() -> None:
    view = posted_view({"rules.1": ["1"], "rules.1.id": ["x"], "at.rules": ["20"], "at.detections": ["x"]})
    assert (view.open, view.starts) == ({"rules.1"}, {"rules": 20})
    assert after(view, "open-rules-3", {}).open == {"rules.1", "rules.3"}
    assert after(view, "close-rules-1", {}).open == frozenset()
    assert after(view, "remove-rules-0", {}).open == {"rules.0"}
    assert after(view, "remove-rules-1", {}).open == frozenset()
    assert after(view, "remove-detections-0", {}).open == {"rules.1"}
    turned = after(view, "page-rules-30", {})
    assert (turned.open, turned.page({"rules": rules(45)}, "rules")) == (frozenset(), range(30, 45))
    added = after(view, "add-rules", {"rules": rules(61)})
    assert ("rules.60" in added.open, added.page({"rules": rules(61)}, "rules")) == (True, range(60, 61))
    assert after(view, "override:PI-0001", {"overrides": [{}] * 20}).starts["overrides"] == 19
    assert after(view, "anything", {}) == view
    assert View(starts={"rules": 9999}).page({"rules": rules(20)}, "rules") == range(PAGE_ITEMS, 20)
    assert View().page({"rules": "odd"}, "rules") == range(0)


@pytest.mark.parametrize(
    ("match", "words"),
    [
        ({}, [("every call", "")]),
        ({"model": ["gpt-4*", "o3"]}, [("model", "gpt-4*, o3")]),
        (
            {
                "tool_name": "read",
                "tool_arguments": [{"path": "$.path", "matches": "^/etc/"}, {"path": "$.b", "gt": 1}],
            },
            [("tool", "read"), ("argument", "$.path matches ^/etc/ and 1 more")],
        ),
        ({"tool_arguments": [{"path": "$.a", "exists": False}]}, [("argument", "$.a is missing")]),
        ({"tool_arguments": [{"path": "$.a", "in": [1, "b"]}]}, [("argument", "$.a is one of 1, b")]),
        (
            {"message_content": {"pattern": "EMP-", "roles": ["user"]}, "message_count": {"gt": 5}},
            [("message matches", "EMP-"), ("of", "user"), ("messages", "> 5")],
        ),
        (
            {"schedule": {"cron": "* 7-19 * * *", "time_zone": "Europe/Berlin", "outside": True}},
            [("time", "outside * 7-19 * * * Europe/Berlin")],
        ),
        ({"schedule": {"cron": "* * * * *"}}, [("time", "* * * * * UTC")]),
        ({"header": {"x-a": "1", "x-b": "2"}, "client": "ci"}, [("key", "ci"), ("header", "x-a: 1, x-b: 2")]),
        ({"role_count": {"system": {"gt": 1}}}, [("messages of", "system: > 1")]),
    ],
)
def test_a_conditional_rule_says_when_it_applies(match: dict[str, Any], words: list[tuple[str, str]]) -> None:
    values = shown({"rules": [{"id": "r", "action": "deny", "match": match}]})
    assert words_of("rules", values["rules"][0]) == words


def test_other_items_say_what_they_do() -> None:
    values = shown(
        {
            "overrides": [{"rules": "PI-*", "log_only": True, "severity": "low", "reason": "loud"}, {"rules": "A"}],
            "detections": [{**detection(), "match": {"any": [{"re": "a" * 200}, {"re": "b"}]}}, {"match": {}}],
            "rate_limits": [{"id": "l", "scope": "ip", "limit": 5, "window": "1m"}],
        }
    )
    assert words_of("overrides", values["overrides"][0]) == [("log only", ""), ("severity", "low"), ("because", "loud")]
    assert words_of("overrides", values["overrides"][1]) == [("changes nothing", "")]
    [(_, first), more] = words_of("detections", values["detections"][0])
    assert (len(first), more) == (120, ("and 1 more", ""))
    assert words_of("detections", values["detections"][1]) == [("no pattern", "")]
    assert words_of("rate_limits", values["rate_limits"][0]) == [("5 calls in 1m for each ip", "")]


async def test_the_builder_of_a_policy_with_hundreds_of_items_is_a_small_page(console: Console, tab: Tab) -> None:
    many = document(rules=rules(150), detections=[detection(id=f"OWN-{number}") for number in range(20)])
    made = await console.client.post("/api/v1/policies", headers=console.admin, json={"policy": many})
    assert made.status_code == 201, made.text
    page = await tab.get("/policies/ours?tab=builder")
    form = page.text[: page.text.index('id="json-title"')]  # The document itself is what it is.
    assert len(form.encode()) < MAX_PAGE_BYTES
    assert "r14" in form
    assert "r15 " not in text_of(page)
    assert 'name="rules.0"' not in form
    fields = {"json": json.dumps(many), "side": "form", "do": "page-rules-135", "at.rules": "0"}
    last = await tab.post("/policies/ours/build", fields, **HTMX)
    assert "136–150 of 150" in text_of(last)
    opened = await tab.post("/policies/ours/build", {**fields, "at.rules": "135", "do": "open-rules-149"}, **HTMX)
    assert 'id="rules.149.match.model" name="rules.149.match.model" value="m149-*"' in opened.text
    changed = {"rules.149": "1", "rules.149.match.model": "other-*", "at.rules": "135"}
    answer = await tab.post("/policies/ours/build", {**fields, "do": "", **changed}, **HTMX)
    assert '"model": "other-*"' in answer.text.replace("&#34;", '"')
    saved = await tab.post("/policies/ours/draft", {**fields, **changed, "do": "", "revision": "1"})
    assert saved.headers["location"] == "/policies/ours?tab=builder&open=rules.149"
    assert 'name="rules.149" value="1"' in (await tab.get(saved.headers["location"])).text


async def test_a_draft_with_more_items_than_a_policy_may_have_is_shown_to_its_last_page(
    console: Console, tab: Tab
) -> None:
    many = document(rules=rules(600))
    made = await console.client.post("/api/v1/policies", headers=console.admin, json={"policy": many})
    assert made.status_code == 201, made.text
    fields = {"json": json.dumps(many), "side": "form", "do": "page-rules-495"}
    last = text_of(await tab.post("/policies/ours/build", fields, **HTMX))
    assert "496–500 of 500" in last
    assert "100 more are in the JSON" in last
    assert (await tab.get("/policies/ours?tab=builder&open=rules.599")).status_code == 200


async def test_a_detection_whose_patterns_have_no_form_says_when_it_hits(console: Console, tab: Tab) -> None:
    together = {"any": [{"re": "secret"}], "near": [{"re": "plan", "within": 40}]}
    made = document(detections=[detection(match=together, examples={"match": ["secret plan"], "no_match": ["x"]})])
    await console.client.post("/api/v1/policies", headers=console.admin, json={"policy": made})
    page = text_of(await tab.get("/policies/ours?tab=builder"))
    assert "In the match or at most 40 characters from it stands this. plan" in page
    unsound = json.dumps({**made, "detections": [{**made["detections"][0], "severity": "odd"}]})
    answer = await tab.post("/policies/ours/build", {"json": unsound, "side": "json", "detections.0": "1"}, **HTMX)
    assert "Its patterns work together" in text_of(answer)
    assert "characters from it" not in text_of(answer)
