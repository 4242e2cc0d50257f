"""Traffic analysis where the calls of all workers come together: alerts for a person, never a refusal."""

from __future__ import annotations

import time

import pytest

from app.alerts.repository import AlertFilter, AlertRepository
from app.traffic.analysis import TrafficAnalysis, observation_of
from proxies.contract import CallRecord, CapturedText
from rules.model import Action, Target
from tests.support.features import ADMIN, Bench
from tests.support.records import call, finding


def quick_calls(proxy_id: str, count: int = 40) -> list[CallRecord]:
    begun = time.time() - 60
    return [
        call(
            proxy_id=proxy_id,
            protocol="mcp.modern",
            operation="tools/call search",
            principal_id="key_1",
            started_at=begun + number * 0.02,
        )
        for number in range(count)
    ]


async def test_SYP_MON_2_what_stands_out_becomes_one_alert_of_traffic_analysis(bench: Bench) -> None:
    proxy = await bench.proxy()
    await bench.features.ingest(quick_calls(proxy.id))
    async with bench.database.reader() as session:
        alerts, total = await AlertRepository(session).page(AlertFilter(), limit=10, offset=0)
    assert total == 1
    [alert] = alerts
    assert (alert.rule_id, alert.policy_name) == ("BEHAVIORAL_RAPIDFIRE", "traffic-analysis")
    assert (alert.action, alert.severity) == ("alert", "low")
    assert alert.description.startswith("Rule BEHAVIORAL_RAPIDFIRE flagged the calls of this caller, at ")
    shown = await bench.features.traffic.get(ADMIN, alert.call_id)
    assert (shown.action, shown.outcome) == ("alert", "allowed")


async def test_a_batch_that_could_not_be_committed_raises_its_alert_the_second_time(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = await bench.proxy()
    batch = quick_calls(proxy.id)

    async def fail(self: AlertRepository, rows: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(AlertRepository, "add_new", fail)
        with pytest.raises(OSError, match="disk full"):
            await bench.features.ingest(batch)
    await bench.features.ingest(batch)
    async with bench.database.reader() as session:
        assert (await AlertRepository(session).page(AlertFilter(), limit=10, offset=0))[1] == 1


def test_an_observation_says_what_the_call_says() -> None:
    text = CapturedText("request", Target.TOOL_ARGS, "/params/arguments/q", "whoami")
    record = call(protocol="mcp.legacy", operation="tools/call run", findings=(finding(),), texts=(text,))
    observation = observation_of(record)
    assert observation is not None
    assert (observation.is_mcp, observation.method) == (True, "tools/call")
    assert observation.source == f"{record.client_ip} {record.proxy_id}"
    assert observation.categories == {"prompt-injection/override"}
    assert [text.text for text in observation.texts] == ["whoami"]


def test_a_call_that_never_reached_its_protocol_is_not_judged() -> None:
    assert observation_of(call(protocol="http")) is None
    refused = [call(protocol="http", started_at=number * 0.01) for number in range(100)]
    assert TrafficAnalysis().add_findings(refused) == refused


def test_findings_of_the_rules_stay_and_a_block_stays_a_block() -> None:
    calls = quick_calls("prx_1")
    blocked = [
        call(
            proxy_id="prx_1",
            protocol="mcp.modern",
            principal_id="key_1",
            started_at=each.started_at,
            action=Action.BLOCK,
            findings=(finding(),),
        )
        for each in calls
    ]
    judged = TrafficAnalysis().add_findings(blocked)
    assert all(record.action is Action.BLOCK for record in judged)
    assert {len(record.findings) for record in judged} == {1, 2}
