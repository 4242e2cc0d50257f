"""What an alert says about the text is true of the whole call."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rules.model import Action, Target
from tests.support.console import Console
from tests.support.records import call, finding
from tests.support.tab import Tab, blocked, ingest, make_proxy
from tests.unit.app.policies.test_policy_service import document

PASSED = "The message went on; this alert is the trace it left."


async def became(console: Console, tab: Tab, record: Any, rule_id: str) -> str:
    """The page of the alert of a rule in a call."""
    await ingest(console, record)
    listed = (await console.client.get("/api/v1/system/alerts", headers=console.admin)).json()["data"]["items"]
    (alert,) = [item for item in listed if item["rule_id"] == rule_id and item["call_id"] == record.id]
    return (await tab.get(f"/alerts/{alert['id']}")).text


SUPPORT = finding(rule_id="PI-0002", action=Action.ALERT)
MASKED = finding(rule_id="PII-1", action=Action.REDACT)
SPOKEN = finding(rule_id="SEC-1", target=Target.COMPLETION, path="/choices/0/message/content")
REFUSED = {
    "outcome": "refused",
    "status": 422,
    "error_code": "masking_failed",
    "reason": "A text holds too many values.",
}


@pytest.mark.parametrize(
    ("rule_id", "changes", "said"),
    [
        ("PI-0001", {"outcome": "blocked", "reason": "Blocked: by PI-0001"}, "the target never saw it"),
        ("PI-0002", {"outcome": "blocked", "reason": "Blocked: by PI-0001"}, "would have passed. Blocked: by PI-0001."),
        ("PI-0002", {"outcome": "allowed"}, PASSED),
        ("PI-0002", {"outcome": "upstream_error"}, PASSED),
        ("PII-1", {"outcome": "allowed"}, "replaced before it went on"),
        ("PII-1", REFUSED, "would have passed, masked. A text holds too many values."),
        ("SEC-1", {"outcome": "blocked", "streamed": True}, "what came before it in the stream is with the client"),
        ("SEC-1", {"outcome": "blocked", "streamed": False}, "the client never saw it"),
    ],
)
async def test_an_alert_says_what_became_of_the_text(
    console: Console, tab: Tab, rule_id: str, changes: dict[str, Any], said: str
) -> None:
    proxy_id = await make_proxy(console)
    by_rule = {"PI-0001": finding(), "PI-0002": SUPPORT, "PII-1": MASKED, "SEC-1": SPOKEN}
    page = await became(console, tab, call(proxy_id=proxy_id, findings=(by_rule[rule_id],), **changes), rule_id)
    assert said in page
    assert ("Refused because" in page) is (changes is REFUSED)


async def test_an_alert_of_a_conditional_rule_shows_its_conditions(console: Console, tab: Tab) -> None:
    rules = [{"id": "no-shell", "action": "deny", "match": {"tool_name": "shell"}}]
    body = {"policy": document(rules=rules), "publish": True}
    assert (await console.client.post("/api/v1/policies", headers=console.admin, json=body)).status_code == 201
    proxy_id = await make_proxy(console)
    found = finding(rule_id="no-shell", pack="own-ours", category="policy/deny", score=0)
    page = await became(console, tab, msgspec.structs.replace(blocked(proxy_id), findings=(found,)), "no-shell")
    assert "<span>tool <code>" in page
    assert "shell" in page
    assert "high-confidence rule was enough" not in page
