"""The bugs that users report against other products, by number (requirements §5.2)."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.masking_calls import OTHER_KEY, QUESTION, asked, placeholder_in, post, post_raw, said, streamed_chat
from tests.masking_rules import EMAIL, KEY, PLACEHOLDER
from tests.scripted_upstream import Reply, anthropic_stream, chat_body, chat_stream


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
