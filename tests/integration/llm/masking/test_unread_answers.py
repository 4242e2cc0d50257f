"""An answer has no place that hides a value from the rules: members that no API is known to have, keys, ids, words."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from copy import deepcopy
from typing import Any

import pytest

from tests.llm_dialects import DIALECTS, Dialect, call, said
from tests.masking_calls import CLIENT_KEY
from tests.masking_rules import certain_ruleset
from tests.proxy_harness import RunningProxy, running_proxy
from tests.scripted_upstream import Reply, ScriptedUpstream, anthropic_stream, chat_stream

VALUE = "pim.vanderberg@other-host.example"
CALLED = [
    (name, stream)
    for name in DIALECTS
    for stream in (False, True)
    if not stream or not name.startswith(("converse", "invoke", "ollama"))
]
"""Answers made of JSON that a test can change, not of frames."""
ECHOED = frozenset({"tools", "metadata", "text"})


@pytest.fixture
async def proxy(upstream: ScriptedUpstream) -> AsyncIterator[RunningProxy]:
    async with running_proxy(
        type="llm", target_url=upstream.url, client_key=CLIENT_KEY, ruleset=certain_ruleset()
    ) as running:
        yield running


def objects(value: Any, key: str = "") -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for name, member in list(value.items()):
            if name not in ECHOED:
                yield from objects(member, name)
    elif isinstance(value, list):
        for member in value:
            yield from objects(member, key)


def with_note(one: dict[str, Any]) -> None:
    one["note"] = f"by {VALUE}"


def with_key(one: dict[str, Any]) -> None:
    one["by"] = {VALUE: 1}


def with_nested(one: dict[str, Any]) -> None:
    one["by"] = [{"role": {"who": [VALUE]}}]


def with_id(one: dict[str, Any]) -> None:
    one["by"] = {"id": VALUE}


HIDING: list[Callable[[dict[str, Any]], None]] = [with_note, with_key, with_nested, with_id]


def changed(reply: Reply, hide: Callable[[dict[str, Any]], None]) -> Reply:
    reply = deepcopy(reply)
    for body in [reply.body, *(data for _, data in reply.events)]:
        for one in list(objects(body)):
            hide(one)
    return reply


@pytest.mark.parametrize("hide", HIDING)
@pytest.mark.parametrize(("name", "stream"), CALLED)
async def test_SLG_RESP_1_no_place_of_an_answer_hides_a_value(proxy, upstream, name, stream, hide) -> None:
    dialect: Dialect = DIALECTS[name]
    text = "some words"
    upstream.reply = lambda _body: changed(dialect.stream(text, 3) if stream else dialect.whole(text), hide)

    answer = await call(proxy.url, dialect, "hi", stream=stream, key=CLIENT_KEY)

    assert answer.status == 200
    assert VALUE not in answer.raw.decode()
    assert b"[REDACTED_EMAIL]" in answer.raw
    assert (said(dialect, answer.raw) if stream else dialect.text(json.loads(answer.raw))) == text


async def test_SLG_RESP_1_the_name_of_an_event_is_one(proxy, upstream) -> None:
    reply = chat_stream("hi")
    reply.events = [(VALUE, data) for _, data in reply.events]
    upstream.reply = lambda _body: reply
    answer = await call(proxy.url, DIALECTS["chat"], "hi", stream=True, key=CLIENT_KEY)
    assert VALUE not in answer.raw.decode()
    assert said(DIALECTS["chat"], answer.raw) == "hi"


async def test_SLG_RESP_1_an_index_that_is_none_says_nothing(proxy, upstream) -> None:
    reply = anthropic_stream({"type": "text", "text": "hello you"}, size=2)
    for _, data in reply.events:
        if "index" in data:
            data["index"] = {"a.b": VALUE}
    upstream.reply = lambda _body: reply
    answer = await call(proxy.url, DIALECTS["anthropic"], "hi", stream=True, key=CLIENT_KEY)
    assert VALUE not in answer.raw.decode()


async def test_ids_and_words_of_an_answer_stay_as_they_are(proxy, upstream) -> None:
    body = DIALECTS["chat"].whole("hi").body
    body |= {
        "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
        "system_fingerprint": "fp_44709d6fcb",
        "service_tier": "default",
    }
    upstream.reply = lambda _body: Reply(body=body)
    answer = await call(proxy.url, DIALECTS["chat"], "hi", stream=False, key=CLIENT_KEY)
    assert json.loads(answer.raw) == body
