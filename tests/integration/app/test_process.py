"""The console as a real process: first start, second start, second instance, refusals, signals, event streams."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import stat
from pathlib import Path

import httpx
import pytest

from app.http.headers import CONTENT_SECURITY_POLICY
from tests.support.console import PASSWORD, ConsoleProcess

BOXED_PASSWORD = re.compile(rb"Password\s+([A-Za-z0-9]{20})")


async def log_in(client: httpx.AsyncClient, password: str) -> dict[str, str]:
    """Headers of an administrator who has changed the one-time password."""
    answer = await client.post("/api/v1/auth/login", json={"username": "admin", "password": password})
    assert answer.status_code == 200, answer.text
    headers = {"Authorization": f"Bearer {answer.json()['data']['token']}"}
    if not answer.json()["data"]["password_change_required"]:
        return headers
    body = {"current_password": password, "new_password": PASSWORD}
    answer = await client.post("/api/v1/auth/password", json=body, headers=headers)
    return {"Authorization": f"Bearer {answer.json()['data']['token']}"}


async def test_ADM_24_a_first_start_shows_the_password_once_and_a_second_does_not(tmp_path: Path) -> None:
    first = ConsoleProcess(tmp_path, "--log-level", "debug")
    await first.start()
    (shown,) = BOXED_PASSWORD.findall(first.output)
    async with first.client() as client:
        await log_in(client, shown.decode())
    assert await first.stop() == 0
    assert first.output.count(shown) == 1
    second = ConsoleProcess(tmp_path, "--log-level", "debug")
    await second.start()
    async with second.client() as client:
        assert (await client.get("/ready")).json()["status"] == "ready"
        await log_in(client, PASSWORD)
    assert await second.stop() == 0
    assert b"Password" not in second.output
    assert PASSWORD.encode() not in second.output


@pytest.mark.parametrize("umask", [0o000, 0o077])
async def test_SEC_06_everything_a_running_console_writes_is_private(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        async with ConsoleProcess(tmp_path) as console, console.client() as client:
            await log_in(client, console.password_file.read_text().strip())
            written = [console.password_file, *console.data_dir.rglob("*")]
            for path in written:
                wanted = 0o700 if path.is_dir() else 0o600
                assert stat.S_IMODE(path.stat().st_mode) == wanted, path
            assert {"ostiary.db", "ostiary.db-wal", "ostiary.lock", "secret.key"} <= {path.name for path in written}
    finally:
        os.umask(before)


async def test_ADM_01_a_fresh_start_listens_on_loopback_only(tmp_path: Path) -> None:
    async with ConsoleProcess(tmp_path) as console:
        port = int(console.url.rpartition(":")[2])
        listening = Path(f"/proc/{console.process.pid}/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
        wanted = f":{port:04X} "
        addresses = {line.split()[1] for line in listening.splitlines() if wanted in line and line.split()[3] == "0A"}
        assert addresses == {f"0100007F:{port:04X}"}


async def test_DUR_14_a_second_instance_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    async with ConsoleProcess(tmp_path) as first:
        second = ConsoleProcess(tmp_path)
        with pytest.raises(AssertionError, match=f"pid {first.process.pid}"):
            await second.start()
        assert await second.stop() == 1


async def test_after_a_kill_the_next_start_finds_everything(tmp_path: Path) -> None:
    console = ConsoleProcess(tmp_path)
    await console.start()
    async with console.client() as client:
        await log_in(client, console.password_file.read_text().strip())
    assert await console.stop(signal.SIGKILL) == -signal.SIGKILL
    async with ConsoleProcess(tmp_path) as again, again.client() as client:
        headers = await log_in(client, PASSWORD)
        answer = await client.get("/api/v1/audit/verify", headers=headers)
        assert answer.json()["data"]["first_bad_sequence"] is None


async def test_RUN_11_a_storm_of_hang_ups_is_survived_and_logged_once(tmp_path: Path) -> None:
    console = ConsoleProcess(tmp_path, "--log-level", "info")
    async with console, console.client() as client:
        for _ in range(50):
            console.process.send_signal(signal.SIGHUP)
            assert (await client.get("/health")).status_code == 200
        assert await console.stop() == 0
    assert console.output.count(b"SIGHUP") == 1


async def test_a_taken_port_is_refused_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        flags = ("--port", str(taken.getsockname()[1]))
        console = ConsoleProcess(tmp_path, *flags)
        with pytest.raises(AssertionError, match="Setting port: cannot listen"):
            await console.start()
        assert await console.stop() == 1
        assert b"Traceback" not in console.output


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"ENCRYPTION_KEY": "changeme" * 5}, "Setting encryption_key"),
        ({"JWT_SECRET": "short"}, "Setting secret_key"),
        ({"ENVIRONMENT": "prod"}, "Setting environment"),
    ],
)
async def test_SEC_05_bad_settings_refuse_to_start_naming_the_setting(
    tmp_path: Path, environ: dict[str, str], told: str
) -> None:
    console = ConsoleProcess(tmp_path, environ=environ)
    with pytest.raises(AssertionError, match=told):
        await console.start()
    assert await console.stop() == 1
    assert not (console.data_dir / "ostiary.db").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_with_an_open_event_stream_stops_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    async with ConsoleProcess(tmp_path) as console, console.client() as client:
        headers = await log_in(client, console.password_file.read_text().strip())
        async with client.stream("GET", "/api/v1/events", headers=headers) as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            lines = stream.aiter_lines()
            assert await anext(lines) == ": connected"
            assert await console.stop(number) == 0
            assert [line async for line in lines if line] == []


async def test_ADM_09_an_open_event_stream_ends_with_its_session(tmp_path: Path) -> None:
    async with ConsoleProcess(tmp_path) as console, console.client(timeout=None) as client:
        headers = await log_in(client, console.password_file.read_text().strip())
        async with client.stream("GET", "/api/v1/events?topics=alert", headers=headers) as stream:
            lines = stream.aiter_lines()
            assert await anext(lines) == ": connected"
            assert (await client.post("/api/v1/auth/logout", headers=headers)).status_code == 200
            async with asyncio.timeout(20):
                assert [line async for line in lines if line] == []


async def test_a_client_that_leaves_frees_its_subscription(tmp_path: Path) -> None:
    async with ConsoleProcess(tmp_path) as console, console.client() as client:
        headers = await log_in(client, console.password_file.read_text().strip())
        async with client.stream("GET", "/api/v1/events", headers=headers) as stream:
            lines = stream.aiter_lines()
            assert await anext(lines) == ": connected"
            assert (await live_connections(client, headers)) == 1
        async with asyncio.timeout(10):
            while await live_connections(client, headers):
                await asyncio.sleep(0.05)


async def live_connections(client: httpx.AsyncClient, headers: dict[str, str]) -> int:
    """How many streams the console thinks are open."""
    answer = await client.get("/api/v1/system/info", headers=headers)
    return int(answer.json()["data"]["live_connections"])


async def test_ADM_23_metrics_for_a_scraper_on_this_machine(tmp_path: Path) -> None:
    environ = {"OSTIARY_METRICS_ON_LOOPBACK": "true"}
    async with ConsoleProcess(tmp_path, environ=environ) as console, console.client() as client:
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


async def test_ADM_07_the_servers_own_refusals_carry_the_headers_too(tmp_path: Path) -> None:
    async with ConsoleProcess(tmp_path) as console:
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
