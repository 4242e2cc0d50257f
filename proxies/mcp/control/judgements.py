"""Observations on their way to the console, and those who wait for its judgement."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from proxies.contract import JUDGEMENT_SECONDS, HeldCall, HoldEnded, Observation, Observed

MAX_AWAITED: Final = 1_000

ToConsole = Callable[[Observed | HeldCall | HoldEnded], object]
"""Puts a message for the console on the channel."""


class Judgements:
    """Those of this worker."""

    def __init__(self, send: ToConsole, wait_seconds: float = JUDGEMENT_SECONDS) -> None:
        self._send = send
        self._wait_seconds = wait_seconds
        self._awaited: dict[str, asyncio.Event] = {}

    def __repr__(self) -> str:
        return f"<Judgements awaited={len(self._awaited)}>"

    def report(self, observation: Observation) -> None:
        """Send an observation; whoever wants to may `wait` for what comes of it."""
        self._awaited[observation.id] = asyncio.Event()
        if len(self._awaited) > MAX_AWAITED:
            self._awaited.pop(next(iter(self._awaited))).set()
        self._send(Observed(observation))

    def judged(self, id: str) -> None:
        """The console's judgement is committed, and the snapshot with it is in force here."""
        if (event := self._awaited.pop(id, None)) is not None:
            event.set()

    async def wait(self, id: str) -> bool:
        """Return when the observation has been judged, or False when that has taken too long."""
        event = self._awaited.get(id)
        if event is None:
            return True
        try:
            async with asyncio.timeout(self._wait_seconds):
                await event.wait()
        except TimeoutError:
            return False
        return True
