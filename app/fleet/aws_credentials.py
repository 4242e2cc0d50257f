"""Credentials with which requests to Amazon Bedrock are signed: what is acceptable, and which region they are for. Pure."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from app.fleet import validation
from app.fleet.schemas import UpstreamAuthInput

TYPE: Final = "aws"
_REGION: Final = re.compile(r"[a-z]{2,6}(?:-[a-z]+){1,3}-[0-9]{1,2}")
_ACCESS_KEY_ID: Final = re.compile(r"[A-Z0-9]{16,128}")
_TEMPORARY: Final = "ASIA"
"""How the ids of keys begin that are good with a session token only."""
_HOST: Final = re.compile(
    r"(?:[a-z0-9-]+\.)*bedrock-runtime(?:-fips)?\.([a-z0-9-]+)\.(?:vpce\.)?(?:amazonaws\.com(?:\.cn)?|api\.aws)"
)
"""Names of Bedrock's endpoints, which say their region; those of private ones have an id before it."""
_SHAPE: Final = "An access key ID has at least 16 capital letters and digits, such as AKIAIOSFODNN7EXAMPLE."


class AWSPlan(msgspec.Struct, frozen=True):
    """What to write into a proxy's row besides the secret access key."""

    region: str = ""
    access_key_id: str = ""
    session_reference: str | None = None
    session_secret: str | None = None
    """A new one to seal."""

    def __repr__(self) -> str:
        return f"<AWSPlan {self.region} {self.access_key_id}>"


def plan(wanted: UpstreamAuthInput, *, stored_access_key_id: str) -> tuple[AWSPlan, dict[str, str]]:
    """What wanted credentials mean for the row, and the problems by field. Empty `stored_access_key_id`: none are stored.

    The secret access key and the session token belong together and to one access key: they are kept or replaced together.
    """
    problems: dict[str, str] = {}
    region, id, token = wanted.region.strip(), wanted.access_key_id.strip(), wanted.session_token or ""
    if region and not _REGION.fullmatch(region):
        problems["upstream_auth.region"] = "Give the code of a region, such as eu-west-1."
    if problem := _id_problem(id):
        problems["upstream_auth.access_key_id"] = problem
    if not wanted.value and not stored_access_key_id:
        problems["upstream_auth.value"] = "Give the secret access key, or env:NAME or file:PATH where it can be found."
    elif not wanted.value and id != stored_access_key_id:
        problems["upstream_auth.value"] = "The access key ID has changed: give its secret access key as well."
    elif not wanted.value and token:
        problems["upstream_auth.value"] = "Give the secret access key that belongs to the new session token as well."
    if token and (problem := validation.credential_problem(token)):
        problems["upstream_auth.session_token"] = problem
    elif wanted.value and not token and id.startswith(_TEMPORARY):
        problems["upstream_auth.session_token"] = (
            f"Keys that begin with {_TEMPORARY} are temporary: give their session token as well."
        )
    is_reference = validation.is_reference(token)
    return AWSPlan(region, id, token if is_reference else None, None if is_reference else token or None), problems


def region_problem(region: str, target_url: str) -> str | None:
    """Why requests cannot be signed for this region: the target says another one, or nobody says any."""
    named = region_of(target_url)
    if not region and not named:
        return "Give the region, such as eu-west-1: the address of the target does not name it."
    if region and named and region != named:
        return f"The target is in {named}: give that region, or leave this empty."
    return None


def region_of(target_url: str) -> str:
    """The region that the name of a Bedrock endpoint says; empty for other names."""
    if validation.target_url_problem(target_url):
        return ""
    match = _HOST.fullmatch(validation.origin(target_url)[1])
    return match[1] if match and _REGION.fullmatch(match[1]) else ""


def access_key_id_problem(id: str) -> str | None:
    """Why this is no id of an access key; also applied to what a reference resolves to."""
    return None if _ACCESS_KEY_ID.fullmatch(id) else _SHAPE


def _id_problem(id: str) -> str | None:
    if not id:
        return "Give the access key ID, or env:NAME or file:PATH where it can be found."
    return validation.credential_problem(id) if validation.is_reference(id) else access_key_id_problem(id)
