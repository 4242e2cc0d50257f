"""Batches of a worker become calls, roll-ups and alerts, once, in one transaction."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import func, select

from app.access.schemas import CreateKey
from app.alerts.models import Alert
from app.alerts.repository import AlertFilter, AlertRepository
from app.audit.models import AuditEntry
from app.fleet.schemas import UpdateProxy
from app.traffic.models import Call
from app.traffic.repository import CallFilter
from app.traffic.verdict import verdict_of
from proxies.contract import Usage
from rules.model import Action, Decision, Severity, Target
from tests.support.features import ADMIN, Bench, drain
from tests.support.records import blocked_call, call, finding


async def count(bench: Bench, model: type[Any]) -> int:
    async with bench.database.reader() as session:
        return await session.scalar(select(func.count()).select_from(model)) or 0


async def test_a_call_is_logged_as_it_was_recorded(bench: Bench) -> None:
    proxy = await bench.proxy()
    usage = Usage(input_tokens=7, output_tokens=3)
    record = blocked_call(proxy_id=proxy.id, usage=usage, streamed=True, timings_ms={"inspect": 0.2})
    await bench.features.ingest([record])
    view = await bench.features.traffic.get(ADMIN, record.id)
    assert view.proxy_name == "OpenAI"
    assert (view.outcome, view.action, view.verdict, view.status) == ("blocked", "block", "blocked", 403)
    assert view.usage is not None
    assert (view.usage.input_tokens, view.usage.output_tokens) == (7, 3)
    assert view.timings_ms == {"inspect": 0.2}
    assert abs(view.started_at.timestamp() - record.started_at) < 0.001
    hit = view.findings[0]
    assert (hit.rule_id, hit.severity, hit.confidence, hit.action) == ("PI-0001", "high", "high", "block")
    assert hit.evidence == record.findings[0].evidence


async def test_SYP_ARCH_5_a_batch_delivered_twice_changes_nothing(bench: Bench) -> None:
    proxy = await bench.proxy()
    batch = [call(proxy_id=proxy.id), blocked_call(proxy_id=proxy.id)]
    await bench.features.ingest(batch)
    before = await bench.features.traffic.stats(ADMIN, proxy.id, hours=1)
    subscription = bench.bus.subscribe(["call", "alert"])
    await bench.features.ingest([*batch, batch[0]])
    assert await bench.features.traffic.stats(ADMIN, proxy.id, hours=1) == before
    assert (await count(bench, Call), await count(bench, Alert)) == (2, 1)
    assert await drain(subscription) == []
    await bench.features.ingest([*batch, call(proxy_id=proxy.id)])
    assert (await bench.features.traffic.stats(ADMIN, proxy.id, hours=1)).total_requests == 3


async def test_a_call_twice_in_one_batch_is_one_call(bench: Bench) -> None:
    record = blocked_call()
    await bench.features.ingest([record, record])
    assert (await count(bench, Call), await count(bench, Alert)) == (1, 1)


async def test_DUR_a_batch_that_fails_half_way_leaves_nothing_and_can_be_repeated(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = await bench.proxy()
    batch = [call(proxy_id=proxy.id), blocked_call(proxy_id=proxy.id)]
    subscription = bench.bus.subscribe(["call", "alert"])

    async def fail(*_: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(AlertRepository, "add_new", fail)
        with pytest.raises(OSError, match="disk full"):
            await bench.features.ingest(batch)
    assert (await count(bench, Call), await count(bench, Alert)) == (0, 0)
    assert (await bench.features.traffic.stats(ADMIN, proxy.id, hours=1)).total_requests == 0
    assert await drain(subscription) == []
    await bench.features.ingest(batch)
    assert (await count(bench, Call), await count(bench, Alert)) == (2, 1)
    assert (await bench.features.traffic.stats(ADMIN, proxy.id, hours=1)).total_requests == 2


async def test_SYP_ARCH_5_one_alert_per_call_and_rule_with_the_strongest_finding(bench: Bench) -> None:
    proxy = await bench.proxy()
    weak = finding(action=Action.ALERT, severity=Severity.LOW, evidence="weak")
    strong = finding(path="/messages/1/content", evidence="strong")
    other = finding(rule_id="SEC-0001", pack="secrets", severity=Severity.CRITICAL, action=Action.ALERT, title="Key")
    silent = finding(rule_id="LOG-0001", action=Action.LOG)
    record = blocked_call(weak, strong, other, silent, proxy_id=proxy.id)
    await bench.features.ingest([record])
    alerts = (await bench.features.alerts.page(ADMIN, AlertFilter())).items
    by_rule = {alert.rule_id: alert for alert in alerts}
    assert set(by_rule) == {"PI-0001", "SEC-0001"}
    alert = by_rule["PI-0001"]
    assert (alert.evidence, alert.severity, alert.action, alert.status) == ("strong", "high", "block", "open")
    assert (alert.call_id, alert.proxy_id, alert.proxy_name, alert.proxy_type) == (record.id, proxy.id, "OpenAI", "llm")
    assert alert.policy_name == "llm-standard-security"
    assert alert.description == "Rule PI-0001 matched in prompt of gpt-4o. The call was blocked."
    assert by_rule["SEC-0001"].action == "alert"


async def test_a_blocking_rule_that_did_not_block_is_an_alert(bench: Bench) -> None:
    await bench.features.ingest([call(action=Action.ALERT, findings=(finding(target=Target.TOOL_ARGS),))])
    alert = (await bench.features.alerts.page(ADMIN, AlertFilter())).items[0]
    assert alert.action == "alert"
    assert alert.description == "Rule PI-0001 matched in tool arguments of gpt-4o. The call was let through."
    assert (await bench.features.traffic.page(ADMIN, CallFilter())).items[0].verdict == "alerted"


async def test_calls_of_a_proxy_that_is_gone_are_kept(bench: Bench) -> None:
    await bench.features.ingest([blocked_call(proxy_id="prx_gone")])
    listed = (await bench.features.traffic.page(ADMIN, CallFilter(proxy_id="prx_gone"))).items
    assert [item.proxy_name for item in listed] == [""]
    alert = (await bench.features.alerts.page(ADMIN, AlertFilter())).items[0]
    assert (alert.proxy_name, alert.policy_name) == ("", "prompt-injection")


async def test_INJ_05_hostile_texts_are_stored_as_they_are_but_without_NUL(bench: Bench) -> None:
    nasty = "a\r\n\x1b[31m\u2028\x00'; DROP TABLE calls; --<script>"
    hit = finding(evidence=nasty, path=nasty)
    record = blocked_call(hit, path="/" + nasty, client_agent=nasty, operation=nasty * 100, reason=nasty)
    await bench.features.ingest([record])
    view = await bench.features.traffic.get(ADMIN, record.id)
    assert view.path == "/" + nasty.replace("\x00", "\ufffd")
    assert len(view.operation) == 500
    assert "\x00" not in view.findings[0].evidence + view.reason + view.client_agent
    assert (await bench.features.alerts.page(ADMIN, AlertFilter())).items[0].evidence == nasty.replace("\x00", "\ufffd")


@pytest.mark.parametrize("started_at", [0.0, -1.0, 1e300, float("nan"), float("inf")])
async def test_a_start_outside_any_sensible_time_becomes_now(bench: Bench, started_at: float) -> None:
    record = call(started_at=started_at)
    await bench.features.ingest([record])
    view = await bench.features.traffic.get(ADMIN, record.id)
    assert abs(view.started_at.timestamp() - time.time()) < 60
    assert (await bench.features.traffic.totals(ADMIN, hours=1)).calls == 1


async def test_the_last_use_of_a_key_is_remembered_and_never_goes_back(bench: Bench) -> None:
    key = (await bench.features.keys.create(ADMIN, CreateKey(name="app"))).api_key
    late, early = time.time(), time.time() - 500
    await bench.features.ingest([call(principal_id=key.id, started_at=at) for at in (early, late)])
    await bench.features.ingest([call(principal_id=key.id, started_at=early)])
    shown = (await bench.features.keys.page(ADMIN)).items[0]
    assert shown.last_used_at is not None
    assert abs(shown.last_used_at.timestamp() - late) < 0.001


async def test_the_bus_hears_every_finding_but_only_some_of_the_ordinary_calls(bench: Bench) -> None:
    subscription = bench.bus.subscribe(["call", "alert"])
    flagged = [blocked_call() for _ in range(40)]
    await bench.features.ingest([*(call() for _ in range(100)), *flagged])
    events = Counter(event.topic for event in await drain(subscription))
    assert events == {"call": 65, "alert": 40}


async def test_statistics_are_what_counting_the_records_gives(bench: Bench) -> None:
    """Roll-ups against a plain count over random calls, delivered in random batches."""
    one, two = await bench.proxy(), await bench.proxy("Other", 4001)
    chance = random.Random(7)
    now = time.time()
    outcomes = ("allowed", "blocked", "refused", "upstream_error", "client_closed", "failed")
    records = [
        call(
            proxy_id=chance.choice((one.id, two.id)),
            started_at=now - chance.uniform(0, 5400),
            outcome=chance.choice(outcomes),
            status=chance.choice((200, 200, 403, 502)),
            action=chance.choice(list(Action)),
            added_ms=chance.uniform(0.01, 3),
            duration_ms=chance.uniform(1, 100),
            request_bytes=chance.randrange(5000),
            response_bytes=chance.randrange(5000),
            principal_name=chance.choice(("", "app", "batch")),
            usage=chance.choice((None, Usage(input_tokens=5, output_tokens=2))),
            findings=chance.choice(((), (finding(), finding()), (finding(rule_id="SEC-0001"),))),
        )
        for _ in range(1500)
    ]
    for start in range(0, len(records), 190):
        await bench.features.ingest(records[start : start + 190])
    mine = [record for record in records if record.proxy_id == one.id]
    stats = await bench.features.traffic.stats(ADMIN, one.id, hours=2)
    verdicts = Counter(verdict_of(record) for record in mine)
    assert stats.total_requests == len(mine)
    assert {name: getattr(stats.totals, name) for name in verdicts} == dict(verdicts)
    assert stats.failed_requests + stats.successful_requests == len(mine)
    assert stats.total_data_transferred == sum(record.request_bytes + record.response_bytes for record in mine)
    assert stats.totals.input_tokens == sum(5 for record in mine if record.usage)
    assert stats.avg_response_time_ms == pytest.approx(sum(record.duration_ms for record in mine) / len(mine), abs=0.01)
    assert {point: getattr(stats.totals, point) for point in verdicts} == {
        name: sum(getattr(point, name) for point in stats.points) for name in verdicts
    }
    hits = Counter(rule for record in mine for rule in {item.rule_id for item in record.findings})
    assert {rule.rule_id: rule.hits for rule in stats.top_rules} == dict(hits)
    clients = Counter(record.principal_name or record.client_ip for record in mine)
    assert {client.client: client.calls for client in stats.top_clients} == dict(clients)
    added = sorted(record.added_ms for record in mine)
    assert stats.totals.added_p50_ms == pytest.approx(added[len(added) // 2], rel=0.35)
    both = await bench.features.traffic.totals(ADMIN, hours=2)
    assert both.calls == len(records)
    counts = await bench.features.traffic.counts(ADMIN, hours=2)
    assert {proxy_id: calls for proxy_id, (calls, _) in counts.items()} == {
        one.id: len(mine),
        two.id: len(records) - len(mine),
    }


async def test_DUR_04_many_writers_and_readers_at_once_lose_nothing(bench: Bench) -> None:
    proxies = [await bench.proxy(f"p{number}", 5000 + number) for number in range(5)]

    async def ingest(number: int) -> None:
        for _ in range(8):
            await bench.features.ingest([blocked_call(proxy_id=proxies[number % 5].id) for _ in range(5)])

    async def change(number: int) -> None:
        for step in range(8):
            await bench.features.proxies.update(ADMIN, proxies[number].id, UpdateProxy(description=f"{step}"))

    async def read() -> None:
        for _ in range(20):
            await bench.features.overview.overview(ADMIN)

    async with asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(ingest(number))
        for number in range(5):
            group.create_task(change(number))
            group.create_task(read())
    assert (await count(bench, Call), await count(bench, Alert)) == (800, 800)
    assert (await bench.features.traffic.totals(ADMIN, hours=1)).blocked == 800


async def test_an_alert_arises_at_the_end_of_its_call(bench: Bench) -> None:
    started = time.time() - 600
    await bench.features.ingest(
        [blocked_call(started_at=started, duration_ms=540_000.0), blocked_call(duration_ms=9e99)]
    )
    alerts = (await bench.features.alerts.page(ADMIN, AlertFilter())).items
    assert abs(alerts[1].created_at.timestamp() - (started + 540)) < 1
    assert abs(alerts[0].created_at.timestamp() - time.time()) < 60


@pytest.mark.parametrize("error_code", ["inspection_failed", "masking_failed", "gateway_error"])
async def test_a_call_that_could_not_be_inspected_raises_an_alert_and_is_audited_once_a_minute(
    bench: Bench, error_code: str
) -> None:
    proxy = await bench.proxy()
    failed = {"proxy_id": proxy.id, "outcome": "failed", "error_code": error_code, "status": 500}
    now = time.time()
    await bench.features.ingest([call(**failed, started_at=now - 120), call(**failed, started_at=now - 110)])
    await bench.features.ingest([call(**failed, started_at=now - 100)])
    await bench.features.ingest([call(**failed, started_at=now - 30), call(proxy_id=proxy.id)])
    async with bench.database.reader() as session:
        alerts, total = await AlertRepository(session).page(AlertFilter(), limit=10, offset=0)
        entries = await session.scalars(select(AuditEntry).where(AuditEntry.event_type == "inspection.failed"))
        details = [entry.details for entry in entries]
    assert total == 4
    assert {(alert.rule_id, alert.severity, alert.action) for alert in alerts} == {
        ("GATEWAY-INSPECTION", "high", "alert")
    }
    assert len(details) == 2
    assert '"calls":2' in details[0]


async def test_a_call_keeps_why_its_verdict_is_what_it_is(bench: Bench) -> None:
    proxy = await bench.proxy()
    decision = Decision(
        source="rule",
        rule_id="no-shell",
        policy="payments",
        policy_version=3,
        level="key",
        would_action=Action.BLOCK,
        risk="high",
        tags=("eu",),
    )
    record = call(proxy_id=proxy.id, decision=decision, findings=(finding(pack="own-payments", action=Action.ALERT),))
    plain = call(proxy_id=proxy.id)
    await bench.features.ingest([record, plain])
    view = await bench.features.traffic.get(ADMIN, record.id)
    assert view.decision is not None
    assert (view.decision.policy, view.decision.policy_version, view.decision.level) == ("payments", 3, "key")
    assert (view.decision.would_action, view.decision.score, view.decision.tags) == ("block", 80, ["eu"])
    assert (await bench.features.traffic.get(ADMIN, plain.id)).decision is None
    async with bench.database.reader() as session:
        (alert,) = (await AlertRepository(session).page(AlertFilter(), limit=10, offset=0))[0]
    assert alert.policy_name == "payments"
    assert alert.description.endswith("set to log only; it would have been blocked.")


async def alerts_of(bench: Bench) -> list[str]:
    async with bench.database.reader() as session:
        return list(await session.scalars(select(Alert.call_id).order_by(Alert.created_at, Alert.id)))


async def test_a_finding_in_a_declaration_alerts_once_and_again_when_anything_of_it_changes(bench: Bench) -> None:
    proxy = await bench.proxy()
    declared = finding(action=Action.ALERT, declaration="a" * 64, path="/result/tools/0/description")

    async def listed(*findings: Any, **changes: Any) -> str:
        record = call(proxy_id=proxy.id, operation="tools/list", findings=findings, **changes)
        await bench.features.ingest([record])
        return str(record.id)

    raised = [await listed(declared)]
    again = await listed(replace(declared, path="/result/tools/3/description"), declared)
    raised.append(await listed(replace(declared, declaration="b" * 64), declared))  # Changed, or another tool.
    raised.append(await listed(replace(declared, severity=Severity.CRITICAL)))
    raised.append(await listed(replace(declared, action=Action.REDACT)))
    raised.append(await listed(replace(declared, rule_id="PI-0002")))
    await listed(declared, replace(declared, action=Action.REDACT))
    assert await alerts_of(bench) == raised
    view = await bench.features.traffic.get(ADMIN, again)
    assert len(view.findings) == 2, "The record of the call keeps what was found."
    elsewhere = await bench.proxy("Other", 4001)
    record = call(proxy_id=elsewhere.id, operation="tools/list", findings=(declared,))
    await bench.features.ingest([record])
    assert await alerts_of(bench) == [*raised, record.id]


async def test_a_batch_of_lists_alerts_once_and_a_refused_list_or_call_each_time(bench: Bench) -> None:
    proxy = await bench.proxy()
    declared = finding(action=Action.ALERT, declaration="a" * 64)
    batch = [call(proxy_id=proxy.id, findings=(declared,)) for _ in range(3)]
    await bench.features.ingest(batch)
    await bench.features.ingest(batch)
    assert await alerts_of(bench) == [batch[0].id]
    refused = [blocked_call(proxy_id=proxy.id) for _ in range(2)]
    await bench.features.ingest(refused)
    assert sorted(await alerts_of(bench)) == sorted([batch[0].id, *(one.id for one in refused)])
