"""Identifiers: a prefix that names the kind, then a ULID (48 bits of time, 80 random bits).

They sort by time of creation and need no coordination between processes.
"""

from __future__ import annotations

import secrets
import time

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
RANDOM_BITS = 80
ULID_CHARACTERS = 26


def ulid(at_ms: int, randomness: int) -> str:
    """Encode milliseconds since 1970 and 80 random bits in Crockford's base 32."""
    number = (at_ms << RANDOM_BITS) | randomness
    return "".join(CROCKFORD[(number >> shift) & 31] for shift in range((ULID_CHARACTERS - 1) * 5, -1, -5))


def new_id(prefix: str) -> str:
    """A fresh identifier such as `usr_01JD2E…`."""
    return f"{prefix}_{ulid(time.time_ns() // 1_000_000, secrets.randbits(RANDOM_BITS))}"
