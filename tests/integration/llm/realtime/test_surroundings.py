"""Realtime connections and what judges calls besides rules: decision service, canaries, hints, the policies of a key."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from proxies.contract import DecisionService
from proxies.llm.placeholder_hint import SENTENCE
from proxies.llm.realtime import from_client, turns
from rules.canaries import Canary
from rules.model import Action
from tests.masking_calls import CLIENT_KEY
from tests.masking_rules import BLOCKED, EMAIL, masking_ruleset
from tests.proxy_harness import RunningProxy, running_proxy
from tests.realtime_calls import raw_client
from tests.realtime_provider import Provider, begun, response, session_event
from tests.scripted_upstream import Reply, running_scripted_upstream

VALUE = "REF-7F3K92QXHM4TB6WD"


async def test_SLG_POL_1_the_decision_service_is_asked_about_the_connection_and_every_response(
    provider: Provider,
) -> None:
    def decide(body: Any) -> Reply:
        return Reply(body={"result": ["enough"] if len(opa.bodies) == 3 else []})

    provider.reply = lambda event: response("Fine.") if event["type"] == "response.create" else []
    async with running_scripted_upstream() as opa:
        opa.reply = decide
        async with (
            running_proxy(
                type="llm",
                target_url=provider.url,
                ruleset=masking_ruleset(),
                decisions=DecisionService(url=opa.url, timeout_seconds=10),
            ) as proxy,
            raw_client(proxy.url, key="") as client,
        ):
            await client.ask("hello")
            refused = (await client.ask("hello", "error"))[-1]
            await provider.say(begun("resp_9"))
            await client.until("response.created")

    assert [body["input"]["model"] for body in opa.bodies] == ["gpt-realtime"] * 4
    assert {body["input"]["api"] for body in opa.bodies} == {"openai.realtime"}
    assert (refused["error"]["code"], "enough" in refused["error"]["message"]) == ("policy_denied", True)
    assert provider.types.count("response.create") == 1


async def test_a_canary_is_reported_both_ways_and_passes(provider: Provider) -> None:
    provider.reply = lambda event: response(f"About {VALUE}.", size=2) if event["type"] == "response.create" else []
    canary = Canary(id="can_01ab", name="payroll", value=VALUE)
    async with (
        running_proxy(type="llm", target_url=provider.url, packs=[], canaries=[canary]) as proxy,
        raw_client(proxy.url, key="") as client,
    ):
        await client.ask(f"about {VALUE}")
        record = (await proxy.wait_for_records(1))[0]
    assert record.action is Action.ALERT
    assert [finding.target.value for finding in record.findings] == ["prompt", "completion"]


async def test_RED_PH_5_a_policy_adds_a_hint_behind_the_clients_own_instructions(provider: Provider) -> None:
    provider.reply = lambda event: (
        [session_event("session.updated", **event["session"])] if event["type"] == "session.update" else []
    )
    policy = {"name": "p", "packs": ["masking"], "placeholder_hint": True}
    async with (
        running_proxy(type="llm", target_url=provider.url, ruleset=masking_ruleset(), policies=[policy]) as proxy,
        raw_client(proxy.url, key="") as client,
    ):
        for instructions in ("Be kind.", None):
            await client.send({"type": "session.update", "session": {"instructions": instructions, "voice": "x"}})
            await client.until("session.updated")
    assert provider.events[0]["session"]["instructions"] == f"Be kind.\n\n{SENTENCE}"
    assert provider.events[1]["session"]["instructions"] is None


async def test_a_key_whose_policies_cannot_be_had_ends_the_connection(provider: Provider, proxy: RunningProxy) -> None:
    async with raw_client(proxy.url) as client:
        await client.until("session.created")
        newer = msgspec.structs.replace(proxy.runtime, protection_by_key={"key_test": "The rules are gone."})
        proxy.carriers.recheck(newer)
        await client.say("hello")
        assert await client.closed() == 1011
    assert client.events[-1]["error"]["code"] == "inspection_failed"
    assert provider.events == []


async def test_a_long_turn_is_recorded_in_parts(
    provider: Provider, proxy: RunningProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(from_client, "MAX_EVENTS", 3)
    assert turns.MAX_EVENTS > 3
    async with raw_client(proxy.url) as raw:
        for _ in range(7):
            await raw.say(EMAIL)
        await provider.wait_for_events(7)
    records = await proxy.wait_for_records(4)
    assert [len(record.findings) for record in records] == [3, 3, 1, 0]


async def test_a_large_event_is_judged_in_a_thread_like_a_small_one(provider: Provider, proxy: RunningProxy) -> None:
    provider.reply = lambda event: (
        response("word " * 2_000 + EMAIL, size=4_000) if event["type"] == "response.create" else []
    )
    async with raw_client(proxy.url) as client:
        await client.say("word " * 5_000 + BLOCKED)
        assert (await client.until("error"))[-1]["error"]["code"] == "blocked_by_policy"
        events = await client.ask("word " * 5_000 + EMAIL)
    assert EMAIL not in provider.seen
    said = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    assert said == "word " * 2_000 + "[REDACTED_EMAIL]"
    assert CLIENT_KEY not in provider.seen
