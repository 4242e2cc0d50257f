"""What a scraper sees of proxies and traffic."""

from __future__ import annotations

from proxies.contract import Usage
from tests.support.console import Console
from tests.support.memory_fleet import MemoryFleet
from tests.support.records import blocked_call, call


async def scrape(console: Console) -> list[str]:
    answer = await console.client.get("/metrics", headers=console.admin)
    assert answer.status_code == 200
    return answer.text.splitlines()


async def test_INJ_06_calls_are_counted_once_by_proxy_and_verdict_with_quoted_names(
    console: Console, fleet: MemoryFleet
) -> None:
    proxy = {"name": 'a"b\\c', "type": "llm", "target_url": "https://api.example.org", "port": 4000}
    made = await console.client.post("/api/v1/proxies", json=proxy, headers=console.admin)
    proxy_id = made.json()["data"]["id"]
    batch = [
        call(proxy_id=proxy_id, usage=Usage(input_tokens=7, output_tokens=2), added_ms=0.3),
        blocked_call(proxy_id=proxy_id),
        call(proxy_id="prx_gone"),
    ]
    for _ in range(2):
        console.client.blocking_portal.call(fleet.hooks.ingest, batch)
    fleet.calls_dropped, fleet.worker_deaths = 5, 1
    await console.client.post(f"/api/v1/proxies/{proxy_id}/start", headers=console.admin)
    lines = await scrape(console)
    name = 'a\\"b\\\\c'
    for expected in (
        f'ostiary_calls_total{{proxy="{name}",verdict="allowed"}} 1.0',
        f'ostiary_calls_total{{proxy="{name}",verdict="blocked"}} 1.0',
        'ostiary_calls_total{proxy="deleted",verdict="allowed"} 1.0',
        f'ostiary_tokens_total{{direction="input",proxy="{name}"}} 7.0',
        "ostiary_added_seconds_count 3.0",
        'ostiary_proxies{state="running"} 1.0',
        'ostiary_proxies{state="failed"} 0.0',
        "ostiary_workers_live 1.0",
        "ostiary_worker_deaths_total 1.0",
        "ostiary_calls_dropped_total 5.0",
    ):
        assert expected in lines
