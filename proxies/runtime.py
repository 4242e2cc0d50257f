"""What a worker derives from a snapshot: immutable, swapped whole, so that a request sees exactly one configuration."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import msgspec

from proxies.carriers import Carriers
from proxies.contract import APIKey, ProxyConfig
from proxies.decision_service import DecisionClient
from proxies.mcp.upstreams.interface import Upstream
from proxies.policies import Protection
from proxies.rates import RateWindows
from proxies.transport.pool import UpstreamPool
from rules.canaries import CanaryWatch

if TYPE_CHECKING:
    from proxies.mcp.bridge.eras import EraDetector
    from proxies.mcp.control.server import ControlledServer


class KeyRing:
    """The API keys of a snapshot by digest. The clear key exists only in the request that brings it."""

    __slots__ = ("_by_digest",)

    def __init__(self, keys: Iterable[APIKey]) -> None:
        self._by_digest = {key.digest: key for key in keys}

    def __len__(self) -> int:
        return len(self._by_digest)

    def find(self, presented: str) -> APIKey | None:
        """The valid key for a presented credential, or None. The lookup is by digest, so timing tells nothing."""
        return self.find_digest(hashlib.sha256(presented.encode("utf-8", "surrogateescape")).hexdigest())

    def find_digest(self, digest: str) -> APIKey | None:
        """The valid key with this digest, or None."""
        key = self._by_digest.get(digest)
        if key is None or (key.expires_at is not None and key.expires_at <= time.time()):
            return None
        return key


class ProxyRuntime(msgspec.Struct, frozen=True):
    """One proxy under one snapshot."""

    config: ProxyConfig
    snapshot_version: int
    protection: Protection
    """What judges the calls of every principal without policies of its own."""
    keys: KeyRing
    upstream: UpstreamPool | Upstream
    """The connections of an LLM proxy; for an MCP proxy its server, however that is reached."""
    authorities: frozenset[str]
    """Exact lower-case Host values that name this proxy."""
    origins: frozenset[str]
    """Exact browser origins that may call it."""
    canaries: CanaryWatch = CanaryWatch()
    protection_by_key: Mapping[str, Protection | str] = {}
    """By id of an API key what applies instead; a text says why its calls cannot be judged and must not pass."""
    rates: RateWindows = msgspec.field(default_factory=RateWindows)
    controlled: ControlledServer | None = None
    """What is known of the MCP server behind a proxy of type mcp."""
    eras: EraDetector | None = None
    """What is known of the eras that the server of an MCP proxy speaks."""
    decisions: DecisionClient | None = None
    """Who is asked about every LLM call besides the policies."""
    carriers: Carriers | None = None
    """The connections that carry many calls; None where the proxy offers none."""

    @property
    def pool(self) -> UpstreamPool:
        """The upstream of an LLM proxy."""
        assert isinstance(self.upstream, UpstreamPool)  # As `served` makes it for this type.
        return self.upstream

    @property
    def server(self) -> Upstream:
        """The upstream of an MCP proxy."""
        assert not isinstance(self.upstream, UpstreamPool)  # As `served` makes it for this type.
        return self.upstream
