"""Every decision about stored policies: draft → checked → published → rolled back or deleted.

A change is committed together with its audit entry, then the library learns of it, then the fleet. Rules are compiled
before the commit, so that nobody waits for a compiler while the fleet is told.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from app import clock, ids
from app.access.repository import ApiKeyRepository
from app.audit.service import AuditLog
from app.database.engine import Database
from app.errors import Unavailable, ValidationFailed
from app.fleet import rulesets
from app.fleet.assignments import policies_of
from app.fleet.control import Rollout
from app.fleet.repository import ProxyRepository
from app.policies import documents
from app.policies.diff import Change, diff
from app.policies.errors import (
    DraftOutdated,
    NothingToPublish,
    PolicyInUse,
    PolicyInvalid,
    PolicyNameTaken,
    PolicyNotFound,
    ShippedPolicy,
    VersionNotFound,
)
from app.policies.global_policies import GlobalPolicyRepository
from app.policies.library import PolicyLibrary
from app.policies.models import PolicyVersion, StoredPolicy
from app.policies.repository import PolicyRepository
from app.policies.schemas import DocumentView, StoredView, VersionView
from app.policies.tag_policies import TagPolicyRepository
from app.policies.views import document_view, stored_view, version_view
from app.policies.workbench import Workbench
from app.security.permissions import Actor
from app.undo import NothingToRestore
from rules.packs import Pack, Problem
from rules.policy import Policy
from rules.policy_lint import lint_read, remarks

logger = logging.getLogger(__name__)

RESOURCE = "policy"
RESERVED_NAMES = frozenset(
    """compiled drafts everywhere global import new patterns playground replays tags templates test validate""".split()
)
"""Words that stand where a policy's name stands in an address."""
MAX_NOTE_CHARS = 1_000

PreparePacks = Callable[[list[Pack]], Awaitable[object]]


class PolicyService:
    """What can be done with policies."""

    def __init__(
        self,
        *,
        database: Database,
        audit: AuditLog,
        library: PolicyLibrary,
        rollout: Rollout,
        prepare_packs: PreparePacks,
        workbench: Workbench,
    ) -> None:
        self._database = database
        self._audit = audit
        self._library = library
        self._rollout = rollout
        self._prepare_packs = prepare_packs
        self.workbench = workbench

    # --- Reading --------------------------------------------------------------------------------------------------

    async def stored(self, actor: Actor) -> dict[str, StoredView]:
        """The policies made here, by name, those without a published version included."""
        async with self._database.reader() as session:
            repository = PolicyRepository(session, actor.tenant_id)
            drafts = await repository.drafts()
            return {row.name: stored_view(row, drafts.get(row.id)) for row in await repository.all()}

    async def document(self, actor: Actor, name: str, version: int | None = None) -> DocumentView:
        """A policy's document: the wanted version, or the one in force, or (before there is one) the draft.

        Raises PolicyNotFound or VersionNotFound.
        """
        if self._library.is_shipped(name):
            if version is not None:
                raise VersionNotFound(f"The shipped policy {name} has no versions.")
            policy = self._library.get(name)
            return DocumentView(
                name=name, shipped=True, version=None, status="shipped", revision=0, text=text_of(policy)
            )
        async with self._database.reader() as session:
            repository = PolicyRepository(session, actor.tenant_id)
            row = await _existing(repository, name)
            wanted = version if version is not None else row.current_version
            found = await (repository.draft(row.id) if wanted is None else repository.version(row.id, wanted))
            if found is None:
                raise VersionNotFound(f"The policy {name} has no version {version}.")
            return document_view(row, found)

    async def draft(self, actor: Actor, name: str) -> DocumentView | None:
        """The draft of a policy made here; None without one. Raises PolicyNotFound."""
        async with self._database.reader() as session:
            repository = PolicyRepository(session, actor.tenant_id)
            row = await _existing(repository, name)
            found = await repository.draft(row.id)
            return None if found is None else document_view(row, found)

    async def versions(self, actor: Actor, name: str) -> list[VersionView]:
        """The versions of a policy, newest first; none for a shipped one. Raises PolicyNotFound."""
        if self._library.is_shipped(name):
            return []
        async with self._database.reader() as session:
            repository = PolicyRepository(session, actor.tenant_id)
            row = await _existing(repository, name)
            return [version_view(version) for version in await repository.versions(row.id)]

    async def diff(self, actor: Actor, name: str, before: int, after: int) -> list[Change]:
        """What changed from one version to another; raises PolicyNotFound or VersionNotFound."""
        values = []
        for number in (before, after):
            value, _ = documents.parse((await self.document(actor, name, number)).text)
            values.append(value)
        return diff(*values)

    async def check(self, value: Any) -> tuple[Policy | None, list[Problem], list[Problem]]:
        """(the policy, its problems, remarks on what has no effect); raises PolicyTooSlow."""
        policy, problems = documents.read(value)
        if policy is None:
            return None, problems, []
        packs = self._library.shared_packs

        def work() -> tuple[list[Problem], list[Problem]]:
            found = lint_read(policy, problems, documents.ORIGIN, packs)
            return found, [] if problems else remarks(policy, documents.ORIGIN, packs)

        found, notes = await self.workbench.run(work)
        return policy, found, notes

    # --- Changing -------------------------------------------------------------------------------------------------

    async def create(self, actor: Actor, value: dict[str, Any], note: str = "") -> DocumentView:
        """Make a policy whose first version is a draft of this document.

        Raises ValidationFailed for a name that cannot be, PolicyNameTaken for one that is.
        """
        name = _name_in(value)
        if self._library.is_shipped(name):
            message = f"{name} is the name of a policy that comes with Ostiary."
            raise PolicyNameTaken(message, fields={"name": message})
        now = clock.utcnow()
        async with self._database.writer() as session:
            repository = PolicyRepository(session, actor.tenant_id)
            if await repository.get(name) is not None:
                message = f"There is a policy named {name}."
                raise PolicyNameTaken(message, fields={"name": message})
            row = StoredPolicy(
                id=ids.new_id("pol"),
                name=name,
                type=_type_in(value),
                current_version=None,
                created_at=now,
                created_by=actor.username,
                updated_at=now,
            )
            repository.add(row)
            version = _new_version(row, 1, documents.canonical(value), actor, note)
            repository.add(version)
            await self._record(session, actor, row, "policy.created", {"version": 1, "type": row.type})
            return document_view(row, version)

    async def save_draft(
        self, actor: Actor, name: str, value: dict[str, Any], *, revision: int | None, note: str = ""
    ) -> DocumentView:
        """Save the document as the draft of a policy.

        `revision` is that of the draft which was changed (0: there was none); None overwrites whatever is there.
        Raises PolicyNotFound, ShippedPolicy, DraftOutdated, ValidationFailed.
        """
        self._refuse_shipped(name)
        if _name_in(value) != name:
            raise ValidationFailed(fields={"/name": f"The name of this policy is {name} and stays so."})
        async with self._database.writer() as session:
            repository = PolicyRepository(session, actor.tenant_id)
            row = await _existing(repository, name)
            draft = await repository.draft(row.id)
            if revision is not None and revision != (draft.revision if draft else 0):
                raise _outdated(draft)
            if draft is None:
                await repository.forget_discarded(row.id)
                number = await repository.newest_number(row.id) + 1
                draft = _new_version(row, number, documents.canonical(value), actor, note)
                repository.add(draft)
            else:
                draft.document = documents.canonical(value)
                draft.revision += 1
                draft.author = actor.username
                draft.updated_at = clock.utcnow()
                draft.note = note[:MAX_NOTE_CHARS] or draft.note
            row.updated_at = draft.updated_at
            if row.current_version is None:
                row.type = _type_in(value)
            await self._record(
                session, actor, row, "policy.draft_saved", {"version": draft.number, "revision": draft.revision}
            )
            return document_view(row, draft)

    async def publish(self, actor: Actor, name: str, *, revision: int | None = None, note: str = "") -> DocumentView:
        """Put the draft in force; every proxy that uses the policy serves it at once.

        Raises PolicyNotFound, ShippedPolicy, NothingToPublish, DraftOutdated, PolicyInvalid, PolicyInUse (the new type
        does not suit a proxy that uses it), PolicyTooSlow.
        """
        self._refuse_shipped(name)
        draft = await self.draft(actor, name)
        if draft is None:
            raise NothingToPublish(f"The policy {name} has no draft.")
        if revision is not None and revision != draft.revision:
            raise DraftOutdated
        policy = await self._checked(draft.text)
        await self._prepare(actor, policy)
        async with self._database.writer() as session:
            repository = PolicyRepository(session, actor.tenant_id)
            row = await _existing(repository, name)
            version = await repository.draft(row.id)
            if version is None or version.revision != draft.revision:
                raise _outdated(version)
            await _check_type(session, actor, policy)
            version.note = note[:MAX_NOTE_CHARS] or version.note
            await self._put_in_force(session, repository, row, version, actor)
            await self._record(session, actor, row, "policy.published", {"version": version.number})
            view = document_view(row, version)
        await self._take_effect(policy, view.version or 0)
        return view

    async def roll_back(self, actor: Actor, name: str, number: int, *, note: str = "") -> DocumentView:
        """Put an earlier version in force again, as a new version; a draft stays a draft.

        Raises as `publish`, and VersionNotFound.
        """
        self._refuse_shipped(name)
        wanted = await self.document(actor, name, number)
        if wanted.status != "retired":
            raise VersionNotFound(f"Version {number} is no earlier version: it is {wanted.status}.")
        policy = await self._checked(wanted.text)
        await self._prepare(actor, policy)
        async with self._database.writer() as session:
            repository = PolicyRepository(session, actor.tenant_id)
            row = await _existing(repository, name)
            await _check_type(session, actor, policy)
            draft = await repository.draft(row.id)
            await repository.forget_discarded(row.id)
            newest = await repository.newest_number(row.id)
            if draft is not None:
                # The draft was the newest; it stays so behind the version that comes into force now.
                draft.number, newest = newest + 1, newest - 1
                await session.flush()
            version = _new_version(row, newest + 1, wanted.text, actor, note or f"Rolled back to version {number}")
            repository.add(version)
            await self._put_in_force(session, repository, row, version, actor)
            await self._record(
                session, actor, row, "policy.rolled_back", {"version": version.number, "document_of": number}
            )
            view = document_view(row, version)
        await self._take_effect(policy, view.version or 0)
        return view

    async def discard(self, actor: Actor, name: str) -> None:
        """Throw the draft away, and with it a policy that was never published; for a moment `restore` brings it back.

        Raises as `save_draft`, and NothingToPublish.
        """
        self._refuse_shipped(name)
        async with self._database.writer() as session:
            repository = PolicyRepository(session, actor.tenant_id)
            row = await _existing(repository, name)
            draft = await repository.draft(row.id)
            if draft is None:
                raise NothingToPublish(f"The policy {name} has no draft.")
            thrown_away: StoredPolicy | PolicyVersion = row if row.current_version is None else draft
            thrown_away.deleted_at = clock.utcnow()
            await self._record(session, actor, row, "policy.draft_discarded", {"version": draft.number})

    async def delete(self, actor: Actor, name: str) -> None:
        """Delete a policy with all its versions; for a moment `restore` brings it back.

        Raises PolicyNotFound, ShippedPolicy, or PolicyInUse naming who uses it.
        """
        self._refuse_shipped(name)
        async with self._database.writer() as session:
            repository = PolicyRepository(session, actor.tenant_id)
            row = await _existing(repository, name)
            if users := await users_of(session, actor, name):
                raise PolicyInUse(f"The policy {name} is used by {', '.join(users)}.")
            row.deleted_at = clock.utcnow()
            await self._record(session, actor, row, "policy.deleted", {"version": row.current_version})
        self._library.remove(name)
        await self._rollout.roll_out()

    async def restore(self, actor: Actor, name: str) -> Literal["policy", "draft"]:
        """Take back that a policy was deleted, all versions included, or that its draft was discarded; says which.

        Raises NothingToRestore or PolicyNameTaken; what is there already stays as it is.
        """
        async with self._database.writer() as session:
            repository = PolicyRepository(session, actor.tenant_id)
            there, row = await repository.get(name), await repository.deleted(name)
            if row is None:
                if there is None:
                    raise NothingToRestore
                return await self._restore_draft(session, repository, actor, there)
            if there is not None:
                raise PolicyNameTaken(f"There is a new policy named {name}.")
            row.deleted_at = None
            await self._record(session, actor, row, "policy.restored", {"version": row.current_version})
        await self.reload()
        await self._rollout.roll_out()
        return "policy"

    async def _restore_draft(
        self, session: AsyncSession, repository: PolicyRepository, actor: Actor, row: StoredPolicy
    ) -> Literal["policy", "draft"]:
        draft = await repository.discarded(row.id)
        if draft is None:
            return "policy"
        draft.deleted_at = None
        await self._record(session, actor, row, "policy.draft_restored", {"version": draft.number})
        return "draft"

    async def reload(self) -> None:
        """Tell the library what is in force, at the start."""
        async with self._database.reader() as session:
            published = await PolicyRepository(session).published()
        for row, version in published:
            value, problems = documents.parse(version.document)
            policy = None
            if not problems:
                policy, problems = documents.read(value)
            if policy is None:
                # Proxies that use it fail with that reason; nothing passes for want of a policy.
                logger.error("The policy %s cannot be read by this version: %s", row.name, problems[0])
                self._library.put_damaged(row.name, msgspec.structs.replace(problems[0], file=f"policy {row.name}"))
                continue
            self._library.put(row.name, policy, version.number)

    # --- Parts ----------------------------------------------------------------------------------------------------

    def _refuse_shipped(self, name: str) -> None:
        if self._library.is_shipped(name):
            raise ShippedPolicy(f"The policy {name} comes with Ostiary and cannot be changed.")

    async def _checked(self, text: str) -> Policy:
        value, problems = documents.parse(text)
        policy = None
        if not problems:
            policy, problems, _ = await self.check(value)
        if policy is None or problems:
            raise PolicyInvalid(problems)
        return policy

    async def _prepare(self, actor: Actor, policy: Policy) -> None:
        """Compile what each proxy that uses the policy will need with its new version."""
        async with self._database.reader() as session:
            proxies = await ProxyRepository(session, actor.tenant_id).all()
            by_tag = await TagPolicyRepository(session, actor.tenant_id).by_tag()
        together = [policies_of(self._library, proxy.policy_names, proxy.tags, proxy.type, by_tag) for proxy in proxies]
        sets = {tuple(names) for names in together if policy.name in names}
        for names in sorted(sets | {(policy.name,)}):
            others = [name for name in names if name != policy.name and not self._library.unknown([name])]
            packs = {pack.name: pack for pack in (*self._library.packs_of(others), *self._library.packs_for(policy))}
            try:
                await self._prepare_packs([packs[name] for name in sorted(packs)])
            except rulesets.RulesetUnavailable as error:
                raise Unavailable(str(error), remediation=rulesets.REMEDY) from error

    async def _put_in_force(
        self,
        session: AsyncSession,
        repository: PolicyRepository,
        row: StoredPolicy,
        version: PolicyVersion,
        actor: Actor,
    ) -> None:
        now = clock.utcnow()
        if row.current_version is not None:
            before = await repository.version(row.id, row.current_version)
            if before is not None:
                before.status = "retired"
        version.status, version.published_at, version.author = "published", now, actor.username
        value, _ = documents.parse(version.document)
        row.current_version, row.type, row.updated_at = version.number, _type_in(value), now
        await session.flush()

    async def _take_effect(self, policy: Policy, number: int) -> None:
        self._library.put(policy.name, policy, number)
        await self._rollout.roll_out()

    async def _record(
        self, session: AsyncSession, actor: Actor, row: StoredPolicy, event: str, details: dict[str, object]
    ) -> None:
        await self._audit.record(session, event, actor=actor, resource=(RESOURCE, row.id, row.name), details=details)


def text_of(policy: Policy) -> str:
    """The canonical text of a policy."""
    return documents.canonical(documents.as_value(policy))


async def users_of(session: AsyncSession, actor: Actor, name: str) -> list[str]:
    """The proxies and keys that use a policy, and whether all proxies do, in words."""
    proxies = await ProxyRepository(session, actor.tenant_id).all()
    keys = await ApiKeyRepository(session, actor.tenant_id).usable(clock.utcnow())
    users = [f"the proxy {proxy.name}" for proxy in proxies if name in proxy.policy_names]
    users += [f"the key {key.name}" for key in keys if name in key.policy_names]
    if name in await GlobalPolicyRepository(session, actor.tenant_id).names():
        users.append("all proxies without policies of their own")
    by_tag = await TagPolicyRepository(session, actor.tenant_id).by_tag()
    users += [f"the tag {tag}" for tag, names in by_tag.items() if name in names]
    return users


async def _check_type(session: AsyncSession, actor: Actor, policy: Policy) -> None:
    unfit = [
        proxy.name
        for proxy in await ProxyRepository(session, actor.tenant_id).all()
        if policy.name in proxy.policy_names and not policy.applies_to(proxy.type)
    ]
    if unfit:
        raise PolicyInUse(
            f"The policy is meant for {policy.type} now, and the proxy {unfit[0]} that uses it is of another type."
        )


async def _existing(repository: PolicyRepository, name: str) -> StoredPolicy:
    row = await repository.get(name)
    if row is None:
        raise PolicyNotFound(f"There is no policy named {name}.")
    return row


def _new_version(row: StoredPolicy, number: int, text: str, actor: Actor, note: str) -> PolicyVersion:
    now = clock.utcnow()
    return PolicyVersion(
        id=ids.new_id("pov"),
        policy_id=row.id,
        number=number,
        status="draft",
        revision=1,
        document=text,
        note=note[:MAX_NOTE_CHARS],
        author=actor.username,
        created_at=now,
        updated_at=now,
        published_at=None,
    )


def _outdated(draft: PolicyVersion | None) -> DraftOutdated:
    if draft is None:
        return DraftOutdated("The draft was published or discarded meanwhile.")
    return DraftOutdated(f"The draft was changed by {draft.author} meanwhile (revision {draft.revision}).")


def _name_in(value: dict[str, Any]) -> str:
    """The name that a document gives itself; the one thing that must be right in any draft."""
    name = value.get("name")
    _, problems = documents.read({"name": name})
    if problems:
        raise ValidationFailed(fields={"name": "Use small letters, digits and hyphens, at most 60 characters."})
    if name in RESERVED_NAMES:
        raise ValidationFailed(fields={"name": f"{name} is a word of the console's own addresses."})
    return str(name)


def _type_in(value: dict[str, Any]) -> str:
    word = value.get("type", "both")
    return word if word in ("llm", "mcp", "a2a", "both") else "both"
