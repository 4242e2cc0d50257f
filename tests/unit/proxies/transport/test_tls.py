"""SEC-09: TLS on both sides, verification always on."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from proxies.transport.errors import UpstreamError
from proxies.transport.pool import UpstreamPool
from proxies.transport.tls import BadTLS, listener_context, upstream_context
from tests.certificates import Authority
from tests.passthrough import LIMITS, passthrough
from tests.rawpeer import HANG_SECONDS, Upstream, UpstreamPeer, chunked, http_request, http_response
from tests.strict_tls import strict_tls_server


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def serving(authority: Authority, *names: str, expired: bool = False) -> ssl.SSLContext:
    certificate = authority.issue(*(names or ("localhost", "127.0.0.1")), expired=expired)
    return listener_context(certificate.cert_path, certificate.key_path)


async def test_SEC_09_both_sides_encrypted(authority: Authority) -> None:
    tls = serving(authority)
    trust = upstream_context(authority.ca_path)
    async with (
        Upstream(tls=tls) as upstream,
        passthrough(upstream.url, tls=tls, upstream_tls=trust) as proxy,
    ):
        client = await proxy.connect(tls=trust)
        for number in range(3):
            await client.send(http_request(f"/{number}", method="POST", body=b"x" * 100_000))
            assert (await client.read_response()).body == b"POST /%d 100000" % number
        assert proxy.requests[0].scheme == "https"
        assert len(upstream.connections) == 1
        await client.close()


async def test_SEC_09_a_client_that_leaves_a_tls_connection_is_noticed(authority: Authority) -> None:
    async def silent(peer: UpstreamPeer) -> None:
        await peer.read_request()
        await peer.wait_gone()

    trust = upstream_context(authority.ca_path)
    async with Upstream(silent) as upstream, passthrough(upstream.url, tls=serving(authority)) as proxy:
        client = await proxy.connect(tls=trust)
        await client.send(http_request("/x"))
        await upstream.wait_for_requests(1)
        await client.close()
        assert await proxy.wait_for_outcomes(1) == ["client_closed"]
        await upstream.connections[0].gone.wait()


async def test_SEC_09_refused_requests_and_aborted_streams_over_tls(authority: Authority) -> None:
    async def cut(peer: UpstreamPeer) -> None:
        await peer.read_request()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"begun", last=False))
        await peer.close()

    trust = upstream_context(authority.ca_path)
    async with Upstream(cut) as upstream, passthrough(upstream.url, tls=serving(authority)) as proxy:
        client = await proxy.connect(tls=trust)
        await client.send(b"GET / HTTP/1.1\r\n\r\n")
        assert (await client.read_response()).status == 400
        assert await client.read_to_end() == b""
        await client.close()
        client = await proxy.connect(tls=trust)
        await client.send(http_request("/x"))
        answer = await client.read_response()
        assert (answer.body, answer.complete) == (b"begun", False)
        await client.close()


@pytest.mark.parametrize("problem", ["wrong-host", "expired", "self-signed", "system-trust"])
async def test_SEC_09_an_upstream_that_cannot_prove_itself_gets_nothing(
    problem: str, authority: Authority, tmp_path: Path
) -> None:
    names = ("other.test",) if problem == "wrong-host" else ("127.0.0.1",)
    trusted = authority
    if problem == "self-signed":
        (tmp_path / "other").mkdir()
        trusted = Authority(tmp_path / "other")
    trust = upstream_context("" if problem == "system-trust" else trusted.ca_path)
    async with Upstream(tls=serving(authority, *names, expired=problem == "expired")) as upstream:
        pool = UpstreamPool(upstream.url, LIMITS, trust)
        with pytest.raises(UpstreamError) as caught:
            await pool.request("POST", "/", [("authorization", "Bearer secret")], b"secret")
        assert (caught.value.status, caught.value.code) == (502, "upstream_tls_error")
        assert upstream.requests == []
        assert pool.connections == 0


async def test_SEC_09_the_name_is_verified_although_an_address_is_dialled(authority: Authority) -> None:
    async with Upstream(tls=serving(authority, "localhost")) as upstream:
        trust = upstream_context(authority.ca_path)
        named = UpstreamPool(f"https://localhost:{upstream.port}", LIMITS, trust)
        assert await (await named.request("GET", "/", [], b"")).read(100) == b"GET / 0"
        await named.aclose()
        literal = UpstreamPool(f"https://127.0.0.1:{upstream.port}", LIMITS, trust)
        with pytest.raises(UpstreamError) as caught:
            await literal.request("GET", "/", [], b"")
        assert caught.value.code == "upstream_tls_error"


def demanding(authority: Authority, version: ssl.TLSVersion) -> ssl.SSLContext:
    """The context of an upstream that takes nobody without a certificate of this authority."""
    context = serving(authority)
    context.minimum_version = context.maximum_version = version
    context.load_verify_locations(authority.ca_path)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


@VERSIONS
async def test_SEC_09_an_upstream_that_demands_a_client_certificate_gets_it(
    version: ssl.TLSVersion, authority: Authority
) -> None:
    client = authority.issue("gateway.test", file_name="client")
    trust = upstream_context(authority.ca_path, client.cert_path, client.key_path)
    async with Upstream(tls=demanding(authority, version)) as upstream:
        pool = UpstreamPool(upstream.url, LIMITS, trust)
        for _ in range(2):
            assert await (await pool.request("GET", "/x", [], b"")).read(100) == b"GET /x 0"
        assert len(upstream.connections) == 1
        await pool.aclose()


@VERSIONS
@pytest.mark.parametrize("shown", ["none", "foreign"])
async def test_SEC_09_without_the_right_client_certificate_the_call_fails_with_the_reason(
    version: ssl.TLSVersion, shown: str, authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    foreign = Authority(tmp_path / "other").issue("gateway.test")
    pair = (foreign.cert_path, foreign.key_path) if shown == "foreign" else ("", "")
    async with strict_tls_server(demanding(authority, version)) as port:
        pool = UpstreamPool(f"https://127.0.0.1:{port}", LIMITS, upstream_context(authority.ca_path, *pair))
        with pytest.raises(UpstreamError) as caught:
            await pool.request("GET", "/x", [], b"")
        assert (caught.value.status, caught.value.code) == (502, "upstream_tls_error")
        assert pool.connections == 0


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
async def test_SEC_09_old_tls_is_refused_by_the_listener(version: ssl.TLSVersion, authority: Authority) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.load_verify_locations(authority.ca_path)
    old.set_ciphers("DEFAULT@SECLEVEL=0")
    old.minimum_version = version
    old.maximum_version = version
    async with passthrough("http://127.0.0.1:9", tls=serving(authority)) as proxy:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await proxy.connect(tls=old)


async def test_SEC_09_a_plain_port_refuses_tls_and_a_tls_port_plain_text(authority: Authority) -> None:
    async with passthrough("http://127.0.0.1:9") as proxy:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await proxy.connect(tls=upstream_context(authority.ca_path))
        assert [status for status, _ in proxy.refused] == [400]
    async with passthrough("http://127.0.0.1:9", tls=serving(authority)) as proxy:
        client = await proxy.connect()
        await client.send(http_request())
        assert b"HTTP/1.1 2" not in await client.read_to_end()
        assert proxy.requests == []
        await client.close()


@pytest.fixture
async def plain_upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as upstream:
        yield upstream


async def test_SEC_09_an_upstream_that_speaks_plain_text_on_https(plain_upstream: Upstream) -> None:
    async def greet(peer: UpstreamPeer) -> None:
        await peer.send(http_response(400, b"plain"))
        await peer.wait_gone()

    async with Upstream(greet) as upstream:
        pool = UpstreamPool(f"https://127.0.0.1:{upstream.port}", LIMITS, upstream_context())
        with pytest.raises(UpstreamError) as caught:
            await pool.request("GET", "/", [], b"")
        assert caught.value.code == "upstream_tls_error"


async def test_LIM_13_a_tls_handshake_that_hangs_meets_the_connect_deadline(authority: Authority) -> None:
    async def silent(peer: UpstreamPeer) -> None:
        await peer.wait_gone()

    limits = msgspec.structs.replace(LIMITS, connect_timeout_seconds=0.2)
    async with Upstream(silent) as upstream:
        pool = UpstreamPool(f"https://127.0.0.1:{upstream.port}", limits, upstream_context())
        with pytest.raises(UpstreamError) as caught:
            await pool.request("GET", "/", [], b"")
        assert (caught.value.status, caught.value.code) == (504, "upstream_connect_timeout")
        async with asyncio.timeout(HANG_SECONDS):
            await upstream.connections[0].gone.wait()


def test_SEC_09_unusable_files_are_named(authority: Authority, tmp_path: Path) -> None:
    good = authority.issue("localhost")
    locked = authority.issue("localhost", passphrase=b"secret phrase", file_name="locked")
    other = authority.issue("localhost", file_name="other")
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    for cert_path, key_path in [
        (str(tmp_path / "missing.pem"), good.key_path),
        (good.cert_path, str(tmp_path / "missing.key")),
        (good.cert_path, other.key_path),
        (locked.cert_path, locked.key_path),
        (str(empty), good.key_path),
        ("nul\0.pem", good.key_path),
    ]:
        with pytest.raises(BadTLS, match="cannot be used") as caught:
            listener_context(cert_path, key_path)
        assert cert_path in str(caught.value)
        assert "PRIVATE" not in str(caught.value)
        with pytest.raises(BadTLS, match="cannot be used"):
            upstream_context("", cert_path, key_path)
    for ca_path in (str(tmp_path / "missing.pem"), str(empty), good.key_path):
        with pytest.raises(BadTLS, match="CA bundle"):
            upstream_context(ca_path)


def test_SEC_09_verification_is_on() -> None:
    context = upstream_context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
