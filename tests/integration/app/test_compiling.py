"""A console that has no compiled rules: it listens at once, its proxies wait, a stop does not."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.integration.app.test_process import log_in
from tests.support.console import PASSWORD, ConsoleProcess
from tests.support.ports import free_port


async def test_a_console_without_compiled_rules_answers_at_once_and_stops_at_once(
    tmp_path: Path, used_data: Path
) -> None:
    nothing_compiled = {"OSTIARY_CACHE_DIR": str(tmp_path / "cache")}
    first = ConsoleProcess(tmp_path, environ=nothing_compiled, data_from=used_data)
    async with first, first.client(timeout=60) as client:
        headers = await log_in(client, PASSWORD)
        wanted = {"name": "OpenAI", "type": "llm", "target_url": "https://api.example.org", "auto_start": True}
        made = (await client.post("/api/v1/proxies", json={**wanted, "port": free_port()}, headers=headers)).json()
        answer = await client.post(f"/api/v1/proxies/{made['data']['id']}/start", headers=headers)
        assert (answer.status_code, answer.json()["message"]) == (200, "The proxy is starting.")
        assert answer.json()["data"]["state_reason"] == "Rules are being compiled."
        assert (await client.get("/ready")).status_code == 200  # The others would serve.
        path = "/api/v1/policies/compiled/llm-standard-security/recompile"
        waiting = asyncio.create_task(client.post(path, headers=headers))
        await client.get("/api/v1/proxies", headers=headers)
        assert not waiting.done()
        assert await first.stop() == 0
        assert (await waiting).status_code == 503

    second = ConsoleProcess(tmp_path, environ=nothing_compiled)
    async with second, second.client(timeout=60) as client:
        ready = await client.get("/ready")
        assert ready.status_code == 503
        assert ready.json()["checks"]["rules"] == "being compiled for 1 proxy"
        headers = await log_in(client, PASSWORD)
        (proxy,) = (await client.get("/api/v1/proxies", headers=headers)).json()["data"]["items"]
        assert (proxy["state"], proxy["state_reason"]) == ("starting", "Rules are being compiled.")
        assert await second.stop() == 0
