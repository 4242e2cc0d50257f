"""Login, the forced password change, sessions, people and tokens, through the API of a console in this process."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from app import clock
from app.errors import Unavailable
from app.security.sessions import ABSOLUTE_LIFETIME, IDLE_LIFETIME
from tests.support.console import PASSWORD, Console, console_app

Shared = tuple[TestClient[Litestar], dict[str, str]]
ME = "/api/v1/auth/me"


def move_clock(monkeypatch: pytest.MonkeyPatch, by: timedelta) -> None:
    monkeypatch.setattr(clock, "utcnow", lambda: datetime.now(UTC) + by)


async def status_of(console: Console, headers: dict[str, str], path: str = ME) -> int:
    return (await console.client.get(path, headers=headers)).status_code


async def created_token(console: Console, **wanted: Any) -> tuple[dict[str, str], dict[str, Any]]:
    answer = await console.client.post("/api/v1/tokens", headers=console.admin, json={"name": "ci", **wanted})
    assert answer.status_code == 201, answer.text
    data = answer.json()["data"]
    return {"Authorization": f"Bearer {data['token']}"}, data["details"]


# --- Login and password ---------------------------------------------------------------------------------------------


async def test_ADM_24_every_call_but_the_password_is_refused_until_it_is_changed(tmp_path: Path) -> None:
    async with console_app(tmp_path, password_changed=False) as console:
        headers = await console.log_in(console.one_time_password)
        for method, path in (("GET", "/api/v1/system/info"), ("GET", "/api/v1/users"), ("POST", "/api/v1/tokens")):
            refused = await console.client.request(method, path, headers=headers)
            assert refused.status_code == 403
            assert refused.json()["error_code"] == "password_change_required"
        assert (await console.client.get(ME, headers=headers)).json()["data"]["password_change_required"]
        after = await console.change_password(headers, console.one_time_password, PASSWORD)
        assert await status_of(console, after, "/api/v1/system/info") == 200
        assert await status_of(console, headers) == 401


async def test_login_answers_with_the_documented_envelope(console: Console) -> None:
    answer = await console.client.post("/api/v1/auth/login", json={"username": " Admin ", "password": PASSWORD})
    envelope = answer.json()
    assert envelope["success"] is True
    assert set(envelope["data"]) == {"token", "expires_at", "password_change_required", "user"}
    assert envelope["data"]["user"]["role"] == "admin"
    assert "set-cookie" not in answer.headers


async def test_ADM_11_unknown_user_wrong_password_and_deactivated_account_look_the_same(console: Console) -> None:
    await console.create_person("former", "viewer")
    users = (await console.client.get("/api/v1/users", headers=console.admin)).json()["data"]["items"]
    former = next(user["id"] for user in users if user["username"] == "former")
    await console.client.patch(f"/api/v1/users/{former}", headers=console.admin, json={"is_active": False})
    told = []
    for username, password in (("admin", "wrong"), ("nobody", "wrong"), ("former", f"{PASSWORD} too")):
        body = {"username": username, "password": password}
        answer = await console.client.post("/api/v1/auth/login", json=body)
        told.append((answer.status_code, {**answer.json(), "request_id": ""}, answer.headers["www-authenticate"]))
    assert told[0][0] == 401
    assert told[0][1]["error_code"] == "INVALID_CREDENTIALS"
    assert told[0] == told[1] == told[2]


async def test_ADM_12_no_answer_and_no_error_holds_a_hash(console: Console) -> None:
    answers = [await console.client.get(path, headers=console.admin) for path in (ME, "/api/v1/users", "/api/v1/audit")]
    assert all("argon2" not in answer.text and "digest" not in answer.text for answer in answers)


@pytest.mark.parametrize(
    ("current", "new", "field"),
    [
        ("wrong", f"{PASSWORD}!", "current_password"),
        (PASSWORD, "short", "new_password"),
        (PASSWORD, "x" * 1025, "new_password"),
        (PASSWORD, "the admin himself", "new_password"),
        (PASSWORD, PASSWORD, "new_password"),
    ],
)
async def test_a_password_that_is_not_acceptable_names_its_field(
    console: Console, current: str, new: str, field: str
) -> None:
    body = {"current_password": current, "new_password": new}
    answer = await console.client.post("/api/v1/auth/password", headers=console.admin, json=body)
    assert answer.status_code == 422
    assert list(answer.json()["fields"]) == [field]
    assert await status_of(console, console.admin) == 200


async def test_ADM_10_wrong_current_passwords_are_throttled_like_logins(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC)
    monkeypatch.setattr(clock, "utcnow", lambda: now)
    body = {"current_password": "wrong", "new_password": "something else entirely"}
    codes = [
        (await console.client.post("/api/v1/auth/password", headers=console.admin, json=body)).status_code
        for _ in range(7)
    ]
    assert codes == [422] * 6 + [429]


# --- Sessions -------------------------------------------------------------------------------------------------------


async def test_ADM_09_a_password_change_ends_all_other_sessions(console: Console) -> None:
    other = await console.log_in(PASSWORD)
    fresh = await console.change_password(console.admin, PASSWORD, PASSWORD + "!")
    for ended in (other, console.admin):
        assert await status_of(console, ended) == 401
    assert await status_of(console, fresh) == 200


async def test_ADM_09_logout_ends_the_session_on_the_server(console: Console) -> None:
    assert (await console.client.post("/api/v1/auth/logout", headers=console.admin)).status_code == 200
    assert await status_of(console, console.admin) == 401


async def test_ADM_09_every_login_has_a_new_session_id_of_256_bits(console: Console) -> None:
    tokens = {(await console.log_in(PASSWORD))["Authorization"].removeprefix("Bearer oss_") for _ in range(3)}
    assert len(tokens) == 3
    assert all(len(token) == 43 for token in tokens)


async def test_ADM_09_a_session_ends_when_it_is_not_used(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    move_clock(monkeypatch, IDLE_LIFETIME + timedelta(seconds=1))
    assert await status_of(console, console.admin) == 401


async def test_ADM_09_use_prolongs_a_session_but_not_beyond_its_absolute_end(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = IDLE_LIFETIME - timedelta(minutes=1)
    steps = int(ABSOLUTE_LIFETIME / step)
    for number in range(1, steps + 1):
        move_clock(monkeypatch, step * number)
        assert await status_of(console, console.admin) == 200
    move_clock(monkeypatch, ABSOLUTE_LIFETIME + timedelta(seconds=1))
    assert await status_of(console, console.admin) == 401


@pytest.mark.parametrize(
    "fault", [Unavailable(), OperationalError("UPDATE", {}, Exception("database or disk is full"))]
)
async def test_DUR_08_reading_goes_on_when_the_use_of_a_session_cannot_be_noted(
    console: Console, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: Exception
) -> None:
    token, _ = await created_token(console)

    def refuse() -> Any:
        raise fault

    monkeypatch.setattr(console.app.state.database, "writer", refuse)
    move_clock(monkeypatch, timedelta(minutes=5))
    assert await status_of(console, console.admin) == 200
    assert await status_of(console, token) == 200
    assert "Could not note the use of a credential" in caplog.text
    assert "UPDATE" not in caplog.text


async def test_ADM_09_ended_sessions_are_removed_and_their_number_is_bounded(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.accounts.service.MAX_SESSIONS_PER_USER", 2)
    oldest = await console.log_in(PASSWORD)
    for _ in range(2):
        await console.log_in(PASSWORD)
    assert await status_of(console, oldest) == 401
    move_clock(monkeypatch, IDLE_LIFETIME + timedelta(seconds=1))
    await console.log_in(PASSWORD)
    async with console.app.state.database.reader() as session:
        assert await session.scalar(text("SELECT count(*) FROM sessions")) == 1


async def test_ADM_09_a_deactivated_person_is_out_at_once(console: Console) -> None:
    viewer = await console.create_person("viewer", "viewer")
    me = (await console.client.get(ME, headers=viewer)).json()["data"]["user"]["id"]
    assert await status_of(console, viewer) == 200
    answer = await console.client.patch(f"/api/v1/users/{me}", headers=console.admin, json={"is_active": False})
    assert answer.json()["data"]["is_active"] is False
    assert await status_of(console, viewer) == 401


async def test_ADM_09_a_changed_role_needs_a_fresh_login(console: Console) -> None:
    viewer = await console.create_person("viewer", "viewer")
    me = (await console.client.get(ME, headers=viewer)).json()["data"]["user"]["id"]
    await console.client.patch(f"/api/v1/users/{me}", headers=console.admin, json={"role": "admin"})
    assert await status_of(console, viewer) == 401
    again = await console.log_in(f"{PASSWORD} too", "viewer")
    assert await status_of(console, again, "/api/v1/users") == 200


# --- People ---------------------------------------------------------------------------------------------------------


async def test_a_user_name_is_taken_once_whatever_its_case(console: Console) -> None:
    await console.create_person("Alice", "viewer")
    answer = await console.client.post("/api/v1/users", headers=console.admin, json={"username": "aLICE"})
    assert (answer.status_code, answer.json()["error_code"]) == (409, "username_taken")
    assert "username" in answer.json()["fields"]


@pytest.mark.parametrize("wanted", [{"is_active": False}, {"role": "viewer"}])
async def test_the_last_admin_stays(console: Console, wanted: dict[str, Any]) -> None:
    me = (await console.client.get(ME, headers=console.admin)).json()["data"]["user"]["id"]
    answer = await console.client.patch(f"/api/v1/users/{me}", headers=console.admin, json=wanted)
    assert (answer.status_code, answer.json()["error_code"]) == (409, "last_admin")
    await console.create_person("second", "admin")
    answer = await console.client.patch(f"/api/v1/users/{me}", headers=console.admin, json=wanted)
    assert answer.status_code == 200


def test_a_person_that_does_not_exist_is_not_found(shared: Shared) -> None:
    client, admin = shared
    answer = client.patch("/api/v1/users/usr_x", headers=admin, json={})
    assert (answer.status_code, answer.json()["error_code"]) == (404, "NOT_FOUND")


@pytest.mark.parametrize("field", ["id", "password_hash", "tenant_id", "created_at", "must_change_password"])
def test_ADM_15_fields_that_are_not_theirs_to_set_are_refused(shared: Shared, field: str) -> None:
    client, admin = shared
    me = client.get(ME, headers=admin).json()["data"]["user"]["id"]
    answer = client.patch(f"/api/v1/users/{me}", headers=admin, json={field: "x"})
    assert answer.status_code == 422
    assert list(answer.json()["fields"]) == [field]


# --- API tokens -----------------------------------------------------------------------------------------------------


async def test_an_api_token_works_until_it_is_revoked(console: Console) -> None:
    token, details = await created_token(console, role="admin")
    me = (await console.client.get(ME, headers=token)).json()["data"]
    assert (me["via"], me["role"]) == ("token", "admin")
    listed = (await console.client.get("/api/v1/tokens", headers=console.admin)).json()["data"]
    assert [(item["state"], item["last4"]) for item in listed["items"]] == [("active", token["Authorization"][-4:])]
    for _ in range(2):
        path = f"/api/v1/tokens/{details['id']}/revoke"
        answer = await console.client.post(path, headers=console.admin)
        assert answer.json()["data"]["state"] == "revoked"
    assert await status_of(console, token) == 401


async def test_an_api_token_has_its_own_lesser_role_and_its_users_at_most(console: Console) -> None:
    reader, _ = await created_token(console)
    assert await status_of(console, reader, "/api/v1/system/info") == 200
    assert await status_of(console, reader, "/api/v1/users") == 403
    await console.create_person("second", "admin")
    me = (await console.client.get(ME, headers=console.admin)).json()["data"]["user"]["id"]
    writer, _ = await created_token(console, role="admin")
    second = await console.log_in(f"{PASSWORD} too", "second")
    await console.client.patch(f"/api/v1/users/{me}", headers=second, json={"role": "viewer"})
    assert (await console.client.get(ME, headers=writer)).json()["data"]["role"] == "viewer"
    assert await status_of(console, writer, "/api/v1/users") == 403


async def test_an_api_token_expires(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    token, details = await created_token(console, expires_in_days=1)
    for_ever, _ = await created_token(console, expires_in_days=None)
    assert details["expires_at"] is not None
    move_clock(monkeypatch, timedelta(days=1, seconds=1))
    assert await status_of(console, token) == 401
    assert await status_of(console, for_ever) == 200


async def test_an_api_token_is_no_session_cookie_and_cannot_log_out(console: Console) -> None:
    token, _ = await created_token(console)
    name = console.app.state.session_cookies.session_name
    cookie = {"Cookie": f"{name}={token['Authorization'].removeprefix('Bearer ')}"}
    assert await status_of(console, cookie) == 401
    answer = await console.client.post("/api/v1/auth/logout", headers=token)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "not_a_session")


async def test_a_deactivated_persons_token_is_dead(console: Console) -> None:
    second = await console.create_person("second", "admin")
    answer = await console.client.post("/api/v1/tokens", headers=second, json={"name": "theirs"})
    token = {"Authorization": f"Bearer {answer.json()['data']['token']}"}
    assert await status_of(console, token) == 200
    me = (await console.client.get(ME, headers=token)).json()["data"]["user"]["id"]
    await console.client.patch(f"/api/v1/users/{me}", headers=console.admin, json={"is_active": False})
    assert await status_of(console, token) == 401


def test_a_token_that_does_not_exist_is_not_found(shared: Shared) -> None:
    client, admin = shared
    answer = client.post("/api/v1/tokens/tok_x/revoke", headers=admin)
    assert answer.status_code == 404


@pytest.mark.parametrize("kind", ["session", "token"])
async def test_ADM_09_a_stream_is_allowed_as_long_as_its_credential(console: Console, kind: str) -> None:
    headers = console.admin if kind == "session" else (await created_token(console))[0]
    accounts = console.app.state.accounts
    credential = headers["Authorization"].removeprefix("Bearer ")
    actor = await accounts.authenticate(credential, via="token", ip="", request_id="")
    assert await accounts.is_still_valid(actor)
    second = await console.create_person("second", "admin")
    me = (await console.client.get(ME, headers=console.admin)).json()["data"]["user"]["id"]
    await console.client.patch(f"/api/v1/users/{me}", headers=second, json={"is_active": False})
    assert not await accounts.is_still_valid(actor)
    assert "admin" in repr(actor)
    assert actor.credential not in repr(actor)
