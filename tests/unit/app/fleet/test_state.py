"""How a proxy's state follows from what the console and the workers know."""

import pytest

from app.fleet.state import MOVES, ProxyState, WorkerReport, judge, moves
from proxies.contract import ListenerStatus


def report(state: str = "", *, live: bool = True, reason: str = "", loop: str = "") -> WorkerReport:
    listeners = {"prx_a": ListenerStatus("prx_a", state, reason)} if state else {}  # type: ignore[arg-type]
    return WorkerReport(live=live, listeners=listeners, version=1, crash_loop=loop)


@pytest.mark.parametrize(
    ("wanted", "failure", "reports", "state", "serving"),
    [
        (False, "", [report()], ProxyState.STOPPED, 0),
        (False, "", [report("draining")], ProxyState.DRAINING, 0),
        (False, "", [report("running")], ProxyState.DRAINING, 1),
        (False, "", [report("draining", live=False)], ProxyState.STOPPED, 0),
        (True, "", [report("stopped")], ProxyState.STARTING, 0),
        (True, "", [report("draining")], ProxyState.STARTING, 0),
        (True, "", [report(live=False)], ProxyState.STARTING, 0),
        (True, "", [report("running")], ProxyState.RUNNING, 1),
        (True, "", [report("running"), report("running")], ProxyState.RUNNING, 2),
        (True, "", [report("running"), report("running", live=False)], ProxyState.DEGRADED, 1),
        (True, "", [report("running"), report("failed", reason="bad certificate")], ProxyState.DEGRADED, 1),
        (True, "", [report("failed", reason="bad certificate")], ProxyState.FAILED, 0),
        (True, "", [report(live=False, loop="crashed")], ProxyState.FAILED, 0),
        (True, "", [report(live=False, loop="crashed"), report(live=False)], ProxyState.STARTING, 0),
        (True, "Port 1 is taken.", [report("running")], ProxyState.FAILED, 1),
        (False, "Port 1 is taken.", [report()], ProxyState.FAILED, 0),
    ],
)
def test_RUN_04_state_follows_from_what_is_known(
    wanted: bool, failure: str, reports: list[WorkerReport], state: ProxyState, serving: int
) -> None:
    found, reason, live = judge("prx_a", wanted=wanted, failure=failure, refused="", reports=reports)
    assert (found, live) == (state, serving)
    assert bool(reason) is (state in (ProxyState.FAILED, ProxyState.DEGRADED)) or state is ProxyState.STARTING


def test_RUN_04_reasons_name_their_cause() -> None:
    assert (
        judge("prx_a", wanted=True, failure="", refused="", reports=[report("failed", reason="bad key")])[1]
        == "bad key"
    )
    found = judge("prx_a", wanted=True, failure="", refused="rules are damaged", reports=[report("running")])
    assert found[0] is ProxyState.DEGRADED
    assert "rules are damaged" in found[1]
    assert (
        "1 of 2"
        in judge("prx_a", wanted=True, failure="", refused="", reports=[report("running"), report(live=False)])[1]
    )


def test_every_state_has_moves_and_none_begins_to_serve_without_starting() -> None:
    assert set(MOVES) == set(ProxyState)
    for before, after in MOVES.items():
        assert before not in after
        if not before.serves and before is not ProxyState.STARTING:
            assert not any(state.serves for state in after)


@pytest.mark.parametrize("before", ProxyState)
@pytest.mark.parametrize("after", ProxyState)
def test_moves_pass_only_through_allowed_states(before: ProxyState, after: ProxyState) -> None:
    here = before
    for step in moves(before, after):
        assert step in MOVES[here]
        here = step
    assert here is after


def test_only_stopped_and_failed_proxies_are_free_to_delete() -> None:
    assert {state for state in ProxyState if not state.occupied} == {ProxyState.STOPPED, ProxyState.FAILED}
