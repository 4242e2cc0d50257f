"""The trail in Via at the door of a proxy, for both types of proxies."""

from __future__ import annotations

import httpx
import pytest

from proxies.contract import ProxyType
from proxies.transport.via import MAX_HOPS, pseudonym, via_value
from tests.proxy_harness import running_proxy
from tests.rawpeer import Upstream

OWN = pseudonym("prx_test")
OTHERS = [pseudonym(f"prx_{number}") for number in range(MAX_HOPS)]


@pytest.mark.parametrize("type_", ["llm", "mcp"])
@pytest.mark.parametrize(
    ("via", "refused"),
    [
        (via_value([OTHERS[0], OWN]), True),
        (via_value(OTHERS), True),
        (via_value(OTHERS[1:]), False),
        (f"1.1 {OWN}x", False),
        ("1.1 fred", False),
    ],
)
async def test_SSRF_07_a_call_with_our_own_signature_is_refused(type_: ProxyType, via: str, refused: bool) -> None:
    async with (
        Upstream() as upstream,
        running_proxy(type=type_, target_url=upstream.url, client_key="ost_" + "k" * 40) as proxy,
        httpx.AsyncClient() as client,
    ):
        answer = await client.post(f"{proxy.url}/mcp", json={}, headers={"via": via})
        record = (await proxy.wait_for_records(1))[0]
        # What is not refused goes on to the next step, which wants a key.
        assert (answer.status_code, record.error_code) == (
            (508, "loop_detected") if refused else (401, "missing_api_key")
        )
        assert upstream.requests == []
