"""Every route of a real console, asked by nobody, by a viewer and by an administrator (ADM-13)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from scripts.routes_doc import RouteRow, console_routes
from tests.support.console import PASSWORD, ConsoleProcess

REFUSED = (401, 403)
# Asked last and with credentials of its own: it ends the session that it came with.
ENDS_THE_SESSION = ("/logout", "/api/v1/auth/logout")


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with ConsoleProcess(tmp_path) as console, console.client(timeout=30) as client:
        client.headers["x-one-time-password"] = console.password_file.read_text().strip()
        yield client


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def set_password(client: httpx.AsyncClient, username: str, one_time: str) -> str:
    """A session token of somebody who had a one-time password."""
    login = {"username": username, "password": one_time}
    token = (await client.post("/api/v1/auth/login", json=login)).json()["data"]["token"]
    change = {"current_password": one_time, "new_password": PASSWORD}
    answer = await client.post("/api/v1/auth/password", json=change, headers=bearer(token))
    assert answer.status_code == 200, answer.text
    fresh: str = answer.json()["data"]["token"]
    return fresh


async def status_of(client: httpx.AsyncClient, row: RouteRow, headers: dict[str, str]) -> tuple[int, str]:
    """The status of a route with unknown ids and an empty body, and where it redirects to."""
    path = re.sub(r"\{\w+:path\}", "unknown.txt", re.sub(r"\{\w+:str\}", "unknown", row.path))
    body = None if row.method == "GET" else b"{}"
    headers = {**headers, "content-type": "application/json"}
    # Streamed, so that the answer of an endless event stream counts as soon as its head is here.
    async with client.stream(row.method, path, headers=headers, content=body) as response:
        return response.status_code, response.headers.get("location", "")


async def test_ADM_13_every_route_answers_each_role_as_the_table_says(client: httpx.AsyncClient) -> None:
    admin = await set_password(client, "admin", client.headers.pop("x-one-time-password"))
    made = await client.post("/api/v1/users", json={"username": "vera", "role": "viewer"}, headers=bearer(admin))
    viewer = await set_password(client, "vera", made.json()["data"]["one_time_password"])
    rows = sorted(console_routes(), key=lambda row: row.path in ENDS_THE_SESSION)
    wrong = []
    for row in rows:
        if row.role == "public":
            continue
        nobody = await status_of(client, row, {})
        if not (nobody[0] == 401 or nobody[1].startswith("/login")):
            wrong.append(f"{row.method} {row.path}: {nobody} without login")
        for role, token in (("viewer", viewer), ("admin", admin)):
            if row.path in ENDS_THE_SESSION:
                continue
            status, location = await status_of(client, row, bearer(token))
            may = role == "admin" or row.role == "viewer"
            if may and (status in REFUSED or location.startswith("/login") or status >= 500):
                wrong.append(f"{row.method} {row.path}: {status} {location} for {role}")
            if not may and status != 403:
                wrong.append(f"{row.method} {row.path}: {status} for {role}, who must be refused")
    assert not wrong, "\n".join(wrong)


async def test_ADM_13_public_routes_need_no_login(client: httpx.AsyncClient) -> None:
    public = [row for row in console_routes() if row.role == "public" and row.method == "GET"]
    assert {row.path for row in public} >= {"/health", "/login"}
    for row in public:
        assert (await status_of(client, row, {}))[0] not in REFUSED, row


async def test_ADM_24_before_the_password_is_changed_every_route_but_the_marked_ones_is_refused(
    client: httpx.AsyncClient,
) -> None:
    login = {"username": "admin", "password": client.headers.pop("x-one-time-password")}
    token = (await client.post("/api/v1/auth/login", json=login)).json()["data"]["token"]
    for row in console_routes():
        if row.role == "public" or row.path in ENDS_THE_SESSION:
            continue
        status, location = await status_of(client, row, bearer(token))
        is_refused = status == 403 or location == "/password"
        assert is_refused is ("before change" not in row.note), (row, status, location)
