"""One-time tickets: once, for a short time, bounded (W-03)."""

from __future__ import annotations

import pytest

from proxies import tickets as tickets_module
from proxies.tickets import TICKET_PREFIX, TICKET_SECONDS, Tickets


def test_W_03_a_ticket_works_once() -> None:
    tickets = Tickets()
    ticket = tickets.issue("digest")
    assert ticket.startswith(TICKET_PREFIX)
    assert tickets.redeem(ticket + "x") is None
    assert tickets.redeem(ticket) == "digest"
    assert tickets.redeem(ticket) is None


def test_W_03_a_ticket_is_void_after_its_time() -> None:
    now = [0.0]
    tickets = Tickets(clock=lambda: now[0])
    early, late = tickets.issue("a"), tickets.issue("b")
    now[0] = TICKET_SECONDS - 1
    assert tickets.redeem(late) == "b"
    now[0] = TICKET_SECONDS
    assert tickets.redeem(early) is None
    assert len(tickets) == 0


def test_W_03_at_the_bound_the_oldest_ticket_is_void(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tickets_module, "MAX_TICKETS", 2)
    tickets = Tickets()
    first, second, third = (tickets.issue(name) for name in "abc")
    assert [tickets.redeem(one) for one in (first, second, third)] == [None, "b", "c"]
