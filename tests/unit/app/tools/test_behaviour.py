"""How tools are used is counted in hours, and what is unlike before is told once (SYP-RUG-1)."""

from __future__ import annotations

import math
import time
from typing import Any

import msgspec
import pytest

from app.alerts.repository import AlertFilter
from app.tools.behaviour import MIN_RECENT_CALLS, MIN_USUAL_CALLS, Sums, deviations, increments
from proxies.contract import CallRecord, ToolUse
from tests.support.features import ADMIN, Bench
from tests.support.records import CALL

HOUR = 3600


def call(number: int, proxy_id: str, *, hours_ago: float = 0.0, **changes: Any) -> CallRecord:
    use = ToolUse(**{"name": "read", "argument_keys": ("path",), "result_bytes": 1_000, **changes.pop("use", {})})
    return msgspec.structs.replace(
        CALL,
        **{
            "id": f"call_{number}",
            "proxy_id": proxy_id,
            "started_at": time.time() - hours_ago * HOUR,
            "duration_ms": 20.0,
            "findings": (),
            "tool": use,
            **changes,
        },
    )


def sums(*durations_ms: float, errors: int = 0, bytes_each: int = 1_500) -> Sums:
    count, logs = len(durations_ms), sum(math.log(one) for one in durations_ms)
    return Sums(count, errors, sum(durations_ms), count * bytes_each, logs, count)


USUAL = sums(*[20.0] * 400, errors=4, bytes_each=1_000)


@pytest.mark.parametrize(
    ("recent", "codes"),
    [
        (sums(*[25.0] * 20), []),
        (sums(*[25.0] * 20, errors=10), ["error_rate"]),
        (sums(*[25.0] * 20, bytes_each=90_000), ["result_size"]),
        (sums(*[2_000.0] * 20), ["latency"]),
        (sums(*[9_000.0] * (MIN_RECENT_CALLS - 1), errors=9, bytes_each=900_000), []),
    ],
)
def test_SYP_RUG_1_deviations_need_enough_calls_and_a_clear_difference(recent: Sums, codes: list[str]) -> None:
    assert [found.code for found in deviations(USUAL, recent)] == codes


def test_syp_rug_1_one_call_that_ran_into_its_timeout_hides_no_slowness_and_is_none_itself() -> None:
    timeout = 600_000.0
    [found] = deviations(sums(*[20.0] * 399, timeout), sums(*[2_000.0] * 20))
    assert (found.code, found.sentence) == ("latency", "Its calls usually take 2000 ms; before it were 21 ms.")
    assert deviations(USUAL, sums(*[25.0] * 19, timeout)) == []


def test_syp_rug_1_hours_without_typical_durations_say_nothing_about_them() -> None:
    before = msgspec.structs.replace(USUAL, log_ms=0.0, timed_calls=MIN_USUAL_CALLS - 1)
    assert deviations(before, sums(*[2_000.0] * 20)) == []


def test_a_new_argument_is_told_and_nothing_while_a_tool_is_young() -> None:
    assert [found.code for found in deviations(USUAL, Sums(1), ["bcc"])] == ["new_argument"]
    assert deviations(Sums(MIN_USUAL_CALLS - 1), Sums(20, 20), ["bcc"]) == []


def test_calls_are_added_up_by_tool_and_hour_and_refused_ones_apart() -> None:
    records = [
        call(1, "prx_1"),
        call(2, "prx_1", use={"is_error": True, "argument_keys": ("path", "mode")}),
        call(3, "prx_1", outcome="blocked"),
        msgspec.structs.replace(CALL, id="call_4"),
    ]
    [hour], keys = increments(records, tenant_id="default")
    assert (hour["calls"], hour["errors"], hour["blocked"], hour["result_bytes"]) == (2, 1, 1, 2_000)
    assert hour["log_ms"] == pytest.approx(2 * math.log(20.0))
    assert {(row["key"], row["calls"]) for row in keys} == {("path", 2), ("mode", 1)}


async def test_SYP_RUG_1_statistics_and_one_alert_a_day_for_each_deviation(bench: Bench) -> None:
    proxy = await bench.proxy("files", type="mcp", target_url="http://files.test/mcp", policy_names=[])
    week = [call(number, proxy.id, hours_ago=24 + number / 10) for number in range(60)]
    large = {"result_bytes": 900_000, "argument_keys": ("path", "bcc"), "is_error": True}
    now = [call(100 + number, proxy.id, use=large) for number in range(12)]
    await bench.features.ingest([*week, *now])
    await bench.features.ingest(now)  # What is delivered twice counts once.
    stats = await bench.features.usage.stats(ADMIN, proxy.id, hours=3)
    [read] = stats.tools
    assert (read.calls, read.error_rate, read.argument_keys) == (12, 1.0, ["path", "bcc"])
    await bench.features.usage.look()
    await bench.features.usage.look()
    alerts = (await bench.features.alerts.page(ADMIN, AlertFilter())).items
    assert sorted(alert.rule_id for alert in alerts) == [
        "MCP-TOOL-USE-ERROR-RATE",
        "MCP-TOOL-USE-NEW-ARGUMENT",
        "MCP-TOOL-USE-RESULT-SIZE",
    ]
    assert next(alert for alert in alerts if "ARGUMENT" in alert.rule_id).evidence == "bcc"


async def test_invented_argument_names_do_not_fill_the_database(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.tools.usage.MAX_KEYS_KEPT", 4)
    proxy = await bench.proxy("files", type="mcp", target_url="http://files.test/mcp", policy_names=[])
    for number in range(4):
        invented = tuple(f"x{number}-{index}" for index in range(3))
        await bench.features.ingest([call(number, proxy.id, use={"argument_keys": ("path", *invented)})])
    await bench.features.ingest([call(9, proxy.id, use={"name": "write", "argument_keys": ("mode",)})])
    stats = await bench.features.usage.stats(ADMIN, proxy.id, hours=3)
    keys = {one.tool: one.argument_keys for one in stats.tools}
    assert keys == {"read": ["path", "x0-0", "x0-1", "x0-2"], "write": ["mode"]}
    assert {one.tool: one.calls for one in stats.tools} == {"read": 4, "write": 1}


async def test_syp_rug_1_a_tool_that_has_become_slow_is_told(bench: Bench) -> None:
    proxy = await bench.proxy("files", type="mcp", target_url="http://files.test/mcp", policy_names=[])
    week = [call(number, proxy.id, hours_ago=24 + number / 10) for number in range(60)]
    stuck = call(99, proxy.id, hours_ago=30, duration_ms=600_000.0)
    now = [call(100 + number, proxy.id, duration_ms=1_500.0) for number in range(12)]
    await bench.features.ingest([*week, stuck, *now])
    await bench.features.usage.look()
    alerts = (await bench.features.alerts.page(ADMIN, AlertFilter())).items
    assert [alert.rule_id for alert in alerts] == ["MCP-TOOL-USE-LATENCY"]
