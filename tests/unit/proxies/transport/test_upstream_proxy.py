"""Upstreams behind an HTTP proxy: absolute form for http, a tunnel for https, and what a proxy can do wrong."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from proxies.contract import UpstreamProxy
from proxies.transport.errors import UpstreamError
from proxies.transport.pool import UpstreamPool
from proxies.transport.tls import listener_context, upstream_context
from tests.certificates import Authority
from tests.forward_proxy import ForwardProxy
from tests.passthrough import LIMITS
from tests.rawpeer import HANG_SECONDS, Script, Upstream, UpstreamPeer

LOGIN = "Basic dXNlcjpwYXNz"


def through(port: int, authorization: str = "") -> UpstreamProxy:
    return UpstreamProxy(host="127.0.0.1", port=port, authorization=authorization)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def serving(authority: Authority, name: str) -> Upstream:
    certificate = authority.issue(name)
    return Upstream(tls=listener_context(certificate.cert_path, certificate.key_path))


async def _failure(pool: UpstreamPool) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        await pool.request("POST", "/x", [("authorization", "Bearer secret")], b"secret")
    await pool.aclose()
    async with asyncio.timeout(HANG_SECONDS):
        while pool.connections:
            await asyncio.sleep(0)
    assert "secret" not in caught.value.message + caught.value.detail
    return caught.value


async def test_an_http_target_is_asked_for_in_absolute_form() -> None:
    async with Upstream() as upstream, ForwardProxy({"api.test": upstream.port}) as proxy:
        pool = UpstreamPool("http://api.test/base", LIMITS, None, proxy=through(proxy.port))
        for _ in range(2):
            response = await pool.request("POST", "/x?a=b", [("content-type", "text/plain")], b"12345")
            assert (response.status, (await response.read(100))[-2:]) == (200, b" 5")
        assert len(upstream.connections) == 1
        assert [request.header("host") for request in upstream.requests] == ["api.test"] * 2
        head = proxy.heads[0].split("\r\n")
        assert head[0] == "POST http://api.test/base/x?a=b HTTP/1.1"
        assert not any(line.startswith("proxy-authorization") for line in head)
        await pool.aclose()


async def test_an_https_target_is_reached_through_a_tunnel_and_proves_itself(authority: Authority) -> None:
    async with serving(authority, "api.test") as upstream, ForwardProxy({"api.test:443": upstream.port}) as proxy:
        trust = upstream_context(authority.ca_path)
        pool = UpstreamPool("https://api.test/base", LIMITS, trust, proxy=through(proxy.port, LOGIN))
        for _ in range(2):
            response = await pool.request("POST", "/x", [], b"a" * 300_000)
            assert await response.read(100) == b"POST /base/x 300000"
        assert proxy.heads == [f"CONNECT api.test:443 HTTP/1.1\r\nhost: api.test:443\r\nproxy-authorization: {LOGIN}"]
        assert upstream.requests[0].header("proxy-authorization") is None
        assert pool.idle_connections == 1
        await pool.aclose()


async def test_SEC_09_the_certificate_behind_a_tunnel_must_be_the_targets(authority: Authority) -> None:
    async with serving(authority, "other.test") as upstream, ForwardProxy({"api.test:443": upstream.port}) as proxy:
        trust = upstream_context(authority.ca_path)
        error = await _failure(UpstreamPool("https://api.test", LIMITS, trust, proxy=through(proxy.port)))
        assert (error.status, error.code) == (502, "upstream_tls_error")
        assert upstream.requests == []


async def test_a_target_that_ends_the_tunnel_is_not_the_proxys_fault(authority: Authority) -> None:
    async def leave(peer: UpstreamPeer) -> None:
        await peer.reset()

    async with Upstream(leave) as upstream, ForwardProxy({"api.test:443": upstream.port}) as proxy:
        trust = upstream_context(authority.ca_path)
        error = await _failure(UpstreamPool("https://api.test", LIMITS, trust, proxy=through(proxy.port)))
        assert error.code in ("upstream_unreachable", "upstream_tls_error")


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_credentials_open_the_proxy_and_wrong_ones_are_told(scheme: str, authority: Authority) -> None:
    trust = upstream_context(authority.ca_path)
    names = ("api.test", "api.test:443")
    upstream = Upstream() if scheme == "http" else serving(authority, "api.test")
    async with upstream, ForwardProxy(dict.fromkeys(names, upstream.port), authorization=LOGIN) as proxy:
        pool = UpstreamPool(f"{scheme}://api.test", LIMITS, trust, proxy=through(proxy.port, LOGIN))
        assert (await pool.request("GET", "/x", [], b"")).status == 200
        await pool.aclose()
        wrong = UpstreamPool(f"{scheme}://api.test", LIMITS, trust, proxy=through(proxy.port, "Basic secret"))
        error = await _failure(wrong)
        assert (error.status, error.code) == (502, "upstream_proxy_auth")
        assert "http_proxy" in error.remediation
        assert len(upstream.requests) == 1


async def test_a_proxy_that_refuses_the_tunnel_is_named_in_the_record_only(authority: Authority) -> None:
    async with ForwardProxy() as proxy:
        trust = upstream_context(authority.ca_path)
        error = await _failure(UpstreamPool("https://api.test", LIMITS, trust, proxy=through(proxy.port)))
        assert (error.status, error.code) == (502, "upstream_proxy_refused")
        assert ("502" in error.message, "502" in error.detail) == (False, True)


def answering(data: bytes) -> Script:
    """A proxy that answers CONNECT with these bytes and ends."""

    async def script(peer: UpstreamPeer) -> None:
        await peer.read_until(b"\r\n\r\n")
        await peer.send(data)
        await peer.close()

    return script


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"", "upstream_proxy_unreachable"),
        (b"HTTP/1.1 200 OK\r\n", "upstream_proxy_unreachable"),
        (b"SSH-2.0-server\r\n", "upstream_proxy_refused"),
        (b"HTTP/1.1 200 OK\nVia: x\n\n", "upstream_proxy_refused"),
        (b"HTTP/1.1 200 OK\r\n\r\nsmuggled", "upstream_proxy_refused"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://login.test/\r\n\r\n", "upstream_proxy_refused"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 20, "upstream_proxy_refused"),
        (b"HTTP/1.1 200 OK\r\n" + b"A: " + b"x" * 70_000 + b"\r\n\r\n", "upstream_proxy_refused"),
    ],
)
async def test_a_proxy_that_does_not_answer_as_one(answer: bytes, code: str, authority: Authority) -> None:
    async with Upstream(answering(answer)) as proxy:
        trust = upstream_context(authority.ca_path)
        error = await _failure(UpstreamPool("https://api.test", LIMITS, trust, proxy=through(proxy.port)))
        assert (error.status, error.code) == (502, code)


async def test_an_interim_answer_and_a_length_without_meaning_do_not_hurt_a_tunnel(authority: Authority) -> None:
    async with serving(authority, "api.test") as upstream, ForwardProxy({"api.test:443": upstream.port}) as proxy:
        # RFC 9110 §9.3.6: a client ignores Content-Length in the answer to CONNECT.
        proxy.opened = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 OK\r\nContent-Length: 7\r\n\r\n"
        trust = upstream_context(authority.ca_path)
        pool = UpstreamPool("https://api.test", LIMITS, trust, proxy=through(proxy.port))
        assert (await pool.request("GET", "/x", [], b"")).status == 200
        await pool.aclose()


async def test_LIM_13_a_silent_proxy_meets_the_connect_deadline(authority: Authority) -> None:
    async def silent(peer: UpstreamPeer) -> None:
        await peer.wait_gone()

    limits = msgspec.structs.replace(LIMITS, connect_timeout_seconds=0.1)
    async with Upstream(silent) as proxy:
        trust = upstream_context(authority.ca_path)
        error = await _failure(UpstreamPool("https://api.test", limits, trust, proxy=through(proxy.port)))
        assert (error.status, error.code) == (504, "upstream_connect_timeout")
        async with asyncio.timeout(HANG_SECONDS):
            await proxy.connections[0].gone.wait()


@pytest.mark.parametrize(
    ("host", "reason"),
    [("127.0.0.1", "does not accept"), ("no-such-proxy.invalid", "resolved"), ("169.254.1.1", "not allowed")],
)
async def test_a_proxy_that_is_not_there(host: str, reason: str) -> None:
    async with Upstream() as gone:
        port = gone.port
    error = await _failure(UpstreamPool("http://api.test", LIMITS, None, proxy=UpstreamProxy(host=host, port=port)))
    assert (error.status, error.code) == (502, "upstream_proxy_unreachable")
    assert reason in error.detail
    assert host not in error.message


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254",
        "http://[fe80::1]",
        "http://2852039166",
        "http://0xa9fea9fe",
        "http://169.254.43518",
        "http://169.254.169.254.",
        "http://metadata.google.internal",
        "http://Metadata.Google.Internal.:8080",
    ],
)
async def test_SSRF_01_forbidden_targets_are_not_asked_of_a_proxy(target: str) -> None:
    async with ForwardProxy() as proxy:
        error = await _failure(UpstreamPool(target, LIMITS, None, proxy=through(proxy.port)))
        assert (error.status, error.code) == (502, "upstream_address_refused")
        assert proxy.heads == []


def test_the_credentials_of_a_proxy_are_never_shown() -> None:
    assert repr(UpstreamProxy(host="proxy.test", port=3128, authorization=LOGIN)) == "<UpstreamProxy proxy.test:3128>"
    assert UpstreamProxy(host="::1", port=3128).address == "[::1]:3128"
