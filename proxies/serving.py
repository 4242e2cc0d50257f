"""The proxies that this worker serves: from a snapshot and listening sockets to running listeners.

`Serving.apply` loads the rules first, which can fail and takes time, then swaps one pointer per proxy without waiting in
between. A request reads the pointer once, so it is evaluated by exactly one snapshot. A proxy that left the snapshot, or
whose listener has to be made anew, stops to accept at once and finishes what is in flight.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any

from proxies.contract import (
    Discover,
    ListenerSocket,
    ListenerStatus,
    Observation,
    ProxyConfig,
    ProxyType,
    Release,
    ServerReport,
    Snapshot,
    digests_in_use,
)
from proxies.exchange import Recorder
from proxies.mcp.control.holds import Holds
from proxies.mcp.control.judgements import Judgements, ToConsole
from proxies.mcp.control.server import MAX_LISTINGS, ControlledServer
from proxies.mcp.control.taint import Taints
from proxies.policies import PolicyCache, PolicyCompiler, PolicyRefused, Protection, protections_of_keys
from proxies.rates import RateWindows
from proxies.rulesets import RulesetCache
from proxies.runtime import KeyRing
from proxies.served import ServedProxy, UpstreamLease, plain_reason
from rules.canaries import CanaryWatch
from rules.engine import Ruleset

logger = logging.getLogger(__name__)

MAX_WAITING_SOCKETS = 4096
UPSTREAM_END_SECONDS = 1.5
"""What upstreams get to end when the worker does."""


class SnapshotUnusable(Exception):
    """The snapshot cannot be put in force; the one before stays."""


class Serving:
    """All proxies of one worker.

    `on_change` is called when the status of a listener changes outside `apply`: a drain ended, a late socket came.
    `tell` puts a message for the console on the channel.
    """

    def __init__(self, recorder: Recorder, on_change: Callable[[], None], tell: ToConsole) -> None:
        self._recorder = recorder
        self._judgements = Judgements(tell)
        self._holds = Holds(tell)
        self._taints = Taints()
        self._listings = asyncio.Semaphore(MAX_LISTINGS)
        self._on_change = on_change
        self._rulesets = RulesetCache()
        self._policies = PolicyCache()
        self._rates = RateWindows()
        self._served: dict[str, ServedProxy] = {}
        self._draining: set[ServedProxy] = set()
        self._sockets: dict[tuple[str, str, int], tuple[socket.socket, int]] = {}
        """Sockets without a proxy yet, by (proxy id, host, port), with the snapshot version that asks for them."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._drain_timeout_seconds = 30.0
        self._applying = False
        self.version = 0

    def __repr__(self) -> str:
        return f"<Serving v{self.version} served={len(self._served)} draining={len(self._draining)}>"

    @property
    def connections(self) -> int:
        """Open client connections."""
        return sum(proxy.connections for proxy in (*self._served.values(), *self._draining))

    @property
    def in_flight(self) -> int:
        """Calls that have begun and not ended."""
        return sum(proxy.in_flight for proxy in (*self._served.values(), *self._draining))

    def statuses(self) -> tuple[ListenerStatus, ...]:
        """How every proxy of the snapshot stands, and every older one that is still draining."""
        current = [proxy.status() for proxy in self._served.values()]
        leaving = {proxy.config.id for proxy in self._draining} - self._served.keys()
        return (*current, *(ListenerStatus(proxy_id, "draining") for proxy_id in sorted(leaving)))

    async def apply(self, snapshot: Snapshot) -> None:
        """Put a snapshot in force; raises SnapshotUnusable and changes nothing when that is impossible.

        A proxy that is not served yet and cannot be prepared becomes `failed`. Rules that cannot be loaded for a proxy
        that *is* served make the snapshot unusable: going on under the rules before is safer than not inspecting.
        """
        if snapshot.version < self.version:
            raise SnapshotUnusable(f"Version {snapshot.version} is older than version {self.version}.")
        rulesets, problems = await self._rulesets.load(snapshot.rulesets)
        compiler = self._policies.begin(snapshot)
        protections = {config.id: _protection(config, rulesets, problems, compiler) for config in snapshot.proxies}
        for config in snapshot.proxies:
            served, protection = self._served.get(config.id), protections[config.id]
            if isinstance(protection, str) and served is not None and served.accepting:
                raise SnapshotUnusable(f"Proxy {config.name!r}: {protection}")
        by_key = {
            type: protections_of_keys(snapshot.api_keys, type, rulesets, compiler)
            for type in {config.type for config in snapshot.proxies}
        }
        self._applying = True
        try:
            await self._swap(snapshot, protections, by_key)
        finally:
            self._applying = False
        self._policies.keep(compiler)
        self._rulesets.keep(digests_in_use(snapshot))
        self._spawn(_prepare([*protections.values(), *(one for ones in by_key.values() for one in ones.values())]))

    async def _swap(
        self,
        snapshot: Snapshot,
        protections: Mapping[str, Protection | str],
        by_key: Mapping[ProxyType, Mapping[str, Protection | str]],
    ) -> None:
        keys, canaries = KeyRing(snapshot.api_keys), CanaryWatch(snapshot.canaries)
        before, self._served = self._served, {}
        self._drain_timeout_seconds = snapshot.drain_timeout_seconds
        self.version = snapshot.version
        for config in snapshot.proxies:
            protection = protections[config.id]
            if isinstance(protection, str):
                proxy = self._successor(before.get(config.id), config)
                proxy.fail(protection)
            else:
                proxy = self._configure(before, config, protection, by_key[config.type], keys, canaries)
            self._served[config.id] = proxy
        for proxy in before.values():
            self._retire(proxy)
        # The drains begin now, so that the ports are free when the console reads that the snapshot is in force.
        await asyncio.sleep(0)
        await self._open_waiting()
        self._drop_stale_sockets()

    async def take_sockets(self, passed: list[tuple[ListenerSocket, socket.socket]]) -> None:
        """Keep listening sockets that arrived; a proxy that waits for one starts to accept."""
        for description, sock in passed:
            key = (description.proxy_id, description.host, description.port)
            if replaced := self._sockets.pop(key, None):
                replaced[0].close()
            if len(self._sockets) >= MAX_WAITING_SOCKETS:
                logger.error("too many sockets wait for a proxy; the one for %s is closed", description.proxy_id)
                sock.close()
                continue
            self._sockets[key] = (sock, description.snapshot_version)
        if passed and await self._open_waiting():
            self._on_change()

    # --- MCP servers ----------------------------------------------------------------------------------------------

    def discover(self, order: Discover) -> None:
        """List the server of a proxy for the console, which hears of it in any case."""
        served = self._served.get(order.proxy_id)
        if served is None or served.controlled is None:
            failure = "The proxy is not served here, or it is no MCP proxy."
            self._judgements.report(Observation(order.id, order.proxy_id, time.time(), order.trigger, failure=failure))
            return
        served.controlled.spawn(served.controlled.discover(order.id, order.trigger))

    def judged(self, id: str) -> None:
        """The console has judged an observation, and the snapshot with its judgement is in force."""
        self._judgements.judged(id)

    def release(self, order: Release) -> None:
        """A person has decided about a call that waits."""
        self._holds.release(order)

    # --- The end --------------------------------------------------------------------------------------------------

    async def drain(self, deadline_seconds: float) -> None:
        """Stop accepting everywhere, finish what is in flight within the deadline, close everything.

        A later call with a shorter deadline shortens the drains that are going on.
        """
        self._drain_timeout_seconds = deadline_seconds
        served, self._served = self._served, {}
        for proxy in served.values():
            self._retire(proxy)
        for sock, _ in self._sockets.values():
            sock.close()
        self._sockets.clear()
        await asyncio.sleep(0)  # The drains begin.
        self._on_change()
        await asyncio.gather(*(proxy.drain(deadline_seconds) for proxy in self._draining))
        # Servers of ours get a moment to end by themselves; then they are killed, so that the last calls are delivered in time.
        late = self._tasks
        if late:
            _, late = await asyncio.wait(late, timeout=UPSTREAM_END_SECONDS)
        for task in late:
            task.cancel()
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _configure(
        self,
        before: dict[str, ServedProxy],
        config: ProxyConfig,
        protection: Protection,
        by_key: Mapping[str, Protection | str],
        keys: KeyRing,
        canaries: CanaryWatch,
    ) -> ServedProxy:
        """The proxy under this configuration: the one that is served already where its listener may stay as it is."""
        old = before.get(config.id)
        stays = old is not None and old.serves_like(config)
        proxy = old if old is not None and stays else self._successor(old, config)
        try:
            proxy.configure(
                config,
                self.version,
                protection=protection,
                protection_by_key=by_key,
                keys=keys,
                canaries=canaries,
                rates=self._rates,
            )
        except (OSError, ValueError) as error:
            proxy = self._successor(old, config) if stays else proxy
            proxy.fail(f"The upstream cannot be set up: {plain_reason(error)}")
            return proxy
        if stays:
            del before[config.id]
        return proxy

    def _successor(self, old: ServedProxy | None, config: ProxyConfig) -> ServedProxy:
        """A proxy that begins anew, with the listening socket of the old one where the address is the same."""
        controlled = (
            ControlledServer(self._judgements, self._holds, self._taints, self._listings)
            if config.type == "mcp"
            else None
        )
        new = ServedProxy(config, self._recorder, self._release, self._upstream_changed, controlled)
        if old is not None and old.same_address(config):
            new.socket = old.give_socket()
        return new

    async def _open_waiting(self) -> bool:
        """Open every listener that has its socket now; True when one was opened or failed."""
        changed = False
        for proxy in list(self._served.values()):
            config = proxy.config
            if waiting := self._sockets.pop((config.id, config.host, config.port), None):
                proxy.take_socket(waiting[0])
            changed |= await proxy.open()
        return changed

    def _retire(self, proxy: ServedProxy) -> None:
        """Stop accepting now, drain in the background."""
        proxy.close_socket()
        self._draining.add(proxy)
        self._spawn(self._finish(proxy))

    async def _finish(self, proxy: ServedProxy) -> None:
        try:
            await proxy.drain(self._drain_timeout_seconds)
        except Exception:
            logger.exception("draining %r failed", proxy)
        finally:
            self._draining.discard(proxy)
            if not self._applying:  # Half a snapshot must not be reported; the whole one will be.
                self._on_change()

    def _upstream_changed(self) -> None:
        if not self._applying:  # As in `_finish`.
            self._on_change()

    def server_reports(self) -> list[ServerReport]:
        """How the servers that this worker starts stand."""
        reports = [proxy.server_report() for proxy in self._served.values()]
        return [report for report in reports if report is not None]

    def _release(self, lease: UpstreamLease) -> None:
        self._spawn(lease.aclose())

    def _drop_stale_sockets(self) -> None:
        for key, (sock, version) in list(self._sockets.items()):
            if version <= self.version:
                del self._sockets[key]
                sock.close()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _prepare(protections: Iterable[Protection | str]) -> None:
    """Make what streams will need while calls are already served; a stream that comes sooner waits for it."""
    for protection in protections:
        if isinstance(protection, Protection) and protection.holds_back and not protection.is_prepared:
            await asyncio.to_thread(protection.prepare)


def _protection(
    config: ProxyConfig, rulesets: Mapping[str, Ruleset], problems: Mapping[str, str], compiler: PolicyCompiler
) -> Protection | str:
    """What judges the calls of a proxy, or why it cannot be had."""
    ruleset = rulesets.get(config.ruleset)
    if ruleset is None:
        return f"The rules cannot be loaded: {problems.get(config.ruleset, 'the snapshot lacks them.')}"
    try:
        policies = compiler.policies(config.policy_names, config.policy_level)
        return Protection.of(ruleset, policies, log_only=config.enforcement == "log_only")
    except PolicyRefused as error:
        return str(error)
