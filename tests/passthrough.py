"""The smallest proxy that the transport can make: no rules, no keys, only forwarding, used to test the transport.

async with passthrough(upstream.url) as proxy:
    client = await proxy.connect()
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from proxies.contract import Limits
from proxies.transport.errors import BodyError, UpstreamError
from proxies.transport.headers import forwardable_request_headers, forwardable_response_headers
from proxies.transport.http1_server import Handler, HTTPListener, Request, Response
from proxies.transport.limits import DEFAULT_BOUNDS, Bounds
from proxies.transport.pool import UpstreamPool
from proxies.transport.server_messages import error_body
from tests.rawpeer import HANG_SECONDS, RawClient, http_request

REQUEST_FIELDS = frozenset(
    {"accept", "content-type", "cookie", "authorization", "user-agent", "upgrade", "x-forwarded-for", "x-user", "range"}
)
RESPONSE_FIELDS = frozenset({"content-type", "etag", "upgrade", "x-answer", "content-encoding", "accept-ranges"})
JSON_FIELDS = [("content-type", "application/json")]
LIMITS = Limits(max_body_bytes=256 * 1024)
"""Limits of the test proxy unless a test says otherwise."""
SHORT_BODY = msgspec.structs.replace(LIMITS, body_timeout_seconds=0.15)
"""A body deadline that a test can wait for."""
QUICK = msgspec.structs.replace(DEFAULT_BOUNDS, sweep_seconds=0.02, linger_seconds=0.3)
"""Bounds with a fine resolution of deadlines."""


class PassThrough:
    """A running proxy and what it has seen."""

    def __init__(self, pool: UpstreamPool | None) -> None:
        self.pool = pool
        self.requests: list[Request] = []
        """Requests that passed the guard."""
        self.refused: list[tuple[int, str]] = []
        """Status and code of those that did not."""
        self.outcomes: list[str] = []
        """How each call ended: `complete`, `client_closed`, or the code of its error."""
        self._ended = asyncio.Condition()
        self.listener: HTTPListener

    async def connect(self, *, tls: ssl.SSLContext | None = None, receive_buffer_bytes: int = 0) -> RawClient:
        """A raw client on a new connection."""
        host, port = self.listener.address
        return await RawClient.connect(host, port, tls=tls, receive_buffer_bytes=receive_buffer_bytes)

    async def exchange(self, data: bytes) -> tuple[bytes, RawClient]:
        """Send bytes on a new connection, half-close nothing, and give all that comes until the proxy closes."""
        client = await self.connect()
        await client.send(data)
        received = await client.read_to_end()
        await client.close()
        return received, client

    async def handle(self, request: Request, response: Response) -> None:
        """What an endpoint does, without deciding anything."""
        self.requests.append(request)
        try:
            await self._forward(request, response)
            await self._note("complete")
        except asyncio.CancelledError:
            await self._note("client_closed")
            raise
        except (BodyError, UpstreamError) as error:
            if response.started:
                response.abort()
            else:
                response.send(error.status, JSON_FIELDS, error_body(error.code, error.message))
            await self._note(error.code)

    async def _forward(self, request: Request, response: Response) -> None:
        assert self.pool is not None
        body = await request.body()
        upstream = await self.pool.request(
            request.method,
            request.target,
            forwardable_request_headers(request.headers, REQUEST_FIELDS),
            body,
            idempotent=request.method in ("GET", "HEAD"),
        )
        try:
            fields = forwardable_response_headers(upstream.headers, RESPONSE_FIELDS)
            if upstream.headers.get("content-length") is not None or upstream.complete:
                response.send(upstream.status, fields, await upstream.read(64 * 1024 * 1024))
                return
            response.start(upstream.status, fields)
            async for chunk in upstream:
                await response.write(chunk)
            response.finish()
        finally:
            upstream.close()

    async def wait_for_outcomes(self, count: int) -> list[str]:
        """The outcomes, once there are at least `count`."""
        async with asyncio.timeout(HANG_SECONDS), self._ended:
            await self._ended.wait_for(lambda: len(self.outcomes) >= count)
        return self.outcomes

    async def _note(self, outcome: str) -> None:
        self.outcomes.append(outcome)
        async with self._ended:
            self._ended.notify_all()


def listening_socket(host: str = "127.0.0.1") -> socket.socket:
    """A bound TCP socket on a free port."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    sock.bind((host, 0))
    return sock


@asynccontextmanager
async def passthrough(
    target_url: str = "",
    *,
    limits: Limits = LIMITS,
    bounds: Bounds = QUICK,
    handler: Handler | None = None,
    tls: ssl.SSLContext | None = None,
    upstream_tls: ssl.SSLContext | None = None,
) -> AsyncIterator[PassThrough]:
    """A proxy for the duration of a test; with `handler` the calls go there and no upstream is needed."""
    pool = UpstreamPool(target_url, limits, upstream_tls, bounds=bounds) if target_url else None
    proxy = PassThrough(pool)
    proxy.listener = HTTPListener(
        listening_socket(),
        handler or proxy.handle,
        limits,
        tls,
        on_refused=lambda _, status, code: proxy.refused.append((status, code)),
        bounds=bounds,
    )
    await proxy.listener.start()
    try:
        yield proxy
    finally:
        await proxy.listener.drain(0.2)
        if pool is not None:
            await pool.aclose()


async def answer_of(target_url: str, **limits: float) -> tuple[int, str]:
    """Status and outcome of one call to this target under the limits of the tests, some of them changed."""
    async with passthrough(target_url, limits=msgspec.structs.replace(LIMITS, **limits)) as proxy:
        client = await proxy.connect()
        await client.send(http_request("/x", method="POST", body=b"abc"))
        status = (await client.read_response()).status
        await client.close()
        return status, proxy.outcomes[0]
