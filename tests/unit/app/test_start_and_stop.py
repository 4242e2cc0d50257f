"""The parts of the console start in order and stop in reverse; what cannot start is said plainly."""

from __future__ import annotations

import asyncio
import gc
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest
from litestar import Litestar
from litestar.datastructures import State
from sqlalchemy import text

from app import cli
from app.accounts.first_start import banner, deliver_password, drawable
from app.accounts.service import Accounts
from app.ids import new_id, ulid
from app.lifespan import Part, lifespan
from app.settings import Settings, SettingsError
from app.startup import bind, prepare, serve
from tests.support.console import console_app


class Ready:
    """Stands where the System does: remembers whether it was told to be ready."""

    is_ready = False


def app_of(*parts: Part) -> Litestar:
    return Litestar(openapi_config=None, logging_config=None, state=State({"parts": list(parts), "system": Ready()}))


def part(name: str, seen: list[str], *, fails: bool = False, hangs: bool = False) -> Part:
    async def start() -> None:
        if fails:
            raise RuntimeError(f"{name} cannot start")
        seen.append(f"+{name}")

    async def stop() -> None:
        seen.append(f"-{name}")
        if hangs:
            await asyncio.Event().wait()
        if name == "rude":
            raise RuntimeError("rude")

    return Part(name, start, stop, stop_seconds=0.01)


async def test_parts_start_in_order_and_stop_in_reverse() -> None:
    seen: list[str] = []
    app = app_of(part("a", seen), part("b", seen), part("c", seen))
    async with lifespan(app):
        assert app.state.system.is_ready
    assert seen == ["+a", "+b", "+c", "-c", "-b", "-a"]
    assert not app.state.system.is_ready


async def test_when_one_cannot_start_those_before_it_are_stopped() -> None:
    seen: list[str] = []
    app = app_of(part("a", seen), part("b", seen, fails=True), part("c", seen))
    with pytest.raises(RuntimeError, match="b cannot start"):
        await lifespan(app).__aenter__()
    assert seen == ["+a", "-a"]


async def test_one_that_hangs_or_fails_at_the_stop_does_not_hold_up_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen: list[str] = []
    app = app_of(part("a", seen), part("rude", seen), part("slow", seen, hangs=True))
    async with lifespan(app):
        seen.clear()
    assert seen == ["-slow", "-rude", "-a"]
    assert "slow did not stop within 0.01 s" in caplog.text
    assert "rude did not stop cleanly" in caplog.text


def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=f"Setting port: cannot listen on 127.0.0.1:{port}"):
            bind(Settings(port=port))


def test_a_data_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="Setting data_dir"):
        serve(Settings(data_dir=tmp_path / "file" / "data"))


@pytest.mark.parametrize("refused", [False, True])
def test_the_collector_rests_while_a_console_starts_and_works_while_it_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, refused: bool
) -> None:
    seen: dict[str, bool] = {}

    def assembled(*_given: object, **_named: object) -> Litestar:
        seen["while it starts"] = gc.isenabled()
        if refused:
            raise SettingsError("port", "is refused.")
        return Litestar(openapi_config=None, logging_config=None, state=State({"bus": None, "rulesets": None}))

    def run(**_named: object) -> None:
        seen["while it runs"] = gc.isenabled()

    server = SimpleNamespace(run=run, started=True)
    monkeypatch.setattr("app.application.create_app", assembled)
    monkeypatch.setattr("app.http.server.ConsoleServer", lambda *_given, **_named: server)
    monkeypatch.setattr("app.logs.configure", lambda _settings: None)
    try:
        assert cli.run(["--port", "0", "--data-dir", str(tmp_path / "data")]) == int(refused)
        assert seen == ({"while it starts": False} if refused else {"while it starts": False, "while it runs": True})
        assert gc.isenabled()
    finally:
        gc.unfreeze()


async def test_ADM_24_racing_first_starts_make_one_administrator(tmp_path: Path) -> None:
    async with console_app(tmp_path, password_changed=False) as console:
        async with console.app.state.database.writer() as session:
            await session.execute(text("DELETE FROM users"))
        delivered: list[str] = []
        accounts: Accounts = console.app.state.accounts
        made = await asyncio.gather(*(accounts.ensure_admin(delivered.append) for _ in range(20)))
        assert sum(made) == len(delivered) == 1
        await console.log_in(delivered[0])


async def test_ADM_24_a_password_that_cannot_be_delivered_leaves_no_administrator(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocked = Settings(data_dir=tmp_path / "data", admin_password_file=tmp_path / "nowhere" / "file")
    with pytest.raises(SettingsError, match="admin_password_file"):
        deliver_password(blocked)("a password")
    deliver_password(Settings(port=1234))("shown-once")
    shown = capsys.readouterr().out
    assert shown == banner("http://127.0.0.1:1234", "shown-once")
    assert "http://127.0.0.1:1234/" in shown
    assert len({len(line) for line in shown.strip().splitlines()}) == 1


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", None, "no-such-encoding"])
def test_a_terminal_without_line_drawing_gets_a_plain_box(encoding: str | None) -> None:
    text = banner("http://127.0.0.1:8080", "shown-once")
    assert drawable(text, "utf-8") == text
    plain = drawable(text, encoding)
    assert plain.isascii()
    assert "| Password  shown-once" in plain


def test_ADM_24_an_existing_password_file_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("something of the operator's")
    (tmp_path / "data").mkdir()
    settings = Settings(data_dir=tmp_path / "data", admin_password_file=tmp_path / "file")
    with pytest.raises(SettingsError, match="never overwritten"):
        prepare(settings)
    with pytest.raises(SettingsError, match="never overwritten"):
        deliver_password(settings)("a password")
    assert (tmp_path / "file").read_text() == "something of the operator's"
    assert list((tmp_path / "data").iterdir()) == []


def test_identifiers_sort_by_time_and_name_their_kind() -> None:
    assert ulid(0, 0) == "0" * 26
    assert ulid(2**48 - 1, 2**80 - 1) == "7" + "Z" * 25
    assert ulid(1, 2**80 - 1) < ulid(2, 0)
    made = [new_id("prx") for _ in range(100)]
    assert len(set(made)) == 100
    assert all(identifier.startswith("prx_") and len(identifier) == 30 for identifier in made)
