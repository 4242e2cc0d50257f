"""The real program: console and worker as processes, a proxy made through the API, signals from outside."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.console import ConsoleProcess
from tests.support.fleet import DEADLINE_SECONDS, HeldUpstream, held_upstream
from tests.support.ports import free_port


class Operator:
    """An administrator with a proxy and a key."""

    def __init__(self, console: ConsoleProcess, client: httpx.AsyncClient) -> None:
        self.console = console
        self.client = client
        self.port = 0
        self.proxy_id = ""
        self.key = ""

    async def set_up(self, upstream: HeldUpstream) -> None:
        self.port = free_port()
        body: dict[str, Any] = {"name": "a", "type": "llm", "target_url": upstream.url, "port": self.port}
        body |= {"auto_start": True, "policy_names": []}
        answer = await self.client.post("/api/v1/proxies", json=body)
        assert answer.status_code == 201, answer.text
        self.proxy_id = answer.json()["data"]["id"]
        self.key = (await self.client.post("/api/v1/api-keys", json={"name": "tests"})).json()["data"]["key"]
        answer = await self.client.post(f"/api/v1/proxies/{self.proxy_id}/start")
        assert answer.json()["data"]["state"] == "running", answer.text

    def call(self, client: httpx.AsyncClient, *, stream: bool) -> Any:
        """A chat call as a context manager."""
        return client.stream(
            "POST",
            f"http://127.0.0.1:{self.port}/v1/chat/completions",
            json={"model": "echo", "stream": stream, "messages": [{"role": "user", "content": "hello"}]},
            headers={"authorization": f"Bearer {self.key}"},
        )

    async def recorded(self, count: int) -> list[dict[str, Any]]:
        """The calls in the traffic log, once there are so many."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while True:
                items: list[dict[str, Any]] = (await self.client.get("/api/v1/traffic")).json()["data"]["items"]
                if len(items) >= count:
                    return items
                await asyncio.sleep(0.05)


@asynccontextmanager
async def operating(console: ConsoleProcess) -> AsyncIterator[Operator]:
    async with console.admin(timeout=DEADLINE_SECONDS) as client:
        yield Operator(console, client)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_RUN_01_console_drains_a_running_stream_and_ends_with_status_0(
    tmp_path: Path, used_data: Path, number: signal.Signals
) -> None:
    async with (
        held_upstream() as upstream,
        ConsoleProcess(tmp_path, data_from=used_data) as console,
        operating(console) as operator,
    ):
        await operator.set_up(upstream)
        async with (
            httpx.AsyncClient(timeout=DEADLINE_SECONDS) as client,
            operator.call(client, stream=True) as answer,
        ):
            lines = answer.aiter_lines()
            assert "first" in await anext(lines)
            stopping = asyncio.create_task(console.stop(number))
            while await _accepts(operator.port):
                await asyncio.sleep(0.02)
            upstream.release.set()
            assert [line async for line in lines if line][-1] == "data: [DONE]"
        assert await stopping == 0
        assert b"Traceback" not in console.output


async def test_RUN_01_killed_console_loses_no_call_and_its_auto_start_proxies_come_back(
    tmp_path: Path, used_data: Path
) -> None:
    async with held_upstream() as upstream:
        async with ConsoleProcess(tmp_path, data_from=used_data) as console, operating(console) as operator:
            await operator.set_up(upstream)
            async with httpx.AsyncClient(timeout=DEADLINE_SECONDS) as client:
                async with operator.call(client, stream=False) as answer:
                    assert answer.status_code == 200
                    seen = answer.headers["x-request-id"]
                await console.stop(signal.SIGKILL)
        again = ConsoleProcess(tmp_path, "--log-level", "info")
        async with again, operating(again) as successor:
            successor.port, successor.key = operator.port, operator.key
            async with asyncio.timeout(DEADLINE_SECONDS):
                while not await _accepts(successor.port):
                    await asyncio.sleep(0.05)
            async with (
                httpx.AsyncClient(timeout=DEADLINE_SECONDS) as client,
                successor.call(client, stream=False) as answer,
            ):
                assert answer.status_code == 200
            calls = await successor.recorded(2)
            assert seen in {call["id"] for call in calls}


async def _accepts(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return False
    writer.close()
    return True
