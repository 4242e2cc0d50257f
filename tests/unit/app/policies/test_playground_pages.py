"""The playground and the test tab of a policy."""

from __future__ import annotations

import json

from tests.support.console import Console
from tests.support.library import PHRASE
from tests.support.tab import Tab
from tests.unit.app.policies.test_policy_pages import HTMX, make, text_of
from tests.unit.app.policies.test_policy_service import detection


async def test_the_playground_draws_hits_and_hidden_characters(console: Console, tab: Tab) -> None:
    await make(console, publish=False, detections=[detection(action="redact", capture={"redact_as": "EMPLOYEE"})])
    page = await tab.get("/policies/playground?subject=draft:ours")
    assert '<option value="draft:ours" selected>' in page.text
    fields = {"subject": "draft:ours", "target": "prompt", "direction": "request"}
    message = f"the {PHRASE} of EMP-123456\u200b"
    plain = await tab.post("/policies/playground", {**fields, "message": message, "client": "agent"})
    assert plain.text.startswith("<!doctype html>"), "without scripts it is a page"
    assert message.split()[0] in plain.text.partition('id="message"')[2].partition("</textarea>")[0]
    assert 'class="whence" open' in plain.text
    refused_plain = await tab.post("/policies/playground", {**fields, "message": message, "at": "yesterday"})
    assert (refused_plain.status_code, refused_plain.text.startswith("<!doctype html>")) == (422, True)
    answer = await tab.post("/policies/playground", {**fields, "message": message}, **HTMX)
    assert answer.status_code == 200
    assert "Blocked" in answer.text
    assert '<mark class="mark-high" title="PI-0001">' in answer.text
    assert 'class="tok"' in answer.text
    assert "[REDACTED_EMPLOYEE]" in text_of(answer)
    whole = json.dumps({"model": "m", "messages": [{"role": "user", "content": PHRASE}]})
    answer = await tab.post("/policies/playground", {**fields, "target": "message", "message": whole}, **HTMX)
    assert "/messages/0/content" in answer.text
    for refused in ({"message": " "}, {"message": "{", "target": "message"}, {"message": "x", "subject": "draft:none"}):
        wrong = await tab.post("/policies/playground", {**fields, **refused}, **HTMX)
        assert wrong.status_code in (404, 422)
        assert "form-errors" in wrong.text


async def test_the_playground_reads_what_is_pasted_as_what_it_is(console: Console, tab: Tab) -> None:
    await make(console, rules=[{"id": "no-run", "action": "deny", "match": {"tool_name": "run"}}])
    page = await tab.get("/policies/playground")
    assert '<option value="what-it-is" selected>' in page.text
    fields = {"subject": "ours", "target": "what-it-is", "direction": "request"}
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "run", "arguments": {}}}
    for message, kind in (
        (json.dumps(call), "mcp"),
        (json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}]}), "openai.chat"),
        ('{"model": "m", "messages": [', "plain text"),
        ('{"no": "message"}', "plain text"),
        ("hello", "plain text"),
    ):
        answer = await tab.post("/policies/playground", {**fields, "message": message}, **HTMX)
        assert answer.status_code == 200
        assert f"<dt>Read as</dt><dd>{kind}" in answer.text
        assert ("Denied" in answer.text) is (kind == "mcp")


async def test_AG_PE_10_the_test_tab_names_what_is_wrong_with_a_draft(console: Console, tab: Tab) -> None:
    wrong = {"id": "r", "action": "deny", "match": {"ip": ["999"]}}
    await make(console, publish=False, rules=[wrong])
    fields = {"subject": "draft:ours", "target": "prompt", "direction": "request", "message": "hello"}
    answer = await tab.post("/policies/playground", fields, **HTMX)
    assert answer.status_code == 422
    assert "/rules/0/match/ip/0" in answer.text


async def test_the_playground_tries_who_where_and_when(console: Console, tab: Tab) -> None:
    match = {
        "client": "night-*",
        "ip": ["192.0.2.0/24"],
        "header": {"x-region": "eu-*"},
        "model": "gpt-*",
        "schedule": {"cron": "* 8 * * mon"},
    }
    await make(console, publish=False, rules=[{"id": "night", "action": "deny", "reason": "Not here.", "match": match}])
    fields = {"subject": "draft:ours", "target": "prompt", "direction": "request", "message": "hello"}
    whence = {
        "client": "night-shift",
        "client_ip": "192.0.2.7",
        "headers": "X-Region: eu-west\r\naccept: */*",
        "model": "gpt-4o",
        "at": "2026-11-23T08:30:00Z",
    }
    assert "Not here." in (await tab.post("/policies/playground", {**fields, **whence}, **HTMX)).text
    for left_out in whence:
        some = {name: value for name, value in whence.items() if name != left_out}
        if left_out == "at":
            some["at"] = "2026-11-24T08:30:00Z"
        assert "Not here." not in (await tab.post("/policies/playground", {**fields, **some}, **HTMX)).text
    for name, value in (("client_ip", "here"), ("at", "soon"), ("at", "2026-11-23T08:30:00"), ("headers", "x")):
        wrong = await tab.post("/policies/playground", {**fields, name: value}, **HTMX)
        assert (wrong.status_code, "form-errors" in wrong.text) == (422, True)


async def test_the_playground_tries_a_context_firewall(console: Console, tab: Tab) -> None:
    await make(console, publish=False, detections=[detection(targets=["document"])])
    fields = {"subject": "draft:ours", "target": "prompt", "direction": "request", "message": "hello"}
    page = await tab.get("/policies/playground?subject=draft:ours")
    assert "which check no context now" in page.text
    context = {"context_source": "kb://approved/hr", "context_chunks": "Holidays.\r\n---\r\nAsk EMP-123456."}
    loose = await tab.post("/policies/playground", {**fields, **context}, **HTMX)
    assert "No context firewall checks it" in loose.text
    strict = await tab.post("/policies/playground", {**fields, **context, "context_threshold": "10"}, **HTMX)
    assert "Context that gives orders to the model" in strict.text
    assert "refused from 10" in strict.text
    assert "/context/chunks/1/content" in strict.text
    elsewhere = {**context, "context_origins": "kb://other/, kb://third/"}
    answer = await tab.post("/policies/playground", {**fields, **elsewhere}, **HTMX)
    assert "the origin is not allowed" in answer.text
    for wrong in ({**context, "context_source": " "}, {**context, "context_threshold": "much"}):
        refused = await tab.post("/policies/playground", {**fields, **wrong}, **HTMX)
        assert (refused.status_code, "form-errors" in refused.text) == (422, True)
