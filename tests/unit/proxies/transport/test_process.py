"""Programs of somebody else: how they start, what they inherit, and that they end."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from proxies.transport.process import Bounds, Child, NotStarted, Patience, describe_exit

IMPATIENT = Patience(close_seconds=0.2, terminate_seconds=0.2)
ECHO = "import sys\nfor line in sys.stdin: print(line.strip(), flush=True)"


async def started(script: str, **options: Any) -> Child:
    return await Child.start([sys.executable, "-c", script], {"PATH": os.environ["PATH"]}, **options)


async def errors_of(child: Child, max_line_bytes: int = 100) -> list[bytes]:
    lines: list[bytes] = []
    await child.read_error_lines(lines.append, max_line_bytes)
    return lines


async def test_P_01_lines_go_in_and_come_out() -> None:
    child = await started(ECHO)
    await child.write(b"one\n")
    await child.write(b"two\n")
    assert [await child.read_line(), await child.read_line()] == [b"one", b"two"]
    assert child.running
    assert await child.stop() == 0
    assert await child.read_line() is None
    with pytest.raises(BrokenPipeError):
        await child.write(b"three\n")


async def test_P_02_standard_error_comes_line_by_line_and_cut() -> None:
    child = await started("import sys; sys.stderr.write('a\\n' + 'b' * 500 + '\\nlast')")
    assert await errors_of(child) == [b"a", b"b" * 100, b"last"]
    await child.stop()


async def test_P_02_a_flood_is_read_in_pauses() -> None:
    child = await started(
        "import sys; sys.stderr.write('x' * 99 + '\\n') ; sys.stderr.write(('y' * 99 + '\\n') * 2000)"
    )
    assert len(await errors_of(child)) == 2001
    await child.stop()


@pytest.mark.parametrize(
    ("script", "status"),
    [
        (ECHO, 0),
        ("import time; print('up', flush=True); time.sleep(60)", -signal.SIGTERM),
        (
            "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)",
            -signal.SIGKILL,
        ),
    ],
)
async def test_P_03_the_end_is_asked_for_then_forced(script: str, status: int) -> None:
    child = await started(script, patience=IMPATIENT)
    await child.write(b"hello\n")
    await child.read_line()
    assert await child.stop() == status
    assert not child.running


async def test_P_03_what_has_left_the_group_ends_too() -> None:
    script = """
import subprocess, sys
apart = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
escaped = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True, **apart)
print(escaped.pid, flush=True)
sys.stdin.read()
"""
    child, other = await started(script), await started(script)
    try:
        escaped, spared = [os.pidfd_open(int(await one.read_line() or b"")) for one in (child, other)]
        await child.stop()
        ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(escaped, ended.set)
        await ended.wait()
        asyncio.get_running_loop().remove_reader(escaped)
        signal.pidfd_send_signal(spared, 0)  # That of another server lives.
    finally:
        await other.stop()
    for descriptor in (escaped, spared):
        os.close(descriptor)


async def test_P_03_a_stop_that_is_cancelled_kills_at_once() -> None:
    child = await started("import time; print('up', flush=True); time.sleep(60)", patience=Patience(close_seconds=60))
    await child.read_line()
    stopping = asyncio.create_task(child.stop())
    await asyncio.sleep(0)
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    assert await child.wait() == -signal.SIGKILL


async def test_P_05_limits_and_privileges_of_a_child() -> None:
    script = (
        "import os, resource; print(resource.getrlimit(resource.RLIMIT_CORE), resource.getrlimit(resource.RLIMIT_NOFILE)[1]);"
        "print([line for line in open('/proc/self/status') if line.startswith('NoNewPrivs')], os.getsid(0) == os.getpid());"
        "print(open('/proc/self/oom_score_adj').read().strip())"
    )
    child = await started(f"import sys; sys.stdin.readline()\n{script}")
    await child.write(b"go\n")
    lines = [await child.read_line() for _ in range(3)]
    await child.stop()
    assert lines[0].startswith(b"(0, 0) ")
    assert int(lines[0].split()[-1]) <= 4096
    assert lines[1] == b"['NoNewPrivs:\\t1\\n'] True"
    assert lines[2] == b"500"


async def test_P_05_no_shell_reads_the_arguments(tmp_path: Path) -> None:
    child = await Child.start(
        [sys.executable, "-c", "import sys; print(sys.argv[1:])", "; touch x", "$(id)", "a b"], {}, str(tmp_path)
    )
    assert await child.read_line() == b"['; touch x', '$(id)', 'a b']"
    await child.stop()
    assert list(tmp_path.iterdir()) == []


async def test_P_03_what_cannot_be_started_is_told_in_words(tmp_path: Path) -> None:
    plain, script = tmp_path / "plain", tmp_path / "script"
    plain.write_text("x")
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    for argv, directory, words in (
        (["no-such-program"], "", "missing or not executable"),
        ([str(plain)], "", "missing or not executable"),
        ([str(script)], "", "program or interpreter is missing"),
        ([sys.executable, "x" * 10_000_000], "", "the system refuses"),
        ([sys.executable], str(tmp_path / "no"), "working directory is missing"),
        ([sys.executable], str(plain), "working directory is missing"),
        ([sys.executable, "a\0b"], "", "holds a NUL"),
    ):
        with pytest.raises(NotStarted, match=words):
            await Child.start(argv, {"PATH": "/usr/bin:/bin"}, directory)


async def test_P_03_a_directory_that_cannot_be_made_is_told_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(NotStarted, match="no directory can be made for it: No such file or directory"):
        await Child.start([sys.executable], {"PATH": "/usr/bin:/bin"})


def test_exits_in_words() -> None:
    assert [describe_exit(status) for status in (0, 3, -9, -200)] == [
        "exit status 0",
        "exit status 3",
        "SIGKILL",
        "signal 200",
    ]


async def test_P_05_a_process_gets_no_more_memory_than_it_may_have() -> None:
    child = await started(
        "try:\n    bytearray(300 * 1024 * 1024)\n    print('got it', flush=True)\n"
        "except MemoryError:\n    print('no memory', flush=True)",
        bounds=Bounds(max_memory_bytes=128 * 1024 * 1024),
    )
    assert await child.read_line() == b"no memory"
    assert await child.stop() == 0


async def test_P_05_a_process_that_has_used_its_time_is_ended() -> None:
    child = await started("while True: pass", bounds=Bounds(max_cpu_seconds=1))
    status = await child.wait()
    assert status == -signal.SIGXCPU
    assert "processor time" in describe_exit(status)
    await child.stop()


async def test_P_05_limits_hold_for_what_a_process_starts() -> None:
    script = "import resource; print(*resource.getrlimit(resource.RLIMIT_CPU), flush=True)"
    nested = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {script!r}])"
    child = await started(nested, bounds=Bounds(max_cpu_seconds=100))
    assert await child.read_line() == b"100 105"
    await child.stop()
