"""From the calls of one batch to increments of the roll-up tables: pure, so that no sum is ever wrong by half a batch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from app.traffic.histogram import bucket
from app.traffic.models import ADDED_COLUMNS, VERDICTS
from app.traffic.verdict import is_failed, verdict_of
from proxies.contract import CallRecord

Row = dict[str, Any]
TRAFFIC_SUMS = (
    *VERDICTS,
    "failed",
    "request_bytes",
    "response_bytes",
    "input_tokens",
    "output_tokens",
    "duration_ms",
    *ADDED_COLUMNS,
)
RULE_SUMS = ("hits", "blocked")
CLIENT_SUMS = ("calls", "blocked")


class Increments(msgspec.Struct):
    """Rows to add to each roll-up table, one per key."""

    minutes: list[Row]
    hours: list[Row]
    rules: list[Row]
    clients: list[Row]


def client_of(record: CallRecord) -> str:
    """Who called: the name of the key, or the address of a caller without one."""
    return (record.principal_name or record.client_ip or "unknown")[:100]


def increments(records: Iterable[CallRecord], *, tenant_id: str) -> Increments:
    """What these calls add up to, per proxy and minute, rule and hour, client and hour."""
    minutes: dict[tuple[Any, ...], Row] = {}
    hours: dict[tuple[Any, ...], Row] = {}
    rules: dict[tuple[Any, ...], Row] = {}
    clients: dict[tuple[Any, ...], Row] = {}
    for record in records:
        minute = int(record.started_at // 60)
        scope = {"tenant_id": tenant_id, "proxy_id": record.proxy_id}
        key = (record.proxy_id, minute)
        row = minutes.get(key)
        if row is None:
            row = minutes[key] = {**scope, "minute": minute, **dict.fromkeys(TRAFFIC_SUMS, 0)}
        _count_minute(row, record)
        _count_rules(rules, record, {**scope, "hour": minute // 60})
        _count_client(clients, record, {**scope, "hour": minute // 60})
    for row in minutes.values():
        _add_to_hour(hours, row)
    return Increments(list(minutes.values()), list(hours.values()), list(rules.values()), list(clients.values()))


def _count_minute(row: Row, record: CallRecord) -> None:
    row[verdict_of(record)] += 1
    row["failed"] += is_failed(record)
    row["request_bytes"] += record.request_bytes
    row["response_bytes"] += record.response_bytes
    row["duration_ms"] += record.duration_ms
    row[ADDED_COLUMNS[bucket(record.added_ms)]] += 1
    if record.usage is not None:
        row["input_tokens"] += record.usage.input_tokens
        row["output_tokens"] += record.usage.output_tokens


def _add_to_hour(hours: dict[tuple[Any, ...], Row], minute: Row) -> None:
    hour = minute["minute"] // 60
    total = hours.get((minute["proxy_id"], hour))
    if total is None:
        scope = {"tenant_id": minute["tenant_id"], "proxy_id": minute["proxy_id"], "hour": hour}
        total = hours[minute["proxy_id"], hour] = {**scope, **dict.fromkeys(TRAFFIC_SUMS, 0)}
    for name in TRAFFIC_SUMS:
        total[name] += minute[name]


def _count_rules(rules: dict[tuple[Any, ...], Row], record: CallRecord, scope: Row) -> None:
    for finding in {(finding.pack, finding.rule_id): finding for finding in record.findings}.values():
        key = (scope["proxy_id"], scope["hour"], finding.rule_id, finding.pack)
        row = rules.setdefault(
            key,
            {
                **scope,
                "rule_id": finding.rule_id,
                "pack": finding.pack,
                "title": finding.title,
                "severity": finding.severity.word,
                "hits": 0,
                "blocked": 0,
            },
        )
        row["hits"] += 1
        row["blocked"] += record.outcome == "blocked"


def _count_client(clients: dict[tuple[Any, ...], Row], record: CallRecord, scope: Row) -> None:
    client = client_of(record)
    row = clients.setdefault(
        (scope["proxy_id"], scope["hour"], client), {**scope, "client": client, "calls": 0, "blocked": 0}
    )
    row["calls"] += 1
    row["blocked"] += record.outcome == "blocked"
