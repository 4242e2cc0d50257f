"""Login throttling: pure waits, and the persisted counters behind them."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from app import clock
from app.accounts import throttle
from app.accounts.errors import InvalidCredentials
from app.accounts.service import Accounts
from app.errors import TooManyAttempts
from tests.support.console import PASSWORD, Console, console_app

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


class Time:
    """A clock that a test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = datetime.now(UTC)
        monkeypatch.setattr(clock, "utcnow", lambda: self.now)

    def pass_(self, **length: float) -> None:
        self.now += timedelta(**length)


def accounts_of(console: Console) -> Accounts:
    accounts: Accounts = console.app.state.accounts
    return accounts


async def guess(console: Console, username: str = "admin", ip: str = "192.0.2.1", password: str = "wrong") -> None:
    await accounts_of(console).log_in(username, password, ip=ip, user_agent="guesser")


async def exhaust(console: Console, username: str = "admin", ip: str = "192.0.2.1") -> None:
    """Fail until the next attempt would be refused."""
    for _ in range(throttle.FREE_FAILURES + 1):
        with pytest.raises(InvalidCredentials):
            await guess(console, username, ip)


@pytest.mark.parametrize(
    ("failures", "seconds"), [(0, 0), (5, 0), (6, 1), (7, 2), (8, 4), (11, 32), (12, 60), (10_000, 60)]
)
def test_ADM_10_waits_double_up_to_a_bound(failures: int, seconds: int) -> None:
    assert throttle.wait_after(failures, throttle.MAX_ACCOUNT_WAIT) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("ip", "subject"),
    [
        ("192.0.2.7", "address:192.0.2.7"),
        ("2001:db8::1", "address:2001:db8::/64"),
        ("2001:db8::ffff:1", "address:2001:db8::/64"),
        ("", "address:unknown"),
        ("testclient", "address:unknown"),
    ],
)
def test_ADM_10_an_ipv6_neighbourhood_counts_as_one_address(ip: str, subject: str) -> None:
    assert throttle.address_subject(ip) == subject


async def test_ADM_10_failures_are_throttled_and_the_wait_ends(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    time = Time(monkeypatch)
    await exhaust(console)
    with pytest.raises(TooManyAttempts) as refusal:
        await guess(console, password=PASSWORD)
    assert refusal.value.retry_after_seconds == 1
    time.pass_(seconds=1.1)
    await guess(console, password=PASSWORD)
    await guess(console, password=PASSWORD)


async def test_ADM_10_refused_attempts_do_not_lengthen_the_wait(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    time = Time(monkeypatch)
    await exhaust(console)
    for _ in range(50):
        with pytest.raises(TooManyAttempts):
            await guess(console)
    time.pass_(seconds=1.1)
    await guess(console, password=PASSWORD)


async def test_ADM_10_the_sole_admin_gets_in_from_the_usual_address_while_others_guess(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    Time(monkeypatch)
    await guess(console, ip="198.51.100.1", password=PASSWORD)
    for last in range(10):
        with pytest.raises((InvalidCredentials, TooManyAttempts)):
            await guess(console, ip=f"192.0.2.{last}")
    with pytest.raises(TooManyAttempts):
        await guess(console, ip="203.0.113.1", password=PASSWORD)
    await guess(console, ip="198.51.100.1", password=PASSWORD)


async def test_ADM_10_many_accounts_from_one_address_are_throttled_together(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    Time(monkeypatch)
    for number in range(throttle.FREE_FAILURES + 1):
        with pytest.raises(InvalidCredentials):
            await guess(console, username=f"user{number}")
    with pytest.raises(TooManyAttempts):
        await guess(console, username="yet-another")


async def test_ADM_10_a_success_gives_the_address_back_only_its_own_attempt(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    Time(monkeypatch)
    for _ in range(throttle.FREE_FAILURES):
        with pytest.raises(InvalidCredentials):
            await guess(console, username="victim")
    await guess(console, password=PASSWORD)
    async with console.app.state.database.reader() as session:
        failures = await session.scalar(text("SELECT failures FROM login_throttle WHERE subject = 'address:192.0.2.1'"))
    assert failures == throttle.FREE_FAILURES


async def test_ADM_10_parallel_guesses_do_not_slip_past_the_count(console: Console) -> None:
    outcomes = await asyncio.gather(*(guess(console) for _ in range(25)), return_exceptions=True)
    assert sum(isinstance(outcome, InvalidCredentials) for outcome in outcomes) <= throttle.FREE_FAILURES + 2
    assert any(isinstance(outcome, TooManyAttempts) for outcome in outcomes)


async def test_ADM_10_counters_outlive_a_restart_and_forwarded_addresses_change_nothing(
    tmp_path: Path, used_data: Path
) -> None:
    async with console_app(tmp_path / "one", data_from=used_data) as console:
        body = {"username": "nobody", "password": "wrong"}
        codes = []
        for number in range(9):
            headers = {"X-Forwarded-For": f"203.0.113.{number}"}
            answer = await console.client.post("/api/v1/auth/login", json=body, headers=headers)
            codes.append(answer.status_code)
        assert codes[:6] == [401] * 6
        assert 429 in codes
    async with console_app(tmp_path / "two", data_from=tmp_path / "one" / "data", password_changed=False) as console:
        async with console.app.state.database.reader() as session:
            failures = await session.scalar(text("SELECT max(failures) FROM login_throttle"))
        assert failures >= 6


@pytest.mark.parametrize(
    "attempts", [300, pytest.param(10_000, marks=[pytest.mark.nightly, pytest.mark.timeout(1200)])]
)
async def test_ADM_10_a_flood_of_logins_gets_few_guesses_and_locks_nobody_out(
    attempts: int, tmp_path: Path, used_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    time = Time(monkeypatch)
    statuses: Counter[int] = Counter()

    async def attempt(console: Console, number: int) -> None:
        username = "admin" if number % 2 else f"user{number}"
        headers = {"X-Forwarded-For": f"203.0.{number // 256 % 256}.{number % 256}"}
        body = {"username": username, "password": f"guess {number}"}
        answer = await console.client.post("/api/v1/auth/login", json=body, headers=headers)
        statuses[answer.status_code] += 1

    half = attempts // 2
    async with console_app(tmp_path / "one", data_from=used_data) as console:
        for number in range(half):
            await attempt(console, number)
    async with console_app(tmp_path / "two", data_from=tmp_path / "one" / "data", password_changed=False) as console:
        for begin in range(half, attempts, 200):
            parallel = range(begin, min(begin + 200, attempts))
            await asyncio.gather(*(attempt(console, number) for number in parallel))
        assert statuses.total() == attempts
        assert set(statuses) == {401, 429}
        assert statuses[401] <= throttle.FREE_FAILURES + 2, "all others never reached a password, restart or not"
        time.pass_(minutes=15, seconds=1)
        await console.log_in(PASSWORD)


async def test_ADM_10_old_counters_are_forgotten(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    time = Time(monkeypatch)
    with pytest.raises(InvalidCredentials):
        await guess(console, username="nobody")
    time.pass_(hours=1, seconds=1)
    await guess(console, password=PASSWORD, ip="198.51.100.9")
    async with console.app.state.database.reader() as session:
        subjects = set(await session.scalars(text("SELECT subject FROM login_throttle")))
    assert "account:nobody" not in subjects
