"""The policies of all proxies that name none themselves or by a tag: the last of the levels key, proxy, global (AG-PE-3)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app import clock, ids
from app.audit.service import AuditLog
from app.database.base import DEFAULT_TENANT
from app.database.engine import Database
from app.fleet.assignments import PROXY_TYPES
from app.fleet.control import Rollout
from app.policies.library import PolicyLibrary
from app.policies.models import GlobalPolicies
from app.policies.naming import require_known
from app.policies.schemas import GlobalPoliciesView
from app.security.permissions import Actor


class GlobalPolicyRepository:
    """The one row of a tenant."""

    def __init__(self, session: AsyncSession, tenant_id: str = DEFAULT_TENANT) -> None:
        self._session = session
        self._tenant_id = tenant_id

    async def get(self) -> GlobalPolicies | None:
        """The row, once there is one."""
        statement = select(GlobalPolicies).where(GlobalPolicies.tenant_id == self._tenant_id)
        found: GlobalPolicies | None = await self._session.scalar(statement)
        return found

    async def names(self) -> list[str]:
        """The names of the policies."""
        row = await self.get()
        return list(row.policy_names) if row is not None else []

    def add(self, row: GlobalPolicies) -> None:
        """Insert with the unit of work."""
        row.tenant_id = self._tenant_id
        self._session.add(row)


class GlobalPolicyService:
    """What can be done with the policies of all proxies."""

    def __init__(
        self,
        *,
        database: Database,
        audit: AuditLog,
        library: PolicyLibrary,
        rollout: Rollout,
        prepare_rules: Callable[[Sequence[str]], Awaitable[None]],
    ) -> None:
        self._database = database
        self._audit = audit
        self._library = library
        self._rollout = rollout
        self._prepare_rules = prepare_rules

    async def view(self, actor: Actor) -> GlobalPoliciesView:
        """The policies, and who named them last."""
        async with self._database.reader() as session:
            row = await GlobalPolicyRepository(session, actor.tenant_id).get()
        if row is None:
            return GlobalPoliciesView(policy_names=[], updated_at=None, updated_by="")
        return GlobalPoliciesView(
            policy_names=list(row.policy_names), updated_at=row.updated_at, updated_by=row.updated_by
        )

    async def put(self, actor: Actor, names: Sequence[str]) -> GlobalPoliciesView:
        """Name other policies; raises ValidationFailed or PolicyNotFound."""
        require_known(self._library, names)
        for type in PROXY_TYPES:
            # Compiled before the commit: nobody else's change waits for it.
            await self._prepare_rules([name for name in names if self._library.applies_to(name, type)])
        async with self._database.writer() as session:
            repository = GlobalPolicyRepository(session, actor.tenant_id)
            row = await repository.get()
            before = list(row.policy_names) if row is not None else []
            if row is None:
                row = GlobalPolicies(id=ids.new_id("gpo"))
                repository.add(row)
            row.policy_names, row.updated_at, row.updated_by = list(names), clock.utcnow(), actor.username
            await self._audit.record(
                session,
                "policies.assigned",
                actor=actor,
                resource=("policies", "global", "all proxies"),
                details={"before": before, "after": list(names)},
            )
        await self._rollout.roll_out()
        return await self.view(actor)
