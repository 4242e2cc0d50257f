"""What the console tells the workers to serve: proxies, keys, rules and policies, everything resolved."""

from __future__ import annotations

from typing import Literal

import msgspec

from proxies.contract.mcp import MCPSettings
from rules.canaries import Canary
from rules.policy import ContextFirewall, Policy

ProxyType = Literal["llm", "mcp"]
Enforcement = Literal["enforce", "log_only"]
Capture = Literal["all", "flagged", "none"]
"""Which calls keep the texts that were inspected: every one, those with findings, none."""


class UpstreamAuth(msgspec.Struct, frozen=True):
    """The credential that replaces the client's. `value` is the resolved secret; it exists in memory only."""

    type: Literal["none", "bearer", "header", "aws"] = "none"
    name: str = ""
    """Header name for type `header`."""
    value: str = ""
    """For type `aws` the secret access key, which signs and is never sent."""
    region: str = ""
    """For type `aws`, as the two that follow."""
    access_key_id: str = ""
    session_token: str = ""
    """Of temporary credentials; a secret as well."""

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


class DecisionService(msgspec.Struct, frozen=True):
    """A service in the manner of Open Policy Agent that decides about every LLM call before its text is read."""

    url: str
    timeout_seconds: float = 1.0
    fail_open: bool = False
    """Whether calls pass, with an alert, while the service gives no answer."""
    upstream_proxy: UpstreamProxy | None = None


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
    upstream_keepalive_seconds: float = 55.0
    """Idle time after which a pooled connection is closed, under the 60 s that most servers and balancers use."""
    max_connections: int = 8192
    max_upstream_connections: int = 8192


class ProxyConfig(msgspec.Struct, frozen=True):
    """One proxy as the worker sees it: everything resolved, nothing left to look up."""

    id: str
    name: str
    type: ProxyType
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
    decisions: DecisionService | None = None
    """Of the settings; None asks nobody."""
    policy_level: Literal["proxy", "global"] = "proxy"
    """Whether the proxy names its policies itself or those for all proxies apply."""
    capture: Capture = "all"
    mcp: MCPSettings | None = None
    """For proxies of type mcp."""


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
