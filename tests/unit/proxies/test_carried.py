"""A carried call looks like a request and answers like a response, and has no connection of its own."""

from __future__ import annotations

from typing import Any

import pytest

from proxies.carried import _NO_CONNECTION, CarriedRequest, CarriedResponse
from proxies.transport.guard import parse_request_head
from proxies.transport.server_messages import Request

HEAD = (
    b"GET /ws?x=1 HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer secret\r\nOrigin: http://h\r\nUser-Agent: a\r\n"
    b"Sec-WebSocket-Key: k\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nMcp-Session-Id: theirs\r\n\r\n"
)


def carrier() -> Request:
    return Request(parse_request_head(HEAD), _NO_CONNECTION, peer_ip="192.0.2.1", scheme="https", max_body_bytes=0)


async def test_it_has_what_its_carrier_said_and_not_its_credential() -> None:
    request = CarriedRequest(carrier(), "POST", [("mcp-session-id", "ours")], b"{}", key_digest="d")
    assert dict(request.headers) == {
        "host": "h",
        "origin": "http://h",
        "user-agent": "a",
        "mcp-session-id": "ours",
    }
    assert (request.path, request.query, request.peer_ip, request.scheme) == ("/ws", "", "192.0.2.1", "https")
    assert await request.body() == b"{}"
    assert request.key_digest == "d"


async def test_an_answer_is_given_once_and_in_order() -> None:
    pieces: list[bytes] = []

    async def sink(data: bytes) -> None:
        pieces.append(data)

    request = CarriedRequest(carrier(), "GET", [], key_digest="")
    response = CarriedResponse(request, sink)
    with pytest.raises(RuntimeError):
        await response.write(b"early")
    response.start(200, [("Content-Type", "text/event-stream")])
    with pytest.raises(RuntimeError):
        response.send(200, [])
    await response.write(b"a")
    response.abort()
    response.abort()
    assert (pieces, response.aborted, response.fields.get("content-type")) == ([b"a"], True, "text/event-stream")
    with pytest.raises(RuntimeError):
        await response.write(b"late")


async def test_there_is_no_connection_to_do_anything_with() -> None:
    connection: Any = _NO_CONNECTION
    connection.want_body(send_continue=True)
    connection.send_bytes(b"x")
    await connection.drained()
    connection.cut(reset=True)
    connection.reset_on_close(wanted=True)
    connection.hold_reading(hold=True)
    assert connection.reusable()
    assert not connection.is_draining()
    assert connection.date_line() == b""
    with pytest.raises(RuntimeError):
        connection.take_over(connection)
