"""Checks of the way to the server: transport, protocol versions, sessions, web pages, who is let in."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from typing import Any, Final
from urllib.parse import urlsplit

from rules.pinning.capabilities import DESTRUCTIVE, EGRESS, capabilities_of
from rules.scanning.collector import Collector, listed
from rules.scanning.facts import ServerFacts

CURRENT_VERSIONS: Final = frozenset({"2025-06-18", "2025-11-25", "2026-07-28"})
"""Revisions that are not outdated."""
SWITCHED: Final = 101
"""How a WebSocket is accepted."""
MIN_SESSION_BITS: Final = 64.0
MIN_SESSION_CHARS: Final = 16
MIN_SHARED_CHARS: Final = 0.75
_SECRET_SEGMENT: Final = re.compile(
    r"^(?=.*\d)(?=.*[A-Za-z])[A-Za-z0-9_\-]{20,}$|^(?:sk|ghp|gho|xoxb|pat|key|tok)[_-][\w-]{12,}$"
)
_WIDE_SCOPE: Final = re.compile(r"^(?:\*|.*:\*|all|admin|root|full[_-]?access|.*[.:/]admin|superuser)$", re.IGNORECASE)


def check_reach(facts: ServerFacts, found: Collector) -> None:
    """Encryption, certificate, address, protocol versions."""
    if facts.tls_problem:
        found.add("MCP-TLS-002", "A connection was refused before anything was sent.", evidence=facts.tls_problem)
    if facts.transport == "stdio":
        return
    if not facts.is_tls and not facts.is_loopback:
        found.add(
            "MCP-TLS-001",
            "Whoever is on the way reads and changes tools, arguments and results.",
            evidence=facts.target,
        )
    for segment in urlsplit(facts.target).path.split("/"):
        if _SECRET_SEGMENT.match(segment) and _bits(segment) > MIN_SESSION_BITS:
            found.add(
                "MCP-URL-001",
                "A part of the path is long and random.",
                evidence=f"{segment[:4]}… ({len(segment)} characters)",
            )
            break


def check_versions(facts: ServerFacts, found: Collector) -> None:
    """Whether a current revision of the protocol is spoken."""
    if facts.versions and not CURRENT_VERSIONS & set(facts.versions):
        found.add(
            "MCP-VER-001",
            "The newest revision that the server agrees to has been replaced.",
            evidence=", ".join(facts.versions),
        )


def check_boundary(facts: ServerFacts, found: Collector) -> None:
    """What a web page in the browser of somebody near the server could do."""
    boundary = facts.boundary
    score = None if facts.is_loopback else 4.0
    if _is_ok(boundary.foreign_origin_status):
        found.add(
            "MCP-ORIGIN-001",
            "A request with the Origin of another site was answered like any other.",
            evidence=f"Origin: {boundary.sent_origin} → HTTP {boundary.foreign_origin_status}",
            score=score,
        )
    if boundary.allow_origin and boundary.allow_origin in ("*", boundary.sent_origin):
        found.add(
            "MCP-CORS-001",
            "A browser lets any page read what the server answers.",
            evidence=f"Access-Control-Allow-Origin: {boundary.allow_origin}",
            score=None if facts.is_loopback else 5.0,
        )
    if _is_ok(boundary.foreign_host_status):
        found.add(
            "MCP-HOST-001",
            "A request for a name that is not the server's was answered like any other.",
            evidence=f"Host of another site → HTTP {boundary.foreign_host_status}",
            score=None if facts.is_loopback else 3.0,
        )


def check_sessions(facts: ServerFacts, found: Collector) -> None:
    """Whether sessions can be guessed or invented."""
    ids = facts.sessions.ids
    if facts.sessions.accepts_unknown:
        found.add("MCP-SESSION-003", "A request with an invented Mcp-Session-Id was answered with a result.")
    if not ids:
        return
    shortened = ", ".join(f"{id[:6]}… ({len(id)} characters)" for id in ids[:3])
    if len(set(ids)) < len(ids):
        found.add("MCP-SESSION-001", "Two sessions got the same id.", evidence=shortened)
    elif _is_sequence(ids):
        found.add("MCP-SESSION-001", "The ids of sessions that follow each other count up.", evidence=shortened)
    elif _shared_share(ids) > MIN_SHARED_CHARS:
        found.add(
            "MCP-SESSION-001", "The ids of sessions that follow each other are nearly the same.", evidence=shortened
        )
    elif min(map(len, ids)) < MIN_SESSION_CHARS or min(map(_bits, ids)) < MIN_SESSION_BITS:
        found.add("MCP-SESSION-002", "The ids hold too little chance to be safe from guessing.", evidence=shortened)


def check_access(facts: ServerFacts, found: Collector) -> None:
    """Who gets an answer without a credential, and how others are told to log in."""
    access = facts.access
    anonymous = [method for method in access.anonymous_methods if method not in ("initialize", "server/discover")]
    if anonymous:
        found.add(
            "MCP-AUTH-001",
            "These methods answered without a credential."
            if not facts.is_loopback
            else "These methods answered without a credential; only this machine reaches the server.",
            evidence=", ".join(anonymous),
            score=3.0 if facts.is_loopback else None,
        )
    if access.anonymous_call:
        found.add(
            "MCP-AUTH-002",
            f"A call without a credential got as far as the tools. {_dangerous(facts.description.tools)}".strip(),
            score=3.5 if facts.is_loopback else None,
        )
    if access.wrong_credential_accepted:
        found.add("MCP-AUTH-003", "Without a credential the server refused; with an invented one it answered.")
    if access.refused_status:
        _check_authorization(facts, found)


def _check_authorization(facts: ServerFacts, found: Collector) -> None:
    authorization = facts.access.authorization
    if facts.access.refused_status != 401 or authorization.metadata is None:
        said = authorization.problem or authorization.challenge or "no WWW-Authenticate"
        found.add(
            "MCP-AUTH-004",
            "A client cannot find out by itself which authorization server to ask.",
            evidence=f"HTTP {facts.access.refused_status}; {said}",
            score=2.0 if facts.is_loopback else None,
        )
    metadata = authorization.metadata or {}
    resource = metadata.get("resource")
    if type(resource) is str and not _covers(resource, facts.target):
        found.add(
            "MCP-AUTH-006",
            "Tokens for the resource in the metadata are not for this server.",
            evidence=f"{resource} is not {facts.target}",
        )
    servers = [url for url in _strings(metadata.get("authorization_servers")) if url.startswith("http:")]
    if servers and not facts.is_loopback:
        found.add(
            "MCP-AUTH-007", "Passwords and codes would cross the network in clear.", evidence=", ".join(servers[:3])
        )
    if wide := [scope for scope in _strings(metadata.get("scopes_supported")) if _WIDE_SCOPE.match(scope)]:
        found.add("MCP-AUTH-008", "Whoever gets a token of this scope may do everything.", evidence=", ".join(wide[:6]))
    document = authorization.server_metadata
    if document is not None and "S256" not in _strings(document.get("code_challenge_methods_supported")):
        found.add(
            "MCP-AUTH-005",
            "A stolen authorization code could be used by its thief.",
            evidence=str(document.get("code_challenge_methods_supported", "not said")),
        )


def _dangerous(tools: list[Any]) -> str:
    names = [
        tool["name"]
        for tool in tools
        if type(tool) is dict and type(tool.get("name")) is str and set(capabilities_of(tool)) & (DESTRUCTIVE | EGRESS)
    ]
    return f"Among them: {listed(names)}." if names else ""


def _covers(resource: str, target: str) -> bool:
    """Whether a resource identifier is the target or a path above it (RFC 9728 §3.3 wants the exact one)."""
    one, other = urlsplit(resource.rstrip("/")), urlsplit(target.rstrip("/"))
    return (one.scheme, one.netloc.lower()) == (other.scheme, other.netloc.lower()) and (
        other.path == one.path or other.path.startswith(one.path + "/") or not one.path
    )


def _is_ok(status: int) -> bool:
    return 200 <= status < 300 or status == SWITCHED


def _bits(text: str) -> float:
    """How much chance a text can hold at most: its length times the Shannon entropy of its characters."""
    counts = Counter(text)
    return -sum(count * math.log2(count / len(text)) for count in counts.values())


def _is_sequence(ids: tuple[str, ...]) -> bool:
    """Whether the ids are numbers that grow by small steps."""
    for base in (10, 16):
        try:
            numbers = [int(re.sub(r"[^0-9A-Za-z]", "", id), base) for id in ids]
        except ValueError:
            continue
        steps = [after - before for before, after in itertools.pairwise(numbers)]
        if steps and all(0 < step <= 1_000_000 for step in steps):
            return True
    return False


def _shared_share(ids: tuple[str, ...]) -> float:
    """The largest share of places in which two ids that follow each other agree."""
    shares = [
        sum(a == b for a, b in zip(before, after, strict=False) if a != "-") / max(len(before.replace("-", "")), 1)
        for before, after in itertools.pairwise(ids)
    ]
    return max(shares, default=0.0)


def _strings(value: Any) -> list[str]:
    return [one for one in value if type(one) is str] if type(value) is list else []
