"""Who a program runs as, where that is another user than Ostiary's own (P-05).

Only the superuser can start programs as somebody else; whoever cannot refuses to start them at all, because the alternative
would be to run them with more rights than was asked for.
"""

from __future__ import annotations

import os
import pwd

import msgspec


class NoSuchIdentity(Exception):
    """Nothing can be started as this user; the message says why in words that a client may read."""


class Identity(msgspec.Struct, frozen=True):
    """A user of this machine with its groups."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str

    @property
    def variables(self) -> dict[str, str]:
        """What programs read of their user in their environment."""
        return {"HOME": self.home, "USER": self.name, "LOGNAME": self.name}


def identity_of(name: str, *, own_uid: int | None = None) -> Identity:
    """The user of this name; raises `NoSuchIdentity`. Asks the system's directory of users, which may take its time."""
    if (os.geteuid() if own_uid is None else own_uid) != 0:
        raise NoSuchIdentity("it is to run as another user, which only a gateway of the superuser can do")
    try:
        user = pwd.getpwnam(name)
    except KeyError:
        raise NoSuchIdentity("there is no user of the name that it is to run as") from None
    if user.pw_uid == 0:
        raise NoSuchIdentity("the user that it is to run as is the superuser")
    groups = os.getgrouplist(user.pw_name, user.pw_gid)
    return Identity(user.pw_name, user.pw_uid, user.pw_gid, tuple(groups), user.pw_dir)
