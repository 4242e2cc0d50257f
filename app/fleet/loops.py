"""Whether a target leads back into this installation (SSRF-07). Pure: addresses in, a problem in words or None out.

A proxy may be chained to another proxy. It must not lead to itself, directly or round a chain, where every call would
breed the next, and not to the console, which is not an upstream. A name other than `localhost` is not looked up here.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

import msgspec

from app.fleet import validation
from app.fleet.reconcile import Address

_WILDCARDS = ("0.0.0.0", "::")
_REMEDY = "Give the address of the upstream."


class Hop(msgspec.Struct, frozen=True):
    """A proxy as a chain passes it: where it listens and where it sends."""

    name: str
    listens_on: Address
    target_url: str


def console_problem(target_url: str, console: Address) -> str | None:
    """Why a target cannot be used because it is the console; None when it is not."""
    return f"The target is the console's own address. {_REMEDY}" if reaches(target_url, console) else None


def loop_problem(hop: Hop, others: Sequence[Hop]) -> str | None:
    """Why a proxy cannot have its target because a call would come back to it; None when it ends elsewhere."""
    chain: list[Hop] = []
    at: Hop | None = hop
    while at is not None:
        if reaches(at.target_url, hop.listens_on):
            if not chain:
                return f"The target is this proxy's own address. {_REMEDY}"
            names = ", ".join(passed.name for passed in chain)
            return f"The target leads back to this proxy by way of {names}. {_REMEDY}"
        left = [other for other in others if other not in chain]
        target_url = at.target_url
        at = next((other for other in left if reaches(target_url, other.listens_on)), None)
        if at is not None:
            chain.append(at)
    return None


def reaches(target_url: str, listener: Address) -> bool:
    """Whether a connection to this target arrives at this listener of the same machine."""
    if not target_url:  # A server that the proxy starts itself.
        return False
    _, host, port = validation.origin(target_url)
    if port != listener.port:
        return False
    if host == listener.host.lower():
        return True
    return any(_accepts(listener.host.lower(), address) for address in _addresses(host))


def _accepts(listening: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if listening in _WILDCARDS:
        # `::` is bound for IPv6 alone; the other addresses of this machine are not known here.
        return address.is_loopback and address.version == ipaddress.ip_address(listening).version
    return address in _addresses(listening)


def _addresses(host: str) -> tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, ...]:
    """What a host stands for, as far as that is certain."""
    name = host.rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):  # RFC 6761 §6.3
        return (ipaddress.IPv4Address("127.0.0.1"), ipaddress.IPv6Address("::1"))
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return ()
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address,)
