"""The Gemini API through a real proxy: generateContent, and streams as events and as a JSON array."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from rules.model import Action
from tests.masking_rules import BLOCKED, EMAIL, KEY, PLACEHOLDER, masking_ruleset
from tests.proxy_harness import RunningProxy, running_proxy
from tests.scripted_upstream import Reply, ScriptedUpstream, pieces

CLIENT_KEY = "ost_" + "g" * 43
USAGE = {
    "promptTokenCount": 11,
    "candidatesTokenCount": 7,
    "thoughtsTokenCount": 2,
    "cachedContentTokenCount": 4,
    "totalTokenCount": 20,
}
PATH = "/v1beta/models/gemini-3-pro"


@pytest.fixture
async def proxy(upstream: ScriptedUpstream) -> AsyncIterator[RunningProxy]:
    async with running_proxy(
        type="llm", target_url=upstream.url, client_key=CLIENT_KEY, ruleset=masking_ruleset()
    ) as running:
        yield running


def user(text: str) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": [{"text": text}]}]}


def whole(*parts: dict[str, Any]) -> Reply:
    candidate = {"content": {"parts": list(parts), "role": "model"}, "finishReason": "STOP", "index": 0}
    return Reply(body={"candidates": [candidate], "usageMetadata": USAGE, "modelVersion": "g", "responseId": "r1"})


def streamed(*parts: dict[str, Any], size: int = 1, split: Any = "byte") -> Reply:
    made = [
        {**part, "text": piece} if "text" in part else part
        for part in parts
        for piece in (pieces(part["text"], size) if "text" in part else [""])
    ]
    events: list[tuple[str | None, Any]] = []
    for number, part in enumerate(made):
        candidate: dict[str, Any] = {"content": {"parts": [part], "role": "model"}, "index": 0}
        if number == len(made) - 1:
            candidate["finishReason"] = "STOP"
        events.append(
            (None, {"candidates": [candidate], "usageMetadata": USAGE, "modelVersion": "g", "responseId": "r"})
        )
    return Reply(events=events, split=split, line_end="\r\n")


async def post(proxy: RunningProxy, path: str, body: Any, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
        return await client.post(proxy.url + path, json=body, headers={"x-goog-api-key": CLIENT_KEY, **headers})


def events_of(answer: httpx.Response) -> list[Any]:
    if answer.headers["content-type"].startswith("application/json"):
        return list(answer.json())
    return [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]


def said(events: list[Any], *, thought: bool = False) -> str:
    parts = [part for event in events for part in event["candidates"][0]["content"]["parts"]]
    return "".join(part.get("text", "") for part in parts if bool(part.get("thought")) is thought)


def placeholder_in(body: Any) -> str:
    found = re.search(PLACEHOLDER, json.dumps(body))
    assert found
    return found[0]


async def test_generate_content_masks_and_restores(proxy, upstream) -> None:
    upstream.reply = lambda body: whole(
        {"text": f"to {placeholder_in(body)}, {KEY}"},
        {"functionCall": {"name": "send", "args": {"to": [placeholder_in(body)]}}, "thoughtSignature": "c2ln"},
        {"text": f"about {placeholder_in(body)}", "thought": True},
    )

    answer = await post(proxy, f"{PATH}:generateContent", user(f"Write to {EMAIL} with {KEY}"))

    placeholder = placeholder_in(upstream.bodies[0])
    assert EMAIL not in upstream.seen
    assert KEY not in upstream.seen
    parts = answer.json()["candidates"][0]["content"]["parts"]
    assert parts[0] == {"text": f"to {EMAIL}, [REDACTED_AWS_SECRET]"}
    assert parts[1] == {"functionCall": {"name": "send", "args": {"to": [EMAIL]}}, "thoughtSignature": "c2ln"}
    assert parts[2]["text"] == f"about {placeholder}"
    assert upstream.paths == [f"{PATH}:generateContent"]
    assert CLIENT_KEY not in str(upstream.headers)
    (record,) = proxy.records
    assert (record.protocol, record.operation, record.action) == ("gemini.generate", "gemini-3-pro", Action.REDACT)
    assert record.usage is not None
    assert (record.usage.input_tokens, record.usage.output_tokens, record.usage.cached_input_tokens) == (11, 9, 4)


@pytest.mark.parametrize("query", ["?alt=sse", ""])
@pytest.mark.parametrize("size", [1, 5])
async def test_RED_STR_6_streams_are_masked_and_restored_as_events_and_as_an_array(
    proxy, upstream, query, size
) -> None:
    def reply(body: Any) -> Reply:
        placeholder = placeholder_in(body)
        return streamed(
            {"text": f"thinking of {placeholder}", "thought": True},
            {"text": f"to {placeholder} or ann@example.com é 🙂 {placeholder[:9]}"},
            {"functionCall": {"name": "send", "args": {"to": placeholder, "key": KEY}}},
            size=size,
        )

    upstream.reply = reply

    answer = await post(proxy, f"{PATH}:streamGenerateContent{query}", user(f"Write to {EMAIL}"))

    placeholder = placeholder_in(upstream.bodies[0])
    events = events_of(answer)
    assert upstream.paths == [f"{PATH}:streamGenerateContent?alt=sse"]
    assert said(events) == f"to {EMAIL} or [REDACTED_EMAIL] é 🙂 {placeholder[:9]}"
    assert said(events, thought=True) == f"thinking of {placeholder}"
    last = events[-1]["candidates"][0]
    assert last["content"]["parts"] == [
        {"functionCall": {"name": "send", "args": {"to": EMAIL, "key": "[REDACTED_AWS_SECRET]"}}}
    ]
    assert last["finishReason"] == "STOP"
    (record,) = await proxy.wait_for_records(1)
    assert record.streamed
    assert not record.truncated


async def test_LLM_SRF_3_every_place_of_a_gemini_request_is_inspected_and_masked(proxy, upstream) -> None:
    upstream.reply = lambda body: whole({"text": "ok"})
    body = {
        "systemInstruction": {"parts": [{"text": f"You serve {EMAIL}"}]},
        "contents": [
            {"role": "user", "parts": [{"text": f"I am {EMAIL}"}, {"inlineData": {"mimeType": "a/b", "data": "AAAA"}}]},
            {"role": "model", "parts": [{"functionCall": {"name": "send", "args": {"to": EMAIL, "deep": [EMAIL]}}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "send", "response": {"sent": EMAIL}}}]},
        ],
        "tools": [
            {"functionDeclarations": [{"name": "send", "description": f"as {EMAIL}", "parametersJsonSchema": {}}]}
        ],
        "generationConfig": {"stopSequences": [EMAIL], "temperature": 0.5},
        "labels": {"who": EMAIL},
    }

    await post(proxy, f"{PATH}:generateContent", body)

    (seen,) = upstream.bodies
    assert EMAIL not in upstream.seen
    assert set(re.findall(PLACEHOLDER, json.dumps(seen))) == {placeholder_in(seen)}
    assert len(re.findall(PLACEHOLDER, json.dumps(seen))) == 8
    assert seen["contents"][0]["parts"][1] == body["contents"][0]["parts"][1]  # type: ignore[index]


async def test_LLM_ERR_2_a_block_has_the_shape_of_the_api(proxy, upstream) -> None:
    answer = await post(proxy, f"{PATH}:generateContent", user(BLOCKED))

    error = answer.json()["error"]
    assert answer.status_code == error["code"] == 403
    assert error["status"] == "PERMISSION_DENIED"
    assert error["details"][0]["reason"] == "blocked_by_policy"
    assert upstream.bodies == []


@pytest.mark.parametrize("query", ["?alt=sse", ""])
async def test_LLM_ERR_2_a_block_in_a_stream_ends_it_with_an_error(proxy, upstream, query) -> None:
    upstream.reply = lambda body: streamed({"text": f"now {BLOCKED} and more"}, size=4)

    answer = await post(proxy, f"{PATH}:streamGenerateContent{query}", user("hello"))

    events = events_of(answer)
    assert events[-1]["error"]["code"] == 403
    assert "and more" not in answer.text


async def test_RED_STR_7_an_answer_of_another_shape_does_not_pass(proxy, upstream) -> None:
    """Were a list read element by element, a value that is cut over two of them would be found in neither."""
    upstream.reply = lambda body: Reply(body=[streamed({"text": part}).events[0][1] for part in (KEY[:9], KEY[9:])])

    answer = await post(proxy, f"{PATH}:streamGenerateContent", user("hello"))

    assert answer.status_code == 502
    assert KEY[9:] not in answer.text


async def test_a_gemini_key_is_needed_and_never_read_from_the_query(proxy, upstream) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.post(f"{proxy.url}{PATH}:generateContent?key={CLIENT_KEY}", json=user("hi"))

    assert answer.status_code == 401
    assert answer.json()["error"]["status"] == "UNAUTHENTICATED"
    assert upstream.bodies == []


@pytest.mark.parametrize("path", [f"{PATH}:embedContent", f"{PATH}:batchGenerateContent", "/v1beta/files"])
async def test_LLM_SRF_1_other_gemini_endpoints_are_refused(proxy, upstream, path) -> None:
    answer = await post(proxy, path, user("hi"))

    assert answer.status_code == 404
    assert answer.json()["error"]["status"] == "NOT_FOUND"
    assert upstream.bodies == []
