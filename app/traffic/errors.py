"""What can be wrong with a question about traffic."""

from __future__ import annotations

from app.errors import NotFound


class CallNotFound(NotFound):
    code = "call_not_found"
    default_message = "There is no such call."
    default_remediation = "Calls are kept for the retention time; list them with GET /api/v1/traffic."
