"""The upstream of a proxy, from its configuration."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable

import msgspec

from proxies.contract import Limits, MCPSettings, ProxyConfig
from proxies.egress_policy import parse_target, refused_address
from proxies.mcp.bridge.eras import EraDetector
from proxies.mcp.bridge.leg import ServerLeg
from proxies.mcp.bridge.upstream import BridgeUpstream
from proxies.mcp.upstreams.channelled import ChannelUpstream
from proxies.mcp.upstreams.http import HTTPUpstream
from proxies.mcp.upstreams.interface import Connect, Upstream
from proxies.mcp.upstreams.seats import SeatBounds
from proxies.mcp.upstreams.sse import STREAM_IDLE_SECONDS, SSEServer
from proxies.mcp.upstreams.stdio import StdioServers
from proxies.mcp.upstreams.websocket import WebSocketServer
from proxies.transport import tls
from proxies.transport.dialler import Dialler
from proxies.transport.limits import DEFAULT_BOUNDS
from proxies.transport.pool import UpstreamPool
from proxies.transport.via import pseudonym, via_value
from proxies.upstream_key import key_fields

NETWORK_BOUNDS = SeatBounds(max_open=8_192, max_open_per_principal=1_024)
"""Channels over the network cost little here; a principal has as many as it may have sessions."""


def pool_of(config: ProxyConfig) -> UpstreamPool:
    """The connections to a target that speaks HTTP; raises OSError or ValueError."""
    return _pool(config, config.target_url, config.limits)


def mcp_upstream(config: ProxyConfig, on_problem: Callable[[], None]) -> Upstream:
    """The MCP server of a proxy; raises OSError or ValueError for a configuration that cannot be used."""
    settings = config.mcp or MCPSettings()
    server = _server(config, settings, on_problem)
    if settings.era == "same":
        return server
    leg = ServerLeg(server, max_answer_bytes=config.limits.max_response_bytes)
    return BridgeUpstream(server, EraDetector(leg, bridged=True, refuses=settings.refuse_downgrade), leg)


def eras_of(upstream: Upstream, config: ProxyConfig) -> EraDetector:
    """What finds out which eras the server behind an upstream speaks."""
    if isinstance(upstream, BridgeUpstream):
        return upstream.eras
    settings = config.mcp or MCPSettings()
    leg = ServerLeg(upstream, max_answer_bytes=config.limits.max_response_bytes)
    return EraDetector(leg, refuses=settings.refuse_downgrade)


def server_behind(upstream: Upstream) -> Upstream:
    """The upstream that reaches the server, where another one translates for it."""
    return upstream.server if isinstance(upstream, BridgeUpstream) else upstream


def _server(config: ProxyConfig, settings: MCPSettings, on_problem: Callable[[], None]) -> Upstream:
    match settings.transport:
        case "stdio":
            return _stdio(config, settings, on_problem)
        case "sse":
            sse = _sse(config)
            return _over_network(config, sse.connect, sse.tls_key, sse.aclose)
        case "websocket":
            websocket = _websocket(config)
            return _over_network(config, websocket.connect, websocket.tls_key)
        case "http":
            return HTTPUpstream(pool_of(config))


def _stdio(config: ProxyConfig, settings: MCPSettings, on_problem: Callable[[], None]) -> Upstream:
    server = settings.stdio
    if server is None or not server.argv:
        raise ValueError("there is no command to launch")
    servers = StdioServers(config.name, server)
    return ChannelUpstream(
        servers.connect,
        name=config.name,
        limits=config.limits,
        bounds=SeatBounds(max_open=server.max_processes, max_open_per_principal=server.max_processes_per_principal),
        on_problem=on_problem,
        log=servers.log,
        process=server.process,
    )


def _over_network(
    config: ProxyConfig,
    connect: Connect,
    tls_key: Callable[[], str],
    release: Callable[[], Awaitable[None]] | None = None,
) -> Upstream:
    return ChannelUpstream(
        connect,
        name=config.name,
        limits=config.limits,
        bounds=NETWORK_BOUNDS,
        base_path=parse_target(config.target_url).base_path,
        release=release,
        tls_key=tls_key,
    )


def _sse(config: ProxyConfig) -> SSEServer:
    target = parse_target(config.target_url)
    # The address for messages is not below the stream's, so the pool's target is the origin alone.
    limits = msgspec.structs.replace(config.limits, idle_timeout_seconds=STREAM_IDLE_SECONDS)
    pool = _pool(config, f"{target.scheme}://{target.authority}", limits)
    return SSEServer(pool, target, key_fields(config.upstream_auth))


def _websocket(config: ProxyConfig) -> WebSocketServer:
    target = parse_target(config.target_url)
    dialler = Dialler(
        target,
        _tls_of(config),
        proxy=config.upstream_proxy,
        egress=refused_address,
        bounds=DEFAULT_BOUNDS,
        tunnels=True,
    )
    headers = [("via", via_value([pseudonym(config.id)])), *key_fields(config.upstream_auth)]
    return WebSocketServer(dialler, target, headers, config.limits)


def _pool(config: ProxyConfig, target_url: str, limits: Limits) -> UpstreamPool:
    return UpstreamPool(
        target_url, limits, _tls_of(config), signature=pseudonym(config.id), proxy=config.upstream_proxy
    )


def _tls_of(config: ProxyConfig) -> ssl.SSLContext | None:
    if not config.target_url.startswith("https:"):
        return None
    return tls.upstream_context(
        config.upstream_ca_path, config.upstream_client_cert_path, config.upstream_client_key_path
    )
