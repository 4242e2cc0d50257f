"""A console for tests: `console_app` in this process without workers, `ConsoleProcess` as the real program."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
from litestar import Litestar
from litestar.testing import AsyncTestClient, TestClient
from litestar.types import ASGIApp

from app.application import assemble, build_state
from app.features import FleetFactory
from app.http.headers import OuterLayer
from app.paths import DataDirectory
from app.policies.library import PolicyLibrary
from app.security import passwords
from app.settings import Settings
from app.startup import prepare
from tests.support.made_once import made_once, shipped_library
from tests.support.measured import measuring_environment

ROOT = Path(__file__).resolve().parents[2]
PORT = 8080
BASE_URL = f"http://127.0.0.1:{PORT}"
PASSWORD = "correct horse battery staple 42"
START_SECONDS = 20
MAX_STALL_MS = 100
"""Processor time that a worker's loop may spend on one thing while others wait (LIM-15): with any real console."""
STALL = re.compile(rb"the event loop was kept from other work for at most (\d+) ms")


class Console:
    """A running in-process console: the app, a client without credentials, and headers of the administrator."""

    def __init__(self, app: Litestar, client: AsyncTestClient[Litestar], one_time_password: str) -> None:
        self.app = app
        self.client = client
        self.one_time_password = one_time_password
        self.admin: dict[str, str] = {}

    async def log_in(self, password: str, username: str = "admin") -> dict[str, str]:
        """Authorization header of a fresh session."""
        answer = await self.client.post("/api/v1/auth/login", json={"username": username, "password": password})
        assert answer.status_code == 200, answer.text
        return {"Authorization": f"Bearer {answer.json()['data']['token']}"}

    async def create_person(self, username: str, role: str) -> dict[str, str]:
        """Authorization header of a new person who has already changed the one-time password."""
        answer = await self.client.post("/api/v1/users", json={"username": username, "role": role}, headers=self.admin)
        assert answer.status_code == 201, answer.text
        one_time = answer.json()["data"]["one_time_password"]
        return await self.change_password(await self.log_in(one_time, username), one_time, f"{PASSWORD} too")

    async def change_password(self, headers: dict[str, str], current: str, new: str) -> dict[str, str]:
        """Authorization header of the session that follows a password change."""
        body = {"current_password": current, "new_password": new}
        answer = await self.client.post("/api/v1/auth/password", json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        return {"Authorization": f"Bearer {answer.json()['data']['token']}"}


_IDLE_APPS: dict[int, list[tuple[Litestar, ASGIApp]]] = defaultdict(list)
"""Assembled routes that no console uses at present, with their inner handler, by the size of request they take."""


@contextmanager
def application(
    directory: Path,
    data_from: Path | None = None,
    make_fleet: FleetFactory | None = None,
    library: PolicyLibrary | None = None,
    **settings: Any,
) -> Iterator[Litestar]:
    """The application on a data directory inside `directory`, not yet running.

    Its parts are new. Its routes may have served another console before: to assemble them takes half a second.
    """
    if data_from is not None:
        shutil.copytree(data_from, directory / "data")
    if library is None:  # The shipped rules, which a console compiles ahead: seconds of processor time.
        settings.setdefault("cache_dir", Path(os.environ["OSTIARY_CACHE_DIR"]))
    wanted = Settings(
        data_dir=directory / "data", admin_password_file=directory / "admin-password", port=PORT, **settings
    )
    DataDirectory(wanted.data_dir).create()
    _, keys = prepare(wanted)
    # Two full-strength hashes a test would be most of the suite's time; test_passwords.py checks the real strength.
    with made_once(), mock.patch.object(passwords, "MEMORY_KIB", 256), mock.patch.object(passwords, "PASSES", 1):
        state = build_state(wanted, keys, make_fleet, library or shipped_library())
    idle = _IDLE_APPS[wanted.max_request_bytes]
    if idle:
        app, inner = idle.pop()
        app.state.update(state.dict())
        app.asgi_handler = OuterLayer(inner, state.perimeter, is_https=wanted.is_https)
    else:
        app = assemble(state)
        inner = app.asgi_handler._app  # type: ignore[attr-defined]
    yield app
    idle.append((app, inner))


@contextmanager
def shared_console(directory: Path, data_from: Path) -> Iterator[tuple[TestClient[Litestar], dict[str, str]]]:
    """A client and the administrator's headers, for tests that change nothing."""
    with application(directory, data_from) as app, TestClient(app, base_url=BASE_URL) as client:
        answer = client.post("/api/v1/auth/login", json={"username": "admin", "password": PASSWORD})
        yield client, {"Authorization": f"Bearer {answer.json()['data']['token']}"}


@asynccontextmanager
async def console_app(
    directory: Path,
    *,
    password_changed: bool = True,
    data_from: Path | None = None,
    make_fleet: FleetFactory | None = None,
    library: PolicyLibrary | None = None,
    **settings: Any,
) -> AsyncIterator[Console]:
    """A console on a fresh data directory, or on a copy of `data_from` (made by `used_data_directory`).

    `console.admin` holds working headers unless the password is to stay unchanged.
    """
    with application(directory, data_from, make_fleet, library, **settings) as app:
        async with AsyncTestClient(app, base_url=BASE_URL) as client:
            password_file = directory / "admin-password"
            one_time_password = password_file.read_text().strip() if data_from is None else ""
            console = Console(app, client, one_time_password)
            if data_from is not None and password_changed:
                console.admin = await console.log_in(PASSWORD)
            elif password_changed:
                first = await console.log_in(one_time_password)
                console.admin = await console.change_password(first, one_time_password, PASSWORD)
            yield console


async def used_data_directory(directory: Path) -> Path:
    """A data directory whose administrator has the password PASSWORD: to be copied, as making one takes a second."""
    async with console_app(directory):
        pass
    return directory / "data"


def _handed_on(measured: bool) -> dict[str, str]:
    """What tells a process where compiled rules are and that it is measured; nothing else of this environment goes on."""
    return {"OSTIARY_CACHE_DIR": os.environ["OSTIARY_CACHE_DIR"], **(measuring_environment() if measured else {})}


class ConsoleProcess:
    """`python -m app serve` on a free port; stop it with `stop`, or leave the `async with` block.

    It starts for the first time, or on a copy of the data directory `data_from`, where the administrator has PASSWORD.
    Coverage is counted in it unless it is not `measured`, which makes it quicker.
    """

    def __init__(
        self,
        directory: Path,
        *flags: str,
        environ: dict[str, str] | None = None,
        data_from: Path | None = None,
        measured: bool = True,
    ) -> None:
        self.data_dir = directory / "data"
        if data_from is not None:
            shutil.copytree(data_from, self.data_dir)
        self.password_file = directory / "admin-password"
        self.flags = flags
        self.environ = _handed_on(measured) | (environ or {})
        self.url = ""
        self.output = b""
        self._process: asyncio.subprocess.Process | None = None

    @property
    def process(self) -> asyncio.subprocess.Process:
        """The running process."""
        assert self._process is not None
        return self._process

    async def start(self) -> None:
        """Start and wait until the console answers; raises AssertionError with its output when it does not come up."""
        flags = self.flags or ("--admin-password-file", str(self.password_file))
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "app", "serve", "--port", "0", "--data-dir", str(self.data_dir), *flags),
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **self.environ},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        assert self._process.stdout is not None
        async with asyncio.timeout(START_SECONDS):
            while not self.url:
                line = await self._process.stdout.readline()
                self.output += line
                assert line, f"the console did not start:\n{self.output.decode()}"
                if b"Listening on " in line:
                    self.url = line.decode().rpartition("Listening on ")[2].strip()

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, collect the rest of the output and return the exit code."""
        if self.process.returncode is None:
            self.process.send_signal(number)
        rest, _ = await self.process.communicate()
        self.output += rest or b""
        code = self.process.returncode
        assert code is not None
        return code

    async def __aenter__(self) -> ConsoleProcess:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()
        if exc_info[0] is None:
            assert max(self.longest_stalls_ms(), default=0) <= MAX_STALL_MS, (
                "a worker kept its event loop from other work"
            )

    def longest_stalls_ms(self) -> list[int]:
        """What the workers of this console said at their end about their event loops (LIM-15)."""
        return [int(found) for found in STALL.findall(self.output)]

    def client(self, **options: Any) -> httpx.AsyncClient:
        """An HTTP client with the console as its base."""
        return httpx.AsyncClient(base_url=self.url, **options)

    @asynccontextmanager
    async def admin(self, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
        """A client of the administrator, whose password is PASSWORD."""
        async with self.client(**options) as client:
            answer = await client.post("/api/v1/auth/login", json={"username": "admin", "password": PASSWORD})
            assert answer.status_code == 200, answer.text
            client.headers["Authorization"] = f"Bearer {answer.json()['data']['token']}"
            yield client
