"""One proxy in this worker: its listener, and the pointer to what the newest snapshot says about it."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Mapping

from proxies.carriers import Carriers
from proxies.contract import CallRecord, ListenerStatus, ProxyConfig, ServerReport
from proxies.decision_service import DecisionClient
from proxies.dispatch import dispatch
from proxies.exchange import Recorder, call_id
from proxies.mcp.bridge.eras import EraDetector
from proxies.mcp.control.server import ControlledServer
from proxies.mcp.upstreams.channelled import ChannelUpstream
from proxies.mcp.upstreams.factory import eras_of, mcp_upstream, pool_of, server_behind
from proxies.mcp.upstreams.interface import Upstream
from proxies.policies import Protection
from proxies.rates import RateWindows
from proxies.runtime import KeyRing, ProxyRuntime
from proxies.steps.origin import authorities, origins
from proxies.transport import tls
from proxies.transport.http1_server import HTTPListener, Request, Response
from proxies.transport.pool import UpstreamPool
from rules.canaries import CanaryWatch
from rules.model import Action

logger = logging.getLogger(__name__)

GOODBYE_SECONDS = 2.0
"""How long the sessions of clients that were sent away may take to end at their servers."""


class UpstreamLease:
    """An upstream that successive runtimes of a proxy share. It is released after the last call that uses it."""

    __slots__ = ("_current", "_on_unused", "_users", "decisions", "eras", "upstream")

    def __init__(
        self,
        upstream: UpstreamPool | Upstream,
        on_unused: Callable[[UpstreamLease], None],
        eras: EraDetector | None = None,
        decisions: DecisionClient | None = None,
    ) -> None:
        self.upstream = upstream
        self.decisions = decisions
        self.eras = eras
        self._on_unused = on_unused
        self._users = 0
        self._current = True

    def enter(self) -> None:
        """A call begins to use it."""
        self._users += 1

    def leave(self) -> None:
        """A call has ended."""
        self._users -= 1
        if not self._current and not self._users:
            self._on_unused(self)

    async def aclose(self) -> None:
        """Let go of the connections."""
        await self.upstream.aclose()
        if self.decisions is not None:
            await self.decisions.aclose()

    def retire(self) -> None:
        """No new call will use it."""
        if self._current:
            self._current = False
            if not self._users:
                self._on_unused(self)


class ServedProxy:
    """A proxy under the snapshots that leave its address and its certificate as they are."""

    def __init__(
        self,
        config: ProxyConfig,
        recorder: Recorder,
        release: Callable[[UpstreamLease], None],
        on_change: Callable[[], None] = lambda: None,
        controlled: ControlledServer | None = None,
    ) -> None:
        self.config = config
        self.controlled = controlled
        """What is known of the MCP server behind a proxy of type mcp."""
        self.socket: socket.socket | None = None
        """Our own handle of the listening socket; the listener gets a duplicate, so that it can be made anew."""
        self._recorder = recorder
        self._carriers = Carriers(self._handle)
        self._release = release
        self._on_change = on_change
        self._lease: UpstreamLease | None = None
        self._runtime: ProxyRuntime | None = None
        self._listener: HTTPListener | None = None
        self._failure = ""

    def __repr__(self) -> str:
        return f"<ServedProxy {self.config.id} {self.config.name!r} {self.status().state}>"

    @property
    def accepting(self) -> bool:
        """Whether clients can connect."""
        return self._listener is not None

    @property
    def connections(self) -> int:
        """Open client connections."""
        return self._listener.connections if self._listener else 0

    @property
    def in_flight(self) -> int:
        """Calls that have begun and not ended."""
        return self._listener.in_flight if self._listener else 0

    def status(self) -> ListenerStatus:
        """As the console is told: `stopped` means that the socket has not come yet."""
        if self._failure:
            return ListenerStatus(self.config.id, "failed", self._failure)
        if self._listener is None:
            return ListenerStatus(self.config.id, "stopped")
        upstream = self._lease.upstream if self._lease is not None else None
        problem = "" if upstream is None or isinstance(upstream, UpstreamPool) else upstream.problem
        return ListenerStatus(self.config.id, "running", problem)

    def server_report(self) -> ServerReport | None:
        """How the server that this worker starts stands; None where it starts none."""
        upstream = self._lease.upstream if self._lease is not None else None
        if upstream is not None and not isinstance(upstream, UpstreamPool):
            upstream = server_behind(upstream)
        if not isinstance(upstream, ChannelUpstream) or upstream.log is None:
            return None
        return ServerReport(self.config.id, upstream.open_channels, upstream.problem, upstream.log.tail)

    # --- Configuration --------------------------------------------------------------------------------------------

    def same_address(self, config: ProxyConfig) -> bool:
        """Whether the listening socket serves for this configuration."""
        return (self.config.host, self.config.port) == (config.host, config.port)

    def serves_like(self, config: ProxyConfig) -> bool:
        """Whether the running listener serves for this configuration; a failed proxy is always tried anew."""
        old = self.config
        return not self._failure and self.same_address(config) and (old.tls, old.type) == (config.tls, config.type)

    def configure(
        self,
        config: ProxyConfig,
        version: int,
        *,
        protection: Protection,
        protection_by_key: Mapping[str, Protection | str],
        keys: KeyRing,
        canaries: CanaryWatch,
        rates: RateWindows,
    ) -> None:
        """Swap to the configuration of a snapshot: one assignment that the next call sees whole.

        Raises OSError or ValueError and changes nothing when the upstream's target, CA bundle or client certificate cannot
        be used.
        """
        lease = self._lease_for(config)
        if lease.eras is not None and config.mcp is not None:
            lease.eras.refuses = config.mcp.refuse_downgrade
        runtime = ProxyRuntime(
            config=config,
            snapshot_version=version,
            protection=protection,
            protection_by_key=protection_by_key,
            rates=rates,
            keys=keys,
            upstream=lease.upstream,
            authorities=authorities(config),
            origins=origins(config),
            canaries=canaries,
            controlled=self.controlled,
            eras=lease.eras,
            decisions=lease.decisions,
            carriers=self._carriers,
        )
        old, self._lease = self._lease, lease
        self.config, self._runtime = config, runtime
        if self.controlled is not None:
            self.controlled.attach(runtime)
        if self._listener is not None:
            self._listener.limits = config.limits  # For the connections to come.
        if old is not None and old is not lease:
            old.retire()
        self._carriers.recheck(runtime)

    def fail(self, reason: str) -> None:
        """Note why this proxy cannot be served here; the console shows it."""
        logger.error("proxy %s (%s) cannot be served: %s", self.config.id, self.config.name, reason)
        self._failure = reason

    def _lease_for(self, config: ProxyConfig) -> UpstreamLease:
        if self._lease and _upstream_settings(self.config) == _upstream_settings(config):
            return self._lease
        if config.type == "mcp":
            upstream = mcp_upstream(config, self._on_change)
            return UpstreamLease(upstream, self._release, eras_of(upstream, config))
        decisions = DecisionClient(config.decisions) if config.decisions is not None else None
        return UpstreamLease(pool_of(config), self._release, decisions=decisions)

    # --- Listening ------------------------------------------------------------------------------------------------

    def take_socket(self, sock: socket.socket) -> None:
        """Own this listening socket from now on."""
        self.close_socket()
        self.socket = sock

    def give_socket(self) -> socket.socket | None:
        """Hand the listening socket to a successor."""
        sock, self.socket = self.socket, None
        return sock

    async def open(self) -> bool:
        """Start to accept, if that is due and possible; True when the status changed."""
        if self._listener is not None or self._failure or self.socket is None or self._runtime is None:
            return False
        config = self.config
        try:
            context = tls.listener_context(config.tls.cert_path, config.tls.key_path) if config.tls else None
        except (OSError, ValueError) as error:
            self.fail(f"The certificate or its key cannot be used: {plain_reason(error)}")
            return True
        sock = self.socket.dup()
        listener = HTTPListener(sock, self._handle, config.limits, context, on_refused=self._note_refused)
        problem = await _problem_of(listener)
        if problem is None:
            self._listener = listener
            return True
        await listener.drain(0)
        sock.close()
        self.fail(f"The port cannot be served: {plain_reason(problem)}")
        return True

    def close_socket(self) -> None:
        """Let go of our handle of the listening socket."""
        if self.socket is not None:
            self.socket.close()
            self.socket = None

    async def drain(self, deadline_seconds: float) -> None:
        """Stop accepting (before the first wait), finish what is in flight, then let go of the upstream."""
        if self._listener is not None:
            await self._listener.drain(deadline_seconds)
        if self.controlled is not None:
            self.controlled.close()
            await self._carriers.settle(GOODBYE_SECONDS)
        if self._lease is not None:
            self._lease.retire()

    async def _handle(self, request: Request, response: Response) -> None:
        runtime, lease = self._runtime, self._lease
        assert runtime is not None
        assert lease is not None
        lease.enter()
        try:
            await dispatch(runtime, request, response, self._recorder)
        finally:
            lease.leave()

    def _note_refused(self, peer_ip: str, status: int, code: str) -> None:
        """The transport refused a request before it was one; an operator should still see that it came."""
        now = time.time()
        self._recorder.record(
            CallRecord(
                id=call_id(now),
                proxy_id=self.config.id,
                snapshot_version=self._runtime.snapshot_version if self._runtime else 0,
                started_at=now,
                duration_ms=0.0,
                added_ms=0.0,
                method="",
                path="",
                protocol="http",
                operation="",
                client_ip=peer_ip,
                client_agent="",
                principal_id="",
                principal_name="",
                status=status,
                outcome="refused",
                action=Action.ALLOW,
                error_code=code,
                reason="The request is not acceptable HTTP.",
                request_bytes=0,
                response_bytes=0,
                streamed=False,
                truncated=False,
                findings=(),
                usage=None,
                timings_ms={},
            )
        )


async def _problem_of(listener: HTTPListener) -> OSError | None:
    """Start a listener; why that is not possible, or None."""
    try:
        await listener.start()
    except OSError as error:
        return error
    return None


def _upstream_settings(config: ProxyConfig) -> tuple[object, ...]:
    """What an upstream is made of; while it stays the same, so does the upstream."""
    settings = config.mcp
    return (
        (settings.transport, settings.stdio, settings.era) if settings else None,
        # Streams and WebSockets of servers send it when they open; to other upstreams it goes with each request.
        config.upstream_auth if settings and settings.transport in ("sse", "websocket") else None,
        config.target_url,
        config.limits,
        config.upstream_ca_path,
        config.upstream_client_cert_path,
        config.upstream_client_key_path,
        config.upstream_proxy,
        config.decisions,
    )


def plain_reason(error: Exception) -> str:
    """The error in one sentence, without paths."""
    return (error.strerror or type(error).__name__) if isinstance(error, OSError) else str(error)
