"""What can be wrong with a reference to a policy or pack."""

from __future__ import annotations

from app.errors import NotFound


class PolicyNotFound(NotFound):
    code = "policy_not_found"
    default_remediation = "List the policies with GET /api/v1/policies."


class PackNotFound(NotFound):
    code = "pack_not_found"
    default_remediation = "List the packs with GET /api/v1/packs."
