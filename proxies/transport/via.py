"""The trail of proxies in the Via field (RFC 9110 §7.6.3), by which a call that comes back is recognised (SSRF-07). Pure.

Each proxy signs what it forwards with a pseudonym of its own and passes on the pseudonyms of the proxies before it. Members
of any other form are claims of the client and go no further.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

MAX_HOPS = 16
"""Proxies that a call may have passed; a longer chain is taken for a loop."""

_MEMBER = re.compile(r"1\.1 (ostiary-[0-9a-f]{16})")


def pseudonym(proxy_id: str) -> str:
    """How a proxy signs: the same in every worker and after a restart, and without meaning to others."""
    return f"ostiary-{hashlib.sha256(proxy_id.encode()).hexdigest()[:16]}"


def via_value(pseudonyms: Iterable[str]) -> str:
    """The field's value for these proxies, the first one first."""
    return ", ".join(f"1.1 {name}" for name in pseudonyms)


def passed_proxies(values: list[str]) -> list[str]:
    """The pseudonyms of the proxies that a request passed, from all its Via fields."""
    members = ",".join(values).split(",")
    return [match[1] for member in members if (match := _MEMBER.fullmatch(member.strip(" \t")))]
