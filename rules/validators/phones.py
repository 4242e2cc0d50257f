"""Telephone numbers, judged by the numbering plans of all countries.

The plans are a megabyte of tables: they are read when the first candidate turns up and not when a worker starts.
"""

from __future__ import annotations

_SEPARATORS = frozenset(" ./()-x–‑")
_SHORTEST = 8
"""Characters of the shortest number with its country code."""


def phone(value: str) -> bool:
    """A number with its country code (`+` or `00`) whose length exists in that country's plan (ITU-T E.164).

    Digits that follow the number after a separator are forgiven: a pattern cannot know where a number ends.
    """
    number = "+" + value[2:] if value.startswith("00") else value
    ends = [place for place, char in enumerate(number) if char in _SEPARATORS]
    return any(_is_possible(number[:end]) for end in (len(number), *reversed(ends)) if end >= _SHORTEST)


def _is_possible(number: str) -> bool:
    import phonenumbers

    try:
        return phonenumbers.is_possible_number(phonenumbers.parse(number, None))
    except phonenumbers.NumberParseException:
        return False
