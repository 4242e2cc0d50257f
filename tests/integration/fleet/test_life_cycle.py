"""Proxies come and go one by one; what happens to one touches no other."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import socket
import sys
from pathlib import Path

import httpx
import msgspec
import pytest

from app.errors import AppError
from app.fleet.ports import PortTaken
from app.fleet.supervisor import ProxyState, ProxyUnknown
from app.version import __version__
from proxies.contract import ListenerTLS, ProxyConfig
from tests.mcp_server import running_mcp_server
from tests.support.fleet import (
    ATTACK,
    KEY,
    Bench,
    HeldUpstream,
    api_key,
    configuration,
    held_upstream,
    proxy,
    running_fleet,
)


def states(bench: Bench) -> dict[str, ProxyState]:
    return {proxy_id: status.state for proxy_id, status in bench.fleet.statuses().items()}


def refuses(config: ProxyConfig) -> bool:
    """Whether nobody listens on the proxy's port."""
    with socket.socket() as sock:
        return sock.connect_ex((config.host, config.port)) != 0


async def test_RUN_03_started_proxy_serves_and_its_calls_are_ingested(tmp_path: Path) -> None:
    async with held_upstream() as upstream, running_fleet(tmp_path, [proxy("a", upstream.url)]) as bench:
        assert bench.state("prx_a") is ProxyState.STOPPED
        status = await bench.fleet.start_proxy("prx_a")
        assert (status.state, status.workers_live, status.workers_total) == (ProxyState.RUNNING, 1, 1)
        assert (await bench.ask("prx_a")).status_code == 200
        refused = await bench.ask("prx_a", ATTACK)
        assert refused.status_code == 403
        assert upstream.requests == 1
        await bench.until(lambda: len(bench.calls) == 2)
        blocked = bench.calls[refused.headers["x-request-id"]]
        assert blocked.findings[0].rule_id == "T-BLOCK"
        assert blocked.snapshot_version == status.snapshot_version
        passed = [state for state, _ in itertools.groupby(item.state for item in bench.history)]
        assert passed == [ProxyState.STARTING, ProxyState.RUNNING]


async def test_SYP_ARCH_3_twenty_mixed_proxies_start_stop_and_restart_one_by_one(tmp_path: Path) -> None:
    async with held_upstream() as upstream:
        kinds = itertools.cycle(("llm", "mcp"))
        proxies = [proxy(f"p{n}", upstream.url, type=next(kinds)) for n in range(20)]  # type: ignore[arg-type]
        everyone = frozenset(item.id for item in proxies)
        async with running_fleet(tmp_path, proxies, auto_start=everyone) as bench:
            await bench.until(lambda: set(states(bench).values()) == {ProxyState.RUNNING})
            answers = await asyncio.gather(*(bench.ask(item.id) for item in proxies if item.type == "llm"))
            assert {answer.status_code for answer in answers} == {200}
            others = {key: value for key, value in bench.fleet.statuses().items() if key != "prx_p4"}

            assert (await bench.fleet.stop_proxy("prx_p4")).state is ProxyState.STOPPED
            assert refuses(bench.config("prx_p4"))
            assert {bench.fleet.status(key).state for key in others} == {ProxyState.RUNNING}
            assert (await bench.fleet.start_proxy("prx_p4")).state is ProxyState.RUNNING
            assert (await bench.fleet.restart_proxy("prx_p4")).state is ProxyState.RUNNING

            assert (await bench.ask("prx_p4")).status_code == 200
            assert {key: bench.fleet.status(key).since_at for key in others} == {
                key: status.since_at for key, status in others.items()
            }


async def test_RUN_04_port_of_another_program_fails_one_proxy_with_a_reason(tmp_path: Path) -> None:
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "import socket,sys; s=socket.create_server(('127.0.0.1',0)); print(s.getsockname()[1],flush=True); sys.stdin.read()",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert program.stdout is not None
    taken = int(await program.stdout.readline())
    try:
        async with held_upstream() as upstream:
            proxies = [proxy("a", upstream.url), proxy("b", upstream.url, port=taken)]
            async with running_fleet(tmp_path, proxies, auto_start=frozenset({"prx_a"})) as bench:
                with pytest.raises(PortTaken) as refused:
                    await bench.fleet.start_proxy("prx_b")
                assert refused.value.status == 409
                assert str(taken) in refused.value.message
                failed = bench.fleet.status("prx_b")
                assert failed.state is ProxyState.FAILED
                assert failed.reason == refused.value.message
                await bench.until(lambda: bench.state("prx_a") is ProxyState.RUNNING)
                assert (await bench.ask("prx_a")).status_code == 200
                program.kill()
                await program.wait()
                assert (await bench.fleet.start_proxy("prx_b")).state is ProxyState.RUNNING
    finally:
        if program.returncode is None:
            program.kill()
            await program.wait()


async def test_RUN_04_auto_start_tries_a_taken_port_again(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as blocker:
        async with held_upstream() as upstream:
            item = proxy("a", upstream.url, port=blocker.getsockname()[1])
            async with running_fleet(tmp_path, [item], auto_start=frozenset({"prx_a"})) as bench:
                assert bench.state("prx_a") is ProxyState.FAILED
                blocker.close()
                await bench.until(lambda: bench.state("prx_a") is ProxyState.RUNNING)
                assert (await bench.ask("prx_a")).status_code == 200


async def test_RUN_04_our_own_ports_are_named(tmp_path: Path) -> None:
    async with held_upstream() as upstream:
        first = proxy("first", upstream.url)
        proxies = [first, proxy("second", upstream.url, port=first.port)]
        async with running_fleet(tmp_path, proxies) as bench:
            await bench.fleet.start_proxy("prx_first")
            with pytest.raises(PortTaken, match="proxy 'first'"):
                await bench.fleet.start_proxy("prx_second")
            console = msgspec.structs.replace(proxies[1], port=bench.settings.port)
            bench.configuration = configuration([first, console])
            await bench.fleet.refresh()
            with pytest.raises(PortTaken, match="the console"):
                await bench.fleet.start_proxy("prx_second")
            assert bench.state("prx_first") is ProxyState.RUNNING


async def test_RUN_04_unusable_settings_fail_one_proxy_with_a_reason(tmp_path: Path) -> None:
    async with held_upstream() as upstream:
        good = proxy("good", upstream.url)
        missing = str(tmp_path / "missing.pem")
        proxies = [
            good,
            proxy("host", upstream.url, host="not-an-address"),
            proxy("certificate", upstream.url, tls=ListenerTLS(missing, missing)),
            proxy("authority", "https://127.0.0.1:9", upstream_ca_path=missing),
            proxy(
                "client",
                "https://127.0.0.1:9",
                upstream_client_cert_path=missing,
                upstream_client_key_path=missing,
            ),
            proxy("rules", upstream.url, ruleset="unheard-of"),
            proxy("secret", upstream.url),
        ]
        broken = {"prx_secret": "The environment variable PROVIDER_KEY is not set."}
        async with running_fleet(tmp_path, proxies, broken=broken) as bench:
            await bench.fleet.start_proxy("prx_good")
            with pytest.raises(AppError, match="not-an-address"):
                await bench.fleet.start_proxy("prx_host")
            reasons = {}
            for name in ("certificate", "authority", "client", "rules", "secret"):
                status = await bench.fleet.start_proxy(f"prx_{name}")
                assert status.state is ProxyState.FAILED, status
                reasons[name] = status.reason
            assert "certificate" in reasons["certificate"]
            assert "upstream" in reasons["authority"]
            assert "upstream" in reasons["client"]
            assert missing in reasons["client"]
            assert "rules" in reasons["rules"]
            assert "PROVIDER_KEY" in reasons["secret"]
            assert (await bench.ask("prx_good")).status_code == 200

            bench.configuration = configuration([good, proxy("secret", upstream.url)])
            await bench.fleet.refresh()
            await bench.until(lambda: bench.state("prx_secret") is ProxyState.RUNNING)


async def test_RUN_04_a_proxy_that_is_started_again_finds_what_was_missing_before(tmp_path: Path) -> None:
    broken = {"prx_a": "The upstream credential file:/run/key cannot be read: No such file or directory."}
    async with held_upstream() as upstream, running_fleet(tmp_path, [proxy("a", upstream.url)], broken=broken) as bench:
        assert (await bench.fleet.start_proxy("prx_a")).state is ProxyState.FAILED
        bench.configuration = configuration([proxy("a", upstream.url)])
        assert (await bench.fleet.start_proxy("prx_a")).state is ProxyState.RUNNING


async def test_RUN_03_proxies_swap_their_ports_in_one_change(tmp_path: Path) -> None:
    async with held_upstream() as one, held_upstream() as two:
        a, b = proxy("a", one.url), proxy("b", two.url)
        async with running_fleet(tmp_path, [a, b]) as bench:
            await bench.fleet.start_proxy("prx_a")
            await bench.fleet.start_proxy("prx_b")
            a, b = msgspec.structs.replace(a, port=b.port), msgspec.structs.replace(b, port=a.port)
            bench.configuration = configuration([a, b])
            await bench.fleet.refresh()
            await bench.until(lambda: set(states(bench).values()) == {ProxyState.RUNNING})
            assert (await bench.ask("prx_a")).status_code == 200
            assert (one.requests, two.requests) == (1, 0)


async def test_RUN_02_changed_target_and_revoked_key_apply_to_the_next_request(tmp_path: Path) -> None:
    async with held_upstream() as one, held_upstream() as two:
        config = proxy("a", one.url)
        async with running_fleet(tmp_path, [config]) as bench:
            before = await bench.fleet.start_proxy("prx_a")
            assert (await bench.ask("prx_a")).status_code == 200
            bench.configuration = configuration([msgspec.structs.replace(config, target_url=two.url)])
            await bench.fleet.refresh()
            assert (await bench.ask("prx_a")).status_code == 200
            assert (one.requests, two.requests) == (1, 1)
            assert bench.fleet.status("prx_a").snapshot_version > before.snapshot_version
            bench.configuration = msgspec.structs.replace(
                bench.configuration, api_keys=(api_key("key_2", "ost_" + "z" * 43),)
            )
            await bench.fleet.refresh()
            assert (await bench.ask("prx_a")).status_code == 401


async def test_RUN_02_hundred_refreshes_under_load_fail_no_request(tmp_path: Path) -> None:
    async with held_upstream() as upstream:
        config = proxy("a", upstream.url)
        async with running_fleet(tmp_path, [config]) as bench:
            await bench.fleet.start_proxy("prx_a")
            done = asyncio.Event()
            statuses: list[int] = []

            async def load() -> None:
                while not done.is_set():
                    statuses.append((await bench.ask("prx_a")).status_code)

            async with asyncio.TaskGroup() as group:
                for _ in range(4):
                    group.create_task(load())
                for number in range(100):
                    limits = msgspec.structs.replace(config.limits, connect_timeout_seconds=5.0 + number % 2)
                    bench.configuration = configuration([msgspec.structs.replace(config, limits=limits)])
                    await bench.fleet.refresh()
                done.set()
            assert len(statuses) >= 4
            assert set(statuses) == {200}
            await bench.until(lambda: len(bench.calls) == len(statuses))


async def test_RUN_03_disabled_proxy_stops_and_is_forgotten(tmp_path: Path) -> None:
    async with held_upstream() as upstream:
        a, b = proxy("a", upstream.url), proxy("b", upstream.url)
        async with running_fleet(tmp_path, [a, b]) as bench:
            await bench.fleet.start_proxy("prx_a")
            await bench.fleet.start_proxy("prx_b")
            bench.configuration = configuration([b])
            await bench.fleet.refresh()
            await bench.until(lambda: bench.state("prx_a") is ProxyState.STOPPED)
            assert refuses(a)
            assert set(bench.fleet.statuses()) == {"prx_b"}
            assert (await bench.ask("prx_b")).status_code == 200
            with pytest.raises(ProxyUnknown):
                await bench.fleet.start_proxy("prx_a")


async def test_RUN_03_restart_lets_streams_finish_and_refuses_nobody(tmp_path: Path) -> None:
    async with held_upstream() as upstream, running_fleet(tmp_path, [proxy("a", upstream.url)]) as bench:
        await bench.fleet.start_proxy("prx_a")
        async with stream(bench, upstream) as lines:
            assert "first" in await anext(lines)
            assert (await bench.fleet.restart_proxy("prx_a")).state is ProxyState.RUNNING
            assert (await bench.ask("prx_a")).status_code == 200
            upstream.release.set()
            rest = [line async for line in lines]
            assert any("last" in line for line in rest)
            assert rest[-1] == "data: [DONE]"


async def test_AG_MG_4_stopped_proxy_drains_its_stream_and_refuses_new_connections(tmp_path: Path) -> None:
    async with held_upstream() as upstream, running_fleet(tmp_path, [proxy("a", upstream.url)]) as bench:
        await bench.fleet.start_proxy("prx_a")
        async with stream(bench, upstream) as lines:
            assert "first" in await anext(lines)
            stopping = asyncio.create_task(bench.fleet.stop_proxy("prx_a"))
            await bench.until(lambda: bench.state("prx_a") is ProxyState.DRAINING)
            await bench.until(lambda: refuses(bench.config("prx_a")))
            upstream.release.set()
            assert [line async for line in lines][-1] == "data: [DONE]"
            assert (await stopping).state is ProxyState.STOPPED
            await bench.until(lambda: len(bench.calls) == 1)
            assert not next(iter(bench.calls.values())).truncated


async def test_AG_MG_4_drain_ends_at_its_deadline(tmp_path: Path) -> None:
    async with (
        held_upstream() as upstream,
        running_fleet(tmp_path, [proxy("a", upstream.url)], drain_timeout_seconds=0.2) as bench,
    ):
        await bench.fleet.start_proxy("prx_a")
        async with stream(bench, upstream) as lines:
            assert "first" in await anext(lines)
            assert (await bench.fleet.stop_proxy("prx_a")).state is ProxyState.STOPPED
            with pytest.raises(httpx.HTTPError):
                [line async for line in lines]
            await bench.until(lambda: len(bench.calls) == 1)
            assert next(iter(bench.calls.values())).truncated


async def test_RUN_01_stop_of_the_fleet_drains_a_running_stream(tmp_path: Path) -> None:
    async with held_upstream() as upstream, running_fleet(tmp_path, [proxy("a", upstream.url)]) as bench:
        await bench.fleet.start_proxy("prx_a")
        async with stream(bench, upstream) as lines:
            assert "first" in await anext(lines)
            stopping = asyncio.create_task(bench.fleet.stop())
            await bench.until(lambda: refuses(bench.config("prx_a")))
            upstream.release.set()
            assert [line async for line in lines][-1] == "data: [DONE]"
            await stopping
        assert len(bench.calls) == 1
        assert bench.fleet.workers() == ()
        assert bench.state("prx_a") is ProxyState.STOPPED
        with pytest.raises(AppError, match="shutting down"):
            await bench.fleet.start_proxy("prx_a")


async def test_RUN_03_port_in_a_snapshot_of_two_workers_is_shared(tmp_path: Path) -> None:
    async with held_upstream() as upstream, running_fleet(tmp_path, [proxy("a", upstream.url)], workers=2) as bench:
        await bench.until(lambda: len([worker for worker in bench.fleet.workers() if worker.state == "running"]) == 2)
        status = await bench.fleet.start_proxy("prx_a")
        await bench.until(lambda: bench.fleet.status("prx_a").workers_live == 2)
        assert (await bench.ask("prx_a")).status_code == 200
        assert status.workers_total == 2
        versions = {worker.snapshot_version for worker in bench.fleet.workers()}
        assert len(versions) == 1
        assert {worker.version for worker in bench.fleet.workers()} == {__version__}


async def test_L_01_legacy_session_of_an_mcp_proxy_lives_with_two_workers(tmp_path: Path) -> None:
    with running_mcp_server() as server:
        mcp = proxy("m", server.url, type="mcp")
        async with running_fleet(tmp_path, [mcp, proxy("a", server.url)], workers=2) as bench:
            await bench.until(lambda: [worker.state for worker in bench.fleet.workers()] == ["running"] * 2)
            for proxy_id in ("prx_m", "prx_a"):
                await bench.fleet.start_proxy(proxy_id)
            await bench.until(lambda: bench.fleet.status("prx_a").workers_live == 2)
            status = bench.fleet.status("prx_m")
            assert (status.state, status.workers_live, status.workers_total) == (ProxyState.RUNNING, 1, 1)
            headers = {"authorization": f"Bearer {KEY}", "accept": "application/json, text/event-stream"}

            async def say(method: str, params: dict[str, object]) -> httpx.Response:
                """On a connection of its own."""
                body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
                return await bench.client.post(f"http://127.0.0.1:{mcp.port}/mcp", json=body, headers=headers)

            client = {"name": "tests", "version": "1"}
            version = "2025-06-18"
            opened = await say("initialize", {"protocolVersion": version, "capabilities": {}, "clientInfo": client})
            assert opened.status_code == 200, opened.text
            headers |= {"mcp-session-id": opened.headers["mcp-session-id"], "mcp-protocol-version": version}
            answers = [(await say("tools/list", {})).status_code for _ in range(20)]
            assert answers == [200] * 20

            os.kill(next(worker.pid for worker in bench.fleet.workers() if worker.slot == 0), signal.SIGKILL)
            await bench.until(lambda: bench.state("prx_m") is not ProxyState.RUNNING)
            await bench.until(lambda: bench.state("prx_m") is ProxyState.RUNNING)
            assert (await say("tools/list", {})).status_code == 404


def stream(bench: Bench, upstream: HeldUpstream) -> _Stream:
    return _Stream(bench, upstream)


class _Stream:
    """The lines of a streamed answer that the upstream holds after its first event."""

    def __init__(self, bench: Bench, upstream: HeldUpstream) -> None:
        upstream.release.clear()
        config = bench.config("prx_a")
        body = {"model": "echo", "stream": True, "messages": [{"role": "user", "content": "hello"}]}
        self._request = bench.client.stream(
            "POST",
            f"http://127.0.0.1:{config.port}/v1/chat/completions",
            json=body,
            headers={"authorization": "Bearer ost_" + "k" * 43},
        )

    async def __aenter__(self) -> _Lines:
        response = await self._request.__aenter__()
        assert response.status_code == 200
        return _Lines(response)

    async def __aexit__(self, *details: object) -> None:
        await self._request.__aexit__(None, None, None)


class _Lines:
    def __init__(self, response: httpx.Response) -> None:
        self._lines = response.aiter_lines()

    def __aiter__(self) -> _Lines:
        return self

    async def __anext__(self) -> str:
        while not (line := await anext(self._lines)):
            continue
        return line
