"""Every decision about canaries. One that is made or deleted concerns the workers with the snapshot that follows the commit."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from datetime import datetime

from app import clock, ids
from app.access.errors import KeyNotFound
from app.access.repository import ApiKeyRepository
from app.alerts.repository import AlertRepository
from app.audit.service import AuditLog
from app.canaries.errors import CanaryNameTaken, CanaryNotFound, TooManyCanaries
from app.canaries.models import Canary
from app.canaries.repository import CanaryRepository
from app.canaries.schemas import CanaryView, CreateCanary, RevealedCanary
from app.database.engine import Database
from app.errors import Unavailable, ValidationFailed
from app.fleet import validation
from app.fleet.control import Rollout
from app.fleet.errors import ProxyNotFound
from app.fleet.repository import ProxyRepository
from app.http.filters import contains
from app.http.sorting import Sort, Sorts
from app.security.permissions import Actor
from app.security.vault import Undecryptable, Vault
from app.undo import NothingToRestore
from rules import canaries as rules
from rules.model import Action

logger = logging.getLogger(__name__)

RESOURCE = "canary"
SEALED_TABLE = "canaries"
SEALED_COLUMN = "sealed_value"
ALPHABET = "23456789BCDFGHJKLMNPQRSTVWXZ"
RANDOM_CHARACTERS = 16
"""About 77 random bits: nobody writes such a text by chance."""
SORTS = Sorts(
    {
        "created_at": lambda canary: canary.created_at,
        "name": lambda canary: canary.name.casefold(),
        "action": lambda canary: canary.action,
        "sightings": lambda canary: canary.sightings,
        "last_seen_at": lambda canary: canary.last_seen_at,
    },
    default="-created_at",
    descending_first=frozenset({"created_at", "sightings", "last_seen_at"}),
)
Sightings = Mapping[str, tuple[int, datetime]]


def new_value() -> str:
    """A text that looks like a reference number and like no credential."""
    return "REF-" + "".join(secrets.choice(ALPHABET) for _ in range(RANDOM_CHARACTERS))


class CanaryService:
    """What can be done with canaries."""

    def __init__(self, *, database: Database, audit: AuditLog, vault: Vault, rollout: Rollout) -> None:
        self._database = database
        self._audit = audit
        self._vault = vault
        self._rollout = rollout

    async def all(self, actor: Actor, *, search: str = "", sort: Sort | None = None) -> list[CanaryView]:
        """The canaries with how often each was seen, newest first unless sorted otherwise.

        `search` is found in name, note and creator.
        """
        async with self._database.reader() as session:
            rows = await CanaryRepository(session, actor.tenant_id).all()
            sightings = await AlertRepository(session, actor.tenant_id).seen_by_rule(
                [rules.rule_id(row.id) for row in rows]
            )
        views = [canary_view(row, sightings) for row in rows if contains(search, row.name, row.note, row.created_by)]
        return SORTS.arranged(views, sort)

    async def get(self, actor: Actor, canary_id: str) -> CanaryView:
        """One canary with how often it was seen; raises CanaryNotFound."""
        async with self._database.reader() as session:
            canary = await _existing(CanaryRepository(session, actor.tenant_id), canary_id)
            sightings = await AlertRepository(session, actor.tenant_id).seen_by_rule([rules.rule_id(canary.id)])
        return canary_view(canary, sightings)

    async def create(self, actor: Actor, request: CreateCanary) -> RevealedCanary:
        """Make a canary; raises ValidationFailed, CanaryNameTaken, TooManyCanaries, ProxyNotFound or KeyNotFound."""
        name, value = request.name.strip(), (request.value or new_value()).strip()
        if problems := _problems(name, value):
            raise ValidationFailed(fields=problems)
        async with self._database.writer() as session:
            repository = CanaryRepository(session, actor.tenant_id)
            await _check_room(repository, name)
            for proxy_id in request.proxy_ids:
                if await ProxyRepository(session, actor.tenant_id).get(proxy_id) is None:
                    raise ProxyNotFound(fields={"proxy_ids": f"There is no proxy {proxy_id}."})
            for key_id in request.key_ids:
                if await ApiKeyRepository(session, actor.tenant_id).get(key_id) is None:
                    raise KeyNotFound(fields={"key_ids": f"There is no API key {key_id}."})
            canary_id = ids.new_id("can")
            canary = Canary(
                id=canary_id,
                name=name,
                note=request.note.strip(),
                sealed_value=self._vault.encrypt(value, table=SEALED_TABLE, row=canary_id, column=SEALED_COLUMN),
                action=request.action,
                direction=request.direction,
                proxy_ids=sorted(set(request.proxy_ids)),
                key_ids=sorted(set(request.key_ids)),
                created_at=clock.utcnow(),
                created_by=actor.username,
            )
            repository.add(canary)
            await self._audit.record(
                session,
                "canary.created",
                actor=actor,
                resource=(RESOURCE, canary.id, canary.name),
                details={"action": canary.action, "proxy_ids": canary.proxy_ids, "key_ids": canary.key_ids},
            )
        await self._rollout.roll_out()
        return RevealedCanary(value=value, canary=canary_view(canary, {}))

    async def reveal(self, actor: Actor, canary_id: str) -> RevealedCanary:
        """The text to plant once more; raises CanaryNotFound. Who asked is on record."""
        async with self._database.writer() as session:
            canary = await _existing(CanaryRepository(session, actor.tenant_id), canary_id)
            value = _opened(canary, self._vault)
            if value is None:
                raise Unavailable("The stored canary cannot be decrypted. Delete it and make a new one.")
            await self._audit.record(
                session, "canary.revealed", actor=actor, resource=(RESOURCE, canary.id, canary.name)
            )
        return RevealedCanary(value=value, canary=canary_view(canary, {}))

    async def delete(self, actor: Actor, canary_id: str) -> str:
        """Look for a canary no more and return its name; raises CanaryNotFound. Its alerts stay, and for a moment
        `restore` brings it back."""
        async with self._database.writer() as session:
            canary = await _existing(CanaryRepository(session, actor.tenant_id), canary_id)
            canary.deleted_at = clock.utcnow()
            await self._audit.record(
                session, "canary.deleted", actor=actor, resource=(RESOURCE, canary.id, canary.name)
            )
        await self._rollout.roll_out()
        return canary.name

    async def restore(self, actor: Actor, canary_id: str) -> CanaryView:
        """Look for a deleted canary again; raises NothingToRestore, CanaryNameTaken or TooManyCanaries."""
        async with self._database.writer() as session:
            repository = CanaryRepository(session, actor.tenant_id)
            if there := await repository.get(canary_id):
                return canary_view(there, {})
            canary = await repository.deleted(canary_id)
            if canary is None:
                raise NothingToRestore
            await _check_room(repository, canary.name)
            canary.deleted_at = None
            await self._audit.record(
                session, "canary.restored", actor=actor, resource=(RESOURCE, canary.id, canary.name)
            )
        await self._rollout.roll_out()
        return canary_view(canary, {})


def watched(rows: list[Canary], vault: Vault) -> tuple[rules.Canary, ...]:
    """The canaries as workers look for them. One that does not open is left out, and the log names it."""
    found = []
    for row in rows:
        value = _opened(row, vault)
        if value is not None:
            found.append(
                rules.Canary(
                    id=row.id,
                    name=row.name,
                    value=value,
                    action=Action.parse(row.action),
                    proxy_ids=frozenset(row.proxy_ids),
                    principal_ids=frozenset(row.key_ids),
                    direction=row.direction,
                )
            )
    return tuple(found)


def canary_view(canary: Canary, sightings: Sightings) -> CanaryView:
    """A canary as the API shows it."""
    rule_id = rules.rule_id(canary.id)
    count, last_seen_at = sightings.get(rule_id, (0, None))
    return CanaryView(
        id=canary.id,
        name=canary.name,
        note=canary.note,
        rule_id=rule_id,
        action=canary.action,
        direction=canary.direction,
        proxy_ids=list(canary.proxy_ids),
        key_ids=list(canary.key_ids),
        sightings=count,
        last_seen_at=last_seen_at,
        created_at=canary.created_at,
        created_by=canary.created_by,
    )


def _problems(name: str, value: str) -> dict[str, str]:
    problems = {}
    if problem := validation.name_problem(name):
        problems["name"] = problem
    low, high = rules.MIN_VALUE_CHARS, rules.MAX_VALUE_CHARS
    if not low <= len(value) <= high:
        problems["value"] = f"Give {low} to {high} characters, or leave it empty for a random one."
    elif not value.isprintable():
        problems["value"] = "Use one line of visible characters."
    elif len(set(value)) < low // 2:
        problems["value"] = "Such a text occurs by chance. Use one that nobody writes otherwise."
    return problems


def _opened(canary: Canary, vault: Vault) -> str | None:
    try:
        return vault.decrypt(canary.sealed_value, table=SEALED_TABLE, row=canary.id, column=SEALED_COLUMN)
    except Undecryptable:
        logger.error("Canary %s cannot be decrypted and is not looked for. Delete it and make a new one.", canary.id)
        return None


async def _check_room(repository: CanaryRepository, name: str) -> None:
    """Raises CanaryNameTaken or TooManyCanaries."""
    if await repository.is_named(name):
        raise CanaryNameTaken(f"There is a canary named {name}.", fields={"name": "This name is taken."})
    if await repository.count() >= rules.MAX_CANARIES:
        raise TooManyCanaries(f"There are {rules.MAX_CANARIES} canaries already.")


async def _existing(repository: CanaryRepository, canary_id: str) -> Canary:
    canary = await repository.get(canary_id)
    if canary is None:
        raise CanaryNotFound
    return canary
