"""What can be wrong with a reference to a policy or pack, and with a change of a policy."""

from __future__ import annotations

from collections.abc import Sequence

from app.errors import Conflict, NotFound, Unavailable, ValidationFailed
from rules.packs import Problem

MAX_FIELDS = 100


class PolicyNotFound(NotFound):
    code = "policy_not_found"
    default_remediation = "List the policies with GET /api/v1/policies."


class PackNotFound(NotFound):
    code = "pack_not_found"
    default_remediation = "List the packs with GET /api/v1/packs."


class VersionNotFound(NotFound):
    code = "policy_version_not_found"
    default_remediation = "List the versions with GET /api/v1/policies/{name}/versions."


class ReplayNotFound(NotFound):
    code = "replay_not_found"
    default_message = "There is no such replay. The newest few are kept until Ostiary stops."
    default_remediation = "Start it again with POST /api/v1/policies/{name}/replay."


class PolicyNameTaken(Conflict):
    code = "policy_name_taken"
    default_remediation = "Choose another name, or open the policy that has it."


class ShippedPolicy(Conflict):
    code = "policy_shipped"
    default_message = "Policies that come with Ostiary cannot be changed."
    default_remediation = "Use it as a template: make a policy of your own from it and assign that one."


class DraftOutdated(Conflict):
    code = "policy_draft_outdated"
    default_message = "The draft was changed meanwhile."
    default_remediation = "Load the draft again and repeat your change on it."


class NothingToPublish(Conflict):
    code = "policy_without_draft"
    default_message = "This policy has no draft."
    default_remediation = "Save a draft first."


class PolicyInUse(Conflict):
    code = "policy_in_use"
    default_remediation = "Take it away from them first."


class PolicyTooSlow(Unavailable):
    code = "policy_check_too_slow"
    default_message = "The check did not finish in time."
    default_remediation = "Use fewer or simpler patterns, or try again when the machine is less busy."


class PolicyInvalid(ValidationFailed):
    """The document has problems. `fields` holds them by JSON pointer."""

    code = "policy_invalid"
    default_message = "The policy has problems."
    default_remediation = "Correct what the fields name; POST /api/v1/policies/validate lists all problems."

    def __init__(self, problems: Sequence[Problem]) -> None:
        fields: dict[str, str] = {}
        for problem in problems[:MAX_FIELDS]:
            fields.setdefault(problem.pointer or "/", problem.reason)
        first = problems[0]
        super().__init__(f"The policy has problems: {first.pointer or '/'}: {first.reason}.", fields=fields)
        self.problems = tuple(problems)
