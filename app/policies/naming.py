"""What may be named as the policies of all proxies, or of those with a tag."""

from __future__ import annotations

from collections.abc import Sequence

from app.errors import ValidationFailed
from app.fleet import validation
from app.policies.errors import PolicyNotFound
from app.policies.library import PolicyLibrary


def require_known(library: PolicyLibrary, names: Sequence[str]) -> None:
    """Raise ValidationFailed for names that cannot be a list of policies, PolicyNotFound for one that is none."""
    if problem := validation.policy_names_problem(names):
        raise ValidationFailed(fields={"policy_names": problem})
    if unknown := library.unknown(names):
        message = f"There is no policy named {unknown[0]}."
        raise PolicyNotFound(message, fields={"policy_names": message})
