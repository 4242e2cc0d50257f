"""Which HTTP proxy leads to an upstream: the settings `http_proxy`, `https_proxy` and `no_proxy`, read once. Pure.

The conventions are those of curl: the scheme of the target chooses the proxy, `no_proxy` lists targets that are reached
directly. An entry is a name (which covers the names below it), an address, a network (`10.0.0.0/8`) or `*` for all, each
with or without `:port`. Names are not resolved for the comparison.
"""

from __future__ import annotations

import base64
import ipaddress
import re
from urllib.parse import unquote_to_bytes

import msgspec

from proxies.contract import UpstreamProxy
from proxies.egress_policy import BadTarget, Origin, parse_target

_ENTRY_WITH_PORT = re.compile(r"(?:\[([^\]]+)\]|([^:\[\]]+)):([0-9]{1,5})")


class BadProxy(ValueError):
    """A proxy URL that cannot be used; the message says why and never repeats the URL, which may hold a password."""


class UpstreamProxies(msgspec.Struct, frozen=True):
    """The proxies of this installation."""

    http: UpstreamProxy | None = None
    """For targets that begin with http://."""
    https: UpstreamProxy | None = None
    no_proxy: tuple[str, ...] = ()

    def for_target(self, target_url: str) -> UpstreamProxy | None:
        """The proxy on the way to this target, None for the direct way (and for a target that no worker accepts)."""
        try:
            origin = parse_target(target_url)
        except BadTarget:
            return None
        proxy = self.https if origin.is_tls else self.http
        if proxy is None or any(_covers(entry, origin) for entry in self.no_proxy):
            return None
        return proxy


def parse(url: str) -> UpstreamProxy | None:
    """The proxy of `[http://][user:password@]host[:port]`, None for an empty text. Raises BadProxy."""
    if not url:
        return None
    scheme, mark, rest = url.partition("://")
    if not mark:
        scheme, rest = "http", url
    if scheme.lower() != "http":
        raise BadProxy("must begin with http://: the connection to the proxy itself uses neither TLS nor SOCKS.")
    credentials, at, authority = rest.removesuffix("/").rpartition("@")
    try:
        origin = parse_target(f"http://{authority}")
    except BadTarget:
        raise BadProxy("must look like http://user:password@proxy.example.org:3128.") from None
    if origin.base_path:
        raise BadProxy("must not have a path.")
    return UpstreamProxy(host=origin.host, port=origin.port, authorization=_basic(credentials) if at else "")


def _basic(credentials: str) -> str:
    """The value of Proxy-Authorization for `user:password` as a URL holds it (RFC 7617, RFC 3986 §3.2.1)."""
    user, _, password = credentials.partition(":")
    pair = unquote_to_bytes(user) + b":" + unquote_to_bytes(password)
    return f"Basic {base64.b64encode(pair).decode('ascii')}"


def _covers(entry: str, origin: Origin) -> bool:
    if entry == "*":
        return True
    if match := _ENTRY_WITH_PORT.fullmatch(entry):
        if int(match[3]) != origin.port:
            return False
        entry = match[1] or match[2]
    host = origin.host.rstrip(".")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = entry.lower().removeprefix("*").strip(".")
        return bool(name) and (host == name or host.endswith(f".{name}"))
    try:
        return address in ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        return False
