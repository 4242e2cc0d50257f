"""Passwords: argon2id, at most two at a time, never longer than 1,024 characters.

Parameters are above OWASP's minimum (19 MiB, 2 passes, 1 lane). The semaphore bounds memory to two times 32 MiB and
the queue bounds how many requests may wait for it, so a flood of logins is refused instead of served slowly (ADM-12).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from app.errors import TooManyAttempts

MEMORY_KIB = 32 * 1024
PASSES = 3
LANES = 1
PARALLEL_HASHES = 2
MAX_WAITING = 32
MIN_CHARACTERS = 12
MAX_CHARACTERS = 1024
MIN_DISTINCT_CHARACTERS = 6
ONE_TIME_ALPHABET = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
"""No characters that look alike, so that a person can type it from a terminal."""
ONE_TIME_CHARACTERS = 20

T = TypeVar("T")


class Passwords:
    """Hashes and verifies, off the event loop."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=LANES)
        self._slots = asyncio.Semaphore(PARALLEL_HASHES)
        self._waiting = 0
        self._decoy: str | None = None

    async def hash(self, password: str) -> str:
        """The encoded argon2id hash of a password that `problem_with` has accepted."""
        return await self._run(self._hasher.hash, password)

    async def verify(self, encoded: str | None, password: str) -> bool:
        """Whether the password is right.

        For an unknown user (None) a decoy is verified, so that it takes as long (ADM-11).
        """
        if len(password) > MAX_CHARACTERS:
            return False
        if encoded is None:
            if self._decoy is None:
                self._decoy = await self.hash(secrets.token_urlsafe())
            await self._run(self._matches, self._decoy, password)
            return False
        return await self._run(self._matches, encoded, password)

    def _matches(self, encoded: str, password: str) -> bool:
        try:
            return self._hasher.verify(encoded, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, function: Callable[..., T], *arguments: str) -> T:
        if self._waiting >= MAX_WAITING:
            raise TooManyAttempts("Too many logins at once.", retry_after_seconds=5)
        self._waiting += 1
        try:
            async with self._slots:
                return await asyncio.to_thread(function, *arguments)
        finally:
            self._waiting -= 1


def problem_with(password: str, *, username: str = "") -> str:
    """Why a new password is not acceptable, in a sentence; empty when it is."""
    if len(password) > MAX_CHARACTERS:
        return f"At most {MAX_CHARACTERS} characters."
    if len(password) < MIN_CHARACTERS:
        return f"At least {MIN_CHARACTERS} characters."
    if len(set(password)) < MIN_DISTINCT_CHARACTERS:
        return f"At least {MIN_DISTINCT_CHARACTERS} different characters."
    if username and username.lower() in password.lower():
        return "It must not contain the user name."
    return ""


def one_time_password() -> str:
    """A random password (116 bits) for a first login."""
    return "".join(secrets.choice(ONE_TIME_ALPHABET) for _ in range(ONE_TIME_CHARACTERS))
