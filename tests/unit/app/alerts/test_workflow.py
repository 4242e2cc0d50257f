"""Which action leads from which status to which: the whole table."""

from __future__ import annotations

import pytest

from app.alerts.workflow import AlertAction, AlertStatus, next_status

O, A, R, F = AlertStatus.OPEN, AlertStatus.ACKNOWLEDGED, AlertStatus.RESOLVED, AlertStatus.FALSE_POSITIVE  # noqa: E741

TABLE = {
    (O, AlertAction.ACKNOWLEDGE): A,
    (O, AlertAction.RESOLVE): R,
    (O, AlertAction.FALSE_POSITIVE): F,
    (A, AlertAction.RESOLVE): R,
    (A, AlertAction.FALSE_POSITIVE): F,
    (A, AlertAction.REOPEN): O,
    (R, AlertAction.REOPEN): O,
    (F, AlertAction.REOPEN): O,
}


@pytest.mark.parametrize("status", AlertStatus)
@pytest.mark.parametrize("action", AlertAction)
def test_SYP_MON_7_the_moves_of_an_alert(status: AlertStatus, action: AlertAction) -> None:
    assert next_status(status, action) is TABLE.get((status, action))
