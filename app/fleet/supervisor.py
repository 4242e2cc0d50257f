"""The fleet: which proxies should run, the sockets they listen on, the workers that serve them.

    fleet = Fleet(settings=..., load_configuration=..., ingest=..., on_status=...)
    await fleet.start()                  # spooled calls are ingested, workers start, auto_start proxies come up
    await fleet.start_proxy("prx_...")   # bound, passed on, served: or an AppError that says why not
    await fleet.refresh()                # after a committed change: a new snapshot to every worker
    await fleet.stop()                   # drain, last events, end

One lock makes every change whole: plan (`reconcile`), act, judge (`state`). A worker that dies is replaced while the
sockets stay here, so that new connections wait in the backlog instead of being refused.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from app.background import Background
from app.clock import utcnow
from app.errors import Unavailable
from app.fleet import snapshot
from app.fleet.bindings import binding_of, is_single
from app.fleet.channel import ChannelClosed
from app.fleet.errors import ProxyUnknown
from app.fleet.intake import Intake
from app.fleet.listeners import Listeners
from app.fleet.reconcile import Action, Actual, Address, Bind, Binding, Pass, Publish, Unbind, Wanted, plan
from app.fleet.rulesets import missing
from app.fleet.slot import Slot
from app.fleet.snapshot import Configuration
from app.fleet.spool import Ingest
from app.fleet.state import ProxyState, ProxyStatus, judge, moves
from app.fleet.worker import ScanOrder, ScanReport, ToolOrder, ToolReport, Worker, WorkerStatus, command_line
from app.settings import Settings
from proxies.contract import Events, ProxyConfig, ServerReport

__all__ = ["Configuration", "Fleet", "ProxyState", "ProxyStatus", "ProxyUnknown", "WorkerStatus"]

logger = logging.getLogger(__name__)

SETTLE_TIMEOUT_SECONDS = 5.0
"""How long a caller waits for a proxy to settle; the work itself goes on."""
COMPILE_PATIENCE_SECONDS = 0.5  # What is put together from compiled parts takes no longer.
TICK_SECONDS = 1.0
RECOVER_EVERY_TICKS = 10
LAST_EVENTS_SECONDS = 3.0
"""What workers get beyond the drain to deliver their last events."""
COMMIT_SECONDS = 1.5
"""How long the end waits for a database that does not take what has arrived."""


class Fleet:
    """All proxies and all workers of this console.

    `load_configuration` reads what is committed, `ingest` commits calls (idempotently, by their id), `on_status` hears of
    every change of a `ProxyStatus`, `on_scan` and `on_tools` of what workers say about scans and about
    the tools of MCP servers; none may block. `command` starts a worker; by default it is this program itself.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        load_configuration: Callable[[], Awaitable[Configuration]],
        ingest: Ingest,
        on_status: Callable[[ProxyStatus], None],
        on_scan: Callable[[ScanReport], None] = lambda _report: None,
        on_tools: Callable[[ToolReport], None] = lambda _report: None,
        command: Sequence[str] | None = None,
    ) -> None:
        self._load_configuration = load_configuration
        self._on_status = on_status
        self._drain_timeout_seconds = settings.drain_timeout_seconds
        self._spool_dir = settings.data_dir.absolute() / "spool"
        self._intake = Intake(ingest, self._spool_dir)
        self._listeners = Listeners(Address(settings.host, settings.port), self._name_of)
        self._slots = [
            Slot(
                number,
                tuple(command or command_line()),
                self._spool_dir,
                on_change=self._note_change,
                on_events=self._take_events,
                on_scan=on_scan,
                on_tools=on_tools,
                on_buried=self._recover_soon,
            )
            for number in range(settings.workers)
        ]
        self._newest = Configuration()
        self._in_force = Configuration()
        """The newest configuration, or what stands in for it while workers refuse it."""
        self._accepted = Configuration()
        """The last configuration that every worker took whole."""
        self._refused = ""
        self._unrestorable: frozenset[str] = frozenset()
        """Rules whose files are missing even after the configuration was loaded again."""
        self._revision = 0
        self._version = 0
        self._published: tuple[int, frozenset[Binding]] | None = None
        self._wanted: set[str] = set()
        self._restarting: set[str] = set()
        self._first_rules: set[str] = set()  # What `first_rules_count` counts.
        self._statuses: dict[str, ProxyStatus] = {}
        self._loading = asyncio.Lock()
        self._changing = asyncio.Lock()
        self._changed = asyncio.Event()
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._background = Background("the fleet")
        self._slot_tasks: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        return f"<Fleet v{self._version} wanted={len(self._wanted)} {self._listeners!r} {self._slots!r}>"

    # --- Life -----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Ingest what dead workers left, bind the ports of auto_start proxies, start the workers."""
        self._spool_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        await self._intake.recover()
        try:
            await self._load()
        except Exception:
            # Broad: the console must come up so that an operator can see and repair what is wrong; no proxy runs meanwhile.
            logger.exception(
                "the configuration cannot be loaded: no proxy is started; repair it and start the console again"
            )
        self._wanted = {proxy.id for proxy in self._newest.proxies} & self._newest.auto_start
        self._first_rules = self._wanted & self._newest.compiling.keys()
        await self._change()
        self._background.spawn(self._intake.run())
        self._background.spawn(self._attend())
        self._slot_tasks = [asyncio.create_task(slot.keep(self._stopping)) for slot in self._slots]

    async def stop(self) -> None:
        """Close the ports, let calls in flight finish, commit the last events, end the workers."""
        self._stopping.set()
        async with self._changing:
            self._wanted.clear()
            self._listeners.close()
            workers = [slot.worker for slot in self._slots if slot.worker is not None]
            await asyncio.gather(*(worker.drain(self._drain_timeout_seconds) for worker in workers))
            self._judge()
        if self._slot_tasks:
            _, late = await asyncio.wait(self._slot_tasks, timeout=self._drain_timeout_seconds + LAST_EVENTS_SECONDS)
            for slot in self._slots:
                if slot.worker is not None:
                    slot.worker.kill()
            if late:
                await asyncio.wait(late)
        try:
            async with asyncio.timeout(COMMIT_SECONDS):
                await self._intake.emptied()
        except TimeoutError:
            logger.error("calls could not be committed before the end; their workers spooled them")
        await self._intake.recover()
        await self._background.stop()
        self._judge()

    # --- What an operator asks for --------------------------------------------------------------------------------

    async def start_proxy(self, proxy_id: str) -> ProxyStatus:
        """Bind and serve, with what could not be resolved before; the status once settled, at the latest after five seconds.

        Raises ProxyUnknown, or the AppError of `ports` when the port cannot be bound: then nothing is tried again until
        the next start; and what `load_configuration` raises. Any other failure is a `failed` status with its reason.
        """
        if proxy_id in self._newest.broken:
            await self._load()
        binding = self._binding(proxy_id)
        self._listeners.forgive(binding)
        self._wanted.add(proxy_id)
        await self._change_within()
        if error := self._listeners.failure(binding):
            self._wanted.discard(proxy_id)
            raise error
        return await self._settled(proxy_id, ProxyState.STARTING)

    async def stop_proxy(self, proxy_id: str) -> ProxyStatus:
        """Close the port; the status is `draining` when calls are still in flight after five seconds."""
        self._listeners.forgive(self._binding(proxy_id))
        self._wanted.discard(proxy_id)
        await self._change_within()
        return await self._settled(proxy_id, ProxyState.DRAINING)

    async def restart_proxy(self, proxy_id: str) -> ProxyStatus:
        """Serve anew, with fresh upstream connections and certificates. The port stays bound: no connection is refused,
        calls in flight finish on the old listener."""
        self._binding(proxy_id)
        self._restarting.add(proxy_id)
        try:
            await self._change_within()
        finally:
            self._restarting.discard(proxy_id)
        return await self.start_proxy(proxy_id)

    async def refresh(self) -> None:
        """Read what is committed and bring it into force on every worker. Raises what `load_configuration` raises."""
        await self._load()
        self._wanted &= {proxy.id for proxy in self._newest.proxies}
        self._first_rules &= self._wanted & self._newest.compiling.keys()
        await self._change_within()

    async def scan(self, order: ScanOrder) -> bool:
        """Order or cancel a scan at the first worker; False when there is none."""
        worker = self._slots[0].ready
        return worker is not None and await worker.order(order)

    async def order(self, proxy_id: str, message: ToolOrder) -> bool:
        """Tell the workers of an MCP proxy something about its tools; False when none serves it."""
        proxy = next((proxy for proxy in self._accepted.proxies if proxy.id == proxy_id), None)
        slots = self._slots[: self._workers_for(proxy)] if proxy is not None else []
        workers = [slot.ready for slot in slots if slot.ready is not None]
        return any([await worker.order(message) for worker in workers])

    def status(self, proxy_id: str) -> ProxyStatus:
        """How a proxy stands; `stopped` for one that was never started."""
        return self._statuses.get(proxy_id) or self._stopped(proxy_id)

    def running(self, proxy_id: str) -> ProxyConfig | None:
        """The configuration of a served proxy as all workers took it last; None where none serves it."""
        if not self.status(proxy_id).state.serves:
            return None
        return next((proxy for proxy in self._accepted.proxies if proxy.id == proxy_id), None)

    def server_report(self, proxy_id: str) -> ServerReport | None:
        """How the server that a worker starts for this proxy stands; None where none is started."""
        reports = [slot.ready.server_report(proxy_id) for slot in self._slots if slot.ready is not None]
        return next((report for report in reports if report is not None), None)

    @property
    def first_rules_count(self) -> int:
        """How many of the proxies that start by themselves have waited for their rules since the console started."""
        return len(self._first_rules)

    def statuses(self) -> dict[str, ProxyStatus]:
        """How every enabled proxy stands, by id."""
        return {proxy.id: self.status(proxy.id) for proxy in self._newest.proxies}

    def workers(self) -> tuple[WorkerStatus, ...]:
        """The workers that live now."""
        return tuple(slot.worker.status() for slot in self._slots if slot.worker is not None)

    @property
    def calls_dropped(self) -> int:
        """Calls without findings that workers dropped under pressure, since the start."""
        return self._intake.calls_dropped

    @property
    def texts_dropped(self) -> int:
        """Calls whose captured texts workers dropped under pressure, since the start."""
        return self._intake.texts_dropped

    @property
    def worker_deaths(self) -> int:
        """Workers that ended unexpectedly, since the start."""
        return sum(slot.deaths for slot in self._slots)

    # --- Changing: plan, act, judge -------------------------------------------------------------------------------

    async def _load(self) -> None:
        # One at a time: a slow load that began before a commit must not end after, and undo, the load that follows it.
        async with self._loading:
            self._newest = self._in_force = await self._load_configuration()
            self._refused = ""
            self._revision += 1

    async def _change_within(self) -> None:
        """`_change`, but a caller waits no longer than it should; the change itself is carried through."""
        if self._stopping.is_set():
            raise Unavailable("The console is shutting down.")
        await asyncio.wait({self._background.spawn(self._change())}, timeout=SETTLE_TIMEOUT_SECONDS)

    async def _change(self) -> None:
        """Do what leads from the actual to the wanted state."""
        async with self._changing:
            if self._stopping.is_set():
                return
            self._judge()
            await self._restore_rules()
            await self._act()
            if self._refused and self._in_force is self._newest and self._accepted.proxies:
                self._in_force = snapshot.fall_back(self._newest, self._accepted)
                self._revision += 1
                await self._act()
            self._judge()

    async def _restore_rules(self) -> None:
        """Have rules compiled anew whose files are gone, before a worker is told to load them."""
        if missing(self._in_force.rulesets) - self._unrestorable:
            try:
                await self._load()
            except Exception:
                # Broad: without their rules proxies go on as they are or fail with that reason; the others are served.
                logger.exception("the configuration cannot be loaded: rules that are gone are not compiled anew")
        self._unrestorable = missing(self._in_force.rulesets)

    async def _act(self) -> None:
        for action in plan(self._wanted_now(), self._actual()):
            await self._do(action)

    async def _do(self, action: Action) -> None:
        match action:
            case Unbind(binding):
                self._listeners.unbind(binding)
            case Bind(binding):
                self._listeners.bind(binding)
            case Pass(number, binding):
                worker = self._slots[number].ready
                if worker is not None and binding in self._listeners.bound:
                    listening = self._listeners.socket_of(binding)
                    await self._tell(worker, worker.pass_socket(binding, listening, self._version + 1))
            case Publish(numbers, served):
                workers = [worker for number in numbers if (worker := self._slots[number].ready)]
                await self._publish(workers, served & self._listeners.bound)

    async def _publish(self, workers: Sequence[Worker], served: frozenset[Binding]) -> None:
        if self._published != (self._revision, served):
            self._published = (self._revision, served)
            self._version += 1
        wanted = msgspec.structs.replace(self._wanted_now(), served=served)
        await asyncio.gather(*(self._publish_share(worker, wanted.share(worker.slot)) for worker in workers))
        rejections = [worker.rejected for worker in workers if worker.rejected]
        if rejections:
            logger.error("snapshot %d was refused: %s", self._version, rejections[0])
            self._refused = rejections[0]
        elif self._in_force is self._newest:
            self._accepted = self._newest

    async def _publish_share(self, worker: Worker, share: frozenset[Binding]) -> None:
        message = snapshot.build(
            self._in_force,
            {binding.proxy_id for binding in share},
            self._version,
            drain_timeout_seconds=self._drain_timeout_seconds,
        )
        await self._tell(worker, worker.publish(message, share, self._revision))

    async def _tell(self, worker: Worker, telling: Awaitable[None]) -> None:
        """Say something to a worker; one that does not listen is replaced, one that is gone will be."""
        try:
            await telling
        except ChannelClosed as error:
            logger.info("%r: %s", worker, error)
        except TimeoutError:
            logger.error("%r does not answer and is killed", worker)
            worker.kill()

    def _wanted_now(self) -> Wanted:
        bindings = {
            binding
            for proxy in self._in_force.proxies
            if proxy.id in self._wanted
            and proxy.id not in self._in_force.unfit
            and not self._listeners.waits(binding := binding_of(proxy))
        }
        served = {binding for binding in bindings if binding.proxy_id not in self._restarting}
        return Wanted(
            bound=frozenset(bindings),
            served=frozenset(served),
            revision=self._revision,
            single=frozenset(binding_of(proxy) for proxy in self._in_force.proxies if is_single(proxy)),
        )

    def _actual(self) -> Actual:
        workers = {slot.number: slot.ready.view for slot in self._slots if slot.ready is not None}
        return Actual(bound=self._listeners.bound, workers=workers)

    # --- Judging --------------------------------------------------------------------------------------------------

    def _judge(self) -> None:
        """Work out every proxy's status and tell about those that changed."""
        newest = {proxy.id: proxy for proxy in self._newest.proxies}
        self._listeners.keep_failures(frozenset(binding_of(proxy) for proxy in newest.values()))
        in_force = {proxy.id: proxy for proxy in self._in_force.proxies}
        reports = [slot.report() for slot in self._slots]
        for proxy_id in newest.keys() | self._statuses.keys():
            proxy = newest.get(proxy_id)
            concerned = reports[: self._workers_for(proxy)]
            refused = self._refused if proxy != in_force.get(proxy_id) else ""
            state, reason, live = judge(
                proxy_id,
                wanted=proxy_id in self._wanted,
                failure=self._failure(proxy, refused if proxy_id not in in_force else ""),
                refused=refused,
                reports=concerned,
                waiting=self._newest.compiling.get(proxy_id, ""),
            )
            versions = [
                report.version
                for report in concerned
                if (status := report.listeners.get(proxy_id)) and status.state == "running"
            ]
            now = ProxyStatus(
                proxy_id=proxy_id,
                state=state,
                reason=reason,
                since_at=utcnow(),
                workers_live=live,
                workers_total=len(concerned),
                snapshot_version=min(versions, default=0),
            )
            self._note(now)
            if proxy is None and state is ProxyState.STOPPED:
                del self._statuses[proxy_id]
        self._changed.set()
        self._changed = asyncio.Event()

    def _failure(self, proxy: ProxyConfig | None, refused: str) -> str:
        """Why the console itself cannot offer this proxy; empty when it can."""
        if proxy is None:
            return ""
        if error := self._listeners.failure(binding_of(proxy)):
            return error.message
        if proxy.id not in self._wanted:
            return ""
        return self._newest.broken.get(proxy.id, refused)

    def _note(self, found: ProxyStatus) -> None:
        """Keep a status and tell about it, by way of the states in between; `since_at` stays while the state does."""
        before = self.status(found.proxy_id)
        steps = moves(before.state, found.state)
        for step in steps or (found.state,):
            now = msgspec.structs.replace(
                found,
                state=step,
                reason=found.reason if step is found.state else "",
                since_at=found.since_at if steps else before.since_at,
            )
            known = self._statuses.get(found.proxy_id)
            self._statuses[found.proxy_id] = now
            if now != (known or before):
                self._on_status(now)

    def _workers_for(self, proxy: ProxyConfig | None) -> int:
        """How many of the workers, from the first, serve a proxy."""
        return 1 if proxy is not None and is_single(proxy) else len(self._slots)

    def _stopped(self, proxy_id: str) -> ProxyStatus:
        proxy = next((proxy for proxy in self._newest.proxies if proxy.id == proxy_id), None)
        return ProxyStatus(proxy_id, ProxyState.STOPPED, "", utcnow(), 0, self._workers_for(proxy), 0)

    async def _settled(self, proxy_id: str, passing: ProxyState) -> ProxyStatus:
        """The status once it is another than the passing one, at the latest after the time a caller waits."""
        patience = COMPILE_PATIENCE_SECONDS if proxy_id in self._newest.compiling else SETTLE_TIMEOUT_SECONDS
        try:
            async with asyncio.timeout(patience):
                while self.status(proxy_id).state is passing:
                    await self._changed.wait()
        except TimeoutError:
            logger.info("proxy %s is still %s", proxy_id, passing)
        return self.status(proxy_id)

    # --- What happens by itself -----------------------------------------------------------------------------------

    async def _attend(self) -> None:
        """Bring new workers up to date at once; every second look whether a failed port is due, and now and then for
        spool files that a worker under pressure has closed."""
        ticks = 0
        while True:
            try:
                async with asyncio.timeout(TICK_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                ticks += 1
            self._wake.clear()
            if plan(self._wanted_now(), self._actual()):
                # A task of its own, whose failure is logged: this one must go on for as long as the console does.
                await asyncio.wait({self._background.spawn(self._change())})
            if ticks >= RECOVER_EVERY_TICKS:
                ticks = 0
                await self._intake.recover()

    def _note_change(self) -> None:
        self._judge()
        self._wake.set()

    def _take_events(self, worker: Worker, events: Events) -> None:
        self._intake.put(worker, events)

    def _recover_soon(self) -> None:
        if not self._stopping.is_set():
            self._background.spawn(self._intake.recover())

    # --- Names ----------------------------------------------------------------------------------------------------

    def _binding(self, proxy_id: str) -> Binding:
        for proxy in self._newest.proxies:
            if proxy.id == proxy_id:
                return binding_of(proxy)
        raise ProxyUnknown("No enabled proxy has this id.", remediation="Enable it, or check the id.")

    def _name_of(self, proxy_id: str) -> str:
        return next((proxy.name for proxy in self._newest.proxies if proxy.id == proxy_id), proxy_id)
