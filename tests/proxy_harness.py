"""One real proxy in this process: listener, dispatch, rules and pool as in a worker, with the records kept in a list.

async with running_proxy(type="llm", target_url=upstream.url, client_key="ost_...") as proxy:
    proxy.url, proxy.records, await proxy.wait_for_records(1)
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import ssl
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from proxies.carriers import Carriers
from proxies.contract import (
    JUDGEMENT_SECONDS,
    APIKey,
    CallRecord,
    Enforcement,
    Limits,
    ProxyConfig,
    ProxyType,
    UpstreamAuth,
)
from proxies.decision_service import DecisionClient
from proxies.dispatch import dispatch
from proxies.mcp.control.holds import Holds
from proxies.mcp.control.judgements import Judgements, ToConsole
from proxies.mcp.control.server import ControlledServer
from proxies.mcp.control.taint import Taints
from proxies.mcp.upstreams.factory import eras_of, mcp_upstream, pool_of
from proxies.mcp.upstreams.interface import Upstream
from proxies.policies import Protection
from proxies.runtime import KeyRing, ProxyRuntime
from proxies.steps import origin
from proxies.transport.http1_server import HTTPListener, Request, Response
from proxies.transport.pool import UpstreamPool
from rules.canaries import Canary, CanaryWatch
from rules.engine import Ruleset
from rules.packs import SHIPPED, load_directory
from rules.policy import Policy
from rules.policy_evaluation import CompiledPolicy, PolicySet
from rules.ruleset_cache import cached_ruleset


class RunningProxy:
    """What a test sees of the proxy; it is also the recorder that the calls report to."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.records: list[CallRecord] = []
        self.upstream: UpstreamPool | Upstream
        self.listener: HTTPListener
        self.judgements: Judgements
        self.holds: Holds
        self.carriers: Carriers
        self.runtime: ProxyRuntime
        self.recorded_before_answer = True
        self.bytes_sent_at_record: list[int] = []
        """Body bytes of the latest answer that had been sent when each call was recorded."""
        self._arrived = asyncio.Condition()
        self._answering: dict[str, Response] = {}

    def swap(self, runtime: ProxyRuntime) -> None:
        """Serve under this snapshot from now on."""
        self.runtime = runtime
        if runtime.controlled is not None:
            runtime.controlled.attach(runtime)

    def note_answering(self, response: Response) -> None:
        """Remember the latest response, to see whether a record came before its first byte."""
        self._answering["latest"] = response

    def record(self, call: CallRecord) -> None:
        """Take a finished call (the `Recorder` protocol)."""
        if call.findings and self._answering["latest"].started and not call.streamed:
            self.recorded_before_answer = False
        self.records.append(call)
        self.bytes_sent_at_record.append(self._answering["latest"].bytes_sent)
        asyncio.get_running_loop().create_task(self._notify())

    async def _notify(self) -> None:
        async with self._arrived:
            self._arrived.notify_all()

    async def wait_for_records(self, count: int, timeout_seconds: float = 10) -> list[CallRecord]:
        """The records, once there are at least `count`."""
        async with asyncio.timeout(timeout_seconds), self._arrived:
            await self._arrived.wait_for(lambda: len(self.records) >= count)
        return self.records


@cache
def shipped_ruleset(names: tuple[str, ...] | None = None) -> Ruleset:
    """The shipped packs with these names (all of them by default), compiled once per test process."""
    packs = load_directory(SHIPPED)
    files = cached_ruleset([packs[name] for name in names or sorted(packs)], Path(os.environ["OSTIARY_CACHE_DIR"]))
    return Ruleset.load(files.packs_path.read_bytes(), files.database_path.read_bytes())


def _policy_set(documents: Sequence[dict[str, Any]]) -> PolicySet:
    return PolicySet([CompiledPolicy(msgspec.convert(document, Policy), level="proxy") for document in documents])


@asynccontextmanager
async def running_proxy(
    *,
    type: ProxyType,
    target_url: str = "",
    client_key: str = "",
    upstream_bearer: str = "",
    packs: Iterable[str] | None = None,
    ruleset: Ruleset | None = None,
    other_keys: Iterable[str] = (),
    enforcement: Enforcement = "enforce",
    limits: Limits | None = None,
    canaries: Sequence[Canary] = (),
    console: ToConsole | None = None,
    judgement_seconds: float = JUDGEMENT_SECONDS,
    taints: Taints | None = None,
    policies: Sequence[dict[str, Any]] = (),
    tls: ssl.SSLContext | None = None,
    **config: Any,
) -> AsyncIterator[RunningProxy]:
    """A proxy on a free loopback port; it asks for a key exactly when `client_key` is given.

    `policies` are policy documents; without any, every finding is judged by the default thresholds.
    `other_keys` open it too, each as a principal of its own. It applies `ruleset`, or the
    shipped packs named by `packs` (all of them by default). It speaks HTTPS with a context in `tls`.
    It waits so long for what its `console` makes of a list.
    """
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    sock.listen(512)
    port = sock.getsockname()[1]
    proxy_config = ProxyConfig(
        id="prx_test",
        name="test",
        type=type,
        target_url=target_url,
        host="127.0.0.1",
        port=port,
        ruleset="",
        enforcement=enforcement,
        require_auth=bool(client_key),
        upstream_auth=UpstreamAuth(type="bearer", value=upstream_bearer) if upstream_bearer else UpstreamAuth(),
        limits=limits or Limits(),
    )
    proxy_config = msgspec.structs.replace(proxy_config, **config)
    names = {"key_test": client_key} if client_key else {}
    names |= {f"key_other_{index}": key for index, key in enumerate(other_keys)}
    keys = [APIKey(id=id, name="tests", digest=hashlib.sha256(key.encode()).hexdigest()) for id, key in names.items()]
    upstream = mcp_upstream(proxy_config, lambda: None) if type == "mcp" else pool_of(proxy_config)
    tell = console or (lambda message: None)
    judgements, holds = Judgements(tell, judgement_seconds), Holds(tell)
    controlled = ControlledServer(judgements, holds, taints or Taints())
    running = RunningProxy(f"{'https' if tls else 'http'}://127.0.0.1:{port}")
    running.judgements, running.holds = judgements, holds
    running.upstream = upstream

    async def handle(request: Request, response: Response) -> None:
        running.note_answering(response)
        await dispatch(running.runtime, request, response, running)

    decisions = DecisionClient(proxy_config.decisions) if proxy_config.decisions else None
    running.carriers = Carriers(handle)
    runtime = ProxyRuntime(
        config=proxy_config,
        snapshot_version=1,
        protection=Protection.of(
            ruleset or shipped_ruleset(tuple(packs) if packs is not None else None),
            _policy_set(policies),
            log_only=enforcement == "log_only",
        ),
        keys=KeyRing(keys),
        upstream=upstream,
        authorities=origin.authorities(proxy_config),
        origins=origin.origins(proxy_config),
        canaries=CanaryWatch(canaries),
        controlled=controlled,
        eras=None if isinstance(upstream, UpstreamPool) else eras_of(upstream, proxy_config),
        decisions=decisions,
        carriers=running.carriers,
    )
    running.swap(runtime)
    running.carriers.recheck(runtime)
    listener = running.listener = HTTPListener(sock, handle, proxy_config.limits, tls)
    await listener.start()
    try:
        yield running
    finally:
        await listener.drain(1)
        controlled.close()
        await running.carriers.settle(5)
        await upstream.aclose()
        if decisions:
            await decisions.aclose()
