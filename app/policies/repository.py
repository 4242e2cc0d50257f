"""Every query on stored policies and on the feedback about rules, narrowed by tenant."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.database.base import DEFAULT_TENANT
from app.database.deletion import restorable
from app.policies.models import PolicyVersion, RuleFeedback, StoredPolicy


class PolicyRepository:
    """Policies of one tenant in one session."""

    def __init__(self, session: AsyncSession, tenant_id: str = DEFAULT_TENANT) -> None:
        self._session = session
        self._tenant_id = tenant_id
        self._mine = (StoredPolicy.tenant_id == tenant_id, StoredPolicy.deleted_at.is_(None))
        self._kept = (PolicyVersion.tenant_id == tenant_id, PolicyVersion.deleted_at.is_(None))

    async def all(self) -> Sequence[StoredPolicy]:
        """Every policy, by name."""
        statement = select(StoredPolicy).where(*self._mine).order_by(StoredPolicy.name)
        return (await self._session.scalars(statement)).all()

    async def get(self, name: str) -> StoredPolicy | None:
        """The policy with this name."""
        statement = select(StoredPolicy).where(*self._mine, StoredPolicy.name == name)
        found: StoredPolicy | None = await self._session.scalar(statement)
        return found

    async def deleted(self, name: str) -> StoredPolicy | None:
        """The policy with this name that was deleted last and may be restored."""
        mine = StoredPolicy.tenant_id == self._tenant_id
        return await restorable(self._session, StoredPolicy, mine, StoredPolicy.name == name)

    async def published(self) -> list[tuple[StoredPolicy, PolicyVersion]]:
        """Every policy that is in force, with the version that is."""
        statement = (
            select(StoredPolicy, PolicyVersion)
            .join(PolicyVersion, PolicyVersion.policy_id == StoredPolicy.id)
            .where(*self._mine, PolicyVersion.number == StoredPolicy.current_version)
            .order_by(StoredPolicy.name)
        )
        return [(policy, version) for policy, version in (await self._session.execute(statement)).all()]

    async def drafts(self) -> dict[str, PolicyVersion]:
        """The draft of each policy that has one, by the policy's id."""
        statement = select(PolicyVersion).where(*self._kept, PolicyVersion.status == "draft")
        return {version.policy_id: version for version in await self._session.scalars(statement)}

    async def versions(self, policy_id: str) -> Sequence[PolicyVersion]:
        """The versions of a policy, newest first."""
        statement = select(PolicyVersion).where(*self._kept, PolicyVersion.policy_id == policy_id)
        return (await self._session.scalars(statement.order_by(PolicyVersion.number.desc()))).all()

    async def version(self, policy_id: str, number: int) -> PolicyVersion | None:
        """One version of a policy."""
        found: PolicyVersion | None = await self._session.scalar(
            select(PolicyVersion).where(
                *self._kept, PolicyVersion.policy_id == policy_id, PolicyVersion.number == number
            )
        )
        return found

    async def draft(self, policy_id: str) -> PolicyVersion | None:
        """The version that is being worked on."""
        found: PolicyVersion | None = await self._session.scalar(
            select(PolicyVersion).where(
                *self._kept, PolicyVersion.policy_id == policy_id, PolicyVersion.status == "draft"
            )
        )
        return found

    async def discarded(self, policy_id: str) -> PolicyVersion | None:
        """The draft that was discarded last and may be restored."""
        mine = PolicyVersion.tenant_id == self._tenant_id
        return await restorable(self._session, PolicyVersion, mine, PolicyVersion.policy_id == policy_id)

    async def newest_number(self, policy_id: str) -> int:
        """The highest version number that was ever given; 0 for none."""
        statement = select(func.max(PolicyVersion.number)).where(PolicyVersion.policy_id == policy_id)
        return await self._session.scalar(statement) or 0

    def add(self, row: StoredPolicy | PolicyVersion) -> None:
        """Insert with the unit of work."""
        row.tenant_id = self._tenant_id
        self._session.add(row)

    async def forget_discarded(self, policy_id: str) -> None:
        """Remove discarded drafts for good: a version that comes now takes their number."""
        mine = (PolicyVersion.tenant_id == self._tenant_id, PolicyVersion.policy_id == policy_id)
        await self._session.execute(delete(PolicyVersion).where(*mine, PolicyVersion.deleted_at.is_not(None)))


class FeedbackRepository:
    """False-positive marks of one tenant in one session."""

    def __init__(self, session: AsyncSession, tenant_id: str = DEFAULT_TENANT) -> None:
        self._session = session
        self._tenant_id = tenant_id

    async def get(self, mark_id: str) -> RuleFeedback | None:
        """The mark with this id."""
        statement = select(RuleFeedback).where(RuleFeedback.tenant_id == self._tenant_id, RuleFeedback.id == mark_id)
        found: RuleFeedback | None = await self._session.scalar(statement)
        return found

    async def find(self, rule_id: str, call_id: str, evidence_hash: str) -> RuleFeedback | None:
        """The mark on exactly this hit."""
        found: RuleFeedback | None = await self._session.scalar(
            select(RuleFeedback).where(
                RuleFeedback.tenant_id == self._tenant_id,
                RuleFeedback.rule_id == rule_id,
                RuleFeedback.call_id == call_id,
                RuleFeedback.evidence_hash == evidence_hash,
            )
        )
        return found

    async def of_call(self, call_id: str, *, limit: int) -> Sequence[RuleFeedback]:
        """The marks on the hits of a call."""
        statement = select(RuleFeedback).where(
            RuleFeedback.tenant_id == self._tenant_id, RuleFeedback.call_id == call_id
        )
        return (await self._session.scalars(statement.limit(limit))).all()

    async def of_rule(self, rule_id: str, *, limit: int) -> Sequence[RuleFeedback]:
        """The marks on a rule, newest first."""
        statement = select(RuleFeedback).where(
            RuleFeedback.tenant_id == self._tenant_id, RuleFeedback.rule_id == rule_id
        )
        return (await self._session.scalars(statement.order_by(RuleFeedback.marked_at.desc()).limit(limit))).all()

    async def counts(self, packs: Collection[str], since_at: datetime | None = None) -> dict[str, int]:
        """How many hits of each rule of these packs were marked; a mark need not name the pack."""
        statement = select(RuleFeedback.rule_id, func.count()).where(
            RuleFeedback.tenant_id == self._tenant_id, RuleFeedback.pack.in_(["", *packs])
        )
        if since_at is not None:
            statement = statement.where(RuleFeedback.marked_at >= since_at)
        rows: Sequence[Any] = (await self._session.execute(statement.group_by(RuleFeedback.rule_id))).all()
        return dict(rows)

    def add(self, row: RuleFeedback) -> None:
        """Insert with the unit of work."""
        row.tenant_id = self._tenant_id
        self._session.add(row)

    async def delete(self, row: RuleFeedback) -> None:
        """Delete with the unit of work."""
        await self._session.delete(row)
