"""Who makes room when an upstream has as many conversations as it may."""

from __future__ import annotations

from typing import Any

import pytest

from proxies.mcp.upstreams.seats import SeatBounds, Seats

BOUNDS = SeatBounds(max_open=4, max_open_per_principal=3, legacy_idle_seconds=100, modern_idle_seconds=50)


class Stub:
    """A conversation as seats see it."""

    def __init__(self, used_at: float = 0.0, *, busy: bool = False, watched: bool = False) -> None:
        self.used_at = used_at
        self.busy = busy
        self.watched = watched


def filled(*places: tuple[str, str, Stub | None]) -> Seats:
    seats = Seats(BOUNDS)
    for principal_id, session_id, conversation in places:
        seat, _ = seats.take(principal_id, session_id, 1000.0)
        assert seat is not None
        seat.conversation = conversation  # type: ignore[assignment]
    return seats


def take(seats: Seats, principal_id: str, now: float = 1000.0) -> str | None:
    """The session that gives way to a new one; None when the new one gets no seat."""
    seat, vacated = seats.take(principal_id, "new", now)
    return None if seat is None else vacated.session_id if vacated else ""


def test_P_03_a_principal_at_its_bound_gives_up_its_own_least_recent_session() -> None:
    seats = filled(("a", "a1", Stub(2)), ("a", "a2", Stub(1)), ("a", "a3", Stub(3)), ("b", "b1", Stub(0)))
    assert take(seats, "a") == "a2"
    assert len(seats) == 4


@pytest.mark.parametrize("kept", [Stub(1, busy=True), Stub(999), None])
def test_P_03_what_is_in_use_just_used_or_just_opened_keeps_its_seat(kept: Any) -> None:
    assert take(filled(("a", "a1", kept), ("a", "a2", Stub(5)), ("a", "a3", Stub(6))), "a") == "a2"
    assert take(filled(("a", "a1", kept), ("a", "a2", kept), ("a", "a3", kept)), "a") is None


def test_P_03_at_the_bound_of_all_somebody_without_a_stream_gives_way() -> None:
    places = [("a", "a1", Stub(1, watched=True)), ("a", "a2", Stub(2)), ("b", "b1", Stub(3)), ("c", "c1", Stub(4))]
    assert take(filled(*places), "d") == "a2"
    watched = [(principal, session, Stub(1, watched=True)) for principal, session, _ in places]
    assert take(filled(*watched), "d") is None
    assert take(filled(*watched), "b") == "b1"


def test_P_03_idle_seats_are_those_that_nobody_uses_or_watches() -> None:
    seats = filled(
        ("a", "old", Stub(0)), ("a", "watched", Stub(0, watched=True)), ("b", "", Stub(940)), ("b", "young", Stub(940))
    )
    assert [seat.session_id for seat in seats.idle(1000.0)] == ["old", ""]


def test_seats_are_found_by_session_and_modern_ones_by_principal() -> None:
    stub = Stub()
    seats = filled(("a", "s1", stub), ("a", "", Stub()), ("b", "", Stub()))
    assert seats.find("s1").principal_id == "a"
    assert seats.find("", "b").principal_id == "b"
    assert seats.find("s2") is None
    seat = seats.find("s1")
    seats.leave_with(stub)
    assert not seats.leave(seat)
