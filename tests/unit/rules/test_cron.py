"""Cron expressions as schedules."""

from __future__ import annotations

from datetime import datetime

import pytest

from rules.cron import CronRefused, parse

FRIDAY = datetime(2026, 11, 20, 14, 30)


@pytest.mark.parametrize(
    ("expression", "named"),
    [
        ("* * * * *", True),
        ("30 14 * * *", True),
        ("29 14 * * *", False),
        ("* 9-17 * * mon-fri", True),
        ("* 9-17 * * MON-FRI", True),
        ("* 9-13 * * *", False),
        ("* * * * sat,sun", False),
        ("* * * * 5", True),
        ("* * * * 0,7", False),
        ("*/15 * * * *", True),
        ("*/20 * * * *", False),
        ("10/20 * * * *", True),
        ("0-40/10 * * * *", True),
        ("* * 20 * *", True),
        ("* * 21 * *", False),
        ("* * 21 * fri", True),
        ("* * 20 * sat", True),
        ("* * 21 * sat", False),
        ("* * * nov *", True),
        ("* * * 1-10 *", False),
    ],
)
def test_AG_PE_4_an_expression_names_minutes(expression: str, named: bool) -> None:
    assert parse(expression).names(FRIDAY) is named


def test_seven_is_sunday() -> None:
    sunday = datetime(2026, 11, 22)
    assert parse("* * * * 7").names(sunday)
    assert parse("* * * * 5-7").names(sunday)
    assert not parse("* * * * 1-6").names(sunday)


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "* * * *",
        "* * * * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 8",
        "a * * * *",
        "5-1 * * * *",
        "*/0 * * * *",
        "1,,2 * * * *",
        "*-5 * * * *",
        "@daily",
    ],
)
def test_what_is_no_cron_expression_is_refused(expression: str) -> None:
    with pytest.raises(CronRefused):
        parse(expression)


def test_AG_PE_4_a_week_may_end_with_sunday() -> None:
    weekend = parse("* * * * sat-sun")
    assert [day for day in range(23, 30) if weekend.names(datetime(2026, 11, day))] == [28, 29]


def test_a_range_that_goes_backwards_is_told_how_to_be_written() -> None:
    with pytest.raises(CronRefused, match="write 22-23,0-5 for this hour"):
        parse("* 22-5 * * *")
    assert parse("* 22-23,0-5 * * *").hours == {22, 23, 0, 1, 2, 3, 4, 5}
