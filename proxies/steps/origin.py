"""Host and Origin: local does not mean safe (G-01, ADM-02..04).

A web page can make a browser send requests to 127.0.0.1, and DNS rebinding can make them look same-origin. The Host must
name this proxy exactly and a browser's Origin must be listed. The upstream cannot do this: it sees our Host.
"""

from __future__ import annotations

import ipaddress
from typing import Final

from proxies.contract import ProxyConfig
from proxies.exchange import Exchange
from proxies.refusal import Refusal

_DEFAULT_PORT: Final = {"http": 80, "https": 443}
_LOOPBACK_NAMES: Final = ("127.0.0.1", "localhost", "[::1]")

_ALLOWED_METHODS: Final = "GET, POST, DELETE, OPTIONS"
_ALLOWED_HEADERS: Final = (
    "Authorization, Content-Type, Accept, X-API-Key, Anthropic-Version, Anthropic-Beta, MCP-Protocol-Version, "
    "Mcp-Session-Id, Last-Event-ID, Mcp-Method, Mcp-Name"
)
_EXPOSED_HEADERS: Final = "Mcp-Session-Id, MCP-Protocol-Version, WWW-Authenticate, X-Request-Id, Retry-After"
_TOKEN: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_")


def authorities(config: ProxyConfig) -> frozenset[str]:
    """Every lower-case Host value that names the proxy: its address, the loopback names, what was configured."""
    scheme = "https" if config.tls else "http"
    host = f"[{config.host}]" if ":" in config.host else config.host
    names = {host.lower()}
    if is_wildcard(config.host) or is_loopback(config.host):
        names.update(_LOOPBACK_NAMES)
    values = {f"{name}:{config.port}" for name in names}
    if _DEFAULT_PORT[scheme] == config.port:
        values |= names
    return frozenset(values | {value.lower() for value in config.allowed_hosts})


def origins(config: ProxyConfig) -> frozenset[str]:
    """Every origin that may call the proxy from a browser."""
    scheme = "https" if config.tls else "http"
    own = {f"{scheme}://{authority}" for authority in authorities(config)}
    return frozenset(own | {origin.lower().rstrip("/") for origin in config.allowed_origins})


def is_loopback(host: str) -> bool:
    """Whether the listen address is reachable from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_wildcard(host: str) -> bool:
    """Whether the listen address stands for every interface."""
    return host in ("0.0.0.0", "::", "")


def check(exchange: Exchange) -> None:
    """Refuse a Host that does not name this proxy and an Origin that is not listed; note CORS headers otherwise."""
    request, proxy = exchange.request, exchange.proxy
    host = request.host.lower()
    if host not in proxy.authorities and not (is_wildcard(proxy.config.host) and _is_address(host, proxy.config.port)):
        raise Refusal(
            403,
            "host_not_allowed",
            "The Host header does not name this proxy.",
            remediation="Use the proxy's own address, or add this host to the proxy's allowed hosts.",
        )
    origin = request.headers.get("origin")
    if origin is not None:
        if origin.lower() not in proxy.origins:
            raise Refusal(
                403,
                "origin_not_allowed",
                "This web origin may not call the proxy.",
                remediation="Add the origin to the proxy's allowed origins.",
            )
        exchange.extra_headers += [
            ("access-control-allow-origin", origin),
            ("access-control-expose-headers", _EXPOSED_HEADERS),
            ("vary", "Origin"),
        ]
    elif request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        raise Refusal(
            403,
            "cross_site_request",
            "A web page of another site made this request.",
            remediation="Call the proxy from an application, or add the page's origin to the allowed origins.",
        )


def is_preflight(exchange: Exchange) -> bool:
    """Whether this is a CORS preflight, which browsers send without a credential (G-10)."""
    headers = exchange.request.headers
    return exchange.request.method == "OPTIONS" and "origin" in headers and "access-control-request-method" in headers


def preflight_headers(exchange: Exchange) -> list[tuple[str, str]]:
    """The answer to a preflight: our methods and headers, plus requested `Mcp-Param-*` of harmless syntax."""
    requested = exchange.request.headers.get("access-control-request-headers") or ""
    extra = [
        name
        for name in (part.strip().lower() for part in requested.split(",")[:64])
        if name.startswith(("mcp-param-", "x-stainless-")) and set(name) <= _TOKEN
    ]
    return [
        ("access-control-allow-methods", _ALLOWED_METHODS),
        ("access-control-allow-headers", ", ".join([_ALLOWED_HEADERS, *extra])),
        ("access-control-max-age", "600"),
    ]


def _is_address(authority: str, port: int) -> bool:
    """Whether a Host is an IP literal with our port: rebinding needs a name, so literals are safe on a wildcard."""
    host, separator, given_port = authority.rpartition(":")
    if not separator or given_port != str(port):
        return False
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True
