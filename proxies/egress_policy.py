"""Where the gateway may connect: one parser for target URLs, one decision about addresses (SSRF-01, 04). Pure.

The console uses both when a proxy is saved or tried out, the workers for every connection (`transport.egress`).
"""

from __future__ import annotations

import ipaddress
import re

import msgspec

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_URL = re.compile(
    r"(https?)://(?:([A-Za-z0-9_](?:[A-Za-z0-9_-]|\.(?!\.))*+)|\[([0-9A-Fa-f:.]{2,45})\])(?::([0-9]{1,5}))?"
    r"((?:/[A-Za-z0-9\-._~!$&'()*+,;=:@%]*+)*+)"
)
_DEFAULT_PORTS = {"http": 80, "https": 443}

_REFUSED_NETWORKS: tuple[tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, str], ...] = (
    (ipaddress.IPv4Network("0.0.0.0/8"), "it names no host"),
    (ipaddress.IPv4Network("100.100.100.200/32"), "it is a cloud metadata address"),
    (ipaddress.IPv4Network("168.63.129.16/32"), "it is a cloud metadata address"),
    (ipaddress.IPv4Network("169.254.0.0/16"), "it is link-local (cloud metadata)"),
    (ipaddress.IPv4Network("192.0.0.0/24"), "it is a protocol assignment (cloud metadata)"),
    (ipaddress.IPv4Network("224.0.0.0/4"), "it is a multicast address"),
    (ipaddress.IPv4Network("240.0.0.0/4"), "it is reserved"),
    (ipaddress.IPv6Network("::/128"), "it names no host"),
    (ipaddress.IPv6Network("fd00:ec2::/32"), "it is a cloud metadata address"),
    (ipaddress.IPv6Network("fd20:ce::/32"), "it is a cloud metadata address"),
    (ipaddress.IPv6Network("fe80::/10"), "it is link-local"),
    (ipaddress.IPv6Network("fec0::/10"), "it is site-local"),
    (ipaddress.IPv6Network("ff00::/8"), "it is a multicast address"),
)
_NUMERIC_LABEL = re.compile(r"[0-9]*|0x[0-9a-f]*")
"""A last label that makes a resolver read the name as an IPv4 address, such as in `2852039166` or `0xa9.254.43518`."""
_METADATA_NAMES = frozenset(
    {
        "metadata.google.internal",
        "metadata.goog",
        "instance-data",
        "instance-data.ec2.internal",
        "metadata.azure.internal",
    }
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class BadTarget(ValueError):
    """A target URL that cannot be used; the message says why."""


class Origin(msgspec.Struct, frozen=True):
    """A parsed target URL."""

    scheme: str
    host: str
    """Name or address without brackets."""
    port: int
    authority: str
    """Value for Host: brackets kept, a default port left out."""
    base_path: str
    """Path that is put in front of every request target; empty or `/…` without a final slash."""

    @property
    def host_and_port(self) -> str:
        """Host and port as CONNECT wants them, the port always there."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.scheme == "https"


def parse_target(url: str) -> Origin:
    """The origin of `http(s)://host[:port][/base]`. Raises BadTarget for everything else: userinfo, query, fragment,
    blanks, backslashes, unencoded characters."""
    match = _URL.fullmatch(url)
    if match is None:
        raise BadTarget("the target URL must be http(s)://host[:port][/path], without user, query or fragment")
    scheme, name, literal, port_text, path = match.groups()
    port = int(port_text) if port_text else _DEFAULT_PORTS[scheme]
    if not 0 < port < 65536:
        raise BadTarget("the target URL's port is out of range")
    if literal is not None:
        try:
            host = str(ipaddress.IPv6Address(literal))
        except ValueError as error:
            raise BadTarget("the target URL's IPv6 address is malformed") from error
    else:
        host = name.lower()
    if any(segment in (".", "..") for segment in path.lower().replace("%2e", ".").split("/")) or "//" in path:
        raise BadTarget("the target URL's path has empty or dot segments")
    shown = f"[{host}]" if literal is not None else host
    authority = shown if port == _DEFAULT_PORTS[scheme] else f"{shown}:{port}"
    return Origin(scheme=scheme, host=host, port=port, authority=authority, base_path=path.rstrip("/"))


def refused_address(address: IPAddress) -> str | None:
    """Why this address must not be dialled, or None. Loopback and private networks are allowed: local upstreams are
    the normal case. IPv6 forms that carry an IPv4 address are judged by that address."""
    embedded = _embedded(address) if isinstance(address, ipaddress.IPv6Address) else None
    if embedded is not None:
        return refused_address(embedded)
    for network, reason in _REFUSED_NETWORKS:
        if address.version == network.version and address in network:
            return reason
    return None


def refused_name(host: str) -> str | None:
    """Why a proxy must not be asked for this name, or None: the proxy resolves it, so its addresses are never seen here.
    Literal addresses are for `refused_address`."""
    name = host.lower().rstrip(".")
    if _NUMERIC_LABEL.fullmatch(name.rpartition(".")[2]):
        return "it is an unusual spelling of an address"
    if name in _METADATA_NAMES:
        return "it names a cloud metadata service"
    return None


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return None
