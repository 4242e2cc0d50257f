"""LIM-12: clients that have finished sending and wait for their answer."""

from __future__ import annotations

import asyncio

import msgspec

from tests.passthrough import QUICK, passthrough
from tests.rawpeer import RawClient, Upstream, UpstreamPeer, http_request, http_response
from tests.upstream_scripts import EVENT, STREAM_HEAD, silent


async def test_LIM_12_a_half_closed_client_gets_its_whole_answer() -> None:
    body = b"x" * 2_000_000

    async def script(peer: UpstreamPeer) -> None:
        await peer.read_request()
        await half_closed.wait()
        await peer.send(http_response(200, body))

    half_closed = asyncio.Event()
    async with Upstream(script) as upstream, passthrough(upstream.url) as proxy:
        client = await proxy.connect()
        await client.send(http_request("/x"))
        await client.half_close()
        await upstream.wait_for_requests(1)
        half_closed.set()
        answer = await client.read_response()
        assert (answer.body, answer.complete) == (body, True)
        assert await client.read_to_end() == b""
        assert await proxy.wait_for_outcomes(1) == ["complete"]
        await client.close()


PROBING = msgspec.structs.replace(QUICK, half_close_seconds=0.01)


def _probes_sent(client: RawClient) -> int:
    """Interim responses, or zeros in front of a chunk size, that the client has received so far."""
    return client.received.count(b" 100 Continue") + len(client.received.rpartition(b"\n")[2].strip(b"\r"))


async def _wait_for_probes(client: RawClient, count: int) -> None:
    """Read until the client has seen this many probes; what is read stays readable."""
    while _probes_sent(client) < count:
        piece = await client.read_some()
        assert piece, "the connection ended"


async def test_LIM_12_a_half_closed_client_waits_for_an_upstream_that_thinks() -> None:
    thought = asyncio.Event()

    async def script(peer: UpstreamPeer) -> None:
        await peer.read_request()
        await thought.wait()
        await peer.send(http_response(200, b"answer"))

    async with Upstream(script) as upstream, passthrough(upstream.url, bounds=PROBING) as proxy:
        client = await proxy.connect()
        await client.send(http_request("/x"))
        await client.half_close()
        await _wait_for_probes(client, 4)
        thought.set()
        answer = await client.read_response()
        assert (answer.body, answer.complete, answer.header("connection")) == (b"answer", True, "close")
        assert await client.read_to_end() == b""
        assert not client.was_reset
        await client.close()


async def test_LIM_12_a_half_closed_client_keeps_a_stream_that_falls_silent_and_goes_on() -> None:
    more = asyncio.Event()

    async def script(peer: UpstreamPeer) -> None:
        await peer.read_request()
        await peer.send(STREAM_HEAD + EVENT)
        await more.wait()
        await peer.send(EVENT + b"0\r\n\r\n")

    async with Upstream(script) as upstream, passthrough(upstream.url, bounds=PROBING) as proxy:
        client = await proxy.connect()
        await client.send(http_request("/x"))
        await client.read_until(b"data: 1\n\n\r\n")
        await client.half_close()
        await _wait_for_probes(client, 3)
        more.set()
        rest = await client.read_to_end()
        assert client.received.endswith(b"\r\n0009\r\ndata: 1\n\n\r\n0\r\n\r\n"), rest
        assert not client.was_reset
        assert await proxy.wait_for_outcomes(1) == ["complete"]
        await client.close()


async def test_LIM_12_a_stream_that_breaks_after_a_probe_ends_with_a_reset() -> None:
    broken = asyncio.Event()

    async def script(peer: UpstreamPeer) -> None:
        await peer.read_request()
        await peer.send(STREAM_HEAD + EVENT)
        await broken.wait()
        await peer.close()

    async with Upstream(script) as upstream, passthrough(upstream.url, bounds=PROBING) as proxy:
        client = await proxy.connect()
        await client.send(http_request("/x"))
        await client.read_until(b"data: 1\n\n\r\n")
        await client.half_close()
        await _wait_for_probes(client, 1)
        broken.set()
        await client.read_to_end()
        assert client.was_reset
        await client.close()


async def test_LIM_12_a_half_closed_HTTP_1_0_client_that_may_have_left_is_given_up() -> None:
    async with Upstream(silent) as upstream, passthrough(upstream.url, bounds=PROBING) as proxy:
        client = await proxy.connect()
        await client.send(http_request("/x", version="HTTP/1.0"))
        await client.half_close()
        assert await client.read_to_end() == b""
        assert await proxy.wait_for_outcomes(1) == ["client_closed"]
        await client.close()


async def test_LIM_12_a_half_closed_client_that_leaves_later_is_noticed() -> None:
    async with Upstream(silent) as upstream, passthrough(upstream.url, bounds=PROBING) as proxy:
        client = await proxy.connect()
        await client.send(http_request("/x"))
        await client.half_close()
        await _wait_for_probes(client, 2)
        await client.close()
        assert await proxy.wait_for_outcomes(1) == ["client_closed"]
        await upstream.connections[0].gone.wait()
