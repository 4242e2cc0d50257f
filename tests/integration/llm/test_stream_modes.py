"""RED-STR-9: per rule, a stream waits for a window, for the whole answer, or not at all."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from proxies.contract import Limits
from rules.model import Action
from tests.masking_rules import BLOCKED, EMAIL, masking_ruleset
from tests.proxy_harness import RunningProxy, running_proxy
from tests.scripted_upstream import (
    Reply,
    ScriptedUpstream,
    anthropic_stream,
    chat_chunk,
    chat_stream,
    responses_stream,
)

QUESTION = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "go on"}]}


def proxy_with(upstream: ScriptedUpstream, *overrides: dict[str, Any]) -> Any:
    policy = {"name": "streams", "packs": ["masking"], "overrides": list(overrides)}
    return running_proxy(type="llm", target_url=upstream.url, ruleset=masking_ruleset(), policies=[policy])


async def streamed(proxy: RunningProxy, path: str = "/v1/chat/completions", **more: Any) -> str:
    headers = {"anthropic-version": "2023-06-01"} if path.endswith("messages") else {}
    body = {**QUESTION, "max_tokens": 9, **more}
    if path.endswith("responses"):
        body = {"model": "m", "stream": True, "input": "go on"}
    async with httpx.AsyncClient(timeout=30) as client:
        return (await client.post(proxy.url + path, json=body, headers=headers)).text


def said(stream: str) -> str:
    """The text of the deltas that came, of every API."""
    text = ""
    for line in stream.splitlines():
        if not line.startswith("data: {"):
            continue
        event = json.loads(line.removeprefix("data: "))
        delta = event.get("delta", "")
        text += delta if isinstance(delta, str) else delta.get("text", "")
        for choice in event.get("choices", ()):
            text += choice["delta"].get("content") or ""
    return text


@pytest.mark.parametrize("size", [1, 4, 200])
async def test_RED_STR_9_by_default_nothing_of_a_blocked_match_goes_out(upstream, size) -> None:
    upstream.reply = lambda body: chat_stream(f"As you wish. I will {BLOCKED} now.", size=size)
    async with proxy_with(upstream) as proxy:
        answer = await streamed(proxy)
        (record,) = await proxy.wait_for_records(1)
    assert said(answer) in ("As you wish. I will ", "As you wish. I will", "")
    assert "open" not in said(answer)
    assert "blocked_by_policy" in answer
    assert record.outcome == "blocked"


@pytest.mark.parametrize(
    ("path", "make"),
    [
        ("/v1/chat/completions", chat_stream),
        ("/v1/responses", responses_stream),
        ("/v1/messages", lambda text: anthropic_stream({"type": "text", "text": text})),
    ],
)
async def test_RED_STR_9_buffer_releases_nothing_of_a_blocked_answer(upstream, path, make) -> None:
    upstream.reply = lambda body: make(f"As you wish. I will {BLOCKED} now.")
    async with proxy_with(upstream, {"rules": "X-*", "streams": "buffer"}) as proxy:
        answer = await streamed(proxy, path)
        (record,) = await proxy.wait_for_records(1)
        assert proxy.bytes_sent_at_record == [0]
        upstream.reply = lambda body: make(f"Nothing to hide from {EMAIL}.")
        harmless = await streamed(proxy, path)
    assert said(answer) == ""
    assert "X-DOORS" in answer
    assert record.outcome == "blocked"
    assert said(harmless) == "Nothing to hide from [REDACTED_EMAIL]."


async def test_RED_STR_9_buffer_gives_an_array_in_one_piece(upstream) -> None:
    def reply(text: str) -> Reply:
        part = {"candidates": [{"index": 0, "content": {"role": "model", "parts": [{"text": text}]}}]}
        return Reply(events=[(None, part), (None, part)])

    body = {"contents": [{"role": "user", "parts": [{"text": "go on"}]}]}
    async with proxy_with(upstream, {"rules": "X-*", "streams": "buffer"}) as proxy, httpx.AsyncClient() as client:
        url = f"{proxy.url}/v1beta/models/m:streamGenerateContent"
        upstream.reply = lambda body: reply("fine")
        fine = (await client.post(url, json=body)).json()
        upstream.reply = lambda body: reply(f"I {BLOCKED}")
        blocked = (await client.post(url, json=body)).json()
    assert "".join(one["candidates"][0]["content"]["parts"][0]["text"] for one in fine) == "finefine"
    assert len(blocked) == 1
    assert "error" in blocked[0]


async def test_RED_STR_9_buffer_drops_an_answer_that_breaks_off(upstream) -> None:
    upstream.reply = lambda body: Reply(events=[chat_chunk({"content": "half of i"})], ending="cut")
    async with proxy_with(upstream, {"rules": "X-*", "streams": "buffer"}) as proxy:
        with pytest.raises(httpx.RemoteProtocolError):
            await streamed(proxy)
        (record,) = await proxy.wait_for_records(1)
    assert record.outcome == "upstream_error"
    assert record.truncated


async def test_RED_STR_9_buffer_is_bounded(upstream) -> None:
    upstream.reply = lambda body: chat_stream("word " * 2_000, size=50)
    policy = {"name": "streams", "packs": ["masking"], "overrides": [{"rules": "X-*", "streams": "buffer"}]}
    async with running_proxy(
        type="llm",
        target_url=upstream.url,
        ruleset=masking_ruleset(),
        policies=[policy],
        limits=Limits(max_response_bytes=4_000),
    ) as proxy:
        with pytest.raises(httpx.RemoteProtocolError):
            await streamed(proxy)
        (record,) = await proxy.wait_for_records(1)
    assert record.error_code == "upstream_too_large"


async def test_RED_STR_9_detect_only_alerts_in_a_stream_and_still_blocks_elsewhere(upstream) -> None:
    text = f"I will {BLOCKED} for {EMAIL}."
    upstream.reply = lambda body: chat_stream(text)
    overrides = [{"rules": "*", "streams": "detect-only"}]
    async with proxy_with(upstream, *overrides) as proxy:
        answer = await streamed(proxy)
        (record,) = await proxy.wait_for_records(1)
        refused = await streamed(proxy, messages=[{"role": "user", "content": BLOCKED}])
    assert said(answer) == text
    assert record.outcome == "allowed"
    assert record.action is Action.ALERT
    assert record.decision.would_action is Action.BLOCK
    assert {finding.rule_id for finding in record.findings} == {"X-DOORS", "PII-EMAIL"}
    assert "blocked_by_policy" in refused


async def test_RED_STR_9_detect_only_masks_the_request_all_the_same(upstream) -> None:
    upstream.reply = lambda body: chat_stream("Write to other@example.com")
    async with proxy_with(upstream, {"rules": "PII-*", "streams": "detect-only"}) as proxy:
        answer = await streamed(proxy, messages=[{"role": "user", "content": f"Ask {EMAIL}"}])
        (record,) = await proxy.wait_for_records(1)
    assert EMAIL not in upstream.seen
    assert said(answer) == "Write to other@example.com"
    assert {(one.direction, one.count) for one in record.redactions} == {("request", 1)}
