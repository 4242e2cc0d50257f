"""From a target to the addresses to dial (SSRF-01, 02).

The decision of `egress_policy` is made on the address that is dialled, after resolution: `resolve` gives literal addresses
and the caller connects to exactly those, so a name that answers differently the next time changes nothing. Behind an HTTP
proxy it is the proxy that resolves: `check_proxied` refuses what can be told from the target URL alone.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable

from proxies.egress_policy import IPAddress, Origin, refused_address, refused_name
from proxies.transport.errors import UpstreamUnreachable

EgressPolicy = Callable[[IPAddress], str | None]
"""Gives the reason why an address must not be dialled, or None."""

_MAX_ADDRESSES = 8


async def resolve(origin: Origin, policy: EgressPolicy = refused_address) -> list[str]:
    """The addresses to dial, at most eight, in the resolver's order. Raises UpstreamUnreachable when there are none
    or when the policy refuses any of them: a name that mixes good and forbidden answers is not trusted at all."""
    try:
        found = [ipaddress.ip_address(origin.host)]
    except ValueError:
        found = await _look_up(origin)
    for address in found:
        if reason := policy(address):
            raise _refused(address, reason)
    return [str(address) for address in found[:_MAX_ADDRESSES]]


def check_proxied(origin: Origin, policy: EgressPolicy = refused_address) -> None:
    """What can be checked of a target that a proxy connects to: a literal address, and the name as such. Raises
    UpstreamUnreachable."""
    try:
        reason = policy(ipaddress.ip_address(origin.host))
    except ValueError:
        reason = refused_name(origin.host)
    if reason:
        raise _refused(origin.host, reason)


def _refused(address: IPAddress | str, reason: str) -> UpstreamUnreachable:
    # The reason is the operator's to know, from the call's record; a client learns nothing about networks.
    return UpstreamUnreachable(
        "The upstream's address is not allowed.",
        code="upstream_address_refused",
        detail=f"The upstream's address {address} is not allowed: {reason}.",
    )


async def _look_up(origin: Origin) -> list[IPAddress]:
    loop = asyncio.get_running_loop()
    try:
        answers = await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise UpstreamUnreachable("The upstream's name cannot be resolved.", code="upstream_dns_error") from error
    # A zone id (`fe80::1%eth0`) can only belong to a link-local address; it is dropped for the check that refuses it.
    return [ipaddress.ip_address(str(answer[4][0]).partition("%")[0]) for answer in answers]
