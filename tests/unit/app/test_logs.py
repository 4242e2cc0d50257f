"""Log lines: no credentials, no forged lines, JSON where machines read."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator

import pytest

from app import logs
from app.settings import Settings


@pytest.fixture
def _root_logger_restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def record(message: str, *arguments: object, exc_info: object = None) -> logging.LogRecord:
    return logging.LogRecord("app.test", logging.WARNING, __file__, 1, message, arguments, exc_info)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "key ost_8fJ2kd93jfKd02kfjd93kfj30fj3",
        "session oss_8fJ2kd93jfKd02kfjd93kfj30fj3",
        "sk-proj-8fJ2kd93jfKd02kfjd93kfj30fj3",
        "sk-ant-8fJ2kd93jfKd02kfjd93kfj30fj3",
        "Authorization: Bearer 8fJ2kd93jfKd02kfjd93kfj30fj3",
        "authorization: basic 8fJ2kd93jfKd02kfjd93kfj30fj3",
        'password="8fJ2kd93jfKd02kfjd93kfj30fj3"',
        "api_key: 8fJ2kd93jfKd02kfjd93kfj30fj3",
        '{"token": "8fJ2kd93jfKd02kfjd93kfj30fj3"}',
    ],
)
def test_SEC_01_credentials_are_masked(text: str) -> None:
    assert "8fJ2kd93" not in logs.masked(text)
    assert logs.MASK in logs.masked(text)


def test_ordinary_text_stays() -> None:
    assert logs.masked("Started proxy prx_01JD on port 4000, token bucket full") == (
        "Started proxy prx_01JD on port 4000, token bucket full"
    )


def test_a_line_cannot_be_forged_and_control_characters_are_visible() -> None:
    line = logs.TextFormatter("%(message)s").format(record("one\n12:00:00 INFO two \x1b[31mred\r"))
    assert line == "one\n    12:00:00 INFO two \\x1b[31mred\\x0d"


def test_json_lines_hold_the_trace() -> None:
    try:
        raise ValueError("secret=8fJ2kd93jfKd02kfjd93")
    except ValueError:
        line = logs.JSONFormatter().format(record("failed: %s", "why", exc_info=sys.exc_info()))
    entry = json.loads(line)
    assert (entry["level"], entry["logger"], entry["message"]) == ("warning", "app.test", "failed: why")
    assert "ValueError" in entry["trace"]
    assert "8fJ2kd93" not in line


@pytest.mark.usefixtures("_root_logger_restored")
@pytest.mark.parametrize(
    ("environment", "formatter"), [("development", logs.TextFormatter), ("production", logs.JSONFormatter)]
)
def test_the_environment_chooses_the_format(environment: str, formatter: type) -> None:
    logs.configure(Settings(environment=environment, log_level="warning"))  # type: ignore[arg-type]
    (handler,) = logging.getLogger().handlers
    assert isinstance(handler.formatter, formatter)
    assert logging.getLogger().level == logging.WARNING
