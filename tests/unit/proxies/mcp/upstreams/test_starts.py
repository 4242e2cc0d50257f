"""When a server that does not come up is tried again."""

from __future__ import annotations

from proxies.mcp.upstreams import starts
from proxies.mcp.upstreams.starts import StartsByPrincipal


def test_P_03_every_failure_in_a_row_doubles_the_wait_up_to_a_minute() -> None:
    attempts, waits = StartsByPrincipal(), []
    for _ in range(10):
        attempts.failed("key", "it ended", 100.0)
        waits.append(attempts.wait_seconds("key", 100.0))
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]
    assert attempts.wait_seconds("key", 200.0) == 0
    assert attempts.problem == "it ended"
    attempts.succeeded("key")
    assert (attempts.problem, attempts.wait_seconds("key", 100.0)) == ("", 0)
    attempts.failed("key", "again", 100.0)
    assert attempts.wait_seconds("key", 100.0) == 1


def test_P_03_a_principal_waits_for_its_own_failures_only() -> None:
    attempts = StartsByPrincipal()
    attempts.failed("one", "it ended", 0.0)
    assert attempts.wait_seconds("two", 0.0) == 0


def test_P_03_the_principals_are_bounded(monkeypatch) -> None:
    monkeypatch.setattr(starts, "MAX_PRINCIPALS", 2)
    attempts = StartsByPrincipal()
    for name in ("one", "two", "three"):
        attempts.failed(name, "it ended", 0.0)
    assert [attempts.wait_seconds(name, 0.0) for name in ("one", "two", "three")] == [0, 1, 1]
