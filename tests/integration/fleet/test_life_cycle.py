"""Proxies come and go one by one; what happens to one touches no other."""

from pathlib import Path

from app.fleet.supervisor import ProxyState
from tests.support.fleet import ATTACK, held_upstream, proxy, running_fleet


async def test_RUN_03_started_proxy_serves_and_its_calls_are_ingested(tmp_path: Path) -> None:
    async with held_upstream() as upstream, running_fleet(tmp_path, [proxy("a", upstream.url)]) as bench:
        status = await bench.fleet.start_proxy("prx_a")
        assert status.state is ProxyState.RUNNING
        assert (await bench.ask("prx_a")).status_code == 200
        refused = await bench.ask("prx_a", ATTACK)
        assert refused.status_code == 403
        assert upstream.requests == 1
        await bench.until(lambda: len(bench.calls) == 2)
        blocked = bench.calls[refused.headers["x-request-id"]]
        assert blocked.findings[0].rule_id == "T-BLOCK"
