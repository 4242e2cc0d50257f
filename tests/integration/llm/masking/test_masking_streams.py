"""Masking and restoring in streams: order, numbering, offsets, and every way to cut one."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.llm_dialects import DIALECTS, call, said
from tests.masking_calls import CLIENT_KEY, QUESTION, placeholder_in, post, post_raw
from tests.masking_rules import EMAIL, KEY
from tests.scripted_upstream import (
    Reply,
    anthropic_stream,
    chat_body,
    chat_chunk,
    chat_stream,
    responses_stream,
)


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


@pytest.mark.interpreted
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


@pytest.mark.interpreted
async def test_RED_STR_7_a_request_that_cannot_be_masked_does_not_pass(upstream, proxy, monkeypatch) -> None:
    monkeypatch.setattr("rules.masking.session.MAX_VALUES", 1)
    messages = [{"role": "user", "content": f"{EMAIL} ann@example.com"}]

    answer = await post(proxy, "/v1/chat/completions", {"model": "m", "messages": messages}, status=422)

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


ANSWER = f"é {EMAIL} @ [EMAIL_ %s, password: hT7!kq0Zp2wQ {KEY} x.y@z.example%s ![](https://a.example/%s) 🙂 %s"


@pytest.mark.parametrize("size", [1, 2, 5, 13, 400])
@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=list(DIALECTS))
async def test_RED_STR_6_a_stream_gives_the_whole_answer_on_every_surface(upstream, proxy, dialect, size) -> None:
    def text(body: Any) -> str:
        return ANSWER % ((placeholder_in(body),) * 4)

    upstream.reply = lambda body: dialect.whole(text(body))
    whole = await call(proxy.url, dialect, "I am ann@example.com", stream=False, key=CLIENT_KEY)
    upstream.reply = lambda body: dialect.stream(text(body), size)
    streamed = await call(proxy.url, dialect, "I am ann@example.com", stream=True, key=CLIENT_KEY)

    expected = dialect.text(json.loads(whole.raw))
    assert said(dialect, streamed.raw) == expected
    assert KEY.encode() not in streamed.raw
    assert expected.count("ann@example.com") >= 2
    assert f"https://a.example/{placeholder_in(upstream.bodies[0])}" in expected


async def test_RED_STR_11_and_RED_PH_7_what_repeats_reasoning_or_a_hosted_call_repeats_it_as_it_was(
    upstream, proxy
) -> None:
    """Their texts may be the same as those of the answer, into which values were put back."""

    def reply(body: Any) -> Reply:
        said = placeholder_in(body)
        arguments = json.dumps({"to": said})
        where = {"item_id": "i", "content_index": 0}
        summary = [{"type": "summary_text", "text": said}]
        items: list[tuple[str, str, str, dict[str, Any]]] = [
            ("reasoning_summary_text", "text", said, {"type": "reasoning", "id": "rs_1", "summary": summary}),
            ("output_text", "text", said, {"type": "message", "content": [{"type": "output_text", "text": said}]}),
            ("mcp_call_arguments", "arguments", arguments, {"type": "mcp_call", "name": "n", "arguments": arguments}),
            ("function_call_arguments", "arguments", arguments, {"type": "function_call", "arguments": arguments}),
        ]
        events: list[dict[str, Any]] = []
        for index, (name, member, text, item) in enumerate(items):
            place = {**where, "output_index": index}
            events.append({"type": f"response.{name}.delta", **place, "delta": text})
            events.append({"type": f"response.{name}.done", **place, member: text})
            events.append({"type": "response.output_item.done", "output_index": index, "item": item})
        whole = {"id": "resp_1", "output": [item for *_, item in items], "usage": None}
        events.append({"type": "response.completed", "response": whole})
        return Reply(events=[(event["type"], event) for event in events])

    upstream.reply = reply
    raw = await post_raw(proxy, "/v1/responses", {"model": "m", "input": QUESTION, "stream": True})

    placeholder = placeholder_in(upstream.bodies[0])
    events = [json.loads(line[6:]) for line in raw.splitlines() if line.startswith("data: {")]
    done = {event["output_index"]: event["item"] for event in events if event["type"] == "response.output_item.done"}
    assert events[-1]["response"]["output"] == [done[index] for index in range(4)]
    reasoning, message, hosted, own = events[-1]["response"]["output"]
    assert reasoning["summary"][0]["text"] == placeholder
    assert message["content"][0]["text"] == EMAIL
    assert json.loads(hosted["arguments"]) == {"to": placeholder}
    assert json.loads(own["arguments"]) == {"to": EMAIL}


@pytest.mark.parametrize("cut", [0, 3, 12, 40])
async def test_RED_STR_6_a_block_that_begins_with_text_goes_on_in_its_deltas(upstream, proxy, cut: int) -> None:
    def reply(body: Any) -> Reply:
        text = f"to {placeholder_in(body)} or ann@example.com"
        made = anthropic_stream({"type": "text", "text": text[cut:]}, size=400, split="event")
        for _, event in made.events:
            if event["type"] == "content_block_start":
                event["content_block"]["text"] = text[:cut]
        return made

    upstream.reply = reply
    document = {"model": "m", "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": QUESTION}]}
    raw = await post_raw(proxy, "/v1/messages", document)

    events = [json.loads(line[6:]) for line in raw.splitlines() if line.startswith("data: {")]
    begun = [event["content_block"]["text"] for event in events if event["type"] == "content_block_start"]
    said = [event["delta"]["text"] for event in events if event["type"] == "content_block_delta"]
    assert "".join(begun + said) == f"to {EMAIL} or [REDACTED_EMAIL]"
