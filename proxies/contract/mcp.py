"""What console and workers say to each other about MCP servers: how one is reached, what of it may pass, what was seen.

The console judges, the workers compare. A worker hashes every declaration that it sees (`rules.pinning.canonical.h_raw`)
and lets pass what `MCPControl` accepts under that name and hash, nothing else. What it has not seen accepted it
reports as an `Observation`; the console compares it with what was approved, commits its judgement, publishes a snapshot
with the new control and answers `Judged`. A list that waits for that answer is released after `JUDGEMENT_SECONDS` at the
latest, without what is still unknown (T-01, T-03, T-06).
"""

from __future__ import annotations

from typing import Literal

import msgspec

MCPTransport = Literal["http", "sse", "websocket", "stdio"]
"""How the server is reached: Streamable HTTP, HTTP+SSE of 2024-11-05, WebSocket, or a process that the worker starts."""
EraPolicy = Literal["same", "bridge"]
"""Whether client and server must speak the same era, or the gateway translates between them (E-05)."""
DeniedCalls = Literal["error", "result"]
"""Whether a denied call is answered with an error, or with the result of a tool that failed."""
ProcessPolicy = Literal["session", "key", "shared"]
"""Who shares a process that the worker starts: nobody, the sessions of one key, or everybody (P-04)."""
EntryKind = Literal["tool", "prompt", "resource", "template"]
Trigger = Literal["connect", "list", "list_changed", "timer", "request"]

JUDGEMENT_SECONDS = 2.0
MAX_OBSERVED_ENTRIES = 2_000
"""Entries of all kinds in one observation; what a server declares beyond them is not offered to clients."""
MAX_HELD_CALLS = 256
"""Calls of one worker that may wait for a person at the same time; further ones are refused."""


class StdioServer(msgspec.Struct, frozen=True):
    """A server that the gateway starts itself (P-05). Everything is resolved; the environment may hold secrets."""

    argv: tuple[str, ...]
    environment: dict[str, str] = {}
    """What the process sees besides a short list of plain variables (`PATH`, `HOME`, locale)."""
    working_directory: str = ""
    """Absolute; empty for an empty directory of its own."""
    max_processes: int = 64
    max_processes_per_principal: int = 32
    """Every legacy session has a process, and the modern requests of a principal share one."""
    max_memory_mb: int = 0
    """Data that one process may allocate; 0 for no limit."""
    process: ProcessPolicy = "session"
    max_cpu_seconds: int = 0
    """Processor time that one process may use in its life; 0 for no limit."""
    run_as: str = ""
    """The user whose rights it has; empty for those of the gateway."""

    def __repr__(self) -> str:
        return f"<StdioServer {self.argv[:1]}>"


class EntryRule(msgspec.Struct, frozen=True):
    """Whether one declared entry may pass. The hash must be one of `accepted`, and it must be enabled."""

    accepted: tuple[str, ...] = ()
    """`h_raw` of what was approved, and of changes that the judgement tolerates."""
    enabled: bool = True
    reason: str = ""
    """Why it may not pass, for the record of a refused call: `pending`, `changed`, `disabled`, `missing`, `scan`."""


class MCPControl(msgspec.Struct, frozen=True):
    """What may pass of what one server declares. An entry that is not named may not pass; names compare byte for byte."""

    tools: dict[str, EntryRule] = {}
    prompts: dict[str, EntryRule] = {}
    templates: dict[str, EntryRule] = {}
    """By `uriTemplate`."""
    instructions: tuple[str, ...] = ()
    """SHA-256 (hex, of the UTF-8 text) of the instructions that may pass; others are taken out of the result."""
    tool_overrides: dict[str, dict[str, bool]] = {}
    """By id of an API key: tools that are enabled or disabled for this key alone. They never loosen `accepted`."""


class MCPSettings(msgspec.Struct, frozen=True):
    """The part of a proxy's configuration that concerns MCP."""

    transport: MCPTransport = "http"
    stdio: StdioServer | None = None
    era: EraPolicy = "same"
    refuse_downgrade: bool = False
    """Whether a server that falls back from the modern to a legacy version gets no more calls (E-04)."""
    egress_hosts: tuple[str, ...] = ()
    """Hosts to which tools and users may be sent, lower-case; `*.` before one stands for everything below. Empty for all."""
    denied_calls: DeniedCalls = "error"
    """How a call that a policy denies is answered (D-01)."""
    control: MCPControl | None = None
    """None where tools are not controlled: everything that the rules let through passes."""


class ServerReport(msgspec.Struct, tag="server_report", frozen=True):
    """Worker to console: how the server that the worker starts for a proxy stands. Sent when something has changed."""

    proxy_id: str
    processes: int
    problem: str = ""
    log: tuple[str, ...] = ()
    """The last lines of its standard error, redacted, oldest first."""


class ToolUse(msgspec.Struct, frozen=True):
    """How one `tools/call` used its tool, for the statistics of its behaviour (SYP-RUG-1)."""

    name: str
    argument_keys: tuple[str, ...] = ()
    """Names of the top-level arguments, sorted; at most 64."""
    is_error: bool = False
    """Whether the result says `isError`, or there was an error instead of a result."""
    result_bytes: int = 0


class ObservedEntry(msgspec.Struct, frozen=True):
    """One declaration as it came over the wire."""

    kind: EntryKind
    name: str
    """Tool or prompt name, resource URI or `uriTemplate`."""
    h_raw: str
    document: bytes
    """The whole object as canonical JSON (`rules.pinning.canonical`)."""


class Observation(msgspec.Struct, frozen=True):
    """What one server declares now, as one worker saw it."""

    id: str
    proxy_id: str
    at: float
    """Unix seconds."""
    trigger: Trigger
    kinds: tuple[EntryKind, ...] = ()
    """The kinds that were listed to their end: what is missing in `entries` is gone. Other kinds were not asked for."""
    entries: tuple[ObservedEntry, ...] = ()
    server: bytes = b""
    """JSON object with `serverInfo`, `protocolVersion`, `capabilities`, `instructions`; empty where it was not asked for."""
    origin: str = ""
    """URL of the target without credentials, or the launch command as JSON array."""
    tls_key_sha256: str = ""
    """SHA-256 of the server's SubjectPublicKeyInfo; empty without TLS."""
    authenticated: bool = False
    """Whether a credential was sent."""
    problems: tuple[str, ...] = ()
    """What was wrong with the lists in plain sentences: duplicate names, endless pages, too many entries."""
    failure: str = ""
    """Why nothing could be observed; then only `id`, `proxy_id`, `at` and `trigger` mean something."""


class Observed(msgspec.Struct, tag="observed", frozen=True):
    """Worker to console: compare this with what was approved. Answered by `Judged` with the observation's id."""

    observation: Observation


class Judged(msgspec.Struct, tag="judged", frozen=True):
    """Console to worker: the judgement is committed, and the last snapshot before this message contains it."""

    id: str


class Discover(msgspec.Struct, tag="discover", frozen=True):
    """Console to worker: ask the server of this proxy for everything now. Answered by `Observed` with the same id."""

    id: str
    proxy_id: str
    trigger: Trigger = "request"


class HeldCall(msgspec.Struct, tag="held_call", frozen=True):
    """Worker to console: a call waits for a person. Answered by `Release`, once, or ended by `HoldEnded`."""

    id: str
    """Id of the call."""
    proxy_id: str
    snapshot_version: int
    principal_id: str
    principal_name: str
    tool: str
    h_raw: str
    """Definition of the tool that the call is bound to."""
    arguments: bytes
    """Exactly what would be sent, as canonical JSON. May hold secrets: it is sealed where it is stored."""
    digest: str
    """SHA-256 over proxy, principal, tool, `h_raw`, arguments, policy and expiry: what an approval is bound to."""
    policy: str
    policy_version: int
    """0 for a shipped policy."""
    reason: str
    held_at: float
    expires_at: float


class Release(msgspec.Struct, tag="release", frozen=True):
    """Console to worker: let a held call go on, or refuse it. A release with another digest releases nothing."""

    id: str
    digest: str
    allowed: bool
    by: str


class HoldEnded(msgspec.Struct, tag="hold_ended", frozen=True):
    """Worker to console: a held call does not wait any more."""

    id: str
    outcome: Literal["released", "refused", "expired", "client_closed", "drained"]
