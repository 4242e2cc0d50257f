"""Every decision about API keys. A revoked or deleted key stops working with the snapshot that follows the commit."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

from app import clock, ids, undo
from app.access import keytext
from app.access.errors import KeyAlreadyRevoked, KeyNameTaken, KeyNotFound
from app.access.models import ApiKey
from app.access.repository import ApiKeyRepository
from app.access.schemas import CreateKey, KeyView, NewKey, UpdateKey
from app.audit.service import AuditLog
from app.database.engine import Database
from app.errors import ValidationFailed
from app.fleet import validation
from app.fleet.assignments import PROXY_TYPES
from app.fleet.control import Rollout
from app.fleet.errors import ProxyNotFound
from app.fleet.repository import ProxyRepository
from app.http.envelope import Listing
from app.http.sorting import Sort
from app.policies.errors import PolicyNotFound
from app.policies.library import PolicyLibrary
from app.security.permissions import Actor
from app.undo import NothingToRestore

RESOURCE = "api_key"


class KeyService:
    """What can be done with API keys."""

    def __init__(
        self,
        *,
        database: Database,
        audit: AuditLog,
        rollout: Rollout,
        library: PolicyLibrary,
        prepare_rules: Callable[[Sequence[str]], Awaitable[None]],
    ) -> None:
        self._database = database
        self._audit = audit
        self._rollout = rollout
        self._library = library
        self._prepare_rules = prepare_rules

    async def page(
        self,
        actor: Actor,
        *,
        limit: int = 50,
        offset: int = 0,
        search: str = "",
        state: str = "",
        sort: Sort | None = None,
    ) -> Listing[KeyView]:
        """A page of the keys that match, newest first unless sorted otherwise."""
        now = clock.utcnow()
        async with self._database.reader() as session:
            rows, total = await ApiKeyRepository(session, actor.tenant_id).page(
                now, limit=limit, offset=offset, search=search, state=state, sort=sort
            )
        return Listing(items=[key_view(row, now) for row in rows], total=total, limit=limit, offset=offset)

    async def get(self, actor: Actor, key_id: str) -> KeyView:
        """One key; raises KeyNotFound."""
        async with self._database.reader() as session:
            return key_view(await _existing(ApiKeyRepository(session, actor.tenant_id), key_id), clock.utcnow())

    async def create(self, actor: Actor, request: CreateKey) -> NewKey:
        """Make a key; raises ValidationFailed, ProxyNotFound (an unknown id in `proxy_ids`), PolicyNotFound or KeyNameTaken."""
        name = request.name.strip()
        if problem := validation.name_problem(name):
            raise ValidationFailed(fields={"name": problem})
        if request.proxy_ids is not None and not request.proxy_ids:
            raise ValidationFailed(fields={"proxy_ids": "Name at least one proxy, or leave it out for all proxies."})
        await self._check_policies(request.policy_names)
        text, now = keytext.new_key(), clock.utcnow()
        prefix, last4 = keytext.shown_parts(text)
        async with self._database.writer() as session:
            repository = ApiKeyRepository(session, actor.tenant_id)
            if await repository.has_active_named(name, now):
                raise KeyNameTaken(f"There is an active key named {name}.", fields={"name": "This name is taken."})
            await _check_proxies(ProxyRepository(session, actor.tenant_id), request.proxy_ids)
            key = ApiKey(
                id=ids.new_id("key"),
                name=name,
                digest=keytext.digest(text),
                prefix=prefix,
                last4=last4,
                proxy_ids=None if request.proxy_ids is None else sorted(set(request.proxy_ids)),
                policy_names=list(request.policy_names),
                created_at=now,
                created_by=actor.username,
                expires_at=now + timedelta(days=request.expires_in_days) if request.expires_in_days else None,
            )
            repository.add(key)
            await self._audit.record(
                session,
                "apikey.created",
                actor=actor,
                resource=(RESOURCE, key.id, key.name),
                details={
                    "proxy_ids": key.proxy_ids,
                    "policies": key.policy_names,
                    "expires_in_days": request.expires_in_days,
                },
            )
        await self._rollout.roll_out()
        return NewKey(key=text, api_key=key_view(key, now))

    async def update(self, actor: Actor, key_id: str, request: UpdateKey) -> KeyView:
        """Change the policies of a key; raises KeyNotFound, KeyAlreadyRevoked, ValidationFailed or PolicyNotFound."""
        await self._check_policies(request.policy_names)
        async with self._database.writer() as session:
            key = await _existing(ApiKeyRepository(session, actor.tenant_id), key_id)
            if key.revoked_at is not None:
                raise KeyAlreadyRevoked(f"The key {key.name} is revoked already.")
            before, key.policy_names = key.policy_names, list(request.policy_names)
            await self._audit.record(
                session,
                "apikey.updated",
                actor=actor,
                resource=(RESOURCE, key.id, key.name),
                details={"policies": {"before": before, "after": key.policy_names}},
            )
        await self._rollout.roll_out()
        return key_view(key, clock.utcnow())

    async def revoke(self, actor: Actor, key_id: str) -> KeyView:
        """End a key and keep its row; for a moment `restore` brings it back. Raises KeyNotFound or KeyAlreadyRevoked."""
        now = clock.utcnow()
        async with self._database.writer() as session:
            key = await _existing(ApiKeyRepository(session, actor.tenant_id), key_id)
            if key.revoked_at is not None:
                raise KeyAlreadyRevoked(f"The key {key.name} is revoked already.")
            key.revoked_at = now
            await self._audit.record(
                session,
                "apikey.revoked",
                actor=actor,
                resource=(RESOURCE, key.id, key.name),
            )
        await self._rollout.roll_out()
        return key_view(key, now)

    async def delete(self, actor: Actor, key_id: str) -> None:
        """End a key and take it off the list; for a moment `restore` brings it back. Raises KeyNotFound."""
        async with self._database.writer() as session:
            key = await _existing(ApiKeyRepository(session, actor.tenant_id), key_id)
            key.deleted_at = clock.utcnow()
            await self._audit.record(
                session,
                "apikey.deleted",
                actor=actor,
                resource=(RESOURCE, key.id, key.name),
            )
        await self._rollout.roll_out()

    async def restore(self, actor: Actor, key_id: str) -> KeyView:
        """Take the latest deletion or revocation of a key back; raises NothingToRestore or KeyNameTaken."""
        now = clock.utcnow()
        async with self._database.writer() as session:
            repository = ApiKeyRepository(session, actor.tenant_id)
            key = await repository.get(key_id)
            if key is not None and key.revoked_at is None:
                return key_view(key, now)
            if key is None:
                key = await repository.deleted(key_id)
                what = "deletion"
            elif undo.is_open(key.revoked_at):
                what = "revocation"
            else:
                raise NothingToRestore(f"The key {key.name} was revoked too long ago to be restored.")
            if key is None:
                raise NothingToRestore
            if what == "deletion":
                key.deleted_at = None
            else:
                key.revoked_at = None
            if key_state(key, now) == "active" and await repository.has_active_named(key.name, now, but=key.id):
                raise KeyNameTaken(f"There is another active key named {key.name} now.")
            await self._audit.record(
                session, "apikey.restored", actor=actor, resource=(RESOURCE, key.id, key.name), details={"after": what}
            )
        await self._rollout.roll_out()
        return key_view(key, now)

    async def _check_policies(self, names: Sequence[str]) -> None:
        """Refuse names that no policy has; compile the rules before anybody waits for them."""
        if problem := validation.policy_names_problem(names):
            raise ValidationFailed(fields={"policy_names": problem})
        if unknown := self._library.unknown(names):
            message = f"There is no policy named {unknown[0]}."
            raise PolicyNotFound(message, fields={"policy_names": message})
        for type in PROXY_TYPES:
            if fitting := [name for name in names if self._library.applies_to(name, type)]:
                await self._prepare_rules(fitting)


def key_view(key: ApiKey, now: datetime) -> KeyView:
    """A key as the API shows it."""
    return KeyView(
        id=key.id,
        name=key.name,
        prefix=key.prefix,
        last4=key.last4,
        proxy_ids=None if key.proxy_ids is None else list(key.proxy_ids),
        policy_names=list(key.policy_names),
        created_at=key.created_at,
        created_by=key.created_by,
        expires_at=key.expires_at,
        last_used_at=key.last_used_at,
        revoked_at=key.revoked_at,
        state=key_state(key, now),
    )


def key_state(key: ApiKey, now: datetime) -> str:
    """`revoked` outranks `expired` outranks `active`."""
    if key.revoked_at is not None:
        return "revoked"
    return "expired" if key.expires_at is not None and key.expires_at <= now else "active"


async def _existing(repository: ApiKeyRepository, key_id: str) -> ApiKey:
    key = await repository.get(key_id)
    if key is None:
        raise KeyNotFound
    return key


async def _check_proxies(repository: ProxyRepository, proxy_ids: list[str] | None) -> None:
    for proxy_id in proxy_ids or ():
        if await repository.get(proxy_id) is None:
            raise ProxyNotFound(
                f"There is no proxy {proxy_id}.", fields={"proxy_ids": f"There is no proxy {proxy_id}."}
            )
