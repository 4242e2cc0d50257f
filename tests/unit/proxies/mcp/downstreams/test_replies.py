"""What a carried call answers becomes messages for the carrier, each request answered exactly once."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxies.mcp.downstreams.incoming import Incoming, read
from proxies.mcp.downstreams.replies import Replies

REQUEST = Incoming("request", id=7, method="tools/list")


def replies(message: Incoming = REQUEST) -> tuple[Replies, list[Any]]:
    delivered: list[Any] = []

    async def deliver(text: str) -> None:
        delivered.append(json.loads(text))

    return Replies(message, deliver), delivered


@pytest.mark.parametrize(
    ("data", "kind", "id"),
    [
        (b"{", "malformed", None),
        (b'{"a":1,"a":2}', "malformed", None),
        (b"7", "other", None),
        (b"[]", "other", None),
        (b'[{"method":"a"}]', "other", None),
        (b'[{"method":"a","id":1}]', "request", None),
        (b'{"method":"a","id":1}', "request", 1),
        (b'{"method":5,"id":[]}', "request", None),
        (b'{"id":1,"result":{}}', "other", 1),
        (b'{"method":"a","params":[]}', "other", None),
    ],
)
def test_a_message_is_a_request_or_something_else(data: bytes, kind: str, id: Any) -> None:
    message = read(data)
    assert (message.kind, message.id) == (kind, id)


async def test_a_stream_is_delivered_event_by_event_and_knows_its_response() -> None:
    answers, delivered = replies()
    await answers.feed(b'retry: 5\nid: e1\ndata: \n\n: comment\n\ndata: {"method":"n"}\n\nda')
    await answers.feed(b'ta: [{"id":7}]\n\n')
    assert not answers.answered
    assert (answers.last_event_id, answers.retry_ms) == ("e1", 5)
    await answers.feed(b'data: {"id":7,"result":{}}\n\ndata: {"method":"late"}\n\n')
    assert answers.answered
    await answers.give_up("too late")
    assert delivered == [{"method": "n"}, [{"id": 7}], {"id": 7, "result": {}}, {"method": "late"}]


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"detail":"no"}', b""])
async def test_an_answer_that_is_no_message_is_no_answer(body: bytes) -> None:
    answers, delivered = replies()
    await answers.whole(502, body)
    await answers.give_up("The answer ended before its response.")
    (message,) = delivered
    assert (message["id"], message["error"]["code"]) == (7, -32012)


async def test_an_error_without_id_gets_the_id_of_its_request() -> None:
    answers, delivered = replies()
    await answers.whole(400, b'{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"no"}}')
    assert delivered == [{"jsonrpc": "2.0", "id": 7, "error": {"code": -32600, "message": "no"}}]


async def test_what_is_no_request_is_answered_with_nothing() -> None:
    answers, delivered = replies(Incoming("other"))
    await answers.whole(400, b'{"error":{"code":1,"message":""}}')
    await answers.give_up("nobody waits")
    assert delivered == []
