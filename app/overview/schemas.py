"""What the overview shows."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from app.traffic.schemas import ClientCalls, RuleHits, TrafficPoint, TrafficTotals


class AttentionItem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that needs a person. `id` is that of the proxy or alert, and empty for the system itself."""

    kind: Literal["proxy_failed", "proxy_degraded", "alert", "approvals", "rollout_pending", "scheduler_late"]
    severity: str
    title: str
    detail: str
    id: str
    at: datetime | None


class ProxySummary(msgspec.Struct, frozen=True, kw_only=True):
    """One proxy with its last 24 hours."""

    id: str
    name: str
    type: str
    state: str
    state_reason: str
    listen_url: str
    target_url: str
    enforcement: str
    calls: int
    blocked: int
    failed: int
    added_p99_ms: float | None


class GetStarted(msgspec.Struct, frozen=True, kw_only=True):
    """The first steps, and which of them are done."""

    has_proxy: bool
    has_running_proxy: bool
    has_api_key: bool
    has_call: bool


class OverviewView(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of the overview page. "Today" begins at midnight UTC; `totals` and `points` cover 24 hours."""

    proxies_by_state: dict[str, int]
    proxies_total: int
    requests_per_second: float
    calls_today: int
    blocked_today: int
    alerts_open: int
    alerts_needing_attention: int
    added_p50_ms: float | None
    added_p99_ms: float | None
    attention: list[AttentionItem]
    rules_today: list[RuleHits]
    top_clients: list[ClientCalls]
    totals: TrafficTotals
    step_seconds: int
    points: list[TrafficPoint]
    proxies: list[ProxySummary]
    get_started: GetStarted
    at: datetime


class LiveStats(msgspec.Struct, frozen=True, kw_only=True):
    """The figures that move, as published on the bus (topic `stats`) every two seconds while somebody listens."""

    requests_per_second: float
    calls_today: int
    blocked_today: int
    added_p99_ms: float | None
    alerts_needing_attention: int
    proxies_by_state: dict[str, int]
