"""Commands for an installation whose console is stopped: a new one-time password, the audit chain."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import sqlite3
from pathlib import Path

import pytest

from app import cli
from app.instance import InstanceLock
from tests.support.console import PASSWORD, console_app


@pytest.fixture(autouse=True)
def _logging_untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line sets up the root logger, which belongs to the test run here."""
    monkeypatch.setattr("app.logs.configure", lambda settings: None)


@pytest.fixture
def data(tmp_path: Path, used_data: Path) -> Path:
    """A used data directory."""
    shutil.copytree(used_data, tmp_path / "source")
    return tmp_path / "source"


async def test_a_reset_password_opens_the_account_again(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = await asyncio.to_thread(cli.run, ["reset-password", "--data-dir", str(data)])
    assert code == 0
    (shown,) = re.findall(r"One-time password of admin: ([A-Za-z0-9]{20})\n", capsys.readouterr().out)
    async with console_app(tmp_path, data_from=data, password_changed=False) as console:
        body = {"username": "admin", "password": PASSWORD}
        assert (await console.client.post("/api/v1/auth/login", json=body)).status_code == 401
        console.admin = await console.change_password(await console.log_in(shown), shown, f"{PASSWORD} again")
        entries = (await console.client.get("/api/v1/audit", headers=console.admin)).json()["data"]["items"]
        assert "auth.password.reset" in {entry["event_type"] for entry in entries}


def test_a_reset_needs_the_data_directory_to_itself(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with InstanceLock(data / "ostiary.lock"):
        assert cli.run(["reset-password", "--data-dir", str(data)]) == 1
    assert "in use by another Ostiary" in capsys.readouterr().err


def test_only_an_existing_account_is_reset(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["reset-password", "nobody", "--data-dir", str(data)]) == 1
    assert capsys.readouterr().err == "ostiary: There is no such user.\n"


def test_nothing_is_made_where_there_is_no_installation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["reset-password"], ["audit", "verify"]):
        assert cli.run([*words, "--data-dir", str(tmp_path / "nowhere")]) == 1
        assert "There is no database" in capsys.readouterr().err
    assert not (tmp_path / "nowhere").exists()


def test_AUD_01_the_chain_is_verified_without_a_server(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["audit", "verify", "--data-dir", str(data)]) == 0
    assert "The audit log is sound: 3 entries." in capsys.readouterr().out
    with contextlib.closing(sqlite3.connect(data / "ostiary.db")) as connection:
        connection.execute("UPDATE audit_entries SET actor_name = 'somebody else' WHERE sequence = 2")
        connection.commit()
    assert cli.run(["audit", "verify", "--data-dir", str(data)]) == 1
    assert "broken at entry 2; 1 entries before it are sound" in capsys.readouterr().err
