"""Hands out the one-time password of a first start.

In a box on the terminal, or in a file for automation. Never in a log.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from app.accounts.service import FIRST_USERNAME
from app.paths import write_private
from app.settings import Settings, SettingsError

BOX_WIDTH = 68
ASCII_BOX = str.maketrans("┌┐└┘─│", "++++-|")


def deliver_password(settings: Settings) -> Callable[[str], None]:
    """What to do with the password, as the settings want it."""

    def deliver(password: str) -> None:
        if settings.admin_password_file is None:
            sys.stdout.write(drawable(banner(settings.base_url, password), sys.stdout.encoding))
            sys.stdout.flush()
            return
        try:
            write_private(settings.admin_password_file, password.encode() + b"\n")
        except FileExistsError:
            raise SettingsError("admin_password_file", "exists already; it is never overwritten.") from None
        except OSError as error:
            raise SettingsError("admin_password_file", f"cannot be written: {error.strerror}.") from None

    return deliver


def drawable(text: str, encoding: str | None) -> str:
    """The text, its box in plain ASCII where the terminal's encoding knows no line-drawing characters."""
    try:
        text.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return text.translate(ASCII_BOX)
    return text


def banner(url: str, password: str) -> str:
    """The box with everything that a first login needs."""
    lines = (
        "Ostiary is ready for its first login.",
        "",
        f"Open      {url}/",
        f"User      {FIRST_USERNAME}",
        f"Password  {password}",
        "",
        "The password is shown only now and must be changed at login.",
    )
    rule = "─" * (BOX_WIDTH - 2)
    body = "".join(f"│ {line:<{BOX_WIDTH - 4}} │\n" for line in lines)
    return f"\n┌{rule}┐\n{body}└{rule}┘\n\n"
