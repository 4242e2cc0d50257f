"""LIM-10..16: clients that leave, upstreams that refuse, stall or vanish, and streams that must not be delayed."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from proxies.egress_policy import IPAddress, Origin, parse_target
from proxies.transport import egress
from proxies.transport.errors import UpstreamError
from proxies.transport.http1_server import HTTPListener, Request, Response
from tests.passthrough import LIMITS, QUICK, listening_socket, passthrough
from tests.rawpeer import HANG_SECONDS, RawClient, Upstream, UpstreamPeer, chunked, http_request, http_response

STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = chunked(b"data: 1\n\n", last=False)


async def silent(peer: UpstreamPeer) -> None:
    """Takes a request and never answers."""
    await peer.read_request()
    await peer.wait_gone()


async def stalling(peer: UpstreamPeer) -> None:
    """Sends one event of a stream and falls silent."""
    await peer.read_request()
    await peer.send(STREAM_HEAD + EVENT)
    await peer.wait_gone()


async def leave_with_fin(client: RawClient) -> None:
    await client.close()


async def leave_with_rst(client: RawClient) -> None:
    await client.reset()


LEAVE = pytest.mark.parametrize("leave", [leave_with_fin, leave_with_rst])
Leave = Callable[[RawClient], Awaitable[None]]


@LEAVE
async def test_LIM_10_a_client_that_leaves_before_the_end_of_its_body(leave: Leave) -> None:
    async with Upstream() as upstream, passthrough(upstream.url) as proxy:
        client = await proxy.connect()
        await client.send(http_request("/x", method="POST", headers=("Content-Length: 100",)) + b"abc")
        async with asyncio.timeout(HANG_SECONDS):
            while not proxy.requests:
                await asyncio.sleep(0.005)
        await leave(client)
        outcome = (await proxy.wait_for_outcomes(1))[0]
        assert outcome in ("client_closed", "bad_body")
        assert upstream.connections == []


@LEAVE
async def test_LIM_10_a_client_that_leaves_while_the_upstream_thinks(leave: Leave) -> None:
    async with Upstream(silent) as upstream, passthrough(upstream.url) as proxy:
        client = await proxy.connect()
        await client.send(http_request("/x", method="POST", body=b"abc"))
        await upstream.wait_for_requests(1)
        await leave(client)
        assert await proxy.wait_for_outcomes(1) == ["client_closed"]
        async with asyncio.timeout(HANG_SECONDS):
            await upstream.connections[0].gone.wait()
        assert proxy.pool is not None
        assert proxy.pool.idle_connections == 0


@LEAVE
async def test_LIM_10_a_client_that_leaves_in_the_middle_of_an_answer(leave: Leave) -> None:
    async def endless(peer: UpstreamPeer) -> None:
        await peer.read_request()
        await peer.send(STREAM_HEAD)
        try:
            while True:
                await peer.send(EVENT)
                await asyncio.sleep(0.005)
        except ConnectionError:
            peer.gone.set()

    async with Upstream(endless) as upstream, passthrough(upstream.url) as proxy:
        client = await proxy.connect()
        await client.send(http_request("/x"))
        await client.read_until(b"data: 1")
        await leave(client)
        assert await proxy.wait_for_outcomes(1) == ["client_closed"]
        async with asyncio.timeout(HANG_SECONDS):
            await upstream.connections[0].gone.wait()


async def _vanish(count: int, leave: Leave) -> None:
    async with Upstream(stalling) as upstream:
        limits = msgspec.structs.replace(LIMITS, max_upstream_connections=count)
        async with passthrough(upstream.url, limits=limits) as proxy:
            clients = [await proxy.connect() for _ in range(count)]
            for client in clients:
                await client.send(http_request("/stream"))
            for client in clients:
                await client.read_until(b"data: 1\n\n")
            assert (proxy.listener.connections, proxy.listener.in_flight) == (count, count)
            for client in clients:
                await leave(client)
            assert await proxy.wait_for_outcomes(count) == ["client_closed"] * count
            async with asyncio.timeout(HANG_SECONDS):
                for peer in upstream.connections:
                    await peer.gone.wait()
                while proxy.listener.connections:
                    await asyncio.sleep(0.01)
            assert proxy.listener.in_flight == 0
            assert proxy.pool is not None
            assert (proxy.pool.connections, proxy.pool.idle_connections) == (0, 0)


@LEAVE
async def test_LIM_11_streams_of_clients_that_vanish_leave_nothing_behind(leave: Leave) -> None:
    await _vanish(50, leave)


@pytest.mark.nightly
@LEAVE
async def test_LIM_11_a_thousand_streams(leave: Leave) -> None:
    await _vanish(900, leave)


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


async def _answer_of(target_url: str, **limits: float) -> tuple[int, str]:
    changed = msgspec.structs.replace(LIMITS, **limits)
    async with passthrough(target_url, limits=changed) as proxy:
        client = await proxy.connect()
        await client.send(http_request("/x", method="POST", body=b"abc"))
        status = (await client.read_response()).status
        await client.close()
        return status, proxy.outcomes[0]


async def test_LIM_13_an_upstream_that_refuses() -> None:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))  # Bound and not listening: connections are refused.
    try:
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        assert await _answer_of(url) == (502, "upstream_unreachable")
    finally:
        sock.close()


async def test_LIM_13_an_upstream_that_never_completes_the_connection() -> None:
    # A full backlog makes the kernel drop further SYNs, like a black hole.
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen(0)
    fillers = [socket.socket() for _ in range(4)]
    try:
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(sock.getsockname())
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        assert await _answer_of(url, connect_timeout_seconds=0.2) == (504, "upstream_connect_timeout")
    finally:
        for opened in (*fillers, sock):
            opened.close()


async def test_LIM_13_an_upstream_that_accepts_and_is_silent() -> None:
    async with Upstream(silent) as upstream:
        answer = await _answer_of(upstream.url, first_byte_timeout_seconds=0.1)
        assert answer == (504, "upstream_first_byte_timeout")
        await upstream.connections[0].gone.wait()


async def test_LIM_13_an_upstream_that_sends_half_a_head() -> None:
    async def script(peer: UpstreamPeer) -> None:
        await peer.read_request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Le")
        await peer.wait_gone()

    async with Upstream(script) as upstream:
        answer = await _answer_of(upstream.url, first_byte_timeout_seconds=0.1)
        assert answer == (504, "upstream_first_byte_timeout")


async def test_LIM_13_silence_in_the_middle_of_a_stream_is_a_visible_end() -> None:
    limits = msgspec.structs.replace(LIMITS, idle_timeout_seconds=0.1)
    async with Upstream(stalling) as upstream, passthrough(upstream.url, limits=limits) as proxy:
        client = await proxy.connect()
        await client.send(http_request("/x"))
        answer = await client.read_response()
        assert (answer.status, answer.body, answer.complete) == (200, b"data: 1\n\n", False)
        assert proxy.outcomes == ["upstream_idle_timeout"]
        await upstream.connections[0].gone.wait()
        await client.close()


async def test_LIM_13_a_stream_that_flows_for_ever_meets_the_total_deadline() -> None:
    async def endless(peer: UpstreamPeer) -> None:
        await peer.read_request()
        await peer.send(STREAM_HEAD)
        try:
            while True:
                await peer.send(EVENT)
                await asyncio.sleep(0.01)
        except ConnectionError:
            peer.gone.set()

    limits = msgspec.structs.replace(LIMITS, total_timeout_seconds=0.2)
    async with Upstream(endless) as upstream, passthrough(upstream.url, limits=limits) as proxy:
        client = await proxy.connect()
        await client.send(http_request("/x"))
        answer = await client.read_response()
        assert (answer.status, answer.complete) == (200, False)
        assert proxy.outcomes == ["upstream_total_timeout"]
        await client.close()


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_LIM_13_an_upstream_that_closes_without_an_answer(how: str) -> None:
    async def script(peer: UpstreamPeer) -> None:
        await peer.read_request()
        await (peer.close() if how == "fin" else peer.reset())

    async with Upstream(script) as upstream:
        assert await _answer_of(upstream.url) == (502, "upstream_unreachable")


async def test_LIM_13_a_slow_consumer_is_not_an_idle_upstream() -> None:
    size = 2 * 1024 * 1024
    limits = msgspec.structs.replace(LIMITS, idle_timeout_seconds=0.4)

    async def script(peer: UpstreamPeer) -> None:
        await peer.read_request()
        await peer.send(http_response(200, b"x" * size))
        await peer.wait_gone()

    async with Upstream(script) as upstream, passthrough(upstream.url, limits=limits) as proxy:
        assert proxy.pool is not None
        response = await proxy.pool.request("GET", "/", [], b"")
        received = 0
        async for piece in response:
            if not received:
                await asyncio.sleep(0.8)  # Reading from the upstream is paused meanwhile, by us.
            received += len(piece)
            assert len(piece) <= QUICK.piece_bytes
        assert received == size


async def test_LIM_14_a_name_that_does_not_resolve() -> None:
    assert await _answer_of("http://no-such-name.invalid") == (502, "upstream_dns_error")


async def test_LIM_14_a_resolver_that_hangs_meets_the_connect_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(*args: object, **kwargs: object) -> list[object]:
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr(egress, "_look_up", hang)
    assert await _answer_of("http://slow.test", connect_timeout_seconds=0.1) == (504, "upstream_connect_timeout")


async def test_LIM_14_at_most_eight_of_many_answers_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    async def many(origin: Origin) -> list[IPAddress]:
        return [ipaddress.ip_address(f"127.0.1.{number}") for number in range(1, 65)]

    monkeypatch.setattr(egress, "_look_up", many)
    assert len(await egress.resolve(parse_target("http://many.test"))) == 8


async def test_LIM_14_the_next_address_is_tried_when_one_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    async def two(origin: Origin) -> list[IPAddress]:
        return [ipaddress.ip_address("127.0.0.99"), ipaddress.ip_address("127.0.0.1")]

    monkeypatch.setattr(egress, "_look_up", two)
    async with Upstream() as upstream, passthrough(f"http://two.test:{upstream.port}") as proxy:
        client = await proxy.connect()
        await client.send(http_request("/x"))
        assert (await client.read_response()).body == b"GET /x 0"
        assert upstream.requests[0].header("host") == f"two.test:{upstream.port}"
        await client.close()


async def test_LIM_14_an_address_that_does_not_answer_takes_only_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Upstream() as upstream:
        # Nothing listens at 127.0.0.98, but its backlog is full: SYNs are dropped.
        hole = socket.socket()
        hole.bind(("127.0.0.98", upstream.port))
        hole.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(hole.getsockname())

        async def two(origin: Origin) -> list[IPAddress]:
            return [ipaddress.ip_address("127.0.0.98"), ipaddress.ip_address("127.0.0.1")]

        monkeypatch.setattr(egress, "_look_up", two)
        limits = msgspec.structs.replace(LIMITS, connect_timeout_seconds=0.4)
        try:
            async with passthrough(f"http://two.test:{upstream.port}", limits=limits) as proxy:
                client = await proxy.connect()
                await client.send(http_request("/x"))
                assert (await client.read_response()).body == b"GET /x 0"
                await client.close()
        finally:
            for opened in (*fillers, hole):
                opened.close()


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


async def test_a_caller_that_is_cancelled_leaves_no_connection_behind() -> None:
    async with Upstream(stalling) as upstream, passthrough(upstream.url) as proxy:
        pool = proxy.pool
        assert pool is not None
        response = await pool.request("GET", "/", [], b"")
        assert await anext(response) == b"data: 1\n\n"
        reading = asyncio.create_task(response.read(1000))
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await upstream.connections[0].gone.wait()
        assert pool.idle_connections == 0
        with pytest.raises(UpstreamError):
            await response.read(1000)
        await response.aclose()


async def test_a_closed_pool_finishes_its_calls_and_keeps_no_connection() -> None:
    async with Upstream() as upstream, passthrough(upstream.url) as proxy:
        pool = proxy.pool
        assert pool is not None
        await (await pool.request("GET", "/a", [], b"")).read(100)
        await pool.aclose()
        assert await (await pool.request("GET", "/b", [], b"")).read(100) == b"GET /b 0"
        async with asyncio.timeout(HANG_SECONDS):
            for peer in upstream.connections:
                await peer.gone.wait()
        assert pool.idle_connections == 0


async def test_a_listener_that_was_never_started_lets_its_socket_go() -> None:
    async def handler(request: Request, response: Response) -> None:
        response.send(204, [])

    sock = listening_socket()
    listener = HTTPListener(sock, handler, LIMITS, None)
    await listener.drain(0)
    assert sock.fileno() == -1
