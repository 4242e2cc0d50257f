"""Login, the forced password change, sessions, people and tokens, through the API of a console in this process."""

from __future__ import annotations

from pathlib import Path

from tests.support.console import PASSWORD, Console, console_app


async def test_ADM_24_every_call_but_the_password_is_refused_until_it_is_changed(tmp_path: Path) -> None:
    async with console_app(tmp_path, password_changed=False) as console:
        headers = await console.log_in(console.one_time_password)
        refused = await console.client.get("/api/v1/system/info", headers=headers)
        assert refused.status_code == 403
        assert refused.json()["error_code"] == "password_change_required"
        assert (await console.client.get("/api/v1/auth/me", headers=headers)).json()["data"]["password_change_required"]
        after = await console.change_password(headers, console.one_time_password, PASSWORD)
        assert (await console.client.get("/api/v1/system/info", headers=after)).status_code == 200


async def test_ADM_09_a_password_change_ends_all_other_sessions(console: Console) -> None:
    other = await console.log_in(PASSWORD)
    fresh = await console.change_password(console.admin, PASSWORD, PASSWORD + "!")
    for ended in (other, console.admin):
        assert (await console.client.get("/api/v1/auth/me", headers=ended)).status_code == 401
    assert (await console.client.get("/api/v1/auth/me", headers=fresh)).status_code == 200


async def test_ADM_09_logout_ends_the_session_on_the_server(console: Console) -> None:
    assert (await console.client.post("/api/v1/auth/logout", headers=console.admin)).status_code == 200
    assert (await console.client.get("/api/v1/auth/me", headers=console.admin)).status_code == 401
