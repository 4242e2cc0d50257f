"""The console as a real process: first start, second start, second instance, signals."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.support.console import ConsoleProcess


async def test_ADM_24_first_start_prints_the_password_once_and_a_second_start_does_not(tmp_path: Path) -> None:
    first = ConsoleProcess(tmp_path, "--log-level", "debug")
    await first.start()
    assert await first.stop() == 0
    assert first.output.count(b"Password  ") == 1
    second = ConsoleProcess(tmp_path, "--log-level", "debug")
    await second.start()
    assert await second.stop() == 0
    assert b"Password" not in second.output


async def test_DUR_14_a_second_instance_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    async with ConsoleProcess(tmp_path) as first:
        second = ConsoleProcess(tmp_path)
        with pytest.raises(AssertionError, match=f"pid {first.process.pid}"):
            await second.start()
        assert await second.stop() == 1


async def test_SIGTERM_with_an_open_event_stream_stops_cleanly(tmp_path: Path) -> None:
    async with ConsoleProcess(tmp_path) as console, console.client() as client:
        password = console.password_file.read_text().strip()
        login = await client.post("/api/v1/auth/login", json={"username": "admin", "password": password})
        body = {"current_password": password, "new_password": "a much longer passphrase 7"}
        token = login.json()["data"]["token"]
        changed = await client.post("/api/v1/auth/password", json=body, headers={"Authorization": f"Bearer {token}"})
        headers = {"Authorization": f"Bearer {changed.json()['data']['token']}"}
        async with client.stream("GET", "/api/v1/events", headers=headers) as stream:
            assert stream.status_code == 200
            lines = stream.aiter_lines()
            assert await anext(lines) == ": connected"
            assert await console.stop(signal.SIGTERM) == 0
            assert [line async for line in lines if line] == []
