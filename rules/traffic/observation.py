"""One finished call, as traffic analysis sees it, and what a detector says about it."""

from __future__ import annotations

import msgspec

from rules.model import Severity, Target, Text


class Observation(msgspec.Struct, frozen=True, gc=False):
    """One finished call."""

    source: str
    """Who called what: principal (or address, where nobody is named) and proxy. Profiles are kept by it."""
    at: float
    """When the call started, in Unix seconds."""
    is_mcp: bool
    method: str
    """The JSON-RPC method; empty for other protocols."""
    request_bytes: int
    categories: frozenset[str] = frozenset()
    """Categories of the findings of the call's own inspection, as `secrets/aws`."""
    texts: tuple[Text, ...] = ()
    """What was captured of the call; sensitive values in it are masked."""


class Suspicion(msgspec.Struct, frozen=True, gc=False):
    """What a detector saw: the rule, and one sentence of evidence with the figures."""

    rule_id: str
    evidence: str
    target: Target | None = None
    """What was looked at; None where it is the calls as such."""


class TrafficRule(msgspec.Struct, frozen=True, gc=False):
    """How a suspicion is shown."""

    title: str
    category: str
    severity: Severity
