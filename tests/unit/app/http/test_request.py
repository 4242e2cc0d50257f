"""What the look at the keys of a JSON body costs."""

from __future__ import annotations

import pytest

from app.errors import BadRequest
from app.http.request import _each_once


class Compared(str):
    """A name that counts how often it is compared."""

    __slots__ = ()
    times = 0

    def __eq__(self, other: object) -> bool:
        Compared.times += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


def test_a_repeated_key_behind_many_others_costs_one_look_at_each() -> None:
    names = [Compared(f"k{number}") for number in range(2_000)]
    with pytest.raises(BadRequest, match="'k1999' twice"):
        _each_once([(name, 1) for name in (*names, Compared("k1999"))])
    assert 0 < Compared.times < 2 * len(names)
