"""Random credentials: a prefix that names the kind and 43 base-62 characters (256 bits).

Only their SHA-256 is ever stored.
"""

from __future__ import annotations

import hashlib
import secrets
import string

ALPHABET = string.ascii_letters + string.digits
SECRET_CHARACTERS = 43
MAX_CHARACTERS = 128
SESSION_PREFIX = "oss_"
API_TOKEN_PREFIX = "oat_"  # noqa: S105 - a prefix.


def new_token(prefix: str) -> str:
    """A fresh credential."""
    return prefix + "".join(secrets.choice(ALPHABET) for _ in range(SECRET_CHARACTERS))


def digest(token: str) -> str:
    """What is stored and looked up: hex SHA-256 of the whole credential."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
