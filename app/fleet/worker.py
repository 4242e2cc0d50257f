"""One worker process as the console sees it: started, greeted, told what to serve, watched, buried."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, Self

import msgspec

from app.fleet.channel import ChannelClosed, WorkerChannel
from app.fleet.reconcile import Binding, WorkerView
from app.fleet.state import WorkerReport
from app.logs import CONTINUED
from proxies.contract import (
    CONTRACT_VERSION,
    AckEvents,
    CancelScan,
    Discover,
    Drain,
    Events,
    Heartbeat,
    HeldCall,
    Hello,
    HoldEnded,
    Judged,
    ListenerSocket,
    ListenerStatus,
    Observed,
    Release,
    ScanFinished,
    ScanProgress,
    ServerReport,
    SetSnapshot,
    Snapshot,
    SnapshotApplied,
    SnapshotRejected,
    StartScan,
    ToConsole,
)

logger = logging.getLogger(__name__)
worker_logger = logging.getLogger("ostiary.worker")

ANSWER_TIMEOUT_SECONDS = 10.0
TICK_SECONDS = 1.0
MAX_QUIET_TICKS = 10
"""A worker that says nothing for so many seconds is killed and replaced; it beats every two."""
EXIT_TIMEOUT_SECONDS = 8.0
"""How long a worker may take to end after its channel closed (spooling, last calls)."""
MAX_LOG_LINE_BYTES = 16 * 1024
MEMORY_SETTINGS = {"MALLOC_MMAP_THRESHOLD_": str(256 * 1024)}
"""What glibc is told, unless the environment says otherwise: large pieces of memory stand alone and go back to the system when
they are freed. By itself it keeps what loading the rules took, some 15 MB, as a hole that little fits into."""
MAX_RELEASE_CHARACTERS = 100

WorkerState = Literal["starting", "running", "draining", "ended"]
ScanReport = ScanProgress | ScanFinished
"""What a worker says about scans."""
ScanOrder = StartScan | CancelScan
ToolReport = Observed | HeldCall | HoldEnded
"""What a worker says about the tools of MCP servers."""
ToolOrder = Judged | Discover | Release
"""What it is told about them."""


class WorkerStatus(msgspec.Struct, frozen=True):
    """A worker for the eyes of an operator."""

    slot: int
    pid: int
    state: WorkerState
    started_at: float
    """Unix seconds."""
    heartbeat_at: float | None
    """Unix seconds of the last heartbeat."""
    version: str
    """The release that it runs; empty until it has greeted."""
    snapshot_version: int
    connections: int
    in_flight: int
    loop_lag_ms: float
    rss_bytes: int
    unacknowledged_events: int


def command_line() -> tuple[str, ...]:
    """How this program starts itself as a worker: the frozen executable, or this interpreter on the same code."""
    if getattr(sys, "frozen", False):
        return (sys.executable, "worker")
    return (sys.executable, "-m", "app", "worker")


class Worker:
    """A worker process and its channel.

    `on_change` is called when its listeners, its snapshot or its life change; `on_events` for every batch of calls,
    `on_scan` and `on_tools` for what it says about scans and about the tools of MCP servers.
    """

    def __init__(
        self,
        slot: int,
        process: asyncio.subprocess.Process,
        channel: WorkerChannel,
        *,
        on_change: Callable[[], None],
        on_events: Callable[[Worker, Events], None],
        on_scan: Callable[[ScanReport], None],
        on_tools: Callable[[ToolReport], None],
    ) -> None:
        self.slot = slot
        self.pid = process.pid
        self.state: WorkerState = "starting"
        self._process = process
        self._channel = channel
        self._on_change = on_change
        self._on_events = on_events
        self._on_scan = on_scan
        self._on_tools = on_tools
        self._started_at = time.time()
        self._quiet_ticks = 0
        self._heartbeat: Heartbeat | None = None
        self._release = ""
        self._version = 0
        self._listeners: dict[str, ListenerStatus] = {}
        self._servers: dict[str, ServerReport] = {}
        self._rejected = ""
        self._view = WorkerView()
        self._answer: asyncio.Future[None] | None = None
        self._awaited_version = 0

    def __repr__(self) -> str:
        return f"<Worker slot={self.slot} pid={self.pid} {self.state} v{self._version}>"

    @classmethod
    async def spawn(
        cls,
        slot: int,
        command: Sequence[str],
        spool_dir: Path,
        *,
        on_change: Callable[[], None],
        on_events: Callable[[Worker, Events], None],
        on_scan: Callable[[ScanReport], None],
        on_tools: Callable[[ToolReport], None],
    ) -> Self:
        """Start a process that inherits its two sockets and nothing else; raises OSError.

        It leads a session of its own, so that Ctrl-C in a terminal reaches the console alone.
        """
        channel, messages, sockets = await WorkerChannel.open()
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                "--channel-fd",
                str(messages.fileno()),
                "--sockets-fd",
                str(sockets.fileno()),
                "--spool-dir",
                str(spool_dir),
                pass_fds=(messages.fileno(), sockets.fileno()),
                env=MEMORY_SETTINGS | os.environ,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                limit=MAX_LOG_LINE_BYTES,
                start_new_session=True,
            )
        except OSError:
            channel.close()
            raise
        finally:
            messages.close()
            sockets.close()
        return cls(slot, process, channel, on_change=on_change, on_events=on_events, on_scan=on_scan, on_tools=on_tools)

    # --- What is known --------------------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether it can be told what to serve."""
        return self.state == "running"

    @property
    def view(self) -> WorkerView:
        """What reconciling needs to know."""
        return self._view

    @property
    def rejected(self) -> str:
        """Why the newest snapshot was refused; empty when it was not."""
        return self._rejected

    def report(self) -> WorkerReport:
        """What judging the proxies needs to know."""
        return WorkerReport(
            live=self.state in ("running", "draining"),
            listeners=dict(self._listeners),
            version=self._version,
        )

    def server_report(self, proxy_id: str) -> ServerReport | None:
        """How the server that this worker starts for a proxy stands."""
        return self._servers.get(proxy_id)

    def status(self) -> WorkerStatus:
        """What an operator wants to know."""
        beat = self._heartbeat
        return WorkerStatus(
            slot=self.slot,
            pid=self.pid,
            state=self.state,
            started_at=self._started_at,
            heartbeat_at=beat.at if beat else None,
            version=self._release,
            snapshot_version=self._version,
            connections=beat.connections if beat else 0,
            in_flight=beat.in_flight if beat else 0,
            loop_lag_ms=beat.loop_lag_ms if beat else 0.0,
            rss_bytes=beat.rss_bytes if beat else 0,
            unacknowledged_events=beat.unacknowledged_events if beat else 0,
        )

    # --- What it is told ------------------------------------------------------------------------------------------

    async def pass_socket(self, binding: Binding, listening: socket.socket, version: int) -> None:
        """Hand over a listening socket for the snapshot of that version; raises ChannelClosed or TimeoutError."""
        address = binding.address
        description = ListenerSocket(binding.proxy_id, address.host, address.port, version)
        async with asyncio.timeout(ANSWER_TIMEOUT_SECONDS):
            await self._channel.pass_socket(description, listening)
        self._view = msgspec.structs.replace(self._view, held=self._view.held | {binding})

    async def publish(self, snapshot: Snapshot, served: frozenset[Binding], revision: int) -> None:
        """Send a snapshot and wait for the answer; raises ChannelClosed or TimeoutError.

        After a rejection, `rejected` says why and the snapshot before stays in force.
        """
        self._answer = asyncio.get_running_loop().create_future()
        self._awaited_version = snapshot.version
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_SECONDS):
                await self._channel.send(SetSnapshot(snapshot))
                await self._answer
        finally:
            self._answer = None
        held = self._view.held if self._rejected else self._view.held & served
        self._view = WorkerView(held=held, served=served, revision=revision)

    async def acknowledge(self, sequence: int) -> None:
        """Tell the worker that this batch is committed; a worker that is gone need not know."""
        try:
            await self._channel.send(AckEvents(sequence))
        except ChannelClosed:
            logger.debug("worker %d was gone before batch %d was acknowledged", self.pid, sequence)

    async def order(self, message: ScanOrder | ToolOrder) -> bool:
        """Tell it something that it need not confirm; False when it is gone."""
        try:
            await self._channel.send(message)
        except ChannelClosed:
            logger.debug("worker %d was gone before it could be told of %s", self.pid, type(message).__name__)
            return False
        return True

    async def drain(self, deadline_seconds: float) -> None:
        """Tell it to finish and to end."""
        if self.state == "ended":
            return
        self.state = "draining"
        try:
            await self._channel.send(Drain(deadline_seconds))
        except ChannelClosed:
            logger.debug("worker %d was gone before it could be drained", self.pid)

    def kill(self) -> None:
        """End it at once (SIGKILL)."""
        if self._process.returncode is None:
            self._process.kill()

    # --- Its life -------------------------------------------------------------------------------------------------

    async def run(self) -> int:
        """Follow the worker until its process is gone and everything that it said is read; returns its exit status."""
        log = asyncio.create_task(self._relay_log())
        watch = asyncio.create_task(self._watch())
        try:
            await self._listen()
            self._end()
            async with asyncio.timeout(EXIT_TIMEOUT_SECONDS):
                await self._process.wait()
        except TimeoutError:
            logger.error("worker %d does not end and is killed", self.pid)
        finally:
            watch.cancel()
            self._end()
            self.kill()
            status = await self._process.wait()
            await log
        return status

    def _end(self) -> None:
        self.state = "ended"
        self._channel.close()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ChannelClosed("the worker is gone"))

    async def _listen(self) -> None:
        while True:
            try:
                message = await self._channel.receive()
            except ChannelClosed as closed:
                logger.info("worker %d: %s", self.pid, closed)
                return
            self._quiet_ticks = 0
            if not self._understand(message):
                return

    def _understand(self, message: ToConsole) -> bool:
        """Take in a message; False when the worker cannot be worked with."""
        match message:
            case Events():
                self._on_events(self, message)
            case ScanProgress() | ScanFinished():
                self._on_scan(message)
            case Heartbeat():
                self._heartbeat = message
            case Observed() | HeldCall() | HoldEnded():
                self._on_tools(message)
            case Hello():
                if message.contract_version != CONTRACT_VERSION:
                    logger.error(
                        "worker %d speaks version %d of the contract, this console %d: they are of different releases",
                        self.pid,
                        message.contract_version,
                        CONTRACT_VERSION,
                    )
                    return False
                self._release = message.version[:MAX_RELEASE_CHARACTERS]
                self.state = "running"
                self._on_change()
            case ServerReport():
                self._servers[message.proxy_id] = message
            case SnapshotApplied():
                self._version = message.version
                self._listeners = {status.proxy_id: status for status in message.listeners}
                self._servers = {id: report for id, report in self._servers.items() if id in self._listeners}
                self._answered(message.version, "")
                self._on_change()
            case SnapshotRejected():
                self._answered(message.version, message.reason)
                self._on_change()
        return True

    def _answered(self, version: int, rejected: str) -> None:
        """Settle the wait for this version; a repeated report of an older one says nothing about the newest."""
        if version == self._awaited_version:
            self._rejected = rejected
            if self._answer is not None and not self._answer.done():
                self._answer.set_result(None)

    async def _watch(self) -> None:
        """Kill a worker that never greets or falls silent.

        Ticks are counted, not seconds, so that a console that was itself held up does not blame its workers.
        """
        while self._quiet_ticks < MAX_QUIET_TICKS:
            await asyncio.sleep(TICK_SECONDS)
            self._quiet_ticks += 1
        logger.error("worker %d has said nothing for %d s and is killed", self.pid, MAX_QUIET_TICKS)
        self.kill()

    async def _relay_log(self) -> None:
        """Its stderr, line by line, into our log at the level that the line names."""
        stream = self._process.stderr
        assert stream is not None
        level = logging.INFO
        while True:
            try:
                line = await stream.readline()
            except ValueError:
                worker_logger.warning("[%d] (a line beyond %d bytes is left out)", self.pid, MAX_LOG_LINE_BYTES)
                continue
            if not line:
                return
            begun, text = _log_line(line.decode("utf-8", "replace").rstrip())
            level = level if begun is None else begun
            worker_logger.log(level, "[%d] %s", self.pid, text, extra={CONTINUED: begun is None})


def _log_line(line: str) -> tuple[int | None, str]:
    """Level and text of a line; one without a level belongs to the record before (a traceback)."""
    word, _, rest = line.partition(" ")
    level = logging.getLevelNamesMapping().get(word)
    text = line if level is None else rest
    return level, text.translate(_VISIBLE)


_VISIBLE = {code: f"\\x{code:02x}" for code in (*range(0x09), *range(0x0A, 0x20), 0x7F)}
"""Control characters must not reach a terminal or forge log lines."""
