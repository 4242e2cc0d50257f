"""Requests that wait for input: one-time handles for one principal and one request (E-05)."""

from __future__ import annotations

import asyncio

import pytest

from proxies.mcp.bridge import parked as parked_module
from proxies.mcp.bridge.parked import Parked, TooManyParked, digest_of
from proxies.mcp.messages import Message


def nothing() -> None: ...


async def test_E_05_a_handle_works_once_and_for_its_principal_and_request_only() -> None:
    parked: Parked[str] = Parked()
    handle = parked.park("call", principal_id="a", digest=b"1", expire=nothing)
    assert parked.take(handle, principal_id="b", digest=b"1") is None
    assert parked.take(handle, principal_id="a", digest=b"2") is None
    assert parked.take(handle + "x", principal_id="a", digest=b"1") is None
    assert parked.take(7, principal_id="a", digest=b"1") is None
    assert parked.take(handle, principal_id="a", digest=b"1") == "call"
    assert parked.take(handle, principal_id="a", digest=b"1") is None


async def test_E_05_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parked_module, "PARKED_SECONDS", 0.01)
    parked: Parked[str] = Parked()
    expired = asyncio.Event()
    handle = parked.park("call", principal_id="a", digest=b"1", expire=expired.set)
    async with asyncio.timeout(10):
        await expired.wait()
    assert parked.take(handle, principal_id="a", digest=b"1") is None


async def test_E_05_one_principal_cannot_take_every_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parked_module, "MAX_PARKED_PER_PRINCIPAL", 1)
    monkeypatch.setattr(parked_module, "MAX_PARKED", 2)
    parked: Parked[str] = Parked()
    parked.park("one", principal_id="a", digest=b"1", expire=nothing)
    with pytest.raises(TooManyParked):
        parked.park("two", principal_id="a", digest=b"1", expire=nothing)
    parked.park("two", principal_id="b", digest=b"1", expire=nothing)
    with pytest.raises(TooManyParked):
        parked.park("three", principal_id="c", digest=b"1", expire=nothing)
    assert parked.clear() == ["one", "two"]
    assert len(parked) == 0


def test_E_05_a_retry_has_the_digest_of_its_request() -> None:
    first = Message(kind="request", id=1, method="tools/call", params={"name": "x", "_meta": {"a": 1}})
    retry = Message(kind="request", id=2, method="tools/call", params={"name": "x", "requestState": "s", "_meta": {}})
    other = Message(kind="request", id=2, method="tools/call", params={"name": "y"})
    assert digest_of(first) == digest_of(retry) != digest_of(other)
