"""Health, readiness, metrics, system information, the event stream and the API's own description."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, OperationalError

from app.system import service
from app.version import __version__
from rules import engine
from tests.support.console import Console, console_app

Shared = tuple[TestClient[Litestar], dict[str, str]]


def test_ADM_23_health_says_only_that_it_is_healthy(shared: Shared) -> None:
    client, _ = shared
    for path in ("/health", "/api/v1/health"):
        answer = client.get(path)
        assert answer.status_code == 200
        assert set(answer.json()) == {"status", "timestamp", "version"}
        assert answer.json()["status"] == "healthy"
        assert answer.json()["version"] == __version__


async def test_ready_follows_the_lifespan_and_the_database(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = await console.client.get("/ready")
    assert (answer.status_code, answer.json()) == (
        200,
        {"status": "ready", "checks": {"started": "ok", "rules": "ok", "database": "ok"}},
    )
    console.app.state.system.is_ready = False
    assert (await console.client.get("/ready")).status_code == 503
    console.app.state.system.is_ready = True

    def fail() -> Any:
        raise OperationalError("SELECT 1", {}, Exception("disk I/O error"))

    monkeypatch.setattr(console.app.state.database, "reader", fail)
    answer = await console.client.get("/ready")
    assert (answer.status_code, answer.json()["checks"]["database"]) == (503, "does not answer")
    assert "disk" not in answer.text


async def test_a_disk_that_takes_nothing_is_said_by_ready_and_by_whoever_would_write(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = console.app.state.database
    async with database.writer() as session:
        (pages,) = (await session.execute(text("PRAGMA page_count"))).one()
        await session.execute(text(f"PRAGMA max_page_count = {pages}"))  # SQLite's own word for a full disk.
    refused = None
    for number in range(200):  # Until the free places in its pages are used up.
        refused = await console.client.post("/api/v1/canaries", json={"name": f"c{number}"}, headers=console.admin)
        if refused.status_code != 201:
            break
    assert refused is not None
    assert refused.status_code == 503
    assert refused.json()["error"] == "The database cannot be written: its disk is full."
    assert "Make room" in refused.json()["remediation"]
    assert database.write_trouble == "is full"
    with pytest.raises(IntegrityError):
        async with database.writer() as session:
            await session.execute(text("INSERT INTO users (id) VALUES (NULL)"))
    assert database.write_trouble == "is full", "what was refused for another reason was not written"
    full = sqlite3.OperationalError("database or disk is full")
    full.sqlite_errorcode = sqlite3.SQLITE_FULL

    def refuse() -> Any:
        raise OperationalError("UPDATE", {}, full)

    monkeypatch.setattr(database, "writer", refuse)
    answer = await console.client.get("/ready")
    assert (answer.status_code, answer.json()["checks"]["database"]) == (503, "cannot be written: its disk is full")
    monkeypatch.undo()
    assert (await console.client.get("/ready")).status_code == 200, "it is tried again without anybody's change"
    assert database.write_trouble == ""
    monkeypatch.setattr(service, "disk_trouble", lambda _: "is read-only")
    assert (await console.client.get("/ready")).json()["checks"][
        "database"
    ] == "cannot be written: its disk is read-only"


async def test_what_was_written_is_in_no_error_of_the_driver(console: Console) -> None:
    for session_of in (console.app.state.database.writer, console.app.state.database.reader):
        with pytest.raises(OperationalError) as error:
            async with session_of() as session:
                await session.execute(text("SELECT missing FROM users WHERE username = :name"), {"name": "planted"})
        assert "planted" not in str(error.value)


async def test_ADM_23_metrics_need_a_token_and_count_by_route(console: Console) -> None:
    assert (await console.client.get("/metrics")).status_code == 401
    await console.client.get("/somewhere/else/entirely")
    answer = await console.client.get("/metrics", headers=console.admin)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert f'ostiary_build_info{{version="{__version__}"}} 1.0' in answer.text
    assert 'ostiary_console_requests_total{method="POST",route="/api/v1/auth/login",status="200"} 1.0' in answer.text
    assert 'route="unmatched",status="404"' in answer.text
    assert "entirely" not in answer.text


async def test_metrics_can_be_switched_off_and_loopback_means_loopback(tmp_path: Path, used_data: Path) -> None:
    async with console_app(tmp_path / "open", data_from=used_data, metrics_on_loopback=True) as console:
        # The test client's address is none at all.
        assert (await console.client.get("/metrics")).status_code == 401
    async with console_app(tmp_path / "off", data_from=used_data, enable_metrics=False) as console:
        assert (await console.client.get("/metrics", headers=console.admin)).status_code == 404


def test_system_info_describes_what_runs(shared: Shared) -> None:
    client, admin = shared
    data = client.get("/api/v1/system/info", headers=admin).json()["data"]
    assert data["version"] == __version__
    assert data["uptime_seconds"] >= 0
    assert data["retention_days"] == {"alerts": 90, "requests": 30, "audit": 90}
    assert data["is_frozen"] is False
    assert data["is_compiled"] is (Path(engine.__file__).suffix == ".so")


def test_ADM_23_the_api_describes_itself_to_those_who_are_logged_in(shared: Shared) -> None:
    client, admin = shared
    assert client.get("/schema/openapi.json").status_code == 401
    answer = client.get("/schema/openapi.json", headers=admin)
    described = json.loads(answer.text)
    assert described["info"]["title"] == "Ostiary"
    assert {"/api/v1/auth/login", "/api/v1/users", "/api/v1/tokens", "/api/v1/audit"} <= set(described["paths"])
    for path in ("/schema/redoc", "/schema/swagger", "/schema/rapidoc", "/schema/openapi.yaml"):
        assert client.get(path, headers=admin).status_code == 404


@pytest.mark.parametrize("topics", ["weather", "alert,weather", "call,<script>"])
def test_the_event_stream_refuses_topics_that_do_not_exist(shared: Shared, topics: str) -> None:
    client, admin = shared
    answer = client.get(f"/api/v1/events?topics={topics}", headers=admin)
    assert answer.status_code == 422
    assert list(answer.json()["fields"]) == ["topics"]
    assert client.app.state.bus.subscribers == 0
