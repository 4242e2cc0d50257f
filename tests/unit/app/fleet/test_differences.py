"""The Config tab and the API say in which fields the workers run something else than what is saved."""

from __future__ import annotations

from typing import Any

from app.fleet.differences import differences
from app.fleet.schemas import UpdateProxy
from proxies.contract import ListenerTLS, ProxyConfig, UpstreamAuth
from tests.support.console import Console
from tests.support.features import ADMIN, Bench
from tests.support.memory_fleet import MemoryFleet
from tests.support.tab import Tab, make_proxy


def config_of(view: Any, **changes: Any) -> ProxyConfig:
    values = {
        "id": view.id,
        "name": view.name,
        "type": view.type,
        "target_url": view.target_url,
        "host": view.host,
        "port": view.port,
        "ruleset": "",
        "policy_names": tuple(view.policy_names),
    }
    return ProxyConfig(**(values | changes))


async def test_every_field_that_workers_know_is_compared(bench: Bench) -> None:
    saved = await bench.proxy()
    assert differences(saved, config_of(saved), saved.policy_names) == []
    other = config_of(
        saved,
        port=4999,
        capture="none",
        require_auth=False,
        policy_names=("a", "b"),
        upstream_auth=UpstreamAuth("bearer", "", "a-secret"),
        tls=ListenerTLS("/cert.pem", "/key.pem"),
        allowed_hosts=("one:1", "two:2"),
        enforcement="log_only",
    )
    found = {item.name: (item.saved, item.running) for item in differences(saved, other, saved.policy_names)}
    assert found == {
        "port": ("4000", "4999"),
        "capture": ("all", "none"),
        "require_auth": ("yes", "no"),
        "policy_names": ("llm-standard-security", "a, b"),
        "upstream_auth.type": ("none", "bearer"),
        "tls_cert_path": ("", "/cert.pem"),
        "tls_key_path": ("", "/key.pem"),
        "allowed_hosts": ("", "one:1, two:2"),
        "enforcement": ("enforce", "log_only"),
    }


async def test_policies_that_come_by_a_tag_or_to_all_proxies_are_no_difference(
    console: Console, tab: Tab, fleet: MemoryFleet
) -> None:
    proxy_id = await make_proxy(console, tags=["team"], policy_names=[])
    address = f"/api/v1/proxies/{proxy_id}"

    async def changed() -> list[str]:
        running = (await console.client.get(f"{address}/running", headers=console.admin)).json()["data"]
        assert running["served"]
        return [item["name"] for item in running["differences"]]

    async def put(where: str, **body: Any) -> None:
        answer = await console.client.put(f"/api/v1/policies/{where}", headers=console.admin, json=body)
        assert answer.status_code == 200, answer.text

    made = {"policy": {"name": "by-tag", "rules": [{"id": "r", "action": "alert"}]}, "publish": True}
    await console.client.post("/api/v1/policies", headers=console.admin, json=made)
    await put("global", policy_names=["llm-standard-security"])
    await console.client.post(f"{address}/start", headers=console.admin)
    assert await changed() == []
    await put("tags", tag="team", policy_names=["by-tag"])
    assert await changed() == []
    fleet.refresh_error = OSError("no workers")
    await put("tags", tag="team", policy_names=[])
    assert await changed() == ["policy_names"]


async def test_a_change_that_did_not_reach_the_workers_shows(console: Console, tab: Tab, fleet: MemoryFleet) -> None:
    proxy_id = await make_proxy(console)
    address = f"/api/v1/proxies/{proxy_id}"
    stopped = (await console.client.get(f"{address}/running", headers=console.admin)).json()["data"]
    assert (stopped["served"], stopped["differences"]) == (False, [])
    assert "takes effect when it starts" in (await tab.get(f"/proxies/{proxy_id}?tab=config")).text
    await console.client.post(f"{address}/start", headers=console.admin)
    assert "The workers run what is saved." in (await tab.get(f"/proxies/{proxy_id}?tab=config")).text
    fleet.refresh_error = OSError("no workers")
    await console.client.patch(address, json={"target_url": "https://<new>.example.org"}, headers=console.admin)
    await console.client.patch(address, json={"enforcement": "log_only"}, headers=console.admin)
    running = (await console.client.get(f"{address}/running", headers=console.admin)).json()["data"]
    assert running["served"] is True
    assert {"name": "enforcement", "saved": "log_only", "running": "enforce"} in running["differences"]
    page = (await tab.get(f"/proxies/{proxy_id}?tab=config")).text
    assert ">log_only</bdi></ins>" in page
    assert ">enforce</bdi></del>" in page
    fleet.refresh_error = None
    await console.client.patch(address, json={"description": "again"}, headers=console.admin)
    running = (await console.client.get(f"{address}/running", headers=console.admin)).json()["data"]
    assert running["differences"] == []
    missing = await console.client.get("/api/v1/proxies/prx_nowhere/running", headers=console.admin)
    assert missing.status_code == 404


async def test_a_saved_policy_that_only_watches_counts_as_log_only(bench: Bench) -> None:
    proxy = await bench.proxy()
    await bench.features.proxies.start(ADMIN, proxy.id)
    await bench.features.proxies.update(ADMIN, proxy.id, UpdateProxy(enforcement="log_only"))
    assert (await bench.features.proxies.running(ADMIN, proxy.id)).differences == []
