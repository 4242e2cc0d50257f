"""The users that started programs may run as: asked of the system when an entry is saved, and again at each start."""

from __future__ import annotations

import os
import pwd
import re

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?")


def is_superuser() -> bool:
    """Whether this process may start programs as somebody else, and gives its own rights to all others."""
    return os.geteuid() == 0


def user_problem(name: str, *, superuser: bool | None = None) -> str | None:
    """Why programs cannot run as this user; empty is whoever runs Ostiary."""
    if not name:
        return None
    if not (is_superuser() if superuser is None else superuser):
        return (
            "Only an Ostiary that runs as root can start programs as another user. Leave it empty, or run it as root."
        )
    if not _NAME.fullmatch(name):
        return "Give the name of a user of this machine."
    try:
        user = pwd.getpwnam(name)
    except KeyError:
        return "This machine has no user of that name. Make one, for example with useradd --system --no-create-home."
    if user.pw_uid == 0:
        return "This user is the superuser, who may do everything. Name one with few rights."
    return None
