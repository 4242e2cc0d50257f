"""SSRF-07: proxies whose targets lead back to them, which only the call itself shows (a name, a balancer between)."""

from __future__ import annotations

from pathlib import Path

import msgspec

from proxies.contract import UpstreamAuth
from tests.support.fleet import KEY, held_upstream, proxy, running_fleet


async def test_SSRF_07_a_call_that_comes_back_is_refused_after_one_round(tmp_path: Path) -> None:
    auth = UpstreamAuth(type="bearer", value=KEY)
    first = proxy("first", "http://127.0.0.1:9", upstream_auth=auth)
    second = proxy("second", f"http://127.0.0.1:{first.port}", upstream_auth=auth)
    first = msgspec.structs.replace(first, target_url=f"http://127.0.0.1:{second.port}")
    async with running_fleet(tmp_path, [first, second]) as bench:
        await bench.fleet.start_proxy("prx_first")
        await bench.fleet.start_proxy("prx_second")
        answer = await bench.ask("prx_first")
        assert answer.status_code == 508
        assert answer.json()["error"]["code"] == "loop_detected"
        await bench.until(lambda: len(bench.calls) == 3)
        passed = sorted((call.proxy_id, call.error_code) for call in bench.calls.values())
        assert passed == [("prx_first", "loop_detected"), ("prx_first", "upstream_508"), ("prx_second", "upstream_508")]


async def test_SSRF_07_a_chain_of_proxies_is_no_loop(tmp_path: Path) -> None:
    async with held_upstream() as upstream:
        auth = UpstreamAuth(type="bearer", value=KEY)
        last = proxy("last", upstream.url)
        middle = proxy("middle", f"http://127.0.0.1:{last.port}", upstream_auth=auth)
        first = proxy("first", f"http://127.0.0.1:{middle.port}", upstream_auth=auth)
        async with running_fleet(tmp_path, [first, middle, last]) as bench:
            for name in ("first", "middle", "last"):
                await bench.fleet.start_proxy(f"prx_{name}")
            assert (await bench.ask("prx_first")).status_code == 200
            assert upstream.requests == 1
