"""RED-PH-5: a sentence in the system prompt that asks the model to copy placeholders exactly, where a policy wants it."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest

from proxies.llm.placeholder_hint import SENTENCE
from tests.bedrock_replies import converse_body
from tests.masking_rules import EMAIL, PLACEHOLDER, masking_ruleset
from tests.ollama_replies import ollama_chat, ollama_completion
from tests.proxy_harness import RunningProxy, running_proxy
from tests.scripted_upstream import (
    ScriptedUpstream,
    anthropic_body,
    chat_body,
    responses_body,
)

QUESTION = f"Write to {EMAIL}."
USER = {"role": "user", "content": QUESTION}
PARTS = [{"role": "user", "parts": [{"text": QUESTION}]}]


def proxy_with(upstream: ScriptedUpstream, **policy: Any) -> Any:
    policies = [{"name": "hints", "packs": ["masking"], **policy}]
    return running_proxy(type="llm", target_url=upstream.url, ruleset=masking_ruleset(), policies=policies)


async def post(proxy: RunningProxy, path: str, body: dict[str, Any]) -> Any:
    async with httpx.AsyncClient(timeout=30) as client:
        response = await client.post(proxy.url + path, json=body, headers={"anthropic-version": "2023-06-01"})
    assert response.status_code == 200, response.text
    return response.json()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([USER], SENTENCE),
        ([{"role": "system", "content": "Be kind."}, USER], f"Be kind.\n\n{SENTENCE}"),
        ([{"role": "developer", "content": ""}, USER], SENTENCE),
        (
            [{"role": "system", "content": [{"type": "text", "text": "Be kind."}]}, USER],
            [{"type": "text", "text": "Be kind."}, {"type": "text", "text": SENTENCE}],
        ),
    ],
)
async def test_RED_PH_5_chat(upstream, given, expected) -> None:
    upstream.reply = lambda body: chat_body(body["messages"][-1]["content"])
    async with proxy_with(upstream, placeholder_hint=True) as proxy:
        answer = await post(proxy, "/v1/chat/completions", {"model": "m", "messages": given})
    assert upstream.bodies[0]["messages"][0]["content"] == expected
    assert len(upstream.bodies[0]["messages"]) == 2
    assert answer["choices"][0]["message"]["content"] == QUESTION


@pytest.mark.parametrize(
    ("given", "expected"), [({}, SENTENCE), ({"instructions": "Be kind."}, f"Be kind.\n\n{SENTENCE}")]
)
async def test_RED_PH_5_responses(upstream, given, expected) -> None:
    upstream.reply = lambda body: responses_body("fine")
    async with proxy_with(upstream, placeholder_hint=True) as proxy:
        await post(proxy, "/v1/responses", {"model": "m", "input": QUESTION, **given})
    assert upstream.bodies[0]["instructions"] == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, SENTENCE),
        ({"system": "Be kind."}, f"Be kind.\n\n{SENTENCE}"),
        (
            {"system": [{"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}}]},
            [
                {"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}},
                {"type": "text", "text": SENTENCE},
            ],
        ),
    ],
)
async def test_RED_PH_5_anthropic(upstream, given, expected) -> None:
    upstream.reply = lambda body: anthropic_body({"type": "text", "text": "fine"})
    async with proxy_with(upstream, placeholder_hint=True) as proxy:
        await post(proxy, "/v1/messages", {"model": "m", "max_tokens": 9, "messages": [USER], **given})
    assert upstream.bodies[0]["system"] == expected


@pytest.mark.parametrize("name", ["systemInstruction", "system_instruction"])
@pytest.mark.parametrize("given", [[], [{"text": "Be kind."}]])
async def test_RED_PH_5_gemini(upstream, name, given) -> None:
    more = {name: {"parts": given}} if given else {}
    async with proxy_with(upstream, placeholder_hint=True) as proxy:
        await post(proxy, "/v1beta/models/m:generateContent", {"contents": PARTS, **more})
    body = upstream.bodies[0]
    assert body[name if given else "systemInstruction"]["parts"] == [*given, {"text": SENTENCE}]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([USER], [f"{SENTENCE}\n\n*"]),
        ([{"role": "system", "content": "Be kind."}, USER], [f"Be kind.\n\n{SENTENCE}", "*"]),
        ([{"role": "user", "content": [QUESTION]}], [["*"]]),
        ("none", "none"),
    ],
)
async def test_RED_PH_5_ollama_chat_keeps_the_instructions_of_the_model(upstream, given, expected) -> None:
    upstream.reply = lambda body: ollama_chat("fine")
    async with proxy_with(upstream, placeholder_hint=True) as proxy:
        await post(proxy, "/api/chat", {"model": "m", "messages": given, "stream": False, "suffix": QUESTION})
    sent = upstream.bodies[0]["messages"]
    assert without_placeholder([one["content"] for one in sent] if isinstance(sent, list) else sent) == expected


@pytest.mark.parametrize(
    ("given", "system", "prompt"),
    [
        ({}, None, f"{SENTENCE}\n\n*"),
        ({"system": "Be kind."}, f"Be kind.\n\n{SENTENCE}", "*"),
        ({"raw": True}, None, "*"),
    ],
)
async def test_RED_PH_5_ollama_completions(upstream, given, system, prompt) -> None:
    upstream.reply = lambda body: ollama_completion("fine")
    async with proxy_with(upstream, placeholder_hint=True) as proxy:
        await post(proxy, "/api/generate", {"model": "m", "prompt": QUESTION, "stream": False, **given})
    assert upstream.bodies[0].get("system") == system
    assert without_placeholder(upstream.bodies[0]["prompt"]) == prompt


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, [{"text": SENTENCE}]),
        ({"system": [{"text": "Be kind."}]}, [{"text": "Be kind."}, {"text": SENTENCE}]),
        ({"system": "odd"}, "odd"),
    ],
)
async def test_RED_PH_5_converse(upstream, given, expected) -> None:
    upstream.reply = lambda body: converse_body({"text": "fine"})
    async with proxy_with(upstream, placeholder_hint=True) as proxy:
        await post(
            proxy, "/model/m/converse", {"messages": [{"role": "user", "content": [{"text": QUESTION}]}], **given}
        )
    assert upstream.bodies[0]["system"] == expected


def without_placeholder(sent: Any) -> Any:
    """What was sent, with `*` for the masked question."""
    return json.loads(re.sub(rf"Write to {PLACEHOLDER}\.", "*", json.dumps(sent)))


@pytest.mark.parametrize(
    ("policy", "text"), [({}, QUESTION), ({"placeholder_hint": True}, "Nothing to mask here.")], ids=["off", "nothing"]
)
async def test_RED_PH_5_nothing_is_added_unasked_or_without_placeholders(upstream, policy, text) -> None:
    upstream.reply = lambda body: chat_body("fine")
    async with proxy_with(upstream, **policy) as proxy:
        body = {"model": "m", "messages": [{"role": "user", "content": text}]}
        await post(proxy, "/v1/chat/completions", body)
    assert [message["role"] for message in upstream.bodies[0]["messages"]] == ["user"]
