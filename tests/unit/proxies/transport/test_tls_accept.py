"""LIM-07: unfinished TLS handshakes take places like any connection, and lose them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
import ssl
from pathlib import Path

import msgspec
import pytest

from proxies.transport import tls_accept
from proxies.transport.tls import listener_context, upstream_context
from tests.certificates import Authority
from tests.passthrough import LIMITS, QUICK, PassThrough, passthrough
from tests.rawpeer import HANG_SECONDS, RawClient, Upstream, http_request

TWO = msgspec.structs.replace(LIMITS, max_connections=2)
STRICT = msgspec.structs.replace(QUICK, polite_refusals=0)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def tls(authority: Authority) -> ssl.SSLContext:
    certificate = authority.issue("localhost")
    return listener_context(certificate.cert_path, certificate.key_path)


async def _connections(proxy: PassThrough, count: int) -> None:
    async with asyncio.timeout(HANG_SECONDS):
        while proxy.listener.connections != count:
            await asyncio.sleep(0.005)


async def test_LIM_07_silent_handshakes_fill_the_port_until_their_deadline(
    tls: ssl.SSLContext, authority: Authority
) -> None:
    limits = msgspec.structs.replace(TWO, header_timeout_seconds=0.3)
    async with Upstream() as upstream, passthrough(upstream.url, limits=limits, bounds=STRICT, tls=tls) as proxy:
        silent = [await proxy.connect() for _ in range(2)]
        await _connections(proxy, 2)
        with pytest.raises((ConnectionError, ssl.SSLError)):
            await proxy.connect(tls=upstream_context(authority.ca_path))
        for client in silent:
            assert await client.read_to_end() == b""
            await client.close()
        await _connections(proxy, 0)
        late = await proxy.connect(tls=upstream_context(authority.ca_path))
        await late.send(http_request("/x"))
        assert (await late.read_response()).status == 200
        assert proxy.listener.connections == 1
        await late.close()


async def test_LIM_07_over_the_cap_a_tls_client_is_told_politely(tls: ssl.SSLContext, authority: Authority) -> None:
    async with passthrough("http://127.0.0.1:9", limits=TWO, tls=tls) as proxy:
        silent = [await proxy.connect() for _ in range(2)]
        await _connections(proxy, 2)
        client = await proxy.connect(tls=upstream_context(authority.ca_path))
        assert (await client.read_response()).status == 503
        for opened in (*silent, client):
            await opened.close()


@pytest.mark.parametrize("first_bytes", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01"])
async def test_LIM_07_a_handshake_that_breaks_off_leaves_nothing(first_bytes: bytes, tls: ssl.SSLContext) -> None:
    async with passthrough("http://127.0.0.1:9", limits=TWO, tls=tls) as proxy:
        for leave in (RawClient.close, RawClient.reset):
            client = await proxy.connect()
            await client.send(first_bytes)
            await leave(client)
            await _connections(proxy, 0)
        assert proxy.refused == []


async def test_a_drain_gives_an_unfinished_handshake_a_moment_only(tls: ssl.SSLContext) -> None:
    bounds = msgspec.structs.replace(QUICK, drain_idle_seconds=0.05)
    async with passthrough("http://127.0.0.1:9", bounds=bounds, tls=tls) as proxy:
        client = await proxy.connect()
        await _connections(proxy, 1)
        async with asyncio.timeout(HANG_SECONDS):
            await proxy.listener.drain(HANG_SECONDS * 2)
        assert proxy.listener.connections == 0
        assert await client.read_to_end() == b""
        await client.close()


async def test_a_request_that_comes_with_the_end_of_the_handshake_is_read(
    tls: ssl.SSLContext, authority: Authority
) -> None:
    # asyncio's client writes as soon as it can, which with TLS 1.3 is together with its Finished.
    class Eager(asyncio.Protocol):
        def __init__(self) -> None:
            self.received = asyncio.get_running_loop().create_future()

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            transport.write(http_request("/x"))  # type: ignore[attr-defined]

        def data_received(self, data: bytes) -> None:
            if not self.received.done():
                self.received.set_result(data)

    async with Upstream() as upstream, passthrough(upstream.url, tls=tls) as proxy:
        host, port = proxy.listener.address
        trust = upstream_context(authority.ca_path)
        transport, eager = await asyncio.get_running_loop().create_connection(
            Eager, host, port, ssl=trust, server_hostname="localhost"
        )
        async with asyncio.timeout(HANG_SECONDS):
            assert (await eager.received).startswith(b"HTTP/1.1 200 OK")
        transport.close()


def _take_descriptors(like: int, taken: list[int]) -> None:
    """Duplicate a descriptor until there is none left."""
    with contextlib.suppress(OSError):
        while True:
            taken.append(os.dup(like))


async def test_LIM_08_without_a_free_descriptor_accepting_pauses_and_goes_on(
    tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tls_accept, "_RETRY_SECONDS", 0.05)
    async with passthrough("http://127.0.0.1:9", tls=tls) as proxy:
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        client = socket.create_connection(proxy.listener.address)  # Nothing has accepted it yet: the loop stands still.
        taken: list[int] = []
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (client.fileno() + 16, limits[1]))
            _take_descriptors(client.fileno(), taken)
            async with asyncio.timeout(HANG_SECONDS):
                while "cannot be accepted" not in caplog.text:
                    await asyncio.sleep(0.005)
            assert proxy.listener.connections == 0
        finally:
            for descriptor in taken:
                os.close(descriptor)
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        await _connections(proxy, 1)
        client.close()
        await _connections(proxy, 0)
