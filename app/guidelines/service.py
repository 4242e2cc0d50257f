"""Every decision about guidelines, and which of their passages speak of the same things as a text.

The index of a tenant is kept in memory and made again where the table says that something has changed, so that several
consoles on one database agree.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

from app import clock, ids
from app.audit.service import AuditLog
from app.database.engine import Database
from app.errors import ValidationFailed
from app.fleet import validation
from app.guidelines.errors import GuidelineNameTaken, GuidelineNotFound, TooManyGuidelines
from app.guidelines.models import Guideline
from app.guidelines.repository import GuidelineRepository
from app.guidelines.schemas import (
    MAX_CHARACTERS,
    AddGuideline,
    CitedPassage,
    GuidelineText,
    GuidelineView,
    PassageView,
)
from app.http.filters import contains
from app.http.sorting import Sort, Sorts
from app.security.permissions import Actor
from app.undo import NothingToRestore
from rules.retrieval import PassageIndex, passages

RESOURCE = "guideline"
MAX_GUIDELINES = 100
MAX_CHARACTERS_TOGETHER = 2_000_000
MAX_TENANTS = 8
"""Indexes in memory; the one used longest ago goes first."""
SORTS = Sorts(
    {
        "name": lambda guideline: guideline.name.casefold(),
        "passages": lambda guideline: guideline.passages,
        "created_at": lambda guideline: guideline.created_at,
    },
    default="name",
    descending_first=frozenset({"passages", "created_at"}),
)


class _Kept(NamedTuple):
    """The passages of a tenant, and where each of them comes from."""

    state: tuple[tuple[str, str], ...]
    passages: PassageIndex
    sources: list[tuple[str, str, int]]
    """Id and name of the guideline, and the number of the passage in it."""


class GuidelineService:
    """What can be done with guidelines."""

    def __init__(self, *, database: Database, audit: AuditLog) -> None:
        self._database = database
        self._audit = audit
        self._indexes: OrderedDict[str, _Kept] = OrderedDict()
        self._making = asyncio.Lock()
        """Whoever asks while an index is being made waits for it: making one takes a processor for a while."""

    def __repr__(self) -> str:
        return f"<GuidelineService {len(self._indexes)} indexes>"

    async def all(self, actor: Actor, *, search: str = "", sort: Sort | None = None) -> list[GuidelineView]:
        """The guidelines by name unless sorted otherwise; `search` is found in name and creator."""
        async with self._database.reader() as session:
            rows = await GuidelineRepository(session, actor.tenant_id).all()
        views = [guideline_view(row) for row in rows if contains(search, row.name, row.created_by)]
        return SORTS.arranged(views, sort)

    async def get(self, actor: Actor, guideline_id: str) -> GuidelineText:
        """A guideline with its passages; raises GuidelineNotFound."""
        async with self._database.reader() as session:
            row = await GuidelineRepository(session, actor.tenant_id).get(guideline_id)
            if row is None:
                raise GuidelineNotFound
            view, content = guideline_view(row), row.content
        found = await asyncio.to_thread(passages, content)
        return GuidelineText(
            guideline=view,
            passages=[
                PassageView(
                    guideline_id=view.id, name=view.name, number=number, heading=passage.heading, text=passage.text
                )
                for number, passage in enumerate(found, 1)
            ],
        )

    async def add(self, actor: Actor, request: AddGuideline) -> GuidelineView:
        """Keep a document; raises ValidationFailed, GuidelineNameTaken, TooManyGuidelines."""
        name, content = request.name.strip(), request.content.replace("\r\n", "\n")
        if problem := validation.name_problem(name):
            raise ValidationFailed(fields={"name": problem})
        if "\x00" in content or len(content) > MAX_CHARACTERS:
            raise ValidationFailed(fields={"content": f"Give text or Markdown of at most {MAX_CHARACTERS} characters."})
        found = await asyncio.to_thread(passages, content)
        if not found:
            raise ValidationFailed(fields={"content": "There is no text in it."})
        async with self._database.writer() as session:
            repository = GuidelineRepository(session, actor.tenant_id)
            old = await repository.named(name)
            if old is not None and not request.replace:
                raise GuidelineNameTaken(f"There is a guideline named {name}.", fields={"name": "This name is taken."})
            await _check_room(repository, more=len(content) - (old.characters if old else 0), is_new=old is None)
            row = old or Guideline(id=ids.new_id("gui"), name=name)
            row.content, row.characters, row.passages = content, len(content), len(found)
            row.sha256 = hashlib.sha256(content.encode("utf-8", "replace")).hexdigest()
            row.created_at, row.created_by = clock.utcnow(), actor.username
            if old is None:
                repository.add(row)
            await self._audit.record(
                session,
                "guideline.replaced" if old else "guideline.added",
                actor=actor,
                resource=(RESOURCE, row.id, row.name),
                details={"sha256": row.sha256, "characters": row.characters},
            )
        return guideline_view(row)

    async def delete(self, actor: Actor, guideline_id: str) -> str:
        """Cite a guideline no more and return its name; raises GuidelineNotFound. For a moment `restore` brings it back."""
        async with self._database.writer() as session:
            row = await GuidelineRepository(session, actor.tenant_id).get(guideline_id)
            if row is None:
                raise GuidelineNotFound
            row.deleted_at = clock.utcnow()
            await self._audit.record(session, "guideline.deleted", actor=actor, resource=(RESOURCE, row.id, row.name))
        return row.name

    async def restore(self, actor: Actor, guideline_id: str) -> GuidelineView:
        """Cite a deleted guideline again; raises NothingToRestore, GuidelineNameTaken, TooManyGuidelines."""
        async with self._database.writer() as session:
            repository = GuidelineRepository(session, actor.tenant_id)
            if there := await repository.get(guideline_id):
                return guideline_view(there)
            row = await repository.deleted(guideline_id)
            if row is None:
                raise NothingToRestore
            if await repository.named(row.name) is not None:
                raise GuidelineNameTaken(f"There is a guideline named {row.name}.")
            await _check_room(repository, more=row.characters, is_new=True)
            row.deleted_at = None
            await self._audit.record(session, "guideline.restored", actor=actor, resource=(RESOURCE, row.id, row.name))
        return guideline_view(row)

    async def cited(self, actor: Actor, text: str) -> list[CitedPassage]:
        """The passages, two at most, that speak of the same things as a text, the nearest first."""
        kept = await self._index(actor.tenant_id)
        if not kept.sources:
            return []
        cited = []
        for match in await asyncio.to_thread(kept.passages.search, text):
            guideline_id, name, number = kept.sources[match.number]
            passage = kept.passages.passages[match.number]
            cited.append(
                CitedPassage(
                    guideline_id=guideline_id,
                    name=name,
                    number=number,
                    heading=passage.heading,
                    text=passage.text,
                    score=match.score,
                    terms=list(match.terms),
                )
            )
        return cited

    async def _index(self, tenant_id: str) -> _Kept:
        async with self._database.reader() as session:
            state = await GuidelineRepository(session, tenant_id).state()
        return self._there(tenant_id, state) or await self._remade(tenant_id)

    def _there(self, tenant_id: str, state: tuple[tuple[str, str], ...]) -> _Kept | None:
        """The index in memory, if it is of this state."""
        there = self._indexes.get(tenant_id)
        if there is None or there.state != state:
            return None
        self._indexes.move_to_end(tenant_id)
        return there

    async def _remade(self, tenant_id: str) -> _Kept:
        async with self._making:
            async with self._database.reader() as session:
                repository = GuidelineRepository(session, tenant_id)
                state = await repository.state()
                if (there := self._there(tenant_id, state)) is not None:
                    return there
                documents = await repository.contents() if state else []
            return await self._make(tenant_id, state, documents)

    async def _make(
        self, tenant_id: str, state: tuple[tuple[str, str], ...], documents: Sequence[tuple[str, str, str]]
    ) -> _Kept:
        kept = self._indexes[tenant_id] = await asyncio.to_thread(_made, state, documents)
        self._indexes.move_to_end(tenant_id)
        while len(self._indexes) > MAX_TENANTS:
            self._indexes.popitem(last=False)
        return kept


def guideline_view(row: Guideline) -> GuidelineView:
    """A guideline as the API shows it."""
    return GuidelineView(
        id=row.id,
        name=row.name,
        characters=row.characters,
        passages=row.passages,
        sha256=row.sha256,
        created_at=row.created_at,
        created_by=row.created_by,
    )


def _made(state: tuple[tuple[str, str], ...], documents: Sequence[tuple[str, str, str]]) -> _Kept:
    sources, found = [], []
    for guideline_id, name, content in documents:
        for number, passage in enumerate(passages(content), 1):
            sources.append((guideline_id, name, number))
            found.append(passage)
    return _Kept(state, PassageIndex(found), sources)


async def _check_room(repository: GuidelineRepository, *, more: int, is_new: bool) -> None:
    """Raises TooManyGuidelines."""
    count, characters = await repository.sums()
    if is_new and count >= MAX_GUIDELINES:
        raise TooManyGuidelines(f"There are {MAX_GUIDELINES} guidelines already.")
    if characters + more > MAX_CHARACTERS_TOGETHER:
        raise TooManyGuidelines(f"Together they would have more than {MAX_CHARACTERS_TOGETHER} characters.")
