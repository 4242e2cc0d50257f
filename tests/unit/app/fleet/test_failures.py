"""A proxy that cannot serve as configured is an alert and an audit entry, once for each reason (RUN-04)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import select

from app import clock
from app.alerts.models import Alert
from app.audit.models import AuditEntry
from app.audit.service import AuditLog
from app.fleet.failures import ProxyFailures
from app.fleet.state import REFUSED, ProxyState, ProxyStatus
from tests.support.features import Bench, drain

DAMAGED = "The rules cannot be loaded: not a pattern database"


@pytest.fixture
async def failures(bench: Bench) -> AsyncIterator[ProxyFailures]:
    made = ProxyFailures(database=bench.database, audit=AuditLog(b"k" * 32), bus=bench.bus)
    await made.start()
    yield made
    await made.stop()


def status(proxy_id: str, state: ProxyState = ProxyState.FAILED, reason: str = DAMAGED) -> ProxyStatus:
    return ProxyStatus(
        proxy_id=proxy_id,
        state=state,
        reason=reason,
        since_at=clock.utcnow(),
        workers_live=0,
        workers_total=1,
        snapshot_version=3,
    )


async def written(bench: Bench) -> tuple[list[Alert], list[AuditEntry]]:
    async with bench.database.reader() as session:
        alerts = list((await session.scalars(select(Alert))).all())
        entries = select(AuditEntry).where(AuditEntry.event_type.like("proxy.%"), AuditEntry.result == "failure")
        return alerts, list((await session.scalars(entries)).all())


async def test_RUN_04_a_failed_proxy_raises_an_alert_and_is_audited(bench: Bench, failures: ProxyFailures) -> None:
    proxy = await bench.proxy()
    subscription = bench.bus.subscribe(["alert"])
    failures.on_status(status(proxy.id))
    await failures.stop()
    [alert], [entry] = await written(bench)
    assert (alert.rule_id, alert.severity, alert.proxy_name) == ("GATEWAY-PROXY", "high", "OpenAI")
    assert alert.description == f"A proxy cannot serve: {DAMAGED}"
    assert (entry.event_type, entry.severity, entry.resource_id) == ("proxy.failed", "critical", proxy.id)
    assert [event.data["id"] for event in await drain(subscription)] == [alert.id]


async def test_a_refused_configuration_is_told_apart(bench: Bench, failures: ProxyFailures) -> None:
    proxy = await bench.proxy()
    failures.on_status(status(proxy.id, ProxyState.DEGRADED, f"{REFUSED}, the one before is in force: damaged"))
    await failures.stop()
    [alert], [entry] = await written(bench)
    assert alert.title == "A proxy runs under an older configuration"
    assert entry.event_type == "proxy.configuration.refused"


async def test_a_reason_is_said_once_and_another_one_again(bench: Bench, failures: ProxyFailures) -> None:
    proxy = await bench.proxy()
    for reason in (DAMAGED, DAMAGED, "The port 4000 is taken."):
        failures.on_status(status(proxy.id, reason=reason))
    await failures.stop()
    alerts, entries = await written(bench)
    assert (len(alerts), len(entries)) == (2, 2)


async def test_other_states_say_nothing(bench: Bench, failures: ProxyFailures) -> None:
    proxy = await bench.proxy()
    replaced = "1 of 2 workers serve it; the others are being replaced."
    for state in (ProxyState.RUNNING, ProxyState.STOPPED, ProxyState.STARTING):
        failures.on_status(status(proxy.id, state))
    failures.on_status(status(proxy.id, ProxyState.DEGRADED, replaced))
    failures.on_status(status("prx_deleted"))
    await failures.stop()
    assert await written(bench) == ([], [])


async def test_a_database_that_refuses_does_not_end_the_writer(
    bench: Bench, failures: ProxyFailures, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = await bench.proxy()

    async def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(AuditLog, "record", fail)
        failures.on_status(status(proxy.id))
        await failures._waiting.join()
    assert "could not be recorded" in caplog.text
    failures.on_status(status(proxy.id, reason="another one"))
    await failures.stop()
    assert len((await written(bench))[0]) == 1
