"""A worker in this process, with the console's two channels in the test's hands."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import httpx
import msgspec
import pytest

from app.fleet.spool import parse
from proxies import worker as worker_module
from proxies.channel import FrameReader
from proxies.contract import (
    CONTRACT_VERSION,
    AckEvents,
    CallRecord,
    Drain,
    Events,
    Heartbeat,
    Hello,
    ListenerSocket,
    ListenerTLS,
    ProxyConfig,
    SetSnapshot,
    Snapshot,
    SnapshotApplied,
    SnapshotRejected,
    ToConsole,
    ToWorker,
    encoder,
    to_console_decoder,
)
from proxies.transport.http1_server import HTTPListener
from proxies.worker import Worker
from tests.support.fleet import ATTACK, KEY, api_key, held_upstream, phrase_ruleset, proxy

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[3]


class Console:
    """What a console does, one step at a time."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.socket, self.their_socket = socket.socketpair()
        self.sockets, self.their_sockets = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.setblocking(False)
        self.received: list[ToConsole] = []
        self.client = httpx.AsyncClient(timeout=20, limits=httpx.Limits(max_keepalive_connections=0))
        self.worker: Worker | None = None
        self._reader = FrameReader()
        self._listening: dict[str, socket.socket] = {}

    async def serve(self) -> None:
        self.worker = Worker(self.their_socket, self.their_sockets, self.directory, "tests")
        await self.worker.run()

    def send(self, message: ToWorker) -> None:
        payload = encoder.encode(message)
        self.socket.send(len(payload).to_bytes(4, "big") + payload)

    async def receive(self, kind: type[T], matching: Callable[[T], object] = lambda message: True) -> T:
        """The next message of a kind; the others before it are kept in `received`."""
        loop = asyncio.get_running_loop()
        while True:
            for message in self.received:
                if isinstance(message, kind) and matching(message):
                    self.received.remove(message)
                    return message
            data = await loop.sock_recv(self.socket, 1 << 20)
            if not data:
                raise ConnectionError("the worker has closed the channel")
            self.received += map(to_console_decoder.decode, self._reader.feed(data))

    def listen(self, config: ProxyConfig, *, version: int = 0, pass_on: bool = True) -> None:
        """Bind the proxy's port, once, and pass it to the worker."""
        if config.id not in self._listening:
            self._listening[config.id] = socket.create_server((config.host, config.port))
        if pass_on:
            description = encoder.encode(ListenerSocket(config.id, config.host, config.port, version))
            socket.send_fds(self.sockets, [description], [self._listening[config.id].fileno()])

    def unlisten(self, config: ProxyConfig) -> None:
        self._listening.pop(config.id).close()

    async def publish(self, version: int, *proxies: ProxyConfig, drain: float = 5.0) -> dict[str, tuple[str, str]]:
        """State and reason by proxy after this snapshot."""
        self.send(SetSnapshot(self.snapshot(version, *proxies, drain=drain)))
        applied = await self.receive(SnapshotApplied, lambda message: message.version == version)
        return {status.proxy_id: (status.state, status.reason) for status in applied.listeners}

    def snapshot(self, version: int, *proxies: ProxyConfig, drain: float = 5.0) -> Snapshot:
        return Snapshot(version, proxies, (api_key(),), (phrase_ruleset(),), drain)

    async def ask(self, config: ProxyConfig, text: str = "hello") -> httpx.Response:
        return await self.client.post(
            f"http://127.0.0.1:{config.port}/v1/chat/completions",
            json={"model": "echo", "messages": [{"role": "user", "content": text}]},
            headers={"authorization": f"Bearer {KEY}"},
        )

    def close(self) -> None:
        for sock in (self.socket, self.sockets, *self._listening.values()):
            sock.close()

    def spooled(self) -> list[CallRecord]:
        return [call for path in self.directory.iterdir() for call in parse(path.read_bytes()).calls]


@asynccontextmanager
async def running(directory: Path) -> AsyncIterator[Console]:
    """A worker that runs until the console's end is closed."""
    console = Console(directory)
    task = asyncio.create_task(console.serve())
    try:
        async with asyncio.timeout(30):
            hello = await console.receive(Hello)
            assert hello == Hello(CONTRACT_VERSION, "tests", os.getpid())
            yield console
    finally:
        await console.client.aclose()
        console.close()
        async with asyncio.timeout(30):
            await task


async def test_worker_serves_once_it_has_socket_and_snapshot_in_either_order(tmp_path: Path) -> None:
    async with held_upstream() as upstream, running(tmp_path) as console:
        a, b = proxy("a", upstream.url), proxy("b", upstream.url)
        console.listen(a)
        assert await console.publish(1, a, b) == {"prx_a": ("running", ""), "prx_b": ("stopped", "")}
        console.listen(b)
        applied = await console.receive(SnapshotApplied)
        assert {status.state for status in applied.listeners} == {"running"}
        assert (await console.ask(a)).status_code == 200
        assert (await console.ask(b)).status_code == 200


async def test_block_is_reported_before_the_client_sees_it(tmp_path: Path) -> None:
    async with held_upstream() as upstream, running(tmp_path) as console:
        config = proxy("a", upstream.url)
        console.listen(config)
        await console.publish(1, config)
        answer = await console.ask(config, ATTACK)
        assert answer.status_code == 403
        console.received += [
            message
            for payload in console._reader.feed(console.socket.recv(1 << 20))
            if (message := to_console_decoder.decode(payload))
        ]
        [batch] = [message for message in console.received if isinstance(message, Events)]
        assert [call.id for call in batch.calls] == [answer.headers["x-request-id"]]


async def test_HTTP_01_refused_framing_is_recorded_with_its_code(tmp_path: Path) -> None:
    async with held_upstream() as upstream, running(tmp_path) as console:
        config = proxy("a", upstream.url)
        console.listen(config)
        await console.publish(1, config)
        reader, writer = await asyncio.open_connection("127.0.0.1", config.port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert b" 400 " in await reader.readline()
        writer.close()
        [call] = (await console.receive(Events)).calls
        assert (call.status, call.outcome, call.proxy_id, call.client_ip) == (400, "refused", "prx_a", "127.0.0.1")
        assert call.error_code


async def test_RUN_02_older_snapshot_and_unloadable_rules_are_refused_and_the_old_stays(tmp_path: Path) -> None:
    async with held_upstream() as upstream, running(tmp_path) as console:
        config = proxy("a", upstream.url)
        console.listen(config)
        await console.publish(5, config)
        console.send(SetSnapshot(console.snapshot(4, config)))
        assert "older" in (await console.receive(SnapshotRejected)).reason
        damaged = msgspec.structs.replace(phrase_ruleset(), digest="damaged", database_sha256="0" * 64)
        changed = msgspec.structs.replace(config, ruleset="damaged", target_url="http://127.0.0.1:9")
        console.send(SetSnapshot(Snapshot(6, (changed,), (), (damaged,))))
        rejected = await console.receive(SnapshotRejected)
        assert rejected.version == 6
        assert "changed after it was compiled" in rejected.reason
        answer = await console.ask(config)
        assert answer.status_code == 200
        [call] = (await console.receive(Events)).calls
        assert call.snapshot_version == 5


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"ruleset": "unheard-of"}, "the snapshot lacks them"),
        ({"tls": ListenerTLS("/nowhere/cert.pem", "/nowhere/key.pem")}, "certificate"),
        ({"target_url": "https://127.0.0.1:9", "upstream_ca_path": "/nowhere/ca.pem"}, "upstream"),
    ],
)
async def test_RUN_04_proxy_that_cannot_be_prepared_fails_alone_and_recovers(
    tmp_path: Path, fields: dict[str, object], words: str
) -> None:
    async with held_upstream() as upstream, running(tmp_path) as console:
        good, config = proxy("good", upstream.url), proxy("bad", upstream.url)
        bad = msgspec.structs.replace(config, **fields)
        console.listen(good)
        console.listen(bad)
        states = await console.publish(1, good, bad)
        assert states["prx_good"] == ("running", "")
        assert states["prx_bad"][0] == "failed"
        assert words in states["prx_bad"][1]
        assert (await console.publish(2, good, config))["prx_bad"] == ("running", "")
        assert (await console.ask(config)).status_code == 200


async def test_RUN_04_running_proxy_whose_upstream_cannot_be_set_up_fails_and_stops(tmp_path: Path) -> None:
    async with held_upstream() as upstream, running(tmp_path) as console:
        config = proxy("a", upstream.url)
        console.listen(config)
        await console.publish(1, config)
        bad = msgspec.structs.replace(config, target_url="https://127.0.0.1:9", upstream_ca_path="/nowhere/ca.pem")
        states = await console.publish(2, bad)
        assert states["prx_a"][0] == "failed"
        assert (await console.publish(3, config))["prx_a"] == ("running", "")
        assert (await console.ask(config)).status_code == 200


async def test_RUN_03_proxy_that_leaves_gives_its_port_back_before_the_answer(tmp_path: Path) -> None:
    async with held_upstream() as upstream, running(tmp_path) as console:
        config = proxy("a", upstream.url)
        console.listen(config)
        await console.publish(1, config)
        console.unlisten(config)
        await console.publish(2)
        socket.create_server((config.host, config.port)).close()


async def test_RUN_03_socket_nobody_asked_for_is_closed(tmp_path: Path) -> None:
    async with held_upstream() as upstream, running(tmp_path) as console:
        config = proxy("a", upstream.url)
        console.listen(config, version=1)
        console.unlisten(config)
        await console.publish(1)
        socket.create_server((config.host, config.port)).close()
        console.listen(config, version=3)
        await console.publish(2)
        assert (await console.publish(3, config))["prx_a"] == ("running", "")


async def test_socket_passed_twice_replaces_the_first(tmp_path: Path) -> None:
    async with held_upstream() as upstream, running(tmp_path) as console:
        config = proxy("a", upstream.url)
        console.listen(config)
        console.listen(config)
        assert (await console.publish(1, config))["prx_a"] == ("running", "")
        console.listen(config)
        assert (await console.publish(2, config))["prx_a"] == ("running", "")
        assert (await console.ask(config)).status_code == 200


async def test_certificate_that_comes_needs_no_new_socket(tmp_path: Path) -> None:
    from tests.support.certificates import make_certificate

    cert, key = make_certificate(tmp_path)
    spool = tmp_path / "spool"
    spool.mkdir()
    async with held_upstream() as upstream, running(spool) as console:
        plain = proxy("a", upstream.url)
        console.listen(plain)
        await console.publish(1, plain)
        secure = msgspec.structs.replace(plain, tls=ListenerTLS(str(cert), str(key)))
        assert (await console.publish(2, secure))["prx_a"] == ("running", "")
        async with httpx.AsyncClient(verify=ssl.create_default_context(cafile=str(cert))) as client:
            answer = await client.post(
                f"https://localhost:{plain.port}/v1/chat/completions",
                json={"model": "echo", "messages": [{"role": "user", "content": "hello"}]},
                headers={"authorization": f"Bearer {KEY}"},
            )
        assert answer.status_code == 200


@pytest.mark.interpreted
async def test_port_that_cannot_be_served_fails_the_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(self: HTTPListener) -> None:
        raise OSError(24, "Too many open files")

    async with held_upstream() as upstream, running(tmp_path) as console:
        config = proxy("a", upstream.url)
        console.listen(config)
        with monkeypatch.context() as patch:
            patch.setattr(HTTPListener, "start", refuse)
            states = await console.publish(1, config)
        assert states["prx_a"][0] == "failed"
        assert "Too many open files" in states["prx_a"][1]
        assert (await console.publish(2, config))["prx_a"] == ("running", "")


async def test_worker_that_fails_on_a_snapshot_says_so_and_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with held_upstream() as upstream, running(tmp_path) as console:
        config = proxy("a", upstream.url)
        console.listen(config)
        with monkeypatch.context() as patch:
            patch.setattr("proxies.serving.KeyRing", None)
            console.send(SetSnapshot(console.snapshot(1, config)))
            assert "TypeError" in (await console.receive(SnapshotRejected)).reason
        assert (await console.publish(2, config))["prx_a"] == ("running", "")


@pytest.mark.parametrize("data", [b"\xc1", encoder.encode({"proxy_id": 7})])
async def test_socket_with_an_unknown_description_is_closed(
    tmp_path: Path, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with held_upstream() as upstream, running(tmp_path) as console:
        config = proxy("a", upstream.url)
        with socket.create_server(("127.0.0.1", 0)) as foreign:
            port = foreign.getsockname()[1]
            socket.send_fds(console.sockets, [data], [foreign.fileno()])
        console.sockets.send(encoder.encode(ListenerSocket("prx_x", "127.0.0.1", 1)))
        console.listen(config)
        assert (await console.publish(1, config))["prx_a"] == ("running", "")
        assert "description that the contract does not know" in caplog.text
        assert "did not arrive" in caplog.text
        socket.create_server(("127.0.0.1", port)).close()


async def test_RUN_01_drain_finishes_calls_delivers_and_ends(tmp_path: Path) -> None:
    async with held_upstream() as upstream, running(tmp_path) as console:
        config = proxy("a", upstream.url)
        console.listen(config)
        await console.publish(1, config)
        answer = await console.ask(config)
        console.send(Drain(5.0))
        batch = await console.receive(Events)
        assert [call.id for call in batch.calls] == [answer.headers["x-request-id"]]
        console.send(AckEvents(batch.sequence))
        with pytest.raises(ConnectionError):
            await console.receive(Hello)
        assert console.spooled() == []


async def test_RUN_01_drain_without_acknowledgement_spools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "LAST_EVENTS_SECONDS", 0.1)
    async with held_upstream() as upstream, running(tmp_path) as console:
        config = proxy("a", upstream.url)
        console.listen(config)
        await console.publish(1, config)
        answer = await console.ask(config, ATTACK)
        console.send(Drain(5.0))
        with pytest.raises(ConnectionError):
            await console.receive(Hello)
        assert [call.id for call in console.spooled()] == [answer.headers["x-request-id"]]


@pytest.mark.parametrize("draining", [True, False])
async def test_RUN_01_console_that_dies_gets_its_calls_spooled(tmp_path: Path, draining: bool) -> None:
    async with held_upstream() as upstream, running(tmp_path) as console:
        config = proxy("a", upstream.url)
        console.listen(config)
        await console.publish(1, config)
        blocked = await console.ask(config, ATTACK)
        plain = await console.ask(config)
        held = asyncio.create_task(
            console.client.post(
                f"http://127.0.0.1:{config.port}/v1/chat/completions",
                json={"model": "echo", "stream": True, "messages": [{"role": "user", "content": "hello"}]},
                headers={"authorization": f"Bearer {KEY}"},
            )
        )
        while upstream.requests < 2:
            await asyncio.sleep(0.01)
        if draining:
            console.send(Drain(60.0))
            await console.receive(SnapshotApplied, lambda message: message.listeners[0].state == "draining")
        console.close()
        with pytest.raises(httpx.HTTPError):
            await held
        while len(console.spooled()) < 3:
            await asyncio.sleep(0.01)
        identifiers = {call.id for call in console.spooled()}
        assert {blocked.headers["x-request-id"], plain.headers["x-request-id"]} <= identifiers
        assert any(call.truncated for call in console.spooled())


async def test_heart_beats_and_says_how_busy_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "HEARTBEAT_SECONDS", 0.01)
    async with held_upstream() as upstream, running(tmp_path) as console:
        config = proxy("a", upstream.url)
        console.listen(config)
        await console.publish(1, config)
        _, writer = await asyncio.open_connection("127.0.0.1", config.port)
        beat = await console.receive(Heartbeat, lambda beat: beat.connections == 1)
        assert beat.in_flight == 0
        assert beat.rss_bytes > 1_000_000
        assert beat.loop_lag_ms >= 0
        writer.close()


async def test_RUN_01_signal_is_ignored_while_the_console_lives(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with running(tmp_path) as console:
        os.kill(os.getpid(), signal.SIGTERM)
        while "SIGTERM ignored" not in caplog.text:
            await asyncio.sleep(0.01)
        assert await console.publish(1) == {}


async def test_flood_of_messages_closes_the_channel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "MAX_QUEUED_MESSAGES", 3)
    async with running(tmp_path) as console:
        frames = b""
        for version in range(1, 20):
            payload = encoder.encode(SetSnapshot(console.snapshot(version)))
            frames += len(payload).to_bytes(4, "big") + payload
        console.socket.setblocking(True)
        console.socket.sendall(frames)
        console.socket.setblocking(False)
        with pytest.raises(ConnectionError):
            await console.receive(Hello)


def test_worker_imports_nothing_of_the_console_and_no_database() -> None:
    """The real start of a worker, with channels that are closed already."""
    program = (
        "import socket, sys, json, tempfile\n"
        "from app.cli import run\n"
        "a, b = socket.socketpair(); c, d = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
        "a.close(); c.close()\n"
        "code = run(['worker', '--channel-fd', str(b.detach()), '--sockets-fd', str(d.detach()),"
        " '--spool-dir', tempfile.mkdtemp()])\n"
        "print(json.dumps([code, sorted({name.split('.')[0] for name in sys.modules})]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=30)
    code, modules = json.loads(done.stdout)
    assert code == 0
    forbidden = {"litestar", "sqlalchemy", "jinja2", "apscheduler", "alembic", "uvicorn", "cryptography", "argon2"}
    assert forbidden & set(modules) == set()
    assert "proxies" in modules
