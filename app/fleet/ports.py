"""Listening sockets: binding them, and saying in plain words why that is impossible."""

from __future__ import annotations

import errno
import socket
from typing import ClassVar

from app.errors import AppError, Conflict, ValidationFailed
from app.fleet.reconcile import Address

BACKLOG = 2048
FIRST_UNPRIVILEGED_PORT = 1024


class PortTaken(Conflict):
    """Somebody listens there already."""

    code: ClassVar[str] = "port_taken"


class PortForbidden(Conflict):
    """The operating system does not let this process listen there."""

    code: ClassVar[str] = "port_forbidden"


class HostInvalid(ValidationFailed):
    """The host is no address of this machine."""

    code: ClassVar[str] = "host_invalid"


def bind(address: Address) -> socket.socket:
    """A non-blocking listening TCP socket; raises PortTaken, PortForbidden or HostInvalid.

    SO_REUSEADDR lets a port be used again while old connections are in TIME_WAIT; it never lets two sockets listen.
    The host is an IP literal or `localhost`; nothing is looked up in the DNS. `::` listens on IPv6 only.
    """
    family = _family(address)
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((_literal(address.host), address.port))
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except (OSError, OverflowError) as error:
        sock.close()
        raise _explain(error, address) from error
    return sock


def taken_by(address: Address, owner: str) -> PortTaken:
    """The error for a port that belongs to `owner` (the console, or a proxy of ours by its name)."""
    return PortTaken(
        f"Port {address.port} on {address.host} is in use by {owner}.",
        remediation="Choose another port, or stop what uses this one.",
        fields={"port": f"in use by {owner}"},
    )


def overlap(one: Address, other: Address) -> bool:
    """Whether two addresses cannot both be listened on: the same port, and hosts that are equal or a wildcard."""
    if one.port != other.port or (":" in one.host) != (":" in other.host):
        return False
    hosts = {_literal(one.host), _literal(other.host)}
    return len(hosts) == 1 or bool(hosts & {"0.0.0.0", "::"})


def _literal(host: str) -> str:
    return "127.0.0.1" if host == "localhost" else host


def _family(address: Address) -> socket.AddressFamily:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, _literal(address.host))
        except (OSError, ValueError):
            continue
        return family
    raise HostInvalid(
        f"'{address.host}' is not an IP address.",
        remediation="Use an address of this machine, 0.0.0.0 or :: for all, or localhost.",
        fields={"host": "not an IP address"},
    )


def _explain(error: OSError | OverflowError, address: Address) -> AppError:
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        return taken_by(address, "another program")
    if number in (errno.EACCES, errno.EPERM):
        return PortForbidden(
            f"Port {address.port} on {address.host} may not be used by this process: permission denied.",
            remediation=(
                f"Choose a port from {FIRST_UNPRIVILEGED_PORT} up, or give the process CAP_NET_BIND_SERVICE."
                if address.port < FIRST_UNPRIVILEGED_PORT
                else "Choose another port, or ask the administrator of this machine."
            ),
            fields={"port": "permission denied"},
        )
    if number in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
        return HostInvalid(
            f"{address.host} is not an address of this machine.",
            remediation="Use an address of this machine, 0.0.0.0 or :: for all, or localhost.",
            fields={"host": "not an address of this machine"},
        )
    return PortForbidden(
        f"Port {address.port} on {address.host} cannot be used: {getattr(error, 'strerror', None) or error}.",
        remediation="Choose another port.",
        fields={"port": "cannot be used"},
    )
