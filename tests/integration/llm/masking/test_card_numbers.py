"""Payment cards that an upstream writes as JSON numbers are taken out of arguments and results as those in texts are."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from rules.engine import Ruleset
from tests.bedrock_replies import converse_body
from tests.masking_calls import CLIENT_KEY, post, post_raw
from tests.masking_rules import masking_rule
from tests.ollama_replies import ollama_chat
from tests.proxy_harness import RunningProxy, running_proxy
from tests.scripted_upstream import (
    Reply,
    ScriptedUpstream,
    anthropic_body,
    anthropic_stream,
    chat_body,
    chat_stream,
    responses_body,
    responses_stream,
)
from tests.unit.rules.small_packs import pack, ruleset

CARD = "4556737586899855"
SPELLINGS = [CARD, f"{CARD}.0", "4.556737586899855e15", "45567375868998550e-1"]
GONE = "[REDACTED_CARD]"
CHAT = {"model": "m", "messages": [{"role": "user", "content": "pay"}]}
GEMINI = {"contents": [{"role": "user", "parts": [{"text": "pay"}]}]}


def card_ruleset(**fields: Any) -> Ruleset:
    return ruleset(pack("cards", masking_rule("PII-CARD", rf"\b{CARD}\b", "pii/card", **fields)))


@pytest.fixture
async def proxy(upstream: ScriptedUpstream) -> AsyncIterator[RunningProxy]:
    async with running_proxy(
        type="llm", target_url=upstream.url, client_key=CLIENT_KEY, ruleset=card_ruleset()
    ) as running:
        yield running


def arguments(spelt: str) -> str:
    return f'{{"n": 12, "ids": [{spelt}, 7], "deep": {{"card": {spelt}}}, "at": 1790000000000}}'


def as_called(value: Any) -> dict[str, Any]:
    return {"n": 12, "ids": [value, 7], "deep": {"card": value}, "at": 1790000000000}


def gemini(value: Any) -> dict[str, Any]:
    part = {"functionCall": {"name": "pay", "args": value}}
    return {"candidates": [{"content": {"role": "model", "parts": [part]}, "finishReason": "STOP", "index": 0}]}


WHOLE: dict[str, tuple[str, dict[str, Any], Callable[[str], Any]]] = {
    "chat": ("/v1/chat/completions", CHAT, lambda text: chat_body(None, arguments=[text]).body),
    "responses": (
        "/v1/responses",
        {"model": "m", "input": "pay"},
        lambda text: responses_body("", arguments=[text]).body,
    ),
    "anthropic": (
        "/v1/messages",
        {**CHAT, "max_tokens": 9},
        lambda text: anthropic_body({"type": "tool_use", "id": "t", "name": "pay", "input": json.loads(text)}).body,
    ),
    "gemini": ("/v1beta/models/g:generateContent", GEMINI, lambda text: gemini(json.loads(text))),
    "converse": (
        "/model/m/converse",
        {"messages": [{"role": "user", "content": [{"text": "pay"}]}]},
        lambda text: converse_body({"toolUse": {"toolUseId": "t", "name": "pay", "input": json.loads(text)}}).body,
    ),
    "ollama": (
        "/api/chat",
        {**CHAT, "stream": False},
        lambda text: ollama_chat("", arguments=[json.loads(text)]).body,
    ),
}


@pytest.mark.parametrize("spelt", SPELLINGS)
@pytest.mark.parametrize("api", WHOLE)
async def test_SLG_RESP_1_a_card_that_is_a_number_is_taken_out_of_arguments(proxy, upstream, api, spelt) -> None:
    path, body, make = WHOLE[api]
    upstream.reply = lambda _body: Reply(body=make(arguments(spelt)))

    answer = await post(proxy, path, body)

    said = json.dumps(answer).replace('\\"', '"')
    assert CARD not in said
    assert "4.556737586899855" not in said
    assert said.count(GONE) == 2
    assert '"n": 12' in said.replace('"n":12', '"n": 12')
    (record,) = await proxy.wait_for_records(1)
    assert [(one.type, one.count, one.direction) for one in record.redactions] == [("CARD", 2, "response")]


STREAMS: dict[str, tuple[str, dict[str, Any], Callable[[str, int], Reply]]] = {
    "chat": (
        "/v1/chat/completions",
        {**CHAT, "stream": True},
        lambda text, size: chat_stream(arguments=[text], split="event"),
    ),
    "responses": (
        "/v1/responses",
        {"model": "m", "input": "pay", "stream": True},
        lambda text, size: responses_stream("", arguments=[text], size=size),
    ),
    "anthropic": (
        "/v1/messages",
        {**CHAT, "max_tokens": 9, "stream": True},
        lambda text, size: anthropic_stream(
            {"type": "tool_use", "id": "t", "name": "pay", "input": json.loads(text)}, size=size
        ),
    ),
    "gemini": (
        "/v1beta/models/g:streamGenerateContent?alt=sse",
        GEMINI,
        lambda text, size: Reply(events=[(None, gemini(json.loads(text)))]),
    ),
}


def streamed_arguments(api: str, raw: str) -> list[Any]:
    """Every reading of the arguments that a stream offers."""
    events = [json.loads(line[6:]) for line in raw.splitlines() if line.startswith("data: {")]
    if api == "chat":
        calls = [
            call for event in events for choice in event["choices"] for call in choice["delta"].get("tool_calls", ())
        ]
        return ["".join(call["function"]["arguments"] for call in calls)]
    if api == "anthropic":
        deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
        return ["".join(delta.get("partial_json", "") for delta in deltas)]
    if api == "gemini":
        return [json.dumps(events[0]["candidates"][0]["content"]["parts"][0]["functionCall"]["args"])]
    name = "response.function_call_arguments"
    said = "".join(event["delta"] for event in events if event["type"] == f"{name}.delta")
    done = [event["arguments"] for event in events if event["type"] == f"{name}.done"]
    return [said, *done, events[-1]["response"]["output"][1]["arguments"]]


@pytest.mark.parametrize("spelt", SPELLINGS)
@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("api", STREAMS)
async def test_RED_STR_6_a_card_that_is_a_number_is_taken_out_of_streamed_arguments(
    proxy, upstream, api, size, spelt
) -> None:
    path, body, make = STREAMS[api]
    upstream.reply = lambda _body: make(arguments(spelt), size)

    raw = await post_raw(proxy, path, body)

    for text in streamed_arguments(api, raw):
        assert json.loads(text) == as_called(GONE)
    assert CARD not in raw


@pytest.mark.parametrize("api", WHOLE)
async def test_SLG_RESP_1_a_card_that_is_a_number_blocks_where_one_in_a_text_does(upstream, api) -> None:
    rules = card_ruleset(action="block", confidence="high", score=90)
    path, body, make = WHOLE[api]
    upstream.reply = lambda _body: Reply(body=make(arguments(CARD)))
    async with running_proxy(type="llm", target_url=upstream.url, client_key=CLIENT_KEY, ruleset=rules) as running:
        raw = await post_raw(running, path, body, status=403)
    assert CARD not in raw


async def test_other_numbers_stay_as_the_upstream_spelt_them(proxy, upstream) -> None:
    text = '{"a":[1790000000000,4.0,1E5,-0,-4556737586899855,45567375868998550,1e400],"b":0.1}'
    upstream.reply = lambda _body: chat_stream(arguments=[text])
    raw = await post_raw(proxy, "/v1/chat/completions", {**CHAT, "stream": True})
    assert streamed_arguments("chat", raw) == [text]
