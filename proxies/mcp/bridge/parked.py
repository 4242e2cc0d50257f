"""Requests of modern clients that wait for input while a legacy server waits for them: behind one-time handles."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from typing import Any, Final, Generic, TypeVar

from proxies.mcp.messages import Message
from proxies.strict_json import dump

PARKED_SECONDS: Final = 300.0
"""How long a client may take for its retry: there is a person behind it."""
MAX_PARKED: Final = 1_000
MAX_PARKED_PER_PRINCIPAL: Final = 100
HANDLE_BYTES: Final = 24

T = TypeVar("T")


class TooManyParked(Exception):
    """No more requests may wait."""


class Parked(Generic[T]):
    """By handle what waits. `T` is what a retry wakes."""

    def __init__(self) -> None:
        self._waiting: dict[str, tuple[T, str, bytes, asyncio.TimerHandle]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def park(self, waiting: T, *, principal_id: str, digest: bytes, expire: Any) -> str:
        """A handle, for this principal and this request only; `expire` is called when nobody came. Raises TooManyParked."""
        own = sum(owner == principal_id for _, owner, _, _ in self._waiting.values())
        if len(self._waiting) >= MAX_PARKED or own >= MAX_PARKED_PER_PRINCIPAL:
            raise TooManyParked
        handle = secrets.token_urlsafe(HANDLE_BYTES)

        def expired() -> None:
            if self._waiting.pop(handle, None) is not None:
                expire()

        timer = asyncio.get_running_loop().call_later(PARKED_SECONDS, expired)
        self._waiting[handle] = (waiting, principal_id, digest, timer)
        return handle

    def take(self, handle: Any, *, principal_id: str, digest: bytes) -> T | None:
        """What waits behind a handle, once; None for anybody else and for any other request, without saying why."""
        found = self._waiting.get(handle) if type(handle) is str else None
        if found is None:
            return None
        waiting, owner, known, timer = found
        if owner != principal_id or known != digest:
            return None
        del self._waiting[handle]
        timer.cancel()
        return waiting

    def clear(self) -> list[T]:
        """Give up all of them; what was waiting."""
        waiting = []
        for one, _, _, timer in self._waiting.values():
            timer.cancel()
            waiting.append(one)
        self._waiting.clear()
        return waiting


def digest_of(request: Message) -> bytes:
    """What a retry must have in common with its request: the method and every parameter that is not about the retry."""
    params = {
        name: value
        for name, value in (request.params or {}).items()
        if name not in ("_meta", "inputResponses", "requestState")
    }
    return hashlib.sha256(dump([request.method, params])).digest()
