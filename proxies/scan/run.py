"""A scan from its target to its facts, within its deadline: what the worker and the command line call."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import shlex
import ssl
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import msgspec

from proxies.contract.configuration import Limits
from proxies.contract.scan import SCAN_DEADLINE_SECONDS, ScanTarget
from proxies.egress_policy import BadTarget, IPAddress, parse_target, refused_address
from proxies.mcp.upstreams.interface import Connect
from proxies.mcp.upstreams.sse import SSEServer
from proxies.mcp.upstreams.websocket import WebSocketServer
from proxies.scan.channel_way import SWITCHED, ChannelWay
from proxies.scan.link import Fields, HTTPLink, Link, Reply
from proxies.scan.prober import Prober, Progress, Way, origin_of
from proxies.scan.stdio_link import StdioLink
from proxies.transport import tls
from proxies.transport.dialler import Dialler
from proxies.transport.limits import DEFAULT_BOUNDS
from proxies.transport.pool import UpstreamPool
from proxies.upstream_key import key_fields
from rules.pinning.baseline import ServerDescription
from rules.scanning.facts import ServerFacts

logger = logging.getLogger(__name__)

LIMITS = Limits(
    connect_timeout_seconds=5.0,
    first_byte_timeout_seconds=15.0,
    idle_timeout_seconds=15.0,
    total_timeout_seconds=30.0,
    max_upstream_connections=8,
)
STREAM_LIMITS = msgspec.structs.replace(LIMITS, idle_timeout_seconds=SCAN_DEADLINE_SECONDS)
"""A stream may be silent while the scan asks something else."""
CLOSE_SECONDS = 10.0
FOREIGN_HOST = "scan.ostiary.invalid"


class ScanFailed(Exception):
    """There are no facts; the message says why in one sentence."""


async def gather(
    target: ScanTarget,
    *,
    active: bool,
    progress: Progress,
    deadline_seconds: float = SCAN_DEADLINE_SECONDS,
    headers: Fields | None = None,
) -> ServerFacts:
    """The facts of one server; raises ScanFailed where there are none at all.

    `headers` are credentials besides the target's own. At the deadline the facts so far are what there is.
    """
    async with contextlib.AsyncExitStack() as stack:
        credential = [*key_fields(target.upstream_auth), *(headers or [])]
        base = base_facts(target)
        way = await _way(target, stack)
        prober = Prober(base, way, credential, progress)
        try:
            async with asyncio.timeout(deadline_seconds):
                await prober.run(with_active=active)
        except TimeoutError:
            logger.warning("a scan did not end within %d s", deadline_seconds)
        except OSError as error:
            raise ScanFailed(f"The server cannot be started: {error.strerror or error}.") from error
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await prober.close()
        facts = prober.facts()
    if facts.unreachable and not facts.tls_problem and not facts.access.refused_status:
        raise ScanFailed(facts.unreachable)
    if not facts.gathered:
        raise ScanFailed(f"The server did not answer within {deadline_seconds:g} seconds.")
    return facts


def base_facts(target: ScanTarget) -> ServerFacts:
    """What is known before the first request; raises ScanFailed for a target that cannot be used."""
    if target.stdio is not None:
        command = shlex.join(target.stdio.argv)
        description = ServerDescription(origin_of(command, target.stdio.argv))
        return ServerFacts(target=command, transport="stdio", description=description)
    try:
        origin = parse_target(target.target_url)
    except BadTarget as error:
        raise ScanFailed(f"{str(error)[:1].upper()}{str(error)[1:]}.") from error
    return ServerFacts(
        target=target.target_url,
        transport=target.transport,
        is_tls=origin.is_tls,
        is_loopback=_is_loopback(origin.host),
        description=ServerDescription(origin_of(target.target_url)),
    )


async def _way(target: ScanTarget, stack: contextlib.AsyncExitStack) -> Way:
    if target.stdio is not None:
        return _process_way(target)
    return await (_http_way(target, stack) if target.transport == "http" else _channel_way(target, stack))


async def _channel_way(target: ScanTarget, stack: contextlib.AsyncExitStack) -> Way:
    """HTTP+SSE or WebSocket."""
    context = await _tls_context(target)
    origin = parse_target(target.target_url)
    post: Callable[[str, Fields, bytes], Awaitable[Reply]] | None = None

    def pool(authority: str = "", limits: Limits = STREAM_LIMITS) -> UpstreamPool:
        url = f"{origin.scheme}://{origin.authority}"
        return UpstreamPool(url, limits, context, proxy=target.upstream_proxy, authority=authority)

    def streams(fields: Fields, authority: str = "") -> tuple[Connect, Callable[[], Awaitable[None]]]:
        server = SSEServer(pool(authority), origin, fields)
        return server.connect, server.aclose

    def sockets(fields: Fields, authority: str = "") -> tuple[Connect, Callable[[], Awaitable[None]]]:
        dialler = Dialler(
            origin, context, proxy=target.upstream_proxy, egress=refused_address, bounds=DEFAULT_BOUNDS, tunnels=True
        )
        return WebSocketServer(dialler, origin, fields, LIMITS, authority=authority).connect, _nothing

    if target.transport == "sse":
        messages = pool(limits=LIMITS)
        stack.push_async_callback(messages.aclose)

        async def post(endpoint: str, fields: Fields, body: bytes) -> Reply:
            return await HTTPLink(messages, endpoint).send("POST", fields, body)

    way = ChannelWay(
        streams if target.transport == "sse" else sockets,
        LIMITS,
        opened_with=200 if target.transport == "sse" else SWITCHED,
        post=post,
    )
    stack.push_async_callback(way.aclose)

    async def fetch(url: str) -> Reply:
        return await _fetch(url, target)

    return Way(channels=way, foreign_authority=FOREIGN_HOST, fetch=fetch)


async def _nothing() -> None:
    """A dialler keeps no connection."""


def _process_way(target: ScanTarget) -> Way:
    server = target.stdio
    assert server is not None

    async def connect() -> Link:
        return await StdioLink.start(server)

    return Way(connect)


async def _http_way(target: ScanTarget, stack: contextlib.AsyncExitStack) -> Way:
    context = await _tls_context(target)

    def pool(authority: str = "") -> UpstreamPool:
        made = UpstreamPool(target.target_url, LIMITS, context, proxy=target.upstream_proxy, authority=authority)
        stack.push_async_callback(made.aclose)
        return made

    main, foreign = pool(), pool(FOREIGN_HOST)
    endpoint = "" if main.origin.base_path else "/"
    link = HTTPLink(main, endpoint)

    async def connect() -> Link:
        return link

    async def remove(fields: Fields) -> Reply:
        return await link.send("DELETE", fields)

    async def fetch(url: str) -> Reply:
        return await _fetch(url, target)

    return Way(connect, foreign_host=HTTPLink(foreign, endpoint), fetch=fetch, remove=remove)


async def _tls_context(target: ScanTarget) -> ssl.SSLContext | None:
    if not target.target_url.startswith("https:"):
        return None
    try:
        return await asyncio.to_thread(
            tls.upstream_context, target.ca_path, target.client_cert_path, target.client_key_path
        )
    except tls.BadTLS as error:
        raise ScanFailed(f"{error}.") from error


async def _fetch(url: str, target: ScanTarget) -> Reply:
    """GET of a document that the server named. Of other hosts only public addresses are dialled: a server under scan
    must not choose what the scanner asks inside the network."""
    parts = urlsplit(url)
    try:
        origin = parse_target(f"{parts.scheme}://{parts.netloc}")
    except BadTarget as error:
        return Reply(text=str(error))
    same_host = origin.host == parse_target(target.target_url).host

    def egress(address: IPAddress) -> str | None:
        reason = refused_address(address)
        return reason or (None if same_host or address.is_global else "it is not a public address")

    context = await asyncio.to_thread(tls.upstream_context, target.ca_path) if origin.is_tls else None
    pool = UpstreamPool(f"{parts.scheme}://{parts.netloc}", LIMITS, context, proxy=target.upstream_proxy, egress=egress)
    try:
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        return await HTTPLink(pool, path or "/").send("GET", [("accept", "application/json")])
    except ValueError:
        return Reply(text="The address holds characters that must not be sent.")
    finally:
        await pool.aclose()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
