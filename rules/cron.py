"""Which minutes a cron expression names.

Five fields: minute, hour, day of the month, month, day of the week (0 and 7 are Sunday). A field is a list of `*`,
numbers, ranges `a-b` and steps `*/n`, `a-b/n`; months and days of the week also by their three English letters. As in
cron, a day counts when the day of the month or the day of the week fits, if both are restricted.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import NamedTuple

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_PART = re.compile(r"(?:(?P<every>\*)|(?P<first>\w{1,3})(?:-(?P<last>\w{1,3}))?)(?:/(?P<step>\d{1,2}))?", re.ASCII)


class CronRefused(ValueError):
    """Not a cron expression; the message says why."""


class _Field(NamedTuple):
    name: str
    low: int
    high: int
    words: dict[str, int]


_FIELDS = (
    _Field("minute", 0, 59, {}),
    _Field("hour", 0, 23, {}),
    _Field("day of the month", 1, 31, {}),
    _Field("month", 1, 12, {word: number for number, word in enumerate(_MONTHS, 1)}),
    _Field("day of the week", 0, 7, {word: number for number, word in enumerate(_DAYS)}),
)

_WEEKDAY = _FIELDS[4]
_MOST_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


class Cron(NamedTuple):
    """A cron expression, ready to be asked."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int] | None
    """Days of the month; None when the field is `*`."""
    months: frozenset[int]
    weekdays: frozenset[int] | None
    """0 is Sunday; None when the field is `*`."""

    @property
    def names_any(self) -> bool:
        """Whether there is a date that fits: there is no 31st of June."""
        if self.days is None or self.weekdays is not None:
            return True
        return any(day <= _MOST_DAYS[month - 1] for month in self.months for day in self.days)

    def names(self, moment: datetime) -> bool:
        """Whether the minute of a moment, in the moment's own time zone, is named."""
        if moment.minute not in self.minutes or moment.hour not in self.hours or moment.month not in self.months:
            return False
        day_fits = self.days is not None and moment.day in self.days
        weekday_fits = self.weekdays is not None and moment.isoweekday() % 7 in self.weekdays
        if self.days is None and self.weekdays is None:
            return True
        return day_fits or weekday_fits


def parse(expression: str) -> Cron:
    """The minutes that an expression names; raises `CronRefused`."""
    texts = expression.lower().split()
    if len(texts) != len(_FIELDS):
        raise CronRefused("a schedule has five fields: minute, hour, day of the month, month, day of the week")
    minutes, hours, days, months, weekdays = (_numbers(text, field) for text, field in zip(texts, _FIELDS, strict=True))
    return Cron(
        minutes=minutes,
        hours=hours,
        days=None if texts[2] == "*" else days,
        months=months,
        weekdays=None if texts[4] == "*" else frozenset(day % 7 for day in weekdays),
    )


def _numbers(text: str, field: _Field) -> frozenset[int]:
    numbers: set[int] = set()
    for item in text.split(","):
        part = _PART.fullmatch(item)
        if part is None:
            raise CronRefused(f"{item!r} is no {field.name}")
        if part["every"]:
            first, last = field.low, field.high
        else:
            first = _number(part["first"], field)
            last = _number(part["last"], field) if part["last"] else first
            if part["step"] and not part["last"]:
                last = field.high
            if first > last == 0 and field is _WEEKDAY:
                last = field.high  # A week ends with Sunday as well.
        step = int(part["step"] or 1)
        if first > last:
            raise CronRefused(
                f"{item!r} goes backwards; write {first}-{field.high},{field.low}-{last} for this {field.name}"
            )
        if step < 1:
            raise CronRefused(f"{item!r} has no step of the {field.name}")
        numbers.update(range(first, last + 1, step))
    return frozenset(numbers)


def _number(word: str, field: _Field) -> int:
    number = field.words.get(word, int(word) if word.isdecimal() else -1)
    if not field.low <= number <= field.high:
        raise CronRefused(f"{word!r} is no {field.name}")
    return number
