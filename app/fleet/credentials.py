"""Upstream credentials: where they are kept and how a reference becomes the secret.

Three forms: stored (sealed by the vault, bound to its row), `env:NAME` and `file:PATH`, which are read each time the
configuration is built. A secret never appears in an error; the reason names the reference only.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from app.fleet import aws_credentials, validation
from app.fleet.aws_credentials import AWSPlan
from app.fleet.schemas import UpstreamAuthInput

MAX_FILE_BYTES = 64 * 1024
OWN_VARIABLES = frozenset({"ENCRYPTION_KEY", "JWT_SECRET", "DATABASE_URL", "DB_PATH", "DATABASE_PATH"})
"""The gateway's own secrets are not for upstreams, whoever asks."""


class CredentialUnavailable(Exception):
    """A credential cannot be had; the message says why in one sentence and holds no secret."""


class CredentialPlan(msgspec.Struct, frozen=True):
    """What to write into a proxy's row. `secret` is a new one to seal; `keep` leaves reference and secret as they are."""

    type: Literal["none", "bearer", "header", "aws"]
    name: str
    reference: str | None
    secret: str | None
    keep: bool
    aws: AWSPlan = AWSPlan()

    def __repr__(self) -> str:
        return f"<CredentialPlan {self.type} keep={self.keep}>"


def plan(
    wanted: UpstreamAuthInput, *, is_set: bool, stored_access_key_id: str = ""
) -> tuple[CredentialPlan, dict[str, str]]:
    """What a wanted credential means for the row, and the problems by field (nothing is done when there are any).

    `stored_access_key_id` says that what is stored is a secret access key of AWS, and whose: it is kept as nothing else.
    """
    problems = _unfit_problems(wanted)
    if wanted.type == "aws":
        aws, aws_problems = aws_credentials.plan(wanted, stored_access_key_id=stored_access_key_id)
        problems |= aws_problems
    else:
        aws, is_set = AWSPlan(), is_set and not stored_access_key_id
    if wanted.type == "none":
        if wanted.value:
            problems["upstream_auth.value"] = "The type none takes no value."
        return CredentialPlan("none", "", None, None, keep=False), problems
    name = wanted.name.strip() if wanted.type == "header" else ""
    if wanted.type == "header" and (problem := validation.header_name_problem(name)):
        problems["upstream_auth.name"] = problem
    if not wanted.value:
        if not is_set:
            problems.setdefault(
                "upstream_auth.value", "Give the credential, or env:NAME or file:PATH where it can be found."
            )
        return CredentialPlan(wanted.type, name, None, None, keep=True, aws=aws), problems
    if problem := validation.credential_problem(wanted.value):
        problems["upstream_auth.value"] = problem
    if validation.is_reference(wanted.value):
        return CredentialPlan(wanted.type, name, wanted.value, None, keep=False, aws=aws), problems
    return CredentialPlan(wanted.type, name, None, wanted.value, keep=False, aws=aws), problems


def _unfit_problems(wanted: UpstreamAuthInput) -> dict[str, str]:
    """Members that only credentials of AWS have."""
    if wanted.type == "aws":
        return {}
    given = {
        "region": wanted.region,
        "access_key_id": wanted.access_key_id,
        "session_token": wanted.session_token,
    }
    return {f"upstream_auth.{name}": "Only the type aws has this." for name, value in given.items() if value}


def resolve(reference: str, *, environ: Mapping[str, str], data_directory: Path) -> str:
    """The secret behind `env:NAME` or `file:PATH`; raises CredentialUnavailable. Reads a file: call it off the loop."""
    kind, _, rest = reference.partition(":")
    secret = _from_environment(rest, environ) if kind == "env" else _from_file(rest, data_directory)
    if problem := validation.secret_problem(secret):
        raise CredentialUnavailable(f"The upstream credential {reference} cannot be used. {problem}")
    return secret


def _from_environment(name: str, environ: Mapping[str, str]) -> str:
    if name in OWN_VARIABLES:
        raise CredentialUnavailable(f"The variable {name} belongs to the gateway and is not passed to upstreams.")
    if name not in environ:
        raise CredentialUnavailable(f"The upstream credential env:{name} is missing: the variable is not set.")
    return environ[name].strip()


def _from_file(path_text: str, data_directory: Path) -> str:
    shown = f"file:{path_text}"
    try:
        path = Path(path_text).resolve(strict=True)
        if path.is_relative_to(data_directory.resolve()):
            raise CredentialUnavailable(f"The upstream credential {shown} lies in the gateway's own data directory.")
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_FILE_BYTES:
            raise CredentialUnavailable(f"The upstream credential {shown} is not a small regular file.")
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise CredentialUnavailable(f"The upstream credential {shown} cannot be read: {error.strerror}.") from error
    try:
        return data.decode("ascii").strip()
    except UnicodeDecodeError:
        raise CredentialUnavailable(f"The upstream credential {shown} is not ASCII text.") from None
