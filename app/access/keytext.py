"""The text of an API key: made once, shown once, kept as a digest."""

from __future__ import annotations

import hashlib
import secrets
import string

PREFIX = "ost_"
RANDOM_CHARACTERS = 43  # 43 base62 characters carry 256 bits.
SHOWN_PREFIX_CHARACTERS = 8

_ALPHABET = string.digits + string.ascii_letters


def new_key() -> str:
    """A fresh key with 256 bits of randomness."""
    return PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(RANDOM_CHARACTERS))


def digest(key: str) -> str:
    """Lower-case hex SHA-256 of the whole key. A fast hash is enough: the key is random, not a password."""
    return hashlib.sha256(key.encode("ascii")).hexdigest()


def shown_parts(key: str) -> tuple[str, str]:
    """The first characters and the last four: enough to recognise a key, useless to guess it."""
    return key[:SHOWN_PREFIX_CHARACTERS], key[-4:]
