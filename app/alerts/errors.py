"""What can be wrong with an alert."""

from __future__ import annotations

from app.errors import Conflict, NotFound


class AlertNotFound(NotFound):
    code = "alert_not_found"
    default_message = "There is no such alert."
    default_remediation = "List the alerts with GET /api/v1/system/alerts."


class AlertNotChangeable(Conflict):
    """The action leads nowhere from the alert's status."""

    code = "alert_status"
    default_remediation = "Reload the alert; somebody may have changed it. A closed alert can be reopened."
