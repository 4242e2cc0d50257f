"""Telephone numbers, judged by the numbering plans of all countries.

The plans are a megabyte of tables: they are read when the first candidate turns up and not when a worker starts.
"""

from __future__ import annotations

import re

_SEPARATORS = frozenset(" ./()-x–‑")
_SHORTEST = 8
"""Characters of the shortest number with its country code."""
_COORDINATES = re.compile(r"[-.]\.|\.-")
"""Fractions without a zero beside each other, as in the paths of pictures (`001-.594-.21`)."""


def phone(value: str) -> bool:
    """A number with its country code (`+` or `00`) whose length exists in that country's plan (ITU-T E.164).

    Digits that follow the number after a separator are forgiven: a pattern cannot know where a number ends. Behind `00`,
    which begins other numbers too, the plan must know the number and not only its length.
    """
    is_plain = value.startswith("00")
    if is_plain and _COORDINATES.search(value):
        return False
    number = "+" + value[2:] if is_plain else value
    ends = [place for place, char in enumerate(number) if char in _SEPARATORS]
    return any(_is_in_plan(number[:end], whole=is_plain) for end in (len(number), *reversed(ends)) if end >= _SHORTEST)


def _is_in_plan(number: str, *, whole: bool) -> bool:
    import phonenumbers

    if number.count("(") != number.count(")"):
        return False
    try:
        parsed = phonenumbers.parse(number, None)
    except phonenumbers.NumberParseException:
        return False
    return phonenumbers.is_valid_number(parsed) if whole else phonenumbers.is_possible_number(parsed)
