"""Fixtures of the browser tests: one Chromium and one seeded console for the session, a watched page for each test."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Cookie,
    Error,
    Page,
    async_playwright,
    expect,
)

from tests.browser.inspection import DESK
from tests.browser.site import Site, running_site

CHROMIUM_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
"""The one without windows, where it is there, opens a tab in a third of the time."""
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
MISSING = (
    "no Chromium was found; install it: apt-get install --yes chromium-headless-shell, or: playwright install chromium"
)
PATIENCE_MS = 30_000
"""How long a test waits for what must happen; it measures nothing, and a busy machine is slow."""
HTTP_REFUSAL = "Failed to load resource: the server responded with a status of 4"


expect.set_options(timeout=PATIENCE_MS)


class Watch:
    """What the browser complained about while a test ran."""

    def __init__(self) -> None:
        self.complaints: list[str] = []
        self.allows_refusals = False
        """Set by a test that makes the server refuse something on purpose: the browser reports each such answer."""

    def note(self, text: str) -> None:
        """Keep a complaint."""
        self.complaints.append(text)

    def note_message(self, message: ConsoleMessage) -> None:
        """Keep what is an error or a warning, CSP reports among them."""
        if message.type in ("error", "warning"):
            self.note(f"{message.type}: {message.text}")

    def verdict(self) -> list[str]:
        """The complaints that count."""
        return [text for text in self.complaints if not (self.allows_refusals and HTTP_REFUSAL in text)]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Debian's Chromium, or the one that Playwright has downloaded."""
    found = next((path for name in CHROMIUM_NAMES if (path := shutil.which(name))), None)
    async with async_playwright() as playwright:
        try:
            running = await playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        except Error:
            if os.environ.get("CI") == "true":
                pytest.fail(MISSING)
            pytest.skip(MISSING)
        yield running
        await running.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def site(tmp_path_factory: pytest.TempPathFactory, used_data: Path) -> AsyncIterator[Site]:
    """A console with traffic, shared by the tests that only look or that leave it as they found it."""
    async with running_site(tmp_path_factory.mktemp("site"), used_data) as running:
        await running.seed()
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def fresh_site(tmp_path: Path) -> AsyncIterator[Site]:
    """A console at its very first start."""
    async with running_site(tmp_path) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def own_site(tmp_path: Path, used_data: Path) -> AsyncIterator[Site]:
    """A console without traffic for one test."""
    async with running_site(tmp_path, used_data) as running:
        yield running


@pytest.fixture
def watch() -> Watch:
    """Fails nothing by itself; `page` asks it at the end."""
    return Watch()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def profile(browser: Browser) -> AsyncIterator[BrowserContext]:
    """One profile for all tests: a new one is a new window with an empty cache, which costs more than most tests."""
    made = await browser.new_context(viewport=DESK)  # type: ignore[arg-type]
    await made.grant_permissions(["clipboard-read", "clipboard-write"])
    made.set_default_timeout(PATIENCE_MS)
    yield made
    await made.close()


@pytest_asyncio.fixture(loop_scope="session")
async def page(profile: BrowserContext, watch: Watch) -> AsyncIterator[Page]:
    """A tab without cookies. The test fails when the browser reported an error, a warning or a breach of the policy in it."""
    await profile.clear_cookies()
    made = await profile.new_page()
    made.on("console", watch.note_message)
    made.on("pageerror", lambda error: watch.note(f"page error: {error}"))
    made.on("dialog", lambda dialog: watch.note(f"dialog: {dialog.message}"))
    yield made
    await made.close()
    assert watch.verdict() == []


@pytest_asyncio.fixture(loop_scope="session")
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    """A profile of its own, for a tab whose complaints or dialogs are what a test looks at."""
    made = await browser.new_context(viewport=DESK)  # type: ignore[arg-type]
    made.set_default_timeout(PATIENCE_MS)
    yield made
    await made.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def signed_in(site: Site, profile: BrowserContext) -> list[Cookie]:
    """The cookies of the administrator of the seeded console, who has logged in through the page once for all tests."""
    made = await profile.new_page()
    await site.log_in(made)
    await made.close()
    return await profile.cookies()


@pytest_asyncio.fixture(loop_scope="session")
async def admin(site: Site, page: Page, profile: BrowserContext, signed_in: list[Cookie]) -> Page:
    """A tab on the overview of the seeded console, logged in as its administrator."""
    await profile.add_cookies(signed_in)  # type: ignore[arg-type]
    await page.goto(site.url)
    return page
