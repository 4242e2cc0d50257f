"""Local does not mean safe: exact Host names, and no requests from other sites. Pure functions over header values.

DNS rebinding is stopped by the Host list, cross-site requests by Origin and Fetch metadata (ADM-02, ADM-03, ADM-05).
A browser sends at least one of Origin, Sec-Fetch-Site and Referer with every request that another site could cause; a
script sends none and has no cookie that would be misused.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit

import msgspec

from app.settings import Settings

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
WILDCARD_ADDRESSES = frozenset({"0.0.0.0", "::"})
DEFAULT_PORTS = {"http": 80, "https": 443}


class Perimeter(msgspec.Struct, frozen=True):
    """The exact values that are accepted."""

    hosts: frozenset[str]
    origins: frozenset[str]


def perimeter(settings: Settings) -> Perimeter:
    """The Host and Origin values of this console.

    Its loopback names, its listen address, and what the operator added.
    """
    names = {"127.0.0.1", "localhost", "[::1]"}
    if settings.host not in WILDCARD_ADDRESSES:
        names.add(f"[{settings.host}]" if ":" in settings.host else settings.host)
    hosts = {f"{name}:{settings.port}" for name in names}
    if settings.port == DEFAULT_PORTS["http"]:
        hosts |= names
    origins = {f"http://{host}" for host in hosts} | set(settings.allowed_origins)
    for host in settings.allowed_hosts:
        hosts.add(host)
        origins |= {f"http://{host}", f"https://{host}"}
    if settings.public_base_url:
        hosts.add(urlsplit(settings.public_base_url).netloc)
        origins.add(settings.public_base_url)
    return Perimeter(hosts=frozenset(hosts), origins=frozenset(origins))


def host_is_allowed(host: str | None, allowed: Perimeter) -> bool:
    """Whether the Host header is exactly one of the allowed values.

    X-Forwarded-Host and the like are never looked at.
    """
    return host is not None and host in allowed.hosts


def refusal_reason(method: str, headers: Mapping[str, str], allowed: Perimeter) -> str:
    """Why a request must be refused as coming from another site; empty when it need not be.

    `headers` has lower-case names. A link that a person follows from elsewhere (a top-level GET navigation) is let
    through: reading a page changes nothing, and the other site cannot see the answer.
    """
    origin = headers.get("origin")
    if origin is not None and origin not in allowed.origins:
        return "The Origin header names another site."
    site = headers.get("sec-fetch-site")
    mode = headers.get("sec-fetch-mode")
    is_safe = method in SAFE_METHODS
    if site in ("cross-site", "same-site") and origin is None:
        is_followed_link = is_safe and mode == "navigate" and headers.get("sec-fetch-dest") == "document"
        if not is_followed_link:
            return "The browser says that another site made this request."
    if site not in (None, "none", "same-origin", "same-site", "cross-site"):
        return "The Sec-Fetch-Site header is not valid."
    if not is_safe and mode == "no-cors":
        return "A change must not be made by a no-cors request."
    if not is_safe and origin is None and site is None and (referer := headers.get("referer")) is not None:
        parts = address_parts(referer)
        if f"{parts.scheme}://{parts.netloc}" not in allowed.origins:
            return "The Referer header names another site."
    return ""


def is_proven_same_origin(headers: Mapping[str, str], allowed: Perimeter) -> bool:
    """Whether the browser itself vouches that one of our own pages made the request (a login form has no CSRF token yet)."""
    return headers.get("origin") in allowed.origins or headers.get("sec-fetch-site") == "same-origin"


def address_parts(address: str) -> SplitResult:
    """The parts of the address in a header, which anybody can send; of one that is none they are empty."""
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("")


def local_path(target: str | None, default: str = "/") -> str:
    """A redirect target that cannot leave this site: a plain local path with query, else the default (ADM-25)."""
    if not target or not target.startswith("/") or target.startswith(("//", "/\\")):
        return default
    if "\\" in target or any(ord(character) < 0x21 or ord(character) == 0x7F for character in target):
        return default
    return target
