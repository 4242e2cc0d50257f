"""LIM-14: names that do not resolve, resolve slowly, or to many addresses."""

from __future__ import annotations

import asyncio
import ipaddress
import socket

import msgspec
import pytest

from proxies.egress_policy import IPAddress, Origin, parse_target
from proxies.transport import egress
from tests.passthrough import LIMITS, answer_of, passthrough
from tests.rawpeer import Upstream, http_request


async def test_LIM_14_a_name_that_does_not_resolve() -> None:
    assert await answer_of("http://no-such-name.invalid") == (502, "upstream_dns_error")


async def test_LIM_14_a_resolver_that_hangs_meets_the_connect_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(*args: object, **kwargs: object) -> list[object]:
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr(egress, "_look_up", hang)
    assert await answer_of("http://slow.test", connect_timeout_seconds=0.1) == (504, "upstream_connect_timeout")


async def test_LIM_14_at_most_eight_of_many_answers_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    async def many(origin: Origin) -> list[IPAddress]:
        return [ipaddress.ip_address(f"127.0.1.{number}") for number in range(1, 65)]

    monkeypatch.setattr(egress, "_look_up", many)
    assert len(await egress.resolve(parse_target("http://many.test"))) == 8


async def test_LIM_14_the_next_address_is_tried_when_one_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    async def two(origin: Origin) -> list[IPAddress]:
        return [ipaddress.ip_address("127.0.0.99"), ipaddress.ip_address("127.0.0.1")]

    monkeypatch.setattr(egress, "_look_up", two)
    async with Upstream() as upstream, passthrough(f"http://two.test:{upstream.port}") as proxy:
        client = await proxy.connect()
        await client.send(http_request("/x"))
        assert (await client.read_response()).body == b"GET /x 0"
        assert upstream.requests[0].header("host") == f"two.test:{upstream.port}"
        await client.close()


async def test_LIM_14_an_address_that_does_not_answer_takes_only_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Upstream() as upstream:
        # Nothing listens at 127.0.0.98, but its backlog is full: SYNs are dropped.
        hole = socket.socket()
        hole.bind(("127.0.0.98", upstream.port))
        hole.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(hole.getsockname())

        async def two(origin: Origin) -> list[IPAddress]:
            return [ipaddress.ip_address("127.0.0.98"), ipaddress.ip_address("127.0.0.1")]

        monkeypatch.setattr(egress, "_look_up", two)
        limits = msgspec.structs.replace(LIMITS, connect_timeout_seconds=0.4)
        try:
            async with passthrough(f"http://two.test:{upstream.port}", limits=limits) as proxy:
                client = await proxy.connect()
                await client.send(http_request("/x"))
                assert (await client.read_response()).body == b"GET /x 0"
                await client.close()
        finally:
            for opened in (*fillers, hole):
                opened.close()
