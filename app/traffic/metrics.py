"""Prometheus metrics of the traffic, counted after the commit. Labels are proxies of ours and fixed words, so their
number is bounded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram

from app.traffic.failures import is_failure
from app.traffic.verdict import verdict_of
from proxies.contract import CallRecord

ADDED_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0)
UNKNOWN_PROXY = "deleted"


class TrafficMetrics:
    """Calls by proxy and verdict, tokens, and the time that the gateway added."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._calls = Counter("ostiary_calls", "Calls through the proxies.", ("proxy", "verdict"), registry=registry)
        self._tokens = Counter(
            "ostiary_tokens", "Tokens that upstreams reported.", ("proxy", "direction"), registry=registry
        )
        self._failures = Counter(
            "ostiary_inspection_failures",
            "Calls that could not be inspected or masked, or failed otherwise, and were refused.",
            ("proxy",),
            registry=registry,
        )
        self._added = Histogram(
            "ostiary_added_seconds",
            "Time that the gateway added to a call.",
            buckets=ADDED_SECONDS,
            registry=registry,
        )

    def __repr__(self) -> str:
        return "<TrafficMetrics>"

    def count(self, records: Iterable[CallRecord], proxy_names: Mapping[str, str]) -> None:
        """Count committed calls."""
        for record in records:
            proxy = proxy_names.get(record.proxy_id, UNKNOWN_PROXY)
            self._calls.labels(proxy, verdict_of(record)).inc()
            if is_failure(record):
                self._failures.labels(proxy).inc()
            self._added.observe(record.added_ms / 1000)
            if record.usage is not None:
                self._tokens.labels(proxy, "input").inc(record.usage.input_tokens)
                self._tokens.labels(proxy, "output").inc(record.usage.output_tokens)
