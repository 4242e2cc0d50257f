"""WebSockets and HTTP+SSE streams of a worker, across snapshots and at its end."""

from __future__ import annotations

import json
import ssl
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from proxies.contract import Drain, ListenerTLS, ProxyConfig, SetSnapshot, SnapshotApplied
from tests.support.certificates import make_certificate
from tests.support.fleet import KEY, held_upstream, proxy
from tests.unit.proxies.test_worker import Console, running

FIELDS = {"authorization": f"Bearer {KEY}"}


def mcp_proxy(name: str, url: str) -> ProxyConfig:
    return msgspec.structs.replace(proxy(name, url), type="mcp")


def websocket(config: ProxyConfig, tls: ssl.SSLContext | None = None) -> Any:
    return connect(
        f"wss://localhost:{config.port}/ws" if tls else f"ws://127.0.0.1:{config.port}/ws",
        ssl=tls,
        additional_headers=FIELDS,
        subprotocols=[Subprotocol("mcp")],
        proxy=None,
    )


async def closed_with(connection: Any) -> int | None:
    with pytest.raises(ConnectionClosed) as closed:
        await connection.recv()
    return closed.value.rcvd.code if closed.value.rcvd else None


async def publish_without_keys(console: Console, version: int, config: ProxyConfig) -> None:
    snapshot = msgspec.structs.replace(console.snapshot(version, config), api_keys=())
    console.send(SetSnapshot(snapshot))
    await console.receive(SnapshotApplied, lambda message: message.version == version)


async def test_W_03_a_snapshot_without_the_key_closes_its_connections(tmp_path: Path) -> None:
    async with held_upstream() as upstream, running(tmp_path) as console:
        config = mcp_proxy("a", upstream.url)
        console.listen(config)
        await console.publish(1, config)
        async with (
            websocket(config) as connection,
            httpx.AsyncClient(timeout=20, headers=FIELDS) as client,
            client.stream("GET", f"http://127.0.0.1:{config.port}/sse") as stream,
        ):
            lines = stream.aiter_lines()
            assert (await anext(lines)) == "event: endpoint"
            await console.publish(2, config)
            await publish_without_keys(console, 3, config)
            assert await closed_with(connection) == 1008
            assert [line async for line in lines if line.startswith("event")] == []


async def test_a_snapshot_with_another_upstream_closes_the_connections_that_use_the_old_one(tmp_path: Path) -> None:
    async with held_upstream() as upstream, running(tmp_path) as console:
        config = mcp_proxy("a", upstream.url)
        console.listen(config)
        await console.publish(1, config)
        async with websocket(config) as connection:
            await console.publish(2, msgspec.structs.replace(config, target_url=f"{upstream.url}/other"))
            assert await closed_with(connection) == 1012


async def test_RUN_01_a_worker_that_drains_closes_its_connections(tmp_path: Path) -> None:
    async with held_upstream() as upstream, running(tmp_path) as console:
        config = mcp_proxy("a", upstream.url)
        console.listen(config)
        await console.publish(1, config)
        async with websocket(config) as connection:
            console.send(Drain(deadline_seconds=20))
            assert await closed_with(connection) == 1001


async def test_W_02_a_websocket_over_tls_is_answered_and_closed_in_order(tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path)
    spool = tmp_path / "spool"
    spool.mkdir()
    async with held_upstream() as upstream, running(spool) as console:
        config = msgspec.structs.replace(mcp_proxy("a", upstream.url), tls=ListenerTLS(str(cert), str(key)))
        console.listen(config)
        await console.publish(1, config)
        async with websocket(config, ssl.create_default_context(cafile=str(cert))) as connection:
            await connection.send("{")
            assert json.loads(await connection.recv())["error"]["code"] == -32700
            await publish_without_keys(console, 2, config)
            assert await closed_with(connection) == 1008
