"""Programs that run as another user than the gateway (P-05). Most of it needs a superuser, as continuous integration has."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from proxies.contract import StdioServer
from proxies.mcp.upstreams.stdio import StdioServers, start_server
from proxies.transport.errors import UpstreamUnreachable
from proxies.transport.identity import Identity, NoSuchIdentity, identity_of
from proxies.transport.process import MAX_TASKS, Child, NotStarted

as_superuser = pytest.mark.skipif(os.geteuid() != 0, reason="only the superuser starts programs as somebody else")
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "HOME": "/root", "USER": "root", "LOGNAME": "root"}


async def lines_of(script: str, **options: Any) -> list[str]:
    child = await Child.start(["sh", "-c", script], ENVIRONMENT, **options)
    try:
        lines = []
        while (line := await child.read_line()) is not None:
            lines.append(line.decode())
        return lines
    finally:
        await child.stop()


@as_superuser
async def test_P_05_a_program_runs_with_the_rights_of_its_user_and_no_others(tmp_path: Path) -> None:
    secret = tmp_path / "master.key"
    secret.write_text("secret")
    secret.chmod(0o600)
    tmp_path.chmod(0o755)
    nobody = identity_of("nobody")
    script = f"""
        id -u; id -g; id -G; awk '/^Max processes/ {{print $3, $4}}' /proc/self/limits; pwd
        touch here && echo own
        cat {secret} 2>/dev/null || echo refused
        grep -E '^(CapEff|CapPrm|CapInh|CapAmb|NoNewPrivs)' /proc/self/status | tr -d '\\t'
    """
    uid, gid, groups, tasks, directory, *rest = await lines_of(script, identity=nobody)
    assert (int(uid), int(gid)) == (nobody.uid, nobody.gid)
    assert set(map(int, groups.split())) == {nobody.gid, *nobody.groups}
    assert set(map(int, tasks.split())) == {MAX_TASKS}
    assert rest[:2] == ["own", "refused"]
    none = "0" * 16
    assert set(rest[2:]) == {*(f"Cap{one}:{none}" for one in ("Inh", "Prm", "Eff", "Amb")), "NoNewPrivs:1"}
    assert not Path(directory).exists(), "Its directory is removed afterwards."


@as_superuser
async def test_P_05_another_user_changes_nothing_about_the_end_of_a_program() -> None:
    child = await Child.start(["sleep", "60"], ENVIRONMENT, identity=identity_of("nobody"))
    assert Path(f"/proc/{child.pid}").stat().st_uid == identity_of("nobody").uid
    child.kill()
    assert await child.wait() == -signal.SIGKILL
    await child.stop()


@as_superuser
async def test_P_05_a_program_of_another_user_dies_with_its_worker() -> None:
    script = f"""
import asyncio, sys
from proxies.transport.identity import identity_of
from proxies.transport.process import Child

async def main():
    child = await Child.start(["sleep", "600"], {ENVIRONMENT!r}, "/", identity=identity_of("nobody"))
    print(child.pid, flush=True)
    await child.wait()

asyncio.run(main())
"""
    worker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", script),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[4],
    )
    assert worker.stdout is not None
    pid = int(await worker.stdout.readline())
    watched = os.pidfd_open(pid)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(watched, ended.set)
    worker.kill()
    await worker.wait()
    await ended.wait()
    asyncio.get_running_loop().remove_reader(watched)
    os.close(watched)


@as_superuser
async def test_P_05_the_environment_is_that_of_the_user_unless_it_was_configured() -> None:
    server = StdioServer(("sh", "-c", "echo $HOME $USER $LOGNAME"), {"LOGNAME": "me"}, run_as="nobody")
    child = await start_server(server, {**ENVIRONMENT, **server.environment}, max_line_bytes=100)
    home = identity_of("nobody").home
    assert await child.read_line() == f"{home} nobody me".encode()
    await child.stop()


@as_superuser
async def test_P_05_a_program_that_cannot_be_given_its_user_does_not_start_at_all() -> None:
    impossible = Identity("odd", 2**32 - 1, 2**32 - 1, (), "/")
    with pytest.raises(NotStarted):
        await Child.start(["true"], ENVIRONMENT, identity=impossible)


@pytest.mark.parametrize(
    ("name", "own_uid", "reason"),
    [
        ("nobody", 1000, "only a gateway of the superuser"),
        ("no-such-user", 0, "no user of the name"),
        ("root", 0, "is the superuser"),
    ],
)
def test_P_05_who_cannot_become_that_user_starts_nothing(name: str, own_uid: int, reason: str) -> None:
    with pytest.raises(NoSuchIdentity, match=reason):
        identity_of(name, own_uid=own_uid)


async def test_P_05_a_server_of_an_unknown_user_is_not_started_and_says_why() -> None:
    servers = StdioServers("files", StdioServer(("true",), run_as="no-such-user"))
    with pytest.raises(UpstreamUnreachable, match=r"cannot be started: .*run as") as refused:
        await servers.connect()
    assert refused.value.code == "upstream_not_started"
