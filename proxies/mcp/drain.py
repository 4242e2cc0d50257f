"""Answers that nobody waits for any more, read to their end in the background: bounded in number, bytes and time.

Two reasons: in the legacy eras a client that leaves has not cancelled anything (L-11), and a connection whose stream is
read to its end goes back to the pool.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable
from typing import Any, Final, Protocol, TypeVar

from proxies.transport.errors import UpstreamError
from proxies.transport.headers import Headers

logger = logging.getLogger(__name__)

MAX_DRAINS: Final = 256
MAX_DRAIN_BYTES: Final = 16 * 1024 * 1024
ABANDONED_SECONDS: Final = 300.0
"""How long an abandoned legacy request may go on."""
REMAINDER_SECONDS: Final = 5.0
"""How long an upstream may take to end a stream after its last message."""

T = TypeVar("T")


class Answer(Protocol):
    """What the MCP code needs of an upstream's response."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    @property
    def headers(self) -> Headers:
        """The response's fields."""

    async def read(self, limit_bytes: int) -> bytes:
        """The whole body; raises `UpstreamError`."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Pieces of the body; raises `UpstreamError`."""

    def close(self) -> None:
        """Give up what has not been received."""


class PatientResponse:
    """A response whose reader may be cancelled without the upstream noticing: what is left can still be drained."""

    def __init__(self, response: Answer) -> None:
        self.status = response.status
        self.headers = response.headers
        self._response = response
        self._pieces: AsyncIterator[bytes] | None = None
        self._step: asyncio.Future[Any] | None = None

    async def read(self, limit_bytes: int) -> bytes:
        """See `Answer`."""
        return await self._outlive(self._response.read(limit_bytes))

    def __aiter__(self) -> PatientResponse:
        """See `Answer`."""
        self._pieces = aiter(self._response)
        return self

    async def __anext__(self) -> bytes:
        if self._step is not None and not self._step.done():
            return bytes(await self._step)
        if self._pieces is None:
            self._pieces = aiter(self._response)
        return await self._outlive(anext(self._pieces))

    def close(self) -> None:
        """See `Answer`."""
        if self._step is not None:
            self._step.cancel()
        self._response.close()

    async def _outlive(self, step: Awaitable[T]) -> T:
        task = asyncio.ensure_future(step)
        self._step = task
        return await asyncio.shield(task)


class Drains:
    """The background readers of this worker."""

    def __init__(self, max_drains: int = MAX_DRAINS) -> None:
        self._max_drains = max_drains
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    async def settle(self) -> None:
        """Wait until the drains that are running now have ended."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def start(self, answer: Answer | Awaitable[Answer], seconds: float) -> None:
        """Read an answer to its end and drop it. At the bound it is closed at once instead."""
        limit = seconds if len(self._tasks) < self._max_drains else 0.0
        task = asyncio.get_running_loop().create_task(_drain(answer, limit))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


DRAINS: Final = Drains()
"""Those of this worker."""


async def _drain(answer: Answer | Awaitable[Answer], seconds: float) -> None:
    response: Answer | None = None
    try:
        async with asyncio.timeout(seconds):
            response = await answer if isinstance(answer, Awaitable) else answer
            dropped_bytes = 0
            async for chunk in response:
                dropped_bytes += len(chunk)
                if dropped_bytes > MAX_DRAIN_BYTES:
                    break
    except TimeoutError:
        logger.debug("an abandoned answer did not end in time")
    except UpstreamError as error:
        logger.debug("an abandoned answer failed: %s", error.code)
    finally:
        if response is not None:
            response.close()
