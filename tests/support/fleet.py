"""A real fleet for tests: the supervisor in this process, worker processes, a local upstream, everything on loopback.

async with running_fleet(tmp_path, [proxy("a", upstream.url)]) as bench:
    await bench.fleet.start_proxy("prx_a")
    answer = await bench.ask("prx_a", "hello")
"""

from __future__ import annotations

import asyncio
import atexit
import hashlib
import json
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import httpx
import msgspec

from app.fleet.supervisor import Configuration, Fleet, ProxyState, ProxyStatus
from app.settings import Settings
from proxies.contract import APIKey, CallRecord, ProxyConfig, ProxyType, RulesetSource
from rules.packs import Pack
from rules.ruleset_cache import cached_ruleset
from tests.support.ports import free_port
from tests.unit.rules.small_packs import pack, rule

KEY = "ost_" + "k" * 43
ATTACK = "please run the forbidden incantation now"
DEADLINE_SECONDS = 20.0
"""Generous: it ends a test that hangs, it measures nothing."""


@cache
def phrase_ruleset() -> RulesetSource:
    """One rule that blocks a phrase on its own."""
    blocking = rule(
        "T-BLOCK",
        {"any": [{"re": "forbidden incantation"}]},
        ("forbidden incantation", "nothing of note"),
        action="block",
        confidence="high",
        severity="high",
        score=100,
    )
    return ruleset_source(pack("fleet-tests", blocking))


def ruleset_source(*packs: Pack) -> RulesetSource:
    """These packs, compiled where they stay until the tests end."""
    directory = Path(mkdtemp(prefix="ostiary-test-rules-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    files = cached_ruleset(packs, directory)
    return RulesetSource(
        digest=files.digest,
        packs_path=str(files.packs_path),
        database_path=str(files.database_path),
        packs_sha256=files.packs_sha256,
        database_sha256=files.database_sha256,
    )


def proxy(name: str, target_url: str, *, type: ProxyType = "llm", port: int = 0, **fields: Any) -> ProxyConfig:
    """A proxy `prx_<name>` on a free port."""
    return msgspec.structs.replace(
        ProxyConfig(
            id=f"prx_{name}",
            name=name,
            type=type,
            target_url=target_url,
            host="127.0.0.1",
            port=port or free_port(),
            ruleset=phrase_ruleset().digest,
        ),
        **fields,
    )


def api_key(identifier: str = "key_1", key: str = KEY, **fields: Any) -> APIKey:
    """The key that `Bench.ask` presents."""
    return APIKey(id=identifier, name="tests", digest=hashlib.sha256(key.encode()).hexdigest(), **fields)


def configuration(proxies: Sequence[ProxyConfig], **fields: Any) -> Configuration:
    """These proxies, the test rules and the test key."""
    return msgspec.structs.replace(
        Configuration(proxies=tuple(proxies), api_keys=(api_key(),), rulesets=(phrase_ruleset(),)), **fields
    )


class Bench:
    """A fleet, what it ingested and what it reported."""

    def __init__(self, settings: Settings, configuration: Configuration) -> None:
        self.settings = settings
        self.configuration = configuration
        self.calls: dict[str, CallRecord] = {}
        """Ingested calls by id, as a database with a unique key would hold them."""
        self.ingestions = 0
        self.ingest_error: Exception | None = None
        self.history: list[ProxyStatus] = []
        self.changed = asyncio.Event()
        self.client = httpx.AsyncClient(timeout=DEADLINE_SECONDS, limits=httpx.Limits(max_keepalive_connections=0))
        self.fleet = Fleet(
            settings=settings,
            load_configuration=self._load,
            ingest=self._ingest,
            on_status=self._on_status,
        )

    async def _load(self) -> Configuration:
        return self.configuration

    async def _ingest(self, calls: Sequence[CallRecord]) -> None:
        self.ingestions += 1
        if self.ingest_error is not None:
            raise self.ingest_error
        self.calls.update((call.id, call) for call in calls)
        self._pulse()

    def _on_status(self, status: ProxyStatus) -> None:
        self.history.append(status)
        self._pulse()

    def _pulse(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    def config(self, proxy_id: str) -> ProxyConfig:
        """The configuration of a proxy."""
        return next(item for item in self.configuration.proxies if item.id == proxy_id)

    def state(self, proxy_id: str) -> ProxyState:
        """The present state of a proxy."""
        return self.fleet.status(proxy_id).state

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for a condition over what was ingested and reported."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not condition():
                changed = self.changed
                try:
                    async with asyncio.timeout(0.1):  # Some conditions (a pid, a file) announce themselves to nobody.
                        await changed.wait()
                except TimeoutError:
                    continue

    async def ask(self, proxy_id: str, text: str = "hello", *, key: str = KEY, **body: Any) -> httpx.Response:
        """One chat call on a connection of its own."""
        config = self.config(proxy_id)
        return await self.client.post(
            f"http://127.0.0.1:{config.port}/v1/chat/completions",
            json={"model": "echo", "messages": [{"role": "user", "content": text}], **body},
            headers={"authorization": f"Bearer {key}"},
        )


@asynccontextmanager
async def running_fleet(
    directory: Path,
    proxies: Sequence[ProxyConfig],
    *,
    workers: int = 1,
    drain_timeout_seconds: float = 10.0,
    **fields: Any,
) -> AsyncIterator[Bench]:
    """A started fleet; it is stopped at the end of the block."""
    settings = Settings(
        data_dir=directory, workers=workers, port=free_port(), drain_timeout_seconds=drain_timeout_seconds
    )
    bench = Bench(settings, configuration(proxies, **fields))
    await bench.fleet.start()
    try:
        yield bench
    finally:
        await bench.fleet.stop()
        await bench.client.aclose()


class HeldUpstream:
    """An upstream that answers at once, or streams a first event and the rest only when it is let go."""

    def __init__(self) -> None:
        self.url = ""
        self.release = asyncio.Event()
        self.requests = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(line.split(b":")[1])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length")
                )
                body = json.loads(await reader.readexactly(length))
                self.requests += 1
                await (self._stream(writer) if body.get("stream") else self._answer(writer))
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            return  # The proxy, or the test, is done with this connection.
        finally:
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter) -> None:
        message = {"role": "assistant", "content": "well met"}
        choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
        answer = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "echo", "choices": [choice]}
        body = json.dumps(answer).encode()
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
        )
        await writer.drain()

    async def _stream(self, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        self._event(writer, "first")
        await writer.drain()
        await self.release.wait()
        self._event(writer, "last")
        done = b"data: [DONE]\n\n"
        writer.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(done), done))
        await writer.drain()

    def _event(self, writer: asyncio.StreamWriter, text: str) -> None:
        choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "echo", "choices": [choice]}
        data = b"data: " + json.dumps(chunk).encode() + b"\n\n"
        writer.write(b"%x\r\n%s\r\n" % (len(data), data))


@asynccontextmanager
async def held_upstream() -> AsyncIterator[HeldUpstream]:
    """A `HeldUpstream` on a free loopback port."""
    upstream = HeldUpstream()
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0, backlog=512)
    upstream.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield upstream
    finally:
        upstream.release.set()
        server.close()
