"""Network and mail addresses: whose they are, and how they may be disguised."""

from __future__ import annotations

import ipaddress
import re

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_BYTE = "(?:0|[1-9]\\d?|1\\d\\d|2[0-4]\\d|25[0-5])"
_PLAIN_IPV4 = re.compile(rf"({_BYTE})\.({_BYTE})\.{_BYTE}\.{_BYTE}", re.ASCII)
_MIXED_BLOCKS = frozenset({100, 169, 172, 192, 198, 203})
"""First bytes of IPv4 addresses of which the IANA registry of special-purpose addresses sets some apart."""
_SPECIAL_BLOCKS = frozenset({0, 10, 127, *range(224, 256)})
"""First bytes of which it sets all apart."""
_LAN = tuple(
    map(
        ipaddress.ip_network,
        ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "fc00::/7", "fe80::/10"),
    )
)
_STAND_INS = tuple(
    # Documentation (RFC 5737, RFC 3849, RFC 9637), benchmarks (RFC 2544) and the shared space of providers (RFC 6598).
    map(
        ipaddress.ip_network,
        (
            "192.0.2.0/24",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "2001:db8::/32",
            "3fff::/20",
            "198.18.0.0/15",
            "100.64.0.0/10",
        ),
    )
)
_RESOLVERS = frozenset({"1.0.0.1", "1.1.1.1", "4.2.2.1", "4.2.2.2", "8.8.4.4", "8.8.8.8", "9.9.9.9"})
"""Well-known addresses of which the numbers are as small as those of a version."""
_VERSION_FIRST_MAX = 31
_VERSION_REST_MAX = 63
_GIVEN_OUT = ipaddress.ip_network("2000::/3")
_IPV6_GROUPS = 8
_LONG_GROUP = 3
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]{1,16}|\d{1,20}", re.ASCII)
_MAX_NUMBER_PARTS = 4
_FILE_ENDINGS = frozenset(
    "png jpg jpeg gif svg webp bmp ico css scss js mjs jsx tsx json html htm xml yml yaml toml txt pdf csv lock woff "
    "exe dll local localhost internal".split()
)
"""Last labels of names that are no domains: files such as `logo@2x.png`, and hosts that nobody outside reaches."""


def ip_private(value: str) -> bool:
    """Whether the value is an address that no outside host has: private, loopback, link-local, unspecified."""
    address = _address(value)
    return address is not None and not address.is_global and not address.is_multicast


def ip_public(value: str) -> bool:
    """Whether the value is a globally reachable unicast address."""
    if match := _PLAIN_IPV4.fullmatch(value):
        block = int(match[1])
        if block not in _MIXED_BLOCKS:
            return block not in _SPECIAL_BLOCKS
        if block == 192 and match[2] == "168":
            return False
    address = _address(value)
    return address is not None and address.is_global and not address.is_multicast


def ip_external(value: str) -> bool:
    """An address of one host outside: public, or set apart for documentation and the like, which stand for public ones.

    Of IPv6 the block that is given out (2000::/3) counts, and of the rest what is written in full: `dead::beef` is a
    name in a program. Four small numbers (`4.17.21.2`) are a version or a section far more often than one of the few
    addresses in 3,000 that look like it.
    """
    if match := _PLAIN_IPV4.fullmatch(value):
        if _is_like_version(value):
            return False
        if int(match[1]) not in _MIXED_BLOCKS:
            return ip_public(value)
    address = _address(value)
    if address is None or address.is_multicast:
        return False
    if any(address in network for network in _STAND_INS if network.version == address.version):
        return True
    return address.is_global and (address.version == 4 or address in _GIVEN_OUT or _is_written_in_full(value))


def _is_like_version(value: str) -> bool:
    """Whether four numbers are so small together as those of versions, sections and object identifiers are."""
    first, *rest = map(int, value.split("."))
    return first <= _VERSION_FIRST_MAX and sum(rest) <= _VERSION_REST_MAX and value not in _RESOLVERS


def _is_written_in_full(value: str) -> bool:
    """Whether a value has eight groups of which most are long; the groups of a hardware address have two digits."""
    groups = value.split(":")
    return len(groups) == _IPV6_GROUPS and sum(len(group) >= _LONG_GROUP for group in groups) > _IPV6_GROUPS // 2


def ip_lan(value: str) -> bool:
    """An address inside a private network or on a link; loopback and unspecified addresses are neither."""
    address = _address(value)
    return address is not None and any(address in network for network in _LAN if network.version == address.version)


def host_internal(value: str) -> bool:
    """Whether a URL's host is an address that only the server itself or its network reaches, however it is written.

    Read as `inet_aton` reads it: one to four numbers, each decimal, octal or hexadecimal; IPv6 with an IPv4 address
    mapped, translated (NAT64) or tunnelled (6to4) into it counts as that address.
    """
    address = _host_address(value)
    return address is not None and not address.is_global


def host_disguised(value: str) -> bool:
    """Whether a host is internal and not written in the usual way (four decimal numbers, or plain IPv6)."""
    address = _host_address(value)
    if address is None or address.is_global:
        return False
    return _PLAIN_IPV4.fullmatch(value) is None and not _is_plain_ipv6(value)


def email(value: str) -> bool:
    """Whether an address could receive mail: no file name with a density (`logo@2x.png`), no remote of a repository."""
    local, _, domain = value.rpartition("@")
    labels = domain.lower().split(".")
    if local.lower() == "git" or labels[-1] in _FILE_ENDINGS:
        return False
    return ".." not in local and not local.endswith(".") and not all(label.isdigit() for label in labels[:-1])


def _address(value: str) -> Address | None:
    try:
        address = ipaddress.ip_address(value.strip("[]").partition("%")[0])
    except ValueError:
        return None
    return _unwrapped(address)


def _unwrapped(address: Address) -> Address:
    """The IPv4 address that an IPv6 address only wraps."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return address.ipv4_mapped
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if address.sixtofour:
            return address.sixtofour
    return address


def _host_address(value: str) -> Address | None:
    """The address that a resolver would make of a host without asking anybody."""
    host = value.strip().rstrip(".")
    if ":" in host:
        return _address(host)
    parts = host.split(".")
    if len(parts) > _MAX_NUMBER_PARTS or not all(_NUMBER.fullmatch(part) for part in parts):
        return None
    try:
        numbers = [_number(part) for part in parts]
    except ValueError:
        return None
    *leading, last = numbers
    if any(number > 255 for number in leading) or last >= 1 << 8 * (5 - len(numbers)):
        return None
    total = last
    for place, number in enumerate(leading):
        total += number << 8 * (3 - place)
    return ipaddress.IPv4Address(total)


def _number(part: str) -> int:
    """A part of a host as `inet_aton` reads it; raises ValueError for `08`."""
    if part[:2].lower() == "0x":
        return int(part, 16)
    return int(part, 8) if part.startswith("0") and len(part) > 1 else int(part)


def _is_plain_ipv6(value: str) -> bool:
    try:
        address = ipaddress.ip_address(value.strip("[]"))
    except ValueError:
        return False
    return address.version == 6 and _unwrapped(address) is address
