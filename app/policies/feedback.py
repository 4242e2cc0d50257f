"""What people call a false positive: kept per hit, counted per rule, and turned into a proposal for a draft."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta
from sqlalchemy.ext.asyncio import AsyncSession

from app import clock, ids
from app.audit.service import AuditLog
from app.database.engine import Database
from app.errors import NotFound
from app.policies.models import RuleFeedback
from app.policies.repository import FeedbackRepository
from app.security.permissions import Actor

MAX_MARKS_SHOWN = 50
MAX_MARKS_OF_CALL = 500
"""More than the findings that a call keeps."""


class MarkFalsePositive(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The hit that is wrong: the rule, the call, and the (masked) evidence as the finding shows it."""

    rule_id: Annotated[str, Meta(min_length=1, max_length=64)]
    pack: Annotated[str, Meta(max_length=64)] = ""
    policy_name: Annotated[str, Meta(max_length=100)] = ""
    call_id: Annotated[str, Meta(min_length=1, max_length=64)]
    evidence: Annotated[str, Meta(max_length=2_000)] = ""
    note: Annotated[str, Meta(max_length=1_000)] = ""


class NotMarked(NotFound):
    """Nobody calls this hit false."""

    code = "not_marked"
    default_message = "This hit is not marked as a false positive."
    default_remediation = "GET /api/v1/rules/{rule_id}/false-positives lists the marks of a rule."


class MarkView(msgspec.Struct, frozen=True, kw_only=True):
    """One hit that somebody called a false positive. The evidence itself is not kept, only its hash."""

    id: str
    rule_id: str
    pack: str
    policy_name: str
    call_id: str
    evidence_hash: str
    note: str
    marked_by: str
    marked_at: datetime


class Feedback:
    """Marks on hits of rules."""

    def __init__(self, *, database: Database, audit: AuditLog) -> None:
        self._database = database
        self._audit = audit

    async def mark(self, actor: Actor, hit: MarkFalsePositive) -> MarkView:
        """Call a hit a false positive; marking it again changes the note."""
        digest = evidence_hash(hit.evidence)
        async with self._database.writer() as session:
            repository = FeedbackRepository(session, actor.tenant_id)
            row = await repository.find(hit.rule_id, hit.call_id, digest)
            if row is None:
                row = _row(actor, hit)
                repository.add(row)
            else:
                row.note, row.marked_by, row.marked_at = hit.note or row.note, actor.username, clock.utcnow()
                row.alert_id = ""
            await self._audit.record(
                session,
                "rule.false_positive",
                actor=actor,
                resource=("rule", hit.rule_id, hit.rule_id),
                details={"call_id": hit.call_id, "policy": hit.policy_name},
            )
            return mark_view(row)

    async def withdraw(self, actor: Actor, mark_id: str) -> MarkView:
        """Take a mark back; raises NotMarked."""
        async with self._database.writer() as session:
            repository = FeedbackRepository(session, actor.tenant_id)
            row = await repository.get(mark_id)
            if row is None:
                raise NotMarked
            await repository.delete(row)
            await self._audit.record(
                session,
                "rule.false_positive_withdrawn",
                actor=actor,
                resource=("rule", row.rule_id, row.rule_id),
                details={"call_id": row.call_id},
            )
            return mark_view(row)

    async def of_call(self, actor: Actor, call_id: str) -> list[MarkView]:
        """The marks on the hits of a call."""
        async with self._database.reader() as session:
            rows = await FeedbackRepository(session, actor.tenant_id).of_call(call_id, limit=MAX_MARKS_OF_CALL)
            return [mark_view(row) for row in rows]

    async def of_rule(self, actor: Actor, rule_id: str) -> list[MarkView]:
        """The newest marks on a rule."""
        async with self._database.reader() as session:
            rows = await FeedbackRepository(session, actor.tenant_id).of_rule(rule_id, limit=MAX_MARKS_SHOWN)
            return [mark_view(row) for row in rows]

    async def counts(self, actor: Actor, packs: Collection[str]) -> dict[str, int]:
        """How many hits of each rule of these packs are marked."""
        async with self._database.reader() as session:
            return await FeedbackRepository(session, actor.tenant_id).counts(packs)


async def follow_alert(
    session: AsyncSession, actor: Actor, alert_id: str, hit: MarkFalsePositive, *, is_false: bool
) -> None:
    """Keep the mark on the hit behind an alert in step with the alert, in the transaction that changes it.

    A mark that somebody set on the hit itself stays whatever becomes of the alert.
    """
    repository = FeedbackRepository(session, actor.tenant_id)
    row = await repository.find(hit.rule_id, hit.call_id, evidence_hash(hit.evidence))
    if is_false and row is None:
        repository.add(_row(actor, hit, alert_id))
    elif not is_false and row is not None and row.alert_id == alert_id:
        await repository.delete(row)


def _row(actor: Actor, hit: MarkFalsePositive, alert_id: str = "") -> RuleFeedback:
    return RuleFeedback(
        id=ids.new_id("fpm"),
        rule_id=hit.rule_id,
        pack=hit.pack,
        policy_name=hit.policy_name,
        call_id=hit.call_id,
        evidence_hash=evidence_hash(hit.evidence),
        note=hit.note,
        alert_id=alert_id,
        marked_by=actor.username,
        marked_at=clock.utcnow(),
    )


def evidence_hash(evidence: str) -> str:
    """What stands for the evidence of a hit; the evidence is masked already where it is a secret."""
    return hashlib.sha256(evidence.encode("utf-8", "replace")).hexdigest()


def mark_view(row: RuleFeedback) -> MarkView:
    """A mark as the API shows it."""
    return MarkView(
        id=row.id,
        rule_id=row.rule_id,
        pack=row.pack,
        policy_name=row.policy_name,
        call_id=row.call_id,
        evidence_hash=row.evidence_hash,
        note=row.note,
        marked_by=row.marked_by,
        marked_at=row.marked_at,
    )
