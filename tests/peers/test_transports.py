"""Foreign clients over the older transports: HTTP+SSE and WebSocket in front of a Streamable HTTP server."""

from __future__ import annotations

import json

import pytest

from tests.conformance.tools import NODE, PACKAGES, need, python_of
from tests.mcp_fixture.process import running_fixture
from tests.peers.test_clients import KEY, PROGRAMS, output_of
from tests.proxy_harness import running_proxy

pytestmark = [pytest.mark.peers, pytest.mark.timeout(180)]
pytest.importorskip("proxies.mcp.downstreams")


@pytest.mark.parametrize(
    ("client", "transport"),
    [("mcp1", "sse"), ("fastmcp", "sse"), ("typescript", "sse"), ("mcp1", "websocket"), ("typescript", "websocket")],
)
async def test_S_01_and_W_01_a_foreign_client_is_served_over_an_older_transport(client: str, transport: str) -> None:
    interpreter = NODE if client == "typescript" else python_of(client)
    need(interpreter)
    program = PROGRAMS / ("older.mjs" if client == "typescript" else f"older_{client}.py")
    # A stock WebSocket client cannot send a credential: the proxy asks for none there.
    key = "" if transport == "websocket" else KEY
    with running_fixture() as target:
        async with running_proxy(type="mcp", target_url=target, client_key=key) as proxy:
            url = f"{proxy.url}/sse" if transport == "sse" else f"{proxy.url.replace('http', 'ws', 1)}/ws"
            before = (str(PACKAGES),) if client == "typescript" else ()
            seen = json.loads(await output_of(str(interpreter), str(program), *before, transport, url, KEY))
    assert seen["text"] == "This is a simple text response for testing."
    assert seen["elicited"].startswith("User response: action=accept")
    assert "zoe@example.com" in seen["elicited"]
    assert (seen["progress"], seen["large"]) == ([0, 50, 100], 900 * 1024)
    assert "test_simple_text" in seen["tools"]
