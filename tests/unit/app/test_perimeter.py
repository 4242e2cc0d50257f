"""What every response carries and what no request gets past: Host, Origin, CSRF, roles, errors without detail."""

from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.exceptions import HTTPException
from litestar.testing import TestClient
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts.service import Accounts
from app.http.headers import CONTENT_SECURITY_POLICY
from app.http.problem import as_app_error
from app.security.guards import UndeclaredRoute, check_routes
from tests.support.console import BASE_URL, PASSWORD, Console, console_app

Shared = tuple[TestClient[Litestar], dict[str, str]]
FORM = "application/x-www-form-urlencoded"


def assert_secure(headers: Any) -> None:
    assert headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] in ("no-referrer", "same-origin")
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"
    assert headers["x-request-id"].startswith("req_")
    assert "access-control-allow-origin" not in headers
    assert "server" not in headers


async def browser_session(console: Console, password: str = PASSWORD) -> tuple[dict[str, str], str]:
    """Cookie header and CSRF token, as the login page would set them."""
    accounts: Accounts = console.app.state.accounts
    login = await accounts.log_in("admin", password, ip="127.0.0.1", user_agent="browser")
    cookies = console.app.state.session_cookies
    return {"Cookie": f"{cookies.session_name}={login.token}"}, cookies.csrf_token(login.digest)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health", 200),
        ("GET", "/api/v1/auth/me", 401),
        ("GET", "/nowhere", 404),
        ("GET", "/api/v1/nowhere", 404),
        ("PUT", "/health", 405),
        ("POST", "/api/v1/auth/login", 400),
        ("OPTIONS", "/api/v1/auth/me", 401),
    ],
)
def test_ADM_07_headers_are_on_every_response(shared: Shared, method: str, path: str, status: int) -> None:
    client, _ = shared
    json_type = {"Content-Type": "application/json"} if method == "POST" else {}
    answer = client.request(method, path, content=b"{" if method == "POST" else None, headers=json_type)
    assert answer.status_code == status, answer.text
    assert_secure(answer.headers)


def test_ADM_07_refusals_of_the_outer_layer_carry_them_too(shared: Shared) -> None:
    client, _ = shared
    for headers in ({"Host": "evil.test"}, {"Origin": "https://evil.test"}):
        assert_secure((client.get("/health", headers=headers)).headers)


def test_a_method_that_no_address_knows_is_405_for_who_has_logged_in(shared: Shared) -> None:
    client, admin = shared
    answer = client.options("/api/v1/auth/me", headers=admin)
    assert (answer.status_code, answer.json()["error_code"]) == (405, "METHOD_NOT_ALLOWED")


def test_every_405_names_the_methods_that_the_address_knows(shared: Shared) -> None:
    client, admin = shared
    for method, path, allowed in (
        ("PUT", "/health", {"GET"}),
        ("PATCH", "/api/v1/auth/me", {"GET"}),
        ("PUT", "/login", {"GET", "POST"}),
        ("POST", "/static/no.css", {"GET"}),
        ("POST", "/nothing/here", {"GET"}),
    ):
        answer = client.request(method, path, headers=admin)
        named = {name.strip() for name in answer.headers.get("allow", "").split(",")}
        assert (answer.status_code, named - {"HEAD", "OPTIONS"}) == (405, allowed), (method, path)


@pytest.mark.parametrize("host", ["evil.test", "localhost.evil:8080", "127.0.0.1:8081", "LOCALHOST:8080", ""])
def test_ADM_02_a_foreign_host_is_refused_on_every_path(shared: Shared, host: str) -> None:
    client, _ = shared
    for path in ("/health", "/", "/api/v1/auth/me", "/metrics", "/nowhere"):
        headers = {"Host": host, "X-Forwarded-Host": "127.0.0.1:8080"}
        answer = client.get(path, headers=headers)
        assert answer.status_code == 421
        assert answer.json()["error_code"] == "host_not_allowed"


@pytest.mark.parametrize(
    "origin", ["https://evil.test", "null", "http://127.0.0.1:9", "http://127.0.0.1:8080.evil.test"]
)
def test_ADM_03_ADM_06_a_foreign_origin_is_refused_and_gets_no_cors_headers(shared: Shared, origin: str) -> None:
    client, admin = shared
    for method in ("GET", "POST", "OPTIONS"):
        headers = {"Origin": origin, "Access-Control-Request-Method": "POST", **admin}
        answer = client.request(method, "/api/v1/auth/me", headers=headers)
        assert answer.status_code == 403
        assert answer.json()["error_code"] == "cross_site_refused"
        assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_ADM_05_a_cookie_reads_but_changes_nothing_without_its_csrf_token(console: Console) -> None:
    cookie, token = await browser_session(console)
    _, token_of_another_session = await browser_session(console)
    assert (await console.client.get("/api/v1/auth/me", headers=cookie)).status_code == 200
    body = {"username": "mallory", "role": "admin"}
    attempts: list[dict[str, Any]] = [
        {"json": body},
        {"json": body, "headers": {"x-csrftoken": ""}},
        {"json": body, "headers": {"x-csrftoken": "…".encode()}},
        {"json": body, "headers": {"x-csrftoken": token_of_another_session}},
        {"content": b'{"username":"mallory"}', "headers": {"Content-Type": "text/plain"}},
        {"content": b"username=mallory", "headers": {"Content-Type": FORM}},
        {"content": f"_csrf_token={token_of_another_session}", "headers": {"Content-Type": FORM}},
        {"content": b"x", "headers": {"Content-Type": "multipart/form-data"}},
        {"json": body, "headers": {"X-HTTP-Method-Override": "GET"}},
    ]
    for attempt in attempts:
        headers = cookie | attempt.pop("headers", {})
        answer = await console.client.post("/api/v1/users", headers=headers, **attempt)
        assert answer.status_code == 403, answer.text
        assert answer.json()["error_code"] == "cross_site_refused"
    async with console.app.state.database.reader() as session:
        assert await session.scalar(text("SELECT count(*) FROM users")) == 1
    answer = await console.client.post("/api/v1/users", headers={**cookie, "x-csrftoken": token}, json=body)
    assert answer.status_code == 201


async def test_ADM_05_a_plain_form_may_carry_the_token_as_a_field(tmp_path: Path, used_data: Path) -> None:
    @post("/form", opt={"role": "viewer"})
    async def form(request: Request[Any, Any, Any]) -> str:
        return str((await request.form())["word"])

    async with console_app(tmp_path, data_from=used_data) as console:
        console.app.register(form)
        cookie, token = await browser_session(console)
        sent = {"_csrf_token": token, "word": "kept"}
        answer = await console.client.post("/form", headers=cookie, data=sent)
        assert (answer.status_code, answer.text) == (201, "kept")


async def test_ADM_05_a_login_form_must_come_from_our_own_page(console: Console) -> None:
    body = {"username": "admin", "password": PASSWORD}
    assert (await console.client.post("/login", data=body, follow_redirects=False)).status_code == 403
    own = await console.client.post("/login", data=body, headers={"Origin": BASE_URL}, follow_redirects=False)
    assert (own.status_code, own.headers["location"]) == (303, "/")
    assert "HttpOnly" in own.headers["set-cookie"]


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", FORM, "multipart/form-data; boundary=x", "application/jsonx"]
)
def test_ADM_05_the_api_reads_json_only(shared: Shared, content_type: str | None) -> None:
    client, admin = shared
    headers = admin | ({"Content-Type": content_type} if content_type else {})
    answer = client.post("/api/v1/users", content=b'{"username": "mallory"}', headers=headers)
    assert (answer.status_code, answer.json()["error_code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")


async def test_ADM_03_a_websocket_is_closed_before_anything_looks_at_it(console: Console) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    scope: Any = {"type": "websocket", "path": "/api/v1/events", "headers": [], "state": {}}
    await console.app.asgi_handler(scope, receive, send)
    assert [(message["type"], message["code"]) for message in sent] == [("websocket.close", 1008)]


async def test_ADM_17_a_credential_in_the_wrong_place_is_none(console: Console) -> None:
    token = console.admin["Authorization"].removeprefix("Bearer ")
    cookie_name = console.app.state.session_cookies.session_name
    for headers in (
        {"Authorization": f"Basic {token}"},
        {"Authorization": token},
        {"Authorization": "Bearer "},
        {"Authorization": f"Bearer {'x' * 200}"},
        {"Authorization": "Bearer oss_unknown"},
        {"Authorization": "Bearer something-else"},
        {"X-API-Key": token},
        {"Cookie": f"{cookie_name}={'x' * 200}"},
    ):
        assert (await console.client.get("/api/v1/auth/me", headers=headers)).status_code == 401, headers
    assert (await console.client.get(f"/api/v1/auth/me?token={token}")).status_code == 401


def test_ADM_18_path_tricks_do_not_change_who_may_enter(shared: Shared) -> None:
    client, _ = shared
    for path in (
        "//api/v1/users",
        "/api/v1/users/",
        "/API/v1/users",
        "/api/v1/%75sers",
        "/api/v1/users;x",
        "/./api/v1/users",
    ):
        answer = client.get(f"{BASE_URL}{path}")
        assert answer.status_code in (401, 404), path


async def test_a_viewer_reads_but_does_not_change(console: Console) -> None:
    viewer = await console.create_person("viewer", "viewer")
    assert (await console.client.get("/api/v1/system/info", headers=viewer)).status_code == 200
    refused = await console.client.post("/api/v1/users", headers=viewer, json={"username": "other"})
    assert refused.status_code == 403
    assert refused.json()["error_code"] == "FORBIDDEN"


async def test_pages_send_people_to_the_login_and_htmx_out_of_the_fragment(tmp_path: Path) -> None:
    @get("/page", opt={"role": "viewer"})
    async def page() -> str:
        return "page"

    async with console_app(tmp_path, password_changed=False) as console:
        console.app.register(page)
        answer = await console.client.get("/page?a=1&b=2", follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=/page%3Fa%3D1%26b%3D2")
        fragment = await console.client.get("/page", headers={"HX-Request": "true"})
        assert (fragment.status_code, fragment.headers["hx-redirect"]) == (401, "/login?next=/page")
        part = {"HX-Request": "true", "HX-Current-URL": f"{BASE_URL}/pages?tab=all"}
        fragment = await console.client.get("/page", headers=part)
        assert fragment.headers["hx-redirect"] == "/login?next=/pages%3Ftab%3Dall"
        for referer, back in (
            (f"{BASE_URL}/pages?a=1", "/login?next=/pages%3Fa%3D1"),
            ("https://evil.example/x", "/login"),
            ("http://[x", "/login"),
        ):
            form = {"Origin": BASE_URL, "Referer": referer}
            answer = await console.client.post("/logout", headers=form, data={"a": "1"}, follow_redirects=False)
            assert (answer.status_code, answer.headers["location"]) == (303, back)
        cookie, _ = await browser_session(console, console.one_time_password)
        answer = await console.client.get("/page", headers=cookie, follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, "/password")


async def test_a_page_may_draw_errors_itself(console: Console) -> None:
    def draw(request: Any, told: Any, request_id: str) -> Any:
        return Response(f"drawn {told.status}", status_code=told.status)

    console.app.state.render_error = draw
    answer = await console.client.get("/nowhere")
    assert (answer.status_code, answer.text) == (404, "drawn 404")


async def test_an_error_page_that_fails_is_drawn_without_templates(console: Console) -> None:
    def fail(request: Any, told: Any, request_id: str) -> Any:
        raise KeyError("<template>")

    console.app.state.render_error = fail
    answer = await console.client.get("/nowhere")
    assert answer.status_code == 404
    assert "There is nothing here." in answer.text
    assert answer.headers["x-request-id"] in answer.text
    assert "template" not in answer.text
    assert_secure(answer.headers)


@pytest.mark.parametrize(
    ("status", "code"),
    [(413, "PAYLOAD_TOO_LARGE"), (415, "UNSUPPORTED_MEDIA_TYPE"), (418, "BAD_REQUEST"), (502, "INTERNAL_ERROR")],
)
def test_the_frameworks_own_errors_are_told_in_our_words(status: int, code: str) -> None:
    told = as_app_error(HTTPException("their words", status_code=status))
    assert told.code == code
    assert "their words" not in told.message


async def test_ADM_22_a_fault_says_nothing_but_its_request_id(tmp_path: Path, used_data: Path) -> None:
    secret_text = "SELECT password_hash FROM users WHERE path = '/etc/passwd'"

    @get(["/api/fault", "/fault"], opt={"role": "public"})
    async def fault() -> str:
        raise RuntimeError(secret_text)

    @get("/api/database", opt={"role": "public"})
    async def database() -> str:
        raise OperationalError(secret_text, {}, Exception("disk I/O error"))

    @get("/api/integrity", opt={"role": "public"})
    async def integrity() -> str:
        raise IntegrityError(secret_text, {}, Exception("UNIQUE constraint failed"))

    @get("/api/memory", opt={"role": "public"})
    async def memory() -> str:
        raise MemoryError

    places = {"/api/fault": 500, "/api/database": 503, "/api/integrity": 409, "/api/memory": 503, "/fault": 500}
    async with console_app(tmp_path, data_from=used_data) as console:
        for handler in (fault, database, integrity, memory):
            console.app.register(handler)
        client = console.client
        for path, status in places.items():
            answer = await client.get(path)
            assert answer.status_code == status
            assert answer.headers["x-request-id"] in answer.text
            for leak in ("SELECT", "passwd", "Traceback", "RuntimeError", "disk", "UNIQUE"):
                assert leak not in answer.text
            assert_secure(answer.headers)


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b"{", 400, None),
        (b"[]", 422, "body"),
        (b'{"username": "x"}', 422, "username"),
        (b'{"username": "new", "colour": "red"}', 422, "colour"),
        (b'{"username": "new", "role": "root"}', 422, "role"),
        (b'{"role": "viewer"}', 422, "username"),
        (b"", 422, "body"),
    ],
)
def test_bad_bodies_name_the_field(shared: Shared, body: bytes, status: int, field: str | None) -> None:
    client, admin = shared
    headers = {**admin, "Content-Type": "application/json"}
    answer = client.post("/api/v1/users", content=body, headers=headers)
    told = answer.json()
    assert answer.status_code == status, told
    assert told["success"] is False
    if field is not None:
        assert list(told["fields"]) == [field], told


async def test_a_body_beyond_the_limit_is_refused(tmp_path: Path, used_data: Path) -> None:
    async with console_app(tmp_path, data_from=used_data, max_request_size_mb=1) as console:
        answer = await console.client.post(
            "/api/v1/auth/login",
            content=b'{"username":"' + b"a" * 1_100_000 + b'"}',
            headers={"Content-Type": "application/json"},
        )
        assert (answer.status_code, answer.json()["error_code"]) == (413, "PAYLOAD_TOO_LARGE")


async def test_a_route_without_a_role_stops_the_start(tmp_path: Path, used_data: Path) -> None:
    @get("/open-by-mistake")
    async def mistake(reader: NamedDependency[AsyncSession]) -> str:
        return "open"

    async with console_app(tmp_path, data_from=used_data) as console:
        console.app.register(mistake)
        with pytest.raises(UndeclaredRoute, match="/open-by-mistake"):
            check_routes(console.app)
        answer = await console.client.get("/open-by-mistake", headers=console.admin)
        assert answer.status_code == 403


async def test_https_makes_cookies_secure_and_adds_transport_security(tmp_path: Path, used_data: Path) -> None:
    async with console_app(tmp_path, data_from=used_data, public_base_url="https://console.test") as console:
        answer = await console.client.get("/health", headers={"Host": "console.test"})
        assert answer.headers["strict-transport-security"].startswith("max-age=")
        cookies = console.app.state.session_cookies
        started = cookies.start("token", "digest")
        assert [cookie.key for cookie in started] == ["__Host-ostiary_session_8080", "__Host-ostiary_csrf_8080"]
        assert all(cookie.secure and cookie.path == "/" and cookie.domain is None for cookie in started)


async def test_ADM_09_session_cookies_have_their_attributes(console: Console) -> None:
    cookies = console.app.state.session_cookies
    session, csrf = cookies.start("token", "digest")
    assert (session.httponly, session.samesite, session.secure) == (True, "lax", False)
    assert (csrf.httponly, csrf.samesite) == (False, "strict")
    assert [cookie.max_age for cookie in cookies.end()] == [0, 0]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"a":' * 5_000 + b"1" + b"}" * 5_000, "nested too deeply"),
        (b"[" * 200_000 + b"]" * 200_000, "nested too deeply"),
        (b'{"username":"\xff\xfe","password":"x"}', "not UTF-8 text"),
        (b'{"username":"a","password":"b","username":"c"}', "names 'username' twice"),
        (b'{"username":"a","filler":"' + b"x" * 100_000 + b'","filler":""}', "names 'filler' twice"),
        (b'\xef\xbb\xbf{"username":"a","password":"b"}', "could not be read"),
        ('{"username":"a","password":"b"}'.encode("utf-16"), "could not be read"),
        (b'{"username":NaN}', "could not be read"),
        (b'{"username":' + b"9" * 5_000 + b"}", "could not be read"),
    ],
)
async def test_a_body_that_cannot_be_read_is_the_callers_fault_and_logs_no_error(
    console: Console, caplog: pytest.LogCaptureFixture, body: bytes, words: str
) -> None:
    headers = {"content-type": "application/json"}
    answer = await console.client.post("/api/v1/auth/login", content=body, headers=headers)
    assert answer.status_code == 400
    assert words in answer.json()["error"]
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_body_that_is_missing_is_said_to_be(console: Console) -> None:
    answer = await console.client.post("/api/v1/auth/login")
    assert (answer.status_code, answer.json()["fields"]) == (422, {"body": "The request has no body."})
