"""The upstream of a proxy, from its configuration."""

from __future__ import annotations

from collections.abc import Callable

from proxies.contract import MCPSettings, ProxyConfig
from proxies.mcp.bridge.eras import EraDetector
from proxies.mcp.bridge.leg import ServerLeg
from proxies.mcp.bridge.upstream import BridgeUpstream
from proxies.mcp.upstreams.channelled import ChannelUpstream
from proxies.mcp.upstreams.http import HTTPUpstream
from proxies.mcp.upstreams.interface import Upstream
from proxies.mcp.upstreams.seats import SeatBounds
from proxies.mcp.upstreams.stdio import StdioServers
from proxies.transport import tls
from proxies.transport.pool import UpstreamPool
from proxies.transport.via import pseudonym


def pool_of(config: ProxyConfig) -> UpstreamPool:
    """The connections to a target that speaks HTTP; raises OSError or ValueError."""
    context = None
    if config.target_url.startswith("https:"):
        context = tls.upstream_context(
            config.upstream_ca_path, config.upstream_client_cert_path, config.upstream_client_key_path
        )
    return UpstreamPool(
        config.target_url, config.limits, context, signature=pseudonym(config.id), proxy=config.upstream_proxy
    )


def mcp_upstream(config: ProxyConfig, on_problem: Callable[[], None]) -> Upstream:
    """The MCP server of a proxy; raises OSError or ValueError for a configuration that cannot be used."""
    settings = config.mcp or MCPSettings()
    server = _server(config, settings, on_problem)
    if settings.era == "same":
        return server
    leg = ServerLeg(server, max_answer_bytes=config.limits.max_response_bytes)
    return BridgeUpstream(server, EraDetector(leg, bridged=True), leg)


def eras_of(upstream: Upstream, config: ProxyConfig) -> EraDetector:
    """What finds out which eras the server behind an upstream speaks."""
    if isinstance(upstream, BridgeUpstream):
        return upstream.eras
    return EraDetector(ServerLeg(upstream, max_answer_bytes=config.limits.max_response_bytes))


def server_behind(upstream: Upstream) -> Upstream:
    """The upstream that reaches the server, where another one translates for it."""
    return upstream.server if isinstance(upstream, BridgeUpstream) else upstream


def _server(config: ProxyConfig, settings: MCPSettings, on_problem: Callable[[], None]) -> Upstream:
    if settings.transport == "stdio":
        return _stdio(config, settings, on_problem)
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
    )
