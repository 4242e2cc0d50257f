"""What the services need of the supervisor, and one place that makes a committed change take effect."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

from app.background import Background
from app.fleet.state import ProxyStatus
from app.fleet.worker import ScanOrder, ToolOrder, WorkerStatus
from proxies.contract import ProxyConfig, ServerReport

logger = logging.getLogger(__name__)


class FleetControl(Protocol):
    """The part of `supervisor.Fleet` that decisions use."""

    async def start_proxy(self, proxy_id: str) -> ProxyStatus: ...

    async def stop_proxy(self, proxy_id: str) -> ProxyStatus: ...

    async def restart_proxy(self, proxy_id: str) -> ProxyStatus: ...

    async def refresh(self) -> None: ...

    async def scan(self, order: ScanOrder) -> bool: ...
    async def order(self, proxy_id: str, message: ToolOrder) -> bool: ...

    def status(self, proxy_id: str) -> ProxyStatus: ...

    def running(self, proxy_id: str) -> ProxyConfig | None: ...

    def server_report(self, proxy_id: str) -> ServerReport | None: ...

    def statuses(self) -> dict[str, ProxyStatus]: ...

    def workers(self) -> Sequence[WorkerStatus]: ...

    @property
    def first_rules_count(self) -> int: ...

    @property
    def calls_dropped(self) -> int: ...

    @property
    def texts_dropped(self) -> int: ...

    @property
    def worker_deaths(self) -> int: ...


class Rollout:
    """Hands committed changes to the fleet, and remembers a change that could not be handed over.

    A commit is never undone because the workers could not be told; until `retry` succeeds they keep the snapshot
    before it, and `is_pending` lets the overview say so.
    """

    def __init__(self, fleet: FleetControl) -> None:
        self._fleet = fleet
        self._failed_reason = ""
        self._background = Background("the rollout")

    def __repr__(self) -> str:
        return f"<Rollout {'pending' if self._failed_reason else 'current'}>"

    @property
    def is_pending(self) -> bool:
        """Whether a committed change has not reached the fleet."""
        return bool(self._failed_reason)

    async def roll_out(self) -> None:
        """Call after a commit. Never raises: the data is safe, and the scheduler tries again."""
        try:
            await self._fleet.refresh()
        except Exception as error:
            self._failed_reason = type(error).__name__
            logger.exception("A committed change could not be handed to the workers; it will be tried again")
        else:
            self._failed_reason = ""

    def roll_out_soon(self) -> None:
        """As `roll_out`, for what happens by itself: rules that are compiled."""
        self._background.spawn(self.roll_out())

    async def retry(self) -> None:
        """Try again if the last attempt failed."""
        if self.is_pending:
            await self.roll_out()
