"""Answers that the gateway makes of messages: their forms, their order, and readers that do not read."""

from __future__ import annotations

import asyncio

import pytest

from proxies.mcp.upstreams import answers
from proxies.mcp.upstreams.answers import JSONAnswer, StatusAnswer, StreamAnswer
from proxies.transport.errors import UpstreamTooLarge, UpstreamTruncated


async def pieces(answer: object) -> list[bytes]:
    return [piece async for piece in answer]  # type: ignore[attr-defined]


async def test_a_status_has_no_body() -> None:
    answer = StatusAnswer(202)
    assert await answer.read(10) == b""
    assert await pieces(answer) == []
    answer.close()


async def test_a_json_answer_is_read_once_and_bounded() -> None:
    answer = JSONAnswer(200, b"{}", [("mcp-session-id", "s")])
    assert answer.headers.get("mcp-session-id") == "s"
    assert await answer.read(2) == b"{}"
    assert await pieces(JSONAnswer(200, b"[]")) == [b"[]"]
    with pytest.raises(UpstreamTooLarge):
        await JSONAnswer(200, b"{}").read(1)


async def test_a_stream_gives_events_in_order_and_tells_when_its_reader_is_done() -> None:
    closed: list[bool] = []
    answer = StreamAnswer(closed.append)
    await answer.put(b"1")
    await answer.put(b"2")
    answer.end()
    assert not answer.is_single
    assert await pieces(answer) == [b"event: message\ndata: 1\n\n", b"event: message\ndata: 2\n\n"]
    answer.close()
    assert closed == [True]
    await answer.put(b"3")
    assert not answer.open
    with pytest.raises(UpstreamTooLarge):
        await answer.read(10)


async def test_what_has_arrived_is_read_before_the_failure() -> None:
    answer = StreamAnswer(lambda ended: None)
    answer.put_now(b"1")
    answer.fail(UpstreamTruncated("gone"))
    answer.fail(UpstreamTruncated("once only"))
    assert await answer.begun(1)
    assert await anext(answer) == b"event: message\ndata: 1\n\n"
    with pytest.raises(UpstreamTruncated, match="gone"):
        await anext(answer)
    with pytest.raises(UpstreamTruncated, match="gone"):
        await answer.begun(1)


async def test_nothing_yet_is_not_a_failure() -> None:
    answer = StreamAnswer(lambda ended: None)
    assert not await answer.begun(0.01)
    assert not await answer.ended(0.01)


async def test_a_server_waits_for_a_slow_reader(monkeypatch) -> None:
    monkeypatch.setattr(answers, "MAX_WAITING_BYTES", 4)
    answer = StreamAnswer(lambda ended: None)
    putting = asyncio.create_task(answer.put(b"12345"))
    await asyncio.sleep(0)
    assert not putting.done()
    await anext(answer)
    await putting


async def test_a_reader_that_does_not_read_loses_its_answer(monkeypatch) -> None:
    monkeypatch.setattr(answers, "MAX_WAITING_BYTES", 4)
    monkeypatch.setattr(answers, "MAX_STALL_SECONDS", 0.01)
    answer = StreamAnswer(lambda ended: None)
    await answer.put(b"12345")
    assert not answer.open
    await anext(answer)
    with pytest.raises(UpstreamTruncated, match="did not read"):
        await anext(answer)
