"""What a worker and the console say to each other about an MCP server, over the real channel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from proxies.contract import Discover, EntryRule, Judged, MCPControl, MCPSettings, Observed, ProxyConfig, UpstreamAuth
from tests.integration.mcp.test_eras import Server
from tests.integration.mcp.test_tool_control import Scripted
from tests.mcp_control import accept_all, named, tool
from tests.mcp_wire import legacy_headers, modern, request
from tests.rawpeer import Upstream, UpstreamPeer
from tests.support.channel_servers import sse_server, websocket_server
from tests.support.fleet import KEY, proxy
from tests.unit.proxies.test_worker import Console, running


@asynccontextmanager
async def served(server: Scripted, directory: Path, **control: Any) -> AsyncIterator[tuple[Console, ProxyConfig]]:
    """A worker with one MCP proxy under control in front of a scripted server."""

    async def script(peer: UpstreamPeer) -> None:
        while (raw := await peer.read_request()) is not None:
            if (answer := await server(raw, peer)) is not None:
                await peer.send(answer)

    async with Upstream(script) as upstream, running(directory) as console:
        config = proxy("m", f"{upstream.url}/mcp", type="mcp", mcp=MCPSettings(control=MCPControl(**control)))
        console.listen(config)
        await console.publish(1, config)
        yield console, config


async def ask(console: Console, config: ProxyConfig, body: dict[str, Any], session: str | None = None) -> Any:
    """POST one legacy message."""
    headers = {**legacy_headers(session), "authorization": f"Bearer {KEY}"}
    return await console.client.post(f"http://127.0.0.1:{config.port}/mcp", json=body, headers=headers)


async def test_T_04_the_console_has_a_server_listed_and_hears_of_it_under_its_own_id(tmp_path: Path) -> None:
    server = Scripted(tool("one"), tool("two"), instructions="Be kind.")
    async with served(server, tmp_path) as (console, config):
        console.send(Discover("obs_1", config.id, "timer"))
        observation = (await console.receive(Observed)).observation
        console.send(Discover("obs_2", "prx_unknown"))
        missing = (await console.receive(Observed)).observation

    assert (observation.id, observation.proxy_id, observation.trigger) == ("obs_1", config.id, "timer")
    assert observation.kinds == ("tool", "prompt", "resource", "template")
    assert [entry.name for entry in observation.entries] == ["one", "two"]
    assert msgspec.json.decode(observation.server)["instructions"] == "Be kind."
    assert observation.origin == config.target_url
    assert (observation.authenticated, observation.tls_key_sha256, observation.failure) == (False, "", "")
    assert missing.id == "obs_2"
    assert missing.failure


async def test_T_04_a_server_that_is_down_is_a_failure_and_not_an_empty_server(tmp_path: Path) -> None:
    async with running(tmp_path) as console:
        config = proxy("m", "http://127.0.0.1:9/mcp", type="mcp", mcp=MCPSettings(control=MCPControl()))
        console.listen(config)
        await console.publish(1, config)
        console.send(Discover("obs_1", config.id))
        observation = (await console.receive(Observed)).observation
    assert (observation.id, observation.kinds, observation.entries) == ("obs_1", (), ())
    assert observation.failure


async def test_T_01_a_list_waits_for_the_snapshot_with_the_judgement(tmp_path: Path) -> None:
    async with served(Scripted(tool("one"), tool("two")), tmp_path) as (console, config):
        params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        opened = await ask(console, config, request("initialize", 0, **params))
        listing = asyncio.create_task(ask(console, config, request("tools/list"), opened.headers["mcp-session-id"]))
        observation = (await console.receive(Observed, lambda message: message.observation.entries)).observation
        control = accept_all(observation)
        control = msgspec.structs.replace(
            control, tools={**control.tools, "two": EntryRule(enabled=False, reason="pending")}
        )
        await console.publish(2, msgspec.structs.replace(config, mcp=MCPSettings(control=control)))
        console.send(Judged(observation.id))
        assert named((await listing).json()["result"]["tools"]) == ["one"]


HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}


@pytest.mark.parametrize(("transport", "running_server"), [("sse", sse_server), ("websocket", websocket_server)])
async def test_another_credential_for_a_server_goes_with_the_next_session(
    tmp_path: Path, transport: Any, running_server: Any
) -> None:
    async with running_server(guarded=True) as url, running(tmp_path) as console:
        config = proxy("m", url, type="mcp", mcp=MCPSettings(transport=transport))
        old = msgspec.structs.replace(config, upstream_auth=UpstreamAuth(type="bearer", value="stale"))
        new = msgspec.structs.replace(config, upstream_auth=UpstreamAuth(type="bearer", value="right"))
        console.listen(config)
        await console.publish(1, old)
        refused = await ask(console, config, request("initialize", 0, **HELLO))
        await console.publish(2, new)
        accepted = await ask(console, config, request("initialize", 0, **HELLO))
    assert (refused.status_code, accepted.status_code) == (502, 200)


async def test_E_04_refusing_a_server_that_has_fallen_back_takes_effect_at_once(tmp_path: Path) -> None:
    server = Server("modern")
    async with served(server, tmp_path) as (console, config):  # type: ignore[arg-type]
        address = f"http://127.0.0.1:{config.port}/mcp"

        async def call(id: int) -> Any:
            return await console.client.post(
                address, **modern(request("tools/list", id), authorization=f"Bearer {KEY}")
            )

        lax = msgspec.structs.replace(config, mcp=MCPSettings())
        await console.publish(2, lax)
        assert (await call(1)).status_code == 200
        server.era = "legacy"
        assert (await call(2)).json()["error"]["data"]["code"] == "era_not_spoken"
        await console.publish(3, msgspec.structs.replace(config, mcp=MCPSettings(refuse_downgrade=True)))
        assert (await call(3)).json()["error"]["data"]["code"] == "downgrade_refused"
        await console.publish(4, lax)
        assert (await call(4)).json()["error"]["data"]["code"] == "era_not_spoken"
