"""Asks servers what they declare: when a proxy starts, on request, and from time to time.

The worker does the asking; here is when, how many at once, and how long somebody waits. A server that does not answer in
time takes up one of the places and nobody else's time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime

import msgspec

from app import clock, ids
from app.background import Background
from app.database.base import DEFAULT_TENANT
from app.database.engine import Database
from app.fleet.repository import ProxyRepository
from app.fleet.state import ProxyStatus
from app.fleet.worker import ToolOrder
from app.http.events import EventBus
from app.tools.errors import DiscoveryFailed, NotServing
from app.tools.events import publish
from app.tools.repository import ToolRepository
from proxies.contract import Discover, Observation, Trigger

logger = logging.getLogger(__name__)

PLACES = 5
DEADLINE_SECONDS = 120.0
"""How long one server may take."""
EVERY_SECONDS = 30.0
"""How often it is looked for servers that are due."""


class Running(msgspec.Struct, frozen=True):
    """A discovery that is going on."""

    id: str
    since_at: datetime
    done: asyncio.Future[Observation]


class Discovery:
    """At most one discovery of a proxy at a time; who asks for another waits for the same one."""

    def __init__(
        self,
        *,
        database: Database,
        bus: EventBus,
        order: Callable[[str, ToolOrder], Awaitable[bool]],
        serves: Callable[[str], bool],
    ) -> None:
        self._database = database
        self._bus = bus
        self._order = order
        self._serves = serves
        self._places = asyncio.Semaphore(PLACES)
        self._running: dict[str, Running] = {}
        self._up: set[str] = set()
        self._background = Background("tool discovery")

    def __repr__(self) -> str:
        return f"<Discovery {len(self._running)} running>"

    def since(self, proxy_id: str) -> datetime | None:
        """Since when the server of this proxy is being asked; None when it is not."""
        running = self._running.get(proxy_id)
        return running.since_at if running else None

    async def discover(self, proxy_id: str, trigger: Trigger = "request") -> Observation:
        """Ask the server now and wait until its answer is judged; raises NotServing or DiscoveryFailed."""
        running = self._running.get(proxy_id)
        if running is None:
            if not self._serves(proxy_id):
                raise NotServing
            running = Running(ids.new_id("obs"), clock.utcnow(), asyncio.get_running_loop().create_future())
            self._running[proxy_id] = running
            self._background.spawn(self._ask(proxy_id, running, trigger))
        try:
            observation = await asyncio.shield(running.done)
        except TimeoutError:
            raise DiscoveryFailed(f"The server did not answer within {DEADLINE_SECONDS:.0f} seconds.") from None
        if observation.failure:
            raise DiscoveryFailed(observation.failure)
        return observation

    def begin(self, proxy_id: str, trigger: Trigger) -> None:
        """Ask the server without waiting; what goes wrong is kept with the server."""
        self._background.spawn(self._quietly(proxy_id, trigger))

    def settled(self, observation: Observation) -> None:
        """An observation is judged: whoever asked for it goes on."""
        running = self._running.get(observation.proxy_id)
        if running is not None and running.id == observation.id and not running.done.done():
            running.done.set_result(observation)

    def on_status(self, status: ProxyStatus) -> None:
        """What the fleet calls at every change: a proxy that has just come up is asked."""
        if not status.state.serves:
            self._up.discard(status.proxy_id)
        elif status.proxy_id not in self._up:
            self._up.add(status.proxy_id)
            self.begin(status.proxy_id, "connect")

    async def run_due(self) -> None:
        """The job: begin with every server whose time has come."""
        now = clock.utcnow()
        async with self._database.reader() as session:
            servers = await ToolRepository(session, DEFAULT_TENANT).servers()
            proxies = await ProxyRepository(session, DEFAULT_TENANT).all()
        for proxy in proxies:
            if proxy.type != "mcp" or not proxy.enabled or not proxy.discovery_interval_hours:
                continue
            server = servers.get(proxy.id)
            is_due = server is None or server.next_discovery_at is None or server.next_discovery_at <= now
            if is_due and proxy.id not in self._running and self._serves(proxy.id):
                self.begin(proxy.id, "timer")

    async def idle(self) -> None:
        """Wait until no server is being asked."""
        await self._background.idle()

    async def stop(self) -> None:
        """Give up what is going on."""
        await self._background.stop()

    async def _ask(self, proxy_id: str, running: Running, trigger: Trigger) -> None:
        publish(self._bus, proxy_id)
        try:
            async with self._places, asyncio.timeout(DEADLINE_SECONDS):
                if not await self._order(proxy_id, Discover(running.id, proxy_id, trigger)):
                    raise NotServing
                await asyncio.wait({running.done})
        except (TimeoutError, NotServing) as error:
            # Whoever waits is told; where nobody does, the error must not count as forgotten.
            running.done.set_exception(error)
            running.done.exception()
        finally:
            del self._running[proxy_id]
            if not running.done.done():
                running.done.cancel()
            publish(self._bus, proxy_id)

    async def _quietly(self, proxy_id: str, trigger: Trigger) -> None:
        async with self._database.reader() as session:
            proxy = await ProxyRepository(session, DEFAULT_TENANT).get(proxy_id)
        if proxy is None or proxy.type != "mcp":
            return
        try:
            await self.discover(proxy_id, trigger)
        except (NotServing, DiscoveryFailed) as error:
            logger.warning("The tools of proxy %s could not be discovered: %s", proxy_id, error.message)
