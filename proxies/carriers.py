"""The connections of one proxy that carry many calls: how their messages become calls, and until when they may stay."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final, Protocol

from proxies.tickets import Tickets
from proxies.transport.http1_server import Handler

if TYPE_CHECKING:
    from proxies.runtime import ProxyRuntime

RECHECK_SECONDS: Final = 15.0
"""How long a carrier may outlive the expiry of its key; a revocation comes with a snapshot and ends it at once."""


class Carrier(Protocol):
    """One open connection."""

    def recheck(self, proxy: ProxyRuntime) -> None:
        """Compare what it was opened with with what is in force, and close where it does not hold any more."""


class Carriers:
    """The open carriers of one proxy. They outlive snapshots; each call that they carry is judged by the newest one."""

    def __init__(self, serve: Handler) -> None:
        self.serve = serve
        """Serves one carried call under the snapshot that is in force."""
        self.tickets = Tickets()
        self._open: set[Carrier] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._proxy: ProxyRuntime | None = None
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._open)

    def __repr__(self) -> str:
        return f"<Carriers {len(self._open)}>"

    def add(self, carrier: Carrier) -> None:
        """One was opened."""
        self._open.add(carrier)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(RECHECK_SECONDS, self._recheck_later)

    def discard(self, carrier: Carrier) -> None:
        """One is closed."""
        self._open.discard(carrier)
        if not self._open and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something that outlives its carrier: ending a session whose client has left."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settle(self, seconds: float) -> None:
        """Wait until what was started has ended, for this long; what is left is given up."""
        if self._tasks:
            _, left = await asyncio.wait(self._tasks, timeout=seconds)
            for task in left:
                task.cancel()

    def recheck(self, proxy: ProxyRuntime) -> None:
        """This is in force now."""
        self._proxy = proxy
        for carrier in tuple(self._open):
            carrier.recheck(proxy)

    def _recheck_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(RECHECK_SECONDS, self._recheck_later)
        if self._proxy is not None:
            self.recheck(self._proxy)
