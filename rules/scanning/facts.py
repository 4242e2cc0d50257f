"""What a scan knows about one MCP server: facts that a prober gathered, without any judgement.

Everything in them came from the server and is hostile. Sizes are bounded by whoever gathers them.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from rules.pinning.baseline import Origin, ServerDescription

Transport = Literal["http", "sse", "websocket", "stdio"]
Topic = Literal[
    "reach",
    "versions",
    "authentication",
    "authorization_metadata",
    "sessions",
    "origin",
    "host",
    "lists",
    "repeat",
    "other_client",
    "errors",
    "traffic",
    "active",
]
"""What can be asked of a server. A check can only say something when its topic was gathered."""
NETWORK_TOPICS: tuple[Topic, ...] = ("authentication", "authorization_metadata", "sessions", "origin", "host")
"""Topics that mean something for servers in the network alone."""
Probe = Literal["plain", "canary", "traversal", "ssrf", "types", "nesting", "traffic"]


class AuthorizationFacts(msgspec.Struct, frozen=True):
    """What a server says about how clients log in."""

    challenge: str = ""
    """`WWW-Authenticate` of the refusal of an anonymous request."""
    metadata_url: str = ""
    """Where the challenge says that the protected resource describes itself."""
    metadata: dict[str, Any] | None = None
    """The document of the protected resource (RFC 9728)."""
    server_metadata: dict[str, Any] | None = None
    """The document of its first authorization server (RFC 8414)."""
    problem: str = ""
    """Why a document could not be had."""


class AccessFacts(msgspec.Struct, frozen=True):
    """Who is let in."""

    credential_given: bool = False
    """Whether the scan had a credential."""
    anonymous_methods: tuple[str, ...] = ()
    """Methods that answered with a result although no credential was sent."""
    anonymous_call: bool = False
    """Whether an anonymous call of a tool that does not exist got as far as the tools."""
    refused_status: int = 0
    """HTTP status of the refusal of the anonymous request; 0 where it was not refused."""
    wrong_credential_accepted: bool = False
    """Whether an invented credential was as good as a right one, while none was not."""
    authorization: AuthorizationFacts = AuthorizationFacts()


class SessionFacts(msgspec.Struct, frozen=True):
    """How sessions are named and guarded (legacy eras)."""

    ids: tuple[str, ...] = ()
    """Ids of sessions that were opened one after the other."""
    accepts_unknown: bool = False
    """Whether an invented session id was as good as an issued one."""


class BoundaryFacts(msgspec.Struct, frozen=True):
    """What the server does with requests that a web page could cause."""

    foreign_origin_status: int = 0
    foreign_host_status: int = 0
    allow_origin: str = ""
    """`Access-Control-Allow-Origin` in the answer to a request with a foreign Origin."""
    sent_origin: str = ""


class ErrorAnswer(msgspec.Struct, frozen=True):
    """What came back for a request that cannot succeed."""

    probe: str
    """What was asked: `malformed`, `unknown_method`, `unknown_tool`."""
    status: int
    text: str
    """The first characters of the body, or why there is none."""
    lost: bool = False
    """Whether the connection or the process ended instead of an answer."""


class ToolAnswer(msgspec.Struct, frozen=True):
    """What a tool answered, to an active probe or in recorded traffic."""

    tool: str
    probe: Probe
    text: str
    arguments: str = ""
    """JSON text of what was sent; empty for recorded traffic."""
    is_error: bool = False
    lost: bool = False
    marker_seen: bool = False
    """Whether the answer, or the listener, shows that the probe reached what it must not reach."""
    detail: str = ""
    """For recorded traffic: which rule found what."""


class ListDifference(msgspec.Struct, frozen=True):
    """One declaration that two listings do not have in common."""

    kind: str
    name: str
    what: Literal["added", "removed", "changed"]
    pointer: str = ""


class ServerFacts(msgspec.Struct, frozen=True):
    """All facts of one scan."""

    target: str
    """URL without credentials, or the launch command."""
    transport: Transport = "http"
    is_tls: bool = False
    tls_problem: str = ""
    """Why the certificate was not accepted; the scan ends there."""
    is_loopback: bool = False
    """Whether only this machine can reach the server."""
    unreachable: str = ""
    versions: tuple[str, ...] = ()
    """Protocol versions that the server agreed to, newest first."""
    description: ServerDescription = msgspec.field(default_factory=lambda: ServerDescription(Origin()))
    methods: tuple[str, ...] = ()
    """Methods that answered with a result."""
    access: AccessFacts = AccessFacts()
    sessions: SessionFacts = SessionFacts()
    boundary: BoundaryFacts = BoundaryFacts()
    repeated: tuple[ListDifference, ...] = ()
    """Between two listings for the same client."""
    other_client: tuple[ListDifference, ...] = ()
    """Between the listing and the one for a client of another name."""
    other_client_name: str = ""
    list_problems: tuple[str, ...] = ()
    """Endless pages, lists that are too long or too large, in plain sentences."""
    list_bytes: int = 0
    errors: tuple[ErrorAnswer, ...] = ()
    server_headers: dict[str, str] = {}
    """Fields that tell what software answers."""
    rate_limit_seen: bool = False
    tool_answers: tuple[ToolAnswer, ...] = ()
    probed_tools: tuple[str, ...] = ()
    skipped_tools: tuple[str, ...] = ()
    """Tools that no active probe called because of what they can do."""
    gathered: tuple[Topic, ...] = ()
    requests: int = 0
