"""Removes for good what was deleted and can no longer be restored, and what taking a decision back needed."""

from __future__ import annotations

import logging

from sqlalchemy import delete, select

from app.access.models import ApiKey
from app.canaries.models import Canary
from app.database.base import Deletable
from app.database.deletion import is_over, remove_for_good
from app.database.engine import Database
from app.fleet.models import Proxy
from app.guidelines.models import Guideline
from app.launch.models import LaunchProgram
from app.policies.models import PolicyVersion, StoredPolicy
from app.tools.models import MCPUndo
from app.undo import over_before

logger = logging.getLogger(__name__)

EVERY_SECONDS = 15.0
KINDS: tuple[type[Deletable], ...] = (Proxy, ApiKey, Canary, Guideline, LaunchProgram, PolicyVersion, StoredPolicy)


class Deletions:
    """The job. It also runs soon after the start, for what was deleted just before the console ended."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run(self) -> None:
        """Remove the rows whose time is over; without any of them nothing is written."""
        async with self._database.reader() as session:
            due = [kind for kind in KINDS if await session.scalar(select(1).where(is_over(kind)).limit(1))]
            has_undos = await session.scalar(select(1).where(MCPUndo.made_at <= over_before()).limit(1))
        if not due and not has_undos:
            return
        async with self._database.writer() as session:
            await session.execute(delete(MCPUndo).where(MCPUndo.made_at <= over_before()))
            if StoredPolicy in due:
                gone = select(StoredPolicy.id).where(is_over(StoredPolicy))
                versions = delete(PolicyVersion).where(PolicyVersion.policy_id.in_(gone.scalar_subquery()))
                await session.execute(versions.execution_options(synchronize_session=False))
            for kind in due:
                count = await remove_for_good(session, kind)
                logger.info("%d rows of %s were removed for good", count, kind.__name__)
