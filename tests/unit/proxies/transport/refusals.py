"""What every refused request must meet: one error, a closed connection, silence at the upstream."""

from __future__ import annotations

import json

from tests.passthrough import PassThrough
from tests.rawpeer import Upstream

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: proxy.test\r\n\r\n"
START = b"POST /x HTTP/1.1\r\nHost: proxy.test\r\n"


def start(*lines: bytes) -> bytes:
    return START + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


async def refused(proxy: PassThrough, upstream: Upstream, data: bytes) -> int:
    """Send the bytes, check that they are refused as a whole, and give the status."""
    client = await proxy.connect()
    await client.send(data)
    answer = await client.read_response()
    assert answer.header("connection") == "close"
    assert answer.header("content-type") == "application/json"
    error = json.loads(answer.body)["error"]
    assert error["code"]
    assert error["message"]
    assert error["remediation"]
    assert await client.read_to_end() == b""
    await client.close()
    assert upstream.connections == []
    return answer.status
