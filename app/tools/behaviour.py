"""How tools are used, and when that is unlike before (SYP-RUG-1). Pure.

The sums of the last two hours are compared with those of the week before. A tool that is called rarely is judged by nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from proxies.contract import CallRecord

RECENT_HOURS: Final = 2
USUAL_HOURS: Final = 7 * 24
MIN_USUAL_CALLS: Final = 50
MIN_RECENT_CALLS: Final = 10
ERROR_RATE: Final = 0.2
"""Below this share of failed calls nothing is said, however few failed before."""
TIMES: Final = 4.0
"""So many times the usual figure is unusual."""
MIN_ADDED_MS: Final = 500.0
MIN_ADDED_BYTES: Final = 16_384
MAX_KEYS_OF_CALL: Final = 64
MAX_TOOL_CHARS: Final = 200
MAX_KEY_CHARS: Final = 100

Row = dict[str, Any]


class Sums(msgspec.Struct, frozen=True):
    """What the calls of a tool add up to within some hours."""

    calls: int = 0
    errors: int = 0
    duration_ms: float = 0.0
    result_bytes: int = 0
    log_ms: float = 0.0
    """Of the durations of `timed_calls` the logarithms: one call that waits for its timeout weighs little there."""
    timed_calls: int = 0

    @property
    def error_rate(self) -> float:
        return self.errors / self.calls if self.calls else 0.0

    @property
    def mean_ms(self) -> float:
        return self.duration_ms / self.calls if self.calls else 0.0

    @property
    def typical_ms(self) -> float:
        """The geometric mean of the durations."""
        return math.exp(self.log_ms / self.timed_calls) if self.timed_calls else 0.0

    @property
    def mean_bytes(self) -> float:
        return self.result_bytes / self.calls if self.calls else 0.0


class Deviation(msgspec.Struct, frozen=True):
    """Something about a tool is unlike before."""

    code: str
    severity: str
    sentence: str
    evidence: str


def increments(records: Iterable[CallRecord], *, tenant_id: str) -> tuple[list[Row], list[Row]]:
    """What these calls add to the hours and to the argument keys of their tools."""
    hours: dict[tuple[str, int, str], Row] = {}
    keys: dict[tuple[str, str, str], Row] = {}
    for record in records:
        if record.tool is None or not record.tool.name:
            continue
        tool, hour = fit(record.tool.name, MAX_TOOL_CHARS), int(record.started_at // 3600)
        row = hours.get((record.proxy_id, hour, tool))
        if row is None:
            row = hours[record.proxy_id, hour, tool] = {
                "tenant_id": tenant_id,
                "proxy_id": record.proxy_id,
                "hour": hour,
                "tool": tool,
                **dict.fromkeys(("calls", "errors", "blocked", "result_bytes"), 0),
                "duration_ms": 0.0,
                "log_ms": 0.0,
            }
        if record.outcome in ("blocked", "refused"):
            row["blocked"] += 1
            continue
        row["calls"] += 1
        row["errors"] += record.tool.is_error or record.outcome in ("upstream_error", "failed")
        row["duration_ms"] += record.duration_ms
        row["log_ms"] += math.log(max(record.duration_ms, 1.0))
        row["result_bytes"] += record.tool.result_bytes
        for name in record.tool.argument_keys[:MAX_KEYS_OF_CALL]:
            key = fit(name, MAX_KEY_CHARS)
            found = keys.setdefault(
                (record.proxy_id, tool, key),
                {
                    "tenant_id": tenant_id,
                    "proxy_id": record.proxy_id,
                    "tool": tool,
                    "key": key,
                    "calls": 0,
                    "first_seen_at": record.started_at,
                },
            )
            found["calls"] += 1
            found["first_seen_at"] = min(found["first_seen_at"], record.started_at)
    return list(hours.values()), list(keys.values())


def deviations(usual: Sums, recent: Sums, new_keys: Iterable[str] = ()) -> list[Deviation]:
    """What is unlike before; nothing while too little is known."""
    if usual.calls < MIN_USUAL_CALLS:
        return []
    found = [
        Deviation(
            "new_argument",
            "medium",
            f"It is called with the argument {key}, which none of the {usual.calls} calls before had.",
            key,
        )
        for key in new_keys
    ]
    if recent.calls < MIN_RECENT_CALLS:
        return found
    if recent.error_rate >= ERROR_RATE and recent.error_rate >= TIMES * usual.error_rate:
        found.append(
            Deviation(
                "error_rate",
                "medium",
                f"{recent.error_rate:.0%} of its calls fail; before it were {usual.error_rate:.1%}.",
                f"{recent.errors} of {recent.calls} calls",
            )
        )
    if recent.mean_bytes >= TIMES * usual.mean_bytes and recent.mean_bytes - usual.mean_bytes >= MIN_ADDED_BYTES:
        found.append(
            Deviation(
                "result_size",
                "high",
                f"Its results are {recent.mean_bytes / 1024:.0f} KB long on average; "
                f"before it were {usual.mean_bytes / 1024:.1f} KB.",
                f"{recent.calls} calls",
            )
        )
    if usual.timed_calls < MIN_USUAL_CALLS or recent.timed_calls < MIN_RECENT_CALLS:
        return found
    if recent.typical_ms >= TIMES * usual.typical_ms and recent.typical_ms - usual.typical_ms >= MIN_ADDED_MS:
        found.append(
            Deviation(
                "latency",
                "low",
                f"Its calls usually take {recent.typical_ms:.0f} ms; before it were {usual.typical_ms:.0f} ms.",
                f"{recent.timed_calls} calls",
            )
        )
    return found


def fit(text: str, limit: int) -> str:
    """A name as it is counted: clipped, without what a database cannot keep."""
    return text[:limit].replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
