"""The audit log: one entry for each change, chained, and every way of tampering that the chain itself can show."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from app import clock
from app.audit import export, repository
from app.audit.service import AuditLog
from app.security.permissions import Actor, Role
from tests.support.console import PASSWORD, Console

ACTOR = Actor(user_id="usr_1", username="alice", role=Role.ADMIN, via="session", ip="192.0.2.1", credential="c")


async def entries(console: Console, query: str = "") -> list[dict[str, Any]]:
    answer = await console.client.get(f"/api/v1/audit?limit=500{query}", headers=console.admin)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["data"]["items"]
    return items


async def verify(console: Console) -> dict[str, Any]:
    answer = await console.client.get("/api/v1/audit/verify", headers=console.admin)
    data: dict[str, Any] = answer.json()["data"]
    return data


async def test_AUD_08_every_change_adds_exactly_one_entry(console: Console) -> None:
    client, admin = console.client, console.admin
    before = len(await entries(console))
    user = (await client.post("/api/v1/users", headers=admin, json={"username": "bob"})).json()["data"]["user"]
    await client.patch(f"/api/v1/users/{user['id']}", headers=admin, json={"role": "admin"})
    await client.patch(f"/api/v1/users/{user['id']}", headers=admin, json={"is_active": False})
    await client.patch(f"/api/v1/users/{user['id']}", headers=admin, json={"is_active": True})
    token = (await client.post("/api/v1/tokens", headers=admin, json={"name": "ci"})).json()["data"]["details"]
    await client.post(f"/api/v1/tokens/{token['id']}/revoke", headers=admin)
    await client.post("/api/v1/auth/login", json={"username": "admin", "password": "wrong"})
    await client.post("/api/v1/auth/login", json={"username": "hunter2-typed-here", "password": "wrong"})
    other = await console.log_in(PASSWORD)
    await client.post("/api/v1/auth/logout", headers=other)
    console.admin = await console.change_password(admin, PASSWORD, f"{PASSWORD}!")
    added = list(reversed(await entries(console)))[before:]
    assert [entry["event_type"] for entry in added] == [
        "user.created",
        "user.role.changed",
        "user.deactivated",
        "user.activated",
        "token.created",
        "token.revoked",
        "auth.login.failed",
        "auth.login.failed",
        "auth.login",
        "auth.logout",
        "auth.password.change",
    ]
    assert added[1]["details"] == {"before": "viewer", "after": "admin"}
    assert added[1]["actor"]["username"] == "admin"
    assert added[1]["resource"] == {"type": "user", "id": user["id"], "name": "bob"}
    assert added[1]["request_id"].startswith("req_")
    assert "hunter2" not in str(added)
    assert {entry["result"] for entry in added if entry["event_type"] == "auth.login.failed"} == {"failure"}


async def test_a_change_that_fails_leaves_no_entry(console: Console) -> None:
    before = len(await entries(console))
    await console.client.post("/api/v1/users", headers=console.admin, json={"username": "admin"})
    assert len(await entries(console)) == before


async def test_entries_are_found_by_type_actor_and_result(console: Console) -> None:
    assert {entry["event_type"] for entry in await entries(console, "&event_type=auth.password")} == {
        "auth.password.change"
    }
    assert await entries(console, "&username=nobody") == []
    assert await entries(console, "&event_type=%25") == []
    assert all(entry["result"] == "success" for entry in await entries(console, "&result=success"))


async def test_the_log_is_exported_whole_by_portions_and_as_filtered(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "PORTION_ROWS", 3)
    async with console.app.state.database.writer() as session:
        for number in range(8):
            await console.app.state.audit.record(
                session, "proxy.created", actor=ACTOR, resource=("proxy", f"prx_{number}", "=HYPERLINK()")
            )

    async def exported(query: str) -> httpx.Response:
        answer = await console.client.get(f"/api/v1/audit/export?{query}", headers=console.admin)
        assert answer.status_code == 200, answer.text
        return answer

    lines = await exported("format=jsonl")
    assert [json.loads(line) for line in lines.text.splitlines()] == await entries(console)
    table = await exported("event_type=proxy.")
    rows = list(csv.DictReader(io.StringIO(table.text)))
    assert [row["resource_id"] for row in rows] == [f"prx_{number}" for number in range(7, -1, -1)]
    assert {row["resource_name"] for row in rows} == {"'=HYPERLINK()"}, "a spreadsheet runs nothing"
    assert table.headers["content-disposition"].endswith('.csv"')
    assert len((await exported("event_type=nothing")).text.splitlines()) == 1


async def test_AUD_04_concurrent_changes_make_one_gapless_chain(console: Console) -> None:
    database, audit = console.app.state.database, console.app.state.audit

    async def record(number: int) -> None:
        async with database.writer() as session:
            await audit.record(session, "proxy.created", actor=ACTOR, details={"n": number})

    await asyncio.gather(*(record(number) for number in range(50)))
    checked = await verify(console)
    sequences = [entry["sequence"] for entry in await entries(console)]
    assert checked == {"entries_checked": len(sequences), "first_bad_sequence": None}
    assert sequences == list(range(len(sequences), 0, -1))


@pytest.mark.parametrize(
    ("tampering", "first_bad"),
    [
        ("UPDATE audit_entries SET details = '{}' WHERE sequence = 5", 5),
        ("UPDATE audit_entries SET at = '2020-01-01 00:00:00.000000' WHERE sequence = 5", 5),
        ("UPDATE audit_entries SET mac = previous_mac WHERE sequence = 5", 5),
        ("DELETE FROM audit_entries WHERE sequence = 5", 6),
        ("UPDATE audit_entries SET sequence = 999 WHERE sequence = 5", 6),
        ("UPDATE audit_entries SET actor_name = actor_role, actor_role = actor_name WHERE sequence = 5", 5),
    ],
)
async def test_AUD_01_tampering_is_found_where_it_happened(console: Console, tampering: str, first_bad: int) -> None:
    database, audit = console.app.state.database, console.app.state.audit
    async with database.writer() as session:
        for number in range(8):
            await audit.record(session, "proxy.created", actor=ACTOR, details={"n": number})
        await session.execute(text(tampering))
    assert (await verify(console))["first_bad_sequence"] == first_bad


async def test_AUD_09_pruning_takes_the_oldest_only_and_keeps_the_chain(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, audit = console.app.state.database, console.app.state.audit
    now = clock.utcnow()
    # The third entry comes from a clock that went back: it is old, but what stands before it is not.
    for age in (100, 95, 0, 99, 1):
        monkeypatch.setattr(clock, "utcnow", lambda age=age: now - timedelta(days=age))
        async with database.writer() as session:
            await session.execute(
                text("UPDATE audit_entries SET at = '2020-01-01 00:00:00.000000' WHERE sequence <= 4")
            )
            last = await audit.record(session, "proxy.created", actor=ACTOR)
    monkeypatch.undo()
    before = now - timedelta(days=90)
    async with database.writer() as session:
        assert await repository.delete_before(session, before, limit=3) == 3
    async with database.writer() as session:
        deleted = await repository.delete_before(session, before, limit=100)
    async with database.reader() as session:
        sequences = list(await session.scalars(text("SELECT sequence FROM audit_entries ORDER BY sequence")))
        assert await audit.verify(session) == (3, None)
    assert sequences == [last.sequence - 2, last.sequence - 1, last.sequence]
    assert deleted == sequences[0] - 4


async def test_AUD_09_the_head_of_the_chain_is_never_pruned(console: Console) -> None:
    async with console.app.state.database.writer() as session:
        await repository.delete_before(session, clock.utcnow() + timedelta(days=1), limit=100)
        assert await session.scalar(text("SELECT count(*) FROM audit_entries")) == 1
        await session.execute(text("DELETE FROM audit_entries"))
        assert await repository.delete_before(session, clock.utcnow(), limit=100) == 0


async def test_AUD_01_a_chain_made_with_another_key_does_not_verify(console: Console) -> None:
    async with console.app.state.database.reader() as session:
        assert await AuditLog(b"another key").verify(session) == (0, 1)


async def test_long_chains_are_read_in_batches(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.audit.service.VERIFY_BATCH_ROWS", 2)
    checked = await verify(console)
    assert checked["entries_checked"] == len(await entries(console))


async def test_oversized_details_are_left_out_not_cut(console: Console) -> None:
    async with console.app.state.database.writer() as session:
        entry = await console.app.state.audit.record(session, "proxy.created", actor=None, details={"x": "y" * 5000})
        assert entry.details == '{"omitted":"5008 characters of detail"}'
        assert (entry.actor_name, entry.actor_type, entry.action) == ("system", "system", "created")
