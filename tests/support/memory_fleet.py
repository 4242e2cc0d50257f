"""A fleet without processes: it keeps the states and the configurations that the console hands it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from app.errors import Conflict
from app.features import FleetHooks
from app.fleet.snapshot import Configuration
from app.fleet.state import ProxyState, ProxyStatus
from app.fleet.worker import ScanOrder, ScanReport, ToolOrder, WorkerStatus
from app.version import __version__
from proxies.contract import ProxyConfig, ServerReport

WORKER = WorkerStatus(
    slot=0,
    pid=1,
    state="running",
    started_at=0.0,
    heartbeat_at=0.0,
    version=__version__,
    snapshot_version=1,
    connections=0,
    in_flight=0,
    loop_lag_ms=0.0,
    rss_bytes=0,
    unacknowledged_events=0,
)


class MemoryFleet:
    """Starts and stops by changing a state; loads the real configuration at every refresh."""

    def __init__(self, hooks: FleetHooks) -> None:
        self.hooks = hooks
        self.first_rules_count = 0
        self.waits_for_rules = True
        """Whether a refresh ends only when the rules of all proxies are there, as most tests want it."""
        self._loaded = asyncio.Event()
        self._loading = asyncio.Lock()
        self.calls_dropped = 0
        self.texts_dropped = 0
        self.worker_deaths = 0
        self.made_at = datetime.now(UTC)
        self.configurations: list[Configuration] = []
        self._statuses: dict[str, ProxyStatus] = {}
        self.server_reports: dict[str, ServerReport] = {}
        self.fail_with = ""
        self.refuse_with = ""
        self.refresh_error: Exception | None = None
        self.scan_orders: list[ScanOrder] = []
        """What the worker was told about scans; tests report through `hooks.on_scan`."""
        self.has_worker = True
        self.orders: list[ToolOrder] = []
        """What workers were told about tools."""
        self.answer_orders: Callable[[ToolOrder], None] | None = None
        """Plays the worker: may report through `hooks.on_tools`."""

    @property
    def configuration(self) -> Configuration:
        """The newest configuration."""
        return self.configurations[-1]

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self.refresh()

    async def stop(self) -> None:
        self._statuses.clear()

    def server_report(self, proxy_id: str) -> ServerReport | None:
        return self.server_reports.get(proxy_id)

    def running(self, proxy_id: str) -> ProxyConfig | None:
        served = self.status(proxy_id).state.serves
        return next((p for p in self.configuration.proxies if served and p.id == proxy_id), None)

    async def refresh(self) -> None:
        if self.refresh_error is not None:
            raise self.refresh_error
        async with self._loading:
            self.configurations.append(await self.hooks.load_configuration())
        self._loaded.set()
        self._loaded = asyncio.Event()
        while self.waits_for_rules and self.configuration.compiling:
            await self._loaded.wait()

    def report(self, said: ScanReport) -> None:
        """A worker says something about a scan, in the console's own loop, which a test's need not be."""
        self._loop.call_soon_threadsafe(self.hooks.on_scan, said)

    async def scan(self, order: ScanOrder) -> bool:
        self.scan_orders.append(order)
        return self.has_worker

    async def order(self, proxy_id: str, message: ToolOrder) -> bool:
        if not self.status(proxy_id).state.serves:
            return False
        self.orders.append(message)
        if self.answer_orders is not None:
            self.answer_orders(message)
        return True

    async def start_proxy(self, proxy_id: str) -> ProxyStatus:
        if self.refuse_with:
            raise Conflict(self.refuse_with)
        reason = self.fail_with or self.configuration.broken.get(proxy_id, "")
        return self._move(proxy_id, ProxyState.FAILED if reason else ProxyState.RUNNING, reason)

    async def restart_proxy(self, proxy_id: str) -> ProxyStatus:
        return await self.start_proxy(proxy_id)

    async def stop_proxy(self, proxy_id: str) -> ProxyStatus:
        return self._move(proxy_id, ProxyState.STOPPED, "")

    def statuses(self) -> dict[str, ProxyStatus]:
        return {proxy.id: self.status(proxy.id) for proxy in self.configuration.proxies}

    def workers(self) -> tuple[WorkerStatus, ...]:
        return (WORKER,)

    def status(self, proxy_id: str) -> ProxyStatus:
        stopped = ProxyStatus(proxy_id, ProxyState.STOPPED, "", self.made_at, 0, 1, 0)
        return self._statuses.get(proxy_id, stopped)

    def _move(self, proxy_id: str, state: ProxyState, reason: str) -> ProxyStatus:
        status = msgspec.structs.replace(
            self.status(proxy_id), state=state, reason=reason, since_at=datetime.now(UTC), workers_live=1
        )
        self._statuses[proxy_id] = status
        self.hooks.on_status(status)
        return status
