"""A real worker reaches its upstream through an HTTP proxy, which alone knows the upstream's name."""

from __future__ import annotations

from pathlib import Path

import msgspec

from proxies.contract import UpstreamProxy
from tests.forward_proxy import ForwardProxy
from tests.support.fleet import configuration, held_upstream, proxy, running_fleet

LOGIN = "Basic dXNlcjpwYXNz"


async def test_a_worker_takes_the_way_of_the_newest_configuration(tmp_path: Path) -> None:
    async with held_upstream() as upstream:
        port = int(upstream.url.rsplit(":", 1)[1])
        async with ForwardProxy({"api.test": port}, authorization=LOGIN) as forward:
            way = UpstreamProxy(host="127.0.0.1", port=forward.port, authorization=LOGIN)
            config = proxy("a", "http://api.test", upstream_proxy=way)
            async with running_fleet(tmp_path, [config]) as bench:
                await bench.fleet.start_proxy("prx_a")
                assert (await bench.ask("prx_a")).status_code == 200
                assert (upstream.requests, len(forward.heads)) == (1, 1)

                wrong = msgspec.structs.replace(way, authorization="Basic d3Jvbmc=")
                bench.configuration = configuration([msgspec.structs.replace(config, upstream_proxy=wrong)])
                await bench.fleet.refresh()
                refused = await bench.ask("prx_a")
                assert refused.status_code == 502
                assert refused.json()["error"]["code"] == "upstream_proxy_auth"
                assert "https_proxy" in refused.json()["error"]["remediation"]
                assert str(forward.port) not in refused.text
                assert upstream.requests == 1
                await bench.until(lambda: len(bench.calls) == 2)
                assert "answered 407" in bench.calls[refused.headers["x-request-id"]].reason
