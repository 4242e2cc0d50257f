"""The policies of all proxies with a tag: they stand beside those that a proxy names itself (SYP-POL-5)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app import clock, ids
from app.audit.service import AuditLog
from app.database.base import DEFAULT_TENANT
from app.database.engine import Database
from app.errors import ValidationFailed
from app.fleet import validation
from app.fleet.assignments import policies_of
from app.fleet.control import Rollout
from app.fleet.repository import ProxyRepository
from app.policies.library import PolicyLibrary
from app.policies.models import TagPolicies
from app.policies.naming import require_known
from app.policies.schemas import TagPoliciesView
from app.security.permissions import Actor

MAX_TAGS = 200


class TagPolicyRepository:
    """The rows of a tenant."""

    def __init__(self, session: AsyncSession, tenant_id: str = DEFAULT_TENANT) -> None:
        self._session = session
        self._tenant_id = tenant_id

    async def all(self) -> Sequence[TagPolicies]:
        """The tags that have policies, by name."""
        statement = select(TagPolicies).where(TagPolicies.tenant_id == self._tenant_id).order_by(TagPolicies.tag)
        return (await self._session.scalars(statement)).all()

    async def by_tag(self) -> dict[str, list[str]]:
        """The names of the policies by tag."""
        return {row.tag: list(row.policy_names) for row in await self.all()}

    async def get(self, tag: str) -> TagPolicies | None:
        """The row of a tag, where it has policies."""
        statement = select(TagPolicies).where(TagPolicies.tenant_id == self._tenant_id, TagPolicies.tag == tag)
        found: TagPolicies | None = await self._session.scalar(statement)
        return found

    def add(self, row: TagPolicies) -> None:
        """Insert with the unit of work."""
        row.tenant_id = self._tenant_id
        self._session.add(row)

    async def delete(self, row: TagPolicies) -> None:
        """Take a tag off the list."""
        await self._session.delete(row)


class TagPolicyService:
    """What can be done with the policies of tags."""

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

    async def views(self, actor: Actor) -> list[TagPoliciesView]:
        """Every tag that has policies or that a proxy has, by name."""
        async with self._database.reader() as session:
            rows = {row.tag: row for row in await TagPolicyRepository(session, actor.tenant_id).all()}
            proxies = await ProxyRepository(session, actor.tenant_id).all()
        counts: dict[str, int] = dict.fromkeys(rows, 0)
        for proxy in proxies:
            for tag in proxy.tags:
                counts[tag] = counts.get(tag, 0) + 1
        return [_view(tag, rows.get(tag), counts[tag]) for tag in sorted(counts)]

    async def put(self, actor: Actor, tag: str, names: Sequence[str]) -> TagPoliciesView:
        """Name other policies for the proxies with a tag; raises ValidationFailed or PolicyNotFound."""
        if problem := validation.tags_problem([tag]):
            raise ValidationFailed(fields={"tag": problem})
        require_known(self._library, names)
        await self._prepare(actor, tag, names)
        async with self._database.writer() as session:
            repository = TagPolicyRepository(session, actor.tenant_id)
            row = await repository.get(tag)
            before = list(row.policy_names) if row is not None else []
            if names and row is None:
                if len(await repository.all()) >= MAX_TAGS:
                    raise ValidationFailed(fields={"tag": f"At most {MAX_TAGS} tags have policies."})
                row = TagPolicies(id=ids.new_id("tgp"), tag=tag)
                repository.add(row)
            if row is not None:
                row.policy_names, row.updated_at, row.updated_by = list(names), clock.utcnow(), actor.username
                if not names:
                    await repository.delete(row)
            await self._audit.record(
                session,
                "policies.assigned",
                actor=actor,
                resource=("policies", "tag", tag),
                details={"before": before, "after": list(names)},
            )
        await self._rollout.roll_out()
        return next((view for view in await self.views(actor) if view.tag == tag), _view(tag, None, 0))

    async def _prepare(self, actor: Actor, tag: str, names: Sequence[str]) -> None:
        """Compile what each proxy with the tag will need, before the commit: nobody else's change waits for it."""
        async with self._database.reader() as session:
            by_tag = await TagPolicyRepository(session, actor.tenant_id).by_tag() | {tag: list(names)}
            members = [proxy for proxy in await ProxyRepository(session, actor.tenant_id).all() if tag in proxy.tags]
        wanted = {
            tuple(policies_of(self._library, proxy.policy_names, proxy.tags, proxy.type, by_tag)) for proxy in members
        }
        for together in sorted(wanted):
            await self._prepare_rules(together)


def _view(tag: str, row: TagPolicies | None, proxies: int) -> TagPoliciesView:
    return TagPoliciesView(
        tag=tag,
        policy_names=list(row.policy_names) if row is not None else [],
        proxies=proxies,
        updated_at=row.updated_at if row is not None else None,
        updated_by=row.updated_by if row is not None else "",
    )
