"""How a server is reached for a scan: as its proxy reaches it, credential included, or by its URL alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from app.errors import ValidationFailed
from app.fleet.models import Proxy
from app.fleet.snapshot import Configuration
from app.upstream_proxy import UpstreamProxies
from proxies.contract import ScanTarget


class Targets:
    """Makes targets from what the fleet would be told to serve."""

    def __init__(self, load: Callable[[], Awaitable[Configuration]], upstream_proxies: UpstreamProxies) -> None:
        self._load = load
        self._upstream_proxies = upstream_proxies

    def __repr__(self) -> str:
        return "<Targets>"

    async def of_proxy(self, proxy: Proxy) -> ScanTarget:
        """The server behind a proxy; raises ValidationFailed where it cannot be reached as configured."""
        configuration = await self._load()
        config = next((one for one in configuration.proxies if one.id == proxy.id), None)
        if config is None:
            raise ValidationFailed(fields={"proxy_id": "The proxy is disabled. Enable it, or scan its URL."})
        if reason := configuration.broken.get(proxy.id):
            raise ValidationFailed(fields={"proxy_id": reason})
        settings = config.mcp
        return ScanTarget(
            target_url=config.target_url,
            transport=settings.transport if settings is not None else "http",
            stdio=settings.stdio if settings is not None else None,
            upstream_auth=config.upstream_auth,
            ca_path=config.upstream_ca_path,
            client_cert_path=config.upstream_client_cert_path,
            client_key_path=config.upstream_client_key_path,
            upstream_proxy=config.upstream_proxy,
        )

    def of_url(self, url: str) -> ScanTarget:
        """A server that no proxy stands for, without a credential."""
        return ScanTarget(target_url=url, upstream_proxy=self._upstream_proxies.for_target(url))
