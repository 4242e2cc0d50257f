"""Masking and restoring through a real proxy, with the official SDKs: the upstream never sees a value, the client does."""

from __future__ import annotations

import re
from typing import Any

import openai
import pytest

from rules.model import Action
from tests.masking_calls import QUESTION, asked, hold_nothing_back
from tests.masking_rules import EMAIL, KEY, PLACEHOLDER
from tests.scripted_upstream import (
    anthropic_body,
    anthropic_stream,
    chat_body,
    chat_stream,
    completion_body,
    completion_stream,
    responses_body,
    responses_stream,
)


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
async def test_SYP_RED_1_completions_are_masked_and_restored(proxy, upstream, openai_client, stream) -> None:
    make = completion_stream if stream else completion_body
    upstream.reply = lambda body: make(f"echo: {body['prompt'][1]} {body['suffix']}")

    answer = await openai_client.completions.create(
        model="m", prompt=["hello", QUESTION], suffix=f"-- {EMAIL}", stream=stream
    )
    text = "".join([part.choices[0].text async for part in answer]) if stream else answer.choices[0].text

    assert text == f"echo: Write to {EMAIL}, my key is [REDACTED_AWS_SECRET]. -- {EMAIL}"
    hold_nothing_back(upstream)
    assert upstream.bodies[0].get("stream_options") == ({"include_usage": True} if stream else None)
    (record,) = await proxy.wait_for_records(1)
    assert (record.protocol, record.operation, record.streamed) == ("openai.completions", "m", stream)
    assert record.usage is not None
    assert (record.usage.input_tokens, record.usage.output_tokens) == (11, 7)


@pytest.mark.parametrize("prompt", [[1, 2], [[1, 2]], ["text", [1]]])
async def test_LLM_SRF_4_a_prompt_of_tokens_does_not_pass(upstream, openai_client, prompt) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await openai_client.completions.create(model="m", prompt=prompt)

    assert caught.value.code == "tokens_not_readable"
    assert upstream.bodies == []


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
