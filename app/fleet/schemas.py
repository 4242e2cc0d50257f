"""What the API and the pages say about proxies (JSON; times are RFC 3339 in UTC)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

ProxyName = Annotated[str, Meta(max_length=200)]
AuthType = Literal["none", "bearer", "header", "aws"]
EnforcementWord = Literal["enforce", "log_only"]
CaptureWord = Literal["all", "flagged", "none"]
EraWord = Literal["same", "bridge"]
ProcessWord = Literal["session", "key", "shared"]
AutoApproveWord = Literal["none", "clean", "all"]
DeniedWord = Literal["error", "result"]
QuarantineWord = Literal["high", "medium", "low", "info"]
ShortText = Annotated[str, Meta(max_length=2000)]
Arguments = Annotated[list[Annotated[str, Meta(max_length=4000)]], Meta(max_length=100)]
Variables = dict[Annotated[str, Meta(max_length=200)], Annotated[str, Meta(max_length=10_000)] | None]
TextList = Annotated[list[Annotated[str, Meta(max_length=300)]], Meta(max_length=100)]
"""Outer bounds only; `validation.py` says what is acceptable, all fields at once."""


class PolicyRef(msgspec.Struct, frozen=True, kw_only=True):
    """A policy as assigned to a proxy. `severity` is the worst that its rules can report."""

    name: str
    exists: bool
    active: bool
    description: str
    severity: str


class UpstreamAuthView(msgspec.Struct, frozen=True, kw_only=True):
    """How the gateway logs in at the upstream. The credential itself is never returned."""

    type: str
    name: str
    reference: str | None
    """`env:NAME` or `file:PATH`; null when the credential is stored (or there is none)."""
    set: bool
    region: str
    """For type `aws`, as what follows. Empty where the address of the target says it."""
    access_key_id: str
    session_token_reference: str | None
    session_token_set: bool


class LaunchVariable(msgspec.Struct, frozen=True, kw_only=True):
    """A variable of a server that the proxy starts. Its value is never returned."""

    name: str
    reference: str | None
    """`env:NAME` or `file:PATH`; null when the value is stored."""


class ProxyView(msgspec.Struct, frozen=True, kw_only=True):
    """One proxy: what is wanted, and how it stands."""

    id: str
    name: str
    type: str
    transport: str
    description: str
    target_url: str
    host: str
    port: int
    listen_url: str
    enabled: bool
    auto_start: bool
    policy_names: list[str]
    policies: list[PolicyRef]
    policy_count: int
    active_policy_count: int
    tags: list[str]
    enforcement: str
    require_auth: bool
    capture: str
    upstream_auth: UpstreamAuthView
    tls_cert_path: str
    tls_key_path: str
    upstream_ca_path: str
    upstream_client_cert_path: str
    upstream_client_key_path: str
    allowed_hosts: list[str]
    allowed_origins: list[str]
    launch_command: list[str]
    launch_environment: list[LaunchVariable]
    """Names and references; the values are never returned."""
    launch_directory: str
    launch_process: str
    era: str
    refuse_downgrade: bool
    auto_approve: str
    quarantine_from: str
    denied_calls: str
    egress_hosts: list[str]
    discovery_interval_hours: int
    state: str
    state_reason: str
    state_remedy: str
    """What to do about the reason, where that is known."""
    state_since_at: datetime | None
    workers_live: int
    workers_total: int
    snapshot_version: int
    created_at: datetime
    updated_at: datetime


class UpstreamAuthInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The wanted upstream credential. In a change, `value` null keeps the credential that is stored.

    For type `aws` it is the secret access key; the session token is kept or replaced with it.
    """

    type: AuthType = "none"
    name: ShortText = ""
    value: Annotated[str, Meta(max_length=20_000)] | None = None
    region: ShortText = ""
    access_key_id: ShortText = ""
    session_token: Annotated[str, Meta(max_length=20_000)] | None = None

    def __repr__(self) -> str:
        return f"<UpstreamAuthInput {self.type} {self.name}>"


class CreateProxy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new proxy. Without `policy_names` it gets the standard policy of its type."""

    def __repr__(self) -> str:
        return f"<CreateProxy {self.name!r}>"

    name: ProxyName
    type: ShortText
    port: int
    target_url: Annotated[str, Meta(max_length=4000)] = ""
    """Empty for the transport stdio, and for no other."""
    transport: ShortText = "http"
    description: ShortText = ""
    host: ShortText = "127.0.0.1"
    enabled: bool = True
    auto_start: bool = False
    policy_names: TextList | None = None
    tags: TextList = []
    enforcement: EnforcementWord = "enforce"
    require_auth: bool = True
    capture: CaptureWord = "all"
    upstream_auth: UpstreamAuthInput = UpstreamAuthInput()
    tls_cert_path: ShortText = ""
    tls_key_path: ShortText = ""
    upstream_ca_path: ShortText = ""
    upstream_client_cert_path: ShortText = ""
    upstream_client_key_path: ShortText = ""
    allowed_hosts: TextList = []
    allowed_origins: TextList = []
    launch_command: Arguments = []
    launch_environment: Variables = {}
    launch_directory: ShortText = ""
    launch_process: ProcessWord = "session"
    era: EraWord = "same"
    refuse_downgrade: bool = False
    auto_approve: AutoApproveWord = "none"
    quarantine_from: QuarantineWord = "high"
    denied_calls: DeniedWord = "error"
    egress_hosts: TextList = []
    discovery_interval_hours: int = 6


class UpdateProxy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A change of a proxy: only the fields that are given. Type and transport stay what they are."""

    def __repr__(self) -> str:
        return "<UpdateProxy>"

    name: ProxyName | UnsetType = UNSET
    description: ShortText | UnsetType = UNSET
    target_url: Annotated[str, Meta(max_length=4000)] | UnsetType = UNSET
    host: ShortText | UnsetType = UNSET
    port: int | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    auto_start: bool | UnsetType = UNSET
    policy_names: TextList | UnsetType = UNSET
    tags: TextList | UnsetType = UNSET
    enforcement: EnforcementWord | UnsetType = UNSET
    require_auth: bool | UnsetType = UNSET
    capture: CaptureWord | UnsetType = UNSET
    upstream_auth: UpstreamAuthInput | UnsetType = UNSET
    tls_cert_path: ShortText | UnsetType = UNSET
    tls_key_path: ShortText | UnsetType = UNSET
    upstream_ca_path: ShortText | UnsetType = UNSET
    upstream_client_cert_path: ShortText | UnsetType = UNSET
    upstream_client_key_path: ShortText | UnsetType = UNSET
    allowed_hosts: TextList | UnsetType = UNSET
    allowed_origins: TextList | UnsetType = UNSET
    launch_command: Arguments | UnsetType = UNSET
    launch_environment: Variables | UnsetType = UNSET
    """The whole environment; null keeps the value that is stored under this name."""
    launch_directory: ShortText | UnsetType = UNSET
    launch_process: ProcessWord | UnsetType = UNSET
    era: EraWord | UnsetType = UNSET
    refuse_downgrade: bool | UnsetType = UNSET
    auto_approve: AutoApproveWord | UnsetType = UNSET
    quarantine_from: QuarantineWord | UnsetType = UNSET
    denied_calls: DeniedWord | UnsetType = UNSET
    egress_hosts: TextList | UnsetType = UNSET
    discovery_interval_hours: int | UnsetType = UNSET


class ProxyStatusView(msgspec.Struct, frozen=True, kw_only=True):
    """How one proxy stands; `uptime` and `uptime_seconds` are empty unless it runs."""

    id: str
    name: str
    type: str
    running: bool
    state: str
    reason: str
    port: int
    target: str
    start_time: datetime | None
    uptime: str
    uptime_seconds: int
    workers_live: int
    workers_total: int
    snapshot_version: int
    requests_processed: int
    errors: int
    server_processes: int
    """Processes of a server that the proxy starts itself (transport stdio)."""
    server_log: list[str]
    """The last lines of their standard error, redacted, oldest first."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A field that is saved one way and running another."""

    name: str
    saved: str
    running: str


class RunningConfiguration(msgspec.Struct, frozen=True, kw_only=True):
    """What the workers run, compared with what is saved. A proxy that no worker serves has nothing to compare."""

    proxy_id: str
    served: bool
    snapshot_version: int
    workers_live: int
    workers_total: int
    differences: list[Difference]


class CheckConnection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether an upstream can be reached, asked before it is saved."""

    target_url: Annotated[str, Meta(max_length=4000)] = ""
    transport: ShortText = "http"
    launch_command: Arguments = []
    launch_directory: ShortText = ""
    launch_environment: Variables = {}
    """As for a proxy; what is stored and not given here is not there."""
    upstream_ca_path: ShortText = ""
    upstream_client_cert_path: ShortText = ""
    upstream_client_key_path: ShortText = ""


class ConnectionReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the check found. It resolves, connects and, for https, verifies TLS; a server of the transport stdio is started once,
    asked what it is and for its tools, and ended."""

    reachable: bool
    stage: Literal["resolve", "connect", "tls", "done"]
    message: str
    address: str
    elapsed_ms: float
