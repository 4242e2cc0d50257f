"""Starts the parts of the console in order and stops them in reverse, each stop with a deadline."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import msgspec
from litestar import Litestar

logger = logging.getLogger(__name__)


class Part(msgspec.Struct, frozen=True):
    """Something with a life: how to start and stop it, and how long stopping may take."""

    name: str
    start: Callable[[], Awaitable[object]]
    stop: Callable[[], Awaitable[object]]
    stop_seconds: float = 5.0


@asynccontextmanager
async def lifespan(app: Litestar) -> AsyncIterator[None]:
    """Run the parts in `app.state.parts` around the time in which requests are served.

    If one cannot start, those before it are stopped and the console does not come up.
    """
    started: list[Part] = []
    try:
        for part in app.state.parts:
            await part.start()
            started.append(part)
        app.state.system.is_ready = True
        yield
    finally:
        app.state.system.is_ready = False
        for part in reversed(started):
            await _stop(part)


async def _stop(part: Part) -> None:
    try:
        async with asyncio.timeout(part.stop_seconds):
            await part.stop()
    except TimeoutError:
        logger.error("%s did not stop within %s s", part.name, part.stop_seconds)
    except Exception:
        # Broad: the parts that were started before this one must be stopped too.
        logger.exception("%s did not stop cleanly", part.name)
