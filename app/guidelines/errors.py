"""What can be wrong with a guideline."""

from __future__ import annotations

from app.errors import Conflict, NotFound


class GuidelineNotFound(NotFound):
    code = "guideline_not_found"
    default_message = "There is no such guideline."
    default_remediation = "List the guidelines with GET /api/v1/guidelines."


class GuidelineNameTaken(Conflict):
    code = "guideline_name_taken"
    default_remediation = "Choose another name, or replace the guideline."


class TooManyGuidelines(Conflict):
    code = "too_many_guidelines"
    default_remediation = "Delete guidelines that are no longer in force."
