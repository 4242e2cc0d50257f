"""What the API and the pages say about alerts."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from app.alerts.workflow import AlertAction

Note = Annotated[str, Meta(max_length=2000)]
MAX_BULK = 500


class AlertView(msgspec.Struct, frozen=True, kw_only=True):
    """One alert. The evidence was masked by the worker; nothing here can hold a secret."""

    id: str
    severity: str
    status: str
    title: str
    description: str
    rule_id: str
    pack: str
    policy_name: str
    category: str
    action: str
    proxy_id: str
    proxy_name: str
    proxy_type: str
    call_id: str
    evidence: str
    target: str
    path: str
    client_ip: str
    client_agent: str
    principal_id: str
    principal_name: str
    created_at: datetime
    updated_at: datetime
    resolved_by: str | None
    note: str


class AlertGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Alerts of one rule at one proxy, under the same filter as the list."""

    rule_id: str
    title: str
    severity: str
    proxy_id: str
    proxy_name: str
    count: int
    last_at: datetime


class AlertSummary(msgspec.Struct, frozen=True, kw_only=True):
    """Open alerts by severity (the badge counts critical and high) and all alerts by status."""

    open_by_severity: dict[str, int]
    by_status: dict[str, int]
    needs_attention: int


class AlertNote(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An optional remark on a change of status."""

    note: Note = ""


class BulkChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One action on many alerts."""

    alert_ids: Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(min_length=1, max_length=MAX_BULK)]
    action: AlertAction
    note: Note = ""


class BulkResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a bulk change did: skipped alerts had a status from which the action leads nowhere."""

    changed: int
    skipped: int
    missing: int
