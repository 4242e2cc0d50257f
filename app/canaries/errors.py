"""What can be wrong with a canary."""

from __future__ import annotations

from app.errors import Conflict, NotFound


class CanaryNotFound(NotFound):
    code = "canary_not_found"
    default_message = "There is no such canary."
    default_remediation = "List the canaries with GET /api/v1/canaries."


class CanaryNameTaken(Conflict):
    code = "canary_name_taken"
    default_remediation = "Choose another name."


class TooManyCanaries(Conflict):
    code = "too_many_canaries"
    default_remediation = "Delete canaries that are no longer planted."
