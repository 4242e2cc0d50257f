"""API structs of the audit log, in the shape of inventory b.11."""

from datetime import datetime
from typing import Any

import msgspec

from app.audit.models import AuditEntry


class AuditActor(msgspec.Struct):
    """Who did it; type is session, token or system."""

    user_id: str
    username: str
    role: str
    type: str


class AuditResource(msgspec.Struct):
    """What it was done to."""

    type: str
    id: str
    name: str


class AuditEntryView(msgspec.Struct):
    """One entry."""

    id: str
    sequence: int
    event_type: str
    timestamp: datetime
    severity: str
    actor: AuditActor
    resource: AuditResource
    action: str
    result: str
    details: dict[str, Any]
    source_ip: str
    request_id: str
    mac: str


def audit_entry_view(entry: AuditEntry) -> AuditEntryView:
    """The view of a row."""
    return AuditEntryView(
        id=entry.id,
        sequence=entry.sequence,
        event_type=entry.event_type,
        timestamp=entry.at,
        severity=entry.severity,
        actor=AuditActor(entry.actor_id, entry.actor_name, entry.actor_role, entry.actor_type),
        resource=AuditResource(entry.resource_type, entry.resource_id, entry.resource_name),
        action=entry.action,
        result=entry.result,
        details=msgspec.json.decode(entry.details, type=dict[str, Any]),
        source_ip=entry.source_ip,
        request_id=entry.request_id,
        mac=entry.mac,
    )
