"""Prometheus metrics of the fleet, read from it at every scrape."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from app.fleet.control import FleetControl
from app.fleet.state import ProxyState


class FleetMetrics(Collector):
    """Proxies by state, live workers, workers that died, and what they dropped under pressure."""

    def __init__(self, fleet: FleetControl, registry: CollectorRegistry) -> None:
        self._fleet = fleet
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """The metrics now."""
        proxies = GaugeMetricFamily("ostiary_proxies", "Enabled proxies by state.", labels=("state",))
        states = Counter(status.state for status in self._fleet.statuses().values())
        for state in ProxyState:
            proxies.add_metric((state.value,), states[state])
        yield proxies
        yield GaugeMetricFamily("ostiary_workers_live", "Workers that live now.", value=len(self._fleet.workers()))
        yield CounterMetricFamily(
            "ostiary_worker_deaths", "Workers that ended unexpectedly.", value=self._fleet.worker_deaths
        )
        yield CounterMetricFamily(
            "ostiary_calls_dropped",
            "Calls that workers left out of the log under pressure.",
            value=self._fleet.calls_dropped,
        )
        yield CounterMetricFamily(
            "ostiary_call_texts_dropped",
            "Calls whose captured texts workers dropped under pressure.",
            value=self._fleet.texts_dropped,
        )
