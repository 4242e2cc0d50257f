"""The pages of logging in and out, and who may open what."""

from __future__ import annotations

from tests.support.console import PASSWORD, Console
from tests.support.tab import (
    SAME_ORIGIN,
    Tab,
    make_proxy,
    tab_of,
)


async def test_a_page_asks_for_a_login_and_comes_back_to_where_it_was(console: Console) -> None:
    refused = await console.client.get("/alerts?status=any", follow_redirects=False)
    assert (refused.status_code, refused.headers["location"]) == (303, "/login?next=/alerts%3Fstatus%3Dany")
    form = {"username": "admin", "password": PASSWORD, "next": "/alerts?status=any"}
    answer = await console.client.post("/login", data=form, headers=SAME_ORIGIN, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/alerts?status=any")
    assert "HttpOnly" in answer.headers["set-cookie"]


async def test_ADM_25_a_login_does_not_lead_to_another_site(console: Console) -> None:
    form = {"username": "admin", "password": PASSWORD, "next": "//evil.test/x"}
    answer = await console.client.post("/login", data=form, headers=SAME_ORIGIN, follow_redirects=False)
    assert answer.headers["location"] == "/"


async def test_a_wrong_password_shows_the_form_again_without_it(console: Console) -> None:
    form = {"username": "admin", "password": "wrong guess 123"}
    answer = await console.client.post("/login", data=form, headers=SAME_ORIGIN)
    assert answer.status_code == 401
    assert 'value="admin"' in answer.text
    assert "wrong guess" not in answer.text


async def test_a_logged_in_person_needs_no_login_page(tab: Tab) -> None:
    assert (await tab.get("/login?next=/audit")).headers["location"] == "/audit"


async def test_ADM_09_logging_out_ends_the_session_on_the_server(tab: Tab) -> None:
    answer = await tab.post("/logout")
    assert answer.headers["location"] == "/login"
    assert (await tab.get("/")).status_code == 303


async def test_changing_the_password_needs_it_twice_and_the_old_one(tab: Tab) -> None:
    new = "a wholly different passphrase 9"
    differing = await tab.post(
        "/password", {"current_password": PASSWORD, "new_password": new, "repeat_password": "other"}
    )
    assert differing.status_code == 422
    assert "The two new passwords differ." in differing.text
    wrong = await tab.post("/password", {"current_password": "x", "new_password": new, "repeat_password": new})
    assert wrong.status_code == 422
    assert 'id="current_password-error"' in wrong.text
    done = await tab.post("/password", {"current_password": PASSWORD, "new_password": new, "repeat_password": new})
    assert (done.status_code, done.headers["location"]) == (303, "/")
    assert new not in done.text


async def test_ADM_05_a_form_without_its_token_changes_nothing(console: Console, tab: Tab) -> None:
    proxy_id = await make_proxy(console)
    tab.token = "0" * 64
    for path in (f"/proxies/{proxy_id}/start", f"/proxies/{proxy_id}", "/proxies/new", "/access/new", "/alerts/bulk"):
        assert (await tab.post(path)).status_code == 403, path


async def test_a_viewer_reads_everything_but_administration_and_changes_nothing(console: Console) -> None:
    proxy_id = await make_proxy(console)
    await console.create_person("eve", "viewer")
    viewer = await tab_of(console, "eve", f"{PASSWORD} too")
    for path in ("/", "/proxies", f"/proxies/{proxy_id}?tab=config", "/traffic", "/alerts", "/policies", "/access"):
        answer = await viewer.get(path)
        assert answer.status_code == 200, path
        assert 'href="/settings"' not in answer.text
        assert '<form method="post"' not in answer.text.replace('<form method="post" action="/logout">', "")
    for path in ("/audit", "/settings", "/proxies/new", "/access/new"):
        assert (await viewer.get(path)).status_code == 403, path
    assert (await viewer.post(f"/proxies/{proxy_id}/start")).status_code == 403
