"""Passwords: argon2id, bounded length, bounded memory."""

from __future__ import annotations

import asyncio
import threading

import pytest

from app.errors import TooManyAttempts
from app.security import passwords as module
from app.security.passwords import Passwords, one_time_password, problem_with


async def test_ADM_12_hashes_are_argon2id_above_the_owasp_minimum() -> None:
    encoded = await Passwords().hash("correct horse battery")
    assert encoded.startswith("$argon2id$v=19$m=32768,t=3,p=1$")


async def test_ADM_12_the_right_password_matches_and_its_hash_is_not_accepted_as_one() -> None:
    passwords = Passwords()
    encoded = await passwords.hash("ü" * 64)
    assert await passwords.verify(encoded, "ü" * 64)
    assert not await passwords.verify(encoded, encoded)
    assert not await passwords.verify(encoded, "ü" * 63)
    assert not await passwords.verify("not a hash", "anything")


async def test_ADM_12_an_overlong_password_is_refused_before_it_is_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    passwords = Passwords()
    encoded = await passwords.hash("correct horse battery")

    async def fail(*arguments: object) -> None:
        raise AssertionError("hashed")

    monkeypatch.setattr(passwords, "_run", fail)
    assert not await passwords.verify(encoded, "a" * 1_000_000)
    assert not await passwords.verify(None, "a" * 1025)


async def test_ADM_11_an_unknown_user_costs_a_verification_too(monkeypatch: pytest.MonkeyPatch) -> None:
    passwords = Passwords()
    assert not await passwords.verify(None, "first use makes the decoy")
    verified: list[str] = []
    matches = passwords._matches
    monkeypatch.setattr(
        passwords, "_matches", lambda encoded, password: (verified.append(encoded), matches(encoded, password))[1]
    )
    assert not await passwords.verify(None, "anything")
    assert len(verified) == 1
    assert verified[0].startswith("$argon2id$")


async def test_ADM_12_at_most_two_hashes_run_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    passwords = Passwords()
    gate = threading.Event()
    lock = threading.Lock()
    running = most = 0

    def matches(encoded: str, password: str) -> bool:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        gate.wait(10)
        with lock:
            running -= 1
        return False

    monkeypatch.setattr(passwords, "_matches", matches)
    tasks = [asyncio.create_task(passwords.verify("$", "password")) for _ in range(module.MAX_WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(TooManyAttempts):
        await passwords.verify("$", "one too many")
    gate.set()
    assert await asyncio.gather(*tasks) == [False] * module.MAX_WAITING
    assert most == module.PARALLEL_HASHES


@pytest.mark.parametrize(
    ("password", "problem"),
    [
        ("short", "At least 12 characters."),
        ("a" * 1025, "At most 1024 characters."),
        ("aaaaaaaaaaaaaaaa", "At least 6 different characters."),
        ("Alice-in-wonderland", "It must not contain the user name."),
        ("correct horse battery", ""),
    ],
)
def test_problem_with_a_new_password(password: str, problem: str) -> None:
    assert problem_with(password, username="alice") == problem


def test_ADM_24_one_time_passwords_are_long_random_and_acceptable() -> None:
    made = {one_time_password() for _ in range(50)}
    assert len(made) == 50
    assert all(len(password) == 20 and problem_with(password) == "" for password in made)
