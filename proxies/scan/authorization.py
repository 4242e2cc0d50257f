"""How a server that refuses anonymous requests tells clients where to log in (RFC 9728, RFC 8414)."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import urlsplit

from proxies.scan.link import Reply
from rules.scanning.facts import AuthorizationFacts

_METADATA: Final = re.compile(r'resource_metadata="([^"\s]{1,2000})"')
Fetch = Callable[[str], Awaitable[Reply]]
"""GET of an absolute URL; refuses addresses that the scan must not reach."""


async def gather(target: str, refusal: Reply, fetch: Fetch) -> AuthorizationFacts:
    """Follow the challenge to the document of the resource, and to that of its first authorization server."""
    challenge = refusal.headers.get("www-authenticate", "")
    named = _METADATA.search(challenge)
    urls = [named[1]] if named else well_known(target, "oauth-protected-resource")
    metadata, problem = await _first(urls, fetch)
    server_metadata = None
    servers = (metadata or {}).get("authorization_servers")
    if type(servers) is list and servers and type(servers[0]) is str:
        locations = [
            *well_known(servers[0], "oauth-authorization-server"),
            *well_known(servers[0], "openid-configuration"),
        ]
        server_metadata, trouble = await _first(locations, fetch)
        problem = problem or trouble
    return AuthorizationFacts(
        challenge=challenge[:1_000],
        metadata_url=named[1] if named else "",
        metadata=metadata,
        server_metadata=server_metadata,
        problem=problem,
    )


def well_known(url: str, name: str) -> list[str]:
    """Where a document about this address may be: with its path behind the name, and without."""
    parts = urlsplit(url)
    base = f"{parts.scheme}://{parts.netloc}/.well-known/{name}"
    path = parts.path.rstrip("/")
    return [base + path, base] if path else [base]


async def _first(urls: list[str], fetch: Fetch) -> tuple[dict[str, Any] | None, str]:
    problem = ""
    for url in urls:
        reply = await fetch(url)
        if reply.status == 200 and reply.messages:
            return reply.messages[0], ""
        problem = problem or f"{urlsplit(url).path}: {f'HTTP {reply.status}' if reply.status else reply.text}"
    return None, problem
