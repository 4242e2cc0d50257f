"""Comments on quiet streams (G-08, LLM-HTTP-3)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proxies import keepalive
from proxies.keepalive import KeepAlive


class Client:
    """Takes what is written; stands in for the one method of an exchange that is used."""

    def __init__(self, error: Exception | None = None) -> None:
        self.written: asyncio.Queue[bytes] = asyncio.Queue()
        self.error = error

    async def write(self, data: bytes) -> None:
        self.written.put_nowait(data)
        if self.error is not None:
            raise self.error


def start(client: Any) -> KeepAlive:
    return KeepAlive(client)


async def test_G_08_a_quiet_stream_gets_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keepalive, "KEEPALIVE_SECONDS", 0.01)
    client = Client()
    alive = start(client)
    async with asyncio.timeout(10):
        assert [await client.written.get() for _ in range(2)] == [b":\n\n"] * 2
    alive.stop()
    alive.stop()


async def test_G_08_what_is_sent_in_between_puts_the_comment_off(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("proxies.keepalive.time.monotonic", lambda: now[0])
    client = Client()
    alive = start(client)
    now[0] += keepalive.KEEPALIVE_SECONDS - 1
    alive.touch()
    now[0] += keepalive.KEEPALIVE_SECONDS - 1
    alive._tick()
    await asyncio.sleep(0)
    assert client.written.empty()
    now[0] += 1
    alive._tick()
    await asyncio.sleep(0)
    assert client.written.get_nowait() == b":\n\n"
    alive.stop()
    assert alive._timer.cancelled()


async def test_a_client_that_is_gone_ends_the_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keepalive, "KEEPALIVE_SECONDS", 0.01)
    client = Client(ConnectionResetError("gone"))
    alive = start(client)
    async with asyncio.timeout(10):
        await client.written.get()
    assert alive._task is not None
    await alive._task
    assert alive._timer.cancelled()
