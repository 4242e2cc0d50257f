"""Pages and fragments: escaping, toasts, addresses, refusals."""

from typing import Any

import pytest
from litestar.testing import RequestFactory

from app.errors import NotFound, ValidationFailed
from app.http.assets import Assets
from app.http.page import (
    TOAST_COOKIE,
    Badges,
    Form,
    Pages,
    Toast,
    polyline,
    read_toasts,
    redirect,
    toast_cookie,
    with_query,
)
from app.security.permissions import Actor, Role

EVIL = """"><script>alert('x')</script>{{ 7*7 }}"""


async def no_badges(_actor: Actor) -> Badges:
    return Badges()


@pytest.fixture(scope="module")
def pages() -> Pages:
    return Pages(address="127.0.0.1:8080", assets=Assets(), badges=no_badges)


def request(
    *, headers: dict[str, str] | None = None, cookies: dict[str, str] | None = None, actor: Actor | None = None
) -> Any:
    cookie = "; ".join(f"{name}={value}" for name, value in (cookies or {}).items())
    made = RequestFactory().get("/", headers={**(headers or {}), **({"cookie": cookie} if cookie else {})})
    made.scope["user"] = actor
    made.scope["state"] = {"csrf_token": "token"}
    return made


ADMIN = Actor(user_id="usr_1", username="admin", role=Role.ADMIN, via="session", ip="127.0.0.1", credential="x")


async def test_INJ_02_values_in_forms_are_escaped(pages: Pages) -> None:
    form = Form({"username": EVIL, "next": EVIL}, message=EVIL)
    answer = await pages.page(request(), "accounts/login.html", title="Log in", form=form)
    assert "<script>alert" not in answer.content
    assert "{{ 7*7 }}" in answer.content
    assert answer.content.count("&lt;script&gt;") >= 3


async def test_an_error_page_shows_what_to_do_and_the_request_id(pages: Pages) -> None:
    answer = pages.error(request(actor=ADMIN), NotFound("There is no <b>."), "req_1")
    assert answer.status_code == 404
    assert "There is no &lt;b&gt;." in answer.content
    assert "req_1" in answer.content
    assert 'aria-label="Main"' in answer.content


async def test_an_error_before_login_shows_nothing_of_the_console(pages: Pages) -> None:
    assert 'aria-label="Main"' not in pages.error(request(), NotFound(), "req_1").content


async def test_an_error_for_htmx_is_a_toast_and_leaves_the_target_alone(pages: Pages) -> None:
    error = ValidationFailed(fields={"port": "Port 80 is <taken>."})
    answer = pages.error(request(headers={"hx-request": "true"}, actor=ADMIN), error, "req_1")
    assert answer.status_code == 422
    assert answer.content.startswith('<hx-partial hx-target="#toasts"')
    assert "&lt;taken&gt;" in answer.content


async def test_viewers_do_not_see_what_they_may_not_open(pages: Pages) -> None:
    viewer = Actor(user_id="u", username="eve", role=Role.VIEWER, via="session", ip="", credential="y")
    assert 'href="/audit"' not in pages.error(request(actor=viewer), NotFound(), "r").content
    assert 'href="/audit"' in pages.error(request(actor=ADMIN), NotFound(), "r").content


async def test_a_toast_survives_one_redirect_and_is_shown_once(pages: Pages) -> None:
    toast = Toast("Key “<b>” saved.")
    sent = redirect(request(), "/access", toast)
    assert (sent.status_code, sent.headers["Location"]) == (303, "/access")
    (cookie,) = sent.cookies
    assert cookie.httponly
    seen = request(cookies={TOAST_COOKIE: str(cookie.value)}, actor=ADMIN)
    assert read_toasts(seen) == (toast,)
    context = {
        "title": "x",
        "code": 1,
        "message": "",
        "remediation": "",
        "request_id": "",
        "section": ("/", "Overview"),
    }
    shown = await pages.page(seen, "errors/error.html", **context)
    assert "Key “&lt;b&gt;” saved." in shown.content
    assert [kept.max_age for kept in shown.cookies] == [0]


def test_what_can_be_taken_back_stays_beside_the_next_toast_until_it_is_taken_back() -> None:
    first = redirect(request(), "/x", Toast("one", undo_url="/", undo_values=(("id", "1"),))).cookies[0]
    seen = request(cookies={TOAST_COOKIE: str(first.value)})
    assert [toast.text for toast in read_toasts(seen)] == ["one"]
    assert 0 < read_toasts(seen)[0].left_ms <= 10_000
    made = RequestFactory().post("/other", headers={"cookie": f"{TOAST_COOKIE}={first.value}"})
    second = redirect(made, "/x", Toast("two")).cookies[0]
    both = request(cookies={TOAST_COOKIE: str(second.value)})
    assert [toast.text for toast in read_toasts(both)] == ["one", "two"]
    taken_back = redirect(both, "/x", Toast("three")).cookies[0]
    left = read_toasts(request(cookies={TOAST_COOKIE: str(taken_back.value)}))
    assert [toast.text for toast in left] == ["three"]


def test_a_way_back_whose_time_is_over_is_not_offered() -> None:
    cookie = toast_cookie([Toast("gone", undo_url="/undo", until=1.0), Toast("said")])
    assert [toast.text for toast in read_toasts(request(cookies={TOAST_COOKIE: str(cookie.value)}))] == ["said"]


@pytest.mark.parametrize("value", ["", "!!!", "AAAA", "gaR0ZXh0"])
def test_a_toast_cookie_that_is_not_ours_is_ignored(value: str) -> None:
    assert read_toasts(request(cookies={TOAST_COOKIE: value})) == ()


def test_a_way_back_to_another_site_is_ignored() -> None:
    cookie = toast_cookie([Toast("x", undo_url="//evil.test", until=9e12)])
    assert read_toasts(request(cookies={TOAST_COOKIE: str(cookie.value)})) == ()


def test_a_way_back_that_does_not_fit_into_a_cookie_is_left_out() -> None:
    many = Toast("many", undo_url="/undo", undo_values=tuple(("alert_ids", "x" * 30) for _ in range(500)))
    cookie = toast_cookie([Toast("older"), many])
    [kept] = read_toasts(request(cookies={TOAST_COOKIE: str(cookie.value)}))
    assert (kept.text, kept.undo_url) == ("many", "")


def test_htmx_is_told_to_leave_the_page() -> None:
    assert redirect(request(headers={"hx-request": "true"}), "/x").headers["HX-Redirect"] == "/x"


def test_addresses_gain_change_and_lose_parameters() -> None:
    assert (
        with_query("/alerts?status=open&offset=50", offset=None, search="a b&c") == "/alerts?status=open&search=a+b%26c"
    )
    assert with_query("/alerts?offset=50", offset="") == "/alerts"


def test_a_refused_form_keeps_what_was_typed_and_renames_fields() -> None:
    form = Form({"name": "a"}).refused(
        ValidationFailed(fields={"upstream_auth.value": "no"}), {"upstream_auth.value": "auth_value"}
    )
    assert form.values == {"name": "a"}
    assert form.errors == {"auth_value": "no"}


def test_a_sparkline_stays_inside_its_box() -> None:
    assert polyline([0, 5, 10]) == "0,19.0 1,10.0 2,1.0"
    assert polyline([]) == ""
