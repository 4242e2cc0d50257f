"""Work over large messages, away from the loop that serves everybody else (no step holds the loop for more than 10 ms).

A small message is done sooner than a thread is told of it, so it stays on the loop. In the threads the engines work without
the interpreter's lock, and plain Python hands it back after a few milliseconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Final, TypeVar

LARGE_BYTES: Final = 4 * 1024
"""A whole message with more than this is worth a thread: with an order in every line it takes some milliseconds."""
LARGE_MESSAGE_BYTES: Final = 2 * 1024
"""The same for a message of MCP that rules read, whose text may be values from end to end, like the rows of a table."""
DENSE_BYTES: Final = 1536
"""The same for a body that is full of values: each of them is checked, shown in a record and masked."""
CONDITION_BYTES: Final = 48 * 1024
"""The same for a body times the conditions that look into each of its texts or calls, of which many fit in a small one."""
_MARKS_OF_VALUES: Final = b"0123456789@"
_MARKED_SHARE: Final = 10
"""One character in so many that is a digit or stands in an address makes a body dense; prose and JSON have far fewer."""
LARGE_EVENT_CHARACTERS: Final = 2 * 1024
"""The same for one event of a stream, whose text is read several times: in pieces, in windows, and by the redactor."""
HELD_CHARACTERS: Final = 32
"""A stream that holds more than this back is in the middle of a long token, whose every piece may show the automaton of its
beginnings something new: milliseconds each, with the interpreter's lock open."""
SLICE_CHARACTERS: Final = 512
"""After so many characters of small events others get their turn."""
THREADS: Final = 2

Result = TypeVar("Result")


@cache
def _threads() -> ThreadPoolExecutor:
    """The threads for large messages, made with the first of them."""
    return ThreadPoolExecutor(THREADS, "large-message")


async def away(work: Callable[[], Result]) -> Result:
    """What `work` returns or raises, done in a thread.

    A caller that is cancelled waits for the work to end first: nobody else may touch what it works on before.
    """
    future = asyncio.get_running_loop().run_in_executor(_threads(), work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done():
            try:
                await asyncio.wait([future])
            except asyncio.CancelledError:
                continue  # Asked again while the work still runs; the first request is answered below.
        if not future.cancelled():
            future.exception()  # The call is over: what went wrong in the work has no one to tell.
        raise


def has_many_conditions(size: int, conditions: int) -> bool:
    """Whether so many conditions look into each text or call of a message that even one of this size is worth a thread."""
    return size * conditions > CONDITION_BYTES


def is_large(data: bytes, conditions: int = 0) -> bool:
    """Whether work over this body does not belong on the loop. `conditions` look into each of its texts or calls."""
    size = len(data)
    if has_many_conditions(size, conditions):
        return True
    if size <= DENSE_BYTES or size > LARGE_BYTES:
        return size > LARGE_BYTES
    return (size - len(data.translate(None, _MARKS_OF_VALUES))) * _MARKED_SHARE > size


async def sized(size: int, work: Callable[[], Result], *, large: int = LARGE_BYTES) -> Result:
    """What `work` over a message of this size returns or raises, on the loop or, where it is large, in a thread.

    Where each of very many small calls passes, the caller compares the size itself and asks for `away` alone: the coroutine
    of this one would cost as much as the work.
    """
    return work() if size <= large else await away(work)
