"""The console as a real process: first start, second start, second instance, refusals, signals, event streams."""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
from pathlib import Path

import httpx
import pytest

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


async def test_RUN_11_a_storm_of_hang_ups_is_survived_and_logged_once(tmp_path: Path, used_data: Path) -> None:
    console = ConsoleProcess(tmp_path, "--log-level", "info", data_from=used_data)
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
async def test_a_signal_with_an_open_event_stream_stops_cleanly(
    tmp_path: Path, used_data: Path, number: signal.Signals
) -> None:
    async with (
        ConsoleProcess(tmp_path, data_from=used_data) as console,
        console.admin() as client,
        client.stream("GET", "/api/v1/events") as stream,
    ):
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = stream.aiter_lines()
        assert await anext(lines) == ": connected"
        assert await console.stop(number) == 0
        assert [line async for line in lines if line] == []
