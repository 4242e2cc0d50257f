"""Nobody sees or changes what belongs to another tenant, whatever id they know (ADM-14)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
import pytest

from app.access.schemas import CreateKey
from app.alerts.repository import AlertFilter
from app.alerts.schemas import BulkChange
from app.alerts.workflow import AlertAction
from app.errors import NotFound
from app.fleet.schemas import UpdateProxy
from app.traffic.repository import CallFilter
from tests.support.features import ADMIN, Bench
from tests.support.records import blocked_call

STRANGER = msgspec.structs.replace(ADMIN, user_id="usr_2", username="eve", tenant_id="another")


async def test_ADM_14_lists_of_another_tenant_are_empty(bench: Bench) -> None:
    proxy = await bench.proxy()
    await bench.features.keys.create(ADMIN, CreateKey(name="app"))
    await bench.features.ingest([blocked_call(proxy_id=proxy.id)])
    services = bench.features
    assert (await services.proxies.page(STRANGER)).total == 0
    assert (await services.keys.page(STRANGER)).total == 0
    assert (await services.traffic.page(STRANGER, CallFilter())).total == 0
    assert (await services.alerts.page(STRANGER, AlertFilter())).total == 0
    assert await services.alerts.groups(STRANGER, AlertFilter()) == []
    assert (await services.alerts.summary(STRANGER)).needs_attention == 0
    assert (await services.traffic.totals(STRANGER, hours=24)).calls == 0
    assert await services.traffic.counts(STRANGER) == {}
    overview = await services.overview.overview(STRANGER)
    assert (overview.proxies_total, overview.calls_today, overview.attention, overview.rules_today) == (0, 0, [], [])
    assert (await services.proxies.page(ADMIN)).total == 1


async def test_ADM_14_ids_of_another_tenant_are_unknown_and_nothing_changes(bench: Bench) -> None:
    services = bench.features
    proxy = await bench.proxy()
    key = (await services.keys.create(ADMIN, CreateKey(name="app"))).api_key
    record = blocked_call(proxy_id=proxy.id)
    await services.ingest([record])
    alert = (await services.alerts.page(ADMIN, AlertFilter())).items[0]
    attempts: list[Callable[[], Awaitable[object]]] = [
        lambda: services.proxies.get(STRANGER, proxy.id),
        lambda: services.proxies.update(STRANGER, proxy.id, UpdateProxy(description="mine")),
        lambda: services.proxies.start(STRANGER, proxy.id),
        lambda: services.proxies.stop(STRANGER, proxy.id),
        lambda: services.proxies.delete(STRANGER, proxy.id),
        lambda: services.keys.create(STRANGER, CreateKey(name="k", proxy_ids=[proxy.id])),
        lambda: services.keys.revoke(STRANGER, key.id),
        lambda: services.keys.delete(STRANGER, key.id),
        lambda: services.traffic.get(STRANGER, record.id),
        lambda: services.traffic.stats(STRANGER, proxy.id, hours=1),
        lambda: services.traffic.log(STRANGER, proxy.id),
        lambda: services.alerts.get(STRANGER, alert.id),
        lambda: services.alerts.change(STRANGER, alert.id, AlertAction.RESOLVE),
    ]
    for attempt in attempts:
        with pytest.raises(NotFound):
            await attempt()
    bulk = await services.alerts.change_many(STRANGER, BulkChange(alert_ids=[alert.id], action=AlertAction.RESOLVE))
    assert (bulk.changed, bulk.missing) == (0, 1)
    assert await services.proxies.get(ADMIN, proxy.id) == proxy
    assert (await services.keys.page(ADMIN)).items == [key]
    assert await services.alerts.get(ADMIN, alert.id) == alert
