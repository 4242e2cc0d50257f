"""LIM-15: whatever reads, masks or restores a large text does so away from the event loop. Counted by thread, not timed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import httpx
import pytest

from proxies import off_loop
from proxies.answer_texts import AnswerTexts
from proxies.llm import endpoint, relay
from rules.masking.pending import Pending
from rules.model import Action
from rules.policy_evaluation import PolicySet
from tests.masking_rules import EMAIL, masking_ruleset
from tests.proxy_harness import RunningProxy, running_proxy
from tests.scripted_upstream import (
    Reply,
    ScriptedUpstream,
    chat_body,
    chat_chunk,
    chat_stream,
)
from tests.watched_work import Watch, Work

pytestmark = pytest.mark.interpreted
VALUES = [f"person{number}@mail{number}.example" for number in range(700)]
LARGE = "\n".join(f"{number}. write to {value}, who waits" for number, value in enumerate(VALUES))
SMALL = f"write to {EMAIL}"


@pytest.fixture
async def proxy(upstream: ScriptedUpstream) -> AsyncIterator[RunningProxy]:
    async with running_proxy(type="llm", target_url=upstream.url, ruleset=masking_ruleset()) as running:
        yield running


@pytest.fixture
def works(monkeypatch: pytest.MonkeyPatch) -> list[Work]:
    """What the steps that grow with a text did, each with its size in characters."""
    watch = Watch(monkeypatch)
    watch.add(endpoint, "parse", len)
    watch.add(endpoint, "dump", lambda value: len(str(value)))
    watch.add(relay, "parse", len)
    watch.add(AnswerTexts, "feed", lambda _self, piece: len(piece.text))
    return watch.works


def steps(works: list[Work], *, large: bool) -> set[str]:
    limit = off_loop.LARGE_BYTES
    return {work.step for work in works if (work.size > limit) is large}


async def ask(proxy: RunningProxy, text: str, **more: Any) -> str:
    body = {"model": "m", "messages": [{"role": "user", "content": text}], **more}
    async with httpx.AsyncClient(timeout=60) as client:
        return (await client.post(f"{proxy.url}/v1/chat/completions", json=body)).text


async def test_LIM_15_a_large_request_and_its_answer_are_handled_in_a_thread(proxy, upstream, works) -> None:
    upstream.reply = lambda body: chat_body(body["messages"][0]["content"])
    answer = await ask(proxy, LARGE)

    assert VALUES[0] in answer
    assert VALUES[-1] in answer
    assert VALUES[0] not in upstream.seen
    assert steps(works, large=True) == {"parse", "dump", "recall", "mask_request", "finish_answer"}
    assert [work for work in works if work.on_loop and work.size > off_loop.LARGE_BYTES] == []


async def test_LIM_15_a_small_table_of_values_is_handled_in_a_thread_and_prose_of_its_size_is_not(
    proxy, upstream, works
) -> None:
    upstream.reply = lambda body: chat_body(body["messages"][0]["content"])
    table = "\n".join(f"{number},+1 415 555 {number:04}" for number in range(100))
    assert off_loop.DENSE_BYTES < len(table) < off_loop.LARGE_BYTES

    await ask(proxy, table)
    assert not [work for work in works if work.on_loop]
    works.clear()
    await ask(proxy, ("The quick brown fox jumps over it. " * 100)[: len(table)])
    assert all(work.on_loop for work in works)


async def test_LIM_15_a_small_request_for_many_conditions_is_handled_in_a_thread(upstream, works) -> None:
    """A hundred short messages and sixty conditions on content took 13 ms, twenty calls of tools 25 ms."""
    on_content = [{"message_content": {"pattern": f"word{number}"}} for number in range(30)]
    on_arguments = [{"tool_arguments": [{"path": "$..k", "matches": f"^{number}$"}]} for number in range(30)]
    rules = [
        {"id": f"r{i}", "action": "tag", "tags": ["t"], "match": m} for i, m in enumerate(on_content + on_arguments)
    ]
    few = {"name": "few", "rules": rules[:2]}
    for policy, is_large in ((few, False), ({"name": "many", "rules": rules}, True)):
        async with running_proxy(type="llm", target_url=upstream.url, policies=[policy]) as proxy:
            works.clear()
            messages = [{"role": "user", "content": "a b"}] * 30
            upstream.reply = lambda body: chat_body("word1 " * 120)
            async with httpx.AsyncClient(timeout=60) as client:
                body = {"model": "m", "messages": messages}
                assert (await client.post(f"{proxy.url}/v1/chat/completions", json=body)).status_code == 200
            assert [work.on_loop for work in works if work.step == "parse"] == [not is_large] * 2


async def test_LIM_15_a_large_event_of_a_stream_is_handled_in_a_thread(proxy, upstream, works) -> None:
    chunks = [chat_chunk({"content": LARGE}), chat_chunk({}, finish="stop")]
    upstream.reply = lambda body: Reply(events=[*chunks, (None, "[DONE]")], split="whole")
    answer = await ask(proxy, SMALL, stream=True)

    assert "[REDACTED_EMAIL]" in answer
    assert VALUES[0] not in answer
    assert {"feed", "parse"} <= steps(works, large=True)
    assert [work for work in works if work.on_loop and work.size > off_loop.LARGE_EVENT_CHARACTERS] == []


async def test_LIM_15_the_pieces_of_a_long_token_are_handled_in_a_thread_and_those_of_prose_are_not(
    proxy, upstream, works
) -> None:
    """Each piece may show the engine a beginning that it has not seen: that took 10 to 45 ms a piece."""
    token = "".join(f"x{number}y" for number in range(200))
    for text, is_token in ((token, True), ("The quick brown fox. " * 40, False)):
        works.clear()
        upstream.reply = lambda body, text=text: chat_stream(text, size=7)
        assert (await ask(proxy, "hello", stream=True)).endswith("data: [DONE]\n\n")
        fed = [work for work in works if work.step == "feed"]
        on_loop = [work for work in fed if work.on_loop]
        assert len(on_loop) <= off_loop.HELD_CHARACTERS // 7 + 1 if is_token else len(on_loop) == len(fed)


async def test_LIM_15_the_first_stream_waits_in_a_thread_for_what_it_holds_back_with(
    proxy, upstream, monkeypatch
) -> None:
    """A worker serves before it is made, so that it answers sooner after a start."""
    loop_thread = threading.get_ident()
    made: list[bool] = []
    real = Pending.__init__

    def make(self: Pending, patterns: Any) -> None:
        made.append(threading.get_ident() == loop_thread)
        real(self, patterns)

    monkeypatch.setattr(Pending, "__init__", make)
    monkeypatch.setattr(masking_ruleset(), "_pending", {})
    upstream.reply = lambda body: chat_stream(SMALL.replace(EMAIL, VALUES[0]), size=3)
    answers = await asyncio.gather(*(ask(proxy, "hello", stream=True) for _ in range(3)))

    assert made
    assert not any(made)
    assert len(made) == 2, "for texts and for the arguments of calls, each once"
    assert all(VALUES[0] not in answer for answer in answers)


async def test_LIM_15_many_small_events_of_one_read_let_the_loop_go_on_in_between(proxy, upstream, works) -> None:
    """Between two turns of the loop only a bounded number of characters is inspected."""
    upstream.reply = lambda body: chat_stream(LARGE[:20_000], size=200, split="whole")
    turns: list[int] = []

    async def count_turns() -> None:
        while True:
            turns.append(sum(work.size for work in works if work.step == "feed"))
            await asyncio.sleep(0)

    counting = asyncio.create_task(count_turns())
    await ask(proxy, SMALL, stream=True)
    counting.cancel()

    assert turns[-1] >= 20_000
    assert max(later - earlier for earlier, later in pairwise(turns)) <= off_loop.SLICE_CHARACTERS + 200


async def test_LIM_15_what_is_small_stays_on_the_loop(proxy, upstream, works) -> None:
    upstream.reply = lambda body: chat_body(body["messages"][0]["content"])
    assert EMAIL in await ask(proxy, SMALL)
    assert {work.step for work in works} == {"parse", "dump", "recall", "mask_request", "finish_answer"}
    assert all(work.on_loop for work in works)


async def test_LIM_15_a_cancelled_call_waits_for_its_work_to_end() -> None:
    """Nobody else may touch a stream of the engine while the thread still feeds it."""
    begun, may_end = threading.Event(), threading.Event()
    ended: list[bool] = []

    def work() -> None:
        begun.set()
        may_end.wait()
        ended.append(True)
        raise ValueError("nobody is left to be told")

    async def call() -> None:
        try:
            await off_loop.away(work)
        finally:
            assert ended

    task = asyncio.create_task(call())
    while not begun.is_set():
        await asyncio.sleep(0)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    assert not task.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_LIM_15_a_stream_with_many_values_is_not_judged_anew_for_each(proxy, upstream, monkeypatch) -> None:
    judged: list[int] = []
    real = PolicySet.verdict

    def verdict(self: PolicySet, findings: Any, **more: Any) -> Any:
        judged.append(len(findings))
        return real(self, findings, **more)

    monkeypatch.setattr(PolicySet, "verdict", verdict)
    upstream.reply = lambda body: chat_stream(LARGE, size=200, split="whole")
    answer = await ask(proxy, SMALL, stream=True)

    assert answer.count("[REDACTED_EMAIL]") == len(VALUES)
    assert len(judged) <= 2, "the request, and the first value of the answer"
    (record,) = await proxy.wait_for_records(1)
    assert sum(one.count for one in record.redactions if one.direction == "response") == len(VALUES)
    assert {finding.action for finding in record.findings} == {Action.REDACT}
    assert len(record.findings) >= len(VALUES)


async def test_LIM_15_an_event_that_ends_many_texts_is_handled_in_a_thread(proxy, upstream, works) -> None:
    many = 3 * relay.MANY_TEXTS
    events = [chat_chunk({"content": f"choice {index} "}, index=index) for index in range(many)]
    upstream.reply = lambda body: Reply(events=[*events, (None, "[DONE]")], split="whole")
    answer = await ask(proxy, SMALL, stream=True)

    assert f"choice {many - 1} " in answer
    feeds = [work.on_loop for work in works if work.step == "feed"]
    assert feeds == [True] * (relay.MANY_TEXTS + 1) + [False] * (many - relay.MANY_TEXTS - 1)
