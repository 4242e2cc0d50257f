"""A worker process: it serves what the console tells it to, and ends when the console does.

The console starts it as `ostiary worker` with two inherited sockets (`contract`): messages come and go on one,
listening sockets come on the other. Signals are the console's business: a worker ignores SIGTERM and SIGINT while its
channel is open and is drained by a message. When the channel closes, what the console has not acknowledged goes to the
spool directory, calls in flight get a last moment, and the process exits.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from proxies import off_loop
from proxies.channel import Channel
from proxies.contract import (
    CONTRACT_VERSION,
    AckEvents,
    CancelScan,
    Discover,
    Drain,
    Heartbeat,
    Hello,
    Judged,
    ListenerSocket,
    Release,
    ServerReport,
    SetSnapshot,
    Snapshot,
    SnapshotApplied,
    SnapshotRejected,
    StartScan,
    ToWorker,
    socket_decoder,
)
from proxies.journal import Journal
from proxies.llm.conversations import KEPT_FILES
from proxies.loop_lag import LoopLag
from proxies.scan.orders import Scans
from proxies.serving import Serving, SnapshotUnusable
from proxies.spool import SpoolFile

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 2.0
ORPHAN_DRAIN_SECONDS = 1.0
"""What calls in flight get when the console is gone."""
LAST_EVENTS_SECONDS = 2.0
"""How long a drained worker waits for its last events to be committed before it spools them."""
MAX_DATAGRAM_BYTES = 4096
MAX_QUEUED_MESSAGES = 1024
CONVERSATIONS = "conversations"
"""The directory, beside the spool, of what was masked for responses that a client may continue."""
GC_YOUNG_OBJECTS = 5000
"""New containers between two looks of the garbage collector: a few megabytes at the most."""

Ordered = SetSnapshot | Drain | Discover | Judged
"""Messages that mean what they say only after those before them."""


def run(channel_fd: int, sockets_fd: int, spool_dir: Path, version: str = "") -> int:
    """Be a worker until the console says otherwise or disappears; returns the exit status."""
    _log_to_stderr()
    _raise_file_limit()
    channel = socket.socket(fileno=channel_fd)
    sockets = socket.socket(fileno=sockets_fd)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(Worker.serve(channel, sockets, spool_dir, version))
    return 0


class Worker:
    """The life of a worker: greet, apply what comes, beat, drain, leave."""

    def __init__(self, channel: socket.socket, sockets: socket.socket, spool_dir: Path, version: str) -> None:
        self._sockets = sockets
        self._version = version
        self._messages: asyncio.Queue[Ordered | None] = asyncio.Queue(MAX_QUEUED_MESSAGES)
        self._channel = Channel(
            channel, on_message=self._receive, on_writable=self._may_write_again, on_closed=self._console_left
        )
        self._journal = Journal(self._channel, SpoolFile(spool_dir))
        KEPT_FILES.open(spool_dir.parent / CONVERSATIONS)
        self._serving = Serving(self._journal, self._report, self._channel.send)
        self._scans = Scans(self._channel.send)
        self._passed: list[tuple[ListenerSocket, socket.socket]] = []
        self._loop_lag = LoopLag()
        self._frozen = False
        self._told: dict[str, ServerReport] = {}
        self._console_gone = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Worker {os.getpid()} {self._serving!r} {self._channel!r}>"

    @classmethod
    async def serve(cls, channel: socket.socket, sockets: socket.socket, spool_dir: Path, version: str) -> None:
        """Run a worker on these two sockets to its end."""
        worker = cls(channel, sockets, spool_dir, version)
        await worker.run()

    async def run(self) -> None:
        """Serve until a Drain is done or the channel closes."""
        loop = asyncio.get_running_loop()
        _handle_signals(loop, self._signalled)
        self._sockets.setblocking(False)
        loop.add_reader(self._sockets, self._sockets_readable)
        self._channel.send(Hello(contract_version=CONTRACT_VERSION, version=self._version, pid=os.getpid()))
        heart = loop.create_task(self._beat())
        try:
            await self._obey()
        finally:
            heart.cancel()
            await self._scans.stop()
            self._loop_lag.stop()
            logger.info("the event loop was kept from other work for at most %.0f ms", self._loop_lag.busiest_ms)
            loop.remove_reader(self._sockets)
            self._sockets.close()
            self._journal.close()
            self._channel.close()

    # --- What the console says ------------------------------------------------------------------------------------

    def _receive(self, message: ToWorker) -> None:
        if isinstance(message, AckEvents):
            self._journal.acknowledge(message.sequence)
        elif isinstance(message, Release):
            self._serving.release(message)
        elif isinstance(message, StartScan | CancelScan):
            self._scans.obey(message)
        else:
            self._enqueue(message)

    def _enqueue(self, message: Ordered | None) -> None:
        try:
            self._messages.put_nowait(message)
        except asyncio.QueueFull:
            self._channel.close("the console sends faster than snapshots can be applied")

    async def _obey(self) -> None:
        """Handle messages in their order until the end."""
        while True:
            message = await self._messages.get()
            if self._channel.closed:
                await self._leave_alone()
                return
            match message:
                case SetSnapshot(snapshot):
                    await self._apply(snapshot)
                case Drain(deadline_seconds):
                    await self._drain(deadline_seconds)
                    return
                case Discover():
                    self._serving.discover(message)
                case Judged(id):
                    self._serving.judged(id)
                case None:
                    await self._take_sockets()

    async def _apply(self, snapshot: Snapshot) -> None:
        # The console passes the sockets of a snapshot before the snapshot, on the other channel: they are here now.
        await self._take_sockets()
        try:
            await self._serving.apply(snapshot)
        except SnapshotUnusable as error:
            logger.error("snapshot %d is refused: %s", snapshot.version, error)
            self._channel.send(SnapshotRejected(version=snapshot.version, reason=str(error)))
            return
        except Exception as error:
            logger.exception("snapshot %d cannot be applied", snapshot.version)
            reason = f"The worker failed on it ({type(error).__name__})."
            self._channel.send(SnapshotRejected(version=snapshot.version, reason=reason))
            return
        self._report()
        if not self._frozen:
            # Code and the first rules live as long as the process: the collector need not look at them again.
            gc.collect()
            gc.freeze()
            # A call leaves no objects that refer to each other, so there is seldom anything to collect.
            gc.set_threshold(GC_YOUNG_OBJECTS)
            self._frozen = True

    def _report(self) -> None:
        self._channel.send(SnapshotApplied(version=self._serving.version, listeners=self._serving.statuses()))

    async def _drain(self, deadline_seconds: float) -> None:
        """Finish and deliver. When the console dies meanwhile, calls in flight get no more than an orphan's moment."""
        loop = asyncio.get_running_loop()
        delivered = loop.create_task(self._deliver(deadline_seconds))
        gone = loop.create_task(self._console_gone.wait())
        await asyncio.wait({delivered, gone}, return_when=asyncio.FIRST_COMPLETED)
        gone.cancel()
        if not delivered.done():
            await self._leave_alone()
            delivered.cancel()

    async def _deliver(self, deadline_seconds: float) -> None:
        """End the calls, then wait until their events are committed; what is left is spooled by `run`."""
        await self._serving.drain(deadline_seconds)
        self._journal.flush()
        try:
            async with asyncio.timeout(LAST_EVENTS_SECONDS):
                await self._journal.settled()
        except TimeoutError:
            logger.warning("%d calls were not acknowledged in time and are spooled", self._journal.unacknowledged)

    async def _leave_alone(self) -> None:
        """The console is gone: secure what it does not have, then give calls in flight a last moment."""
        self._journal.close()
        await self._serving.drain(ORPHAN_DRAIN_SECONDS)

    # --- Sockets --------------------------------------------------------------------------------------------------

    def _sockets_readable(self) -> None:
        if self._receive_sockets():
            self._enqueue(None)

    async def _take_sockets(self) -> None:
        self._receive_sockets()
        passed, self._passed = self._passed, []
        await self._serving.take_sockets(passed)

    def _receive_sockets(self) -> bool:
        """Read every socket that has been passed; True when there was one. An unusable one is logged and left out."""
        received = False
        while True:
            try:
                data, descriptors, flags, _ = socket.recv_fds(
                    self._sockets, MAX_DATAGRAM_BYTES, 1, socket.MSG_CMSG_CLOEXEC
                )
            except (BlockingIOError, InterruptedError):
                return received
            except OSError:
                data, descriptors, flags = b"", [], 0
            if not data:
                # The console closed it; the message channel tells the same and decides.
                asyncio.get_running_loop().remove_reader(self._sockets)
                return received
            received = True
            self._keep_socket(data, descriptors, flags)

    def _keep_socket(self, data: bytes, descriptors: list[int], flags: int) -> None:
        try:
            description = socket_decoder.decode(data)
        except msgspec.MsgspecError as error:
            logger.error("a socket came with a description that the contract does not know: %s", error)
            for descriptor in descriptors:
                os.close(descriptor)
            return
        if not descriptors or flags & socket.MSG_CTRUNC:
            logger.error("the socket of proxy %s did not arrive: too many open files", description.proxy_id)
            return
        self._passed.append((description, socket.socket(fileno=descriptors[0])))

    # --- Signs of life --------------------------------------------------------------------------------------------

    def _may_write_again(self) -> None:
        self._journal.flush()

    def _console_left(self, reason: str) -> None:
        logger.warning("the channel is closed: %s", reason)
        self._console_gone.set()
        while not self._messages.empty():
            self._messages.get_nowait()
        self._messages.put_nowait(None)

    def _signalled(self, number: signal.Signals) -> None:
        if not self._channel.closed:
            logger.info("%s ignored: the console decides when a worker ends", number.name)
            return
        self._journal.close()
        os._exit(0)

    async def _beat(self) -> None:
        while True:
            self._channel.send(
                Heartbeat(
                    at=time.time(),
                    connections=self._serving.connections,
                    in_flight=self._serving.in_flight,
                    loop_lag_ms=self._loop_lag.take_ms(),
                    rss_bytes=_resident_bytes(),
                    unacknowledged_events=self._journal.unacknowledged,
                )
            )
            self._report_servers()
            if KEPT_FILES.is_untidy:
                await off_loop.away(KEPT_FILES.tidy)
            await asyncio.sleep(HEARTBEAT_SECONDS)

    def _report_servers(self) -> None:
        """Tell how the servers stand that this worker starts, where that has changed."""
        reports = {report.proxy_id: report for report in self._serving.server_reports()}
        for proxy_id, report in reports.items():
            if self._told.get(proxy_id) != report:
                self._channel.send(report)
        self._told = reports


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _handle_signals(loop: asyncio.AbstractEventLoop, on_signal: Callable[[signal.Signals], None]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _log_to_stderr() -> None:
    """One line a record; the console reads them from a pipe. A full or closed pipe loses lines, never time."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.raiseExceptions = False
    if stat.S_ISFIFO(os.fstat(sys.stderr.fileno()).st_mode):
        os.set_blocking(sys.stderr.fileno(), False)


def _raise_file_limit() -> None:
    """A connection costs two descriptors: use as many as the system lets us."""
    try:
        import resource
    except ImportError:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _resident_bytes() -> int:
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
