"""Every API that streams, against every way in which an answer arrives, ends and breaks off (requirements §5.5)."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any

import httpx
import pytest

from proxies.contract import Limits
from rules.model import Action
from tests.llm_dialects import DIALECTS, Dialect, call, failed, said, without_end
from tests.masking_calls import CLIENT_KEY, placeholder_in
from tests.masking_rules import BLOCKED, EMAIL, KEY, masking_ruleset
from tests.proxy_harness import RunningProxy, running_proxy
from tests.scripted_upstream import Reply, ScriptedUpstream

OTHER = "ann@example.com"
SPLITS = ["byte", "event", "whole"]

dialects = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=list(DIALECTS))


def streaming(upstream: ScriptedUpstream, dialect: Dialect, text: str, *, split: Any = "event") -> None:
    """Answer with this text, in which `{}` becomes the placeholder that the upstream was given."""

    def reply(body: Any) -> Reply:
        made = dialect.stream(text.replace("{}", placeholder_in(body)) if "{}" in text else text, 3)
        made.split = split
        return made

    upstream.reply = reply


@pytest.mark.parametrize("split", SPLITS)
@dialects
async def test_SYP_RED_1_and_RED_STR_6_a_stream_says_what_the_whole_answer_says(
    upstream: ScriptedUpstream, proxy: RunningProxy, dialect: Dialect, split: str
) -> None:
    answer = f"é {{}} or {OTHER} with {KEY}: ![](https://a.example/{{}}) 🙂 {{}}"
    question = f"Write to {EMAIL} with {KEY}"

    upstream.reply = lambda body: dialect.whole(answer.replace("{}", placeholder_in(body)))
    whole = await call(proxy.url, dialect, question, stream=False, key=CLIENT_KEY)
    streaming(upstream, dialect, answer, split=split)
    streamed = await call(proxy.url, dialect, question, stream=True, key=CLIENT_KEY)

    placeholder = placeholder_in(upstream.bodies[0])
    expected = (
        f"é {EMAIL} or [REDACTED_EMAIL] with [REDACTED_AWS_SECRET]: ![](https://a.example/{placeholder}) 🙂 {EMAIL}"
    )
    assert dialect.text(json.loads(whole.raw)) == expected
    assert said(dialect, streamed.raw) == expected
    assert not streamed.is_cut
    assert EMAIL not in upstream.seen
    assert KEY not in upstream.seen
    assert KEY.encode() not in whole.raw + streamed.raw
    for record in await proxy.wait_for_records(2):
        assert (record.outcome, record.action, record.truncated) == ("allowed", Action.REDACT, False)
        assert record.usage is not None
        assert (record.usage.input_tokens, record.usage.output_tokens) == (11, 7)
    assert [record.streamed for record in proxy.records] == [False, True]


@dialects
async def test_AG_STATE_7_restored_text_arrives_while_the_upstream_is_still_talking(
    upstream: ScriptedUpstream, proxy: RunningProxy, dialect: Dialect
) -> None:
    def reply(body: Any) -> Reply:
        return without_end(dialect, dialect.stream(f"é {placeholder_in(body)}, then as much again", 3), "open")

    upstream.reply = reply
    headers = {"authorization": f"Bearer {CLIENT_KEY}", "anthropic-version": "2023-06-01"}
    request = dialect.body(f"Write to {EMAIL}", True)
    raw, heard = b"", ""

    async with (
        httpx.AsyncClient(trust_env=False, timeout=30) as client,
        client.stream("POST", proxy.url + dialect.path(True), json=request, headers=headers) as answer,
    ):
        async for piece in answer.aiter_bytes():
            raw += piece
            with suppress(ValueError, AssertionError):  # What has come so far may end in the middle of an event.
                heard = said(dialect, raw)
            if EMAIL in heard:
                break

    # Nothing of it waited for an end, which this upstream never reaches.
    assert heard.startswith(f"é {EMAIL}")
    assert EMAIL not in upstream.seen
    await upstream.left.wait()


@pytest.mark.parametrize("split", SPLITS)
@dialects
async def test_LLM_ERR_2_a_block_ends_a_stream_in_the_words_of_its_api(
    upstream: ScriptedUpstream, proxy: RunningProxy, dialect: Dialect, split: str
) -> None:
    streaming(upstream, dialect, f"As you wish. I will {BLOCKED} now.", split=split)

    answer = await call(proxy.url, dialect, "hello", stream=True, key=CLIENT_KEY)

    assert not answer.is_cut
    assert "As you wish. I will ".startswith(said(dialect, answer.raw))
    last = json.dumps(dialect.events(answer.raw)[-1])
    assert "X-DOORS" in last
    assert re.search("error|Exception", last)
    (record,) = await proxy.wait_for_records(1)
    assert (record.outcome, record.action) == ("blocked", Action.BLOCK)


@dialects
async def test_LLM_ERR_2_a_blocked_request_is_refused_in_the_words_of_its_api(
    upstream: ScriptedUpstream, proxy: RunningProxy, dialect: Dialect
) -> None:
    answers = [await call(proxy.url, dialect, BLOCKED, stream=stream, key=CLIENT_KEY) for stream in (False, True)]

    for answer in answers:
        assert answer.status == 403
        assert answer.headers["content-type"] == "application/json"
        assert "X-DOORS" in json.dumps(json.loads(answer.raw))
        assert BLOCKED.encode() not in answer.raw
    assert upstream.bodies == []


@dialects
async def test_LLM_ERR_2_a_blocked_answer_is_refused_whole(
    upstream: ScriptedUpstream, proxy: RunningProxy, dialect: Dialect
) -> None:
    upstream.reply = lambda body: dialect.whole(f"I will {BLOCKED}")

    answer = await call(proxy.url, dialect, "hello", stream=False, key=CLIENT_KEY)

    assert answer.status == 403
    assert BLOCKED.encode() not in answer.raw
    assert "X-DOORS" in json.dumps(json.loads(answer.raw))


@dialects
async def test_an_answer_that_is_too_large_is_refused_in_the_words_of_its_api(
    upstream: ScriptedUpstream, dialect: Dialect
) -> None:
    upstream.reply = lambda body: dialect.whole("word " * 2_000)
    async with running_proxy(
        type="llm", target_url=upstream.url, ruleset=masking_ruleset(), limits=Limits(max_response_bytes=4_000)
    ) as narrow:
        answer = await call(narrow.url, dialect, "hello", stream=False)

    assert answer.status == 502
    assert "larger than 4000 bytes" in json.dumps(json.loads(answer.raw))
    assert b"word word" not in answer.raw


@dialects
async def test_RED_STR_9_a_rule_that_waits_for_the_whole_answer_releases_nothing_of_it(
    upstream: ScriptedUpstream, dialect: Dialect
) -> None:
    policy = {"name": "p", "packs": ["masking"], "overrides": [{"rules": "X-*", "streams": "buffer"}]}
    async with running_proxy(
        type="llm", target_url=upstream.url, ruleset=masking_ruleset(), policies=[policy]
    ) as waiting:
        streaming(upstream, dialect, f"As you wish. I will {BLOCKED} now.")
        blocked = await call(waiting.url, dialect, "hello", stream=True)
        streaming(upstream, dialect, f"Nothing to hide from {OTHER}.")
        harmless = await call(waiting.url, dialect, "hello", stream=True)

    (event,) = dialect.events(blocked.raw)
    assert "X-DOORS" in json.dumps(event)
    assert said(dialect, harmless.raw) == "Nothing to hide from [REDACTED_EMAIL]."
    assert not blocked.is_cut
    assert not harmless.is_cut


@pytest.mark.parametrize("split", SPLITS)
@dialects
async def test_RED_STR_1_what_was_held_comes_before_the_error_of_an_upstream_that_breaks_off(
    upstream: ScriptedUpstream, proxy: RunningProxy, dialect: Dialect, split: Any
) -> None:
    reply = without_end(dialect, dialect.stream(f"write to {OTHER}", 3), "cut")
    reply.split = split
    upstream.reply = lambda body: reply

    answer = await call(proxy.url, dialect, "hello", stream=True, key=CLIENT_KEY)

    assert answer.is_cut
    assert said(dialect, answer.raw) == "write to [REDACTED_EMAIL]"
    assert re.search("error|Exception", json.dumps(dialect.events(answer.raw)[-1]))
    assert OTHER.encode() not in answer.raw
    (record,) = await proxy.wait_for_records(1)
    assert (record.outcome, record.truncated) == ("upstream_error", True)


@dialects
async def test_RED_STR_1_what_was_held_comes_before_an_error_that_the_upstream_sends(
    upstream: ScriptedUpstream, proxy: RunningProxy, dialect: Dialect
) -> None:
    reply = failed(dialect, dialect.stream(f"write to {OTHER}", 3), f"overloaded by {KEY}")
    upstream.reply = lambda body: reply

    answer = await call(proxy.url, dialect, "hello", stream=True, key=CLIENT_KEY)

    assert said(dialect, answer.raw) == "write to [REDACTED_EMAIL]"
    assert "overloaded by [REDACTED_AWS_SECRET]" in json.dumps(dialect.events(answer.raw)[-1])
    (record,) = await proxy.wait_for_records(1)
    assert record.truncated


@dialects
async def test_RED_STR_3_an_answer_without_its_end_is_truncated_and_holds_nothing_back(
    upstream: ScriptedUpstream, proxy: RunningProxy, dialect: Dialect
) -> None:
    def reply(body: Any) -> Reply:
        return without_end(dialect, dialect.stream(f"to {placeholder_in(body)[:9]}", 1))

    upstream.reply = reply

    answer = await call(proxy.url, dialect, f"I am {EMAIL}", stream=True, key=CLIENT_KEY)

    assert said(dialect, answer.raw) == f"to {placeholder_in(upstream.bodies[0])[:9]}"
    (record,) = await proxy.wait_for_records(1)
    assert record.truncated


@dialects
async def test_LIM_10_a_client_that_leaves_stops_the_upstream(
    upstream: ScriptedUpstream, proxy: RunningProxy, dialect: Dialect
) -> None:
    reply = without_end(dialect, dialect.stream("hello there, and more to come", 3), "open")
    upstream.reply = lambda body: reply
    headers = {"authorization": f"Bearer {CLIENT_KEY}", "anthropic-version": "2023-06-01"}

    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        request = dialect.body("hello", True)
        async with client.stream("POST", proxy.url + dialect.path(True), json=request, headers=headers) as answer:
            await anext(answer.aiter_bytes())

    await upstream.left.wait()
    (record,) = await proxy.wait_for_records(1)
    assert (record.outcome, record.truncated) == ("client_closed", True)
