"""Servers that proxies start, with the real console and its worker: allowed, started, shown, and gone with the worker."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.mcp_wire import MCPClient, request
from tests.support.console import ConsoleProcess
from tests.support.fleet import DEADLINE_SECONDS
from tests.support.ports import free_port

PROGRAM = str(Path(__file__).parents[2] / "stdio_server_program.py")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not condition():
            await asyncio.sleep(0.02)


class Operator:
    """An administrator's client of a real console."""

    def __init__(self, console: ConsoleProcess, http: httpx.AsyncClient) -> None:
        self.console = console
        self.http = http

    async def ask(self, method: str, path: str, body: Any = None, expect: int = 200) -> Any:
        answer = await self.http.request(method, f"/api/v1/{path}", json=body)
        assert answer.status_code == expect, answer.text
        return answer.json().get("data")

    async def started(self, *command: str, **fields: Any) -> dict[str, Any]:
        """A running proxy in front of this command."""
        await self.ask("POST", "launch-programs", {"program": command[0]}, 201)
        wanted = {"name": "local", "type": "mcp", "transport": "stdio", "port": free_port(), "launch_command": command}
        proxy = await self.ask("POST", "proxies", {**wanted, "policy_names": [], "auto_approve": "all", **fields}, 201)
        started = await self.ask("POST", f"proxies/{proxy['id']}/start")
        await self.ask("POST", f"proxies/{proxy['id']}/tools/discover")
        return started

    async def key(self) -> str:
        return (await self.ask("POST", "api-keys", {"name": "tests"}, 201))["key"]

    async def status_with(self, proxy_id: str, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The status of a proxy, once it is as wanted."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not condition(status := await self.ask("GET", f"proxies/{proxy_id}/status")):
                await asyncio.sleep(0.05)
        return status


@asynccontextmanager
async def operating(directory: Path, data_from: Path) -> AsyncIterator[Operator]:
    async with (
        ConsoleProcess(directory, data_from=data_from) as console,
        console.admin(timeout=DEADLINE_SECONDS) as http,
    ):
        yield Operator(console, http)


@asynccontextmanager
async def client_of(proxy: dict[str, Any], key: str) -> AsyncIterator[MCPClient]:
    headers = {"authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=proxy["listen_url"], headers=headers, timeout=DEADLINE_SECONDS) as http:
        yield MCPClient(http)


async def who(client: MCPClient, session: str) -> dict[str, Any]:
    answer = await client.post(request("tools/call", 1, name="who", arguments={}), session=session)
    return json.loads(answer.json()["result"]["content"][0]["text"])


async def test_P_05_a_listed_command_serves_clients_with_its_own_environment_and_its_log_is_shown(
    tmp_path: Path,
    used_data: Path,
) -> None:
    secret = tmp_path / "token"
    secret.write_text("from-a-file\n")
    async with operating(tmp_path, used_data) as operator:
        environment = {"STORED": "a-stored-value", "REFERRED": f"file:{secret}"}
        proxy = await operator.started(sys.executable, PROGRAM, launch_environment=environment)
        assert proxy["state"] == "running"
        async with client_of(proxy, await operator.key()) as client:
            session = await client.initialize()
            seen = await who(client, session)
            answer = await client.post(request("tools/call", 3, name="descriptors", arguments={}), session=session)
            assert json.loads(answer.json()["result"]["content"][0]["text"]) == ["0", "1", "2"]
            lines = ["starting up", "a-stored-value"]
            await client.post(request("tools/call", 2, name="noise", arguments={"lines": lines}), session=session)
            status = await operator.status_with(
                proxy["id"], lambda status: len(status["server_log"]) == 2 and status["server_processes"] == 1
            )
        page = (await operator.http.get(f"/proxies/{proxy['id']}?tab=logs")).text
    assert seen["env"]["STORED"] == "a-stored-value"
    assert seen["env"]["REFERRED"] == "from-a-file"
    assert {name for name in seen["env"] if name.startswith(("OSTIARY_", "_PYI_", "LD_"))} == {
        "OSTIARY_SERVER",
        "OSTIARY_WORKER",
    }
    assert status["server_processes"] == 1
    assert status["server_log"] == ["starting up", "[masked]"]
    assert "a-stored-value" not in page
    assert b"a-stored-value" not in operator.console.output
    assert not alive(seen["pid"])


async def test_P_03_a_killed_worker_takes_its_servers_with_it(tmp_path: Path, used_data: Path) -> None:
    async with operating(tmp_path, used_data) as operator:
        proxy = await operator.started(sys.executable, PROGRAM, "deaf")
        key = await operator.key()
        async with client_of(proxy, key) as client:
            session = await client.initialize()
            first = await who(client, session)
            answer = await client.post(request("tools/call", 2, name="child", arguments={}), session=session)
            grandchild = int(answer.json()["result"]["content"][0]["text"])
            assert alive(grandchild)
            (worker,) = await operator.ask("GET", "system/workers")
            os.kill(worker["pid"], signal.SIGKILL)
            await until(lambda: not alive(first["pid"]) and not alive(grandchild))
            await until(lambda: not Path(first["cwd"]).exists())
        await operator.status_with(proxy["id"], lambda status: status["state"] == "running")
        await operator.ask("POST", f"proxies/{proxy['id']}/tools/discover")
        async with client_of(proxy, key) as client:
            second = await who(client, await client.initialize())
            assert alive(second["pid"])
    assert not alive(second["pid"])


async def test_P_03_a_killed_console_leaves_no_server_behind(tmp_path: Path, used_data: Path) -> None:
    async with operating(tmp_path, used_data) as operator:
        proxy = await operator.started(sys.executable, PROGRAM, "deaf")
        async with client_of(proxy, await operator.key()) as client:
            seen = await who(client, await client.initialize())
            await operator.console.stop(signal.SIGKILL)
            await until(lambda: not alive(seen["pid"]))


async def test_P_03_a_server_that_does_not_come_up_makes_its_proxy_degraded_and_no_other(
    tmp_path: Path, used_data: Path
) -> None:
    async with operating(tmp_path, used_data) as operator:
        sound = await operator.started(sys.executable, PROGRAM)
        await operator.ask("POST", "launch-programs", {"program": "no-such-program"}, 201)
        body = {"name": "missing", "type": "mcp", "transport": "stdio", "port": free_port(), "policy_names": []}
        missing = await operator.ask("POST", "proxies", {**body, "launch_command": ["no-such-program"]}, 201)
        missing = await operator.ask("POST", f"proxies/{missing['id']}/start")
        assert missing["state"] in ("running", "degraded")
        key = await operator.key()
        async with client_of(missing, key) as client:
            refused = await client.post(request("initialize", 0, protocolVersion="2025-11-25", capabilities={}))
        status = await operator.status_with(missing["id"], lambda status: status["state"] == "degraded")
        async with client_of(sound, key) as client:
            assert (await who(client, await client.initialize()))["pid"]
        other = await operator.ask("GET", f"proxies/{sound['id']}/status")
    assert refused.status_code == 502
    assert status["reason"] == "The MCP server cannot be started: its program is missing or not executable."
    assert other["state"] == "running"


async def test_P_05_a_program_that_is_taken_off_the_list_ends_with_its_proxy(tmp_path: Path, used_data: Path) -> None:
    async with operating(tmp_path, used_data) as operator:
        proxy = await operator.started(sys.executable, PROGRAM)
        async with client_of(proxy, await operator.key()) as client:
            seen = await who(client, await client.initialize())
            (entry,) = (await operator.ask("GET", "launch-programs"))["items"]
            assert entry["proxies"] == ["local"]
            await operator.ask("DELETE", f"launch-programs/{entry['id']}")
            await until(lambda: not alive(seen["pid"]))
        status = await operator.status_with(proxy["id"], lambda status: status["state"] == "failed")
    assert "not on the list of programs" in status["reason"]
