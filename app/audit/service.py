"""Adds entries to the audit log and checks its chain.

Each entry's MAC covers the MAC before it and a canonical encoding of its own columns, so an edited, deleted, inserted
or reordered entry breaks the chain at a place that `verify` names. A cut-off tail and a restored older copy are only
caught by checkpoints kept outside.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any, Literal

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from app import clock
from app.audit import repository
from app.audit.models import AuditEntry
from app.database.base import DEFAULT_TENANT
from app.ids import new_id
from app.security.permissions import Actor

GENESIS = "0" * 64
MAX_DETAILS_CHARACTERS = 4000
VERIFY_BATCH_ROWS = 1000
# Everything but the MAC itself, in this order; an addition needs a new domain word in `mac_of`.
CHAINED_COLUMNS = (
    "sequence",
    "tenant_id",
    "id",
    "at",
    "event_type",
    "severity",
    "actor_id",
    "actor_name",
    "actor_role",
    "actor_type",
    "resource_type",
    "resource_id",
    "resource_name",
    "action",
    "result",
    "details",
    "source_ip",
    "request_id",
    "previous_mac",
)


class AuditLog:
    """Writes entries with the chain key; one per console."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def __repr__(self) -> str:
        return "<AuditLog>"

    async def record(
        self,
        session: AsyncSession,
        event_type: str,
        *,
        actor: Actor | None,
        resource: tuple[str, str, str] = ("", "", ""),
        result: Literal["success", "failure", "denied"] = "success",
        severity: Literal["info", "warning", "critical"] = "info",
        details: dict[str, Any] | None = None,
        source_ip: str = "",
        request_id: str = "",
    ) -> AuditEntry:
        """Add one entry to the caller's transaction: if either fails, neither is there.

        `event_type` is one of inventory b.11 (`proxy.created`); `resource` is (type, id, name); `details` must hold
        no secrets.
        """
        previous = await repository.newest(session)
        entry = AuditEntry(
            sequence=previous.sequence + 1 if previous else 1,
            tenant_id=actor.tenant_id if actor else DEFAULT_TENANT,
            id=new_id("aud"),
            at=clock.utcnow(),
            event_type=event_type,
            severity=severity,
            actor_id=actor.user_id if actor else "",
            actor_name=actor.username if actor else "system",
            actor_role=str(actor.role) if actor else "",
            actor_type=actor.via if actor else "system",
            resource_type=resource[0],
            resource_id=resource[1],
            resource_name=resource[2][:200],
            action=event_type.rpartition(".")[2],
            result=result,
            details=_encode_details(details or {}),
            source_ip=actor.ip if actor else source_ip,
            request_id=actor.request_id if actor else request_id,
            previous_mac=previous.mac if previous else GENESIS,
        )
        entry.mac = self.mac_of(entry)
        session.add(entry)
        await session.flush()
        return entry

    def mac_of(self, entry: AuditEntry) -> str:
        """HMAC-SHA256 over a domain word and the length-prefixed texts of the chained columns."""
        mac = hmac.new(self._key, b"ostiary audit v1", hashlib.sha256)
        for column in CHAINED_COLUMNS:
            value = getattr(entry, column)
            text = value.isoformat() if column == "at" else str(value)
            encoded = text.encode("utf-8", "surrogatepass")
            mac.update(len(encoded).to_bytes(4, "big") + encoded)
        return mac.hexdigest()

    async def verify(self, session: AsyncSession) -> tuple[int, int | None]:
        """(entries checked, sequence of the first bad one or None).

        What retention pruned from the old end does not count.
        """
        checked = 0
        expected: tuple[int, str] | None = None
        while batch := await repository.after(session, expected[0] - 1 if expected else 0, VERIFY_BATCH_ROWS):
            for entry in batch:
                follows = expected is None or (entry.sequence, entry.previous_mac) == expected
                if not follows or not hmac.compare_digest(entry.mac, self.mac_of(entry)):
                    return checked, entry.sequence
                expected = (entry.sequence + 1, entry.mac)
                checked += 1
            session.expunge_all()
        return checked, None


def _encode_details(details: dict[str, Any]) -> str:
    encoded = msgspec.json.encode(details, order="sorted").decode()
    if len(encoded) > MAX_DETAILS_CHARACTERS:
        return msgspec.json.encode({"omitted": f"{len(encoded)} characters of detail"}).decode()
    return encoded
