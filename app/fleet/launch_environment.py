"""The environment of a server that a proxy starts: names that everybody may see, values that nobody sees again.

A value is a secret that is kept sealed, or `env:NAME` or `file:PATH`, which are read each time the configuration is built.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from app.fleet import credentials, validation
from app.fleet.models import Proxy
from app.fleet.schemas import LaunchVariable
from app.launch.commands import environment_problem
from app.security.vault import Undecryptable, Vault

TABLE = "proxies"
COLUMN = "launch_environment"


class EnvironmentUnavailable(Exception):
    """The environment cannot be had; the message says why and holds no value."""


def opened(proxy: Proxy, vault: Vault) -> dict[str, str]:
    """Names and values or references; raises EnvironmentUnavailable."""
    if proxy.launch_environment is None:
        return {}
    try:
        text = vault.decrypt(proxy.launch_environment, table=TABLE, row=proxy.id, column=COLUMN)
        return msgspec.json.decode(text, type=dict[str, str])
    except (Undecryptable, msgspec.MsgspecError) as error:
        raise EnvironmentUnavailable("The stored environment cannot be decrypted. Enter its values again.") from error


def sealed(variables: Mapping[str, str], vault: Vault, proxy_id: str) -> str | None:
    """What is stored; None without variables."""
    if not variables:
        return None
    text = msgspec.json.encode(dict(sorted(variables.items()))).decode()
    return vault.encrypt(text, table=TABLE, row=proxy_id, column=COLUMN)


def shown(variables: Mapping[str, str]) -> list[LaunchVariable]:
    """The variables without their values, by name."""
    return [
        LaunchVariable(name=name, reference=value if validation.is_reference(value) else None)
        for name, value in sorted(variables.items())
    ]


def merged(
    wanted: Mapping[str, str | None], stored: Mapping[str, str], *, command_changed: bool
) -> tuple[dict[str, str], str | None]:
    """The variables to store, and what is wrong with them. A wanted None keeps the stored value, which was given for one
    command: with another one it takes somebody who knows it."""
    if problem := environment_problem(wanted):
        return {}, problem
    result: dict[str, str] = {}
    for name, value in wanted.items():
        kept = stored.get(name) if value is None else value
        if kept is None:
            return {}, f"Give the value of {name}, or env:NAME or file:PATH where it can be found."
        if value is None and command_changed and not validation.is_reference(kept):
            return {}, f"The command has changed: enter the value of {name} again."
        if validation.is_reference(kept) and (problem := validation.credential_problem(kept)):
            return {}, f"{name}: {problem}"
        result[name] = kept
    return result, None


def resolve(variables: Mapping[str, str], *, environ: Mapping[str, str], data_directory: Path) -> dict[str, str]:
    """The values of the process' variables; raises EnvironmentUnavailable. Reads files: call it off the loop."""
    try:
        return {
            name: credentials.resolve(value, environ=environ, data_directory=data_directory)
            if validation.is_reference(value)
            else value
            for name, value in variables.items()
        }
    except credentials.CredentialUnavailable as error:
        raise EnvironmentUnavailable(str(error).replace("upstream credential", "value")) from error
