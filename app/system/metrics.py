"""Prometheus metrics of the console.

Labels come from the router, never from what a caller sent, so their number is bounded.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from app.version import __version__

BUCKETS_SECONDS = (0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """One registry a console; features add their own metrics to it."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "ostiary_console_requests",
            "Requests to the console.",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self.request_seconds = Histogram(
            "ostiary_console_request_duration_seconds",
            "Time to the start of the console's response.",
            buckets=BUCKETS_SECONDS,
            registry=self.registry,
        )
        self.live_connections = Gauge("ostiary_console_live_connections", "Open event streams.", registry=self.registry)
        build = Gauge("ostiary_build_info", "Always 1; the version is a label.", ("version",), registry=self.registry)
        build.labels(__version__).set(1)

    def __repr__(self) -> str:
        return "<Metrics>"

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request; `route` is the router's pattern."""
        self.requests.labels(method, route, str(status)).inc()
        self.request_seconds.observe(seconds)

    def render(self) -> bytes:
        """The text exposition format."""
        return generate_latest(self.registry)
