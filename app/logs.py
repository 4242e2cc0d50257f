"""Logs on standard error.

Text while developing, JSON lines elsewhere. Credentials that slip into a message are masked.
"""

from __future__ import annotations

import logging
import re
import sys
from datetime import UTC, datetime

import msgspec

from app.settings import Settings

MASK = "[masked]"
CONTINUED = "is_continued"
"""Set on a record that goes on with the one before: a traceback of a worker comes line by line."""
CREDENTIAL = re.compile(
    r"(?P<keep>\b(?:ost|oss|oat)_|\bsk-(?:ant-|proj-)?|\bBearer\s+|\bBasic\s+|(?:password|secret|token|api[_-]?key)[\"']?\s*[=:]\s*[\"']?)"
    r"[^\s\"',;&]{6,}",
    re.IGNORECASE,
)
CONTROL = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if code not in (0x09, 0x0A)}
NOISY = ("alembic", "aiosqlite", "asyncio", "uvicorn.access", "apscheduler")


def masked(text: str) -> str:
    """The text with the values of credentials replaced and control characters made visible."""
    return CREDENTIAL.sub(rf"\g<keep>{MASK}", text).translate(CONTROL)


class TextFormatter(logging.Formatter):
    """For a person at a terminal; a line break inside a message is indented, so that nobody can forge a line."""

    def format(self, record: logging.LogRecord) -> str:
        """One entry."""
        return masked(super().format(record)).replace("\n", "\n    ")


class JSONFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """One entry."""
        entry = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": masked(record.getMessage()),
        }
        if record.exc_info:
            entry["trace"] = masked(self.formatException(record.exc_info))
        return msgspec.json.encode(entry).decode()


def configure(settings: Settings) -> None:
    """Set up the root logger of this process."""
    handler = logging.StreamHandler(sys.stderr)
    if settings.environment == "development":
        handler.setFormatter(TextFormatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%H:%M:%S"))
    else:
        handler.setFormatter(JSONFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    for name in NOISY:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
