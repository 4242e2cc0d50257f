"""What the API and the pages say about traffic. Durations in milliseconds, sizes in bytes."""

from __future__ import annotations

from datetime import datetime

import msgspec

from app.traffic.redactions import RedactionView


class FindingView(msgspec.Struct, frozen=True, kw_only=True):
    """One hit of one rule in a call; the evidence is masked."""

    rule_id: str
    pack: str
    title: str
    category: str
    severity: str
    confidence: str
    score: int
    action: str
    target: str
    path: str
    start: int
    end: int
    view: str
    evidence: str


class UsageView(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of one call, as the upstream reported or the gateway estimated them."""

    input_tokens: int
    output_tokens: int
    cached_input_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    source: str


class DecisionView(msgspec.Struct, frozen=True, kw_only=True):
    """Why a verdict is what it is. `source`: detection, rule, default_action or rate_limit; `level`: key, proxy, global.

    `would_action` is what had happened if nothing were set to log only; `threshold` is the sum of scores that was
    reached where several signals decided together; `risk` is none, low, medium, high or critical.
    """

    source: str
    rule_id: str
    policy: str
    policy_version: int
    level: str
    would_action: str
    score: int
    threshold: int
    risk: str
    tags: list[str]


class CallView(msgspec.Struct, frozen=True, kw_only=True):
    """One call. `verdict` is the word of the charts: allowed, alerted, blocked, refused or error."""

    id: str
    proxy_id: str
    proxy_name: str
    started_at: datetime
    duration_ms: float
    added_ms: float
    method: str
    path: str
    protocol: str
    operation: str
    client_ip: str
    client_agent: str
    principal_id: str
    principal_name: str
    status: int
    outcome: str
    action: str
    verdict: str
    error_code: str
    reason: str
    request_bytes: int
    response_bytes: int
    streamed: bool
    truncated: bool
    snapshot_version: int
    usage: UsageView | None
    timings_ms: dict[str, float]
    findings: list[FindingView]
    decision: DecisionView | None


class MarkView(msgspec.Struct, frozen=True, kw_only=True):
    """Where a finding lies in a captured text, in characters of that text."""

    start: int
    end: int
    rule_id: str


class TextView(msgspec.Struct, frozen=True, kw_only=True):
    """One text that was inspected. Secrets and what looks like one are masked; `offset` characters precede it."""

    direction: str
    target: str
    path: str
    text: str
    offset: int
    truncated: bool
    marks: list[MarkView]


class CallDetail(CallView, frozen=True, kw_only=True):
    """One call with what was inspected in it.

    `texts_state`: `kept` (here they are), `none` (nothing was captured), `hidden` (the reader's role does not see
    texts), `unreadable` (they were sealed with another key). `texts_omitted` counts texts that found no room.
    """

    texts_state: str
    texts_omitted: int
    texts: list[TextView]
    redactions: list[RedactionView]
    """What was masked in it, by type, direction and rule."""


class CallList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of calls, newest first.

    Counting stops at 10,000, a search looks at the newest 100,000 calls and an order other than that of time at the newest
    20,000; `total_is_exact` is false where that left something out.
    """

    items: list[CallView]
    total: int
    limit: int
    offset: int
    total_is_exact: bool


class TrafficPoint(msgspec.Struct, frozen=True, kw_only=True):
    """Calls by verdict in one step of a chart, which begins at `at`."""

    at: datetime
    allowed: int
    alerted: int
    blocked: int
    refused: int
    error: int


class TrafficTotals(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over a time range, and quantiles of the time that the gateway added (null without calls)."""

    calls: int
    allowed: int
    alerted: int
    blocked: int
    refused: int
    error: int
    failed: int
    request_bytes: int
    response_bytes: int
    input_tokens: int
    output_tokens: int
    average_duration_ms: float
    added_p50_ms: float | None
    added_p99_ms: float | None


class RuleHits(msgspec.Struct, frozen=True, kw_only=True):
    """How often a rule hit, and how many of those calls were blocked."""

    rule_id: str
    pack: str
    title: str
    severity: str
    hits: int
    blocked: int


class ClientCalls(msgspec.Struct, frozen=True, kw_only=True):
    """How often a client (the name of its key, or its address) called."""

    client: str
    calls: int
    blocked: int


class PathCount(msgspec.Struct, frozen=True, kw_only=True):
    """How often a path was called, among the latest calls."""

    path: str
    count: int


class ProxyStats(msgspec.Struct, frozen=True, kw_only=True):
    """Statistics of one proxy over the last hours. The first block has the documented names (inventory b.1)."""

    proxy_id: str
    time_range_hours: int
    total_requests: int
    successful_requests: int
    failed_requests: int
    avg_response_time_ms: float
    total_data_transferred: int
    alerts_triggered: int
    top_endpoints: list[PathCount]

    totals: TrafficTotals
    step_seconds: int
    points: list[TrafficPoint]
    top_rules: list[RuleHits]
    top_clients: list[ClientCalls]


class LogRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of a proxy's request log, with the documented names (inventory b.1)."""

    id: str
    proxy_config_id: str
    timestamp: datetime
    method: str
    path: str
    status_code: int
    duration_ms: float
    request_size: int
    response_size: int
    client_ip: str
    risk_level: str
    """The worst severity among the findings, or `none`."""
