"""InvokeModel for models of other makers than Anthropic: Llama, Titan, and what is not known."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.bedrock_replies import (
    chunk,
    frame,
    framed,
    llama_body,
    llama_stream,
    titan_body,
    titan_stream,
)
from tests.masking_calls import placeholder_in, send
from tests.masking_rules import BLOCKED, EMAIL, KEY
from tests.scripted_upstream import Reply


@pytest.mark.parametrize("split", ["byte", "event", "whole"])
@pytest.mark.parametrize("model", ["us.meta.llama3-3-70b-instruct-v1:0", "amazon.titan-text-express-v1"])
async def test_AG_MP_3_invoked_models_of_meta_and_amazon_are_masked_and_restored(
    upstream, aws, tls_proxy, model, split
) -> None:
    is_llama = "llama" in model
    question = f"Write to {EMAIL} with {KEY}"
    body = {"prompt": question, "max_gen_len": 64} if is_llama else {"inputText": question}

    def text(body: Any) -> str:
        return f"to {placeholder_in(body)} or ann@example.com with {KEY}, {placeholder_in(body)}"

    upstream.reply = lambda body: (llama_body if is_llama else titan_body)(text(body))
    answer = await aws.call("invoke_model", modelId=model, body=json.dumps(body))
    whole = json.loads(await asyncio.to_thread(answer["body"].read))
    upstream.reply = lambda body: (
        llama_stream(text(body), split=split) if is_llama else titan_stream(text(body), split=split, joined=True)
    )
    events, error = await aws.events("invoke_model_with_response_stream", modelId=model, body=json.dumps(body))

    expected = f"to {EMAIL} or [REDACTED_EMAIL] with [REDACTED_AWS_SECRET], {EMAIL}"
    streamed = [json.loads(event["chunk"]["bytes"]) for event in events]
    assert error is None
    assert (whole["generation"] if is_llama else whole["results"][0]["outputText"]) == expected
    assert "".join(event.get("generation", event.get("outputText", "")) for event in streamed) == expected
    assert streamed[-1]["amazon-bedrock-invocationMetrics"] == {"inputTokenCount": 11, "outputTokenCount": 7}
    assert all(event.keys() >= streamed[0].keys() for event in streamed), "as the maker's clients read them"
    assert EMAIL not in upstream.seen
    assert KEY not in upstream.seen
    for record in await tls_proxy.wait_for_records(2):
        assert (record.protocol, record.operation) == ("bedrock.llama" if is_llama else "bedrock.titan", model)
        assert (record.usage.input_tokens, record.usage.output_tokens) == (11, 7)


async def test_AG_MP_3_an_answer_of_another_makers_model_ends_in_an_exception(upstream, aws, tls_proxy) -> None:
    pieces = [{"outputs": [{"text": text, "stop_reason": None}]} for text in (BLOCKED[:5], BLOCKED[5:])]
    upstream.reply = lambda body: framed(frame("chunk", chunk(piece)) for piece in pieces)

    events, error = await aws.events(
        "invoke_model_with_response_stream", modelId="mistral.m", body=json.dumps({"prompt": "x", "temperature": 1})
    )

    assert events == []
    assert error is not None
    (record,) = await tls_proxy.wait_for_records(1)
    assert (record.error_code, record.truncated) == ("upstream_protocol_error", True)


async def test_AG_MP_3_texts_are_embedded_masked(upstream, proxy) -> None:
    upstream.reply = lambda body: Reply(body={"embedding": [0.25, -1.5], "inputTextTokenCount": 4})

    answer = await send(proxy, "/model/amazon.titan-embed-text-v2%3A0/invoke", {"inputText": EMAIL, "dimensions": 256})

    assert answer.json()["embedding"] == [0.25, -1.5]
    assert EMAIL not in upstream.seen
    assert proxy.records[0].usage.input_tokens == 4
