"""Figures and times as people read them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from app.http import formats

NOW = datetime(2026, 11, 20, 9, 4, 3, 250_000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("passed", "words"),
    [
        (timedelta(milliseconds=300), "just now"),
        (timedelta(seconds=12), "12 s ago"),
        (timedelta(minutes=3, seconds=50), "3 min ago"),
        (timedelta(hours=5), "5 h ago"),
        (timedelta(days=40), "40 d ago"),
        (timedelta(days=-2), "in 2 d"),
        (timedelta(seconds=-1), "in 1 s"),
        (timedelta(seconds=-59), "in 1 min"),
        (timedelta(minutes=-50), "in 50 min"),
        (timedelta(hours=-5, minutes=-59, seconds=-58), "in 6 h"),
        (timedelta(hours=-5, minutes=-20), "in 5 h"),
    ],
)
def test_ago(passed: timedelta, words: str) -> None:
    assert formats.ago(NOW - passed, NOW) == words


def test_when_shows_the_absolute_utc_time_in_the_tooltip() -> None:
    local = datetime(2026, 11, 20, 10, 4, 3, tzinfo=timezone(timedelta(hours=1)))
    markup = formats.when(local)
    assert 'title="2026-11-20 09:04:03 UTC"' in markup
    assert 'datetime="2026-11-20T09:04:03.000Z"' in markup
    assert "never" in formats.when(None)
    assert "&lt;b&gt;" in formats.when(None, "<b>")


def test_moment_has_milliseconds() -> None:
    assert "09:04:03.250 UTC" in formats.moment(NOW)
    assert "–" in formats.moment(None)


@pytest.mark.parametrize(
    ("value", "words"), [(None, "–"), (0, "0"), (9203, "9,203"), (1_920_000, "1.92 M"), (4.25, "4.2"), (4.0, "4")]
)
def test_number(value: float | None, words: str) -> None:
    assert formats.number(value) == words


@pytest.mark.parametrize(
    ("value", "words"), [(None, "–"), (0.314, "0.31 ms"), (1.34, "1.3 ms"), (412.3, "412 ms"), (1400, "1.4 s")]
)
def test_milliseconds(value: float | None, words: str) -> None:
    assert formats.milliseconds(value) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [(None, "–"), (0, "0 B"), (2150, "2.1 KB"), (10 * 1024**2, "10.0 MB"), (5 * 1024**4, "5120.0 GB")],
)
def test_size(value: float | None, words: str) -> None:
    assert formats.size(value) == words


def test_long_ids_are_shortened_in_the_middle() -> None:
    assert formats.short_id("call_01JDZXCVBNM0AQWERTYU9K2F") == "call_01JD…9K2F"
    assert formats.short_id("prx_short") == "prx_short"


def test_plural_and_words() -> None:
    assert formats.plural(1, "rule") == "1 rule"
    assert formats.plural(1200, "policy", "policies") == "1,200 policies"
    assert formats.words("upstream_error") == "upstream error"
