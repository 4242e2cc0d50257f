"""The time range that a statistic covers, and which roll-up answers it.

Up to three hours are answered by the minute. Longer ranges begin at a whole hour, so that hourly sums, rankings and
charts all cover exactly the same calls.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

MINUTES_PER_HOUR = 60
MINUTE_BY_MINUTE_HOURS = 3
STEPS = ((3, 1), (12, 5), (24, 10), (72, 30), (168, 60))
"""(hours up to, minutes per chart step): at most about 180 steps."""
LONGEST_STEP_MINUTES = 360


class Window(msgspec.Struct, frozen=True):
    """From `first_minute` (minutes since 1970, included) to now."""

    hours: int
    first_minute: int
    last_minute: int

    @classmethod
    def last(cls, hours: int, now: datetime) -> Window:
        """The last hours: to the minute when they are few, else beginning with a whole hour."""
        minute = int(now.timestamp() // 60)
        if hours <= MINUTE_BY_MINUTE_HOURS:
            return cls(hours, minute - hours * MINUTES_PER_HOUR + 1, minute)
        return cls(hours, (minute // MINUTES_PER_HOUR - hours + 1) * MINUTES_PER_HOUR, minute)

    @classmethod
    def today(cls, now: datetime) -> Window:
        """Since midnight UTC."""
        minute = int(now.timestamp() // 60)
        return cls(24, minute // 1440 * 1440, minute)

    @property
    def is_hourly(self) -> bool:
        """Whether whole hours make it up."""
        return self.hours > MINUTE_BY_MINUTE_HOURS

    @property
    def first_hour(self) -> int:
        """Hours since 1970 of the first hour that it touches."""
        return self.first_minute // MINUTES_PER_HOUR

    @property
    def step_minutes(self) -> int:
        """The step of a chart."""
        return next((step for limit, step in STEPS if self.hours <= limit), LONGEST_STEP_MINUTES)

    @property
    def steps(self) -> range:
        """The steps of a chart, in units of the step since 1970."""
        return range(self.first_minute // self.step_minutes, self.last_minute // self.step_minutes + 1)
