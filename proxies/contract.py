"""What the console and a worker say to each other (msgspec structs, MessagePack on the wire).

Two channels join the processes, both socket pairs that the console makes and the worker inherits:

* the **message channel**: length-prefixed MessagePack frames (4 bytes big-endian, then the payload) of `ToWorker`
  in one direction and `ToConsole` in the other;
* the **socket channel** (`SOCK_SEQPACKET`): one datagram per listening socket, a MessagePack `ListenerSocket` with the
  file descriptor as ancillary data (`SCM_RIGHTS`). The console may pass a socket before or after the snapshot
  that names its proxy; the worker starts to accept when it has both.

Every change of a field that an older peer cannot read raises `CONTRACT_VERSION`; peers of different versions refuse
each other at `Hello`.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from rules.canaries import Canary
from rules.model import NO_DECISION, Action, Decision, Finding, Target
from rules.policy import ContextFirewall, Policy

CONTRACT_VERSION = 1
FRAME_HEADER_BYTES = 4
MAX_FRAME_BYTES = 64 * 1024 * 1024

ProxyType = Literal["llm", "mcp"]
Enforcement = Literal["enforce", "log_only"]
Capture = Literal["all", "flagged", "none"]
"""Which calls keep the texts that were inspected: every one, those with findings, none."""
Outcome = Literal["allowed", "blocked", "refused", "upstream_error", "client_closed", "failed"]


# --- Configuration: console to worker -------------------------------------------------------------------------------


class UpstreamAuth(msgspec.Struct, frozen=True):
    """The credential that replaces the client's. `value` is the resolved secret; it exists in memory only."""

    type: Literal["none", "bearer", "header"] = "none"
    name: str = ""
    """Header name for type `header`."""
    value: str = ""

    def __repr__(self) -> str:
        return f"<UpstreamAuth {self.type} {self.name}>"


class ListenerTLS(msgspec.Struct, frozen=True):
    """Certificate and key of a proxy's own port (PEM files)."""

    cert_path: str
    key_path: str


class UpstreamProxy(msgspec.Struct, frozen=True):
    """The HTTP proxy through which an upstream is reached."""

    host: str
    port: int
    authorization: str = ""
    """Value of Proxy-Authorization, a secret that exists in memory only; empty for a proxy that wants none."""

    @property
    def address(self) -> str:
        """`host:port`, what may be shown of it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __repr__(self) -> str:
        return f"<UpstreamProxy {self.address}>"


class Masking(msgspec.Struct, frozen=True):
    """How a proxy masks."""

    key: bytes = b""
    """The installation's masking key: all workers make the same placeholder for the same value. It never leaves memory."""

    def __repr__(self) -> str:
        return "<Masking>"


class Limits(msgspec.Struct, frozen=True):
    """Bounds of one proxy, all of them with a default that suits an LLM or MCP upstream."""

    max_body_bytes: int = 10 * 1024 * 1024
    max_response_bytes: int = 64 * 1024 * 1024
    """Bound of a response that must be read whole before it is released; streams are bounded per event."""
    header_timeout_seconds: float = 15.0
    body_timeout_seconds: float = 60.0
    keepalive_timeout_seconds: float = 75.0
    connect_timeout_seconds: float = 10.0
    first_byte_timeout_seconds: float = 120.0
    idle_timeout_seconds: float = 120.0
    total_timeout_seconds: float = 900.0
    max_connections: int = 8192
    max_upstream_connections: int = 8192


class ProxyConfig(msgspec.Struct, frozen=True):
    """One proxy as the worker sees it: everything resolved, nothing left to look up."""

    id: str
    name: str
    type: ProxyType
    transport: Literal["http"]
    target_url: str
    host: str
    port: int
    ruleset: str
    """Digest of the ruleset that applies (key into `Snapshot.rulesets`)."""
    enforcement: Enforcement = "enforce"
    require_auth: bool = True
    upstream_auth: UpstreamAuth = UpstreamAuth()
    allowed_hosts: tuple[str, ...] = ()
    """Exact `host:port` values accepted in Host besides the listen address and its loopback names."""
    allowed_origins: tuple[str, ...] = ()
    """Exact origins accepted from browsers besides the proxy's own."""
    tls: ListenerTLS | None = None
    upstream_ca_path: str = ""
    """PEM bundle that replaces the system's for this upstream; verification itself cannot be switched off."""
    upstream_client_cert_path: str = ""
    """PEM certificate (with its chain) that proves the gateway to this upstream; empty for none."""
    upstream_client_key_path: str = ""
    upstream_proxy: UpstreamProxy | None = None
    """None for the direct way."""
    limits: Limits = Limits()
    masking: Masking = Masking()
    policy_names: tuple[str, ...] = ()
    context: ContextFirewall | None = None
    """Of the settings; policies that have one of their own apply it instead."""
    policy_level: Literal["proxy", "global"] = "proxy"
    """Whether the proxy names its policies itself or those for all proxies apply."""
    capture: Capture = "all"


class APIKey(msgspec.Struct, frozen=True):
    """A client credential: only its SHA-256 digest ever leaves the console."""

    id: str
    name: str
    digest: str
    """Lower-case hex SHA-256 of the whole key."""
    expires_at: float | None = None
    """Unix seconds."""
    proxy_ids: tuple[str, ...] | None = None
    """The proxies this key opens; None means all."""
    assignments: dict[ProxyType, Assignment] = {}
    """The policies of the key by type of proxy: they apply instead of those of the proxy."""


class RulesetSource(msgspec.Struct, frozen=True):
    """Where a worker finds a compiled ruleset: it loads files, it never compiles."""

    digest: str
    packs_path: str
    """MessagePack file with the packs as `rules.packs` dumped them."""
    database_path: str
    """Serialised Hyperscan database made by `rules.compiler`."""
    packs_sha256: str
    """SHA-256 of each file as hex: files from elsewhere are refused, `loadb` of foreign bytes is unsafe."""
    database_sha256: str


class AppliedPolicy(msgspec.Struct, frozen=True):
    """One policy of a snapshot."""

    document: Policy
    version: int = 0
    """0 for a shipped policy."""


class Assignment(msgspec.Struct, frozen=True):
    """The policies that one level names, with their compiled rules."""

    policy_names: tuple[str, ...]
    ruleset: str
    """Digest, as in `ProxyConfig.ruleset`; empty where the rules cannot be had."""
    problem: str = ""
    """Why they cannot be had: calls that come under this assignment are refused."""


class Snapshot(msgspec.Struct, frozen=True):
    """The whole configuration of a worker; every request is evaluated by exactly one."""

    version: int
    proxies: tuple[ProxyConfig, ...]
    api_keys: tuple[APIKey, ...]
    rulesets: tuple[RulesetSource, ...]
    drain_timeout_seconds: float = 30.0
    """How long a proxy that left the snapshot may finish what is in flight."""
    policies: tuple[AppliedPolicy, ...] = ()
    """Every policy that a proxy or a key of the snapshot names."""
    canaries: tuple[Canary, ...] = ()
    """Planted texts; each proxy looks for all of them."""


def digests_in_use(snapshot: Snapshot) -> set[str]:
    """The rulesets that the proxies and keys of a snapshot need."""
    of_keys = {assignment.ruleset for key in snapshot.api_keys for assignment in key.assignments.values()}
    return {config.ruleset for config in snapshot.proxies} | of_keys


class ListenerSocket(msgspec.Struct, frozen=True):
    """Accompanies one listening socket on the socket channel."""

    proxy_id: str
    host: str
    port: int
    snapshot_version: int = 0
    """The snapshot that asks for this socket; a socket that neither it nor a later one names is closed."""


# --- Events: worker to console --------------------------------------------------------------------------------------


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one call, normalised (LLM-USE-1). `input_tokens` includes cached reads and writes."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    source: Literal["reported", "estimated"] = "reported"


class TextMark(msgspec.Struct, frozen=True, gc=False):
    """Where a finding lies in a captured text, in characters of that text."""

    start: int
    end: int
    rule_id: str


class CapturedText(msgspec.Struct, frozen=True, gc=False):
    """One text that was inspected, as it may be stored and shown: what is or looks like a secret is masked."""

    direction: Literal["request", "response"]
    target: Target
    path: str
    """RFC 6901 JSON pointer inside the message."""
    text: str
    offset: int = 0
    """How many characters of the inspected text precede this part of it."""
    truncated: bool = False
    """Whether something before or after this part was left out."""
    marks: tuple[TextMark, ...] = ()


class Redaction(msgspec.Struct, frozen=True):
    """How many values of one type one rule masked in one direction of a call (SLG-ROAD-4)."""

    type: str
    """The word in the placeholder, as `EMAIL`."""
    count: int
    direction: Literal["request", "response"]
    policy: str
    """The policy that decided, as the verdict names it."""
    rule_id: str
    restored: int = 0
    """How often values of this kind were put back into the answer."""


class CallRecord(msgspec.Struct, frozen=True):
    """One finished call through a proxy: who, what, verdict, timings. The id makes ingestion idempotent."""

    id: str
    proxy_id: str
    snapshot_version: int
    started_at: float
    """Unix seconds."""
    duration_ms: float
    added_ms: float
    """Time spent in the gateway itself: the duration without the wait for the upstream."""
    method: str
    path: str
    protocol: str
    """`openai.chat`, `openai.responses`, `anthropic.messages`, `gemini.generate`, `mcp.legacy`, `mcp.modern`, or `http` before
    that is known."""
    operation: str
    """Model for LLM calls, JSON-RPC method (and tool) for MCP."""
    client_ip: str
    client_agent: str
    """User-Agent, at most 200 characters."""
    principal_id: str
    principal_name: str
    status: int
    outcome: Outcome
    action: Action
    error_code: str
    reason: str
    request_bytes: int
    response_bytes: int
    streamed: bool
    truncated: bool
    findings: tuple[Finding, ...]
    usage: Usage | None
    timings_ms: dict[str, float]
    """Milliseconds per pipeline step, in the order in which they ran."""
    redactions: tuple[Redaction, ...] = ()
    decision: Decision = NO_DECISION
    """Why the verdict is what it is."""
    texts_omitted: int = 0
    """Texts that were inspected and found no room in `texts`."""
    texts: tuple[CapturedText, ...] = ()
    """What was inspected, masked. It stays the last field: the journal cuts it off under pressure."""


# --- Messages on the channel ----------------------------------------------------------------------------------------


class SetSnapshot(msgspec.Struct, tag="set_snapshot", frozen=True):
    """Swap to this configuration; answered by `SnapshotApplied` or `SnapshotRejected`."""

    snapshot: Snapshot


class AckEvents(msgspec.Struct, tag="ack_events", frozen=True):
    """The batch with this sequence number is committed; the worker may forget it."""

    sequence: int


class Drain(msgspec.Struct, tag="drain", frozen=True):
    """Stop accepting, finish what is in flight within the deadline, send the last events, exit."""

    deadline_seconds: float


ToWorker = SetSnapshot | AckEvents | Drain


class Hello(msgspec.Struct, tag="hello", frozen=True):
    """First message of a worker."""

    contract_version: int
    version: str
    pid: int


class ListenerStatus(msgspec.Struct, frozen=True):
    """How one proxy stands in this worker after a snapshot."""

    proxy_id: str
    state: Literal["running", "draining", "stopped", "failed"]
    reason: str = ""


class SnapshotApplied(msgspec.Struct, tag="snapshot_applied", frozen=True):
    """The snapshot is in force. Sent again, with the same version, when a listener's status changes later."""

    version: int
    listeners: tuple[ListenerStatus, ...]


class SnapshotRejected(msgspec.Struct, tag="snapshot_rejected", frozen=True):
    """The old snapshot stays in force."""

    version: int
    reason: str


class Events(msgspec.Struct, tag="events", frozen=True):
    """A batch of calls; kept by the worker until `AckEvents` with the same sequence number."""

    sequence: int
    calls: tuple[CallRecord, ...]
    calls_dropped: int = 0
    """Calls without findings that were dropped under pressure since the last batch."""
    texts_dropped: int = 0
    """Calls whose captured texts were dropped under pressure since the last batch."""


class Heartbeat(msgspec.Struct, tag="heartbeat", frozen=True):
    """Every few seconds: the worker lives, and how busy it is."""

    at: float
    connections: int
    in_flight: int
    loop_lag_ms: float
    """The worst delay of the event loop since the last heartbeat."""
    rss_bytes: int
    unacknowledged_events: int


ToConsole = Hello | SnapshotApplied | SnapshotRejected | Events | Heartbeat


class Spool(msgspec.Struct, frozen=True):
    """A spool file: what a worker had not seen acknowledged when its channel closed."""

    contract_version: int
    calls: tuple[CallRecord, ...]


encoder = msgspec.msgpack.Encoder()
to_worker_decoder: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker)
to_console_decoder: msgspec.msgpack.Decoder[ToConsole] = msgspec.msgpack.Decoder(ToConsole)
socket_decoder: msgspec.msgpack.Decoder[ListenerSocket] = msgspec.msgpack.Decoder(ListenerSocket)
spool_decoder: msgspec.msgpack.Decoder[Spool] = msgspec.msgpack.Decoder(Spool)
