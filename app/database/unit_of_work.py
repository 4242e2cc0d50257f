"""One transaction per request, committed once, at the end, before the response starts.

Handlers ask for `writer` or `reader` (Litestar generator dependencies). What must happen only after a successful
commit (a new snapshot for the fleet, an event on the bus) is registered with `after_commit` and runs when the data is
safe.
"""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TYPE_CHECKING

from litestar.datastructures import State
from sqlalchemy.ext.asyncio import AsyncSession

if TYPE_CHECKING:
    from app.database.engine import Database

logger = logging.getLogger(__name__)

AFTER_COMMIT = "after_commit"
AfterCommit = Callable[[], Awaitable[None] | None]


def after_commit(session: AsyncSession, call: AfterCommit) -> None:
    """Run `call` once the unit of work of this session is committed; never if it is rolled back."""
    session.info.setdefault(AFTER_COMMIT, []).append(call)


async def run_after_commit(session: AsyncSession) -> None:
    """Run what was registered, in order. The data is committed: a failure here is logged and stops nothing else."""
    calls: list[AfterCommit] = session.info.pop(AFTER_COMMIT, [])
    for call in calls:
        try:
            waiting = call()
            if waiting is not None:
                await waiting
        except Exception:
            # Broad: the steps are the features' own, and the request whose data is safe must not be answered as failed.
            logger.exception("A step after a commit failed: the data is stored, pages may show it late")


async def provide_writer(state: State) -> AsyncGenerator[AsyncSession, None]:
    """Litestar dependency `writer`: a session that commits once after the handler has returned."""
    database: Database = state.database
    async with database.writer() as session:
        yield session


async def provide_reader(state: State) -> AsyncGenerator[AsyncSession, None]:
    """Litestar dependency `reader`: a session that cannot write."""
    database: Database = state.database
    async with database.reader() as session:
        yield session
