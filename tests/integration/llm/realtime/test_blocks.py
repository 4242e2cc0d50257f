"""What policies refuse on Realtime connections: events of the client, responses, what was heard, and audio."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest

from proxies.llm.realtime import from_upstream, session
from rules.model import Action
from tests.masking_rules import BLOCKED, EMAIL, KEY, masking_ruleset
from tests.proxy_harness import RunningProxy, running_proxy
from tests.realtime_calls import RawClient, ask, raw_client, say, until
from tests.realtime_provider import (
    AUDIO,
    Event,
    Provider,
    begun,
    by_type,
    done,
    heard,
    message_item,
    response,
    said,
    session_event,
)

APPEND = {"type": "input_audio_buffer.append", "event_id": "event_audio", "audio": AUDIO}
COMMIT = {"type": "input_audio_buffer.commit"}


@asynccontextmanager
async def policed(provider: Provider, **policy: Any) -> AsyncIterator[tuple[RunningProxy, RawClient]]:
    """A client behind one policy with the masking rules."""
    document = {"name": "p", "packs": ["masking"], **policy}
    async with (
        running_proxy(type="llm", target_url=provider.url, ruleset=masking_ruleset(), policies=[document]) as proxy,
        raw_client(proxy.url, key="") as client,
    ):
        yield proxy, client


def answering(provider: Provider, events: list[Event], *, to: str = "response.create") -> None:
    provider.reply = lambda event: events if event["type"] == to else []


async def test_LLM_RT_1_a_blocked_event_is_not_sent_and_the_client_is_told_which(
    provider: Provider, proxy: RunningProxy, client: openai.AsyncOpenAI
) -> None:
    answering(provider, response("Fine."))
    async with client.realtime.connect(model="gpt-realtime") as connection:
        await say(connection, f"Please {BLOCKED}")
        error = (await until(connection, "error"))[-1].error
        (record,) = await proxy.wait_for_records(1)
        events = await ask(connection, "hello")

    assert (error.type, error.code, error.event_id) == ("policy_violation", "blocked_by_policy", "event_said")
    assert "X-DOORS" in error.message
    assert BLOCKED not in error.message
    assert BLOCKED not in provider.seen
    assert events[-1].response.status == "completed"
    assert (record.status, record.outcome, record.action) == (403, "blocked", Action.BLOCK)
    assert provider.types == ["conversation.item.create", "response.create"]


@pytest.mark.parametrize("size", [1, 4, 400])
async def test_LLM_RT_1_a_blocked_response_ends_for_the_client_and_stops_upstream(
    provider: Provider, proxy: RunningProxy, size: int
) -> None:
    blocked = response(f"As you wish. I will {BLOCKED} now.", size=size)

    def reply(event: Event) -> list[Event]:
        if event["type"] == "response.create":
            return blocked[:-1] if len(provider.events) < 4 else response("Fine.", name="resp_2")
        return [blocked[-1]] if event["type"] == "response.cancel" else []

    provider.reply = reply
    async with raw_client(proxy.url) as client:
        events = await client.ask("hello")
        record = (await proxy.wait_for_records(1))[0]
        after = await client.ask("go on")

    assert BLOCKED.encode() not in client.raw
    (error,) = by_type(events, "error")
    assert (error["error"]["code"], error["error"]["event_id"]) == ("blocked_by_policy", "event_asked")
    assert "X-DOORS" in error["error"]["message"]
    end = events[-1]["response"]
    assert (end["id"], end["status"], end["output"]) == ("resp_1", "failed", [])
    assert end["status_details"]["error"]["code"] == "blocked_by_policy"
    assert end["usage"]["output_tokens"] == 7
    assert "response.cancel" in provider.types
    assert next(by_type(provider.events, "response.cancel"))["response_id"] == "resp_1"
    assert (record.status, record.outcome, record.action) == (403, "blocked", Action.BLOCK)
    assert record.usage is not None
    assert record.usage.output_tokens == 7
    assert [event["type"] for event in events[-2:]] == ["error", "response.done"]
    assert after[-1]["response"]["status"] == "completed"


async def test_a_provider_that_does_not_stop_keeps_nobody_from_hearing_of_a_block(
    provider: Provider, proxy: RunningProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(from_upstream, "STOP_SECONDS", 0.0)
    monkeypatch.setattr(session, "CHECK_SECONDS", 0.05)
    answering(provider, response(f"I will {BLOCKED} now. And on.")[:-6])
    async with raw_client(proxy.url) as client:
        await client.ask("hello", "error")
        record = (await proxy.wait_for_records(1))[0]
        await provider.say(done([message_item(BLOCKED)]))
        await client.until("response.done")
    assert (record.outcome, record.usage) == ("blocked", None)
    assert BLOCKED.encode() not in client.raw
    assert len(list(by_type(client.events, "error"))) == 1


async def test_a_block_of_arguments_releases_no_part_of_the_call(provider: Provider, proxy: RunningProxy) -> None:
    answering(provider, response("Calling.", arguments=json.dumps({"do": BLOCKED}), size=2))
    async with raw_client(proxy.url) as client:
        events = await client.ask("hello")

    arguments = "".join(event["delta"] for event in by_type(events, "response.function_call_arguments.delta"))
    assert arguments == ""
    assert events[-1]["response"]["status"] == "failed"


async def test_a_retrieved_item_is_inspected_like_a_response(provider: Provider, proxy: RunningProxy) -> None:
    item = message_item(f"I will {BLOCKED}")
    answering(provider, [{"type": "conversation.item.retrieved", "item": item}], to="conversation.item.retrieve")
    async with raw_client(proxy.url) as client:
        await client.send({"type": "conversation.item.retrieve", "item_id": "item_1"})
        events = await client.until("error")

    assert BLOCKED.encode() not in client.raw
    assert [event["type"] for event in events] == ["session.created", "error"]
    assert (await proxy.wait_for_records(1))[0].outcome == "blocked"


async def test_an_error_of_the_provider_names_the_clients_event_and_says_no_secret(
    provider: Provider, proxy: RunningProxy
) -> None:
    def reply(event: Event) -> list[Event]:
        error = {"type": "invalid_request_error", "code": "x", "message": f"bad {KEY}", "event_id": event["event_id"]}
        return [{"type": "error", "error": error}] if event["type"] == "response.create" else []

    provider.reply = reply
    async with raw_client(proxy.url) as client:
        event = (await client.ask("hello", "error"))[-1]
        record = (await proxy.wait_for_records(1))[0]

    assert (event["error"]["event_id"], event["error"]["message"]) == ("event_asked", "bad [REDACTED_AWS_SECRET]")
    assert "event_asked" not in provider.seen
    assert (record.outcome, record.error_code) == ("upstream_error", "upstream_error")


async def test_RED_STR_9_a_rule_that_waits_for_the_whole_response_releases_nothing_of_it(provider: Provider) -> None:
    overrides = [{"rules": "X-*", "streams": "buffer"}]
    async with policed(provider, overrides=overrides) as (_, client):
        answering(provider, response(f"As you wish. I will {BLOCKED} now.", spoken=True))
        blocked = await client.ask("hello")
        answering(provider, response(f"Nothing to hide from {EMAIL}.", name="resp_2"))
        harmless = await client.ask("hello")

    assert [event["type"] for event in blocked] == ["session.created", "error", "response.done"]
    assert b"As you" not in client.raw
    assert AUDIO.encode() not in client.raw
    text = "".join(event["delta"] for event in by_type(harmless, "response.output_text.delta"))
    assert text == "Nothing to hide from [REDACTED_EMAIL]."


async def test_LLM_RT_1_a_policy_may_close_the_connection(provider: Provider) -> None:
    async with policed(provider, realtime_close=True) as (_, client):
        await client.say(BLOCKED)
        await client.say("hello")
        code = await client.closed()
    assert code == 1008
    assert client.events[-1]["error"]["code"] == "blocked_by_policy"
    assert provider.events == []

    async with policed(provider, realtime_close=True) as (_, client):
        answering(provider, response(f"I will {BLOCKED}"))
        await client.say("hello")
        await client.send({"type": "response.create"})
        assert await client.closed() == 1008
    assert BLOCKED.encode() not in client.raw


# --- Conditions, limits -----------------------------------------------------------------------------------------------


async def test_AG_PE_1_conditions_see_the_model_the_messages_and_the_calls(provider: Provider) -> None:
    tool = {"id": "no-send", "action": "deny", "match": {"tool_name": "send"}, "reason": "no mails"}
    model = {"id": "no-big", "action": "deny", "match": {"model": "big-*"}, "reason": "small models only"}
    content = {"id": "no-x", "action": "deny", "match": {"message_content": {"pattern": "xyzzy", "roles": ["user"]}}}
    async with policed(provider, rules=[tool, model, content]) as (proxy, client):
        await client.say("say xyzzy")
        assert (await client.until("error"))[-1]["error"]["code"] == "policy_denied"
        await client.send({"type": "session.update", "session": {"model": "big-1"}})
        assert "small models only" in (await client.until("error"))[-1]["error"]["message"]
        answering(provider, response("Calling.", arguments="{}"))
        events = await client.ask("hello")
        records = await proxy.wait_for_records(3)

    assert "no mails" in next(by_type(events, "error"))["error"]["message"]
    assert events[-1]["response"]["status"] == "failed"
    assert not [event for event in events if "call_1" in json.dumps(event)]
    assert [record.outcome for record in records[:3]] == ["blocked"] * 3
    assert provider.types == ["conversation.item.create", "response.create", "response.cancel"]


async def test_AG_PE_1_a_response_that_nobody_asked_for_is_judged_as_well(provider: Provider) -> None:
    rule = {"id": "nobody", "action": "deny", "match": {"model": "gpt-*"}}
    async with policed(provider, rules=[rule]) as (proxy, client):
        await provider.connected.wait()
        await provider.say(begun())
        events = await client.until("error")
        for event in [*said("Hello?"), done([message_item("Hello?")])]:
            await provider.say(event)
        events += await client.until("response.done")
        (record,) = await proxy.wait_for_records(1)

    assert b"Hello" not in client.raw
    assert (record.outcome, record.error_code) == ("blocked", "policy_denied")


async def test_AG_PE_5_every_response_counts_for_rate_limits(provider: Provider) -> None:
    limits = [{"id": "few", "scope": "proxy", "limit": 2, "window": "1h"}]
    answering(provider, response("Fine."))
    async with policed(provider, rate_limits=limits) as (_, client):
        for _ in range(2):
            await client.ask("hello")
        event = (await client.ask("hello", "error"))[-1]
    assert (event["error"]["code"], event["error"]["type"]) == ("rate_limited", "rate_limit_error")
    assert event["error"]["retry_after_seconds"] > 0
    assert provider.types.count("response.create") == 2


async def test_conversation_scores_add_up_over_the_turns_of_a_connection(provider: Provider) -> None:
    answering(provider, response("Fine."))
    async with policed(provider) as (proxy, client):
        await client.ask(f"I am {EMAIL}")
        await client.ask("hello")
        first, second = (await proxy.wait_for_records(2))[:2]
    assert [finding.rule_id for finding in first.findings] == ["PII-EMAIL"]
    assert second.findings == ()


# --- Audio ------------------------------------------------------------------------------------------------------------


async def test_LLM_RT_2_audio_passes_unread_and_what_was_heard_is_inspected(provider: Provider) -> None:
    answering(provider, [*heard(f"It is me, {EMAIL}"), *response("Fine.", spoken=True)], to="input_audio_buffer.commit")
    async with policed(provider) as (proxy, client):
        await client.send(APPEND)
        await client.send(COMMIT)
        events = await client.until("response.done")
        heard_record, turn = await proxy.wait_for_records(2)

    kind = "conversation.item.input_audio_transcription"
    text = "".join(event["delta"] for event in by_type(events, f"{kind}.delta"))
    assert text == next(by_type(events, f"{kind}.completed"))["transcript"] == "It is me, [REDACTED_EMAIL]"
    assert provider.events[0]["audio"] == AUDIO
    assert {event["delta"] for event in by_type(events, "response.output_audio.delta")} == {AUDIO}
    assert {finding.target.value for finding in heard_record.findings} == {"prompt", "completion"}
    assert heard_record.usage is not None
    assert (heard_record.usage.input_tokens, heard_record.usage.output_tokens) == (5, 2)
    assert turn.usage is not None
    assert [text.text for text in turn.texts] == ["Fine."]


async def test_LLM_RT_2_what_was_heard_and_is_blocked_is_undone(provider: Provider) -> None:
    spoken = [begun(), *said("You ask me")[:5], *heard(f"please {BLOCKED}")]

    def reply(event: Event) -> list[Event]:
        if event["type"] == "input_audio_buffer.commit":
            return spoken
        return [done([], status="cancelled")] if event["type"] == "response.cancel" else []

    provider.reply = reply
    async with policed(provider) as (proxy, client):
        await client.send(COMMIT)
        events = await client.until("response.done")
        records = await proxy.wait_for_records(2)

    assert b"transcription.completed" not in client.raw
    assert [event["error"]["code"] for event in by_type(events, "error")] == ["blocked_by_policy"] * 2
    assert provider.types[1:3] == ["conversation.item.delete", "response.cancel"]
    assert provider.events[1]["item_id"] == "item_0"
    assert {record.outcome for record in records[:2]} == {"blocked"}


async def test_LLM_RT_2_a_policy_may_block_audio_both_ways(provider: Provider) -> None:
    part = {"type": "input_audio", "audio": AUDIO}
    item = {"type": "message", "role": "user", "content": [part]}
    answering(provider, response("Fine.", spoken=True))
    async with policed(provider, realtime_audio="block") as (_, client):
        for event in (APPEND, {"type": "conversation.item.create", "item": item}):
            await client.send(event)
            assert (await client.until("error"))[-1]["error"]["code"] == "audio_not_allowed"
        events = await client.ask("hello")

    assert AUDIO not in provider.seen
    assert AUDIO.encode() not in client.raw
    assert {event["delta"] for event in by_type(events, "response.output_audio.delta")} == {""}
    text = "".join(event["delta"] for event in by_type(events, "response.output_audio_transcript.delta"))
    assert text == "Fine."


async def test_LLM_RT_2_a_policy_may_let_audio_pass_only_where_it_is_transcribed(provider: Provider) -> None:
    def reply(event: Event) -> list[Event]:
        return [session_event("session.updated", **event["session"])] if event["type"] == "session.update" else []

    provider.reply = reply
    async with policed(provider, realtime_audio="transcribed") as (_, client):
        await client.send(APPEND)
        error = (await client.until("error"))[-1]["error"]
        audio = {"input": {"transcription": {"model": "whisper-1"}}}
        await client.send({"type": "session.update", "session": {"audio": audio}})
        await client.until("session.updated")
        await client.send(APPEND)
        # What has been sent would not be transcribed any more.
        await client.send({"type": "session.update", "session": {"audio": {"input": {"transcription": None}}}})
        assert (await client.until("error"))[-1]["error"]["code"] == "audio_not_allowed"
        await client.send({"type": "session.update", "session": {"audio": audio, "instructions": "Be brief."}})
        await client.until("session.updated")

    assert "session.update" in error["remediation"]
    assert provider.types == ["session.update", "input_audio_buffer.append", "session.update"]


async def test_LLM_RT_2_audio_after_the_end_of_the_transcription_does_not_pass(provider: Provider) -> None:
    """Also not in the moment in which the provider has not confirmed it, nor when it confirms something older."""
    on, off = ({"audio": {"input": {"transcription": kind}}} for kind in ({"model": "whisper-1"}, None))
    provider.reply = lambda _event: []
    async with policed(provider, realtime_audio="transcribed") as (_, client):
        for settings in (on, off):
            await client.send({"type": "session.update", "session": settings})
        await client.send({"type": "conversation.item.create", "item": {"type": "message", "role": "user"}})
        await provider.wait_for_events(3)
        await provider.say(session_event("session.updated", **on))
        await client.until("session.updated")
        await client.send(APPEND)
        assert (await client.until("error"))[-1]["error"]["code"] == "audio_not_allowed"
        await provider.say(session_event("session.updated", **off))
        await client.until("session.updated")
        await client.send(APPEND)
        assert (await client.until("error"))[-1]["error"]["code"] == "audio_not_allowed"
    assert AUDIO not in provider.seen


async def test_LLM_RT_2_audio_in_an_item_is_never_transcribed(provider: Provider) -> None:
    on = {"audio": {"input": {"transcription": {"model": "whisper-1"}}}}
    provider.reply = lambda event: [session_event("session.updated", **on)] if event["type"] == "session.update" else []
    item = {"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": AUDIO}]}
    async with policed(provider, realtime_audio="transcribed") as (_, client):
        await client.send({"type": "session.update", "session": on})
        await client.until("session.updated")
        await client.send({"type": "conversation.item.create", "item": item})
        error = (await client.until("error"))[-1]["error"]
    assert (error["code"], "input_audio_buffer.append" in error["remediation"]) == ("audio_not_allowed", True)
    assert AUDIO not in provider.seen


async def test_what_stands_in_the_place_of_audio_and_is_none_is_a_text(provider: Provider) -> None:
    async with policed(provider) as (_, client):
        await client.send({**APPEND, "audio": f"{BLOCKED}!"})
        assert (await client.until("error"))[-1]["error"]["code"] == "blocked_by_policy"
    assert provider.events == []


@pytest.mark.parametrize("where", ["policy", "proxy"])
async def test_LLM_RT_2_what_only_logs_keeps_no_audio_out(provider: Provider, where: str) -> None:
    policy = {"name": "p", "packs": ["masking"], "realtime_audio": "block", "realtime_close": True}
    if where == "policy":
        policy["enforcement"] = "log_only"
    async with (
        running_proxy(
            type="llm",
            target_url=provider.url,
            ruleset=masking_ruleset(),
            policies=[policy],
            enforcement="log_only" if where == "proxy" else "enforce",
        ) as proxy,
        raw_client(proxy.url, key="") as client,
    ):
        answering(provider, response("Fine.", spoken=True))
        await client.send(APPEND)
        events = await client.ask(BLOCKED)
    assert AUDIO in provider.seen
    assert events[-1]["response"]["status"] == "completed"
    assert {event["delta"] for event in by_type(events, "response.output_audio.delta")} == {AUDIO}
