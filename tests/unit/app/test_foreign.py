"""Programs that are not ours start with the environment of before our loader, and without our settings."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from app.foreign import foreign_environment, open_browser

LOADED = {"PATH": "/bin", "_PYI_ARCHIVE_FILE": "x", "_MEIPASS2": "y", "LD_LIBRARY_PATH": "/tmp/bundle"}


def test_the_library_path_of_before_the_loader_comes_back() -> None:
    environ = {**LOADED, "LD_LIBRARY_PATH_ORIG": "/opt/lib"}
    assert foreign_environment(environ) == {"PATH": "/bin", "LD_LIBRARY_PATH": "/opt/lib"}


def test_a_frozen_program_without_an_original_path_gives_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert foreign_environment(LOADED) == {"PATH": "/bin"}


def test_from_a_checkout_the_users_own_library_path_stays() -> None:
    assert foreign_environment({"LD_LIBRARY_PATH": "/opt/lib"}) == {"LD_LIBRARY_PATH": "/opt/lib"}


def test_settings_and_keys_stay_with_us() -> None:
    environ = {"HOME": "/h", "JWT_SECRET": "s", "ENCRYPTION_KEY": "k", "OSTIARY_DATA_DIR": "d", "DATABASE_URL": "u"}
    assert foreign_environment(environ) == {"HOME": "/h"}


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has its own opener and asks no $BROWSER")
def test_the_browser_of_the_user_gets_the_address(tmp_path: Path) -> None:
    seen, browser = tmp_path / "seen", tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1 $2 ${{JWT_SECRET:-none}}" > "{seen}"\n')
    browser.chmod(0o700)
    assert open_browser("http://127.0.0.1:8080", {"BROWSER": f"{browser} --new-window", "JWT_SECRET": "s"})
    for thread in threading.enumerate():
        if thread.name == "browser":
            thread.join(timeout=10)
    assert seen.read_text() == "--new-window http://127.0.0.1:8080 none\n"


def test_without_a_browser_the_address_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert not open_browser("http://127.0.0.1:8080", {"BROWSER": str(tmp_path / "missing")})
    assert "the console is at http://127.0.0.1:8080" in caplog.text
