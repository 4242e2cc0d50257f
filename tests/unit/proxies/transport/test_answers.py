"""What a handler answers and how it reaches the client (LIM-16, HTTP-18)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from proxies.transport.http1_server import Request, Response
from tests.passthrough import passthrough
from tests.rawpeer import HANG_SECONDS, Upstream, UpstreamPeer, chunked, http_request
from tests.upstream_scripts import STREAM_HEAD


async def test_LIM_16_each_event_is_passed_on_before_the_next_one_exists() -> None:
    taken = asyncio.Event()

    async def script(peer: UpstreamPeer) -> None:
        await peer.read_request()
        await peer.send(STREAM_HEAD)
        for number in range(20):
            await peer.send(chunked(b"data: %d\n\n" % number, last=False))
            async with asyncio.timeout(HANG_SECONDS):
                await taken.wait()
            taken.clear()
        await peer.send(b"0\r\n\r\n")

    async with Upstream(script) as upstream, passthrough(upstream.url) as proxy:
        client = await proxy.connect()
        await client.send(http_request("/x"))
        await client.read_until(b"\r\n\r\n")
        for number in range(20):
            event = b"data: %d\n\n" % number
            assert await client.read_until(event + b"\r\n") == b"%x\r\n%b\r\n" % (len(event), event)
            taken.set()
        assert await client.read_until(b"0\r\n\r\n") == b"0\r\n\r\n"
        await client.close()


async def test_a_handler_that_fails_answers_500_and_says_nothing_about_it(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(request: Request, response: Response) -> None:
        if request.path == "/late":
            response.start(200, [])
            await response.write(b"begun")
        raise RuntimeError("internal detail")

    async with passthrough(handler=handler) as proxy:
        client = await proxy.connect()
        await client.send(http_request("/early"))
        answer = await client.read_response()
        assert answer.status == 500
        assert b"internal_error" in answer.body
        assert b"internal detail" not in answer.body
        await client.send(http_request("/late"))
        answer = await client.read_response()
        assert (answer.status, answer.body, answer.complete) == (200, b"begun", False)
        await client.close()
    assert caplog.text.count("RuntimeError: internal detail") == 2


async def test_a_handler_that_gives_no_or_half_an_answer_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(request: Request, response: Response) -> None:
        if request.path == "/half":
            response.start(200, [])
            await response.write(b"begun")

    async with passthrough(handler=handler) as proxy:
        client = await proxy.connect()
        await client.send(http_request("/nothing"))
        assert (await client.read_response()).status == 500
        await client.send(http_request("/half"))
        answer = await client.read_response()
        assert (answer.body, answer.complete) == (b"begun", False)
        await client.close()
    assert "gave no response" in caplog.text


async def test_an_answer_is_given_once() -> None:
    problems: list[str] = []

    async def handler(request: Request, response: Response) -> None:
        async def attempt(action: Callable[[], object]) -> None:
            try:
                result = action()
                if asyncio.iscoroutine(result):
                    await result
            except RuntimeError as error:
                problems.append(str(error))

        await attempt(lambda: response.write(b"x"))
        await attempt(response.finish)
        response.send(200, [("content-length", "99"), ("Connection", "x")], b"ok")
        await attempt(lambda: response.send(200, []))
        await attempt(lambda: response.start(200, []))
        await attempt(lambda: response.write(b"x"))
        await attempt(response.finish)
        response.abort()

    async with passthrough(handler=handler) as proxy:
        client = await proxy.connect()
        for _ in range(2):
            await client.send(http_request("/"))
            answer = await client.read_response()
            assert (answer.body, answer.header("connection")) == (b"ok", None)
        await client.close()
    assert len(problems) == 12


async def test_HTTP_18_head_and_bodyless_statuses_send_no_body() -> None:
    async def handler(request: Request, response: Response) -> None:
        if request.path == "/stream":
            response.start(200, [])
            await response.write(b"data")
            response.finish()
        else:
            response.send(int(request.path[1:]), [], b"body")

    async with passthrough(handler=handler) as proxy:
        client = await proxy.connect()
        for method, path, status, length in [
            ("HEAD", "/200", 200, "4"),
            ("HEAD", "/stream", 200, None),
            ("GET", "/204", 204, None),
            ("GET", "/304", 304, None),
        ]:
            await client.send(http_request(path, method=method))
            answer = await client.read_response(bodyless=True)
            assert (answer.status, answer.header("content-length")) == (status, length)
            assert answer.header("transfer-encoding") is None
        await client.send(http_request("/299"))
        assert (await client.read_response()).body == b"body"
        await client.close()
