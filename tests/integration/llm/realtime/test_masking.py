"""Masking and restoring on Realtime connections: deltas cut anywhere, texts that are said again, and what the provider sees."""

from __future__ import annotations

import json
from typing import Any, Literal

import openai
import pytest

from rules.model import Action
from tests.masking_calls import placeholder_in
from tests.masking_rules import EMAIL, KEY, masking_ruleset
from tests.proxy_harness import RunningProxy, running_proxy
from tests.realtime_calls import ask, raw_client, until
from tests.realtime_provider import (
    Event,
    Provider,
    begun,
    by_type,
    called,
    done,
    message_item,
    response,
    said,
    session_event,
)

OTHER = "ann@example.com"
QUESTION = f"Write to {EMAIL} with {KEY}"
ANSWER = f"é {{}} or {OTHER} with {KEY}: ![](https://a.example/{{}}) 🙂 {{}}"


def expected(placeholder: str) -> str:
    return f"é {EMAIL} or [REDACTED_EMAIL] with [REDACTED_AWS_SECRET]: ![](https://a.example/{placeholder}) 🙂 {EMAIL}"


def answering(provider: Provider, text: str = "", *, arguments: str = "", **options: Any) -> None:
    """Answer with these, in which `{}` becomes the placeholder that the provider was given."""

    def reply(event: Event) -> list[Event]:
        if event["type"] != "response.create":
            return []
        placeholder = placeholder_in(provider.events[::-1])
        return response(text.replace("{}", placeholder), arguments=arguments.replace("{}", placeholder), **options)

    provider.reply = reply


def joined(events: list[Event], kind: str) -> str:
    return "".join(event["delta"] for event in by_type(events, kind))


def hold_nothing_back(provider: Provider) -> None:
    assert provider.events
    assert EMAIL not in provider.seen
    assert KEY not in provider.seen


@pytest.mark.parametrize("split", ["event", "byte"])
@pytest.mark.parametrize("size", [1, 3, 400])
@pytest.mark.parametrize("spoken", [False, True], ids=["text", "transcript"])
async def test_SYP_RED_1_and_RED_STR_2_and_RED_STR_6_a_response_says_the_same_in_every_event(
    provider: Provider, proxy: RunningProxy, spoken: bool, size: int, split: Literal["event", "byte"]
) -> None:
    provider.split = split
    answering(provider, ANSWER, size=size, spoken=spoken)
    async with raw_client(proxy.url) as client:
        events = await client.ask(QUESTION)

    text = expected(placeholder_in(provider.events))
    kind, member = ("response.output_audio_transcript", "transcript") if spoken else ("response.output_text", "text")
    assert joined(events, f"{kind}.delta") == text
    assert [event[member] for event in by_type(events, f"{kind}.done")] == [text]
    assert [event["part"][member] for event in by_type(events, "response.content_part.done")] == [text]
    for item in ("conversation.item.done", "response.output_item.done"):
        assert [event["item"]["content"][0][member] for event in by_type(events, item)] == [text]
    assert events[-1]["response"]["output"][0]["content"][0][member] == text
    hold_nothing_back(provider)
    for leaked in (KEY, OTHER):
        assert leaked.encode() not in client.raw
    names = [event["event_id"] for event in client.events]
    assert len(names) == len(set(names))
    record = (await proxy.wait_for_records(1))[0]
    assert (record.outcome, record.action, record.truncated) == ("allowed", Action.REDACT, False)
    assert {(one.type, one.direction) for one in record.redactions} == {
        ("EMAIL", "request"),
        ("AWS_SECRET", "request"),
        ("EMAIL", "response"),
        ("AWS_SECRET", "response"),
    }


@pytest.mark.parametrize("size", [1, 2, 5, 13, 400])
async def test_RED_STR_6_a_response_in_pieces_says_what_the_whole_item_says(
    provider: Provider, proxy: RunningProxy, size: int
) -> None:
    def reply(event: Event) -> list[Event]:
        text = ANSWER.replace("{}", placeholder_in(provider.events))
        if event["type"] == "conversation.item.retrieve":
            return [{"type": "conversation.item.retrieved", "item": message_item(text, id="item_9")}]
        return response(text, size=size) if event["type"] == "response.create" else []

    provider.reply = reply
    async with raw_client(proxy.url) as client:
        events = await client.ask(QUESTION)
        await client.send({"type": "conversation.item.retrieve", "item_id": "item_9"})
        retrieved = (await client.until("conversation.item.retrieved"))[-1]

    assert retrieved["item"]["content"][0]["text"] == joined(events, "response.output_text.delta")
    assert KEY.encode() not in client.raw


@pytest.mark.parametrize("size", [1, 7, 400])
async def test_SYP_RED_1_arguments_of_calls_stay_json_and_are_restored(
    provider: Provider, client: openai.AsyncOpenAI, size: int
) -> None:
    arguments = f'{{ "to" : "{{}}",  "key":"{KEY}", "note":"a\\n\\u00e9 {OTHER}" }}'
    answering(provider, "Sending.", arguments=arguments, size=size)
    async with client.realtime.connect(model="gpt-realtime") as connection:
        events = await ask(connection, QUESTION)

    kind = "response.function_call_arguments"
    deltas = "".join(event.delta for event in events if event.type == f"{kind}.delta")
    (call,) = [event for event in events if event.type == f"{kind}.done"]
    assert json.loads(deltas) == {"to": EMAIL, "key": "[REDACTED_AWS_SECRET]", "note": "a\né [REDACTED_EMAIL]"}
    assert deltas == call.arguments == events[-1].response.output[1].arguments
    hold_nothing_back(provider)


async def test_SYP_RED_1_every_event_of_the_client_is_masked_and_what_comes_back_of_it_is_restored(
    provider: Provider, proxy: RunningProxy
) -> None:
    def reply(event: Event) -> list[Event]:
        if event["type"] == "session.update":
            return [session_event("session.updated", **event["session"])]
        if event["type"] == "conversation.item.create":
            return [
                {"type": f"conversation.item.{when}", "item": {"id": "i", **event["item"]}}
                for when in ("added", "done")
            ]
        return []

    provider.reply = reply
    tool = {"type": "function", "name": "send", "description": f"Mails {EMAIL}", "parameters": {"type": "object"}}
    output = {"type": "function_call_output", "call_id": "call_1", "output": json.dumps({"mail": EMAIL, "key": KEY})}
    history = {"type": "function_call", "call_id": "call_1", "name": "send", "arguments": json.dumps({"to": EMAIL})}
    async with raw_client(proxy.url) as client:
        await client.send(
            {"type": "session.update", "session": {"instructions": f"You serve {EMAIL}.", "tools": [tool]}}
        )
        updated = (await client.until("session.updated"))[-1]
        items = []
        for item in (
            output,
            history,
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": EMAIL}]},
        ):
            await client.send({"type": "conversation.item.create", "event_id": EMAIL, "item": item})
            items.append((await client.until("conversation.item.done"))[-1]["item"])
        await client.send(
            {
                "type": "response.create",
                "response": {"instructions": f"Mail {EMAIL}", "metadata": {"who": EMAIL}, "input": [history, output]},
            }
        )
        await client.send({"type": "conversation.item.truncate", "item_id": "i", "odd": [{"member": EMAIL}]})
        await client.send({"type": "conversation.item.delete", "event_id": "event_bad", "item_id": EMAIL})
        refused = (await client.until("error"))[-1]["error"]
        await client.send({"type": "conversation.item.create", "item": history})
        await client.until("conversation.item.done")

    assert (refused["code"], refused["event_id"]) == ("invalid_id", "event_bad")
    hold_nothing_back(provider)
    assert updated["session"]["instructions"] == f"You serve {EMAIL}."
    assert updated["session"]["tools"][0]["description"] == f"Mails {EMAIL}"
    assert json.loads(items[0]["output"]) == {"mail": EMAIL, "key": "[REDACTED_AWS_SECRET]"}
    assert json.loads(items[1]["arguments"]) == {"to": EMAIL}
    assert items[2]["content"][0]["text"] == EMAIL
    assert provider.events[0]["session"]["tools"][0]["name"] == "send"


async def test_RED_PH_3_a_value_has_one_placeholder_on_a_connection_and_others_on_others(
    provider: Provider, proxy: RunningProxy
) -> None:
    answering(provider, "{}")
    for _ in range(2):
        async with raw_client(proxy.url) as client:
            for _ in range(2):
                assert joined(await client.ask(f"I am {EMAIL}"), "response.output_text.delta") == EMAIL

    placeholders = [placeholder_in(event) for event in by_type(provider.events, "conversation.item.create")]
    assert placeholders[0] == placeholders[1]
    assert placeholders[2] == placeholders[3] != placeholders[0]


async def test_responses_and_items_that_interleave_are_restored_each_for_itself(
    provider: Provider, proxy: RunningProxy
) -> None:
    def reply(event: Event) -> list[Event]:
        if event["type"] != "response.create":
            return []
        placeholder = placeholder_in(provider.events)
        one = said(f"one {placeholder} {KEY}", size=1, name="resp_a", item="item_a")
        two = said(f"two {placeholder[::-1]} {OTHER}", size=2, name="resp_b", item="item_b")
        three = called(json.dumps({"to": placeholder}), size=1, name="resp_a", item="item_c")
        mixed = [begun("resp_a"), begun("resp_b")]
        streams = [one, two, three]
        while any(streams):
            mixed += [stream.pop(0) for stream in streams if stream]
        return [*mixed, done([message_item(f"one {placeholder} {KEY}", id="item_a")], "resp_a"), done([], "resp_b")]

    provider.reply = reply
    async with raw_client(proxy.url) as client:
        events = await client.ask(QUESTION)
        events += await client.until("response.done")

    def of(item: str) -> str:
        return "".join(event["delta"] for event in events if event.get("item_id") == item and "delta" in event)

    assert of("item_a") == f"one {EMAIL} [REDACTED_AWS_SECRET]"
    assert of("item_b") == f"two {placeholder_in(provider.events)[::-1]} [REDACTED_EMAIL]"
    assert json.loads(of("item_c")) == {"to": EMAIL}


async def test_RED_STR_3_an_incomplete_placeholder_at_the_end_goes_out_as_it_is(
    provider: Provider, proxy: RunningProxy
) -> None:
    def reply(event: Event) -> list[Event]:
        return (
            response(f"to {placeholder_in(provider.events)[:9]}", size=1) if event["type"] == "response.create" else []
        )

    provider.reply = reply
    async with raw_client(proxy.url) as client:
        events = await client.ask(QUESTION)

    text = f"to {placeholder_in(provider.events)[:9]}"
    assert joined(events, "response.output_text.delta") == text
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == text


async def test_RED_STR_1_what_was_held_comes_before_the_error_when_the_upstream_breaks(
    provider: Provider, proxy: RunningProxy
) -> None:
    provider.reply = lambda event: (
        [begun(), *said(f"write to {OTHER}", size=3)[:-4]] if event["type"] == "response.create" else []
    )
    provider.ending = "cut"
    async with raw_client(proxy.url) as client:
        await client.say("hello")
        await client.send({"type": "response.create"})
        code = await client.closed()

    assert joined(client.events, "response.output_text.delta") == "write to [REDACTED_EMAIL]"
    assert client.events[-1]["type"] == "error"
    assert client.events[-1]["error"]["code"] == "upstream_truncated"
    assert code == 1011
    assert OTHER.encode() not in client.raw
    turn, connected = await proxy.wait_for_records(2)
    assert (turn.outcome, turn.truncated, turn.error_code) == ("upstream_error", True, "upstream_truncated")
    assert (connected.outcome, connected.error_code) == ("upstream_error", "upstream_truncated")


@pytest.mark.interpreted
async def test_RED_STR_7_a_failing_transformer_releases_nothing_and_ends_the_connection(
    provider: Provider, proxy: RunningProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("the test wants a broken redactor")

    provider.reply = lambda event: response(f"write to {OTHER}") if event["type"] == "response.create" else []
    monkeypatch.setattr("rules.masking.redact.Redactor._release", fail)
    async with raw_client(proxy.url) as client:
        await client.say("hello")
        await client.send({"type": "response.create"})
        code = await client.closed()

    assert code == 1011
    assert next(by_type(client.events, "error"))["error"]["code"] == "masking_failed"
    assert b"write" not in client.raw
    assert (await proxy.wait_for_records(1))[0].error_code == "masking_failed"


@pytest.mark.interpreted
async def test_RED_STR_7_an_event_that_cannot_be_masked_does_not_pass(
    provider: Provider, proxy: RunningProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rules.masking.session.MAX_VALUES", 1)
    async with raw_client(proxy.url) as client:
        await client.say(f"{EMAIL} {OTHER}")
        event = (await client.until("error"))[-1]

    assert (event["error"]["code"], event["error"]["event_id"]) == ("masking_failed", "event_said")
    assert provider.events == []


async def test_RED_STR_5_probabilities_of_changed_transcripts_go(provider: Provider, proxy: RunningProxy) -> None:
    kind = "conversation.item.input_audio_transcription"
    deltas = [
        {"type": f"{kind}.delta", "item_id": "i", "delta": one, "logprobs": [{"token": one, "logprob": -1}]}
        for one in OTHER
    ]
    usage = {"type": "duration", "seconds": 1}
    end = {"type": f"{kind}.completed", "item_id": "i", "content_index": 0, "transcript": OTHER, "usage": usage}
    provider.reply = lambda event: [*deltas, end]
    async with raw_client(proxy.url) as client:
        await client.send({"type": "input_audio_buffer.commit"})
        events = await client.until(f"{kind}.completed")

    assert joined(events, f"{kind}.delta") == events[-1]["transcript"] == "[REDACTED_EMAIL]"
    tokens = [token["token"] for event in events for token in event.get("logprobs") or ()]
    assert "@" not in tokens


async def test_where_rules_only_log_events_pass_as_they_are(provider: Provider) -> None:
    answer = response(f"Plain {OTHER}.", arguments='{"a":  1}', spoken=True)
    provider.reply = lambda event: answer if event["type"] == "response.create" else []
    ruleset = masking_ruleset()
    async with (
        running_proxy(type="llm", target_url=provider.url, ruleset=ruleset, enforcement="log_only") as proxy,
        raw_client(proxy.url, key="") as client,
    ):
        events = await client.ask(f"I am {EMAIL}")
        (record,) = await proxy.wait_for_records(1)

    sent = [{key: value for key, value in event.items() if key != "event_id"} for event in events[1:]]
    assert sent == response(f"Plain {OTHER}.", arguments='{"a":  1}', spoken=True)
    assert provider.events[0]["item"]["content"][0]["text"] == f"I am {EMAIL}"
    assert {finding.rule_id for finding in record.findings} == {"PII-EMAIL"}


async def test_the_client_of_openai_reads_what_the_gateway_adds(provider: Provider, client: openai.AsyncOpenAI) -> None:
    answering(provider, "to {}")
    async with client.realtime.connect(model="gpt-realtime") as connection:
        events = await ask(connection, QUESTION)
        await connection.conversation.item.create(item={"type": "message", "role": "user", "content": []})
        await connection.response.create()
        events += await until(connection, "response.done")
    assert [event.type for event in events].count("response.done") == 2


@pytest.mark.parametrize(
    "event",
    [
        {"type": "response.output_text.delta", "response_id": "resp_1", "item_id": "i", "delta": "x", "more": KEY},
        {
            "type": "response.in_progress",
            "response": {"id": "resp_1", "output": [], "status": KEY + " !"},
            "aside": [KEY],
        },
        {"type": "response.output_item.done", "response_id": "resp_1", "item": {"id": "i", "odd": {"a": KEY}}},
        {"type": "conversation.item.added", "item": {"role": "user", "content": [{"text": KEY}], "odd": KEY}},
        {"type": "session.updated", "session": {"odd": KEY}, "aside": KEY},
        {"type": "error", "error": {"message": KEY, "odd": [KEY]}, "aside": KEY},
        {"type": "rate_limits.updated", "rate_limits": [{"name": KEY}], "usage": {"a": KEY}},
        {"type": f"odd {KEY}"},
    ],
)
async def test_LLM_SRF_3_a_provider_hides_no_text_in_a_member_that_nobody_knows(
    provider: Provider, proxy: RunningProxy, event: Event
) -> None:
    provider.reply = lambda asked: [event, done([])] if asked["type"] == "response.create" else []
    async with raw_client(proxy.url) as client:
        await client.ask("hello")

    left = json.dumps(client.events)
    assert "[REDACTED_AWS_SECRET]" in left or f"odd {KEY}" in left
    assert KEY not in left.replace(f"odd {KEY}", "")
    records = await proxy.wait_for_records(1)
    assert "SEC-AWS" in {finding.rule_id for record in records for finding in record.findings}


@pytest.mark.parametrize("place", ["role", "kind", "name", "key", "unknown", "metadata"])
async def test_RED_STR_12_no_place_of_an_event_lets_a_value_through(
    provider: Provider, proxy: RunningProxy, place: str
) -> None:
    part: dict[str, Any] = {"type": "input_text", "text": "hi"}
    item: dict[str, Any] = {"type": "message", "role": "user", "content": [part]}
    if place == "role":
        item["role"] = KEY
    elif place == "kind":
        part["type"] = f"to {EMAIL}"
    elif place == "name":
        item = {"type": "function_call", "call_id": "call_1", "name": KEY, "arguments": "{}"}
    elif place == "key":
        part[KEY] = 1
    elif place == "unknown":
        part["more"] = {EMAIL: [EMAIL]}
    answering(provider)
    async with raw_client(proxy.url) as client:
        await client.send({"type": "conversation.item.create", "item": item})
        settings = {"type": "response.create", "response": {"metadata": {KEY: EMAIL}} if place == "metadata" else {}}
        await client.send(settings)
        await client.say(f"now {EMAIL}")
        await client.send({"type": "response.create"})
        await client.until("response.done", "error")

    assert EMAIL not in provider.seen
    assert KEY not in provider.seen
