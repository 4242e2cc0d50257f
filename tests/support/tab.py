"""A browser tab without a browser, for tests of pages and forms over HTTP."""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from typing import Any

import httpx
import msgspec

from app.accounts.service import Accounts
from app.http.page import TOAST_COOKIE, Toast
from proxies.contract import CallRecord
from rules.model import Action
from tests.support.console import BASE_URL, PASSWORD, Console
from tests.support.records import CALL, FINDING

HTMX = {"HX-Request": "true"}
SAME_ORIGIN = {"Origin": BASE_URL}


class Tab:
    """A browser tab without a browser: it keeps the session cookie and sends the CSRF token with forms."""

    def __init__(self, console: Console, cookie: str, token: str) -> None:
        self.console = console
        self.token = token
        self.headers = {**SAME_ORIGIN, "Cookie": cookie}

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.console.client.get(path, headers={**self.headers, **headers}, follow_redirects=False)

    async def post(self, path: str, data: Mapping[str, Any] | None = None, **headers: str) -> httpx.Response:
        return await self.console.client.post(
            path,
            data={"_csrf_token": self.token, **(data or {})},
            headers={**self.headers, **headers},
            follow_redirects=False,
        )


async def tab_of(console: Console, username: str = "admin", password: str = PASSWORD) -> Tab:
    accounts: Accounts = console.app.state.accounts
    login = await accounts.log_in(username, password, ip="127.0.0.1", user_agent="browser")
    cookies = console.app.state.session_cookies
    return Tab(console, f"{cookies.session_name}={login.token}", cookies.csrf_token(login.digest))


async def make_proxy(console: Console, name: str = "openai", port: int = 4000, **fields: Any) -> str:
    body = {"name": name, "type": "llm", "target_url": "https://api.example.org", "port": port, **fields}
    answer = await console.client.post("/api/v1/proxies", json=body, headers=console.admin)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["data"]["id"])


def call_of(proxy_id: str, number: int = 1, **changes: Any) -> CallRecord:
    started_at = time.time() - number
    return msgspec.structs.replace(CALL, id=f"call_{number}", proxy_id=proxy_id, started_at=started_at, **changes)


async def ingest(console: Console, *records: CallRecord) -> None:
    await console.app.state.ingest(list(records))


def blocked(proxy_id: str, number: int = 1, **changes: Any) -> CallRecord:
    return call_of(
        proxy_id,
        number,
        findings=(FINDING,),
        outcome="blocked",
        action=Action.BLOCK,
        status=403,
        reason="Blocked: the prompt drops its instructions (rule PI-0001).",
        error_code="blocked_by_policy",
        **changes,
    )


async def alert_id(console: Console) -> str:
    answer = await console.client.get("/api/v1/system/alerts", headers=console.admin)
    return str(answer.json()["data"]["items"][0]["id"])


def toast_follows(answer: httpx.Response) -> bool:
    return TOAST_COOKIE in answer.headers.get("set-cookie", "")


def toasts_of(answer: httpx.Response) -> tuple[Toast, ...]:
    """The notes that the next page shows."""
    found: tuple[Toast, ...] = msgspec.msgpack.decode(
        base64.urlsafe_b64decode(answer.cookies[TOAST_COOKIE]), type=tuple[Toast, ...]
    )
    return found
