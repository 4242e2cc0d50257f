"""What a running console does for its clients, as a real process; one serves all tests of this module."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from app.http.headers import CONTENT_SECURITY_POLICY
from tests.integration.app.test_process import log_in
from tests.support.console import PASSWORD, ConsoleProcess

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def console(tmp_path_factory: pytest.TempPathFactory, used_data: Path) -> AsyncIterator[ConsoleProcess]:
    """A console whose administrator has the password PASSWORD."""
    environ = {"OSTIARY_METRICS_ON_LOOPBACK": "true"}
    directory = tmp_path_factory.mktemp("console")
    async with ConsoleProcess(directory, environ=environ, data_from=used_data) as running:
        yield running


async def test_ADM_01_a_fresh_start_listens_on_loopback_only(console: ConsoleProcess) -> None:
    port = int(console.url.rpartition(":")[2])
    listening = Path(f"/proc/{console.process.pid}/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
    wanted = f":{port:04X} "
    addresses = {line.split()[1] for line in listening.splitlines() if wanted in line and line.split()[3] == "0A"}
    assert addresses == {f"0100007F:{port:04X}"}


async def test_DUR_14_a_second_instance_is_refused_with_the_pid_of_the_first(console: ConsoleProcess) -> None:
    second = ConsoleProcess(console.data_dir.parent)
    with pytest.raises(AssertionError, match=f"pid {console.process.pid}"):
        await second.start()
    assert await second.stop() == 1


async def test_ADM_09_an_open_event_stream_ends_with_its_session(console: ConsoleProcess) -> None:
    async with console.client(timeout=None) as client:
        headers = await log_in(client, PASSWORD)
        async with client.stream("GET", "/api/v1/events?topics=alert", headers=headers) as stream:
            lines = stream.aiter_lines()
            assert await anext(lines) == ": connected"
            assert (await client.post("/api/v1/auth/logout", headers=headers)).status_code == 200
            async with asyncio.timeout(20):
                assert [line async for line in lines if line] == []


async def test_a_client_that_leaves_frees_its_subscription(console: ConsoleProcess) -> None:
    async with console.client() as client:
        headers = await log_in(client, PASSWORD)
        await until_live(0, client, headers)
        async with client.stream("GET", "/api/v1/events", headers=headers) as stream:
            lines = stream.aiter_lines()
            assert await anext(lines) == ": connected"
            await until_live(1, client, headers)
        await until_live(0, client, headers)


async def until_live(wanted: int, client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    """Wait until the console thinks that so many streams are open."""
    async with asyncio.timeout(10):
        while True:
            answer = await client.get("/api/v1/system/info", headers=headers)
            if answer.json()["data"]["live_connections"] == wanted:
                return
            await asyncio.sleep(0.05)


async def test_ADM_23_metrics_for_a_scraper_on_this_machine(console: ConsoleProcess) -> None:
    async with console.client() as client:
        assert "ostiary_build_info" in (await client.get("/metrics")).text
        assert (await client.get("/api/v1/system/info")).status_code == 401


async def raw_answer(console: ConsoleProcess, *sent: bytes) -> bytes:
    """What a console answers to bytes that are no proper request."""
    host, port = console.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    async with asyncio.timeout(30):
        for data in sent:
            writer.write(data)
            await writer.drain()
        answer = await reader.read()
    writer.close()
    return answer


async def test_ADM_07_the_servers_own_refusals_carry_the_headers_too(console: ConsoleProcess) -> None:
    malformed = await raw_answer(console, b"NONSENSE\r\n\r\n")
    endless = await raw_answer(console, b"GET / HTTP/1.1\r\n", *[b"X-Filler: " + b"a" * 8000 + b"\r\n"] * 9)
    async with console.client() as client:
        assert (await client.get("/health", headers={"X-Filler": "a" * 60_000})).status_code == 200
    for answer, status in ((malformed, 400), (endless, 431)):
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(f"HTTP/1.1 {status} ".encode())
        assert CONTENT_SECURITY_POLICY.encode() in head
        assert b"x-content-type-options: nosniff" in head
        assert b"server:" not in head.lower()
        assert json.loads(body)["status"] == status
