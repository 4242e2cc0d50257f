"""A program of somebody else's as a child of this worker: started apart from us, read line by line, ended for good.

It leads a session and process group of its own, inherits nothing but its three streams, may not gain privileges, and
dies with the worker, however the worker ends (P-03, P-05).
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import resource
import secrets
import shutil
import signal
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from subprocess import SubprocessError
from typing import Final

import msgspec

from proxies.child_environment import DIRECTORY_PREFIX, SERVER_VARIABLE
from proxies.marked_processes import end_marked
from proxies.transport.identity import Identity
from proxies.transport.lines import LineSplitter, LineTooLong

logger = logging.getLogger(__name__)

READ_BYTES: Final = 64 * 1024
MUCH_BYTES: Final = 16 * 1024
PAUSE_SECONDS: Final = 0.05
"""A program that writes much to its standard error is read no faster than about 1 MiB a second."""
MAX_OPEN_FILES: Final = 4096
MAX_TASKS: Final = 4096
"""Processes and threads of a user that programs run as, all of them together; other users have further programs."""
GRACE_CPU_SECONDS: Final = 5
OOM_SCORE: Final = 500
"""When memory runs out the system ends the child before the worker."""

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38
_SYS_CLOSE_RANGE: Final = 436
_CLOSE_RANGE_CLOEXEC: Final = 4
_FIRST_OTHER_DESCRIPTOR: Final = 3
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class Patience(msgspec.Struct, frozen=True):
    """How long a program may take to end by itself: after the end of its input, and after SIGTERM."""

    close_seconds: float = 2.0
    terminate_seconds: float = 2.0


class Bounds(msgspec.Struct, frozen=True):
    """What one process may use, each of its children for itself; 0 for no limit."""

    max_memory_bytes: int = 0
    """Memory that it allocates, which is less than the addresses that some runtimes reserve (Linux)."""
    max_cpu_seconds: int = 0


class NotStarted(Exception):
    """The program cannot be started; the message says why in words that a client may read."""


class Child:
    """One running program. Its output and its standard error are each read by one task."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        own_directory: str,
        mark: str,
        patience: Patience,
        max_line_bytes: int,
    ) -> None:
        self.pid = process.pid
        self._mark = mark
        self._process = process
        self._own_directory = own_directory
        self._patience = patience
        self._splitter = LineSplitter(max_line_bytes)
        self._lines: deque[bytes] = deque()

    def __repr__(self) -> str:
        return f"<Child {self.pid} {self._process.returncode}>"

    @classmethod
    async def start(
        cls,
        argv: Sequence[str],
        environment: Mapping[str, str],
        directory: str = "",
        *,
        patience: Patience | None = None,
        bounds: Bounds | None = None,
        identity: Identity | None = None,
        max_line_bytes: int = 10 * 1024 * 1024,
    ) -> Child:
        """Start a program, without a shell; raises NotStarted.

        The name of the program is looked up in the `PATH` of its own environment. Without a `directory` it gets an empty
        one of its own, which is removed after its end. Without an `identity` it runs as whoever we are.
        """
        if any("\0" in text for text in (*argv, *environment, *environment.values(), directory)):
            raise NotStarted("its command holds a NUL")  # uvloop would cut it there.
        program = shutil.which(argv[0], path=environment.get("PATH", ""))
        if program is None:
            raise NotStarted("its program is missing or not executable")
        mark = secrets.token_hex(8)
        try:
            own_directory = "" if directory else await asyncio.to_thread(_make_directory, identity)
        except OSError as error:
            raise NotStarted(f"no directory can be made for it: {error.strerror}") from error
        try:
            process = await asyncio.create_subprocess_exec(
                program,
                *argv[1:],
                env={**environment, SERVER_VARIABLE: mark},
                cwd=directory or own_directory,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
                preexec_fn=_confine(os.getpid(), bounds or Bounds(), identity),
                limit=READ_BYTES,
            )
        except (OSError, ValueError, SubprocessError) as error:
            await asyncio.to_thread(_remove, own_directory)
            raise NotStarted(_reason(error, directory)) from error
        _prefer_for_oom(process.pid)
        return cls(process, own_directory, mark, patience or Patience(), max_line_bytes)

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.returncode is None

    async def write(self, data: bytes) -> None:
        """Give it a line; waits while it does not read. Raises ConnectionError when it does not listen any more."""
        stdin = self._process.stdin
        assert stdin is not None
        if stdin.is_closing() or not self.running:
            raise BrokenPipeError("the program has ended")
        stdin.write(data)
        await stdin.drain()

    async def read_line(self) -> bytes | None:
        """The next line of its output that is not empty, None at the end; raises LineTooLong."""
        stream = self._process.stdout
        assert stream is not None
        while not self._lines:
            data = await stream.read(READ_BYTES)
            if not data:
                return None
            self._lines.extend(self._splitter.feed(data))
        return self._lines.popleft()

    async def read_error_lines(self, take: Callable[[bytes], None], max_line_bytes: int) -> None:
        """Give every line of its standard error to `take`; a long one is cut."""
        stream = self._process.stderr
        assert stream is not None
        splitter = LineSplitter(max_line_bytes, cut=True)
        with suppress(LineTooLong):
            while data := await stream.read(READ_BYTES):
                for line in splitter.feed(data):
                    take(line)
                if len(data) >= MUCH_BYTES:
                    await asyncio.sleep(PAUSE_SECONDS)
            for line in splitter.close():
                take(line)

    async def wait(self) -> int:
        """Its exit status, negative for a signal."""
        return await self._process.wait()

    async def stop(self) -> int:
        """End it: close its input, wait, SIGTERM, wait, SIGKILL, the signals to the whole group (P-03). When the caller
        is cancelled the group is killed at once."""
        try:
            stdin = self._process.stdin
            if stdin is not None:
                stdin.close()
            for seconds, number in (
                (self._patience.close_seconds, signal.SIGTERM),
                (self._patience.terminate_seconds, signal.SIGKILL),
            ):
                with suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        await self._process.wait()
                    break
                self._signal(number)
            # Whatever it has started in its group ends with it.
            self._signal(signal.SIGKILL)
            return await self._process.wait()
        finally:
            self._signal(signal.SIGKILL)
            await asyncio.shield(asyncio.to_thread(self._clear_up))

    def kill(self) -> None:
        """SIGKILL to the whole group."""
        self._signal(signal.SIGKILL)

    def _clear_up(self) -> None:
        """End what it has started outside its group, and remove its directory."""
        if count := end_marked(SERVER_VARIABLE, self._mark):
            logger.warning("server process %d left %d processes behind; they are killed", self.pid, count)
        _remove(self._own_directory)

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


def describe_exit(status: int) -> str:
    """An exit status in words."""
    if status >= 0:
        return f"exit status {status}"
    if -status == signal.SIGXCPU:
        return "SIGXCPU: it has used the processor time that it may use"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"


def _confine(parent_pid: int, bounds: Bounds, identity: Identity | None = None) -> Callable[[], None]:
    """What the child does to itself between fork and exec; it allocates little and takes no lock.

    Limits that were set from outside, after the exec, would come too late for what it has started by then.
    """
    limits = [(resource.RLIMIT_CORE, 0, 0)]
    if bounds.max_memory_bytes:
        limits.append((resource.RLIMIT_DATA, *_within(resource.RLIMIT_DATA, bounds.max_memory_bytes, 0)))
    if bounds.max_cpu_seconds:
        # A program that ignores SIGXCPU gets SIGKILL a little later.
        limits.append((resource.RLIMIT_CPU, *_within(resource.RLIMIT_CPU, bounds.max_cpu_seconds, GRACE_CPU_SECONDS)))
    _, hard_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = MAX_OPEN_FILES if hard_files == resource.RLIM_INFINITY else min(MAX_OPEN_FILES, hard_files)
    limits.append((resource.RLIMIT_NOFILE, files, files))
    if identity is not None:
        # Only where the user is not ours: the limit counts everything that a user runs.
        limits.append((resource.RLIMIT_NPROC, *_within(resource.RLIMIT_NPROC, MAX_TASKS, 0)))

    def confine() -> None:
        _keep_no_descriptors(files)
        for which, soft, hard in limits:
            resource.setrlimit(which, (soft, hard))
        if identity is not None:
            os.setgroups(identity.groups)
            os.setgid(identity.gid)
            os.setuid(identity.uid)
        if _libc is not None:
            # Another user takes the signal back, hence only now.
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
            if os.getppid() != parent_pid:
                os._exit(1)  # The worker died in between: nobody would send the signal any more.

    return confine


def _within(which: int, wanted: int, grace: int) -> tuple[int, int]:
    """Soft and hard limit, no higher than our own hard one, which nobody may raise."""
    _, ours = resource.getrlimit(which)
    highest = wanted + grace if ours == resource.RLIM_INFINITY else min(wanted + grace, ours)
    return min(wanted, highest), highest


def _keep_no_descriptors(limit: int) -> None:
    """Have exec close everything but the three streams; uvloop, unlike asyncio, leaves that to the descriptors."""
    if (
        _libc is not None
        and _libc.syscall(_SYS_CLOSE_RANGE, _FIRST_OTHER_DESCRIPTOR, 0x7FFFFFFF, _CLOSE_RANGE_CLOEXEC) == 0
    ):
        return
    for descriptor in range(_FIRST_OTHER_DESCRIPTOR, limit):
        with suppress(OSError):
            os.set_inheritable(descriptor, False)


def _prefer_for_oom(pid: int) -> None:
    with suppress(OSError):
        Path(f"/proc/{pid}/oom_score_adj").write_text(str(OOM_SCORE))


def _make_directory(identity: Identity | None) -> str:
    directory = tempfile.mkdtemp(prefix=f"{DIRECTORY_PREFIX}{os.getpid()}-")
    if identity is not None:
        try:
            os.chown(directory, identity.uid, identity.gid)
        except OSError:
            _remove(directory)
            raise
    return directory


def _remove(directory: str) -> None:
    if directory:
        shutil.rmtree(directory, ignore_errors=True)


def _reason(error: OSError | ValueError | SubprocessError, directory: str) -> str:
    if isinstance(error, SubprocessError):
        return "the system refuses its user or its limits"
    if isinstance(error, PermissionError):
        return "its program may not be executed"
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "its working directory is missing" if directory else "its program or interpreter is missing"
    return f"the system refuses ({(error.strerror if isinstance(error, OSError) else None) or type(error).__name__})"
