"""What workers say about tools, taken without waiting and worked on in order: one at a time for each proxy, a few at once."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable

from app.background import Background
from app.fleet.control import Rollout
from app.fleet.worker import ToolOrder, ToolReport
from proxies.contract import HeldCall, HoldEnded, Judged, Observation, Observed

logger = logging.getLogger(__name__)

MAX_WAITING_OF_PROXY = 8
"""Observations of one proxy that may wait; the oldest gives way, the newest says all that it said."""
MAX_SUPERSEDED_OF_PROXY = 256
"""Observations that gave way and whose senders have not been answered yet; beyond them the oldest waits in vain."""
MAX_AT_ONCE = 4
MAX_HOLDS_WAITING = 1_024


class ToolIntake:
    """Judges observations and keeps held calls as they come."""

    def __init__(
        self,
        *,
        judge: Callable[[Observation], Awaitable[bool]],
        rollout: Rollout,
        order: Callable[[str, ToolOrder], Awaitable[bool]],
        on_judged: Callable[[Observation], None],
        on_hold: Callable[[HeldCall | HoldEnded], Awaitable[None]],
    ) -> None:
        self._judge = judge
        self._rollout = rollout
        self._order = order
        self._on_judged = on_judged
        self._on_hold = on_hold
        self._waiting: dict[str, deque[Observation]] = {}
        self._superseded: dict[str, deque[Observation]] = {}
        """Those that gave way: whoever waits for one is answered with the next that is judged, which says all that it said."""
        self._places = asyncio.Semaphore(MAX_AT_ONCE)
        self._holds: deque[HeldCall | HoldEnded] = deque()
        self._is_keeping = False
        self._background = Background("tool control")
        self.dropped = 0
        """Observations that gave way to newer ones, since the start."""

    def __repr__(self) -> str:
        return f"<ToolIntake {sum(map(len, self._waiting.values()))} waiting>"

    async def start(self) -> None:
        """Nothing to start: what arrives starts work by itself."""

    async def stop(self) -> None:
        """Drop what waits: workers report it again when they start."""
        await self._background.stop()
        self._waiting.clear()
        self._superseded.clear()

    def on_report(self, report: ToolReport) -> None:
        """What the fleet calls; never waits."""
        if isinstance(report, Observed):
            self._take(report.observation)
            return
        if len(self._holds) >= MAX_HOLDS_WAITING:
            logger.error("Held call %s could not be noted; it expires by itself", report.id)
            return
        self._holds.append(report)
        if not self._is_keeping:
            self._is_keeping = True
            self._background.spawn(self._keep_holds())

    async def idle(self) -> None:
        """Wait until nothing is waiting or being worked on."""
        await self._background.idle()

    def _take(self, observation: Observation) -> None:
        waiting = self._waiting.get(observation.proxy_id)
        if waiting is None:
            self._waiting[observation.proxy_id] = deque([observation])
            self._background.spawn(self._work(observation.proxy_id))
            return
        if len(waiting) >= MAX_WAITING_OF_PROXY:
            dropped = waiting.popleft()
            self.dropped += 1
            kept = self._superseded.setdefault(dropped.proxy_id, deque(maxlen=MAX_SUPERSEDED_OF_PROXY))
            kept.append(dropped)
            logger.warning("Observation %s of proxy %s gives way to a newer one", dropped.id, dropped.proxy_id)
        waiting.append(observation)

    async def _work(self, proxy_id: str) -> None:
        waiting = self._waiting[proxy_id]
        try:
            while waiting:
                async with self._places:
                    await self._one(waiting.popleft())
        finally:
            del self._waiting[proxy_id]

    async def _one(self, observation: Observation) -> None:
        try:
            if await self._judge(observation):
                await self._rollout.roll_out()
        except Exception:
            # Broad: this task works for every later observation. Without a judgement nothing new passes.
            logger.exception(
                "Observation %s of proxy %s could not be judged: nothing new passes; the next one tries again",
                observation.id,
                observation.proxy_id,
            )
        for answered in (observation, *self._superseded.pop(observation.proxy_id, ())):
            await self._order(answered.proxy_id, Judged(answered.id))
            self._on_judged(answered)

    async def _keep_holds(self) -> None:
        try:
            while self._holds:
                report = self._holds.popleft()
                try:
                    await self._on_hold(report)
                except Exception:
                    # Broad: the other held calls must still be noted. This one waits at its worker until it expires.
                    logger.exception("Held call %s could not be noted: it expires by itself", report.id)
        finally:
            self._is_keeping = False
