"""A browser tab without a browser, for tests of pages and forms over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from app.accounts.service import Accounts
from tests.support.console import BASE_URL, PASSWORD, Console

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
